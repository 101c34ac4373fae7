//! The serving edge: bytes from the network to a handler, and its answers back.
//!
//! `listen` binds, `connections` accepts, `connection` speaks HTTP on one, `activity` knows what
//! it is doing and until when it may, `tls` and `certificate` care for certificates, `routes` and `body` turn requests into
//! calls of the handler; `admin`, `health` and `self_call` tell others how we are. It knows
//! nothing of policies: what a review means is the handler's business.

mod activity;
mod admin;
mod body;
pub mod certificate;
mod connection;
mod connections;
pub mod health;
pub mod limits;
mod listen;
mod routes;
mod self_call;
mod signals;
mod tls;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::connections::{Port, Stage};
use self::health::{Check, Health, State};
use self::limits::Limits;
use self::tls::{Tls, Watcher};
use crate::metrics::Metrics;

pub use self::admin::AdminPort;
pub use self::routes::{Endpoint, Handler, Reply, Wait};
pub use self::signals::Signals;
pub use self::tls::{CertificateSource, PemPair, TlsError, crypto_provider};

/// How to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// The admission port; `[::]` means IPv4 too, and IPv4 alone where there is no IPv6.
    pub listen: SocketAddr,
    /// The port of `/livez`, `/readyz` and `/metrics`.
    pub admin_listen: SocketAddr,
    /// Where the serving certificate comes from.
    pub certificate: CertificateSource,
    /// Certificates of the authorities whose clients may speak; without it, everybody may.
    pub client_ca: Option<PathBuf>,
    /// How long to go on serving after the signal, until nobody sends requests here any more.
    pub drain: Duration,
    /// The bounds; only tests change them.
    pub limits: Limits,
}

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port cannot be had.
    #[error("cannot listen on `{address}` for {port} requests")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// `admission` or `admin`.
        port: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Signals cannot be received.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// A part of the server that runs for ever has ended: without it the server is not whole.
    #[error("the {part} ended unexpectedly; this is a bug in pullpass")]
    Ended {
        /// Which.
        part: &'static str,
    },
    /// A second signal came before the drain was over.
    #[error("stopped by a second signal, with requests possibly unanswered")]
    Aborted,
}

/// The runtime that the server is made for: the calling thread alone.
///
/// One core answers many times more reviews than API servers send, and answers them faster when
/// no work is handed between threads; and one thread keeps memory in one arena of the allocator.
/// What may block (two small files to read) has a thread of its own.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
}

