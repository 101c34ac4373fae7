//! Pods that wait for a pull secret, as a watch brings them: only what has our gate is kept.
//!
//! Asked for are Pods without a node: a gated Pod has none, and the many that run are never sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::{Config, Event};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::objects::resource;
use crate::names::SecretName;
use crate::plan::gates::HeldPod;
use crate::status::GATE;

/// A Pod, of which few fields are read.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Pod {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    scheduling_gates: Vec<Named>,
    image_pull_secrets: Vec<Named>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: Value,
}

resource!(Pod, "Pod", "pods");

/// Which Pods are asked for.
pub(super) fn unscheduled() -> Config {
    Config::default().fields("spec.nodeName=,status.phase=Pending")
}

/// By namespace and name.
type Pods = BTreeMap<(Arc<str>, String), Waiting>;

/// A held Pod, and since when by a clock that nobody sets.
#[derive(Debug)]
struct Waiting {
    pod: HeldPod,
    since: Instant,
}

/// The Pods that are held.
#[derive(Debug, Default)]
pub(super) struct Held {
    pods: Pods,
    listing: Option<Pods>,
    pub(super) is_synced: bool,
}

impl Held {
    /// Takes one event, at a time by the clock on the wall.
    pub(super) fn take(&mut self, event: Event<Pod>, now: SystemTime) {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(pod) => {
                let held = self.read(&pod, now);
                if let (Some(listing), Some(held)) = (&mut self.listing, held) {
                    listing.insert(key(&pod), held);
                }
            }
            Event::InitDone => {
                self.pods = self.listing.take().unwrap_or_default();
                self.is_synced = true;
            }
            Event::Apply(pod) => {
                match self.read(&pod, now) {
                    Some(held) => self.pods.insert(key(&pod), held),
                    None => self.pods.remove(&key(&pod)),
                };
            }
            Event::Delete(pod) => {
                self.pods.remove(&key(&pod));
            }
        }
    }

    /// A Pod was let go: the watch will say so in a moment.
    pub(super) fn released(&mut self, pod: &HeldPod) {
        let key = (Arc::clone(&pod.namespace), pod.name.clone());
        let held = self.pods.get(&key);
        if held.is_some_and(|held| held.pod.uid == pod.uid) {
            self.pods.remove(&key);
        }
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    /// All of them, with the time that each has waited until now.
    pub(super) fn iter(&self, now: Instant) -> impl Iterator<Item = (&HeldPod, Duration)> {
        let waiting = self.pods.values();
        waiting.map(move |held| (&held.pod, now.saturating_duration_since(held.since)))
    }

    /// The Pod, if it is held.
    fn read(&self, pod: &Pod, now: SystemTime) -> Option<Waiting> {
        let spec = &pod.spec;
        let mut gates = spec.scheduling_gates.iter();
        if !gates.any(|gate| gate.name.as_str() == Some(GATE)) {
            return None;
        }
        let metadata = &pod.metadata;
        let uid = metadata.uid.clone()?;
        let (namespace, name) = key(pod);
        let known = self.pods.get(&key(pod));
        let known = known.filter(|known| known.pod.uid == uid);
        let since = known.map_or_else(
            || {
                // By the API server's clock and ours, or since it is seen, whichever lets it go sooner. Once:
                // either clock may be set while it waits.
                let made = metadata.creation_timestamp.as_ref();
                let age = made.and_then(|made| now.duration_since(SystemTime::from(made.0)).ok());
                let seen = Instant::now();
                seen.checked_sub(age.unwrap_or_default()).unwrap_or(seen)
            },
            |known| known.since,
        );
        let names = spec.image_pull_secrets.iter();
        let secrets: BTreeSet<_> = names
            .filter_map(|entry| SecretName::parse(entry.name.as_str()?).ok())
            .collect();
        let pod = HeldPod {
            namespace,
            name,
            uid,
            secrets,
        };
        Some(Waiting { pod, since })
    }
}

fn key(pod: &Pod) -> (Arc<str>, String) {
    let metadata = &pod.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    (namespace.into(), metadata.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use serde_json::json;

    fn pod(name: &str, uid: &str, gates: &[&str]) -> Pod {
        let gates: Vec<_> = gates.iter().map(|gate| json!({"name": gate})).collect();
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "web", "uid": uid,
                "creationTimestamp": "1970-01-01T00:01:40Z",
            },
            "spec": {
                "schedulingGates": gates,
                "imagePullSecrets": [{"name": "ecr"}, {}, {"name": "Bad Name"}],
                "containers": [{"name": "c", "image": "x"}],
            },
        }))
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn only_pods_with_our_gate_are_held_and_since_they_were_made() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let ours = ["other", GATE];
        let mut held = Held::default();
        held.take(Event::Init, at(200));
        held.take(Event::InitApply(pod("a", "1", &ours)), at(200));
        held.take(Event::InitApply(pod("b", "2", &["other"])), at(200));
        assert!(!held.is_synced && held.len() == 0, "the list is not whole");
        held.take(Event::InitDone, at(200));
        assert_eq!(held.len(), 1, "the other waits for somebody else");
        let (first, _) = held.iter(Instant::now()).next().unwrap();
        let names: Vec<_> = first.secrets.iter().map(SecretName::as_str).collect();
        assert_eq!(names, ["ecr"], "entries that name nothing are no secrets");

        held.take(Event::Apply(pod("a", "1", &["other"])), at(60));
        assert_eq!(held.len(), 0, "released");
        held.take(Event::Apply(pod("a", "3", &ours)), at(60));
        let (now, _) = held.iter(Instant::now()).next().unwrap();
        let old = HeldPod {
            uid: "1".to_owned(),
            ..now.clone()
        };
        held.released(&old);
        assert_eq!(held.len(), 1, "the one before was let go, not this");
        held.take(Event::Delete(pod("a", "3", &ours)), at(60));
        assert_eq!(held.len(), 0, "deleted");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_waits_since_it_was_made_whatever_becomes_of_the_clocks() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let waited = |held: &Held| held.iter(Instant::now()).next().unwrap().1.as_secs();
        // It was made at 100.
        for (first, then, want, why) in [
            (200, 200, 100, "since it was made"),
            (50, 50, 0, "a clock that is behind: since it was seen"),
            (110, 100_000, 10, "ours is set forward while it waits"),
            (110, 10, 10, "or back"),
        ] {
            let mut held = Held::default();
            held.take(Event::Apply(pod("a", "1", &[GATE])), at(first));
            held.take(Event::Apply(pod("a", "1", &[GATE])), at(then));
            assert_eq!(waited(&held), want, "{why}");
            tokio::time::advance(Duration::from_secs(5)).await;
            assert_eq!(waited(&held), want + 5, "{why}: time goes on");
            held.take(Event::Init, at(then));
            held.take(Event::InitApply(pod("a", "1", &[GATE])), at(then));
            held.take(Event::InitDone, at(then));
            assert_eq!(waited(&held), want + 5, "{why}: listed again");
        }
    }
}
