//! What an API server tells of Pods, Secrets and the controller's own objects → what an uninstall has left of pullpass.
//!
//! An object counts by our mark on it, never by its name alone, and each is removed only as it was seen. `work`
//! asks and removes; all else is pure.

pub mod work;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::controller::apply::{FIELD_MANAGER, OURS};
use crate::install::CONTROLLER;
use crate::status::{GATE, Shard};

/// The type of the Secrets that the controller makes for itself: its CA and the serving certificate.
const CERTIFICATE: &str = "kubernetes.io/tls";

/// What is left, in the order in which it is removed: the Lease tells where pullpass was, so it goes last. Closed: these
/// are all that the controller writes and a release does not own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A Pod that waits for its Secret.
    Pod,
    /// A Secret that Pods pull with.
    Secret,
    /// The CA, or the serving certificate.
    Certificate,
    /// What the controller has told the webhook.
    ConfigMap,
    /// Which controller leads.
    Lease,
}

impl Kind {
    /// The kind as Kubernetes calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Secret | Self::Certificate => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Lease => "Lease",
        }
    }

    /// The path of such objects in a namespace.
    fn collection(self, namespace: &str) -> String {
        let (group, resource) = match self {
            Self::Pod => ("/api/v1", "pods"),
            Self::Secret | Self::Certificate => ("/api/v1", "secrets"),
            Self::ConfigMap => ("/api/v1", "configmaps"),
            Self::Lease => ("/apis/coordination.k8s.io/v1", "leases"),
        };
        format!("{group}/namespaces/{namespace}/{resource}")
    }
}

/// One object that is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many Pods of its namespace name it as a pull secret and have not finished.
    pub named_by: usize,
    /// Which object it is, and which version of it was seen.
    uid: String,
    version: String,
}

impl Left {
    fn of(kind: Kind, object: &Value) -> Option<Self> {
        let part = |key: &str| {
            let text = object.get("metadata")?.get(key)?.as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        // Without any of these it could not be removed as it was seen.
        Some(Self {
            kind,
            namespace: part("namespace")?,
            name: part("name")?,
            named_by: 0,
            uid: part("uid")?,
            version: part("resourceVersion")?,
        })
    }

    /// `namespace/name`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The patch that takes the gate off the Pod: off this very Pod, and no other gate. The same again changes nothing.
    fn release(&self) -> Value {
        json!({
            "metadata": {"uid": self.uid},
            "spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]},
        })
    }
}

/// A controller's Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// pullpass's own namespace.
    pub namespace: String,
    /// Who has it; nobody when it was given back.
    pub identity: Option<String>,
    /// For how long it lasts unless it is renewed.
    pub seconds: u64,
    version: String,
}

impl Holder {
    /// That of a Lease of ours.
    fn of(lease: &Value) -> Option<Self> {
        let left = Left::of(Kind::Lease, lease).filter(|left| left.name == CONTROLLER)?;
        let spec = |key: &str| lease.get("spec")?.get(key);
        let identity = spec("holderIdentity").and_then(Value::as_str);
        // No controller asks for more; one that says nothing is taken to ask for what it asks for by default.
        let seconds = spec("leaseDurationSeconds").and_then(Value::as_u64);
        Some(Self {
            namespace: left.namespace,
            identity: identity
                .filter(|name| !name.is_empty())
                .map(ToOwned::to_owned),
            seconds: seconds.unwrap_or(15).clamp(1, 60),
            version: left.version,
        })
    }
}

/// What was seen so far. Pages are folded as they come; nothing of a Pod is kept but what it needs.
#[derive(Debug, Default)]
pub struct Seen {
    left: Vec<Left>,
    named: BTreeMap<(String, String), usize>,
    pods: usize,
}

impl Seen {
    /// Pods, whole.
    pub fn pods(&mut self, page: &[Value]) {
        for pod in page {
            self.pods += 1;
            let list = |pointer: &str| {
                let list = pod.pointer(pointer).and_then(Value::as_array);
                let names = list.into_iter().flatten();
                names.filter_map(|entry| entry.get("name")?.as_str())
            };
            if list("/spec/schedulingGates").any(|name| name == GATE) {
                self.left.extend(Left::of(Kind::Pod, pod));
            }
            let phase = pod.pointer("/status/phase").and_then(Value::as_str);
            let namespace = pod.pointer("/metadata/namespace").and_then(Value::as_str);
            if let (None | Some("Pending" | "Running" | "Unknown"), Some(namespace)) =
                (phase, namespace)
            {
                // One that is named twice is needed once.
                let names: BTreeSet<&str> = list("/spec/imagePullSecrets").collect();
                for name in names {
                    let key = (namespace.to_owned(), name.to_owned());
                    *self.named.entry(key).or_default() += 1;
                }
            }
        }
    }

    /// The metadata of Secrets of one type.
    pub fn secrets(&mut self, kind: Kind, page: &[Value]) {
        self.keep(kind, page, is_labelled);
    }

