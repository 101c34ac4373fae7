//! The loop that keeps certificates: watches what a plan reads, and carries out what it says.
//!
//! It runs in every replica, so that a new leader knows all there is to know; only the leader gets
//! anything written. It decides nothing: what to do is the plan's, how to write the writer's.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::{Config, Error, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::apply::{Content, Expected, OURS, WriteError, Writer};
use super::configurations::{
    Configured, MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use super::events::{Happening, Notice, Regarding, Teller};
use super::facts::{self, CERTIFICATE, COMPLETE_SINCE, KEY, PREVIOUS, VOUCHER};
use super::lease::random;
use crate::cluster::explain::explain;
use crate::cluster::watch::{Watched, watch};
use crate::install::{CA_SECRET, EPHEMERAL_CONFIGURATION, POLICIES_CONFIGURATION};
use crate::metrics::{self, CertificateKind, Metrics, Reconcile};
use crate::plan::certificates::{
    self as plan, Action, Authority, Ca, Configuration, ConfigurationId, ConfigurationKind,
    Fingerprint, Held, Plan, Seen, Serving, Step, Subject, Wanted,
};
use crate::server::certificate::{self, CertificateError, Keyed};
use crate::server::health::{Check, State, Switch};

/// A clock may be set: the plan is looked at again at least this often.
const LOOK: Duration = Duration::from_secs(60);
/// After a failure; each later one waits twice as long, up to [`LONGEST`].
const AGAIN: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// What was read was not what is there: the watch is about to say so.
const STALE: Duration = Duration::from_millis(200);
/// So many rounds of writing may follow each other at once, then one for each [`CALM`]: somebody
/// who undoes what we do, again and again, is not answered at full speed.
const ROUNDS: u32 = 20;
const CALM: Duration = Duration::from_secs(3);

/// What is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// pullpass's own namespace.
    pub namespace: String,
    /// The Secret of the serving certificate.
    pub tls_secret: String,
    /// The mutating configuration whose caBundle is kept, and with it those of the validating
    /// ones. None: no caBundle is touched.
    pub configuration: Option<String>,
    /// How the certificates should be.
    pub wanted: Wanted,
}

/// Why a step was not carried out.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Make(#[from] CertificateError),
    #[error("what was made cannot be used; this is a bug in pullpass")]
    Unusable,
    #[error("what the plan was made of is gone")]
    Gone,
}

/// One object that is watched by its name.
struct Slot<K> {
    listing: Option<K>,
    /// None: not listed yet.
    object: Option<Option<K>>,
}

impl<K: Resource> Slot<K> {
    fn new() -> Self {
        Self {
            listing: None,
            object: None,
        }
    }

    fn take(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.listing = None,
            Event::InitApply(object) => self.listing = Some(object),
            Event::InitDone => self.object = Some(self.listing.take()),
            Event::Apply(object) => {
                if !self.is_older(&object) {
                    self.object = Some(Some(object));
                }
            }
            Event::Delete(object) => {
                if !self.is_older(&object) {
                    self.object = Some(None);
                }
            }
        }
    }

    /// The answer to our own write may have come before what the watch still has to tell.
    fn is_older(&self, object: &K) -> bool {
        let version = |object: &K| object.meta().resource_version.as_ref()?.parse::<u64>().ok();
        let held = self.object.as_ref().and_then(Option::as_ref);
        match (held.and_then(version), version(object)) {
            (Some(held), Some(other)) => other < held,
            _ => false,
        }
    }

    fn get(&self) -> Option<&K> {
        self.object.as_ref()?.as_ref()
    }
}

type Changes<K> = Pin<Box<dyn Stream<Item = Result<Event<K>, Error>> + Send>>;

/// A watched object and its watch.
struct Watching<K> {
    slot: Slot<K>,
    changes: Changes<K>,
    told: Watched,
}

