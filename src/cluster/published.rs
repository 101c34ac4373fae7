//! The snapshot in force: read without a lock by every request, replaced whole by one publisher.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::snapshot::Snapshot;

/// A snapshot that is replaced as the cluster changes.
#[derive(Debug)]
pub struct Published {
    snapshot: ArcSwap<Snapshot>,
    changed: watch::Sender<u64>,
}

impl Published {
    /// The first one.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            changed: watch::Sender::new(0),
        }
    }

    /// What is in force now.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Whether anything was published since the beginning.
    #[must_use]
    pub fn has_first(&self) -> bool {
        *self.changed.borrow() > 0
    }

    /// From now on this is in force.
    pub fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.changed.send_modify(|version| *version += 1);
    }

    /// Tells of every later snapshot: how many there were.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
