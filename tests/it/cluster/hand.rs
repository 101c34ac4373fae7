//! A hand in the controller's place: it writes the Lease and the status ConfigMaps as a controller does, and does
//! nothing else. No Secret is made by it and no Pod released, so that a test says at each moment what a webhook knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use pullpass::names::SecretName;
use pullpass::status::{Memory, STATUS_KEY, STATUS_LABEL, Shard, Status};
use serde_json::{Value, json};

use crate::plane::{Plane, User};

/// What `pullpass-status-…` says: credentials, and the namespaces in which their Secrets stand.
pub(super) type Ready<'r> = &'r [(&'r str, &'r [&'r str])];

pub(super) struct Hand<'p> {
    plane: &'p Plane,
    /// The installation's own namespace.
    own: String,
    /// What its Lease says.
    duration: Duration,
}

/// Renews the Lease until it is stopped, also by a failure of the test.
pub(super) struct Renewing {
    goes_on: Arc<AtomicBool>,
    thread: Option<JoinHandle<Instant>>,
}

impl<'p> Hand<'p> {
    pub(super) fn of(plane: &'p Plane, own: &str, duration: Duration) -> Self {
        Self {
            plane,
            own: own.to_owned(),
            duration,
        }
    }

    fn leases(&self) -> String {
        format!(
            "/apis/coordination.k8s.io/v1/namespaces/{}/leases/pullpass-controller",
            self.own
        )
    }

    /// Takes the Lease, or renews it, once.
    pub(super) fn renews(&self) {
        renew(self.plane.admin(), &self.leases(), self.duration);
    }

    /// Takes the Lease and renews it several times within its duration, until told to stop.
    pub(super) fn keeps_renewing(&self) -> Renewing {
        self.renews();
        let goes_on = Arc::new(AtomicBool::new(true));
        let (user, at, duration) = (self.plane.admin().clone(), self.leases(), self.duration);
        let thread = std::thread::spawn({
            let goes_on = Arc::clone(&goes_on);
            move || {
                loop {
                    std::thread::sleep(duration / 10);
                    if !goes_on.load(Ordering::Relaxed) {
                        return Instant::now();
                    }
                    renew(&user, &at, duration);
                }
            }
        });
        Renewing {
            goes_on,
            thread: Some(thread),
        }
    }

    /// Gives the Lease back.
    pub(super) fn gives_back(&self) {
        let spec = json!({"leaseTransitions": 1});
        apply(self.plane.admin(), &self.leases(), &lease(&spec));
    }

    /// Deletes the Lease under its holder.
    pub(super) fn deletes_the_lease(&self) {
        self.plane.admin().delete(&self.leases(), None).done();
    }

    fn status(&self, shard: Shard) -> String {
        format!("/api/v1/namespaces/{}/configmaps/{shard}", self.own)
    }

    /// Says which Secrets stand in a shard's namespaces.
    pub(super) fn says(&self, shard: Shard, ready: Ready<'_>) {
        let ready = ready.iter().map(|(name, namespaces)| {
            let namespaces = namespaces.iter().map(|&namespace| namespace.into());
            (SecretName::parse(name).unwrap(), namespaces.collect())
        });
        let status = Status {
            ready: ready.collect::<BTreeMap<_, _>>(),
            memory: Memory::default(),
        };
        self.says_text(shard, &status.to_text());
    }

    /// Says something that no controller would say.
    pub(super) fn says_text(&self, shard: Shard, text: &str) {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": shard.to_string(), "labels": {STATUS_LABEL: "true"}},
            "data": {STATUS_KEY: text},
        });
        apply(self.plane.admin(), &self.status(shard), &object);
    }

    /// Deletes what it said.
    pub(super) fn unsays(&self, shard: Shard) {
        self.plane.admin().delete(&self.status(shard), None).done();
    }
}

impl Renewing {
    /// Stops renewing. Nothing was renewed after the time that it gives.
    pub(super) fn stops(mut self) -> Instant {
        self.goes_on.store(false, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        self.goes_on.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it failed by is told by the test's own failure.
            let _ = thread.join();
        }
    }
}

fn renew(user: &User, at: &str, duration: Duration) {
    let spec = json!({
        "holderIdentity": "hand", "leaseDurationSeconds": duration.as_secs(), "leaseTransitions": 1,
        "renewTime": now(),
    });
    apply(user, at, &lease(&spec));
}

/// A Lease of a controller that is there, as a list has it.
pub(super) fn held_lease() -> Value {
    let mut held = lease(&json!({
        "holderIdentity": "hand", "leaseDurationSeconds": 15, "renewTime": now(),
    }));
    held["metadata"]["resourceVersion"] = json!("1");
    held
}

/// As a MicroTime is written.
fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

fn lease(spec: &Value) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "pullpass-controller"}, "spec": spec,
    })
}

fn apply(user: &User, at: &str, object: &Value) {
    let at = format!("{at}?fieldManager=hand&force=true");
    user.apply(&at, object).done();
}
