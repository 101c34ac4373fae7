//! The loop that keeps credentials: fetches their values, has copies written and removed, lets Pods go.
//!
//! It runs in every replica, so that a new leader knows all there is to know; only the leader asks sources
//! and gets anything written. What to do is the plans' to say, how to write the writer's.

mod announced;
mod kept;
mod material;
mod releases;
mod row;
mod secret;
mod state;
mod tell;
mod watches;
mod writing;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kube::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use self::state::State;
use self::watches::Watches;
use self::writing::Work;
use super::apply::Writer;
use super::events::Teller;
use crate::cluster::policies::InForce;
use crate::credentials::Fetcher;
use crate::metrics::{Metrics, Reconcile, Resource};
use crate::server::health::{self, Check, Switch};
use crate::snapshot::ScopeOptions;

/// A clock may be set: everything is looked at again at least this often.
const LOOK: Duration = Duration::from_secs(30);
/// How long writes that have begun may take when the process is told to stop.
const STOP: Duration = Duration::from_secs(9);

/// What is kept, and how.
#[derive(Debug)]
pub struct Options {
    /// pullpass's own namespace, where sources and status are.
    pub namespace: String,
    /// Which namespaces get copies.
    pub scope: ScopeOptions,
    /// Asks the sources.
    pub fetcher: Fetcher,
}

/// Keeps the credentials of a cluster.
pub struct Credentials {
    policies: watch::Receiver<Option<InForce>>,
    watches: Watches,
    state: State,
    work: Work,
    writer: Writer,
    switch: Switch,
}

impl Credentials {
    /// A loop that has not begun, and its condition of readiness.
    #[must_use]
    pub fn new(
        client: Client,
        options: Options,
        policies: watch::Receiver<Option<InForce>>,
        writer: Writer,
        teller: Teller,
        metrics: Arc<Metrics>,
    ) -> (Self, Check) {
        metrics.reconciling(Reconcile::Credentials);
        metrics.reconciling(Reconcile::HeldPods);
        for resource in [
            Resource::Namespaces,
            Resource::Status,
            Resource::Pods,
            Resource::Secrets,
        ] {
            metrics.watching(resource);
        }
        let first = health::State::waiting("nothing is known of them yet", "wait a moment");
        let (check, switch) = Check::switch("credentials", first);
        let Options {
            namespace,
            scope,
            fetcher,
        } = options;
        let credentials = Self {
            policies,
            watches: Watches::new(client, namespace.clone()),
            state: State::new(namespace, scope, teller, metrics),
            work: Work::new(writer.clone(), fetcher),
            writer,
            switch,
        };
        (credentials, check)
    }

    /// Keeps them until told to stop. Writes that have begun are ended.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut leadership = self.writer.clone();
        let mut led = false;
        self.state
            .declare(self.policies.borrow_and_update().clone());
        loop {
            let leads = self.writer.leads();
            if leads != led {
                led = leads;
                self.state.leads(leads);
            }
            let wake = self.round(leads);
            // Each arm can be dropped: streams and sets keep what they have not given.
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                done = self.work.next() => {
                    let now = SystemTime::now();
                    self.state.done(done, now);
                    while let Some(done) = self.work.next_now() {
                        self.state.done(done, now);
                    }
                }
                changed = self.policies.changed() => {
                    if changed.is_err() {
                        // Whoever reads policies has ended, and the process with it.
                        return;
                    }
                    let in_force = self.policies.borrow_and_update().clone();
                    self.state.declare(in_force);
                }
                changes = self.watches.next() => {
                    let now = SystemTime::now();
                    for change in changes {
                        self.state.take(change, now);
                    }
                }
                // A renewal is no news, and costs a look.
                () = leadership.leadership_changed() => {}
                () = sleep_until(wake) => {}
            }
        }
        // What a source says now would be for nobody; what is being written is.
        if timeout(STOP, self.work.finish()).await.is_err() {
            tracing::warn!(
                "the API server does not answer; what is being written may be there or not"
            );
        }
    }

    /// Looks, and begins what is to be done; when to look again.
    fn round(&mut self, leads: bool) -> Instant {
        let now = SystemTime::now();
        let mut wake = Instant::now() + LOOK;
        let mut sooner = |at: Option<Instant>| wake = at.map_or(wake, |at| at.min(wake));
        sooner(self.state.settle(&mut self.watches));
        sooner(self.state.plan(now));
        if leads {
            sooner(self.state.ask(&mut self.work, now));
            self.state.write(&mut self.work);
            sooner(self.state.announce(&mut self.work));
            sooner(self.state.release(&mut self.work));
            sooner(self.state.show(now));
        }
        self.switch.set(self.state.health());
        wake
    }
}
