//! A Lease as it was read, and whether its holder is there to let held Pods go.
//!
//! Judged as a candidate judges it (`controller/lease`), by when it was last seen to change by our own
//! clock, but with the doubt on the other side: a candidate must not take it too early, and here nobody
//! may be believed to be there too long. Time is an argument.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

/// As long as any Lease is believed without a change.
const LONGEST: Duration = Duration::from_mins(1);

/// A Lease as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// Nothing: there is no Lease.
    pub(crate) version: Option<String>,
    pub(crate) holder: Option<String>,
    pub(crate) duration: Option<Duration>,
    pub(crate) transitions: i32,
    /// When it was last renewed, by its holder's clock.
    pub(crate) renewed: Option<SystemTime>,
}

impl Read {
    pub(crate) fn of(object: Option<&Lease>) -> Self {
        let Some(object) = object else {
            return Self::default();
        };
        let spec = object.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
        let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
        Self {
            version: object.metadata.resource_version.clone(),
            holder: spec
                .and_then(|spec| spec.holder_identity.clone())
                .filter(|holder| !holder.is_empty()),
            duration: seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
            transitions: spec.and_then(|spec| spec.lease_transitions).unwrap_or(0),
            renewed: renewed.map(|at| at.0.into()),
        }
    }

    /// For how long it is believed behind a change.
    fn lasts(&self) -> Option<Duration> {
        self.holder.as_ref()?;
        Some(self.duration?.min(LONGEST))
    }

    /// The same for a change that nobody saw: what is left of it by the clocks on two walls.
    fn left(&self, wall: SystemTime) -> Option<Duration> {
        let lasts = self.lasts()?;
        let age = match wall.duration_since(self.renewed?) {
            Ok(age) => age,
            // Its clock is a little ahead of ours.
            Err(ahead) if ahead.duration() < lasts => Duration::ZERO,
            Err(_) => return None,
        };
        lasts.checked_sub(age).filter(|left| !left.is_zero())
    }
}

/// Whether somebody holds the Lease and lives.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    /// What was read last, and when it was first seen like this.
    seen: Option<(Read, Instant)>,
    until: Option<Instant>,
}

impl Attendance {
    /// Takes what was read, at a time by our own clock and by the one on the wall.
    pub(super) fn take(&mut self, read: Read, now: Instant, wall: SystemTime) {
        let last = match &self.seen {
            // Listed again: nobody has renewed it.
            Some((seen, _)) if seen.version == read.version => return,
            Some((_, at)) => Some(*at),
            None => None,
        };
        // It was another one a moment ago, so its holder has changed it since. Behind a longer silence
        // that says nothing: the watch may have been away while the holder was alive.
        let seen_lately = |lasts: &Duration| last.is_some_and(|at| now < at + *lasts);
        let left = read.lasts().filter(seen_lately).or_else(|| read.left(wall));
        self.until = left.map(|left| now + left);
        self.seen = Some((read, now));
    }

    /// Until when somebody is there, if nothing changes.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether somebody is there.
    pub(super) fn is_attended(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A time on everybody's wall.
    fn wall() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
    }

