//! What happened, as counters, gauges and one histogram, told to Prometheus in OpenMetrics text.
//!
//! One method for each event that counts, so that a caller names what happened and never a label.
//! Label values are closed sets or names that the policy table bounds: no image, Pod or namespace
//! ever becomes one, and a process shows at most a few hundred series.

mod credentials;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use self::credentials::CredentialMetrics;
pub use self::credentials::{CredentialState, SecretWrite};
use crate::admission::{AccountChange, Facts, Operation, Outcome};

/// The media type of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Ten steps from an answer out of memory (50 µs) to one that an API server notices (1 s).
const DURATION_BUCKETS: [f64; 10] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0,
];

/// At most this many policies get a series of their own; the others share [`OTHER_POLICIES`].
const POLICY_SERIES: usize = 100;
/// Not a name that a policy can have.
const OTHER_POLICIES: &str = "(others)";

/// The label of a request of which no operation could be read.
const UNKNOWN: &str = "unknown";

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Seconds = Gauge<f64, AtomicU64>;

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels<2>, Counter>,
    warnings: Family<Labels<1>, Counter>,
    images: Family<Labels<1>, Counter>,
    secrets: Family<[(&'static str, String); 1], Counter>,
    /// How many policies have a series in `secrets`.
    policies: AtomicUsize,
    accounts: Family<Labels<1>, Counter>,
    duration: Histogram,
    in_flight: Gauge,
    connections: Gauge,
    handshake_errors: Family<Labels<1>, Counter>,
    tls_reloads: Family<Labels<1>, Counter>,
    expirations: Family<Labels<1>, Seconds>,
    table: Family<[(&'static str, String); 1], Gauge>,
    documents: Family<Labels<1>, Gauge>,
    rules: Gauge,
    reload_successful: Gauge,
    reload_timestamp: Seconds,
    watch_errors: Family<Labels<1>, Counter>,
    cache_synced: Family<Labels<1>, Gauge>,
    cache_objects: Family<Labels<1>, Gauge>,
    leader: Family<Labels<0>, Gauge>,
    reconcile_errors: Family<Labels<1>, Counter>,
    credentials: CredentialMetrics,
}

/// Why a TLS handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// It took too long.
    Timeout,
    /// The client went away: a TCP health check, or a client that gave up.
    Closed,
    /// The client told us with an alert that it does not want our certificate or parameters.
    RefusedByClient,
    /// The client showed no certificate, or none that the client CA signed.
    ClientCertificate,
    /// What came was not TLS, or not a TLS that we speak.
    Protocol,
    /// We have no certificate yet, so the connection was closed at once.
    NoCertificate,
}

impl HandshakeError {
    const ALL: [Self; 6] = [
        Self::Timeout,
        Self::Closed,
        Self::RefusedByClient,
        Self::ClientCertificate,
        Self::Protocol,
        Self::NoCertificate,
    ];

    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::RefusedByClient => "refused_by_client",
            Self::ClientCertificate => "client_certificate",
            Self::Protocol => "protocol",
            Self::NoCertificate => "no_certificate",
        }
    }
}

/// Whose certificate an expiry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateKind {
    /// What the server shows.
    Serving,
    /// What it checks clients against.
    ClientCa,
    /// What signs serving certificates, where a controller keeps it.
    Ca,
}

impl CertificateKind {
    /// The value of the label `kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::ClientCa => "client_ca",
            Self::Ca => "ca",
        }
    }
}

/// What is watched in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// ConfigMaps that hold policies.
    Policies,
    /// Namespaces.
    Namespaces,
    /// ServiceAccounts.
    ServiceAccounts,
    /// Secrets, each by its name.
    Secrets,
    /// Webhook configurations, each by its name.
    WebhookConfigurations,
    /// Pods without a node.
    Pods,
    /// ConfigMaps in which a controller says which Secrets stand.
    Status,
    /// The Lease of controllers.
    Leases,
}