/// Serves until `shutdown` is ready, then drains; see [`Server`].
pub async fn run<H, E>(
    config: Config,
    handler: H,
    health: Health,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    H: Handler<E>,
    E: Error,
{
    Server::bind(config, health, metrics)?
        .serve(handler, shutdown)
        .await
}

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends it at once.
pub async fn run_until_signalled<H, E>(
    config: Config,
    handler: H,
    health: Health,
    metrics: Arc<Metrics>,
) -> Result<(), ServeError>
where
    H: Handler<E>,
    E: Error,
{
    let mut signals = Signals::listen().map_err(ServeError::Signals)?;
    let (ask, asked) = watch::channel(false);
    let mut seen = asked.clone();
    let shutdown = async move {
        // Gone means that the server is dropped anyway.
        let _ = seen.wait_for(|asked| *asked).await;
    };
    let twice = async {
        signals.next().await;
        ask.send_replace(true);
        signals.next().await;
    };
    // Dropping the server ends all its tasks; dropping the other loses nothing.
    tokio::select! {
        biased;
        result = run(config, handler, health, metrics, shutdown) => result,
        () = twice => Err(ServeError::Aborted),
    }
}

/// A server that has its ports and certificates, and serves once it is told to.
pub struct Server {
    config: Config,
    admission: TcpListener,
    admin: AdminPort,
    addresses: Addresses,
    tls: Arc<Tls>,
    watcher: Watcher,
    health: Health,
    metrics: Arc<Metrics>,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The admission port.
    pub admission: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
}

impl Server {
    /// Reads the certificates and takes both ports. Must be called inside a runtime.
    pub fn bind(config: Config, health: Health, metrics: Arc<Metrics>) -> Result<Self, ServeError> {
        let (tls, watcher) = Tls::new(config.certificate.clone(), config.client_ca.clone())?;
        tls.tell(&metrics);
        let (admission, admission_address) = take_port(config.listen, "admission")?;
        let admin = AdminPort::bind(config.admin_listen)?;
        let addresses = Addresses {
            admission: admission_address,
            admin: admin.address(),
        };
        let tls = Arc::new(tls);
        Ok(Self {
            config,
            admission,
            admin,
            addresses,
            tls,
            watcher,
            health,
            metrics,
        })
    }

    /// Where it listens: the ports that were chosen when the configuration said 0.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until `shutdown` is ready. Then readiness fails at once, requests are served for
    /// the time of the drain, each with `Connection: close`, and what is in flight is finished.
    ///
    /// Dropping the future ends everything where it is.
    pub async fn serve<H, E>(
        self,
        handler: H,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError>
    where
        H: Handler<E>,
        E: Error,
    {
        let Self {
            config,
            admission,
            admin,
            addresses,
            tls,
            watcher,
            health,
            metrics,
        } = self;
        let limits = config.limits;
        let (stage, seen) = watch::channel(Stage::Serving);
        let (self_call, switch) = Check::switch("self-call", self_call::first());
        let health = Arc::new(
            health
                .with(certificate_check(&tls))
                .with(self_call)
                .with(stage_check(&seen)),
        );

        let admission_port = Port {
            router: routes::router(handler, limits.clone(), Arc::clone(&metrics)),
            tls: Some(Arc::clone(&tls)),
            metrics: Some(Arc::clone(&metrics)),
            connections: limits.connections,
            limits: limits.clone(),
            stage: seen,
            awake: Semaphore::new(limits.awake),
            pressed: Notify::new(),
        };
        // Not among the others: its end is what a shutdown waits for.
        let mut serving = JoinSet::new();
        serving.spawn(connections::run(admission, admission_port));
        let mut others = JoinSet::new();
        others.spawn(named(
            "admin port",
            admin.run(health, Arc::clone(&metrics), limits.clone()),
        ));
        others.spawn(named(
            "self-call",
            self_call::run(
                addresses.admission,
                Arc::clone(&tls),
                limits.self_call,
                switch,
            ),
        ));
        if watcher.is_needed() {
            others.spawn(named(
                "certificate watcher",
                watcher.run(tls, metrics, limits.certificate_poll),
            ));
        }

        let drained = async {
            shutdown.await;
            tracing::info!(seconds = config.drain.as_secs_f64(), "draining");
            stage.send_replace(Stage::Draining);
            sleep(config.drain).await;
            stage.send_replace(Stage::Finishing);
        };
        // Dropping an arm loses nothing: the sets keep their tasks.
        tokio::select! {
            biased;
            () = drained => {}
            _ = serving.join_next() => return Err(ServeError::Ended { part: "admission port" }),
            ended = others.join_next() => return Err(ended_early(ended)),
        }
        tokio::select! {
            biased;
            _ = serving.join_next() => {}
            ended = others.join_next() => return Err(ended_early(ended)),
        }
        others.shutdown().await;
        tracing::info!("finished");
        Ok(())
    }
}

type Joined = Option<Result<&'static str, tokio::task::JoinError>>;

fn ended_early(joined: Joined) -> ServeError {
    let part = joined.and_then(Result::ok).unwrap_or("background task");
    ServeError::Ended { part }
}

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

fn take_port(
    address: SocketAddr,
    port: &'static str,
) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen {
        address,
        port,
        source,
    };
    let listener = listen::bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, port, "listening");
    Ok((listener, address))
}

fn certificate_check(tls: &Arc<Tls>) -> Check {
    let tls = Arc::clone(tls);
    Check::new("certificate", move || tls.state(SystemTime::now()))
}

fn stage_check(stage: &watch::Receiver<Stage>) -> Check {
    let stage = stage.clone();
    Check::new("shutdown", move || match *stage.borrow() {
        Stage::Serving => State::ready("none asked for"),
        Stage::Draining | Stage::Finishing => {
            State::waiting("the server is shutting down", "nothing: it was told to")
        }
    })
}
