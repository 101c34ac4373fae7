//! The status ConfigMaps: what they say, as a watch brings it, and what they should say.
//!
//! One that says what it should is not written, and one that was written a moment ago waits for more to
//! say. It decides nothing about Secrets or Pods.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::{Config, Event};
use tokio::time::Instant;

use crate::status::{Memory, STATUS_KEY, STATUS_LABEL, Shard, Status};

/// The time between two writes of one ConfigMap. The first change behind a quiet time is told at
/// once; a Secret in five thousand namespaces is told in a few.
const PAUSE: Duration = Duration::from_millis(250);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(2);

/// Which ConfigMaps are asked for.
pub(super) fn config_maps() -> Config {
    Config::default().labels(&format!("{STATUS_LABEL}=true"))
}

/// What one of them says.
#[derive(Clone, Debug, Default)]
struct Said {
    version: Option<u64>,
    text: String,
    status: Status,
}

impl Said {
    fn of(map: &ConfigMap) -> Self {
        let data = map.data.as_ref();
        let text = data.and_then(|data| data.get(STATUS_KEY)).cloned();
        let text = text.unwrap_or_default();
        // One that cannot be read says nothing, and is written anew.
        let status = Status::parse(&text).unwrap_or_default();
        let version = map.metadata.resource_version.as_ref();
        let version = version.and_then(|version| version.parse().ok());
        Self {
            version,
            text,
            status,
        }
    }

    /// The answer to our own write may come before what the watch still has to tell.
    fn is_older(&self, held: &Self) -> bool {
        matches!((self.version, held.version), (Some(version), Some(held)) if version < held)
    }
}

/// What all of them say.
#[derive(Debug, Default)]
pub(super) struct Announced {
    seen: BTreeMap<Shard, Said>,
    listing: Option<BTreeMap<Shard, Said>>,
    pub(super) is_synced: bool,
    /// When each may be written again. Absent: at once.
    rest: BTreeMap<Shard, Instant>,
    /// Which are being written.
    busy: BTreeSet<Shard>,
}

