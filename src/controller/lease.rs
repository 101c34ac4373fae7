//! One controller writes at a time: the Lease that says which, taken and renewed by apply.
//!
//! Each write of the Lease carries the resourceVersion that was read, so of two takers one is
//! refused. Whether a holder is gone is judged by how long nothing has changed by our own clock,
//! never by the times in the Lease. It decides who may write and writes nothing but the Lease.

mod observed;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use self::observed::Observed;
use super::apply::FIELD_MANAGER;
use crate::cluster::explain::{chain, explain};
use crate::cluster::lease::Read;
use crate::metrics::{Metrics, Reconcile};
use crate::server::health::{Check, State, Switch};

/// How long, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Others wait for this long without a change before they take the Lease.
    pub duration: Duration,
    /// The holder renews it this often, a little earlier at random.
    pub renew: Duration,
    /// The holder stops writing this long after the last renewal was sent. Others start counting
    /// later than that and count further, so there is time in between.
    pub deadline: Duration,
    /// Others look this often; what failed is tried again after it.
    pub retry: Duration,
    /// No call takes longer.
    pub call: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew: Duration::from_secs(5),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            call: Duration::from_secs(4),
        }
    }
}

/// Until when this process may write, if at all.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// For how long writing is allowed from now on; asked before each write.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let until = (*self.0.borrow())?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Waits until it is gained, lost or renewed.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody looks after the Lease any more: it stays as it is.
            std::future::pending::<()>().await;
        }
    }

    /// That of somebody who may write for so long.
    #[cfg(test)]
    pub(super) fn lasting(time: Duration) -> (watch::Sender<Option<Instant>>, Self) {
        let (sender, receiver) = watch::channel(Some(Instant::now() + time));
        (sender, Self(receiver))
    }
}

/// Where this process stands.
#[derive(Debug)]
enum Standing {
    /// Others may hold it.
    Candidate(Option<Observed>),
    /// This process does.
    Holder {
        version: String,
        transitions: i32,
        until: Instant,
    },
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

impl CallError {
    fn status(&self) -> Option<&Status> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }

    fn words(&self) -> String {
        let said = self.status().map(|status| status.message.clone());
        said.unwrap_or_else(|| chain(self))
    }

    /// Somebody else was faster.
    fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.code == 409)
    }
}

/// A candidate for the Lease, and its holder for as long as it goes well.
#[derive(Debug)]
pub struct Lease {
    api: Api<Object>,
    name: String,
    identity: String,
    terms: Terms,
    metrics: Arc<Metrics>,
    held: watch::Sender<Option<Instant>>,
    switch: Switch,
    standing: Standing,
    /// When it was taken.
    acquired: Timestamp,
}

