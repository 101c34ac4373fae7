//! What becomes of credentials and of the Pods that wait for them, as metrics of the controller.
//!
//! Labels are names of credentials, which policies declare, and words of closed sets. Beyond the first
//! credentials by name the others share a series, so that a process shows 300 at most.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Metrics, Seconds, gauge, timestamp};
use crate::plan::secrets::Obstacle;

/// At most this many credentials have series of their own: 19 each, when all happened to it that can.
const CREDENTIAL_SERIES: usize = 8;
/// Not a name that a Secret can have.
const OTHERS: &str = "(others)";
/// From a Secret that is at hand to a cloud that hesitates.
const FETCH_BUCKETS: [f64; 6] = [0.05, 0.25, 1.0, 2.5, 5.0, 10.0];

/// How a fetch ended.
const REFRESHES: [&str; 2] = ["success", "failure"];

type Of<const N: usize> = [(&'static str, String); N];

/// How a write of a pull secret ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretWrite {
    /// There was none.
    Created,
    /// It was another.
    Replaced,
    /// It is gone.
    Removed,
    /// Something was in the way.
    Hindered(Obstacle),
}

impl SecretWrite {
    fn all() -> impl Iterator<Item = Self> {
        let well = [Self::Created, Self::Replaced, Self::Removed];
        well.into_iter().chain(Obstacle::ALL.map(Self::Hindered))
    }

    /// The value of the label `result`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Replaced => "replaced",
            Self::Removed => "removed",
            Self::Hindered(obstacle) => obstacle.as_str(),
        }
    }
}

#[derive(Debug)]
pub(super) struct CredentialMetrics {
    refreshes: Family<Of<2>, Counter>,
    writes: Family<Of<2>, Counter>,
    expirations: Family<Of<1>, Seconds>,
    renewals: Family<Of<1>, Seconds>,
    copies: Family<Of<2>, Gauge>,
    fetches: Family<[(&'static str, &'static str); 1], Histogram>,
    held: Family<[(&'static str, &'static str); 0], Gauge>,
    oldest: Family<[(&'static str, &'static str); 0], Seconds>,
    /// Which credentials have series of their own.
    named: Mutex<BTreeSet<String>>,
}

/// How one credential fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CredentialState {
    /// Copies as they should be.
    pub fresh: usize,
    /// Copies with another value than they should have, or one that is over.
    pub stale: usize,
    /// Copies that are not there.
    pub missing: usize,
    /// Secrets of others where copies should be.
    pub foreign: usize,
    /// Copies that are left and that no right covers any more.
    pub orphaned: usize,
    /// When its value expires.
    pub expires: Option<SystemTime>,
    /// When a new one is due, or was.
    pub renewal: Option<SystemTime>,
}

impl CredentialState {
    fn add(&mut self, other: &Self) {
        self.fresh += other.fresh;
        self.stale += other.stale;
        self.missing += other.missing;
        self.foreign += other.foreign;
        self.orphaned += other.orphaned;
        let sooner = |a: Option<SystemTime>, b: Option<SystemTime>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.expires = sooner(self.expires, other.expires);
        self.renewal = sooner(self.renewal, other.renewal);
    }
}

impl CredentialMetrics {
    pub(super) fn new() -> Self {
        Self {
            refreshes: Family::default(),
            writes: Family::default(),
            expirations: Family::default(),
            renewals: Family::default(),
            copies: Family::default(),
            fetches: Family::new_with_constructor(|| Histogram::new(FETCH_BUCKETS)),
            held: Family::default(),
            oldest: Family::default(),
            named: Mutex::default(),
        }
    }

    pub(super) fn register(&self, r: &mut Registry) {
        r.register(
            "credential_refreshes",
            "Values of credentials that were fetched (success) or could not be (failure)",
            self.refreshes.clone(),
        );
        r.register(
            "secret_writes",
            "Pull secrets made, replaced and removed, or what was in the way",
            self.writes.clone(),
        );
        r.register_with_unit(
            "credential_expiration_timestamp",
            "When the value of a credential expires",
            Unit::Seconds,
            self.expirations.clone(),
        );
        r.register_with_unit(
            "credential_renewal_timestamp",
            "When a new value of a credential is due, or was",
            Unit::Seconds,
            self.renewals.clone(),
        );
        r.register(
            "credential_secrets",
            "Pull secrets of a credential in the namespaces that need it, by how they fare",
            self.copies.clone(),
        );
        r.register_with_unit(
            "credential_fetch_duration",
            "Time that it took to fetch a value, by kind of source",
            Unit::Seconds,
            self.fetches.clone(),
        );
        r.register(
            "held_pods",
            "Pods that wait for a pull secret now",
            self.held.clone(),
        );
        r.register_with_unit(
            "oldest_held_pod_age",
            "How long the Pod that waits longest for a pull secret has waited",
            Unit::Seconds,
            self.oldest.clone(),
        );
    }

