//! A fetched value's times + what failed since → when to fetch again.
//!
//! At half its life, a little earlier at random; after a failure soon, and later each time. It reads no
//! clock and draws no lots: the time and the chance are arguments.

use std::time::{Duration, SystemTime};

/// What a source that gives no expiry is asked again after.
pub const WITHOUT_EXPIRY: Duration = Duration::from_hours(1);
/// However short a value lives, its source is not asked more often.
const SHORTEST: Duration = Duration::from_secs(1);
/// A value from so far in the future was fetched under another clock.
const SKEW: Duration = Duration::from_mins(5);
/// After the first failure; each later one waits twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);
/// Nothing waits longer behind a failure.
pub const LONGEST: Duration = Duration::from_mins(5);

/// A number from 0 to 1 that differs from credential to credential and from time to time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance(f64);

impl Chance {
    /// From any number: its remainder counts.
    #[must_use]
    pub fn of(number: u64) -> Self {
        let thousandths = u16::try_from(number % 1000).unwrap_or(0);
        Self(f64::from(thousandths) / 1000.0)
    }
}

/// When a value was got, and until when it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Since when.
    pub issued: SystemTime,
    /// Until when; for ever when absent.
    pub expires: Option<SystemTime>,
}

impl Lifetime {
    /// The same in whole seconds, as it is written down: what is read back must not differ. No value is
    /// taken to be good for longer than it is.
    #[must_use]
    pub fn in_whole_seconds(self) -> Self {
        Self {
            issued: whole(self.issued),
            expires: self.expires.map(whole),
        }
    }

    /// Whether it is of no use any more.
    #[must_use]
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// When the next value should be fetched: at half of its life, up to a tenth of it earlier, so
    /// that credentials made together are not fetched together. Now, if the clock was set back.
    #[must_use]
    pub fn renew_at(&self, now: SystemTime, chance: Chance) -> SystemTime {
        if self.issued > now + SKEW {
            return now;
        }
        let life = match self.expires {
            Some(expires) => expires.duration_since(self.issued).unwrap_or_default(),
            None => WITHOUT_EXPIRY * 2,
        };
        let half = life / 2;
        let wait = half.saturating_sub((life / 10).mul_f64(chance.0));
        // A time that no clock has is never.
        self.issued
            .checked_add(wait.max(SHORTEST))
            .unwrap_or(now + LONGEST)
    }
}

fn whole(at: SystemTime) -> SystemTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let part = since.map_or(0, |since| since.subsec_nanos());
    at.checked_sub(Duration::from_nanos(part.into()))
        .unwrap_or(at)
}

/// When to try again what was to be tried at this time: now, if that is so far off that the clock must have
/// been set back since.
#[must_use]
pub fn within_reach(at: SystemTime, now: SystemTime) -> SystemTime {
    let is_far = at.duration_since(now).is_ok_and(|left| left > LONGEST);
    if is_far { now } else { at }
}

/// How long to wait after so many failures in a row, from the first on: up to a fifth less at random.
#[must_use]
pub fn backoff(failures: u32, chance: Chance) -> Duration {
    let doubled = FIRST.saturating_mul(
        1_u32
            .checked_shl(failures.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    let wait = doubled.min(LONGEST);
    wait.saturating_sub((wait / 5).mul_f64(chance.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn a_value_is_fetched_anew_at_half_its_life_or_a_little_earlier() {
        const HOUR: u64 = 3600;
        let (none, most) = (Chance::of(0), Chance::of(999));
        for (issued, expires, now, chance, want, why) in [
            (
                at(0),
                Some(at(12 * HOUR)),
                at(1),
                none,
                at(6 * HOUR),
                "half of twelve hours",
            ),
            (
                at(0),
                Some(at(1000)),
                at(1),
                most,
                at(400),
                "a tenth earlier",
            ),
            (at(0), None, at(1), none, at(HOUR), "no end is known"),
            (
                at(0),
                Some(at(1)),
                at(0),
                none,
                at(1),
                "not more often than each second",
            ),
            (
                at(9),
                Some(at(5)),
                at(9),
                none,
                at(10),
                "an end before its beginning",
            ),
            (
                at(10 * HOUR),
                Some(at(22 * HOUR)),
                at(0),
                none,
                at(0),
                "the clock was set back",
            ),
            (
                at(60),
                Some(at(60 + HOUR)),
                at(0),
                none,
                at(60 + HOUR / 2),
                "two clocks that differ a little",
            ),
        ] {
            let lifetime = Lifetime { issued, expires };
            let got = lifetime.renew_at(now, chance);
            let off = got
                .duration_since(want)
                .unwrap_or_else(|early| early.duration());
            assert!(
                off < Duration::from_secs(1),
                "{why}: want {want:?}, got {got:?}"
            );
        }
    }

    #[test]
    fn a_value_is_over_when_its_end_has_come() {
        let lifetime = |expires| Lifetime {
            issued: at(0),
            expires,
        };
        assert!(!lifetime(Some(at(10))).is_over(at(9)));
        assert!(lifetime(Some(at(10))).is_over(at(10)));
        assert!(!lifetime(None).is_over(at(1_000_000_000)));
    }

    #[test]
    fn times_in_whole_seconds_are_never_later() {
        let part = Duration::from_nanos(388_999_938);
        for (issued, expires, want, why) in [
            (
                at(5) + part,
                Some(at(9) + part),
                (at(5), Some(at(9))),
                "parts go",
            ),
            (at(5), Some(at(9)), (at(5), Some(at(9))), "there are none"),
            (at(5) + part, None, (at(5), None), "no end"),
            (
                UNIX_EPOCH - part,
                None,
                (UNIX_EPOCH - part, None),
                "no time that is written down",
            ),
        ] {
            let lifetime = Lifetime { issued, expires }.in_whole_seconds();
            assert_eq!((lifetime.issued, lifetime.expires), want, "{why}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_wait_longer() {
        for (next, now, want, why) in [
            (at(300), at(0), at(300), "the longest wait"),
            (at(301), at(0), at(0), "longer than anything waits"),
            (at(5), at(9), at(5), "its time has come"),
        ] {
            assert_eq!(within_reach(next, now), want, "{why}");
        }
    }

    #[test]
    fn each_failure_waits_twice_as_long_up_to_five_minutes() {
        let seconds: Vec<u64> = [1, 2, 3, 9, 10, 40, u32::MAX]
            .map(|failures| backoff(failures, Chance::of(0)).as_secs())
            .to_vec();
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300, 300]);
        assert_eq!(backoff(1, Chance::of(500)), Duration::from_millis(900));
    }
}
