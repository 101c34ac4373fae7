//! Faults under a steady stream of Pod creations with `failurePolicy: Fail`: every Pod that is created carries its secret,
//! and none is refused in our name. What the API server refuses by itself while it or etcd is down is retried and counted
//! apart. Each test leaves a row of the table that `make test` prints.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::install::Installation;
use super::{HUB, pod, policy, secrets};
use crate::plane::{Plane, RUNTIME, try_request, wait_until};

/// How many Pods a fault has to get through.
const ENOUGH: u64 = 1_000;
/// How many are created at once.
const AT_ONCE: usize = 4;

/// What became of the creations.
#[derive(Default)]
pub(crate) struct Tally {
    created: AtomicU64,
    by_others: AtomicU64,
    over: AtomicBool,
    /// Why creations failed in our name, or what a Pod lacked.
    wrong: Mutex<Vec<String>>,
    /// What others said, once each, for the test's output.
    others: Mutex<std::collections::BTreeSet<String>>,
}

impl Tally {
    pub(crate) fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    /// Waits until so many more Pods are created.
    pub(crate) fn goes_on(&self, more: u64) {
        let want = self.created() + more;
        wait_until(&format!("{more} more Pods"), || self.created() >= want);
    }
}

/// Creates Pods in a namespace while `disturb` does what it does, and until there are enough. Each must have one of these
/// secrets, and nothing else.
pub(crate) fn stream(
    plane: &Plane,
    fault: &str,
    namespace: &str,
    carries: impl Fn(&[&str]) -> bool + Send + Sync + 'static,
    disturb: impl FnOnce(&Tally),
) {
    let tally = Arc::new(Tally::default());
    let carries = Arc::new(carries);
    let mut creators = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (tally, carries) = (Arc::clone(&tally), Arc::clone(&carries));
        let client = plane.admin().client.clone();
        let at = format!("/api/v1/namespaces/{namespace}/pods");
        let mut subject = pod("", &json!({}));
        subject["metadata"] = json!({"generateName": "p-"});
        let create = async move {
            while !tally.over.load(Ordering::Relaxed) {
                let kind = "application/json";
                let answer = try_request(&client, "POST", &at, kind, Some(&subject)).await;
                let pause = match answer {
                    Ok(answer) if answer.status == 201 => {
                        if carries(&secrets(&answer.body)) {
                            tally.created.fetch_add(1, Ordering::Relaxed);
                        } else {
                            let what = format!("created without: {}", answer.body["spec"]);
                            tally.wrong.lock().unwrap().push(what);
                        }
                        2
                    }
                    Ok(answer) => {
                        let said = answer.body["message"].to_string();
                        refused(&tally, said);
                        20
                    }
                    Err(error) => {
                        refused(&tally, format!("{error:?}"));
                        20
                    }
                };
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        };
        creators.spawn_on(create, &RUNTIME);
    }
    // Ends the creators also when the disturbance fails.
    let over = Over(&tally);
    tally.goes_on(50);
    disturb(&tally);
    tally.goes_on(50);
    wait_until("there were enough", || tally.created() >= ENOUGH);
    drop(over);
    RUNTIME.block_on(async { while creators.join_next().await.is_some() {} });
    tell(fault, &tally);
    let wrong = tally.wrong.lock().unwrap();
    assert!(
        wrong.is_empty(),
        "{} in our name: {:?}",
        wrong.len(),
        wrong.first()
    );
    // As they are stored, not only as they were answered.
    let at = format!("/api/v1/namespaces/{namespace}/pods");
    let stored = plane.admin().get(&at).done();
    let stored = stored["items"].as_array().unwrap();
    assert!(stored.len() as u64 >= tally.created());
    for pod in stored {
        assert!(carries(&secrets(pod)), "stored without: {pod}");
    }
}