impl<K> Watching<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// By its name: no other object of the kind may be read, so none is asked for.
    fn new(
        api: Api<K>,
        check: &'static str,
        name: &str,
        resource: metrics::Resource,
        metrics: &Arc<Metrics>,
    ) -> (Self, Check) {
        let config = Config::default().fields(&format!("metadata.name={name}"));
        let what = format!("the {} `{name}`", K::kind(&()));
        let (told, check) = Watched::new(check, what, resource, Arc::clone(metrics));
        let watching = Self {
            slot: Slot::new(),
            changes: Box::pin(watch(api, config)),
            told,
        };
        (watching, check)
    }

    /// Takes the next change. Cancel-safe: a stream keeps what it has not given.
    async fn next(&mut self) {
        match self.changes.next().await {
            Some(Ok(event)) => {
                self.slot.take(event);
                if let Some(object) = &self.slot.object {
                    let said = if object.is_some() {
                        "read"
                    } else {
                        "not there yet"
                    };
                    self.told.synced(usize::from(object.is_some()), said);
                }
            }
            Some(Err(error)) => self.told.failed(&error),
            // A watch has no end.
            None => std::future::pending().await,
        }
    }
}

/// The configurations whose caBundles are kept.
struct Configurations {
    name: String,
    mutating: Watching<MutatingWebhookConfiguration>,
    policies: Watching<ValidatingWebhookConfiguration>,
    ephemeral: Watching<ValidatingWebhookConfiguration>,
}

/// Keeps the certificates of a cluster.
pub struct Certificates {
    options: Options,
    writer: Writer,
    teller: Teller,
    metrics: Arc<Metrics>,
    switch: Switch,
    ca: Watching<Secret>,
    serving: Watching<Secret>,
    configurations: Option<Configurations>,
    /// The serving certificate that is there, and since when.
    since: Option<(Fingerprint, Instant)>,
    budget: (u32, Instant),
}

/// What follows a round.
enum Round {
    /// Look again at once: something was written.
    Again,
    /// Nothing is left to do until then, or until something changes.
    Rest(Duration),
    /// It failed.
    Failed,
    /// What was read is not what is there.
    Stale,
}

impl Certificates {
    /// A loop that has not begun, and its conditions of readiness.
    #[must_use]
    pub fn new(
        client: &Client,
        options: Options,
        writer: Writer,
        teller: Teller,
        metrics: Arc<Metrics>,
    ) -> (Self, Vec<Check>) {
        metrics.reconciling(Reconcile::Certificates);
        let first = State::waiting("nothing is known of them yet", "wait a moment");
        let (check, switch) = Check::switch("certificates", first);
        let mut checks = vec![check];
        let secrets = Api::<Secret>::namespaced(client.clone(), &options.namespace);
        let resource = metrics::Resource::Secrets;
        let (ca, check) =
            Watching::new(secrets.clone(), "ca-secret", CA_SECRET, resource, &metrics);
        checks.push(check);
        let name = &options.tls_secret;
        let (serving, check) = Watching::new(secrets, "tls-secret", name, resource, &metrics);
        checks.push(check);
        let configurations = options.configuration.as_ref().map(|name| {
            let resource = metrics::Resource::WebhookConfigurations;
            let mutating = Api::all(client.clone());
            let validating = Api::all(client.clone());
            let of = |name| Watching::new(validating.clone(), name, name, resource, &metrics);
            let (mutating, a) =
                Watching::new(mutating, "webhook-configuration", name, resource, &metrics);
            let (policies, b) = of(POLICIES_CONFIGURATION);
            let (ephemeral, c) = of(EPHEMERAL_CONFIGURATION);
            checks.extend([a, b, c]);
            Configurations {
                name: name.clone(),
                mutating,
                policies,
                ephemeral,
            }
        });
        let certificates = Self {
            options,
            writer,
            teller,
            metrics,
            switch,
            ca,
            serving,
            configurations,
            since: None,
            budget: (ROUNDS, Instant::now()),
        };
        (certificates, checks)
    }

