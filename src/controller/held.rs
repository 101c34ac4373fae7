//! Pods that wait for a pull secret, as a watch brings them: only what has our gate is kept.
//!
//! Asked for are Pods without a node: a gated Pod has none, and the many that run are never sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::{Config, Event};
use serde::Deserialize;
use serde_json::Value;

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

/// The Pods that are held, by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Held {
    pods: BTreeMap<(Arc<str>, String), HeldPod>,
    listing: Option<BTreeMap<(Arc<str>, String), HeldPod>>,
    pub(super) is_synced: bool,
}

impl Held {
    /// Takes one event.
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
        if self.pods.get(&key).is_some_and(|held| held.uid == pod.uid) {
            self.pods.remove(&key);
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &HeldPod> {
        self.pods.values()
    }

    /// The Pod, if it is held.
    fn read(&self, pod: &Pod, now: SystemTime) -> Option<HeldPod> {
        let spec = &pod.spec;
        let mut gates = spec.scheduling_gates.iter();
        if !gates.any(|gate| gate.name.as_str() == Some(GATE)) {
            return None;
        }
        let metadata = &pod.metadata;
        let uid = metadata.uid.clone()?;
        let (namespace, name) = key(pod);
        let made = metadata.creation_timestamp.as_ref();
        // By the API server's clock, or ours, whichever lets it go sooner.
        let made = made.map_or(now, |made| SystemTime::from(made.0).min(now));
        let known = self.pods.get(&key(pod)).filter(|known| known.uid == uid);
        let names = spec.image_pull_secrets.iter();
        let secrets: BTreeSet<_> = names
            .filter_map(|entry| SecretName::parse(entry.name.as_str()?).ok())
            .collect();
        Some(HeldPod {
            namespace,
            name,
            uid,
            secrets,
            since: known.map_or(made, |known| known.since.min(made)),
        })
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

    #[test]
    fn only_pods_with_our_gate_are_held_and_since_they_were_made() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let ours = ["other", GATE];
        let mut held = Held::default();
        held.take(Event::Init, at(200));
        held.take(Event::InitApply(pod("a", "1", &ours)), at(200));
        held.take(Event::InitApply(pod("b", "2", &["other"])), at(200));
        assert!(
            !held.is_synced && held.iter().next().is_none(),
            "the list is not whole"
        );
        held.take(Event::InitDone, at(200));
        let all: Vec<_> = held.iter().cloned().collect();
        assert_eq!(all.len(), 1, "the other waits for somebody else");
        assert_eq!(all[0].since, at(100), "since it was made");
        let names: Vec<_> = all[0].secrets.iter().map(SecretName::as_str).collect();
        assert_eq!(names, ["ecr"], "entries that name nothing are no secrets");

        held.take(Event::Apply(pod("a", "1", &ours)), at(50));
        assert_eq!(
            held.iter().next().unwrap().since,
            at(50),
            "a clock that was set back counts for it"
        );
        held.take(Event::Apply(pod("a", "1", &["other"])), at(60));
        assert!(held.iter().next().is_none(), "released");
        held.take(Event::Apply(pod("a", "3", &ours)), at(60));
        let old = HeldPod {
            uid: "1".to_owned(),
            ..held.iter().next().unwrap().clone()
        };
        held.released(&old);
        assert!(
            held.iter().next().is_some(),
            "the one before was let go, not this"
        );
        held.take(Event::Delete(pod("a", "3", &ours)), at(60));
        assert!(held.iter().next().is_none(), "deleted");
    }
}
