//! Held Pods and what becomes of each: which to let go now, which are being let go, whether that is granted.
//!
//! Where the right is missing nobody is let go and, as the status then says nothing, nobody held. It begins
//! what the plan says and waits for nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::super::apply::WriteError;
use super::super::held::{Held, Pod};
use super::super::lease::random;
use super::tell::Tell;
use super::writing::Work;
use crate::metrics::Reconcile;
use crate::names::SecretName;
use crate::plan::gates::{HeldPod, Reason, Standing, Verdict, judge};
use crate::plan::refresh::{Chance, backoff};

/// Whether Pods may be let go is asked again after it.
const RIGHT: Duration = Duration::from_mins(1);
/// The same while it is not granted.
const RIGHT_MISSING: Duration = Duration::from_secs(5);
/// A question that came to nothing is asked again after it.
const AGAIN: Duration = Duration::from_secs(1);
/// So many times in a row an API server may not know whether it is granted; then it is not.
const UNDECIDED: u32 = 10;
/// A Pod that could not be let go is tried again after this at the latest.
const LONGEST: Duration = Duration::from_secs(5);

/// A Pod that is being let go, or could not be.
#[derive(Debug, Default)]
struct Attempt {
    failures: u32,
    /// When to try again; absent while somebody does.
    next: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Releases {
    held: Held,
    /// By uid.
    attempts: BTreeMap<String, Attempt>,
    /// Whether we may let Pods go; unknown before it was asked.
    pub(super) is_granted: Option<bool>,
    /// When that is asked again. Absent: now.
    ask_at: Option<Instant>,
    is_asking: bool,
    undecided: u32,
}

impl Releases {
    /// Takes a change of the Pods.
    pub(super) fn take(&mut self, event: Event<Pod>, now: SystemTime) {
        self.held.take(event, now);
    }

    /// Whether all Pods are known.
    pub(super) fn is_synced(&self) -> bool {
        self.held.is_synced
    }

    /// How many are held, and how long the one has waited that waits longest.
    pub(super) fn held(&self) -> (usize, Duration) {
        let waited = self.held.iter(Instant::now()).map(|(_, waited)| waited);
        (self.held.len(), waited.max().unwrap_or_default())
    }

    /// A new leader asks for the right itself.
    pub(super) fn ask_anew(&mut self) {
        self.is_granted = None;
        self.ask_at = None;
    }

    /// Asks for the right when it is time, if it matters; when it is time again.
    pub(super) fn ask(&mut self, matters: bool, work: &mut Work) -> Option<Instant> {
        if !matters || self.is_asking {
            return None;
        }
        if let Some(next) = self.ask_at.filter(|next| *next > Instant::now()) {
            return Some(next);
        }
        self.is_asking = true;
        work.ask_may_release();
        None
    }

    /// The answer to that.
    pub(super) fn answered(&mut self, result: Result<bool, WriteError>, tell: &Tell) {
        self.is_asking = false;
        let now = Instant::now();
        self.undecided = match result {
            Err(WriteError::Undecided(_)) => self.undecided.saturating_add(1),
            _ => 0,
        };
        let is_granted = match result {
            Ok(is_granted) => is_granted,
            Err(WriteError::Undecided(_)) if self.undecided >= UNDECIDED => false,
            Err(error) => {
                tracing::debug!(error = error.words(), "cannot ask for rights");
                self.ask_at = Some(now + AGAIN);
                return;
            }
        };
        if !is_granted && self.is_granted != Some(false) {
            tell.metrics.reconcile_failed(Reconcile::HeldPods);
            tracing::error!(
                mend = "grant `patch` on Pods: `pullpass render rbac` does when a credential says `holdPods`",
                "Pods may not be let go, so none is held"
            );
        }
        self.ask_at = Some(now + if is_granted { RIGHT } else { RIGHT_MISSING });
        self.is_granted = Some(is_granted);
    }

    /// Lets go the Pods whose time has come; when the next one's comes.
    pub(super) fn begin(
        &mut self,
        standing: impl Fn(&str, &SecretName) -> Standing,
        work: &mut Work,
    ) -> Option<Instant> {
        // Every try would be refused.
        if !self.held.is_synced || self.is_granted == Some(false) {
            return None;
        }
        let now = Instant::now();
        let mut wake: Option<Instant> = None;
        let mut sooner = |at: Instant| wake = Some(wake.map_or(at, |other| other.min(at)));
        let mut there = BTreeSet::new();
        for (pod, waited) in self.held.iter(now) {
            there.insert(pod.uid.as_str());
            if let Some(attempt) = self.attempts.get(&pod.uid) {
                match attempt.next {
                    None => continue,
                    Some(next) if next > now => {
                        sooner(next);
                        continue;
                    }
                    Some(_) => {}
                }
            }
            match judge(pod, |name| standing(&pod.namespace, name), waited) {
                // A time that no clock has would be for ever.
                Verdict::Wait(left) => sooner(now + left.min(RIGHT)),
                Verdict::Release(reason) if work.has_room_to_release() => {
                    self.attempts.entry(pod.uid.clone()).or_default().next = None;
                    work.release(pod.clone(), reason);
                }
                // One that ends makes room, and is looked at.
                Verdict::Release(_) => {}
            }
        }
        self.attempts
            .retain(|uid, attempt| attempt.next.is_none() || there.contains(uid.as_str()));
        wake
    }

    /// A Pod was let go, or could not be.
    pub(super) fn ended(
        &mut self,
        pod: HeldPod,
        reason: &Reason,
        result: Result<(), WriteError>,
        tell: &Tell,
    ) {
        match result {
            Ok(()) => {
                self.attempts.remove(&pod.uid);
                self.held.released(&pod);
                tell.released(&pod, reason);
            }
            Err(error) => {
                if !matches!(error, WriteError::NotLeading) {
                    tell.metrics.reconcile_failed(Reconcile::HeldPods);
                    let (namespace, why) = (&*pod.namespace, error.words());
                    tracing::error!(namespace, pod = pod.name, why, "cannot let a Pod go");
                    if error.status().is_some_and(|status| status.code == 403) {
                        // Perhaps the right is gone: then no Pod must be held any more.
                        self.ask_at = None;
                    }
                }
                self.failed(pod.uid);
            }
        }
    }

    fn failed(&mut self, uid: String) {
        let attempt = self.attempts.entry(uid).or_default();
        attempt.failures = attempt.failures.saturating_add(1);
        let pause = backoff(attempt.failures, Chance::of(random())).min(LONGEST);
        attempt.next = Some(Instant::now() + pause);
    }

    /// Nobody knows what became of what was under way: it has failed.
    pub(super) fn lost(&mut self) {
        self.is_asking = false;
        let busy = self.attempts.iter().filter(|(_, a)| a.next.is_none());
        let busy: Vec<_> = busy.map(|(uid, _)| uid.clone()).collect();
        for uid in busy {
            self.failed(uid);
        }
    }
}
