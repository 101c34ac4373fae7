//! Events of a watch → what is kept of the objects. Pure: it waits for nothing and publishes nothing.
//!
//! A new list is gathered beside what is in force and takes its place whole; what is not in it is gone.

use std::sync::Arc;

use kube::Resource as _;
use kube::runtime::watcher::Event;

pub use super::objects::Namespace;
use super::objects::{ServiceAccount, labels};
use crate::snapshot::{AccountLookup, Accounts, Coverage, Namespaces};

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

#[cfg(test)]
mod tests {
    use super::*;
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
