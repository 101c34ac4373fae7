//! The serving edge over real sockets and real TLS, with a stub in the engine's place.

mod admin;
mod answers;
mod calls;
mod certificates;
mod client;
mod crowd;
mod drain;
mod published;
mod slow;
mod waits;

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pullpass::admission::{Answer, Facts, ImageCounts, Operation, Outcome};
use pullpass::metrics::Metrics;
use pullpass::server::certificate::{self, Pair};
use pullpass::server::health::Health;
use pullpass::server::limits::Limits;
use pullpass::server::{
    Addresses, CertificateSource, Config, Endpoint, Reply, ServeError, Server, Wait,
};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use client::Client;

/// Longer than anything here takes, but for what waits on purpose.
const SOON: Duration = Duration::from_secs(20);

/// How long the stub wants to wait, each time it is asked to.
const WAIT: Duration = Duration::from_millis(50);

/// A server in this process, on ports of its own.
struct Running {
    at: Addresses,
    pair: Pair,
    directory: TempDir,
    metrics: Arc<Metrics>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

/// How a server is started; the rest is the contract's.
struct Setup {
    limits: Limits,
    health: Health,
    drain: Duration,
    client_ca: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            health: Health::new(),
            drain: Duration::ZERO,
            client_ca: None,
        }
    }
}

impl Setup {
    fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        let mut setup = Self::default();
        change(&mut setup.limits);
        setup
    }

    fn start(self) -> Running {
        let directory = tempfile::tempdir().unwrap();
        let pair = certificate::self_signed(&[], SystemTime::now()).unwrap();
        certificate::write(&pair, directory.path()).unwrap();
        let certificate = CertificateSource::Files {
            cert: directory.path().join("tls.crt"),
            key: directory.path().join("tls.key"),
        };
        self.start_with(certificate, pair, directory)
    }

    fn start_with(self, certificate: CertificateSource, pair: Pair, directory: TempDir) -> Running {
        let metrics = Arc::new(Metrics::new());
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            admin_listen: "127.0.0.1:0".parse().unwrap(),
            certificate,
            client_ca: self.client_ca,
            drain: self.drain,
            limits: self.limits,
        };
        let server = Server::bind(config, self.health, Arc::clone(&metrics)).unwrap();
        let at = server.addresses();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve(stub, async {
            let _ = stopped.await;
        }));
        Running {
            at,
            pair,
            directory,
            metrics,
            stop: Some(stop),
            task,
        }
    }
}

impl Running {
    async fn client(&self) -> Client {
        Client::connect(self.at.admission, &self.pair.ca)
            .await
            .unwrap()
    }

    /// The value of one series, 0 when it is not there.
    fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a series has the value.
    async fn until_metric(&self, series: &str, want: f64) {
        until(&format!("{series} is {want}"), async || {
            self.metric(series) >= want
        })
        .await;
    }

    /// Waits until the server's own call is over, which otherwise takes a connection's place.
    async fn until_self_called(&self) {
        until("the self-call is over", async || {
            let ready = client::get(self.at.admin, "/readyz").await.status == 200;
            ready && self.metric("pullpass_connections") < 0.5
        })
        .await;
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end that it was asked for.
    async fn ends(self) {
        timeout(SOON, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// Waits for a condition, within bounds.
async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let end = Instant::now() + SOON;
    while !condition().await {
        assert!(Instant::now() < end, "it did not come true: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// In the engine's place: bodies say what should happen.
fn stub(endpoint: Endpoint, body: &[u8]) -> Result<Reply, NotAReview> {
    assert!(!body.starts_with(b"panic"), "asked to");
    if body.starts_with(b"bad") {
        return Err(NotAReview);
    }
    let answer = Answer {
        body: format!(r#"{{"endpoint":"{endpoint:?}","bytes":{}}}"#, body.len()).into_bytes(),
        lacks: Vec::new(),
        facts: Facts {
            operation: Operation::Create,
            outcome: Outcome::Unchanged,
            warnings: Vec::new(),
            images: ImageCounts::default(),
            secrets: Vec::new(),
            account: None,
            uid: String::new(),
            namespace: String::new(),
            pod: String::new(),
            rules: String::new(),
            held: String::new(),
        },
    };
    let wait: Wait = match body {
        b"wait" => Box::pin(sleep(WAIT)),
        b"wait for ever" => Box::pin(std::future::pending()),
        b"wait and panic" => Box::pin(async {
            sleep(WAIT).await;
            panic!("asked to");
        }),
        _ => return Ok(Reply::Now(answer)),
    };
    Ok(Reply::Later { answer, wait })
}

#[derive(Debug)]
struct NotAReview;

impl fmt::Display for NotAReview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body is no review")
    }
}

impl Error for NotAReview {}
