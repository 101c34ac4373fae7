//! The loop that keeps certificates: watches what a plan reads, and carries out what it says.
//!
//! It runs in every replica, so that a new leader knows all there is to know; only the leader gets
//! anything written. It decides nothing: what to do is the plan's, how to write the writer's.

mod report;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::report::about;
use super::apply::{Content, WriteError, Writer};
use super::configurations::{
    Configured, MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use super::events::{Happening, Notice, Teller};
use super::facts::{self, CERTIFICATE, KEY};
use super::lease::jittered;
use super::secrets::{content_of_ca, content_of_serving, data, expected, held};
use super::watching::{Known, Watching};
use crate::install::{CA_SECRET, EPHEMERAL_CONFIGURATION, POLICIES_CONFIGURATION};
use crate::metrics::{self, Metrics, Reconcile};
use crate::plan::certificates::{
    self as plan, Action, Authority, Ca, Configuration, ConfigurationId, ConfigurationKind,
    Fingerprint, Held, Seen, Step, Subject, Wanted,
};
use crate::server::certificate::{self, CertificateError, Keyed};
use crate::server::health::{Check, State, Switch};

/// A clock may be set: the plan is looked at again at least this often.
const LOOK: Duration = Duration::from_mins(1);
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
        let Some(all) = &mut self.configurations else {
            return tokio::select! {
                () = self.ca.next() => {}
                () = self.serving.next() => {}
            };
        };
        tokio::select! {
            () = self.ca.next() => {}
            () = self.serving.next() => {}
            () = all.mutating.next() => {}
            () = all.policies.next() => {}
            () = all.ephemeral.next() => {}
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
        let mut round = Round::Again;
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
                    round = Round::Failed;
                    // A configuration that refuses us keeps no other step from being made: what
                    // has to wait for its caBundle is not planned before it is seen there.
                    if !matches!(step.action, Action::ApplyBundle { .. }) {
                        return round;
                    }
                }
            }
        }
        round
    }

    /// All that a plan is made of, once everything is listed.
    fn look(&mut self) -> Option<Seen> {
        let configurations = self.configurations()?;
        let (ca, serving) = (&self.ca.slot.object, &self.serving.slot.object);
        if matches!(ca, Known::Unlisted) || matches!(serving, Known::Unlisted) {
            return None;
        }
        let ca = held(ca, |secret| {
            let annotations = secret.metadata.annotations.clone().unwrap_or_default();
            facts::ca(data(secret), &annotations)
        });
        let mut known: Vec<&Authority> = Vec::new();
        if let Held::Whole(ca) = &ca {
            known.push(&ca.authority);
            known.extend(&ca.previous);
        }
        let entries = configurations.iter().flat_map(|c| &c.entries);
        known.extend(entries.flat_map(|entry| &entry.authorities));
        let known = facts::each_once(known.into_iter());
        let since = &mut self.since;
        let serving = held(serving, |secret| {
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
        let (mutating, policies) = (&all.mutating.slot.object, &all.policies.slot.object);
        let all = [
            seen(mutating, ConfigurationKind::Mutating, &all.name),
            seen(
                policies,
                ConfigurationKind::Validating,
                POLICIES_CONFIGURATION,
            ),
            seen(
                &all.ephemeral.slot.object,
                ConfigurationKind::Validating,
                EPHEMERAL_CONFIGURATION,
            ),
        ];
        let mut found = Vec::new();
        for known in all {
            match known {
                Known::Unlisted => return None,
                Known::Absent => {}
                Known::Present(configuration) => found.push(configuration),
            }
        }
        Some(found)
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
                let content = content_of_serving(&made, ca).ok_or(StepError::Unusable)?;
                let name = self.options.tls_secret.clone();
                let expected = expected(self.serving.slot.get()).ok_or(StepError::Gone)?;
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
        let expected = expected(self.ca.slot.get()).ok_or(StepError::Gone)?;
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
}

fn seen<K: Configured>(
    object: &Known<K>,
    kind: ConfigurationKind,
    name: &str,
) -> Known<Configuration> {
    match object {
        Known::Unlisted => Known::Unlisted,
        Known::Absent => Known::Absent,
        Known::Present(object) => Known::Present(Configuration {
            id: ConfigurationId {
                kind,
                name: name.to_owned(),
            },
            entries: object.entries(),
        }),
    }
}

fn whole(ca: &Held<Ca>) -> Result<&Ca, StepError> {
    match ca {
        Held::Whole(ca) => Ok(ca),
        _ => Err(StepError::Gone),
    }
}

/// Twice as long after each failure, and up to a fifth less, so that nobody calls in step.
fn backoff(failures: u32) -> Duration {
    let doubled = AGAIN * 2_u32.saturating_pow(failures.saturating_sub(1).min(10));
    jittered(doubled.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

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
