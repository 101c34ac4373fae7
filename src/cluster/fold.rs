//! Events of a watch → what is kept of the objects. Pure: it waits for nothing and publishes nothing.
//!
//! A new list is gathered beside what is in force and takes its place whole; what is not in it is gone.

use std::sync::Arc;

use kube::Resource as _;
use kube::runtime::watcher::Event;

pub use super::objects::Namespace;
use super::objects::{ConfigMap, ServiceAccount, labels};
use crate::snapshot::{AccountLookup, Accounts, Coverage, Namespaces};
use crate::status::{Memory, Presence, STATUS_KEY, Shard, Status};

/// What is in force, and the list that is being gathered.
#[derive(Debug)]
pub struct Fold<T> {
    live: Arc<T>,
    listing: Option<T>,
    is_synced: bool,
}

impl<T: Clone> Fold<T> {
    fn new(none: T) -> Self {
        Self {
            live: Arc::new(none),
            listing: None,
            is_synced: false,
        }
    }

    /// What is in force.
    #[must_use]
    pub fn live(&self) -> &Arc<T> {
        &self.live
    }

    /// Whether there was a whole list.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// The list is whole.
    fn done(&mut self) -> bool {
        let Some(list) = self.listing.take() else {
            return false;
        };
        self.live = Arc::new(list);
        self.is_synced = true;
        true
    }

    /// What is in force, to be changed; a snapshot that shares it keeps what it had.
    fn change(&mut self, change: impl FnOnce(&mut T)) -> bool {
        change(Arc::make_mut(&mut self.live));
        true
    }
}

/// The namespaces of a cluster.
#[must_use]
pub fn namespaces() -> Fold<Namespaces> {
    Fold::new(Namespaces::new(Coverage::Whole))
}

/// The service accounts of a cluster.
pub(super) fn accounts() -> Fold<Accounts> {
    Fold::new(Accounts::new(Coverage::Whole))
}

/// What a controller says of its Secrets.
pub(super) fn presence() -> Fold<Presence> {
    Fold::new(Presence::default())
}

impl Fold<Namespaces> {
    /// Takes one event. Whether what is in force has changed.
    pub fn take(&mut self, event: Event<Namespace>) -> bool {
        let read = |object: &Namespace| {
            let name = object.meta().name.clone().unwrap_or_default();
            (name, labels(object.meta()))
        };
        match event {
            Event::Init => self.listing = Some(Namespaces::new(Coverage::Whole)),
            Event::InitApply(object) => {
                if let Some(list) = &mut self.listing {
                    let (name, labels) = read(&object);
                    list.insert(&name, labels);
                }
            }
            Event::InitDone => return self.done(),
            Event::Apply(object) => {
                let (name, labels) = read(&object);
                // Its status and annotations change, too.
                if !self.live.has(&name, &labels) {
                    return self.change(|live| live.insert(&name, labels));
                }
            }
            Event::Delete(object) => {
                let (name, _) = read(&object);
                return self.change(|live| live.remove(&name));
            }
        }
        false
    }
}

impl Fold<Accounts> {
    /// Takes one event. Whether what is in force has changed.
    pub(super) fn take(&mut self, event: Event<ServiceAccount>) -> bool {
        let read = |object: &ServiceAccount| {
            let metadata = object.meta();
            let namespace = metadata.namespace.clone().unwrap_or_default();
            (namespace, metadata.name.clone().unwrap_or_default())
        };
        match event {
            Event::Init => self.listing = Some(Accounts::new(Coverage::Whole)),
            Event::InitApply(object) => {
                if let Some(list) = &mut self.listing {
                    let (namespace, name) = read(&object);
                    list.insert(&namespace, &name, object.account());
                }
            }
            Event::InitDone => return self.done(),
            Event::Apply(object) => {
                let ((namespace, name), account) = (read(&object), object.account());
                if self.live.get(&namespace, &name) != AccountLookup::Known(&account) {
                    return self.change(|live| live.insert(&namespace, &name, account));
                }
            }
            Event::Delete(object) => {
                let (namespace, name) = read(&object);
                return self.change(|live| live.remove(&namespace, &name));
            }
        }
        false
    }
}

