//! Certificates: the two Secrets and the caBundles as they are → what to do next, and why.
//!
//! What is planned is safe at every step: whoever serves with a certificate of a moment ago is
//! trusted by whoever has read a caBundle of a moment ago. All state is in the cluster, so any
//! controller goes on where another one stopped. It reads no clock and parses no certificate.

mod seen;
mod steps;

use std::time::SystemTime;

pub use seen::{
    Authority, BACKDATED, Ca, Configuration, ConfigurationId, ConfigurationKind, Entry,
    Fingerprint, Flaw, Held, SHORTEST_LIFETIME, Seen, Serving, Validity, Wanted,
};
pub use steps::{Action, Plan, Reason, Step, Subject};

/// A caBundle filled by others may hold any number of certificates; more than one is rare.
const MOST_KEPT: usize = 8;

/// What to do next with the certificates of a cluster.
#[must_use]
pub fn plan(seen: &Seen, wanted: &Wanted, now: SystemTime) -> Plan {
    let foreign: Vec<_> = [
        (Subject::Ca, seen.ca == Held::Foreign),
        (Subject::Serving, seen.serving == Held::Foreign),
    ]
    .into_iter()
    .filter_map(|(subject, foreign)| foreign.then_some(subject))
    .collect();
    if !foreign.is_empty() {
        return Plan {
            foreign,
            ..Plan::default()
        };
    }
    let ca = match usable_ca(seen, wanted, now) {
        Ok(ca) => ca,
        Err(reason) => {
            let validity = Validity::starting(now, wanted.ca_lifetime);
            let keep = kept(seen, wanted, now);
            return Plan::only(Action::MakeCa { validity, keep }, reason);
        }
    };
    if let Some(previous) = trusted_elsewhere(seen, ca, wanted, now) {
        return Plan::only(Action::Keep { previous }, Reason::Trusted);
    }
    let mut plan = Plan::default();
    let held_everywhere = plan.bundles(seen, ca);
    plan.serving(seen, ca, wanted, now, held_everywhere);
    plan.wake_at(ca.authority.validity.due(wanted.ca_lifetime));
    plan
}

/// The CA that signs, or why there must be another one.
fn usable_ca<'a>(seen: &'a Seen, wanted: &Wanted, now: SystemTime) -> Result<&'a Ca, Reason> {
    let ca = match &seen.ca {
        Held::Whole(ca) => ca,
        Held::Unusable(flaw) => return Err(Reason::Unusable(Subject::Ca, *flaw)),
        Held::Absent | Held::Foreign => return Err(Reason::Absent(Subject::Ca)),
    };
    let validity = ca.authority.validity;
    if validity.expired(now) {
        return Err(Reason::Expired(Subject::Ca));
    }
    if validity.early(now) {
        return Err(Reason::Early(Subject::Ca));
    }
    // One rotation after the other: a CA that nobody serves under yet is not replaced.
    if now >= validity.due(wanted.ca_lifetime) && ca.previous.is_empty() {
        return Err(Reason::Due(Subject::Ca));
    }
    Ok(ca)
}

/// Which CAs stay trusted beside a new one: those that signed the serving certificate in use. If
/// that cannot be seen, or is new, webhooks may serve from memory, under any of them.
fn kept(seen: &Seen, wanted: &Wanted, now: SystemTime) -> Vec<Authority> {
    let serving = seen.serving.whole();
    if serving.is_some_and(|serving| serving.validity.expired(now)) {
        return Vec::new();
    }
    let in_use = serving.filter(|serving| now >= serving.settled(wanted, now));
    let held = seen.ca.whole().into_iter();
    let held = held.flat_map(|ca| std::iter::once(&ca.authority).chain(&ca.previous));
    let mut kept: Vec<Authority> = Vec::new();
    for authority in held.chain(in_bundles(seen)) {
        let asked = in_use.is_none_or(|serving| serving.is_signed_by(authority));
        let known = kept.iter().any(|k| k.fingerprint == authority.fingerprint);
        if asked && !known && !authority.validity.expired(now) && kept.len() < MOST_KEPT {
            kept.push(authority.clone());
        }
    }
    kept
}

fn in_bundles(seen: &Seen) -> impl Iterator<Item = &Authority> {
    let entries = seen.configurations.iter().flat_map(|c| &c.entries);
    entries.flat_map(|entry| &entry.authorities)
}