impl Announced {
    /// Takes a change. Whether what is remembered may have changed.
    pub(super) fn take(&mut self, event: Event<ConfigMap>) -> bool {
        let shard = |map: &ConfigMap| Shard::parse(map.metadata.name.as_deref()?);
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(map) => {
                if let (Some(listing), Some(shard)) = (&mut self.listing, shard(&map)) {
                    listing.insert(shard, Said::of(&map));
                }
            }
            Event::InitDone => {
                self.seen = self.listing.take().unwrap_or_default();
                self.is_synced = true;
                return true;
            }
            Event::Apply(map) => {
                let Some(shard) = shard(&map) else {
                    return false;
                };
                return self.set(shard, Said::of(&map)) && shard == Shard::FIRST;
            }
            Event::Delete(map) => {
                let Some(shard) = shard(&map) else {
                    return false;
                };
                let held = self.seen.get(&shard);
                if held.is_some_and(|held| !Said::of(&map).is_older(held)) {
                    self.seen.remove(&shard);
                    return shard == Shard::FIRST;
                }
            }
        }
        false
    }

    /// What one says now, by the watch or by the answer to a write. Whether that is news.
    fn set(&mut self, shard: Shard, said: Said) -> bool {
        let held = self.seen.get(&shard);
        if held.is_some_and(|held| said.is_older(held)) {
            return false;
        }
        self.seen.insert(shard, said);
        true
    }

    /// What is remembered from before, by whichever controller led then.
    pub(super) fn memory(&self) -> Option<&Memory> {
        Some(&self.seen.get(&Shard::FIRST)?.status.memory)
    }

    /// What all of them say now.
    pub(super) fn said(&self) -> BTreeMap<Shard, Status> {
        let seen = self.seen.iter();
        seen.map(|(shard, said)| (*shard, said.status.clone()))
            .collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// The texts to write now, which are then taken to be under way; and when there may be more.
    pub(super) fn due(
        &mut self,
        mut wanted: BTreeMap<Shard, Status>,
        now: Instant,
    ) -> (Vec<(Shard, String)>, Option<Instant>) {
        let mut due = Vec::new();
        let mut wake: Option<Instant> = None;
        for shard in Shard::all() {
            let said = self.seen.get(&shard);
            let status = wanted.remove(&shard).unwrap_or_default();
            if self.busy.contains(&shard) || (said.is_none() && status == Status::default()) {
                continue;
            }
            if said.is_some_and(|said| said.status == status && !said.text.is_empty()) {
                continue;
            }
            match self.rest.get(&shard) {
                Some(until) if *until > now => {
                    wake = Some(wake.map_or(*until, |other| other.min(*until)));
                }
                _ => {
                    self.busy.insert(shard);
                    due.push((shard, status.to_text()));
                }
            }
        }
        (due, wake)
    }

    /// A write has ended: this is there now, if it went well.
    pub(super) fn written(&mut self, shard: Shard, now_there: Option<&ConfigMap>, now: Instant) {
        self.busy.remove(&shard);
        let pause = if now_there.is_some() { PAUSE } else { AGAIN };
        self.rest.insert(shard, now + pause);
        if let Some(map) = now_there {
            self.set(shard, Said::of(map));
        }
    }

    /// Nobody knows what became of the writes that were under way: each has failed.
    pub(super) fn lost(&mut self, now: Instant) {
        for shard in std::mem::take(&mut self.busy) {
            self.written(shard, None, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::SecretName;
    use serde_json::json;

    fn map(name: &str, version: u32, text: &str) -> ConfigMap {
        let metadata = json!({"name": name, "resourceVersion": version.to_string()});
        serde_json::from_value(json!({"metadata": metadata, "data": {STATUS_KEY: text}})).unwrap()
    }

    /// The first of them.
    fn saying(version: u32, status: &Status) -> ConfigMap {
        map("pullpass-status-0", version, &status.to_text())
    }

    fn remembering(name: &str) -> Status {
        let mut status = Status::default();
        status.memory.names.insert(SecretName::parse(name).unwrap());
        status
    }

    fn first(status: &Status) -> BTreeMap<Shard, Status> {
        BTreeMap::from([(Shard::FIRST, status.clone())])
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_already_is_not_written_and_the_rest_with_a_pause() {
        let mut announced = Announced::default();
        announced.take(Event::Init);
        announced.take(Event::InitDone);
        let start = Instant::now();
        let (due, wake) = announced.due(BTreeMap::new(), start);
        assert!(
            due.is_empty() && wake.is_none(),
            "nothing to say, nothing there"
        );

        let status = remembering("hub");
        let (due, _) = announced.due(first(&status), start);
        assert_eq!(due, [(Shard::FIRST, status.to_text())]);
        assert!(
            announced.due(first(&status), start).0.is_empty(),
            "it is under way"
        );
        announced.written(Shard::FIRST, Some(&saying(5, &status)), start);
        assert!(
            announced.due(first(&status), start).0.is_empty(),
            "it is written"
        );
        assert_eq!(
            announced.memory(),
            Some(&status.memory),
            "also before the watch says so"
        );
        let news = announced.take(Event::Apply(saying(4, &remembering("old"))));
        let said = announced.memory() == Some(&status.memory);
        assert!(said && !news, "what was there before the write");
        assert!(!announced.take(Event::Delete(saying(4, &status))));
        assert!(announced.memory().is_some(), "the one before was deleted");

        let other = remembering("ecr");
        let (due, wake) = announced.due(first(&other), start);
        assert_eq!((due.len(), wake), (0, Some(start + PAUSE)), "in a moment");
        let (due, _) = announced.due(first(&other), start + PAUSE);
        assert_eq!(due.len(), 1);
        announced.written(Shard::FIRST, None, start + PAUSE);
        let (due, wake) = announced.due(first(&other), start + PAUSE * 2);
        assert_eq!(
            (due.len(), wake),
            (0, Some(start + PAUSE + AGAIN)),
            "it failed"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_wrote_into_them_is_written_anew() {
        let status = remembering("hub");
        for (text, why) in [
            ("{}", "something else"),
            ("", "nothing"),
            (r#"{"version":9}"#, "another version"),
            (&*remembering("ecr").to_text(), "another content"),
        ] {
            let mut announced = Announced::default();
            announced.take(Event::Init);
            announced.take(Event::InitApply(map("pullpass-status-0", 1, text)));
            announced.take(Event::InitApply(map("another", 1, text)));
            announced.take(Event::InitDone);
            let (due, _) = announced.due(first(&status), Instant::now());
            assert_eq!(due.len(), 1, "{why}");
        }
        let mut announced = Announced::default();
        announced.take(Event::Apply(saying(1, &status)));
        assert!(
            announced.due(first(&status), Instant::now()).0.is_empty(),
            "it is there"
        );
        let (due, _) = announced.due(BTreeMap::new(), Instant::now());
        assert_eq!(
            due[0].1,
            Status::default().to_text(),
            "nothing is left to say"
        );
        let nothing = saying(2, &Status::default());
        announced.written(Shard::FIRST, Some(&nothing), Instant::now());
        announced.take(Event::Delete(saying(3, &Status::default())));
        let later = Instant::now() + PAUSE;
        assert_eq!(
            announced.due(first(&status), later).0.len(),
            1,
            "it was removed"
        );
    }
}
