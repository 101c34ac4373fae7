//! Namespaces that are being written to, and those in which it failed: when each may be tried again.
//!
//! A failure is a state of its namespace: it waits alone, longer each time, and holds up no other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::plan::refresh::{Chance, backoff};

/// What is in the way of a write. Closed: each has a word in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Obstacle {
    /// What was read is not what is there: the watch is about to say so.
    Conflict,
    /// A quota of the namespace.
    Quota,
    /// The namespace is going away.
    Terminating,
    /// Somebody made the Secret immutable.
    Immutable,
    /// The right to write it is missing, or an admission policy refuses it.
    Forbidden,
    /// The API server asks for patience.
    Throttled,
    /// Anything else.
    Failed,
}

impl Obstacle {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Conflict,
        Self::Quota,
        Self::Terminating,
        Self::Immutable,
        Self::Forbidden,
        Self::Throttled,
        Self::Failed,
    ];

    /// The word that metrics and logs use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Quota => "quota",
            Self::Terminating => "terminating",
            Self::Immutable => "immutable",
            Self::Forbidden => "forbidden",
            Self::Throttled => "throttled",
            Self::Failed => "failed",
        }
    }
}

/// One credential's namespaces that are not to be written to right now.
#[derive(Clone, Debug, Default)]
pub struct Waits(BTreeMap<Arc<str>, Wait>);

#[derive(Clone, Debug)]
struct Wait {
    failures: u32,
    last: Option<Obstacle>,
    /// Until when; absent while it is being written to.
    until: Option<SystemTime>,
}

impl Waits {
    /// A write begins.
    pub fn begin(&mut self, namespace: &Arc<str>) {
        let wait = self.0.entry(Arc::clone(namespace)).or_insert(Wait {
            failures: 0,
            last: None,
            until: None,
        });
        wait.until = None;
    }

    /// It went well, or there is nothing to be written there any more.
    pub fn end(&mut self, namespace: &str) {
        self.0.remove(namespace);
    }

    /// It did not. `at_least` is what the API server asked for. Whether this is news: another obstacle
    /// than the last time.
    pub fn fail(
        &mut self,
        namespace: &Arc<str>,
        obstacle: Obstacle,
        at_least: Duration,
        now: SystemTime,
        chance: Chance,
    ) -> bool {
        let wait = self.0.entry(Arc::clone(namespace)).or_insert(Wait {
            failures: 0,
            last: None,
            until: None,
        });
        wait.failures = wait.failures.saturating_add(1);
        let pause = backoff(wait.failures, chance).max(at_least);
        wait.until = Some(now.checked_add(pause).unwrap_or(now));
        wait.last.replace(obstacle) != Some(obstacle)
    }

    /// The Secret there has changed: what was in the way may not be any more.
    pub fn changed(&mut self, namespace: &str) {
        // A write that is under way ends by itself, and what throttles is not the Secret.
        self.0.retain(|name, wait| {
            **name != *namespace
                || wait.until.is_none()
                || matches!(wait.last, Some(Obstacle::Throttled | Obstacle::Failed))
        });
    }

    /// Until when nothing is to be written there: `Some(None)` while a write is under way.
    #[must_use]
    pub fn until(&self, namespace: &str) -> Option<Option<SystemTime>> {
        self.0.get(namespace).map(|wait| wait.until)
    }

    /// Forgets namespaces that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0
            .retain(|namespace, wait| wait.until.is_none() || is_there(namespace));
    }

    /// The clock was set: what waits until a time that is far off is tried again now.
    pub fn bound(&mut self, now: SystemTime, longest: Duration) {
        for wait in self.0.values_mut() {
            if let Some(until) = &mut wait.until
                && until.duration_since(now).is_ok_and(|left| left > longest)
            {
                *until = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_namespace_waits_longer_after_each_failure_and_alone() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1000 + seconds);
        let (web, api): (Arc<str>, Arc<str>) = ("web".into(), "api".into());
        let chance = Chance::of(0);
        let none = Duration::ZERO;
        let mut waits = Waits::default();
        waits.begin(&web);
        assert_eq!(waits.until("web"), Some(None), "it is being written to");
        let news = waits.fail(&web, Obstacle::Quota, none, at(0), chance);
        assert!(news, "it was well before");
        assert_eq!(waits.until("web"), Some(Some(at(1))));
        waits.begin(&web);
        let news = waits.fail(&web, Obstacle::Quota, none, at(1), chance);
        assert!(!news, "the same obstacle");
        assert_eq!(waits.until("web"), Some(Some(at(3))), "twice as long");
        let minute = Duration::from_mins(1);
        waits.fail(&api, Obstacle::Throttled, minute, at(0), chance);
        assert_eq!(waits.until("api"), Some(Some(at(60))), "as it was asked to");

        waits.changed("api");
        assert!(waits.until("api").is_some(), "a Secret does not throttle");
        waits.changed("web");
        assert_eq!(waits.until("web"), None, "what was in the way has changed");
        waits.bound(at(0) - Duration::from_hours(1), Duration::from_mins(10));
        assert_eq!(
            waits.until("api"),
            Some(Some(at(0) - Duration::from_hours(1))),
            "the clock was set back"
        );
        waits.retain(|_| false);
        assert_eq!(waits.until("api"), None, "the namespace is gone");
    }
}