    /// Keeps them until told to stop. A step that has begun is ended.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut failures = 0_u32;
        let mut leadership = self.writer.clone();
        while !*stop.borrow() {
            // Asked first: what changes during the round is news behind it.
            let led = self.writer.leads();
            let pause = match self.round().await {
                Round::Again => {
                    failures = 0;
                    self.breathe()
                }
                Round::Rest(pause) => {
                    failures = 0;
                    pause
                }
                Round::Stale => STALE,
                Round::Failed => {
                    failures = failures.saturating_add(1);
                    backoff(failures)
                }
            };
            // What changes meanwhile does not make a failure be tried at once, again and again.
            let asleep = sleep(pause);
            tokio::pin!(asleep);
            let patient = failures > 0;
            loop {
                // Each arm can be dropped: a watch keeps what it has not given.
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => return,
                    () = &mut asleep => break,
                    () = self.changed() => if !patient { break },
                    // A renewal is no news.
                    () = leadership.leadership_changed() => {
                        if !patient && self.writer.leads() != led { break }
                    }
                }
            }
        }
    }

    /// How long to wait before the next round of writing.
    fn breathe(&mut self) -> Duration {
        let now = Instant::now();
        let (left, refilled) = &mut self.budget;
        while *left < ROUNDS && now >= *refilled + CALM {
            *left += 1;
            *refilled += CALM;
        }
        if *left == ROUNDS {
            *refilled = now;
        }
        if *left == 0 {
            tracing::warn!("somebody undoes what is written, again and again");
            return CALM;
        }
        *left -= 1;
        Duration::ZERO
    }

    async fn changed(&mut self) {
        // Each arm can be dropped: a watch keeps what it has not given.
        match &mut self.configurations {
            Some(all) => tokio::select! {
                () = self.ca.next() => {}
                () = self.serving.next() => {}
                () = all.mutating.next() => {}
                () = all.policies.next() => {}
                () = all.ephemeral.next() => {}
            },
            None => tokio::select! {
                () = self.ca.next() => {}
                () = self.serving.next() => {}
            },
        }
    }

    /// Looks, and does what is to be done.
    async fn round(&mut self) -> Round {
        let Some(seen) = self.look() else {
            return Round::Rest(LOOK);
        };
        let now = SystemTime::now();
        let plan = plan::plan(&seen, &self.options.wanted, now);
        self.show(&seen, &plan, now);
        if !plan.foreign.is_empty() {
            self.foreign(&plan.foreign);
            return Round::Rest(LOOK);
        }
        if plan.steps.is_empty() || !self.writer.leads() {
            let until = plan.wake.and_then(|wake| wake.duration_since(now).ok());
            return Round::Rest(until.unwrap_or(LOOK).min(LOOK));
        }
        for step in plan.steps {
            match self.carry_out(&seen, &step).await {
                Ok(()) => {}
                Err(StepError::Write(WriteError::NotLeading)) => return Round::Rest(LOOK),
                Err(StepError::Gone) => return Round::Stale,
                Err(StepError::Write(error)) if error.is_stale() => {
                    tracing::debug!(reason = step.reason.as_str(), "looking again");
                    return Round::Stale;
                }
                Err(error) => {
                    self.failed(&step, &error);
                    return Round::Failed;
                }
            }
        }
        Round::Again
    }

    /// All that a plan is made of, once everything is listed.
    fn look(&mut self) -> Option<Seen> {
        let configurations = self.configurations()?;
        let ca_secret = self.ca.slot.object.as_ref()?.as_ref();
        let ca = held(ca_secret, |secret| {
            let annotations = secret.metadata.annotations.clone().unwrap_or_default();
            facts::ca(data(secret), &annotations)
        });
        let serving_secret = self.serving.slot.object.as_ref()?.as_ref();
        let mut known: Vec<&Authority> = Vec::new();
        if let Held::Whole(ca) = &ca {
            known.push(&ca.authority);
            known.extend(&ca.previous);
        }
        let entries = configurations.iter().flat_map(|c| &c.entries);
        known.extend(entries.flat_map(|entry| &entry.authorities));
        let known = facts::each_once(known.into_iter());
        let since = &mut self.since;
        let serving = held(serving_secret, |secret| {
            facts::serving(data(secret), &known, |fingerprint| {
                let (_, at) = *match since {
                    Some(same) if same.0 == fingerprint => same,
                    other => other.insert((fingerprint, Instant::now())),
                };
                let now = SystemTime::now();
                now.checked_sub(at.elapsed()).unwrap_or(now)
            })
        });
        Some(Seen {
            ca,
            serving,
            configurations,
        })
    }

    fn configurations(&self) -> Option<Vec<Configuration>> {
        let Some(all) = &self.configurations else {
            return Some(Vec::new());
        };
        let mutating = seen(&all.mutating.slot, ConfigurationKind::Mutating, &all.name);
        let validating = |watching: &Watching<_>, name| {
            seen(&watching.slot, ConfigurationKind::Validating, name)
        };
        let all = [
            mutating?,
            validating(&all.policies, POLICIES_CONFIGURATION)?,
            validating(&all.ephemeral, EPHEMERAL_CONFIGURATION)?,
        ];
        Some(all.into_iter().flatten().collect())
    }

    async fn carry_out(&mut self, seen: &Seen, step: &Step) -> Result<(), StepError> {
        let reason = &step.reason;
        match &step.action {
            Action::MakeCa { validity, keep } => {
                let made = certificate::authority(*validity)?;
                let content = content_of_ca(&made, keep, None);
                self.write_ca(content).await?;
                tracing::info!(%reason, "made a CA");
                self.rotated(Subject::Ca, &format!("made a CA: {reason}"));
            }
            Action::Keep { previous } => {
                let content = content_of_ca(&self.ca_pair()?, previous, None);
                self.write_ca(content).await?;
                tracing::info!(%reason, "kept CAs of the caBundles");
            }
            Action::Mark { complete_since } => {
                let ca = whole(&seen.ca)?;
                let content = content_of_ca(&self.ca_pair()?, &ca.previous, *complete_since);
                self.write_ca(content).await?;
                tracing::debug!(%reason, "noted how far the CA is known");
            }
            Action::DropOld => {
                let content = content_of_ca(&self.ca_pair()?, &[], None);
                self.write_ca(content).await?;
                tracing::info!(%reason, "dropped the CA before");
            }
            Action::MakeServing { validity } => {
                let ca = whole(&seen.ca)?;
                let names = &self.options.wanted.names;
                let made = certificate::serving(&self.ca_pair()?, names, *validity)?;
                let content = content_of_serving(&made, ca)?;
                let name = self.options.tls_secret.clone();
                let expected = expected(self.serving.slot.get())?;
                let secret = self.writer.secret(&name, &expected, &content).await?;
                self.serving.slot.take(Event::Apply(secret));
                tracing::info!(%reason, "made a serving certificate");
                let note = format!("made a serving certificate: {reason}");
                self.rotated(Subject::Serving, &note);
            }
            Action::ApplyBundle {
                configuration,
                entries,
                bundle,
            } => {
                self.write_bundle(configuration, entries, bundle).await?;
                tracing::info!(%configuration, %reason, "set the caBundle");
                self.teller.tell(Notice {
                    regarding: about(configuration),
                    happening: Happening::CertificateRotated,
                    note: format!("set the caBundle: {reason}"),
                });
            }
        }
        Ok(())
    }

    /// The CA's pair as it stands in its Secret.
    fn ca_pair(&self) -> Result<Keyed, StepError> {
        let secret = self.ca.slot.get().ok_or(StepError::Gone)?;
        let text = |key| {
            let bytes = data(secret).get(key).ok_or(StepError::Gone)?;
            String::from_utf8(bytes.0.clone()).map_err(|_| StepError::Unusable)
        };
        Ok(Keyed {
            certificate: text(CERTIFICATE)?,
            key: text(KEY)?,
        })
    }

    async fn write_ca(&mut self, content: Content) -> Result<(), StepError> {
        // A CA that could not be read again would be made again, for ever.
        facts::ca(&content.data, &content.annotations).map_err(|_| StepError::Unusable)?;
        let expected = expected(self.ca.slot.get())?;
        let secret = self.writer.secret(CA_SECRET, &expected, &content).await?;
        self.ca.slot.take(Event::Apply(secret));
        Ok(())
    }

    async fn write_bundle(
        &mut self,
        id: &ConfigurationId,
        entries: &[String],
        bundle: &str,
    ) -> Result<(), StepError> {
        let all = self.configurations.as_mut().ok_or(StepError::Gone)?;
        let validating = match id.kind {
            ConfigurationKind::Mutating => {
                let object = self.writer.bundle(&id.name, entries, bundle).await?;
                all.mutating.slot.take(Event::Apply(object));
                return Ok(());
            }
            ConfigurationKind::Validating if id.name == POLICIES_CONFIGURATION => &mut all.policies,
            ConfigurationKind::Validating => &mut all.ephemeral,
        };
        let object = self.writer.bundle(&id.name, entries, bundle).await?;
        validating.slot.take(Event::Apply(object));
        Ok(())
    }

    fn regarding(&self, subject: Subject) -> Regarding {
        Regarding {
            api_version: "v1",
            kind: "Secret",
            namespace: Some(self.options.namespace.clone()),
            name: match subject {
                Subject::Ca => CA_SECRET.to_owned(),
                Subject::Serving => self.options.tls_secret.clone(),
            },
        }
    }

    fn rotated(&self, subject: Subject, note: &str) {
        self.teller.tell(Notice {
            regarding: self.regarding(subject),
            happening: Happening::CertificateRotated,
            note: note.to_owned(),
        });
    }

    /// A step could not be carried out: counted, logged, told, and readiness says it.
    fn failed(&self, step: &Step, error: &StepError) {
        self.metrics.reconcile_failed(Reconcile::Certificates);
        let (regarding, what) = match &step.action {
            Action::ApplyBundle { configuration, .. } => {
                let what = format!("the caBundle of the {configuration}");
                (about(configuration), what)
            }
            Action::MakeServing { .. } => {
                let regarding = self.regarding(Subject::Serving);
                let what = format!("the Secret `{}`", regarding.name);
                (regarding, what)
            }
            _ => (
                self.regarding(Subject::Ca),
                format!("the Secret `{CA_SECRET}`"),
            ),
        };
        let status = match error {
            StepError::Write(error) => error.status(),
            _ => None,
        };
        let (why, mend) = explain(&what, "written", status, error);
        let reason = &step.reason;
        tracing::error!(%reason, why, mend, "cannot keep the certificates");
        self.teller.tell(Notice {
            regarding,
            happening: Happening::CertificateRotationFailed,
            note: format!("{why}; {mend} ({reason})"),
        });
        self.switch.set(State::waiting(why, mend));
    }

    /// A Secret of others stands where ours should be.
    fn foreign(&self, subjects: &[Subject]) {
        for subject in subjects {
            let regarding = self.regarding(*subject);
            let (why, mend) = explain_foreign(&regarding.name);
            tracing::error!(why, mend, "cannot keep the certificates");
            self.metrics.reconcile_failed(Reconcile::Certificates);
            self.teller.tell(Notice {
                regarding,
                happening: Happening::CertificateRotationFailed,
                note: format!("{why}; {mend}"),
            });
            self.switch.set(State::waiting(why, mend));
        }
    }

    /// Readiness and metrics.
    fn show(&self, seen: &Seen, plan: &Plan, now: SystemTime) {
        if let Held::Whole(ca) = &seen.ca {
            let at = ca.authority.validity.not_after;
            self.metrics.certificate_expires(CertificateKind::Ca, at);
        }
        if let Held::Whole(serving) = &seen.serving {
            let at = serving.validity.not_after;
            self.metrics
                .certificate_expires(CertificateKind::Serving, at);
        }
        if !plan.foreign.is_empty() {
            return;
        }
        if let Some(step) = plan.steps.first() {
            // A moment before it is done, or while another replica leads.
            let reason = step.reason.to_string();
            let mend = "nothing: the replica that leads is about to mend it";
            let state = if is_good(seen, now) {
                State::ready(format!("in use; to be changed: {reason}"))
            } else {
                State::waiting(reason, mend)
            };
            self.switch.set(state);
        } else if let (Held::Whole(ca), Held::Whole(_)) = (&seen.ca, &seen.serving) {
            self.switch.set(State::ready(if ca.previous.is_empty() {
                "in order"
            } else {
                "in use; the CA is being replaced"
            }));
        } else {
            let why = "the serving certificate is lost and waits for its CA to be known";
            let mend = "nothing: it is made within a minute";
            self.switch.set(State::waiting(why, mend));
        }
    }
}