impl Resource {
    /// The value of the label `resource`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policies => "configmaps",
            Self::Namespaces => "namespaces",
            Self::ServiceAccounts => "serviceaccounts",
            Self::Secrets => "secrets",
            Self::WebhookConfigurations => "webhookconfigurations",
            Self::Pods => "pods",
            Self::Status => "status",
            Self::Leases => "leases",
        }
    }
}

/// What a controller does again and again until it is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reconcile {
    /// Certificates and the `caBundle`s that vouch for them.
    Certificates,
    /// The Lease that says who writes.
    Lease,
    /// Events about what happened.
    Events,
    /// Values of credentials, and their copies.
    Credentials,
    /// Pods that wait for a pull secret.
    HeldPods,
}

impl Reconcile {
    /// The value of the label `kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificates => "certificates",
            Self::Lease => "lease",
            Self::Events => "events",
            Self::Credentials => "credentials",
            Self::HeldPods => "held_pods",
        }
    }
}

/// How a load of the policies ended.
#[derive(Clone, Copy, Debug)]
pub struct PolicyReload<'a> {
    /// The digest of the table in force.
    pub digest: &'a str,
    /// Documents in force.
    pub loaded: usize,
    /// Documents kept out.
    pub rejected: usize,
    /// Rules in force.
    pub rules: usize,
    /// When it ended.
    pub at: SystemTime,
}

