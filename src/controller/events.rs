//! Events of events.k8s.io: what the controller did or cannot do, told on the object it is about.
//!
//! On change only, from the leader only, and never more than a few a minute: whoever has more to say
//! is counted, and the log has it. Telling waits for nobody and fails nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::apply::Writer;
use crate::cluster::policies::InForce;
use crate::metrics::{Metrics, Reconcile};
use crate::policy::config_maps::{ConfigMapName, Report, Verdict};

/// Who tells.
const CONTROLLER: &str = "pullpass.dev/controller";
/// Cluster-scoped objects have their Events here: the API server takes them nowhere else.
const CLUSTER_SCOPED: &str = "default";
/// The API server's limit, in characters.
const LONGEST_NOTE: usize = 1024;
/// What waits to be told.
const QUEUE: usize = 64;
/// So many at once, and then one for each [`REFILL`].
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_secs(6);

/// What happened, as a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// A certificate or a caBundle was replaced.
    CertificateRotated,
    /// It should be, and cannot.
    CertificateRotationFailed,
    /// A policy ConfigMap has errors.
    PolicyRejected,
    /// It had, and is in force now.
    PolicyLoaded,
    /// A new value of a credential is known.
    CredentialRefreshed,
    /// It cannot be fetched; the one before stays.
    CredentialRefreshFailed,
    /// The Secret that a credential is copied from is not there.
    SourceSecretMissing,
    /// It is there, and no pull secret can be made of it.
    SecretMalformed,
    /// Somebody else's Secret stands where a copy should be.
    SecretNotOurs,
    /// Copies are left that no right covers any more.
    SecretOrphaned,
    /// A Pod was let go: what it waited for is there.
    PodReleased,
    /// A Pod was let go without it.
    HoldTimedOut,
}

impl Happening {
    /// Every one: each has a heading in `docs/events.md`.
    pub const ALL: [Self; 12] = [
        Self::PolicyRejected,
        Self::PolicyLoaded,
        Self::CredentialRefreshed,
        Self::CredentialRefreshFailed,
        Self::SourceSecretMissing,
        Self::SecretMalformed,
        Self::SecretNotOurs,
        Self::SecretOrphaned,
        Self::PodReleased,
        Self::HoldTimedOut,
        Self::CertificateRotated,
        Self::CertificateRotationFailed,
    ];

    /// The Event's `reason`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::CertificateRotated => "CertificateRotated",
            Self::CertificateRotationFailed => "CertificateRotationFailed",
            Self::PolicyRejected => "PolicyRejected",
            Self::PolicyLoaded => "PolicyLoaded",
            Self::CredentialRefreshed => "CredentialRefreshed",
            Self::CredentialRefreshFailed => "CredentialRefreshFailed",
            Self::SourceSecretMissing => "SourceSecretMissing",
            Self::SecretMalformed => "SecretMalformed",
            Self::SecretNotOurs => "SecretNotOurs",
            Self::SecretOrphaned => "SecretOrphaned",
            Self::PodReleased => "PodReleased",
            Self::HoldTimedOut => "HoldTimedOut",
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::CertificateRotated
            | Self::PolicyLoaded
            | Self::CredentialRefreshed
            | Self::PodReleased => "Normal",
            Self::CertificateRotationFailed
            | Self::PolicyRejected
            | Self::CredentialRefreshFailed
            | Self::SourceSecretMissing
            | Self::SecretMalformed
            | Self::SecretNotOurs
            | Self::SecretOrphaned
            | Self::HoldTimedOut => "Warning",
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::CertificateRotated | Self::CertificateRotationFailed => "Rotate",
            Self::PolicyRejected | Self::PolicyLoaded => "Load",
            Self::CredentialRefreshed
            | Self::CredentialRefreshFailed
            | Self::SourceSecretMissing
            | Self::SecretMalformed => "Fetch",
            Self::SecretNotOurs | Self::SecretOrphaned => "Copy",
            Self::PodReleased | Self::HoldTimedOut => "Release",
        }
    }
}