/// Whether what is there could be served with.
fn is_good(seen: &Seen, now: SystemTime) -> bool {
    match &seen.serving {
        Held::Whole(serving) => {
            let validity = serving.validity;
            now >= validity.not_before && now <= validity.not_after && !serving.signed_by.is_empty()
        }
        _ => false,
    }
}

fn explain_foreign(name: &str) -> (String, &'static str) {
    let (label, value) = OURS;
    (
        format!("the Secret `{name}` is not pullpass's: it has no label `{label}: {value}`"),
        "delete or rename it, or give `--tls-secret` another name; it is never overwritten",
    )
}

fn held<T>(
    secret: Option<&Secret>,
    read: impl FnOnce(&Secret) -> Result<T, plan::Flaw>,
) -> Held<T> {
    let Some(secret) = secret else {
        return Held::Absent;
    };
    let labels = secret.metadata.labels.as_ref();
    let (label, value) = OURS;
    if labels
        .and_then(|labels| labels.get(label))
        .map(String::as_str)
        != Some(value)
    {
        return Held::Foreign;
    }
    match read(secret) {
        Ok(held) => Held::Whole(held),
        Err(flaw) => Held::Unusable(flaw),
    }
}

fn seen<K: Resource + Configured>(
    slot: &Slot<K>,
    kind: ConfigurationKind,
    name: &str,
) -> Option<Option<Configuration>> {
    let object = slot.object.as_ref()?.as_ref();
    Some(object.map(|object| Configuration {
        id: ConfigurationId {
            kind,
            name: name.to_owned(),
        },
        entries: object.entries(),
    }))
}

