//! A steady stream of Pods through the API server → what became of each: made with its secret, or failed by us.
//!
//! What others refuse is tried again until it goes through, and counted apart: an API server that is down refuses
//! everybody. Nobody is let off: a request without an answer may have made its Pod, which is looked at all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::mem::take;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::super::{pod, pods, secrets};
use super::PODS;
use crate::plane::{Answer, PATIENCE, Plane, RUNTIME, User, try_request, wait_until};

/// From one Pod to the next.
const EVERY: Duration = Duration::from_millis(20);
/// How many may wait for their answer.
const AT_ONCE: usize = 64;
/// Until what others refused is tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// Where the rows of the table are collected; the run of all tests begins with none.
const TABLE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/faults.txt");

/// A stream; it goes on until it is asked for its end.
pub(super) struct Stream {
    pods: Arc<Pods>,
    flow: JoinHandle<usize>,
}

struct Pods {
    user: User,
    namespace: String,
    /// The pull secret that each carries.
    secret: String,
    ends: AtomicBool,
    created: AtomicUsize,
    /// What was said each time that we were the reason.
    failed: Mutex<Vec<String>>,
    /// Those that were made without their secret.
    bare: Mutex<BTreeSet<String>>,
    /// How often others refused, by what they said.
    refused: Mutex<BTreeMap<String, usize>>,
}

impl Stream {
    /// Makes Pods in the namespace, each to carry the secret.
    pub(super) fn start(user: &User, namespace: &str, secret: &str) -> Self {
        let pods = Arc::new(Pods {
            user: user.clone(),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            ends: AtomicBool::new(false),
            created: AtomicUsize::new(0),
            failed: Mutex::default(),
            bare: Mutex::default(),
            refused: Mutex::default(),
        });
        let flow = RUNTIME.spawn(flow(Arc::clone(&pods)));
        Self { pods, flow }
    }

    pub(super) fn created(&self) -> usize {
        self.pods.created.load(Ordering::Relaxed)
    }

    /// Waits until so many more are made.
    pub(super) fn goes_on(&self, more: usize) {
        let want = self.created() + more;
        wait_until(&format!("{more} more Pods"), || {
            self.is_unharmed();
            self.created() >= want
        });
    }

    /// The same, whatever became of others.
    pub(super) fn waits_for(&self, more: usize) {
        let want = self.created() + more;
        wait_until(&format!("{more} more Pods"), || self.created() >= want);
    }

    /// There is no need to wait for the end to fail.
    fn is_unharmed(&self) {
        let failed = self.pods.failed.lock().unwrap();
        let bare = self.pods.bare.lock().unwrap();
        assert!(
            failed.len() + bare.len() < 10,
            "failed by us: {failed:#?}, without their secret: {bare:?}"
        );
    }

    /// Ends it, once there were enough, and writes what became of it into the table: none may have failed by us.
    pub(super) fn end(self, plane: &Plane, fault: &str, happened: &str) {
        let end = self.ended(plane);
        end.tell(fault, happened);
        assert_eq!(end.failed, [""; 0], "failed by us");
        assert_eq!(end.bare, BTreeSet::new(), "made without their secret");
        assert_eq!(end.made, end.begun, "every Pod is made");
    }

    /// The same when some may have: how many failed by us, and how many were made without their secret.
    pub(super) fn count(
        self,
        plane: &Plane,
        fault: &str,
        happened: impl Fn(usize, usize) -> String,
    ) -> (usize, usize) {
        let end = self.ended(plane);
        let (failed, bare) = (end.failed.len(), end.bare.len());
        end.tell(fault, &happened(failed, bare));
        assert_eq!(end.made, end.begun, "every Pod is made");
        (failed, bare)
    }

