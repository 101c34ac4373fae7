//! What the loop says of itself: log lines, Events and metrics, each on change.
//!
//! About a credential Events stand at the ConfigMap that declares it, about its source at the source's
//! Secret, about a Pod at the Pod. None is told per namespace. It changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::super::apply::WriteError;
use super::super::events::{Happening, Notice, Regarding, Teller};
use super::kept::Kept;
use super::row::Row;
use crate::metrics::{Metrics, Reconcile};
use crate::names::SecretName;
use crate::plan::gates::{HeldPod, Reason};
use crate::plan::secrets::Obstacle;

/// Namespaces that a note names; the others are counted.
const NAMED: usize = 5;
/// What is in the way of a credential in many namespaces is logged for one of them within this time.
const QUIET: Duration = Duration::from_secs(10);

/// Tells, and knows what was told.
pub(super) struct Tell {
    namespace: String,
    teller: Teller,
    pub(super) metrics: Arc<Metrics>,
    /// Where somebody else's Secret stands, by credential, as it was told.
    foreign: BTreeMap<SecretName, Vec<Arc<str>>>,
    /// Names that were told to be orphaned.
    orphaned: Vec<SecretName>,
    /// Why there is no new value, by credential, as it was told.
    failing: BTreeMap<SecretName, String>,
    /// What is in the way of writes: until when that is not logged again, and how often it was not.
    unwritten: BTreeMap<(SecretName, Obstacle), (Instant, u64)>,
}

impl Tell {
    pub(super) fn new(namespace: String, teller: Teller, metrics: Arc<Metrics>) -> Self {
        Self {
            namespace,
            teller,
            metrics,
            foreign: BTreeMap::new(),
            orphaned: Vec::new(),
            failing: BTreeMap::new(),
            unwritten: BTreeMap::new(),
        }
    }

    /// pullpass's own.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A new leader tells what is wrong now.
    pub(super) fn anew(&mut self) {
        self.foreign.clear();
        self.orphaned.clear();
        self.failing.clear();
    }

    fn tell(&self, regarding: Regarding, happening: Happening, note: String) {
        self.teller.tell(Notice {
            regarding,
            happening,
            note,
        });
    }

    /// The ConfigMap that declares the credential; pullpass's own namespace when no policy does.
    fn declared(&self, row: Option<&Row>) -> Regarding {
        match row.and_then(|row| row.config_map.as_ref()) {
            Some(map) => Regarding {
                api_version: "v1",
                kind: "ConfigMap",
                namespace: Some(map.namespace.to_string()),
                name: map.name.to_string(),
                uid: None,
            },
            None => Regarding {
                api_version: "v1",
                kind: "Namespace",
                namespace: None,
                name: self.namespace.clone(),
                uid: None,
            },
        }
    }

    fn source(&self, name: &SecretName) -> Regarding {
        Regarding {
            api_version: "v1",
            kind: "Secret",
            namespace: Some(self.namespace.clone()),
            name: name.to_string(),
            uid: None,
        }
    }

    /// A value was got that differs from the one before.
    pub(super) fn refreshed(&mut self, name: &SecretName, row: &Row, expires: Option<SystemTime>) {
        self.metrics.credential_refreshed(name.as_str(), true);
        self.failing.remove(name);
        let until = expires.map(in_words);
        tracing::info!(credential = %name, source = row.words, expires = until, "a new value");
        let until = until.map_or_else(String::new, |at| format!(", good until {at}"));
        let note = format!(
            "credential `{name}` has a new value from {}{until}",
            row.words
        );
        self.tell(
            self.declared(Some(row)),
            Happening::CredentialRefreshed,
            note,
        );
    }

    /// The source gives again what it gave before.
    pub(super) fn mended(&mut self, name: &SecretName) {
        if self.failing.remove(name).is_some() {
            tracing::info!(credential = %name, "its source gives what it gave before");
        }
    }

    /// The source could not be asked, or gave nothing good.
    pub(super) fn not_refreshed(&mut self, name: &SecretName, row: &Row, why: &str) {
        let failed = Happening::CredentialRefreshFailed;
        self.failed(name, self.declared(Some(row)), failed, why);
    }

    /// The Secret that it is copied from is not there.
    pub(super) fn no_source(&mut self, name: &SecretName, row: &Row, source: &SecretName) {
        let why = format!(
            "the Secret `{source}` in `{}`, which it is copied from, is not there",
            self.namespace
        );
        let missing = Happening::SourceSecretMissing;
        self.failed(name, self.declared(Some(row)), missing, &why);
    }