    /// The metadata of ConfigMaps.
    pub fn config_maps(&mut self, page: &[Value]) {
        self.keep(Kind::ConfigMap, page, |object| {
            let name = object.pointer("/metadata/name").and_then(Value::as_str);
            name.is_some_and(|name| Shard::parse(name).is_some()) && is_labelled(object)
        });
    }

    /// Leases, whole; those of ours with who holds them.
    pub fn leases(&mut self, page: &[Value]) -> Vec<Holder> {
        let ours = |lease: &&Value| Holder::of(lease).is_some() && is_applied(lease);
        let ours: Vec<&Value> = page.iter().filter(ours).collect();
        self.left
            .extend(ours.iter().filter_map(|lease| Left::of(Kind::Lease, lease)));
        ours.into_iter().filter_map(Holder::of).collect()
    }

    fn keep(&mut self, kind: Kind, page: &[Value], ours: impl Fn(&Value) -> bool) {
        let ours = page.iter().filter(|object| ours(object));
        self.left
            .extend(ours.filter_map(|object| Left::of(kind, object)));
    }

    /// How many Pods were looked at.
    #[must_use]
    pub fn looked_at(&self) -> usize {
        self.pods
    }

    /// All that is left, in the order in which it is removed.
    #[must_use]
    pub fn left(self) -> Vec<Left> {
        let Self {
            mut left, named, ..
        } = self;
        for left in &mut left {
            let key = (left.namespace.clone(), left.name.clone());
            if left.kind == Kind::Secret {
                left.named_by = named.get(&key).copied().unwrap_or(0);
            }
        }
        let order = |left: &Left| (left.kind, left.namespace.clone(), left.name.clone());
        left.sort_by_cached_key(order);
        // A list that went on while things changed may bring one twice.
        left.dedup_by(|a, b| a.uid == b.uid);
        left
    }
}

/// Whether the label says that it is the controller's: no one else sets it, and nothing inherits it.
fn is_labelled(object: &Value) -> bool {
    let (key, value) = OURS;
    let labels = object.pointer("/metadata/labels");
    labels.and_then(|labels| labels.get(key)?.as_str()) == Some(value)
}

