//! All that the loop knows → what the status ConfigMaps should say, and which of them are written now.
//!
//! As long as not all is known nothing that was said is taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::super::kept::Listed;
use super::super::writing::Work;
use super::{PAUSE, State, holds};
use crate::status::{Memory, Shard, Status};

impl State {
    /// Begins to write the status ConfigMaps that say something else than they should; when more is due.
    pub(in super::super) fn announce(&mut self, work: &mut Work) -> Option<Instant> {
        if !self.announced.is_synced || self.in_force.is_none() || !self.namespaces.is_synced() {
            return None;
        }
        let now = Instant::now();
        let next = self.told.map(|told| told + PAUSE);
        if !self.has_news {
            return None;
        }
        if let Some(next) = next.filter(|next| *next > now) {
            return Some(next);
        }
        self.told = Some(now);
        self.has_news = false;
        // As long as not all is known, nothing that was said is taken back.
        let is_unread = self.kept.values().any(|kept| kept.listed == Listed::No);
        if is_unread || (self.releases.is_granted.is_none() && self.kept.values().any(holds)) {
            return self.announce_memory(work);
        }
        let wanted = self.status();
        self.tell_status(wanted, work)
    }

    /// Names and values that are new, while the rest is not known yet.
    fn announce_memory(&mut self, work: &mut Work) -> Option<Instant> {
        let mut said = self.announced.said();
        let first = said.entry(Shard::FIRST).or_default();
        let Memory { names, values } = self.memory();
        let before = first.memory.clone();
        first.memory.names.extend(names);
        first.memory.values.extend(values);
        if first.memory == before {
            return None;
        }
        self.tell_status(said, work)
    }

    fn tell_status(&mut self, wanted: BTreeMap<Shard, Status>, work: &mut Work) -> Option<Instant> {
        let (due, wake) = self.announced.due(wanted, Instant::now());
        for (shard, text) in due {
            work.announce(shard, text);
        }
        // What had to wait is looked at again.
        self.has_news |= wake.is_some();
        wake
    }

    /// What should be remembered.
    fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        let before = self.announced.memory();
        for (name, kept) in &self.kept {
            let was_known = before.is_some_and(|before| before.names.contains(name));
            if kept.is_remembered(was_known) {
                memory.names.insert(name.clone());
            }
            if let Some(value) = kept.to_remember(self.remembered(name)) {
                memory.values.insert(name.clone(), value);
            }
        }
        memory
    }

    /// What the status ConfigMaps should say.
    fn status(&self) -> BTreeMap<Shard, Status> {
        let mut wanted: BTreeMap<Shard, Status> = BTreeMap::new();
        wanted.entry(Shard::FIRST).or_default().memory = self.memory();
        if self.releases.is_granted != Some(true) {
            return wanted;
        }
        for (name, kept) in &self.kept {
            if !holds(kept) || kept.listed != Listed::Whole {
                continue;
            }
            for shard in Shard::all() {
                let status = wanted.entry(shard).or_default();
                status.ready.insert(name.clone(), BTreeSet::new());
            }
            for namespace in kept.copies.keys() {
                let status = wanted.entry(Shard::of(namespace)).or_default();
                if let Some(ready) = status.ready.get_mut(name) {
                    ready.insert(Arc::clone(namespace));
                }
            }
        }
        wanted
    }
}