/// The object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Regarding {
    /// `v1`, `admissionregistration.k8s.io/v1`.
    pub api_version: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// None: it is cluster-scoped.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Which object of the name, where several come and go: `kubectl describe pod` looks for it.
    pub uid: Option<String>,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// About what.
    pub regarding: Regarding,
    /// What happened.
    pub happening: Happening,
    /// In words.
    pub note: String,
}

/// How a policy ConfigMap fares, when that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyNotice {
    /// Which.
    pub config_map: ConfigMapName,
    /// How.
    pub state: PolicyState,
}

/// How a policy ConfigMap fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// It is in force.
    Loaded,
    /// It has errors, which these words tell.
    Rejected(String),
}

impl From<PolicyNotice> for Notice {
    fn from(notice: PolicyNotice) -> Self {
        let (happening, note) = match notice.state {
            PolicyState::Loaded => (
                Happening::PolicyLoaded,
                "all policies of the ConfigMap are in force".to_owned(),
            ),
            PolicyState::Rejected(why) => (Happening::PolicyRejected, why),
        };
        Self {
            regarding: Regarding {
                api_version: "v1",
                kind: "ConfigMap",
                namespace: Some(notice.config_map.namespace.to_string()),
                name: notice.config_map.name.to_string(),
                uid: None,
            },
            happening,
            note,
        }
    }
}

/// Takes what is to be told, and waits for nobody.
#[derive(Clone, Debug)]
pub struct Teller {
    queue: mpsc::Sender<Notice>,
    metrics: Arc<Metrics>,
}

impl Teller {
    /// To be told soon, or counted as not told.
    pub fn tell(&self, notice: Notice) {
        if self.queue.try_send(notice).is_err() {
            self.metrics.reconcile_failed(Reconcile::Events);
        }
    }
}

/// Posts what it is given.
pub struct Events {
    writer: Writer,
    instance: String,
    queue: mpsc::Receiver<Notice>,
    metrics: Arc<Metrics>,
    said: Said,
}

impl Events {
    /// A poster and who to give it work.
    #[must_use]
    pub fn new(writer: Writer, instance: String, metrics: Arc<Metrics>) -> (Self, Teller) {
        metrics.reconciling(Reconcile::Events);
        let (sender, queue) = mpsc::channel(QUEUE);
        let teller = Teller {
            queue: sender,
            metrics: Arc::clone(&metrics),
        };
        let events = Self {
            writer,
            instance,
            queue,
            metrics,
            said: Said::new(Instant::now()),
        };
        (events, teller)
    }

    /// Posts, until nobody can have more to tell.
    pub async fn run(mut self) {
        while let Some(notice) = self.queue.recv().await {
            // The leader tells; what it does not come to, the next one sees and tells itself.
            if !self.writer.leads() {
                continue;
            }
            match self.said.admit(&notice, Instant::now()) {
                Admitted::Tell => {}
                Admitted::Again => continue,
                // Pods come and go in numbers, and each says by itself that it goes.
                Admitted::TooMany if notice.happening == Happening::PodReleased => continue,
                Admitted::TooMany => {
                    self.metrics.reconcile_failed(Reconcile::Events);
                    continue;
                }
            }
            let event = event(&notice, &self.instance, Timestamp::now());
            let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
            if let Err(error) = self.writer.event(namespace, &event).await {
                self.metrics.reconcile_failed(Reconcile::Events);
                let reason = notice.happening.reason();
                tracing::warn!(reason, error = error.words(), "cannot tell an Event");
            }
        }
    }
}

/// Whether something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admitted {
    Tell,
    /// It was the last thing that was said about the object.
    Again,
    TooMany,
}

/// What was said last about each object, and how much may be said.
struct Said {
    last: BTreeMap<Regarding, (Happening, String)>,
    tokens: u32,
    refilled: Instant,
}

impl Said {
    fn new(now: Instant) -> Self {
        Self {
            last: BTreeMap::new(),
            tokens: BURST,
            refilled: now,
        }
    }