/// Whether a controller has applied it: a Lease has no label.
fn is_applied(object: &Value) -> bool {
    let entries = object.pointer("/metadata/managedFields");
    let entries = entries.and_then(Value::as_array).into_iter().flatten();
    let mut entries =
        entries.map(|entry| ["operation", "manager"].map(|key| entry.get(key)?.as_str()));
    entries.any(|entry| entry == [Some("Apply"), Some(FIELD_MANAGER)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(namespace: &str, name: &str, more: &Value) -> Value {
        let mut metadata = json!({
            "namespace": namespace, "name": name, "uid": format!("u-{namespace}-{name}"), "resourceVersion": "7",
        });
        for (key, value) in more.as_object().unwrap() {
            metadata[key] = value.clone();
        }
        json!({"metadata": metadata})
    }

    fn names(seen: Seen) -> Vec<(Kind, String, usize)> {
        let left = seen.left().into_iter();
        left.map(|left| (left.kind, left.place(), left.named_by))
            .collect()
    }

    #[test]
    fn a_secret_is_ours_by_its_label_alone() {
        for (labels, want, why) in [
            (json!({OURS.0: OURS.1}), 1, "ours"),
            (
                json!({OURS.0: "Helm"}),
                0,
                "a release's, though it is of our chart",
            ),
            (
                json!({"app.kubernetes.io/part-of": "pullpass"}),
                0,
                "beside ours",
            ),
            (json!({}), 0, "no label"),
        ] {
            let mut seen = Seen::default();
            let secret = object("shop", "hub", &json!({"labels": labels}));
            seen.secrets(Kind::Secret, &[secret]);
            assert_eq!(names(seen).len(), want, "{why}");
        }
    }

    #[test]
    fn a_pod_is_held_by_our_gate_and_needs_what_it_names() {
        let pod = |name: &str, gates: &[&str], secrets: Value, phase: &str| {
            let gates: Vec<Value> = gates.iter().map(|gate| json!({"name": gate})).collect();
            let mut pod = object("shop", name, &json!({}));
            pod["spec"] = json!({"schedulingGates": gates, "imagePullSecrets": secrets});
            pod["status"] = json!({"phase": phase});
            pod
        };
        let hub = || json!([{"name": "hub"}, {"name": "hub"}, {}]);
        let mut seen = Seen::default();
        seen.pods(&[
            pod("waits", &["example.com/other", GATE], hub(), "Pending"),
            pod(
                "waits-for-others",
                &["example.com/other"],
                json!(null),
                "Pending",
            ),
            pod("runs", &[], hub(), "Running"),
            pod("is-over", &[], hub(), "Succeeded"),
            pod("failed", &[], hub(), "Failed"),
        ]);
        let ours = |namespace| object(namespace, "hub", &json!({"labels": {OURS.0: OURS.1}}));
        seen.secrets(Kind::Secret, &[ours("shop"), ours("bakery")]);
        assert_eq!(seen.looked_at(), 5);
        let want = [
            (Kind::Pod, "shop/waits".to_owned(), 0),
            (Kind::Secret, "bakery/hub".to_owned(), 0),
            (Kind::Secret, "shop/hub".to_owned(), 2),
        ];
        assert_eq!(names(seen), want);
    }

    #[test]
    fn the_controllers_own_are_known_by_name_and_mark() {
        let ours = json!({"labels": {OURS.0: OURS.1}});
        for (name, metadata, want, why) in [
            ("pullpass-status-0", &ours, 1, "ours"),
            ("pullpass-status-f", &ours, 1, "the last"),
            ("pullpass-status-g", &ours, 0, "no such name"),
            ("pullpass-policy-company", &ours, 0, "a policy"),
            ("pullpass-status-0", &json!({}), 0, "nobody's"),
        ] {
            let mut seen = Seen::default();
            seen.config_maps(&[object("own", name, metadata)]);
            assert_eq!(names(seen).len(), want, "{why}: {name}");
        }
        let by = |manager: &str, operation: &str| json!({"managedFields": [{"manager": "kubectl", "operation": "Update"}, {"manager": manager, "operation": operation}]});
        for (name, metadata, want, why) in [
            ("pullpass-controller", by("pullpass", "Apply"), true, "ours"),
            (
                "pullpass-controller",
                by("pullpass", "Update"),
                false,
                "not applied",
            ),
            (
                "pullpass-controller",
                by("kubectl", "Apply"),
                false,
                "somebody else's",
            ),
            ("pullpass-controller", json!({}), false, "nobody's"),
            (
                "other-controller",
                by("pullpass", "Apply"),
                false,
                "another Lease",
            ),
        ] {
            let mut seen = Seen::default();
            let mut lease = object("own", name, &metadata);
            lease["spec"] = json!({"holderIdentity": "a", "leaseDurationSeconds": 15});
            let held = seen.leases(&[lease]);
            assert_eq!(!held.is_empty(), want, "{why}");
            assert_eq!(!names(seen).is_empty(), want, "{why}");
        }
    }

    #[test]
    fn a_lease_lasts_as_long_as_it_says_within_bounds() {
        for (spec, identity, seconds, why) in [
            (
                json!({"holderIdentity": "a", "leaseDurationSeconds": 15}),
                Some("a"),
                15,
                "held",
            ),
            (json!({"leaseDurationSeconds": 15}), None, 15, "given back"),
            (json!({"holderIdentity": ""}), None, 15, "by nobody"),
            (
                json!({"holderIdentity": "a", "leaseDurationSeconds": 9000}),
                Some("a"),
                60,
                "an absurd one",
            ),
            (
                json!({"holderIdentity": "a", "leaseDurationSeconds": -1}),
                Some("a"),
                15,
                "another absurd one",
            ),
        ] {
            let mut lease = object("own", CONTROLLER, &json!({}));
            lease["spec"] = spec;
            let holder = Holder::of(&lease).unwrap();
            let got = (holder.identity.as_deref(), holder.seconds);
            assert_eq!(got, (identity, seconds), "{why}");
        }
    }

    #[test]
    fn the_lease_goes_last_and_nothing_twice() {
        let mut seen = Seen::default();
        let by = json!({"managedFields": [{"manager": "pullpass", "operation": "Apply"}]});
        let ours = json!({"labels": {OURS.0: OURS.1}});
        seen.leases(&[object("own", CONTROLLER, &by)]);
        seen.config_maps(&[object("own", "pullpass-status-3", &ours)]);
        seen.secrets(Kind::Certificate, &[object("own", "pullpass-ca", &ours)]);
        let hub = object("shop", "hub", &ours);
        seen.secrets(Kind::Secret, &[hub.clone(), hub]);
        let mut held = object("shop", "p", &json!({}));
        held["spec"] = json!({"schedulingGates": [{"name": GATE}]});
        seen.pods(&[held]);
        let places: Vec<String> = seen.left().iter().map(Left::place).collect();
        let want = [
            "shop/p",
            "shop/hub",
            "own/pullpass-ca",
            "own/pullpass-status-3",
            "own/pullpass-controller",
        ];
        assert_eq!(places, want);
    }

    #[test]
    fn what_does_not_say_which_object_it_is_is_left_alone() {
        for key in ["uid", "resourceVersion", "name", "namespace"] {
            let mut secret = object("shop", "hub", &json!({"labels": {OURS.0: OURS.1}}));
            secret["metadata"][key] = json!("");
            let mut seen = Seen::default();
            seen.secrets(Kind::Secret, &[secret]);
            assert_eq!(names(seen), [], "{key}");
        }
    }
}
