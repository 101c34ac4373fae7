//! The status ConfigMaps: what they say, as a watch brings it, and what they should say.
//!
//! One that says what it should is not written, and one that was written a moment ago waits for more to
//! say. It decides nothing about Secrets or Pods.

use std::collections::BTreeMap;
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
        Self { text, status }
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
    busy: BTreeMap<Shard, String>,
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
                self.seen.insert(shard, Said::of(&map));
                return shard == Shard::FIRST;
            }
            Event::Delete(map) => {
                let Some(shard) = shard(&map) else {
                    return false;
                };
                self.seen.remove(&shard);
                return shard == Shard::FIRST;
            }
        }
        false
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
            if self.busy.contains_key(&shard) || (said.is_none() && status == Status::default()) {
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
                    let text = status.to_text();
                    self.busy.insert(shard, text.clone());
                    due.push((shard, text));
                }
            }
        }
        (due, wake)
    }

    /// A write has ended.
    pub(super) fn written(&mut self, shard: Shard, went_well: bool, now: Instant) {
        let text = self.busy.remove(&shard);
        let pause = if went_well { PAUSE } else { AGAIN };
        self.rest.insert(shard, now + pause);
        if let (true, Some(text)) = (went_well, text) {
            let status = Status::parse(&text).unwrap_or_default();
            self.seen.insert(shard, Said { text, status });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::SecretName;
    use serde_json::json;

    fn map(name: &str, text: &str) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": name}, "data": {STATUS_KEY: text}}))
            .unwrap()
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
        announced.written(Shard::FIRST, true, start);
        assert!(
            announced.due(first(&status), start).0.is_empty(),
            "it is written"
        );
        assert_eq!(
            announced.memory(),
            Some(&status.memory),
            "also before the watch says so"
        );

        let other = remembering("ecr");
        let (due, wake) = announced.due(first(&other), start);
        assert_eq!((due.len(), wake), (0, Some(start + PAUSE)), "in a moment");
        let (due, _) = announced.due(first(&other), start + PAUSE);
        assert_eq!(due.len(), 1);
        announced.written(Shard::FIRST, false, start + PAUSE);
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
            announced.take(Event::InitApply(map("pullpass-status-0", text)));
            announced.take(Event::InitApply(map("another", text)));
            announced.take(Event::InitDone);
            let (due, _) = announced.due(first(&status), Instant::now());
            assert_eq!(due.len(), 1, "{why}");
        }
        let mut announced = Announced::default();
        announced.take(Event::Apply(map("pullpass-status-0", &status.to_text())));
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
        announced.written(Shard::FIRST, true, Instant::now());
        announced.take(Event::Delete(map("pullpass-status-0", "")));
        let later = Instant::now() + PAUSE;
        assert_eq!(
            announced.due(first(&status), later).0.len(),
            1,
            "it was removed"
        );
    }
}
