//! One kind of object, listed and then watched, for as long as the process lives.
//!
//! What fails is counted, logged and tried again, later each time and never at the same moment as
//! others; until the first list is whole, readiness says what is in the way.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBuilder;
use futures_util::Stream;
use kube::core::Status;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::{self, Error, Event, ExponentialBackoff};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::explain;
use crate::metrics::{self, Metrics};
use crate::server::health::{Check, State, Switch};

/// The first wait behind a failure; each later one is twice as long, up to [`LONGEST`], with jitter.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(15);
/// The waits begin anew when nothing failed for so long: a list that may be made beside a watch that
/// may not is no success.
const QUIET: Duration = Duration::from_mins(1);

/// A watched resource, as others see it.
#[derive(Debug)]
pub struct Watched {
    resource: metrics::Resource,
    /// What is watched, in words: "the Namespaces".
    what: String,
    metrics: Arc<Metrics>,
    switch: Switch,
    synced: bool,
}

impl Watched {
    /// With the check of readiness that it sets.
    pub fn new(
        name: &'static str,
        what: impl Into<String>,
        resource: metrics::Resource,
        metrics: Arc<Metrics>,
    ) -> (Self, Check) {
        let what = what.into();
        let first = State::waiting(
            format!("{what}: not read yet"),
            "nothing: the API server is being asked",
        );
        let (check, switch) = Check::switch(name, first);
        metrics.watching(resource);
        let watched = Self {
            resource,
            what,
            metrics,
            switch,
            synced: false,
        };
        (watched, check)
    }

    /// Everything was listed, and this many are held.
    pub fn synced(&mut self, objects: usize, said: impl Into<String>) {
        self.synced = true;
        self.metrics.cached(self.resource, objects);
        self.switch.set(State::ready(said));
    }

    /// A list or watch came to nothing.
    pub fn failed(&self, error: &Error) {
        let Some((why, mend)) = tell_failure(&self.what, self.resource, error, &self.metrics)
        else {
            return;
        };
        // Once there is something to decide with, an old table is better than none.
        if !self.synced {
            self.switch.set(State::waiting(why, mend));
        }
    }
}

/// Counts and logs that a list or watch came to nothing. What is in the way, and how to mend it; None
/// when nothing is.
pub fn tell_failure(
    what: &str,
    resource: metrics::Resource,
    error: &Error,
    metrics: &Metrics,
) -> Option<(String, &'static str)> {
    if is_routine(error) {
        tracing::debug!(resource = resource.as_str(), %error, "watching again");
        return None;
    }
    metrics.watch_failed(resource);
    let (why, mend) = explain(what, error);
    tracing::warn!(resource = resource.as_str(), why, mend, "cannot watch");
    Some((why, mend))
}

/// Whether the right to list or watch is missing.
#[must_use]
pub fn is_denied(error: &Error) -> bool {
    status(error).is_some_and(|status| status.code == 403)
}

/// A watch that is too old to be resumed is begun anew: nothing is wrong.
fn is_routine(error: &Error) -> bool {
    matches!(error, Error::WatchError(status) if status.code == 410)
}

fn explain(what: &str, error: &Error) -> (String, &'static str) {
    explain::explain(what, "read", status(error), error)
}

/// What the API server says, if it said anything.
fn status(error: &Error) -> Option<&Status> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status))
        | Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// Every change of a kind of object. A failure is an event as well; the next attempt waits.
pub fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = Result<Event<K>, Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    kube::runtime::watcher(api, config).backoff(backoff())
}

fn backoff() -> OnlyQuiet {
    let builder = ExponentialBuilder::default()
        .with_min_delay(SHORTEST)
        .with_max_delay(LONGEST)
        .without_max_times()
        .with_jitter();
    OnlyQuiet(ResetTimerBackoff::new(builder.into(), QUIET))
}

/// Waits that begin anew by quiet alone. A stream takes each event for a success, also the one that says
/// that a list begins: with that the second wait behind a refused list would be as short as the first.
struct OnlyQuiet(ResetTimerBackoff<ExponentialBackoff>);

impl Iterator for OnlyQuiet {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for OnlyQuiet {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_longer_whatever_comes_between_up_to_the_longest() {
        let mut waits = backoff();
        let mut least = SHORTEST;
        for n in 0..10 {
            waits.reset();
            let wait = waits.next().unwrap();
            // The jitter adds up to as much again.
            assert!((least..=2 * least).contains(&wait), "{n}: {wait:?}");
            least = LONGEST.min(2 * least);
        }
    }
}
