//! One object, watched by its name: no other of its kind may be read, so none is asked for.
//!
//! It holds what is newest, be it from the watch or from the answer to a write. It writes nothing.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use kube::runtime::watcher::{Config, Error, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::cluster::watch::{Watched, watch};
use crate::metrics::{self, Metrics};
use crate::server::health::Check;

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known<K> {
    /// Nothing yet.
    Unlisted,
    /// It is not there.
    Absent,
    /// It is there.
    Present(K),
}

impl<K> From<Option<K>> for Known<K> {
    fn from(listed: Option<K>) -> Self {
        listed.map_or(Self::Absent, Self::Present)
    }
}

/// One object that is watched by its name.
pub(super) struct Slot<K> {
    listing: Option<K>,
    pub(super) object: Known<K>,
}

impl<K: Resource> Slot<K> {
    pub(super) fn new() -> Self {
        Self {
            listing: None,
            object: Known::Unlisted,
        }
    }

    pub(super) fn take(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.listing = None,
            Event::InitApply(object) => self.listing = Some(object),
            Event::InitDone => self.object = self.listing.take().into(),
            Event::Apply(object) => {
                if !self.is_older(&object) {
                    self.object = Known::Present(object);
                }
            }
            Event::Delete(object) => {
                if !self.is_older(&object) {
                    self.object = Known::Absent;
                }
            }
        }
    }

    /// The answer to our own write may have come before what the watch still has to tell.
    fn is_older(&self, object: &K) -> bool {
        let version = |object: &K| object.meta().resource_version.as_ref()?.parse::<u64>().ok();
        match (self.get().and_then(version), version(object)) {
            (Some(held), Some(other)) => other < held,
            _ => false,
        }
    }

    pub(super) fn get(&self) -> Option<&K> {
        match &self.object {
            Known::Present(object) => Some(object),
            Known::Unlisted | Known::Absent => None,
        }
    }
}

type Changes<K> = Pin<Box<dyn Stream<Item = Result<Event<K>, Error>> + Send>>;

/// A watched object and its watch.
pub(super) struct Watching<K> {
    pub(super) slot: Slot<K>,
    changes: Changes<K>,
    told: Watched,
}

impl<K> Watching<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// By its name: no other object of the kind may be read, so none is asked for.
    pub(super) fn new(
        api: Api<K>,
        check: &'static str,
        name: &str,
        resource: metrics::Resource,
        metrics: &Arc<Metrics>,
    ) -> (Self, Check) {
        let config = Config::default().fields(&format!("metadata.name={name}"));
        let what = format!("the {} `{name}`", K::kind(&()));
        let (told, check) = Watched::new(check, what, resource, Arc::clone(metrics));
        let watching = Self {
            slot: Slot::new(),
            changes: Box::pin(watch(api, config)),
            told,
        };
        (watching, check)
    }

    /// Takes the next change. Cancel-safe: a stream keeps what it has not given.
    pub(super) async fn next(&mut self) {
        match self.changes.next().await {
            Some(Ok(event)) => {
                self.slot.take(event);
                match self.slot.object {
                    Known::Unlisted => {}
                    Known::Absent => self.told.synced(0, "not there yet"),
                    Known::Present(_) => self.told.synced(1, "read"),
                }
            }
            Some(Err(error)) => self.told.failed(&error),
            // A watch has no end.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::json;

    fn secret(version: &str) -> Secret {
        let secret = json!({"metadata": {"name": "s", "resourceVersion": version}});
        serde_json::from_value(secret).unwrap()
    }

    #[test]
    fn a_slot_holds_what_is_newest() {
        let version = |slot: &Slot<Secret>| match &slot.object {
            Known::Present(secret) => Known::Present(secret.metadata.resource_version.clone()),
            Known::Absent => Known::Absent,
            Known::Unlisted => Known::Unlisted,
        };
        let mut slot = Slot::new();
        let is = |text: &str| Known::Present(Some(text.to_owned()));
        for (event, want, why) in [
            (Event::Init, Known::Unlisted, "nothing is known yet"),
            (
                Event::InitApply(secret("3")),
                Known::Unlisted,
                "the list is not whole",
            ),
            (Event::InitDone, is("3"), "listed"),
            (
                Event::Apply(secret("9")),
                is("9"),
                "the answer to our own write",
            ),
            (
                Event::Apply(secret("5")),
                is("9"),
                "what the watch still had to tell",
            ),
            (
                Event::Delete(secret("4")),
                is("9"),
                "the deletion before our write",
            ),
            (Event::Delete(secret("12")), Known::Absent, "deleted"),
            (Event::Apply(secret("13")), is("13"), "made anew"),
            (
                Event::Init,
                is("13"),
                "what is held stays while it is listed again",
            ),
            (Event::InitDone, Known::Absent, "it is gone"),
        ] {
            slot.take(event);
            assert_eq!(version(&slot), want, "{why}");
        }
    }
}