/// Counts one thing for as long as it lives.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero, those with closed label sets already present: an alert on an increase
    /// misses the first event of a series that was not there before.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            warnings: Family::default(),
            images: Family::default(),
            secrets: Family::default(),
            policies: AtomicUsize::new(0),
            accounts: Family::default(),
            duration: Histogram::new(DURATION_BUCKETS),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            handshake_errors: Family::default(),
            tls_reloads: Family::default(),
            expirations: Family::default(),
            table: Family::default(),
            documents: Family::default(),
            rules: Gauge::default(),
            reload_successful: Gauge::default(),
            reload_timestamp: Seconds::default(),
            watch_errors: Family::default(),
            cache_synced: Family::default(),
            cache_objects: Family::default(),
            leader: Family::default(),
            reconcile_errors: Family::default(),
            credentials: CredentialMetrics::new(),
        };
        metrics.start_at_zero();
        let registry = metrics.register();
        Self {
            registry,
            ..metrics
        }
    }

    fn start_at_zero(&self) {
        use {Operation as Op, Outcome as Out};
        for operation in [Op::Create, Op::Update, Op::Delete, Op::Connect] {
            for outcome in [
                Out::Patched,
                Out::Unchanged,
                Out::Excluded,
                Out::Denied,
                Out::Invalid,
            ] {
                self.request(operation.as_str(), outcome.as_str(), 0);
            }
        }
        self.request(UNKNOWN, Outcome::Invalid.as_str(), 0);
        self.request(UNKNOWN, "panic", 0);
        for result in ["matched", "unmatched", "unreadable"] {
            count(&self.images, [("result", result)], 0);
        }
        for change in [
            AccountChange::Switched,
            AccountChange::Missing,
            AccountChange::Refused,
        ] {
            count(&self.accounts, [("result", change.as_str())], 0);
        }
        for reason in HandshakeError::ALL {
            count(&self.handshake_errors, [("reason", reason.as_str())], 0);
        }
        for result in ["success", "failure"] {
            count(&self.tls_reloads, [("result", result)], 0);
        }
    }

    /// Names, helps and units: what an operator sees.
    fn register(&self) -> Registry {
        let mut r = Registry::with_prefix("pullpass");
        let build = Family::<Labels<3>, Gauge>::default();
        build
            .get_or_create(&[
                ("version", env!("CARGO_PKG_VERSION")),
                (
                    "revision",
                    option_env!("PULLPASS_REVISION").unwrap_or("unknown"),
                ),
                ("fips", "false"),
            ])
            .set(1);
        r.register("build_info", "The version that runs; always 1", build);

        r.register(
            "admission_requests",
            "Admission requests by operation and what became of them",
            self.requests.clone(),
        );
        r.register(
            "admission_warnings",
            "Warnings sent with admission responses, by diagnostic code",
            self.warnings.clone(),
        );
        r.register(
            "images",
            "Images of admitted Pods by whether a rule matched them",
            self.images.clone(),
        );
        r.register(
            "injected_secrets",
            "Pull secrets added to Pods, by the policy that asked for them",
            self.secrets.clone(),
        );
        r.register(
            "service_account_changes",
            "Service account switches that a rule asked for, by result",
            self.accounts.clone(),
        );
        r.register_with_unit(
            "admission_duration",
            "Time from a request's head to its answer",
            Unit::Seconds,
            self.duration.clone(),
        );
        r.register(
            "admission_in_flight",
            "Admission requests being read or answered now",
            self.in_flight.clone(),
        );
        r.register(
            "connections",
            "Connections open on the admission port now",
            self.connections.clone(),
        );
        r.register(
            "tls_handshake_errors",
            "TLS handshakes on the admission port that failed, by reason",
            self.handshake_errors.clone(),
        );
        r.register(
            "tls_reloads",
            "Changed certificate files that were taken (success) or refused (failure)",
            self.tls_reloads.clone(),
        );
        r.register_with_unit(
            "tls_certificate_expiration_timestamp",
            "When the certificate in use expires, by kind",
            Unit::Seconds,
            self.expirations.clone(),
        );
        r.register(
            "policy_table_info",
            "The digest of the policy table in force, the same in every replica; always 1",
            self.table.clone(),
        );
        r.register(
            "policy_documents",
            "Policy documents in force (loaded) and kept out (rejected)",
            self.documents.clone(),
        );
        r.register("policy_rules", "Rules in force", self.rules.clone());
        r.register(
            "policy_last_reload_successful",
            "Whether the last load of the policies kept no document out",
            self.reload_successful.clone(),
        );
        r.register_with_unit(
            "policy_last_reload_success_timestamp",
            "When the policies were last loaded with no document kept out",
            Unit::Seconds,
            self.reload_timestamp.clone(),
        );
        self.register_cluster(&mut r);
        r
    }

    /// What only a process in a cluster has: no series until it is told of one.
    fn register_cluster(&self, r: &mut Registry) {
        r.register(
            "watch_errors",
            "Lists and watches of the API server that failed, by resource",
            self.watch_errors.clone(),
        );
        r.register(
            "cache_synced",
            "Whether a resource was listed whole at least once, by resource",
            self.cache_synced.clone(),
        );
        r.register(
            "cache_objects",
            "Objects held in memory, by resource",
            self.cache_objects.clone(),
        );
        r.register(
            "leader",
            "Whether this controller is the one that writes",
            self.leader.clone(),
        );
        r.register(
            "reconcile_errors",
            "Attempts of the controller that failed, by what it was to mend",
            self.reconcile_errors.clone(),
        );
        self.credentials.register(r);
    }

    /// A review was answered, this long after its head had come.
    pub fn admitted(&self, facts: &Facts, took: Duration) {
        self.request(facts.operation.as_str(), facts.outcome.as_str(), 1);
        self.duration.observe(took.as_secs_f64());
        for code in &facts.warnings {
            count(&self.warnings, [("code", code.as_str())], 1);
        }
        let images = &facts.images;
        for (result, n) in [
            ("matched", images.matched),
            ("unmatched", images.unmatched),
            ("unreadable", images.unreadable),
        ] {
            if n > 0 {
                count(&self.images, [("result", result)], u64::from(n));
            }
        }
        for (policy, n) in &facts.secrets {
            self.injected(policy, *n);
        }
        if let Some(change) = facts.account {
            count(&self.accounts, [("result", change.as_str())], 1);
        }
    }

    fn injected(&self, policy: &str, n: u32) {
        let mut label = [("policy", policy.to_owned())];
        if let Some(counter) = self.secrets.get(&label) {
            counter.inc_by(u64::from(n));
            return;
        }
        // Two new policies at once may both see the last free place: one series more.
        if self.policies.load(Ordering::Relaxed) < POLICY_SERIES {
            self.policies.fetch_add(1, Ordering::Relaxed);
        } else {
            label = [("policy", OTHER_POLICIES.to_owned())];
        }
        self.secrets.get_or_create(&label).inc_by(u64::from(n));
    }

    /// A body was refused: it holds no review.
    pub fn refused(&self) {
        self.request(UNKNOWN, Outcome::Invalid.as_str(), 1);
    }

    /// Our own code panicked on a request.
    pub fn panicked(&self) {
        self.request(UNKNOWN, "panic", 1);
    }

    fn request(&self, operation: &'static str, outcome: &'static str, n: u64) {
        count(
            &self.requests,
            [("operation", operation), ("outcome", outcome)],
            n,
        );
    }

    /// A request's head has come; it is in flight until the value is dropped.
    #[must_use]
    pub fn in_flight(&self) -> Held {
        Held::new(&self.in_flight)
    }

    /// A connection was accepted; it is open until the value is dropped.
    #[must_use]
    pub fn connection(&self) -> Held {
        Held::new(&self.connections)
    }

    /// A TLS handshake failed.
    pub fn handshake_failed(&self, reason: HandshakeError) {
        count(&self.handshake_errors, [("reason", reason.as_str())], 1);
    }

    /// The certificate files changed; the new ones were taken, or the old ones stay in use.
    pub fn tls_reloaded(&self, taken: bool) {
        count(
            &self.tls_reloads,
            [("result", if taken { "success" } else { "failure" })],
            1,
        );
    }

    /// A certificate came into use that expires then.
    pub fn certificate_expires(&self, kind: CertificateKind, at: SystemTime) {
        self.expirations
            .get_or_create(&[("kind", kind.as_str())])
            .set(timestamp(at));
    }

    /// A resource is going to be watched: its series start here.
    pub fn watching(&self, resource: Resource) {
        let label = [("resource", resource.as_str())];
        count(&self.watch_errors, label, 0);
        self.cache_synced.get_or_create(&label).set(0);
        self.cache_objects.get_or_create(&label).set(0);
    }

    /// A list or watch failed.
    pub fn watch_failed(&self, resource: Resource) {
        count(&self.watch_errors, [("resource", resource.as_str())], 1);
    }

    /// A resource was listed whole; this many objects are held.
    pub fn cached(&self, resource: Resource, objects: usize) {
        let label = [("resource", resource.as_str())];
        self.cache_synced.get_or_create(&label).set(1);
        self.cache_objects
            .get_or_create(&label)
            .set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    /// Whether this process is the one that writes.
    pub fn leader(&self, is: bool) {
        self.leader.get_or_create(&[]).set(i64::from(is));
    }

    /// A controller is going to look after this: its series start here.
    pub fn reconciling(&self, kind: Reconcile) {
        count(&self.reconcile_errors, [("kind", kind.as_str())], 0);
    }

    /// An attempt of the controller failed.
    pub fn reconcile_failed(&self, kind: Reconcile) {
        count(&self.reconcile_errors, [("kind", kind.as_str())], 1);
    }

    /// The policies were loaded; with documents kept out it counts as not successful.
    pub fn policy_reloaded(&self, reload: PolicyReload<'_>) {
        self.table.clear();
        self.table
            .get_or_create(&[("digest", reload.digest.to_owned())])
            .set(1);
        for (state, n) in [("loaded", reload.loaded), ("rejected", reload.rejected)] {
            self.documents
                .get_or_create(&[("state", state)])
                .set(gauge(n));
        }
        self.rules.set(gauge(reload.rules));
        self.reload_successful.set(i64::from(reload.rejected == 0));
        if reload.rejected == 0 {
            self.reload_timestamp.set(timestamp(reload.at));
        }
    }

    /// The policies could not even be read; the table in force stays.
    pub fn policy_reload_failed(&self) {
        self.reload_successful.set(0);
    }

    /// All metrics as OpenMetrics text, for [`CONTENT_TYPE`].
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a `String` cannot fail, and no metric of ours refuses to be written.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}

