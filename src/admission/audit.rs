//! What the policies in `mode: Audit` would change: a second decision that counts them in, compared with
//! the one that is in force.
//!
//! It compares decisions and not patches, so that a second call says the same. Changes nothing.

use super::admit::Decided;
use super::authored::Authored;
use super::line::join_bounded;
use super::service_account::{DEFAULT, Subject};
use super::{Admission, Warning};
use crate::diagnostic::Code;
use crate::policy::decide::{Counting, EnvNeed, PodFacts};
use crate::policy::table::RuleRef;
use crate::snapshot::Snapshot;

/// What would change, each with who says so.
#[derive(Debug, Default)]
pub(super) struct Differences(Vec<(String, String)>);

impl Differences {
    /// Tells them as warnings and for the audit log.
    pub(super) fn tell(self, admission: &mut Admission) {
        if self.0.is_empty() {
            return;
        }
        let changes = join_bounded(self.0.iter().map(|(change, _)| change));
        admission.audit.push(("audit", changes));
        for (change, who) in self.0 {
            let message = format!("audit: `{who}` would {change}");
            admission
                .warnings
                .push(Warning::new(Code::AuditOnly, message));
        }
    }

    fn add(&mut self, change: String, rule: RuleRef<'_>) {
        self.0.push((change, rule.to_string()));
    }
}

/// Compares the decision in force with the one that counts all policies in.
pub(super) fn differences(
    enforced: &Decided<'_, '_>,
    subject: Subject<'_>,
    facts: &PodFacts<'_>,
    snapshot: &Snapshot,
) -> Differences {
    let subject = Subject {
        account: account_before(enforced, subject),
        ..subject
    };
    let all = Decided::new(subject, facts, snapshot, Counting::All);
    let auditing = all.decision.rules.iter().filter(|rule| rule.is_audit());
    let auditing = join_bounded(auditing.map(ToString::to_string));
    let mut differences = Differences::default();

    let (now, then) = (&enforced.decision.secrets, &all.decision.secrets);
    for need in then
        .iter()
        .filter(|need| now.iter().all(|other| other.name != need.name))
    {
        differences.add(format!("add pull secret {}", need.name), need.rule);
    }
    for need in now
        .iter()
        .filter(|need| then.iter().all(|other| other.name != need.name))
    {
        differences.0.push((
            format!("not add pull secret {}", need.name),
            auditing.clone(),
        ));
    }
    match (
        enforced.account.settled,
        all.account.settled,
        &all.decision.account,
    ) {
        (now, Some(then), Some(need)) if now != Some(then) => {
            differences.add(format!("ask for service account {then}"), need.rule);
        }
        (Some(now), None, _) => {
            differences.0.push((
                format!("not ask for service account {now}"),
                auditing.clone(),
            ));
        }
        _ => {}
    }
    if let (None, Some(why), Some(need)) = (
        &enforced.account.denial,
        &all.account.denial,
        &all.decision.account,
    ) {
        differences.add(format!("refuse the Pod: {why}"), need.rule);
    }
    let (now, then) = (&enforced.decision.env_from, &all.decision.env_from);
    for need in missing(then, now) {
        differences.add(format!("add envFrom {}", place(need)), need.rule);
    }
    for need in missing(now, then) {
        differences
            .0
            .push((format!("not add envFrom {}", place(need)), auditing.clone()));
    }
    differences
}

/// The account that the Pod had before the switch in force. On a second call that switch is made
/// already, and only the author's own fields tell what was there.
fn account_before<'p>(enforced: &Decided<'_, '_>, subject: Subject<'p>) -> &'p str {
    let switched = enforced.account.settled == Some(subject.account);
    let is_ours = || Authored::read(subject.pod).is_some_and(|authored| !authored.account);
    if switched && is_ours() {
        DEFAULT
    } else {
        subject.account
    }
}

fn missing<'n, 't>(
    from: &'n [EnvNeed<'t>],
    others: &'n [EnvNeed<'t>],
) -> impl Iterator<Item = &'n EnvNeed<'t>> {
    let same = |a: &EnvNeed<'_>, b: &EnvNeed<'_>| a.slot == b.slot && a.source == b.source;
    from.iter()
        .filter(move |need| !others.iter().any(|other| same(need, other)))
}

fn place(need: &EnvNeed<'_>) -> String {
    let slot = need
        .slot
        .map_or_else(|| "all containers".to_owned(), |slot| slot.to_string());
    format!("{} to {slot}", need.source.name)
}