    fn ended(self, plane: &Plane) -> End {
        wait_until("enough Pods", || self.created() >= PODS);
        self.pods.ends.store(true, Ordering::Relaxed);
        let begun = RUNTIME
            .block_on(async { timeout(PATIENCE, self.flow).await })
            .expect("each creation comes to its end")
            .unwrap();
        let made = pods(plane, &self.pods.namespace);
        let mut bare = take(&mut *self.pods.bare.lock().unwrap());
        let without = made.iter().filter(|pod| !carries(pod, &self.pods.secret));
        bare.extend(without.map(name));
        End {
            begun,
            made: made.len(),
            failed: take(&mut *self.pods.failed.lock().unwrap()),
            bare,
            refused: take(&mut *self.pods.refused.lock().unwrap()),
        }
    }
}

/// What became of a stream.
struct End {
    begun: usize,
    made: usize,
    failed: Vec<String>,
    bare: BTreeSet<String>,
    refused: BTreeMap<String, usize>,
}

impl End {
    /// Writes a row of the table.
    fn tell(&self, fault: &str, happened: &str) {
        let row = format!(
            "{fault:<52} | {:>7} | {:>12} | {:>17} | {happened}\n",
            self.made,
            self.failed.len() + self.bare.len(),
            self.refused.values().sum::<usize>(),
        );
        let mut table = OpenOptions::new();
        let mut table = table.create(true).append(true).open(TABLE).unwrap();
        table.write_all(row.as_bytes()).unwrap();
        println!("{row}{:#?}{:#?}", self.failed, self.refused);
    }
}

/// Makes Pods until it is to end; how many.
async fn flow(pods: Arc<Pods>) -> usize {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut begun = 0;
    while !pods.ends.load(Ordering::Relaxed) {
        ticks.tick().await;
        let place = Arc::clone(&room).acquire_owned().await.unwrap();
        let pods = Arc::clone(&pods);
        let name = format!("pod-{begun}");
        begun += 1;
        tokio::spawn(async move {
            pods.make(&name).await;
            drop(place);
        });
    }
    let all = u32::try_from(AT_ONCE).unwrap();
    drop(room.acquire_many(all).await);
    begun
}

impl Pods {
    async fn make(&self, name: &str) {
        let all = format!("/api/v1/namespaces/{}/pods", self.namespace);
        let one = format!("{all}/{name}");
        let pod = pod(name, &json!({}));
        loop {
            let answer = self.request("POST", &all, Some(&pod)).await;
            let answer = match answer {
                // An answer got lost on its way.
                Ok(answer) if answer.body["reason"] == "AlreadyExists" => {
                    self.request("GET", &one, None).await
                }
                answer => answer,
            };
            match answer {
                Ok(answer) if answer.status < 300 => {
                    if !carries(&answer.body, &self.secret) {
                        self.bare.lock().unwrap().insert(name.to_owned());
                    }
                    self.created.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(answer) if names_us(&answer) => {
                    let text = answer.body["message"].to_string();
                    // It is tried again, so that the count of what was made stays whole.
                    self.failed.lock().unwrap().push(text);
                }
                Ok(answer) => {
                    self.refused(&format!("{} {}", answer.status, answer.body["message"]));
                }
                Err(error) => self.refused(&error.to_string()),
            }
            sleep(AGAIN).await;
        }
    }

    async fn request(
        &self,
        method: &str,
        path: &str,
        object: Option<&Value>,
    ) -> Result<Answer, kube::Error> {
        try_request(&self.user.client, method, path, "application/json", object).await
    }

    fn refused(&self, text: &str) {
        *self
            .refused
            .lock()
            .unwrap()
            .entry(text.to_owned())
            .or_default() += 1;
    }
}

fn name(pod: &Value) -> String {
    pod["metadata"]["name"].as_str().unwrap().to_owned()
}

fn carries(pod: &Value, secret: &str) -> bool {
    secrets(pod).contains(&secret)
}

/// Whether a refusal blames a webhook: ours is the only one.
fn names_us(answer: &Answer) -> bool {
    let message = answer.body["message"].as_str().unwrap_or_default();
    message.contains("webhook") || message.contains("pullpass")
}