/// The previous CAs with those that only the caBundles know, when the CA's Secret was replaced by
/// hand: somebody may serve under them.
fn trusted_elsewhere(
    seen: &Seen,
    ca: &Ca,
    wanted: &Wanted,
    now: SystemTime,
) -> Option<Vec<Authority>> {
    let known = || std::iter::once(&ca.authority).chain(&ca.previous);
    let unsigned = seen.serving.whole().is_some_and(|serving| {
        let mut known = known();
        !known.any(|authority| serving.is_signed_by(authority))
    });
    let mut entries = seen.configurations.iter().flat_map(|c| &c.entries);
    let unheard = entries.any(|e| !e.authorities.is_empty() && !e.holds(&ca.authority));
    if !unsigned && !unheard {
        return None;
    }
    let is_new = |authority: &Authority| {
        let mut known = known();
        known.all(|k| k.fingerprint != authority.fingerprint)
    };
    let mut previous = ca.previous.clone();
    previous.extend(kept(seen, wanted, now).into_iter().filter(is_new));
    previous.truncate(MOST_KEPT.max(ca.previous.len()));
    (previous.len() > ca.previous.len()).then_some(previous)
}

impl Plan {
    fn only(action: Action, reason: Reason) -> Self {
        let mut plan = Self::default();
        plan.step(action, reason);
        plan
    }

    fn step(&mut self, action: Action, reason: Reason) {
        self.steps.push(Step { action, reason });
    }

    fn wake_at(&mut self, at: SystemTime) {
        self.wake = Some(self.wake.map_or(at, |other| other.min(at)));
    }

    /// Sets every caBundle that differs. Whether all of them hold the CA already.
    fn bundles(&mut self, seen: &Seen, ca: &Ca) -> bool {
        let bundle = ca.bundle();
        let mut entries = seen.configurations.iter().flat_map(|c| &c.entries);
        let complete = entries.all(|entry| entry.holds(&ca.authority));
        // First: were it done after, a controller that stops in between would leave a lie.
        if !complete && ca.complete_since.is_some() {
            let complete_since = None;
            self.step(Action::Mark { complete_since }, Reason::Incomplete);
        }
        for configuration in &seen.configurations {
            let mut entries = configuration.entries.iter();
            if entries.any(|entry| entry.bundle != bundle.as_bytes()) {
                // All of them: an apply takes away what it leaves out.
                let entries = configuration.entries.iter();
                let action = Action::ApplyBundle {
                    configuration: configuration.id.clone(),
                    entries: entries.map(|entry| entry.name.clone()).collect(),
                    bundle: bundle.clone(),
                };
                self.step(action, Reason::Bundle);
            }
        }
        complete
    }

    /// Swaps the serving certificate once everybody trusts the new one, and forgets the CAs
    /// before once nobody serves under them.
    fn serving(&mut self, seen: &Seen, ca: &Ca, wanted: &Wanted, now: SystemTime, complete: bool) {
        let serving = seen.serving.whole();
        let swapped = serving.is_some_and(|serving| serving.is_signed_by(&ca.authority));
        let expired = serving.is_some_and(|serving| serving.validity.expired(now));
        let old_in_use = ca.previous.iter().any(|a| !a.validity.expired(now));
        if let Err(reason) = good_serving(seen, ca, wanted, now) {
            // Nobody can be led away from what does not work, or from a CA that stays.
            let at_once = swapped || expired || !old_in_use;
            let since = ca.complete_since.filter(|since| *since <= now && complete);
            match since.map(|since| since + wanted.wait()) {
                Some(at) if !at_once && now < at => return self.wake_at(at),
                None if !at_once => {
                    if complete {
                        let complete_since = Some(now);
                        self.step(Action::Mark { complete_since }, Reason::Complete);
                    }
                    return;
                }
                _ => {}
            }
            let mut validity = Validity::starting(now, wanted.certificate_lifetime);
            validity.not_after = validity.not_after.min(ca.authority.validity.not_after);
            return self.step(Action::MakeServing { validity }, reason);
        }
        let Some(serving) = serving else { return };
        if !ca.previous.is_empty() {
            let at = serving.settled(wanted, now);
            if complete && now >= at {
                self.step(Action::DropOld, Reason::Swapped);
            } else {
                self.wake_at(at);
            }
        }
        self.wake_at(serving.validity.due(wanted.certificate_lifetime));
    }
}

/// Why there must be another serving certificate.
fn good_serving(seen: &Seen, ca: &Ca, wanted: &Wanted, now: SystemTime) -> Result<(), Reason> {
    let serving = match &seen.serving {
        Held::Whole(serving) => serving,
        Held::Unusable(flaw) => return Err(Reason::Unusable(Subject::Serving, *flaw)),
        Held::Absent | Held::Foreign => return Err(Reason::Absent(Subject::Serving)),
    };
    if serving.validity.expired(now) {
        return Err(Reason::Expired(Subject::Serving));
    }
    if serving.validity.early(now) {
        return Err(Reason::Early(Subject::Serving));
    }
    if !serving.is_signed_by(&ca.authority) {
        return Err(Reason::Unsigned);
    }
    let sorted = |names: &[String]| {
        let mut names: Vec<_> = names.iter().map(|n| n.to_ascii_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    if sorted(&serving.names) != sorted(&wanted.names) {
        return Err(Reason::Names);
    }
    if now >= serving.validity.due(wanted.certificate_lifetime) {
        return Err(Reason::Due(Subject::Serving));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