fn about(id: &ConfigurationId) -> Regarding {
    Regarding {
        api_version: "admissionregistration.k8s.io/v1",
        kind: id.kind.as_str(),
        namespace: None,
        name: id.name.clone(),
    }
}

/// A Secret's data; there may be none.
fn data(secret: &Secret) -> &BTreeMap<String, ByteString> {
    static NOTHING: BTreeMap<String, ByteString> = BTreeMap::new();
    secret.data.as_ref().unwrap_or(&NOTHING)
}

fn whole(ca: &Held<Ca>) -> Result<&Ca, StepError> {
    match ca {
        Held::Whole(ca) => Ok(ca),
        _ => Err(StepError::Gone),
    }
}

fn expected(secret: Option<&Secret>) -> Result<Expected, StepError> {
    let Some(secret) = secret else {
        return Ok(Expected::Absent);
    };
    let metadata = &secret.metadata;
    match (&metadata.uid, &metadata.resource_version) {
        (Some(uid), Some(version)) => Ok(Expected::Version {
            uid: uid.clone(),
            version: version.clone(),
        }),
        _ => Err(StepError::Gone),
    }
}

fn content_of_ca(
    pair: &Keyed,
    previous: &[Authority],
    complete_since: Option<SystemTime>,
) -> Content {
    let mut data = BTreeMap::from([
        (CERTIFICATE.to_owned(), bytes(&pair.certificate)),
        (KEY.to_owned(), bytes(&pair.key)),
    ]);
    if !previous.is_empty() {
        let previous: String = previous.iter().map(|a| a.pem.as_str()).collect();
        data.insert(PREVIOUS.to_owned(), bytes(&previous));
    }
    let since = complete_since.and_then(facts::annotation);
    let annotations = since.map(|since| (COMPLETE_SINCE.to_owned(), since));
    Content {
        data,
        annotations: annotations.into_iter().collect(),
    }
}

