//! The controller: looks at a cluster, plans, and carries out what is planned, one process at a time.
//!
//! `lease` says who writes; `certificates` keeps what webhooks serve with, from the facts that `facts`
//! reads off `secrets` and `configurations`, each `watching` one object; `credentials` keeps pull secrets and lets
//! Pods go that are `held` for them; `events` tells what happened; `apply` is the only writer, and `refusal` reads
//! what it is refused for. What to do is decided in [`crate::plan`], never here.

pub mod apply;
pub mod certificates;
mod configurations;
pub mod credentials;
pub mod events;
pub mod facts;
mod held;
pub mod lease;
mod refusal;
mod secrets;
mod watching;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::apply::Writer;
use self::certificates::Certificates;
use self::credentials::Credentials;
use self::events::{Events, tell_policies};
use self::lease::{Lease, Terms};
use crate::cluster::policies::PolicyFeed;
use crate::install::CONTROLLER;
use crate::metrics::Metrics;
use crate::server::health::{Check, Health, State};
use crate::server::limits::Limits;
use crate::server::{AdminPort, ServeError, Signals};

/// How long a stop may take: a write that has begun, then the Lease. A kubelet gives 30 s.
const STOP: Duration = Duration::from_secs(20);

/// What a controller does.
#[derive(Debug)]
pub struct Config {
    /// The port of `/livez`, `/readyz` and `/metrics`.
    pub admin_listen: SocketAddr,
    /// pullpass's own namespace.
    pub namespace: String,
    /// The certificates that it keeps. None: somebody else does.
    pub certificates: Option<certificates::Options>,
    /// The credentials that it keeps: which namespaces, and how sources are asked.
    pub credentials: credentials::Options,
    /// Whether policies of other namespaces are read.
    pub tenant_policies: bool,
    /// The Lease; only tests change it.
    pub terms: Terms,
}

/// Why a controller did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Its admin port or the signals cannot be had.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A part that runs for ever has ended: without it the controller is not whole.
    #[error("the {part} ended unexpectedly; this is a bug in pullpass")]
    Ended {
        /// Which.
        part: &'static str,
    },
    /// A second signal came before it had stopped.
    #[error("stopped by a second signal; the Lease runs out by itself")]
    Aborted,
}

/// Runs until SIGTERM or SIGINT; then ends the write it is at, gives the Lease back, and returns.
pub async fn run(
    client: Client,
    config: Config,
    metrics: Arc<Metrics>,
) -> Result<(), ControllerError> {
    let mut signals = Signals::listen().map_err(ServeError::Signals)?;
    let admin = AdminPort::bind(config.admin_listen)?;
    let namespace = config.namespace;
    let identity = lease::identity();

    let (lease, leadership, lease_check) = Lease::new(
        client.clone(),
        &namespace,
        CONTROLLER,
        identity.clone(),
        config.terms,
        Arc::clone(&metrics),
    );
    let writer = Writer::new(client.clone(), namespace.clone(), leadership);
    let (events, teller) = Events::new(writer.clone(), identity, Arc::clone(&metrics));
    let certificates = config.certificates.map(|options| {
        let (writer, teller) = (writer.clone(), teller.clone());
        Certificates::new(&client, options, writer, teller, Arc::clone(&metrics))
    });
    let (certificates, checks) = certificates.unzip();
    let (policies, policies_check, in_force) = PolicyFeed::new(
        client.clone(),
        &namespace.into(),
        config.tenant_policies,
        Arc::clone(&metrics),
    );
    let (credentials, credentials_check) = Credentials::new(
        client,
        config.credentials,
        in_force.clone(),
        writer.clone(),
        teller.clone(),
        Arc::clone(&metrics),
    );
    let (stop, stopping) = watch::channel(false);
    let (give_back, giving_back) = watch::channel(false);
    let health = checks
        .into_iter()
        .flatten()
        .chain([
            lease_check,
            policies_check,
            credentials_check,
            stop_check(&stopping),
        ])
        .fold(Health::new(), Health::with);

    let mut parts = JoinSet::new();
    let serving = admin.run(Arc::new(health), metrics, Limits::default());
    parts.spawn(named("admin port", serving));
    parts.spawn(named("policies", policies.run()));
    parts.spawn(named("events", events.run()));
    let telling = tell_policies(in_force, writer, teller);
    parts.spawn(named("policy events", telling));
    // Not among the others: a stop waits for these, and then for the Lease.
    let mut writing = JoinSet::new();
    if let Some(certificates) = certificates {
        let run = certificates.run(stopping.clone());
        writing.spawn(named("certificates", run));
    }
    writing.spawn(named("credentials", credentials.run(stopping)));
    let mut leading = JoinSet::new();
    leading.spawn(lease.run(giving_back));

    // Dropping an arm loses nothing: the sets keep their tasks.
    tokio::select! {
        biased;
        () = signals.next() => {}
        ended = writing.join_next() => return Err(ended_early(ended)),
        _ = leading.join_next() => return Err(ControllerError::Ended { part: "lease" }),
        ended = parts.join_next() => return Err(ended_early(ended)),
    }
    tracing::info!("stopping");
    let ordered = async {
        // Nothing is written any more before another replica may begin.
        stop.send_replace(true);
        while writing.join_next().await.is_some() {}
        give_back.send_replace(true);
        leading.join_next().await;
    };
    tokio::select! {
        biased;
        () = signals.next() => Err(ControllerError::Aborted),
        ended = timeout(STOP, ordered) => {
            if ended.is_err() {
                tracing::warn!("the API server does not answer; the Lease runs out by itself");
            }
            tracing::info!("finished");
            Ok(())
        }
    }
}

type Joined = Option<Result<&'static str, tokio::task::JoinError>>;

fn ended_early(joined: Joined) -> ControllerError {
    let part = joined.and_then(Result::ok).unwrap_or("background task");
    ControllerError::Ended { part }
}

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

fn stop_check(stopping: &watch::Receiver<bool>) -> Check {
    let stopping = stopping.clone();
    Check::new("shutdown", move || {
        if *stopping.borrow() {
            State::waiting("the controller is shutting down", "nothing: it was told to")
        } else {
            State::ready("none asked for")
        }
    })
}