    /// Takes back the series of credentials that are gone: others need the room.
    fn forget(&self, is_there: impl Fn(&str) -> bool) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<String> = named.iter().filter(|n| !is_there(n)).cloned().collect();
        for name in gone {
            named.remove(&name);
            let of = |result: &str| [("credential", name.clone()), ("result", result.to_owned())];
            for result in REFRESHES {
                self.refreshes.remove(&of(result));
            }
            for result in SecretWrite::all() {
                self.writes.remove(&of(result.as_str()));
            }
        }
    }

    /// A rate does not see the first event of a series that was not there before.
    fn start_at_zero(&self, name: &str) {
        let of = |result: &str| {
            [
                ("credential", name.to_owned()),
                ("result", result.to_owned()),
            ]
        };
        for result in REFRESHES {
            self.refreshes.get_or_create(&of(result)).inc_by(0);
        }
        for result in SecretWrite::all() {
            self.writes.get_or_create(&of(result.as_str())).inc_by(0);
        }
    }

    /// The label of a credential: its name, while there is room.
    fn label(&self, name: &str) -> String {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if !named.contains(name) {
            if named.len() >= CREDENTIAL_SERIES {
                return OTHERS.to_owned();
            }
            named.insert(name.to_owned());
            self.start_at_zero(name);
        }
        name.to_owned()
    }
}

impl Metrics {
    /// A value was fetched, or could not be.
    pub fn credential_refreshed(&self, name: &str, success: bool) {
        let label = self.credentials.label(name);
        let [good, bad] = REFRESHES;
        let result = if success { good } else { bad };
        let labels = [("credential", label), ("result", result.to_owned())];
        self.credentials.refreshes.get_or_create(&labels).inc();
    }

    /// A source was asked, and this is how long it took.
    pub fn credential_fetched(&self, source: &'static str, took: Duration) {
        let fetches = &self.credentials.fetches;
        fetches
            .get_or_create(&[("source", source)])
            .observe(took.as_secs_f64());
    }

    /// A pull secret was written, or something was in the way.
    pub fn secret_written(&self, name: &str, result: SecretWrite) {
        let labels = [
            ("credential", self.credentials.label(name)),
            ("result", result.as_str().to_owned()),
        ];
        self.credentials.writes.get_or_create(&labels).inc();
    }

    /// How all credentials fare now, by name. Those that are not among them have no series any more.
    pub fn credentials_fare(&self, all: &BTreeMap<&str, CredentialState>) {
        let metrics = &self.credentials;
        metrics.forget(|name| all.contains_key(name));
        let mut told: BTreeMap<String, CredentialState> = BTreeMap::new();
        for (name, state) in all {
            told.entry(metrics.label(name)).or_default().add(state);
        }
        metrics.copies.clear();
        metrics.expirations.clear();
        metrics.renewals.clear();
        for (name, state) in told {
            let counts = [
                ("fresh", state.fresh),
                ("stale", state.stale),
                ("missing", state.missing),
                ("foreign", state.foreign),
                ("orphaned", state.orphaned),
            ];
            for (word, count) in counts {
                let labels = [("credential", name.clone()), ("state", word.to_owned())];
                metrics.copies.get_or_create(&labels).set(gauge(count));
            }
            let label = [("credential", name)];
            if let Some(at) = state.expires {
                metrics.expirations.get_or_create(&label).set(timestamp(at));
            }
            if let Some(at) = state.renewal {
                metrics.renewals.get_or_create(&label).set(timestamp(at));
            }
        }
    }

    /// Another process keeps them from now on, and shows how they fare.
    pub fn credentials_are_anothers(&self) {
        self.credentials_fare(&BTreeMap::new());
        self.credentials.held.clear();
        self.credentials.oldest.clear();
    }