impl Fold<Presence> {
    /// Takes one event. Whether what is in force has changed.
    pub(super) fn take(&mut self, event: Event<ConfigMap>) -> bool {
        match event {
            Event::Init => self.listing = Some(Presence::default()),
            Event::InitApply(map) => {
                if let (Some(list), Some(shard)) = (&mut self.listing, shard(&map)) {
                    list.set(shard, status(&map));
                }
            }
            Event::InitDone => return self.done(),
            Event::Apply(map) => {
                return shard(&map).is_some_and(|shard| self.set(shard, status(&map)));
            }
            // By its name alone: what cannot be read leaves as well.
            Event::Delete(map) => {
                return shard(&map).is_some_and(|shard| self.set(shard, None));
            }
        }
        false
    }

    fn set(&mut self, shard: Shard, status: Option<Arc<Status>>) -> bool {
        // Sixteen counters: a copy costs nothing.
        Arc::make_mut(&mut self.live).set(shard, status)
    }
}

/// Any ConfigMap can have the label; these have the name as well.
fn shard(map: &ConfigMap) -> Option<Shard> {
    Shard::parse(&map.name().name)
}

/// What it says of the Secrets. What a controller notes for itself is not kept.
fn status(map: &ConfigMap) -> Option<Arc<Status>> {
    let name = map.name();
    let Some(text) = map.text(STATUS_KEY) else {
        tracing::warn!(config_map = %name, "it has no text `{STATUS_KEY}`: no Pod is held by it");
        return None;
    };
    match Status::parse(text) {
        Ok(Status { ready, .. }) => Some(Arc::new(Status {
            ready,
            memory: Memory::default(),
        })),
        Err(error) => {
            tracing::warn!(config_map = %name, %error, "no Pod is held by it");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::SecretName;
    use crate::policy::decide::label;
    use serde_json::json;

    fn namespace(name: &str, team: &str) -> Namespace {
        let labels = json!({"team": team, "kubernetes.io/metadata.name": name});
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
    }

    fn account(namespace: &str, name: &str, secret: &str) -> ServiceAccount {
        let object = json!({
            "metadata": {"name": name, "namespace": namespace},
            "imagePullSecrets": [{"name": secret}],
        });
        serde_json::from_value(object).unwrap()
    }

    /// `name=team` of every namespace, by name.
    fn told(fold: &Fold<Namespaces>) -> String {
        let live = fold.live();
        let mut all: Vec<_> = live
            .names()
            .map(|name| {
                let labels = live.labels(name);
                format!("{name}={}", label(&labels, "team").unwrap_or_default())
            })
            .collect();
        all.sort();
        all.join(" ")
    }

    #[test]
    fn a_list_takes_the_place_of_what_was_there_whole() {
        use Event::{Apply, Delete, Init, InitApply, InitDone};
        let mut fold = namespaces();
        for (event, changed, want, why) in [
            (Init, false, "", "a list begins"),
            (
                InitApply(namespace("a", "x")),
                false,
                "",
                "and is gathered aside",
            ),
            (InitApply(namespace("b", "x")), false, "", "all of it"),
            (InitDone, true, "a=x b=x", "until it is whole"),
            (Apply(namespace("c", "x")), true, "a=x b=x c=x", "a new one"),
            (
                Apply(namespace("c", "x")),
                false,
                "a=x b=x c=x",
                "an update that changes no label",
            ),
            (
                Apply(namespace("c", "y")),
                true,
                "a=x b=x c=y",
                "and one that does",
            ),
            (Delete(namespace("a", "x")), true, "b=x c=y", "one is gone"),
            (
                Init,
                false,
                "b=x c=y",
                "a watch begins anew: what is there stays",
            ),
            (
                InitApply(namespace("c", "z")),
                false,
                "b=x c=y",
                "while it is listed",
            ),
            (InitDone, true, "c=z", "and what is not listed is gone"),
        ] {
            assert_eq!(fold.take(event), changed, "{why}");
            assert_eq!(told(&fold), want, "{why}");
        }
        assert!(fold.is_synced());
    }

    /// A ConfigMap whose text says this of the credential `ecr`.
    fn says(name: &str, namespaces: Option<&[&str]>) -> ConfigMap {
        let text = namespaces.map(|all| json!({"version": 1, "ready": {"ecr": all}}).to_string());
        let metadata = json!({"name": name, "namespace": "own"});
        serde_json::from_value(json!({"metadata": metadata, "data": {STATUS_KEY: text}})).unwrap()
    }

    #[test]
    fn what_a_controller_says_is_taken_by_name_and_only_if_it_can_be_read() {
        use Event::{Apply, Delete, Init, InitApply, InitDone};
        // printf web | sha256sum; printf api | sha256sum
        let (web, api) = ("pullpass-status-4", "pullpass-status-1");
        let mut fold = presence();
        let other = |text: &str| {
            let metadata = json!({"name": web, "namespace": "own"});
            serde_json::from_value(json!({"metadata": metadata, "data": {STATUS_KEY: text}}))
                .unwrap()
        };
        for (event, changed, want, why) in [
            (Init, false, "", "a list begins"),
            (InitApply(says(web, Some(&[]))), false, "", "gathered aside"),
            (InitApply(says(api, Some(&["api"]))), false, "", "all of it"),
            (InitApply(says("other", Some(&[]))), false, "", "any name"),
            (InitDone, true, "web", "the list is whole; api has it"),
            (
                Apply(says(web, Some(&[]))),
                false,
                "web",
                "the same once more",
            ),
            (Apply(says(web, Some(&["web"]))), true, "", "now it stands"),
            (
                Apply(says(api, Some(&[]))),
                true,
                "api",
                "and is gone there",
            ),
            (Apply(says(web, None)), true, "api", "a text that is none"),
            (
                Apply(says(web, Some(&[]))),
                true,
                "api web",
                "and one that is",
            ),
            (Apply(other("{")), true, "api", "half a text"),
            (
                Apply(says("pullpass-status-10", Some(&[]))),
                false,
                "api",
                "a name like ours",
            ),
            (Delete(says(api, None)), true, "", "one is gone"),
            (Delete(says("other", None)), false, "", "one of any name"),
            (Init, false, "", "a watch begins anew"),
            (InitApply(says(api, Some(&[]))), false, "", "listed"),
            (InitDone, true, "api", "and what is not listed is gone"),
        ] {
            assert_eq!(fold.take(event), changed, "{why}");
            let mut presence = Presence::clone(fold.live());
            presence.attended(true);
            let ecr = SecretName::parse("ecr").unwrap();
            let mut lacking = vec!["api", "web"];
            lacking.retain(|namespace| presence.lacks(namespace, &ecr));
            assert_eq!(lacking.join(" "), want, "{why}");
        }
    }

    #[test]
    fn what_a_controller_notes_for_itself_is_not_kept() {
        let text = r#"{"version":1,"names":["hub"],"ready":{"ecr":[]}}"#;
        let metadata = json!({"name": "pullpass-status-0", "namespace": "own"});
        let map = json!({"metadata": metadata, "data": {STATUS_KEY: text}});
        let kept = status(&serde_json::from_value(map).unwrap()).unwrap();
        assert_eq!(kept.ready.len(), 1);
        assert_eq!(kept.memory, Memory::default());
    }

    #[test]
    fn a_snapshot_keeps_what_it_had_when_accounts_change() {
        use Event::{Apply, Delete, Init, InitApply, InitDone};
        let mut fold = accounts();
        assert!(!fold.is_synced());
        for event in [Init, InitApply(account("web", "a", "s")), InitDone] {
            fold.take(event);
        }
        let before = Arc::clone(fold.live());
        assert!(
            !fold.take(Apply(account("web", "a", "s"))),
            "nothing we read changed"
        );
        assert!(fold.take(Apply(account("web", "a", "t"))));
        let pulls = |accounts: &Accounts| match accounts.get("web", "a") {
            AccountLookup::Known(account) => account.image_pull_secrets.join(","),
            other => format!("{other:?}"),
        };
        assert_eq!(
            (pulls(&before), pulls(fold.live())),
            ("s".into(), "t".into())
        );
        assert!(fold.take(Delete(account("web", "a", "t"))));
        assert_eq!(
            pulls(fold.live()),
            "Missing",
            "the namespace's last account is gone"
        );
    }
}