    fn admit(&mut self, notice: &Notice, now: Instant) -> Admitted {
        let said = (notice.happening, notice.note.clone());
        if self.last.get(&notice.regarding) == Some(&said) {
            return Admitted::Again;
        }
        while self.tokens < BURST && now >= self.refilled + REFILL {
            self.tokens += 1;
            self.refilled += REFILL;
        }
        if self.tokens == BURST {
            self.refilled = now;
        }
        if self.tokens == 0 {
            return Admitted::TooMany;
        }
        self.tokens -= 1;
        // Objects come and go; forgetting one costs an Event that was told before.
        if self.last.len() >= 1024 {
            self.last.clear();
        }
        self.last.insert(notice.regarding.clone(), said);
        Admitted::Tell
    }
}

fn event(notice: &Notice, instance: &str, now: Timestamp) -> Event {
    let regarding = &notice.regarding;
    let namespace = regarding.namespace.as_deref().unwrap_or(CLUSTER_SCOPED);
    Event {
        metadata: ObjectMeta {
            // A name may end with no dot, and this is checked as if it were one.
            generate_name: Some(format!("{}-", regarding.name)),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        action: Some(notice.happening.action().to_owned()),
        reason: Some(notice.happening.reason().to_owned()),
        type_: Some(notice.happening.kind().to_owned()),
        note: Some(short(&notice.note)),
        regarding: Some(ObjectReference {
            api_version: Some(regarding.api_version.to_owned()),
            kind: Some(regarding.kind.to_owned()),
            name: Some(regarding.name.clone()),
            namespace: regarding.namespace.clone(),
            uid: regarding.uid.clone(),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

fn short(note: &str) -> String {
    // The API server counts bytes in one place and characters in another: bytes are the fewer.
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    let end = note.floor_char_boundary(LONGEST_NOTE - '…'.len_utf8());
    format!("{}…", note.get(..end).unwrap_or_default())
}

/// Tells what becomes of the policies, each ConfigMap once for each change.
pub async fn tell_policies(
    mut policies: watch::Receiver<Option<InForce>>,
    mut writer: Writer,
    teller: Teller,
) {
    let mut told = BTreeMap::new();
    loop {
        // Whoever leads tells; a new leader tells what is wrong now.
        if writer.leads() {
            let now = policies.borrow_and_update().clone();
            let reports = now.as_ref().map(|in_force| &*in_force.reports);
            for notice in notices(&mut told, reports.unwrap_or_default()) {
                teller.tell(notice.into());
            }
        }
        // Either can be dropped: both only say that there is something to look at.
        tokio::select! {
            changed = policies.changed() => if changed.is_err() {
                // Whoever reads policies has ended, and the process with it.
                return std::future::pending().await;
            },
            () = writer.leadership_changed() => {}
        }
    }
}

/// What has changed since it was told last. That all is well at the beginning is no news.
fn notices(
    told: &mut BTreeMap<ConfigMapName, PolicyState>,
    reports: &[Report],
) -> Vec<PolicyNotice> {
    let mut now = BTreeMap::new();
    let mut notices = Vec::new();
    for report in reports {
        let state = state(report);
        let before = told.get(&report.name);
        let is_news = match before {
            Some(before) => *before != state,
            None => state != PolicyState::Loaded,
        };
        if is_news {
            notices.push(PolicyNotice {
                config_map: report.name.clone(),
                state: state.clone(),
            });
        }
        now.insert(report.name.clone(), state);
    }
    *told = now;
    notices
}

fn state(report: &Report) -> PolicyState {
    let kept = match report.verdict {
        Verdict::Loaded => return PolicyState::Loaded,
        Verdict::KeptLastGood => "the version before stays in force",
        Verdict::Rejected => "its documents with errors are not in force",
    };
    let errors = report.diagnostics.iter();
    let errors = errors.filter(|d| d.severity() == crate::diagnostic::Severity::Error);
    let errors: Vec<_> = errors.map(ToString::to_string).collect();
    PolicyState::Rejected(format!("{kept}: {}", errors.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::config_maps::{ConfigMaps, Content};

    fn notice(name: &str, note: &str) -> Notice {
        Notice {
            regarding: Regarding {
                api_version: "v1",
                kind: "Secret",
                namespace: Some("here".to_owned()),
                name: name.to_owned(),
                uid: None,
            },
            happening: Happening::CertificateRotated,
            note: note.to_owned(),
        }
    }

    #[test]
    fn each_event_has_its_page_and_each_page_an_event() {
        let page = include_str!("../../docs/events.md");
        let mut lines = page.lines();
        let mut told = Vec::new();
        while let Some(line) = lines.next() {
            if let Some(reason) = line.strip_prefix("## ") {
                let (kind, _) = lines.nth(1).unwrap().split_once(',').unwrap();
                told.push((reason, kind));
            }
        }
        let all = Happening::ALL.map(|happening| (happening.reason(), happening.kind()));
        assert_eq!(told, all);
        for (reason, _) in all {
            let anchor = format!("(#{})", reason.to_lowercase());
            assert!(page.contains(&anchor), "{reason} is not in the list above");
        }
    }

    #[tokio::test]
    async fn a_change_is_told_once_and_not_too_many_at_a_time() {
        let start = Instant::now();
        let mut said = Said::new(start);
        assert_eq!(said.admit(&notice("a", "x"), start), Admitted::Tell);
        assert_eq!(said.admit(&notice("a", "x"), start), Admitted::Again);
        assert_eq!(
            said.admit(&notice("b", "x"), start),
            Admitted::Tell,
            "another"
        );
        assert_eq!(
            said.admit(&notice("a", "y"), start),
            Admitted::Tell,
            "it changed"
        );
        assert_eq!(
            said.admit(&notice("a", "x"), start),
            Admitted::Tell,
            "and back"
        );
        for n in 4..BURST {
            let admitted = said.admit(&notice("c", &n.to_string()), start);
            assert_eq!(admitted, Admitted::Tell, "{n}");
        }
        assert_eq!(said.admit(&notice("d", "x"), start), Admitted::TooMany);
        let later = start + REFILL;
        assert_eq!(said.admit(&notice("d", "x"), later), Admitted::Tell);
        assert_eq!(said.admit(&notice("e", "x"), later), Admitted::TooMany);
    }

    #[test]
    fn an_event_is_where_the_api_server_takes_it_and_no_longer_than_it_may_be() {
        let now = Timestamp::UNIX_EPOCH;
        let told = event(&notice("pullpass-ca", &"ä".repeat(600)), "me", now);
        let note = told.note.unwrap();
        assert!(note.len() <= LONGEST_NOTE && note.ends_with('…'), "{note}");
        assert_eq!(told.metadata.namespace.as_deref(), Some("here"));
        let mut wide = notice("00-pullpass", "x");
        wide.regarding.namespace = None;
        let told = event(&wide, "me", now);
        assert_eq!(told.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(told.regarding.unwrap().namespace, None);
        assert_eq!(told.type_.as_deref(), Some("Normal"));
    }

    #[test]
    fn policies_are_told_when_they_break_and_when_they_are_mended() {
        let name = ConfigMapName {
            namespace: "here".into(),
            name: "p".into(),
        };
        let good = "{apiVersion: pullpass.dev/v1, kind: RegistryPolicy, metadata: {name: a}, \
                    spec: {rules: [{name: r, match: {images: ['*']}, inject: {}}]}}";
        let mut maps = ConfigMaps::new("here".into());
        let mut told = BTreeMap::new();
        for (text, want, why) in [
            (good, None, "well from the beginning"),
            ("a: [", Some(Happening::PolicyRejected), "broken"),
            ("a: [", None, "still broken, in the same way"),
            ("a: {", Some(Happening::PolicyRejected), "in another way"),
            (good, Some(Happening::PolicyLoaded), "mended"),
        ] {
            maps.set(name.clone(), Content::new(&name, [("p.yaml", text)]));
            let notices = notices(&mut told, &maps.compile().reports);
            let got: Vec<_> = notices.into_iter().map(Notice::from).collect();
            assert_eq!(got.iter().map(|n| n.happening).next(), want, "{why}");
            assert!(got.iter().all(|n| n.regarding.name == "p"), "{why}");
        }
    }
}