fn content_of_serving(pair: &Keyed, ca: &Ca) -> Result<Content, StepError> {
    let data = BTreeMap::from([
        (CERTIFICATE.to_owned(), bytes(&pair.certificate)),
        (KEY.to_owned(), bytes(&pair.key)),
        (VOUCHER.to_owned(), bytes(&ca.bundle())),
    ]);
    // One that the CA does not vouch for would be made again, for ever.
    let made = facts::serving(&data, &[&ca.authority], |_| SystemTime::now());
    match made {
        Ok(Serving { signed_by, .. }) if !signed_by.is_empty() => Ok(Content {
            data,
            annotations: BTreeMap::new(),
        }),
        _ => Err(StepError::Unusable),
    }
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

/// Twice as long after each failure, and up to a fifth less, so that nobody calls in step.
fn backoff(failures: u32) -> Duration {
    let doubled = AGAIN * 2_u32.saturating_pow(failures.saturating_sub(1).min(10));
    let time = doubled.min(LONGEST);
    let less = u32::try_from(random() % 200).unwrap_or(0);
    time - time * less / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(version: &str) -> Secret {
        let secret = json!({"metadata": {"name": "s", "resourceVersion": version}});
        serde_json::from_value(secret).unwrap()
    }

    #[test]
    fn a_slot_holds_what_is_newest() {
        let version = |slot: &Slot<Secret>| {
            let object = slot.object.as_ref();
            object.map(|object| {
                object
                    .as_ref()
                    .and_then(|s| s.metadata.resource_version.clone())
            })
        };
        let mut slot = Slot::new();
        let is = |text: &str| Some(Some(text.to_owned()));
        for (event, want, why) in [
            (Event::Init, None, "nothing is known yet"),
            (Event::InitApply(secret("3")), None, "the list is not whole"),
            (Event::InitDone, is("3"), "listed"),
            (
                Event::Apply(secret("9")),
                is("9"),
                "the answer to our own write",
            ),
            (
                Event::Apply(secret("5")),
                is("9"),
                "what the watch still had to tell",
            ),
            (
                Event::Delete(secret("4")),
                is("9"),
                "the deletion before our write",
            ),
            (Event::Delete(secret("12")), Some(None), "deleted"),
            (Event::Apply(secret("13")), is("13"), "made anew"),
            (
                Event::Init,
                is("13"),
                "what is held stays while it is listed again",
            ),
            (Event::InitDone, Some(None), "it is gone"),
        ] {
            slot.take(event);
            assert_eq!(version(&slot), want, "{why}");
        }
    }

    #[test]
    fn a_secret_is_ours_by_its_label_alone() {
        for (labels, want, why) in [
            (json!({OURS.0: OURS.1}), Held::Whole(()), "ours"),
            (json!({OURS.0: "helm"}), Held::Foreign, "another manager's"),
            (json!({}), Held::Foreign, "no label"),
        ] {
            let secret = json!({"metadata": {"name": "s", "labels": labels}});
            let secret: Secret = serde_json::from_value(secret).unwrap();
            assert_eq!(held(Some(&secret), |_| Ok(())), want, "{why}");
        }
        assert_eq!(held(None, |_| Ok(())), Held::Absent);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let now = SystemTime::now();
        let validity = plan::Validity::starting(now, Duration::from_hours(1));
        let pair = certificate::authority(validity).unwrap();
        let old = certificate::authority(validity).unwrap();
        let old = facts::authorities(old.certificate.as_bytes());
        let content = content_of_ca(&pair, &old, Some(now));
        let ca = facts::ca(&content.data, &content.annotations).unwrap();
        assert_eq!((&ca.previous, ca.complete_since), (&old, Some(now)));

        let names = ["a.example".to_owned()];
        let made = certificate::serving(&pair, &names, validity).unwrap();
        let content = content_of_serving(&made, &ca).unwrap();
        let voucher = facts::authorities(&content.data[VOUCHER].0);
        assert_eq!(voucher.len(), 2, "both vouch while the CA is replaced");

        let other = certificate::authority(validity).unwrap();
        let stray = certificate::serving(&other, &names, validity).unwrap();
        assert!(
            content_of_serving(&stray, &ca).is_err(),
            "not signed by the CA"
        );
    }

    #[test]
    fn failures_wait_longer_and_never_for_ever() {
        for (failures, most) in [(1, AGAIN), (2, AGAIN * 2), (100, LONGEST)] {
            let pause = backoff(failures);
            assert!(
                pause <= most && pause >= most * 4 / 5,
                "{failures}: {pause:?}"
            );
        }
    }
}