    /// No pull secret can be made of it.
    pub(super) fn malformed(&mut self, name: &SecretName, source: &SecretName, why: &str) {
        let malformed = Happening::SecretMalformed;
        self.failed(name, self.source(source), malformed, why);
    }

    /// Counted and logged each time, told when it is news.
    fn failed(&mut self, name: &SecretName, about: Regarding, happening: Happening, why: &str) {
        self.metrics.credential_refreshed(name.as_str(), false);
        self.metrics.reconcile_failed(Reconcile::Credentials);
        tracing::error!(credential = %name, why, "no new value");
        if self.failing.get(name).is_some_and(|told| told == why) {
            return;
        }
        self.failing.insert(name.clone(), why.to_owned());
        let note = format!("credential `{name}`: {why}; what was written before stays");
        self.tell(about, happening, note);
    }

    /// Something is in the way of a write, in one namespace and perhaps in thousands.
    pub(super) fn unwritten(
        &mut self,
        name: &SecretName,
        namespace: &str,
        obstacle: Obstacle,
        error: &WriteError,
    ) {
        let now = Instant::now();
        let told = self.unwritten.entry((name.clone(), obstacle));
        let told = told.or_insert((now, 0));
        if told.0 > now {
            told.1 = told.1.saturating_add(1);
            return;
        }
        let others = std::mem::replace(told, (now + QUIET, 0)).1;
        let (why, obstacle) = (error.words(), obstacle.as_str());
        tracing::warn!(credential = %name, namespace, others, obstacle, why, "cannot write a Secret");
    }

    /// Somebody else's Secrets stand where copies should be, or do not any more.
    pub(super) fn foreign(&mut self, name: &SecretName, kept: &Kept) {
        let now = &kept.last.foreign;
        let told = self
            .foreign
            .get(name)
            .map(Vec::as_slice)
            .unwrap_or_default();
        if now.as_slice() == told {
            return;
        }
        if !now.is_empty() {
            let mut named: Vec<_> = now.iter().take(NAMED).map(|n| format!("`{n}`")).collect();
            if now.len() > NAMED {
                named.push(format!("{} more", now.len() - NAMED));
            }
            let named = named.join(", ");
            tracing::warn!(credential = %name, namespaces = named, "a Secret of the name is not ours");
            let note = format!(
                "a Secret `{name}` that pullpass did not make stands in {named}: it is left alone, and \
                 Pods there use it as it is; delete it, or declare the credential `from: {{existing: {{}}}}`"
            );
            let regarding = self.declared(kept.row.as_ref());
            self.tell(regarding, Happening::SecretNotOurs, note);
        }
        self.foreign.insert(name.clone(), now.clone());
    }

    /// Copies are left of a credential that is gone, and no right covers them.
    pub(super) fn orphaned(&mut self, name: &SecretName) {
        if self.orphaned.contains(name) {
            return;
        }
        self.orphaned.push(name.clone());
        self.metrics.reconcile_failed(Reconcile::Credentials);
        let why = format!(
            "Secrets `{name}` are left of a credential that no policy declares, and pullpass has no right \
             to them any more"
        );
        tracing::error!(credential = %name, why, "cannot remove its Secrets");
        let note = format!(
            "{why}: grant it once more (the chart: `controller.retiredCredentialNames`), and they go, or \
             delete them by hand"
        );
        self.tell(self.declared(None), Happening::SecretOrphaned, note);
    }

    /// A Pod was let go.
    pub(super) fn released(&self, pod: &HeldPod, reason: &Reason) {
        let happening = match reason {
            Reason::Ready => Happening::PodReleased,
            Reason::TimedOut(_) => Happening::HoldTimedOut,
        };
        let (namespace, name) = (&*pod.namespace, &*pod.name);
        match reason {
            Reason::Ready => tracing::debug!(namespace, pod = name, "let go"),
            Reason::TimedOut(_) => tracing::warn!(namespace, pod = name, %reason, "let go"),
        }
        let regarding = Regarding {
            api_version: "v1",
            kind: "Pod",
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
            uid: Some(pod.uid.clone()),
        };
        self.tell(regarding, happening, format!("it is let go: {reason}"));
    }
}

fn in_words(at: SystemTime) -> String {
    use k8s_openapi::jiff::Timestamp;
    Timestamp::try_from(at).map_or_else(
        |_| "a time that no clock has".to_owned(),
        |at| at.to_string(),
    )
}
