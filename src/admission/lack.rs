//! A decision and a snapshot → what the snapshot should have told the decision and did not hold.
//!
//! In a watched cluster a namespace or account that is not there may come any moment: whoever serves can
//! wait for it and ask again. Here nothing waits, and nothing is allocated where nothing is lacking.

use super::AccountChange;
use super::admit::Decided;
use super::service_account::Subject;
use crate::snapshot::{Exclusion, Snapshot};

/// A lookup that a watched cluster's snapshot could not answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lack {
    /// The labels of the Pod's namespace.
    Namespace(Box<str>),
    /// A service account of the Pod's namespace: the Pod's own, or the one to switch to.
    Account {
        /// Its namespace.
        namespace: Box<str>,
        /// Its name.
        name: Box<str>,
    },
}

impl Lack {
    /// Whether this snapshot lacks it still.
    #[must_use]
    pub fn is_in(&self, snapshot: &Snapshot) -> bool {
        match self {
            Self::Namespace(name) => snapshot.namespaces.lacks(name),
            Self::Account { namespace, name } => snapshot.accounts.lacks(namespace, name),
        }
    }
}

/// The namespace, if its labels matter: a Pod that is left alone whatever they say lacks nothing.
pub(super) fn namespace(
    name: &str,
    exclusion: Option<Exclusion>,
    pod_opts_out: bool,
    snapshot: &Snapshot,
) -> Vec<Lack> {
    let by_labels = match exclusion {
        None => true,
        Some(Exclusion::NamespaceNotOptedIn | Exclusion::NamespaceOptedOut) => !pod_opts_out,
        Some(_) => false,
    };
    if by_labels && snapshot.namespaces.lacks(name) {
        vec![Lack::Namespace(name.into())]
    } else {
        Vec::new()
    }
}

/// Adds the accounts that the decision in force looked up: the Pod's own, which may bound what is
/// injected, and the one to switch to. What only audited policies ask for makes nobody wait.
pub(super) fn accounts(
    subject: Subject<'_>,
    decided: &Decided<'_, '_>,
    snapshot: &Snapshot,
    lacks: &mut Vec<Lack>,
) {
    let decision = &decided.decision;
    let injects = !decision.secrets.is_empty() || !decision.env_from.is_empty();
    let own = (injects || decision.account.is_some()).then_some(subject.account);
    let other = decision
        .account
        .as_ref()
        .filter(|_| decided.account.change == Some(AccountChange::Missing))
        .map(|need| need.account.name.as_str());
    for name in own.into_iter().chain(other) {
        if snapshot.accounts.lacks(subject.namespace, name) {
            lacks.push(Lack::Account {
                namespace: subject.namespace.into(),
                name: name.into(),
            });
        }
    }
}