fn count<const N: usize>(family: &Family<Labels<N>, Counter>, labels: Labels<N>, n: u64) {
    family.get_or_create(&labels).inc_by(n);
}

fn gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn timestamp(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::admission::ImageCounts;
    use crate::diagnostic::Code;
    use crate::plan::secrets::Obstacle;

    fn facts() -> Facts {
        Facts {
            operation: Operation::Create,
            outcome: Outcome::Patched,
            warnings: vec![Code::AccountMissing],
            images: ImageCounts {
                matched: 2,
                unmatched: 1,
                unreadable: 1,
            },
            secrets: vec![(Arc::from("company"), 2)],
            account: Some(AccountChange::Missing),
            uid: String::new(),
            namespace: String::new(),
            pod: String::new(),
            rules: String::new(),
            held: String::new(),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "the table has that many rows")]
    fn each_event_moves_its_metric_and_no_other() {
        let reload = |rejected| PolicyReload {
            digest: "d1",
            loaded: 3,
            rejected,
            rules: 7,
            at: at(1000),
        };
        #[expect(clippy::type_complexity, reason = "a table of a test")]
        let rows: [(&str, Box<dyn Fn(&Metrics)>, &[&str]); 19] = [
            (
                "an answered review",
                Box::new(|m| m.admitted(&facts(), Duration::from_micros(80))),
                &[
                    r#"pullpass_admission_requests_total{operation="CREATE",outcome="patched"} 1"#,
                    r#"pullpass_admission_warnings_total{code="PP203"} 1"#,
                    r#"pullpass_images_total{result="matched"} 2"#,
                    r#"pullpass_images_total{result="unmatched"} 1"#,
                    r#"pullpass_images_total{result="unreadable"} 1"#,
                    r#"pullpass_injected_secrets_total{policy="company"} 2"#,
                    r#"pullpass_service_account_changes_total{result="missing"} 1"#,
                    r#"pullpass_admission_duration_seconds_bucket{le="0.0001"} 1"#,
                    r#"pullpass_admission_duration_seconds_bucket{le="0.00025"} 1"#,
                    r#"pullpass_admission_duration_seconds_bucket{le="0.0005"} 1"#,
                    r#"pullpass_admission_duration_seconds_bucket{le="0.001"} 1"#,
                    r#"pullpass_admission_duration_seconds_bucket{le="0.005"} 1"#,
                    r#"pullpass_admission_duration_seconds_bucket{le="0.025"} 1"#,
                    r#"pullpass_admission_duration_seconds_bucket{le="0.1"} 1"#,
                    r#"pullpass_admission_duration_seconds_bucket{le="0.5"} 1"#,
                    r#"pullpass_admission_duration_seconds_bucket{le="1.0"} 1"#,
                    r#"pullpass_admission_duration_seconds_bucket{le="+Inf"} 1"#,
                    "pullpass_admission_duration_seconds_count 1",
                    "pullpass_admission_duration_seconds_sum 0.00008",
                ],
            ),
            (
                "a body that is no review",
                Box::new(Metrics::refused),
                &[r#"pullpass_admission_requests_total{operation="unknown",outcome="invalid"} 1"#],
            ),
            (
                "a panic of ours",
                Box::new(Metrics::panicked),
                &[r#"pullpass_admission_requests_total{operation="unknown",outcome="panic"} 1"#],
            ),
            (
                "a handshake that took too long",
                Box::new(|m| m.handshake_failed(HandshakeError::Timeout)),
                &[r#"pullpass_tls_handshake_errors_total{reason="timeout"} 1"#],
            ),
            (
                "a new certificate taken",
                Box::new(|m| m.tls_reloaded(true)),
                &[r#"pullpass_tls_reloads_total{result="success"} 1"#],
            ),
            (
                "a bad certificate refused",
                Box::new(|m| m.tls_reloaded(false)),
                &[r#"pullpass_tls_reloads_total{result="failure"} 1"#],
            ),
            (
                "a certificate in use",
                Box::new(|m| m.certificate_expires(CertificateKind::Serving, at(5))),
                &[r#"pullpass_tls_certificate_expiration_timestamp_seconds{kind="serving"} 5.0"#],
            ),
            (
                "policies loaded",
                Box::new(move |m| m.policy_reloaded(reload(0))),
                &[
                    r#"pullpass_policy_table_info{digest="d1"} 1"#,
                    r#"pullpass_policy_documents{state="loaded"} 3"#,
                    r#"pullpass_policy_documents{state="rejected"} 0"#,
                    "pullpass_policy_rules 7",
                    "pullpass_policy_last_reload_successful 1",
                    "pullpass_policy_last_reload_success_timestamp_seconds 1000.0",
                ],
            ),
            (
                "policies loaded but for one document",
                Box::new(move |m| m.policy_reloaded(reload(1))),
                &[
                    r#"pullpass_policy_table_info{digest="d1"} 1"#,
                    r#"pullpass_policy_documents{state="loaded"} 3"#,
                    r#"pullpass_policy_documents{state="rejected"} 1"#,
                    "pullpass_policy_rules 7",
                ],
            ),
            (
                "a resource that is going to be watched",
                Box::new(|m| m.watching(Resource::Namespaces)),
                &[
                    r#"pullpass_watch_errors_total{resource="namespaces"} 0"#,
                    r#"pullpass_cache_synced{resource="namespaces"} 0"#,
                    r#"pullpass_cache_objects{resource="namespaces"} 0"#,
                ],
            ),
            (
                "a watch that failed",
                Box::new(|m| m.watch_failed(Resource::Policies)),
                &[r#"pullpass_watch_errors_total{resource="configmaps"} 1"#],
            ),
            (
                "a resource that is there whole",
                Box::new(|m| m.cached(Resource::ServiceAccounts, 3)),
                &[
                    r#"pullpass_cache_synced{resource="serviceaccounts"} 1"#,
                    r#"pullpass_cache_objects{resource="serviceaccounts"} 3"#,
                ],
            ),
            (
                "the one that writes",
                Box::new(|m| m.leader(true)),
                &["pullpass_leader{} 1"],
            ),
            (
                "a value that was fetched",
                Box::new(|m| {
                    m.credential_fetched("ecr", Duration::from_secs(3));
                    m.credential_refreshed("hub", true);
                }),
                &[
                    r#"pullpass_credential_refreshes_total{credential="hub",result="success"} 1"#,
                    r#"pullpass_credential_fetch_duration_seconds_bucket{le="0.05",source="ecr"} 0"#,
                    r#"pullpass_credential_fetch_duration_seconds_bucket{le="0.25",source="ecr"} 0"#,
                    r#"pullpass_credential_fetch_duration_seconds_bucket{le="1.0",source="ecr"} 0"#,
                    r#"pullpass_credential_fetch_duration_seconds_bucket{le="2.5",source="ecr"} 0"#,
                    r#"pullpass_credential_fetch_duration_seconds_bucket{le="5.0",source="ecr"} 1"#,
                    r#"pullpass_credential_fetch_duration_seconds_bucket{le="10.0",source="ecr"} 1"#,
                    r#"pullpass_credential_fetch_duration_seconds_bucket{le="+Inf",source="ecr"} 1"#,
                    r#"pullpass_credential_fetch_duration_seconds_count{source="ecr"} 1"#,
                    r#"pullpass_credential_fetch_duration_seconds_sum{source="ecr"} 3.0"#,
                ],
            ),
            (
                "a value that could not be",
                Box::new(|m| m.credential_refreshed("hub", false)),
                &[r#"pullpass_credential_refreshes_total{credential="hub",result="failure"} 1"#],
            ),
            (
                "a Secret in whose way a quota was",
                Box::new(|m| m.secret_written("hub", SecretWrite::Hindered(Obstacle::Quota))),
                &[r#"pullpass_secret_writes_total{credential="hub",result="quota"} 1"#],
            ),
            (
                "how a credential fares",
                Box::new(|m| {
                    let state = CredentialState {
                        fresh: 4,
                        orphaned: 1,
                        expires: Some(at(9)),
                        renewal: Some(at(6)),
                        ..CredentialState::default()
                    };
                    m.credentials_fare(&BTreeMap::from([("hub", state)]));
                }),
                &[
                    r#"pullpass_credential_secrets{credential="hub",state="fresh"} 4"#,
                    r#"pullpass_credential_secrets{credential="hub",state="orphaned"} 1"#,
                    r#"pullpass_credential_expiration_timestamp_seconds{credential="hub"} 9.0"#,
                    r#"pullpass_credential_renewal_timestamp_seconds{credential="hub"} 6.0"#,
                ],
            ),
            (
                "Pods that are held",
                Box::new(|m| m.pods_held(2, Duration::from_secs(7))),
                &[
                    "pullpass_held_pods{} 2",
                    "pullpass_oldest_held_pod_age_seconds{} 7.0",
                ],
            ),
            (
                "an attempt that failed",
                Box::new(|m| m.reconcile_failed(Reconcile::Lease)),
                &[r#"pullpass_reconcile_errors_total{kind="lease"} 1"#],
            ),
        ];
        for (event, happen, want) in rows {
            let metrics = Metrics::new();
            let known = BTreeMap::from([("hub", CredentialState::default())]);
            metrics.credentials_fare(&known);
            let before = metrics.render();
            happen(&metrics);
            let after = metrics.render();
            let mut moved: Vec<_> = after
                .lines()
                .filter(|line| !line.starts_with('#') && !before.lines().any(|b| b == *line))
                .collect();
            let mut want = want.to_vec();
            moved.sort_unstable();
            want.sort_unstable();
            assert_eq!(moved, want, "{event}");
        }
    }

    #[test]
    fn a_new_table_takes_the_old_ones_place() {
        let metrics = Metrics::new();
        for digest in ["d1", "d2"] {
            metrics.policy_reloaded(PolicyReload {
                digest,
                loaded: 1,
                rejected: 0,
                rules: 1,
                at: at(1),
            });
        }
        let text = metrics.render();
        assert!(
            !text.contains("d1") && text.contains(r#"digest="d2""#),
            "{text}"
        );
        metrics.policy_reload_failed();
        assert!(
            metrics
                .render()
                .contains("pullpass_policy_last_reload_successful 0")
        );
    }

    #[test]
    fn gauges_follow_what_is_held() {
        let metrics = Metrics::new();
        let held = (metrics.in_flight(), metrics.connection());
        let text = metrics.render();
        assert!(text.contains("pullpass_admission_in_flight 1"), "{text}");
        assert!(text.contains("pullpass_connections 1"), "{text}");
        drop(held);
        let text = metrics.render();
        assert!(text.contains("pullpass_admission_in_flight 0"), "{text}");
        assert!(text.contains("pullpass_connections 0"), "{text}");
    }

    #[test]
    fn no_number_of_policies_makes_the_series_many() {
        let metrics = Metrics::new();
        for n in 0..1000 {
            metrics.injected(&format!("policy-{n}"), 1);
        }
        for code in Code::ALL {
            count(&metrics.warnings, [("code", code.as_str())], 1);
        }
        let text = metrics.render();
        assert!(text.contains(r#"{policy="(others)"} 900"#), "{text}");
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(series <= 300, "{series} series");
    }

    #[test]
    fn every_metric_has_a_help_text_and_our_prefix() {
        let metrics = Metrics::new();
        metrics.admitted(&facts(), Duration::ZERO);
        let text = metrics.render();
        assert!(text.ends_with("# EOF\n"));
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(name.starts_with("pullpass_"), "{name}");
            assert!(
                text.contains(&format!("# HELP {name} ")),
                "{name} has no help"
            );
        }
    }
}