    /// Version, holder, duration, and by how many seconds the renewal is behind the beginning.
    fn lease(version: u32, holder: &str, duration: u64, renewed: i64) -> Read {
        let offset = Duration::from_secs(renewed.unsigned_abs());
        Read {
            version: Some(version.to_string()),
            holder: Some(holder.to_owned()).filter(|holder| !holder.is_empty()),
            duration: Some(Duration::from_secs(duration)),
            transitions: 1,
            renewed: Some(if renewed < 0 {
                wall() - offset
            } else {
                wall() + offset
            }),
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "the table has that many rows")]
    fn somebody_is_there_while_the_lease_changes_and_no_longer_than_it_says() {
        let none = Read::default;
        let undated = || Read {
            renewed: None,
            ..lease(1, "a", 15, 0)
        };
        let endless = || Read {
            duration: None,
            ..lease(1, "a", 15, 0)
        };
        // What is read at which second; until which second somebody is there after the last of it.
        for (reads, want, why) in [
            (vec![], None, "nothing was read"),
            (vec![(0, none())], None, "there is no Lease"),
            (vec![(0, lease(1, "", 15, 0))], None, "nobody holds it"),
            (vec![(0, lease(1, "a", 15, 0))], Some(15), "renewed now"),
            (
                vec![(0, lease(1, "a", 15, -10))],
                Some(5),
                "at first sight its own time decides",
            ),
            (
                vec![(0, lease(1, "a", 15, -15))],
                None,
                "a stale one, seen for the first time",
            ),
            (
                vec![(0, lease(1, "a", 15, 14))],
                Some(15),
                "a clock that is a little ahead",
            ),
            (
                vec![(0, lease(1, "a", 15, 1_000_000))],
                None,
                "a time that nobody can mean",
            ),
            (vec![(0, undated())], None, "no time to judge it by"),
            (vec![(0, endless())], None, "no duration to judge it by"),
            (
                vec![(0, lease(1, "a", 1_000_000, 0))],
                Some(60),
                "nobody is believed for ever",
            ),
            (vec![(0, lease(1, "a", 0, 0))], None, "not for a moment"),
            (
                vec![(0, lease(1, "a", 15, 0)), (5, lease(2, "a", 15, 5))],
                Some(20),
                "it was renewed",
            ),
            (
                vec![(0, lease(1, "a", 15, 0)), (5, lease(1, "a", 15, 0))],
                Some(15),
                "it is only listed again",
            ),
            (
                vec![(0, lease(1, "a", 15, -900)), (5, lease(2, "a", 15, -895))],
                Some(20),
                "its clock is late: that it changes is enough",
            ),
            (
                vec![(0, lease(1, "a", 15, 0)), (600, lease(2, "a", 15, 300))],
                None,
                "the watch was away, and its last change is long ago",
            ),
            (
                vec![(0, lease(1, "a", 15, 0)), (600, lease(2, "a", 15, 597))],
                Some(612),
                "the watch was away, and its last change is not",
            ),
            (
                vec![(0, lease(1, "a", 15, 0)), (5, lease(2, "", 15, 0))],
                None,
                "it was given back",
            ),
            (
                vec![
                    (0, lease(1, "a", 15, 0)),
                    (5, lease(2, "", 15, 0)),
                    (7, lease(3, "b", 15, 7)),
                ],
                Some(22),
                "and taken by the next",
            ),
            (
                vec![(0, lease(1, "a", 15, 0)), (5, none())],
                None,
                "it was deleted",
            ),
            (
                vec![
                    (0, lease(1, "a", 15, 0)),
                    (5, none()),
                    (8, lease(9, "a", 15, 8)),
                ],
                Some(23),
                "and made anew",
            ),
        ] {
            let start = Instant::now();
            let mut attendance = Attendance::default();
            for (second, read) in reads {
                let passed = Duration::from_secs(second);
                attendance.take(read, start + passed, wall() + passed);
            }
            let until = attendance.until().map(|at| (at - start).as_secs());
            assert_eq!(until, want, "{why}");
            if let Some(until) = attendance.until() {
                let before = until - Duration::from_millis(1);
                assert!(attendance.is_attended(before), "{why}");
                assert!(!attendance.is_attended(until), "{why}");
            }
        }
    }

    #[test]
    fn a_lease_is_read_whatever_it_lacks() {
        let full = json!({
            "holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 3,
            "renewTime": "2027-01-15T08:00:00.000000Z",
        });
        let want = Read {
            transitions: 3,
            ..lease(7, "a", 15, 0)
        };
        for (spec, want, why) in [
            (full, want, "as a controller writes it"),
            (
                json!({"leaseTransitions": 3, "holderIdentity": ""}),
                Read {
                    transitions: 3,
                    version: Some("7".into()),
                    ..Read::default()
                },
                "given back",
            ),
            (
                json!({"leaseDurationSeconds": -1}),
                Read {
                    version: Some("7".into()),
                    ..Read::default()
                },
                "no duration at all",
            ),
        ] {
            let object = json!({"metadata": {"name": "l", "resourceVersion": "7"}, "spec": spec});
            let object: Lease = serde_json::from_value(object).unwrap();
            assert_eq!(Read::of(Some(&object)), want, "{why}");
        }
        assert_eq!(Read::of(None), Read::default());
    }
}
