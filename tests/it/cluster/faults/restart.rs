//! Two webhooks behind one address, killed and replaced one after the other while Pods are made: what was lost is counted,
//! and it is what the `failurePolicy` says.

use std::mem::replace;

use serde_json::{Value, json};

use super::super::install::{Installation, Webhook};
use super::super::pod;
use super::balancer::Balancer;
use super::{SECRET, control, flowing, installed};
use crate::plane::{Plane, wait_until};
use crate::webhook::server::{Place, Server};

/// How many are replaced.
const TIMES: usize = 10;

const FLAGS: [&str; 4] = ["--tls-secret", SECRET, "--drain", "2s"];

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
        let admin = self.installation.plane.admin();
        let at = format!("/api/v1/namespaces/{}/pods?dryRun=All", self.beside);
        let ask = || admin.post(&at, &pod("beside", &json!({}))).done();
        wait_until("the older one is called", || {
            let called = self.older.calls() > 0;
            if !called {
                // An API server opens more connections when many ask at once.
                std::thread::scope(|scope| {
                    for _ in 0..8 {
                        scope.spawn(ask);
                    }
                });
            }
            called
        });
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