impl Lease {
    /// A candidate for the Lease of this name, what it may do, and its condition of readiness.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        terms: Terms,
        metrics: Arc<Metrics>,
    ) -> (Self, Leadership, Check) {
        metrics.leader(false);
        metrics.reconciling(Reconcile::Lease);
        let (held, leadership) = watch::channel(None);
        let first = State::waiting("the Lease is not read yet", "wait a moment");
        let (check, switch) = Check::switch("lease", first);
        let lease = Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            terms,
            metrics,
            held,
            switch,
            standing: Standing::Candidate(None),
            acquired: Timestamp::now(),
        };
        (lease, Leadership(leadership), check)
    }

    /// Takes and keeps the Lease whenever it can, until told to stop; then gives it back.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            // Not dropped half way: what was written must be known when it is given back.
            let pause = self.round().await;
            // Either can be dropped; a sender that is gone has nothing more to say.
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                () = sleep(pause) => {}
            }
        }
        self.give_back().await;
    }

    /// One look or one renewal; then this long nothing.
    async fn round(&mut self) -> Duration {
        match std::mem::replace(&mut self.standing, Standing::Candidate(None)) {
            Standing::Candidate(last) => self.stand(last).await,
            Standing::Holder {
                version,
                transitions,
                until,
            } => self.hold(version, transitions, until).await,
        }
    }

    async fn stand(&mut self, last: Option<Observed>) -> Duration {
        let read = match self
            .call(self.terms.call, self.api.get_opt(&self.name))
            .await
        {
            Ok(object) => Read::of(object.as_ref()),
            Err(error) => {
                self.standing = Standing::Candidate(last);
                return self.failed("read", &error);
            }
        };
        let now = Instant::now();
        let observed = Observed::take(last, read, now);
        let patience = observed.patience(&self.identity, &self.terms, now);
        if !patience.is_zero() {
            let holder = observed.read.holder.as_deref().unwrap_or("nobody");
            self.switch
                .set(State::ready(format!("standing by; `{holder}` leads")));
            self.standing = Standing::Candidate(Some(observed));
            return patience.min(self.terms.retry);
        }
        let transitions = observed.read.transitions.saturating_add(1);
        let version = observed.read.version.clone();
        // "1" is no version that anything has: with it an apply makes the Lease or is refused.
        let version = version.unwrap_or_else(|| "1".to_owned());
        let start = Instant::now();
        self.acquired = Timestamp::now();
        match self.apply(&version, transitions, self.terms.call).await {
            Ok(version) => {
                tracing::info!(identity = self.identity, "leading");
                self.metrics.leader(true);
                self.holding(version, transitions, start)
            }
            Err(error) if error.is_conflict() => {
                self.standing = Standing::Candidate(Some(observed));
                jittered(self.terms.retry / 4)
            }
            Err(error) => {
                self.standing = Standing::Candidate(Some(observed));
                self.failed("written", &error)
            }
        }
    }

    async fn hold(&mut self, version: String, transitions: i32, until: Instant) -> Duration {
        let start = Instant::now();
        let left = until.saturating_duration_since(start);
        if left.is_zero() {
            return self.lost("it could not be renewed in time");
        }
        let call = self.terms.call.min(left);
        match self.apply(&version, transitions, call).await {
            Ok(version) => self.holding(version, transitions, start),
            Err(error) if error.is_conflict() => {
                // Somebody wrote it: another holder, or a call of ours whose answer was lost.
                match self.call(call, self.api.get_opt(&self.name)).await {
                    Ok(object) => {
                        let read = Read::of(object.as_ref());
                        if read.holder.as_ref() != Some(&self.identity) {
                            return self.lost("somebody else has it");
                        }
                        self.standing = Standing::Holder {
                            version: read.version.unwrap_or(version),
                            transitions: read.transitions,
                            until,
                        };
                        jittered(self.terms.retry / 4)
                    }
                    Err(error) => self.hold_on(version, transitions, until, &error),
                }
            }
            Err(error) => self.hold_on(version, transitions, until, &error),
        }
    }

    /// A renewal failed; there is time for another.
    fn hold_on(
        &mut self,
        version: String,
        transitions: i32,
        until: Instant,
        error: &CallError,
    ) -> Duration {
        self.standing = Standing::Holder {
            version,
            transitions,
            until,
        };
        let pause = self.failed("written", error);
        pause.min(until.saturating_duration_since(Instant::now()))
    }

    fn holding(&mut self, version: String, transitions: i32, start: Instant) -> Duration {
        let until = start + self.terms.deadline;
        self.held.send_replace(Some(until));
        self.switch.set(State::ready("leading"));
        self.standing = Standing::Holder {
            version,
            transitions,
            until,
        };
        jittered(self.terms.renew)
    }

    fn lost(&mut self, why: &str) -> Duration {
        self.held.send_replace(None);
        self.metrics.leader(false);
        tracing::warn!(why, "the Lease is lost; writing stops");
        self.standing = Standing::Candidate(None);
        Duration::ZERO
    }

    fn failed(&self, done: &str, error: &CallError) -> Duration {
        self.metrics.reconcile_failed(Reconcile::Lease);
        let what = format!("the Lease `{}`", self.name);
        let (why, mend) = explain(&what, done, error.status(), error);
        tracing::warn!(why, mend, "no leader can be chosen");
        self.switch.set(State::waiting(why, mend));
        jittered(self.terms.retry)
    }

    async fn give_back(&mut self) {
        let Standing::Holder {
            version,
            transitions,
            ..
        } = &self.standing
        else {
            return;
        };
        self.held.send_replace(None);
        self.metrics.leader(false);
        let body = body(
            &self.name,
            version,
            &json!({"leaseTransitions": transitions}),
        );
        match self.call(self.terms.call / 2, self.patch(&body)).await {
            Ok(_) => tracing::info!("gave the Lease back"),
            // It runs out by itself.
            Err(error) => tracing::warn!(error = error.words(), "cannot give the Lease back"),
        }
    }

    /// Writes the Lease as its holder; the version that it has then.
    async fn apply(
        &self,
        version: &str,
        transitions: i32,
        call: Duration,
    ) -> Result<String, CallError> {
        // All of it each time: an apply takes away what it leaves out.
        let spec = json!({
            "acquireTime": micros(self.acquired),
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self.terms.duration.as_secs(),
            "leaseTransitions": transitions,
            "renewTime": micros(Timestamp::now()),
        });
        let object = self
            .call(call, self.patch(&body(&self.name, version, &spec)))
            .await?;
        Ok(object.metadata.resource_version.unwrap_or_default())
    }

    /// By force: the version decides who is first, not whose fields they are.
    async fn patch(&self, body: &Value) -> Result<Object, kube::Error> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.api
            .patch(&self.name, &params, &Patch::Apply(body))
            .await
    }

    async fn call<T>(
        &self,
        time: Duration,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, CallError> {
        match timeout(time, call).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(CallError::Timeout(time)),
        }
    }
}

