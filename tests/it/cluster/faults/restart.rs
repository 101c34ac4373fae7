//! Two webhooks behind one address, replaced one after the other while Pods are made: by SIGTERM nothing is lost; by
//! kill -9 what was lost is counted, and it is what the `failurePolicy` says.

use std::mem::replace;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::install::{Installation, Webhook};
use super::super::pod;
use super::balancer::Balancer;
use super::{SECRET, control, flowing, installed};
use crate::plane::{Plane, wait_until};
use crate::webhook::server::{Place, Server};

/// How many are replaced.
const TIMES: u32 = 10;

/// Each goes on serving for 2 s after the signal, which has to be longer than it takes until nobody sends connections there
/// any more: 10 s by default, for nodes that learn of it over the network. Here the balancer looks every half second.
const FLAGS: [&str; 4] = ["--tls-secret", SECRET, "--drain", "2s"];

/// So many calls at once leave an API server with almost as many idle connections as it keeps.
const RUSH: usize = 20;
/// A rush comes so long after the signal, shortly before the end of the drain, and later from one replacement to the next.
const RUSHES: Duration = Duration::from_millis(1940);
const LATER: Duration = Duration::from_millis(10);

#[test]
fn a_rolling_restart_fails_no_pod() {
    let plane = Plane::own();
    let installation = installed(&plane);
    let _controller = control(&installation, &[]);
    let mut replicas = Replicas::start(&installation, "Fail");
    let stream = flowing(&installation);
    let mut connections = 0;
    let mut failed = Vec::new();
    for time in 0..TIMES {
        let fresh = replicas.begin();
        stream.goes_on(20);
        replicas.is_called();
        failed.extend(replicas.rush());
        connections += replicas.older.server.count("pullpass_connections");
        let old = replicas.replace_by(fresh);
        let signalled = Instant::now();
        old.signal("TERM");
        replicas.balancer.leaves(&old);
        let left = RUSHES.saturating_sub(signalled.elapsed());
        assert!(!left.is_zero(), "too slow a machine to see anything");
        // What idled since the signal is taken up again at the end of the drain: just before it, and just after.
        sleep(left + LATER * time);
        failed.extend(replicas.rush());
        let (status, log) = old.ended();
        assert_eq!(status, 0, "{log}");
    }
    stream.goes_on(50);
    stream.end(
        &plane,
        &format!("rolling restart, {TIMES} replacements"),
        &format!(
            "SIGTERM with {connections} connections; {} of {} beside failed",
            failed.len(),
            TIMES as usize * RUSH * 2
        ),
    );
    assert_eq!(failed, [""; 0], "failed by us");
}

#[test]
fn a_killed_webhook_costs_pods_their_secret_and_fails_none_under_ignore() {
    let (failed, bare) = killed("Ignore");
    assert_eq!(failed, 0, "failed by us; {bare} were made without");
}

#[test]
fn a_killed_webhook_fails_pods_and_none_goes_without_its_secret_under_fail() {
    let (failed, bare) = killed("Fail");
    assert_eq!(bare, 0, "made without their secret; {failed} failed");
}

/// Kills each and starts it anew, as a node does; how many Pods failed by us, and how many were made without.
fn killed(failure_policy: &str) -> (usize, usize) {
    let plane = Plane::own();
    let installation = installed(&plane);
    let _controller = control(&installation, &[]);
    let mut replicas = Replicas::start(&installation, failure_policy);
    let stream = flowing(&installation);
    for _ in 0..TIMES {
        stream.waits_for(100);
        replicas.is_called();
        replicas.older.server.signal("KILL");
        let fresh = replicas.begin();
        let old = replicas.replace_by(fresh);
        replicas.balancer.leaves(&old);
        old.ended();
    }
    stream.waits_for(50);
    stream.count(
        &plane,
        &format!("kill -9 under {failure_policy}, {TIMES} times"),
        |failed, bare| format!("{bare} made without their secret, {failed} refused"),
    )
}

/// Two webhooks of one installation.
struct Replicas<'i> {
    installation: &'i Installation<'i>,
    newer: Server,
    /// It holds the configurations too, whichever process it is.
    older: Webhook<'i>,
    balancer: Balancer,
    /// A namespace for Pods beside the stream.
    beside: String,
}

impl<'i> Replicas<'i> {
    /// Has API servers call them by the balancer's address.
    fn start(installation: &'i Installation<'i>, failure_policy: &str) -> Self {
        let balancer = Balancer::start();
        let older = installation.start(Place::with(""), &FLAGS);
        balancer.add(&older.server);
        let (own, shared) = (older.server.admission, balancer.address);
        let older = older.configured(None, &[], |entry: &mut Value| {
            let url = entry["clientConfig"]["url"].as_str().unwrap();
            let url = url.replace(&own.to_string(), &shared.to_string());
            entry["clientConfig"]["url"] = json!(url);
            entry["failurePolicy"] = json!(failure_policy);
        });
        let newer = begin(installation, &balancer);
        Self {
            installation,
            newer,
            older,
            balancer,
            beside: installation.plane.namespace("beside"),
        }
    }

    /// Starts one more, to which connections go too.
    fn begin(&self) -> Server {
        begin(self.installation, &self.balancer)
    }

    /// Waits until the older one was called: the end of one that nobody calls would show nothing.
    fn is_called(&self) {
        wait_until("the older one is called", || {
            let called = self.older.calls() > 0;
            if !called {
                // An API server opens more connections when many ask at once.
                assert_eq!(self.rush(), [""; 0]);
            }
            called
        });
    }

    /// Has Pods made all at once; what was said to those that were not.
    fn rush(&self) -> Vec<String> {
        let admin = self.installation.plane.admin();
        let at = format!("/api/v1/namespaces/{}/pods?dryRun=All", self.beside);
        let object = pod("beside", &json!({}));
        let answers = std::thread::scope(|scope| {
            let post = || admin.post(&at, &object);
            let all: Vec<_> = (0..RUSH).map(|_| scope.spawn(post)).collect();
            all.into_iter()
                .map(|one| one.join().unwrap())
                .collect::<Vec<_>>()
        });
        let refused = answers.iter().filter(|answer| answer.status >= 300);
        refused
            .map(|answer| answer.body["message"].to_string())
            .collect()
    }

    /// The older one, in whose place there is another.
    fn replace_by(&mut self, fresh: Server) -> Server {
        let newer = replace(&mut self.newer, fresh);
        replace(&mut self.older.server, newer)
    }
}

fn begin(installation: &Installation<'_>, balancer: &Balancer) -> Server {
    let server = installation.process(Place::with(""), &FLAGS);
    balancer.add(&server);
    server
}
