//! When a Lease may be taken, by what was read of it and since when nothing has changed.
//!
//! Time is an argument, and the times in the Lease count for nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::Terms;
use crate::cluster::lease::Read;

/// What somebody who does not hold the Lease knows of it.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) read: Read,
    /// When it was first seen like this.
    pub(super) since: Instant,
    /// Whether somebody held it before it was seen like this.
    pub(super) was_held: bool,
}

impl Observed {
    pub(super) fn take(last: Option<Self>, read: Read, now: Instant) -> Self {
        match last {
            Some(last) if last.read == read => last,
            last => Self {
                was_held: last.is_some_and(|last| last.was_held || last.read.holder.is_some()),
                read,
                since: now,
            },
        }
    }

    /// How long to wait before it may be taken.
    pub(super) fn patience(&self, identity: &str, terms: &Terms, now: Instant) -> Duration {
        let read = &self.read;
        let free = match (&read.version, &read.holder) {
            // Deleted under its holder, who may not know it yet.
            (None, _) => !self.was_held,
            // Given back; or ours, by a call whose answer was lost.
            (Some(_), None) => true,
            (Some(_), Some(holder)) => holder == identity,
        };
        if free {
            return Duration::ZERO;
        }
        // A holder may have terms of its own; an absurd one does not lock everybody out.
        let duration = read.duration.unwrap_or(terms.duration).max(terms.duration);
        let duration = duration.min(terms.duration * 4);
        (self.since + duration).saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: Option<&str>, holder: Option<&str>) -> Read {
        Read {
            version: version.map(ToOwned::to_owned),
            holder: holder.map(ToOwned::to_owned),
            duration: Some(Duration::from_secs(15)),
            transitions: 3,
            renewed: None,
        }
    }

    #[tokio::test]
    async fn a_lease_is_taken_when_it_is_free_or_nothing_has_changed_for_its_duration() {
        let terms = Terms::default();
        let start = Instant::now();
        // What is read, second by second; when it may be taken after the last of them.
        for (reads, want, why) in [
            (vec![(0, read(None, None))], 0, "there is none"),
            (vec![(0, read(Some("5"), None))], 0, "it was given back"),
            (
                vec![(0, read(Some("5"), Some("me")))],
                0,
                "it is ours already",
            ),
            (
                vec![(0, read(Some("5"), Some("other")))],
                15,
                "another's, seen for the first time",
            ),
            (
                vec![
                    (0, read(Some("5"), Some("other"))),
                    (9, read(Some("5"), Some("other"))),
                ],
                6,
                "nothing has changed for nine seconds",
            ),
            (
                vec![
                    (0, read(Some("5"), Some("other"))),
                    (9, read(Some("6"), Some("other"))),
                ],
                15,
                "it was renewed",
            ),
            (
                vec![
                    (0, read(Some("5"), Some("other"))),
                    (15, read(Some("5"), Some("other"))),
                ],
                0,
                "its holder is gone",
            ),
            (
                vec![(0, read(Some("5"), Some("other"))), (9, read(None, None))],
                15,
                "deleted: its holder may still write",
            ),
            (
                vec![
                    (0, read(Some("5"), Some("other"))),
                    (9, read(None, None)),
                    (12, read(None, None)),
                ],
                12,
                "deleted for three seconds",
            ),
            (
                vec![
                    (0, read(Some("5"), Some("other"))),
                    (9, read(Some("6"), None)),
                ],
                0,
                "given back while we waited",
            ),
        ] {
            let mut observed = None;
            let mut now = start;
            for (second, read) in reads {
                now = start + Duration::from_secs(second);
                observed = Some(Observed::take(observed, read, now));
            }
            let patience = observed.unwrap().patience("me", &terms, now);
            assert_eq!(patience, Duration::from_secs(want), "{why}");
        }
    }

    #[tokio::test]
    async fn a_holders_own_duration_counts_within_reason() {
        let now = Instant::now();
        for (seconds, want, why) in [
            (15, 15, "as ours"),
            (1, 15, "shorter than ours is not believed"),
            (30, 30, "longer"),
            (1_000_000, 60, "never for ever"),
        ] {
            let mut read = read(Some("5"), Some("other"));
            read.duration = Some(Duration::from_secs(seconds));
            let patience = Observed::take(None, read, now).patience("me", &Terms::default(), now);
            assert_eq!(patience, Duration::from_secs(want), "{why}");
        }
    }
}
