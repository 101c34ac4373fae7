//! Pods with our gate as a watch of the tests' own sees them → how long each was held, and whether its Secret stood when it
//! went.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use pullpass::status::GATE;
use tokio::task::JoinHandle;

use crate::plane::{Plane, RUNTIME, wait_until};

/// What a busy machine may add to the time that a Pod is held.
const SLACK: Duration = Duration::from_secs(3);

/// A Pod, held or not.
#[derive(Clone, Debug)]
struct Seen {
    namespace: String,
    name: String,
    since: Instant,
    was_held: bool,
    /// Since when it could have been bound to a node, and in which version.
    free: Option<(Instant, u64)>,
}

#[derive(Default)]
struct Book {
    pods: BTreeMap<String, Seen>,
    is_synced: bool,
}

/// A running book of a plane's held Pods; it ends when it is dropped.
pub(super) struct Waiting {
    book: Arc<Mutex<Book>>,
    watch: JoinHandle<()>,
}

/// How those fared that were held.
pub(super) struct Waited {
    pub(super) held: usize,
    pub(super) late: Vec<String>,
    pub(super) longest: Duration,
    /// Of each, the shortest first.
    pub(super) times: Vec<Duration>,
    /// Of all Pods, held or not: the namespace, and the version in which it could first have been bound to a node.
    pub(super) free: Vec<(String, u64)>,
}

impl Waiting {
    pub(super) fn on(plane: &Plane) -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let api = Api::<Pod>::all(plane.admin().client.clone());
        let watch = RUNTIME.spawn({
            let book = Arc::clone(&book);
            async move {
                let mut changes = pin!(watcher(api, Config::default()).default_backoff());
                while let Some(change) = changes.next().await {
                    let mut book = book.lock().unwrap();
                    match change {
                        Ok(Event::Apply(pod) | Event::InitApply(pod)) => book.take(&pod),
                        Ok(Event::InitDone) if !book.is_synced => {
                            // Of tests before this one.
                            book.pods.retain(|_, pod| pod.free.is_none());
                            book.is_synced = true;
                        }
                        Ok(Event::Init | Event::InitDone | Event::Delete(_)) | Err(_) => {}
                    }
                }
            }
        });
        let waiting = Self { book, watch };
        wait_until("held Pods are watched", || {
            waiting.book.lock().unwrap().is_synced
        });
        waiting
    }

    /// How many Pods there were, held or not.
    pub(super) fn seen(&self) -> usize {
        self.book.lock().unwrap().pods.len()
    }

    /// How many are held now.
    pub(super) fn now(&self) -> usize {
        let book = self.book.lock().unwrap();
        book.pods.values().filter(|pod| pod.free.is_none()).count()
    }

    /// Ends it when nobody is held any more. Late is who was held longer than this; the time until `back` counts for nobody:
    /// until then there was nobody who could have let Pods go.
    pub(super) fn end(self, timeout: Duration, back: Option<Instant>) -> Waited {
        wait_until("all held Pods are let go", || self.now() == 0);
        self.watch.abort();
        let book = self.book.lock().unwrap();
        let mut waited = Waited {
            held: 0,
            late: Vec::new(),
            longest: Duration::ZERO,
            times: Vec::new(),
            free: Vec::new(),
        };
        for pod in book.pods.values() {
            let (until, version) = pod.free.unwrap();
            waited.free.push((pod.namespace.clone(), version));
            if !pod.was_held {
                continue;
            }
            let time = until - pod.since;
            waited.held += 1;
            waited.times.push(time);
            waited.longest = waited.longest.max(time);
            let end = pod.since + timeout;
            let end = back.map_or(end, |back| end.max(back));
            if until > end + SLACK {
                waited
                    .late
                    .push(format!("{}/{} for {time:?}", pod.namespace, pod.name));
            }
        }
        waited.times.sort();
        waited
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Book {
    fn take(&mut self, pod: &Pod) {
        let metadata = &pod.metadata;
        let uid = metadata.uid.clone().unwrap_or_default();
        let gates = pod
            .spec
            .iter()
            .flat_map(|spec| spec.scheduling_gates.iter().flatten());
        let is_held = gates.map(|gate| &gate.name).any(|name| name == GATE);
        let version = metadata.resource_version.as_deref().unwrap_or_default();
        let now = Instant::now();
        let free = (!is_held).then(|| (now, version.parse().unwrap()));
        match self.pods.get_mut(&uid) {
            None => {
                let pod = Seen {
                    namespace: metadata.namespace.clone().unwrap_or_default(),
                    name: metadata.name.clone().unwrap_or_default(),
                    since: now,
                    was_held: is_held,
                    free,
                };
                self.pods.insert(uid, pod);
            }
            Some(pod) if pod.free.is_none() => pod.free = free,
            Some(_) => {}
        }
    }
}