    /// So many Pods wait for a pull secret, the one that waits longest for so long.
    pub fn pods_held(&self, count: usize, oldest: Duration) {
        self.credentials.held.get_or_create(&[]).set(gauge(count));
        let oldest = oldest.as_secs_f64();
        self.credentials.oldest.get_or_create(&[]).set(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
        let text = metrics.render();
        let ours = |line: &&str| line.starts_with(&format!("pullpass_{name}"));
        text.lines().filter(ours).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn what_a_credential_shows_goes_with_it() {
        let metrics = Metrics::new();
        let expires = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let state = CredentialState {
            fresh: 3,
            expires: Some(expires),
            ..CredentialState::default()
        };
        metrics.credentials_fare(&BTreeMap::from([("ecr", state)]));
        let copies = lines(&metrics, "credential_secrets");
        assert_eq!(copies.len(), 5);
        let fresh = "pullpass_credential_secrets{credential=\"ecr\",state=\"fresh\"} 3";
        assert!(copies.contains(&fresh.to_owned()), "{copies:?}");
        let expiry = lines(&metrics, "credential_expiration_timestamp_seconds");
        assert_eq!(expiry.len(), 1);
        metrics.credentials_fare(&BTreeMap::new());
        assert!(lines(&metrics, "credential_secrets").is_empty());
        assert!(lines(&metrics, "credential_expiration_timestamp_seconds").is_empty());
    }

    #[test]
    fn the_most_that_a_controller_shows_is_bounded() {
        use super::super::{CertificateKind, Reconcile, Resource};
        let metrics = Metrics::new();
        let names: Vec<String> = (0..200).map(|n| format!("credential-{n:03}")).collect();
        let at = Some(SystemTime::now());
        let one = CredentialState {
            expires: at,
            renewal: at,
            ..CredentialState::default()
        };
        metrics.credentials_fare(&names.iter().map(|name| (&**name, one)).collect());
        for name in &names {
            for success in [true, false] {
                metrics.credential_refreshed(name, success);
            }
            for result in SecretWrite::all() {
                metrics.secret_written(name, result);
            }
        }
        for source in ["ecr", "gcp", "acr", "exec"] {
            metrics.credential_fetched(source, Duration::ZERO);
        }
        metrics.pods_held(1, Duration::ZERO);
        metrics.leader(true);
        for resource in [
            Resource::Policies,
            Resource::Namespaces,
            Resource::Secrets,
            Resource::WebhookConfigurations,
            Resource::Pods,
            Resource::Status,
        ] {
            metrics.watching(resource);
        }
        for kind in [
            Reconcile::Certificates,
            Reconcile::Lease,
            Reconcile::Events,
            Reconcile::Credentials,
            Reconcile::HeldPods,
        ] {
            metrics.reconciling(kind);
        }
        for kind in [CertificateKind::Serving, CertificateKind::Ca] {
            metrics.certificate_expires(kind, SystemTime::now());
        }
        let text = metrics.render();
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(series <= 300, "{series} series");
    }

    #[test]
    fn what_another_process_keeps_it_shows() {
        let metrics = Metrics::new();
        metrics.credentials_fare(&BTreeMap::from([("ecr", CredentialState::default())]));
        metrics.credential_refreshed("ecr", false);
        metrics.secret_written("ecr", SecretWrite::Hindered(Obstacle::Quota));
        metrics.pods_held(2, Duration::from_secs(5));
        let shown = |metrics: &Metrics| {
            ["credential_", "secret_writes", "held_pods", "oldest_held"]
                .iter()
                .flat_map(|name| lines(metrics, name))
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(&metrics).len(), 19, "{:?}", shown(&metrics));
        metrics.credentials_are_anothers();
        assert!(shown(&metrics).is_empty(), "{:?}", shown(&metrics));
    }

    #[test]
    fn credentials_that_come_and_go_leave_no_series() {
        let metrics = Metrics::new();
        for n in 0..200 {
            let name = format!("credential-{n:03}");
            metrics.credentials_fare(&BTreeMap::from([(&*name, CredentialState::default())]));
            metrics.credential_refreshed(&name, n % 2 == 0);
            for result in SecretWrite::all() {
                metrics.secret_written(&name, result);
            }
        }
        let refreshes = lines(&metrics, "credential_refreshes_total");
        assert_eq!(refreshes.len(), REFRESHES.len(), "{refreshes:?}");
        let last = |line: &String| line.contains("credential=\"credential-199\"");
        assert!(refreshes.iter().all(last), "{refreshes:?}");
        let writes = lines(&metrics, "secret_writes_total");
        assert_eq!(writes.len(), SecretWrite::all().count(), "{writes:?}");
    }

    #[test]
    fn no_number_of_credentials_makes_the_series_many() {
        let metrics = Metrics::new();
        let names: Vec<String> = (0..200).map(|n| format!("credential-{n:03}")).collect();
        let one = CredentialState {
            missing: 1,
            ..CredentialState::default()
        };
        metrics.credentials_fare(&names.iter().map(|name| (&**name, one)).collect());
        for name in &names {
            metrics.credential_refreshed(name, true);
            metrics.secret_written(name, SecretWrite::Created);
        }
        let copies = lines(&metrics, "credential_secrets");
        assert_eq!(copies.len(), 5 * (CREDENTIAL_SERIES + 1));
        let others = "pullpass_credential_secrets{credential=\"(others)\",state=\"missing\"} 192";
        assert!(copies.contains(&others.to_owned()), "{copies:?}");
        let refreshes = lines(&metrics, "credential_refreshes_total");
        assert_eq!(refreshes.len(), 2 * CREDENTIAL_SERIES + 1);
    }
}
