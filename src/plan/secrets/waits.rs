//! Namespaces that are being written to, and those in which it failed: when each may be tried again.
//!
//! A failure is a state of its namespace: it waits alone, longer each time, and holds up no other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::plan::refresh::{Chance, LONGEST, backoff};

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

/// An API server that has just started may refuse what is granted, once or twice.
const REFUSED: u32 = 4;

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

    /// It did not. `at_least` is what the API server asked for, which is heeded within reason. Whether
    /// this is news: another obstacle than the last time.
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
        let pause = backoff(wait.failures, chance).max(at_least.min(LONGEST));
        wait.until = Some(now.checked_add(pause).unwrap_or(now));
        wait.last.replace(obstacle) != Some(obstacle)
    }

    /// The Secret there has changed: what was in the way may not be any more.
    pub fn changed(&mut self, namespace: &str) {
        let Some(wait) = self.0.get(namespace) else {
            return;
        };
        // A write that is under way ends by itself, and what throttles is not the Secret.
        let stays = matches!(wait.last, Some(Obstacle::Throttled | Obstacle::Failed));
        if wait.until.is_some() && !stays {
            self.0.remove(namespace);
        }
    }

    /// The namespace is gone: what is in the way of the next one of its name is not known.
    pub fn forget(&mut self, namespace: &str) {
        if self.until(namespace).is_some_and(|until| until.is_some()) {
            self.0.remove(namespace);
        }
    }

    /// Namespaces were listed anew: one that was on its way out may be another by now.
    pub fn doubt(&mut self) {
        self.0
            .retain(|_, wait| wait.until.is_none() || wait.last != Some(Obstacle::Terminating));
    }

    /// Whether any write is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.0.values().any(|wait| wait.until.is_none())
    }

    /// Whether the right is missing, not for a moment but for some tries.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let mut waits = self.0.values();
        waits.any(|wait| wait.failures >= REFUSED && wait.last == Some(Obstacle::Forbidden))
    }

    /// Nobody knows what became of the writes that were under way: each has failed.
    pub fn lost(&mut self, now: SystemTime, chance: Chance) {
        let busy = self.0.iter().filter(|(_, wait)| wait.until.is_none());
        let busy: Vec<_> = busy.map(|(namespace, _)| Arc::clone(namespace)).collect();
        for namespace in busy {
            self.fail(&namespace, Obstacle::Failed, Duration::ZERO, now, chance);
        }
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

    /// The clock was set: what waits longer than anything does is tried again now. Whether there is any.
    pub fn bound(&mut self, now: SystemTime) -> bool {
        let mut is_any = false;
        for until in self.0.values_mut().filter_map(|wait| wait.until.as_mut()) {
            if until.duration_since(now).is_ok_and(|left| left > LONGEST) {
                *until = now;
                is_any = true;
            }
        }
        is_any
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
        assert!(!waits.bound(at(1)), "nobody waits for too long");
        let back = at(0) - Duration::from_hours(1);
        assert!(waits.bound(back), "the clock was set back");
        assert_eq!(waits.until("api"), Some(Some(back)));
        waits.retain(|_| false);
        assert_eq!(waits.until("api"), None, "the namespace is gone");
    }
    #[test]
    fn what_is_in_the_way_is_forgotten_with_its_namespace_and_a_write_under_way_is_not() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let chance = Chance::of(0);
        let filled = || {
            let mut waits = Waits::default();
            let day = Duration::from_hours(24);
            for (name, obstacle) in [
                ("going", Obstacle::Terminating),
                ("full", Obstacle::Quota),
                ("slow", Obstacle::Throttled),
            ] {
                waits.fail(&name.into(), obstacle, day, now, chance);
            }
            waits.fail(
                &"busy".into(),
                Obstacle::Terminating,
                Duration::ZERO,
                now,
                chance,
            );
            waits.begin(&"busy".into());
            waits
        };
        let told = |waits: &Waits| {
            let names = ["busy", "full", "going", "slow"];
            let waiting = names.iter().filter(|name| waits.until(name).is_some());
            waiting.copied().collect::<Vec<_>>().join(" ")
        };
        let waits = filled();
        assert_eq!(waits.until("full"), Some(Some(now + LONGEST)), "not a day");
        assert!(waits.is_busy());
        let mut waits = filled();
        for name in ["busy", "full", "going", "slow", "unknown"] {
            waits.forget(name);
        }
        assert_eq!(told(&waits), "busy", "its answer ends it");
        let mut waits = filled();
        waits.doubt();
        assert_eq!(told(&waits), "busy full slow", "it may be another by now");
        // It has failed once already.
        for tries in 1..REFUSED {
            assert!(!waits.is_refused(), "{tries}");
            let right = Obstacle::Forbidden;
            waits.fail(&"full".into(), right, Duration::ZERO, now, chance);
        }
        assert!(waits.is_refused());
        waits.lost(now, chance);
        assert!(!waits.is_busy(), "nobody will tell");
        assert!(waits.until("busy").is_some_and(|until| until > Some(now)));
    }
}