struct Over<'t>(&'t Tally);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// Whoever names the webhook means us.
fn refused(tally: &Tally, said: String) {
    if said.contains("webhook") || said.contains("pullpass") {
        tally.wrong.lock().unwrap().push(said);
    } else {
        tally.by_others.fetch_add(1, Ordering::Relaxed);
        tally.others.lock().unwrap().insert(said);
    }
}

/// A row of the table.
fn tell(fault: &str, tally: &Tally) {
    let row = format!(
        "{fault:<40}{:>9}{:>15}{:>19}\n",
        tally.created(),
        tally.wrong.lock().unwrap().len(),
        tally.by_others.load(Ordering::Relaxed),
    );
    print!("{row}");
    for said in tally.others.lock().unwrap().iter().take(5) {
        println!("  others: {said}");
    }
    let table = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.txt");
    let mut table = OpenOptions::new()
        .create(true)
        .append(true)
        .open(table)
        .unwrap();
    table.write_all(row.as_bytes()).unwrap();
}

fn of_hub(secrets: &[&str]) -> bool {
    secrets == ["hub-creds"]
}

#[test]
fn a_storm_of_policy_edits_fails_no_creation() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    installation.put("company", &policy("company", HUB));
    let webhook = installation.serve(&[]);
    let namespace = installation.namespace("policy-storm");
    let either = |secrets: &[&str]| matches!(secrets, ["hub-creds" | "other-creds"]);
    stream(plane, "policy reload storm", &namespace, either, |tally| {
        let loaded = "pullpass_policy_documents{state=\"loaded\"}";
        for n in 0..150 {
            let rules = match n % 3 {
                0 => HUB.replace("hub-creds", "other-creds"),
                // With an error: what it said before stays in force.
                1 => HUB.replace("docker.io", "a[b"),
                _ => HUB.to_owned(),
            };
            installation.put("company", &policy("company", &rules));
            if n % 10 == 0 {
                tally.goes_on(20);
            }
        }
        installation.put("company", &policy("company", HUB));
        webhook.server.until_count(loaded, 1);
        webhook.until_secrets(&namespace, &json!({}), &["hub-creds"]);
    });
}

#[test]
fn an_api_server_that_restarts_finds_us_ready() {
    let plane = Plane::own();
    let installation = Installation::on(&plane);
    installation.put("company", &policy("company", HUB));
    let webhook = installation.serve(&[]);
    let namespace = installation.namespace("restart");
    stream(
        &plane,
        "API server restarted, 3 times",
        &namespace,
        of_hub,
        |tally| {
            for stop in ["stop-apiserver", "kill-apiserver", "stop-apiserver"] {
                tally.goes_on(200);
                plane.order(stop);
                assert_eq!(webhook.server.get("/livez").status, 200);
                plane.order("start-apiserver");
            }
        },
    );
    // It has found its way back to the watches.
    installation.put(
        "company",
        &policy("company", &HUB.replace("hub-creds", "new")),
    );
    webhook.until_secrets(&namespace, &json!({}), &["new"]);
    webhook.server.until_ready();
}

#[test]
fn etcd_that_stands_still_fails_nothing_of_ours() {
    let plane = Plane::own();
    let installation = Installation::on(&plane);
    installation.put("company", &policy("company", HUB));
    let webhook = installation.serve(&[]);
    let namespace = installation.namespace("paused");
    stream(
        &plane,
        "etcd paused, 3 times",
        &namespace,
        of_hub,
        |tally| {
            // The last is longer than the API server bears a write to take.
            for seconds in [1, 4, 40] {
                tally.goes_on(200);
                plane.order("pause-etcd");
                std::thread::sleep(Duration::from_secs(seconds));
                assert_eq!(
                    webhook.server.get("/readyz").status,
                    200,
                    "it decides from memory"
                );
                plane.order("resume-etcd");
            }
        },
    );
    installation.put(
        "company",
        &policy("company", &HUB.replace("hub-creds", "new")),
    );
    webhook.until_secrets(&namespace, &json!({}), &["new"]);
}