/// Up to a fifth less, so that replicas do not call in step.
pub(super) fn jittered(time: Duration) -> Duration {
    let less = u32::try_from(random() % 200).unwrap_or(0);
    time.saturating_sub(time * less / 1000)
}

fn body(name: &str, version: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "resourceVersion": version},
        "spec": spec,
    })
}

/// A time with six digits behind the second, as a MicroTime is written.
fn micros(at: Timestamp) -> Value {
    Value::String(format!("{at:.6}"))
}

/// The Pod's name and something that no other process has, not even the same container restarted.
#[must_use]
pub fn identity() -> String {
    let host = std::env::var("HOSTNAME")
        .ok()
        .filter(|name| !name.is_empty());
    let mut host = host.unwrap_or_else(|| "pullpass".to_owned());
    // Events hold 128 characters of it.
    host.truncate(host.floor_char_boundary(100));
    format!("{host}_{:08x}", random() >> 32)
}

/// The standard library seeds each hasher at random.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_stops_before_others_start() {
        let terms = Terms::default();
        // One call for a renewal that fails, and one more try, fit in before the end.
        assert!(terms.renew + terms.call <= terms.deadline);
        assert!(terms.deadline + terms.call < terms.duration);
    }

    #[tokio::test]
    async fn leadership_ends_by_itself() {
        let (sender, leadership) = Leadership::lasting(Duration::from_millis(50));
        assert!(leadership.remaining().is_some());
        sleep(Duration::from_millis(51)).await;
        assert_eq!(leadership.remaining(), None, "nobody renewed it");
        sender.send_replace(Some(Instant::now() + Duration::from_secs(1)));
        assert!(leadership.remaining().is_some());
        sender.send_replace(None);
        assert_eq!(leadership.remaining(), None, "it was lost");
    }

    #[test]
    fn no_two_processes_have_one_identity() {
        assert_ne!(identity(), identity());
        assert!(identity().len() <= 128);
    }

    #[test]
    fn times_have_six_digits() {
        let at: Timestamp = "2026-01-02T03:04:05.5Z".parse().unwrap();
        assert_eq!(micros(at), json!("2026-01-02T03:04:05.500000Z"));
    }
}
