//! One credential's copies as they are + as they should be + the time → what to write and remove, and why.
//!
//! A Secret that is not ours is never written, adopted or removed, and nothing is written that is as it
//! should be. It holds digests, never a value, and knows nothing of who carries the steps out.

mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

pub use waits::{Obstacle, Waits};

use crate::docker_config::Digest;

/// What a copy says beside its value: for people, and so that a change of it is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The policy that declares the credential.
    pub policy: String,
    /// Where the value comes from, in words.
    pub source: String,
    /// Until when it is good, in whole seconds; for ever when absent.
    pub expires: Option<SystemTime>,
}

/// A Secret of the credential's name, in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Which Secret: one made anew under the name is another.
    pub uid: String,
    /// Which version of it.
    pub version: String,
    /// Whose it is.
    pub owner: Owner,
}

/// Whose a Secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Ours: it has our label and the type that we write, and was made for its namespace.
    Us {
        /// Of what it holds.
        digest: Digest,
        /// What it says beside it.
        marks: Marks,
    },
    /// Somebody else's.
    Others,
}

/// The value that copies should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Of what they should hold.
    pub digest: Digest,
    /// What they should say beside it.
    pub marks: Marks,
}

/// What should be.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// A policy declares the credential: its copies stand in these namespaces and nowhere else.
    Kept {
        /// What they should hold; unknown before it was fetched. Copies that are there stay.
        value: Option<&'a Value>,
        /// Where.
        namespaces: &'a BTreeSet<Arc<str>>,
    },
    /// Somebody else makes it: nothing is written.
    Watched {
        /// Where it is needed.
        namespaces: &'a BTreeSet<Arc<str>>,
    },
    /// No policy declares it any more: its copies go.
    Retired,
}

/// What to do in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub namespace: Arc<str>,
    /// What.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the Secret, if none is there.
    Create,
    /// Set the Secret of this uid, and no other.
    Replace {
        /// Which.
        uid: String,
    },
    /// Remove the Secret if it is still this version of this uid.
    Remove {
        /// Which.
        uid: String,
        /// Which version of it.
        version: String,
    },
}

/// Why something is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    Absent,
    /// It holds something else.
    Content,
    /// It says something else beside its value.
    Marks,
    /// No rule that injects it applies there any more.
    OutOfReach,
    /// No policy declares it any more.
    Retired,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "there is none",
            Self::Content => "it holds another value",
            Self::Marks => "its annotations say something else",
            Self::OutOfReach => "no rule that injects it applies there",
            Self::Retired => "no policy declares it",
        })
    }
}

/// How many copies are in which state. Those that are to be removed are in none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// As they should be.
    pub fresh: usize,
    /// With another value than they should have, or one that is over.
    pub stale: usize,
    /// Not there.
    pub missing: usize,
    /// Somebody else's, where ours should be.
    pub foreign: usize,
}

/// What to do next with the copies of one credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do now, in the order of namespaces: new Secrets first, since Pods may wait for them.
    pub steps: Vec<Step>,
    /// When there is something to do again though nothing changes.
    pub wake: Option<SystemTime>,
    /// How its copies fare.
    pub counts: Counts,
    /// Namespaces in which somebody else's Secret has the name.
    pub foreign: Vec<Arc<str>>,
}

/// What to do with the copies of one credential. Namespaces that are being written to, or have to wait
/// after a failure, are left out of the steps.
#[must_use]
pub fn plan(
    wanted: Wanted<'_>,
    copies: &BTreeMap<Arc<str>, Copy>,
    waits: &Waits,
    now: SystemTime,
) -> Plan {
    let mut plan = Plan::default();
    let nowhere = BTreeSet::new();
    let (value, namespaces, reason) = match wanted {
        Wanted::Kept { value, namespaces } => (value, namespaces, Some(Reason::OutOfReach)),
        Wanted::Watched { namespaces } => (None, namespaces, None),
        Wanted::Retired => (None, &nowhere, Some(Reason::Retired)),
    };
    let is_ours = matches!(wanted, Wanted::Kept { .. });
    // What is over is good for nobody: it stays where it is, and goes nowhere.
    let usable = value.filter(|value| value.marks.expires.is_none_or(|end| end > now));
    for namespace in namespaces {
        match copies.get(namespace) {
            None => {
                plan.counts.missing += 1;
                if usable.is_some() && is_ours {
                    plan.step(namespace, Action::Create, Reason::Absent, waits, now);
                }
            }
            Some(_) if !is_ours => plan.counts.fresh += 1,
            Some(copy) => plan.held(namespace, copy, value, usable, waits, now),
        }
    }
    if let Some(reason) = reason {
        for (namespace, copy) in copies {
            if namespaces.contains(namespace) || copy.owner == Owner::Others {
                continue;
            }
            let (uid, version) = (copy.uid.clone(), copy.version.clone());
            plan.step(
                namespace,
                Action::Remove { uid, version },
                reason,
                waits,
                now,
            );
        }
    }
    // Stable: each kind keeps the order of namespaces.
    plan.steps.sort_by_key(|step| step.action != Action::Create);
    plan
}

impl Plan {
    /// A Secret stands where ours should be.
    fn held(
        &mut self,
        namespace: &Arc<str>,
        copy: &Copy,
        value: Option<&Value>,
        usable: Option<&Value>,
        waits: &Waits,
        now: SystemTime,
    ) {
        let Owner::Us { digest, marks } = &copy.owner else {
            self.counts.foreign += 1;
            self.foreign.push(Arc::clone(namespace));
            return;
        };
        let is_over = |end: Option<SystemTime>| end.is_some_and(|end| end <= now);
        let over = is_over(marks.expires) || value.is_some_and(|v| is_over(v.marks.expires));
        let same = value.is_none_or(|value| value.digest == *digest);
        if over || !same {
            self.counts.stale += 1;
        } else {
            self.counts.fresh += 1;
        }
        let Some(usable) = usable else { return };
        let reason = if usable.digest != *digest {
            Reason::Content
        } else if usable.marks != *marks {
            Reason::Marks
        } else {
            return;
        };
        let uid = copy.uid.clone();
        self.step(namespace, Action::Replace { uid }, reason, waits, now);
    }

    fn step(
        &mut self,
        namespace: &Arc<str>,
        action: Action,
        reason: Reason,
        waits: &Waits,
        now: SystemTime,
    ) {
        match waits.until(namespace) {
            // Its end is news enough.
            Some(None) => {}
            Some(Some(until)) if until > now => {
                self.wake = Some(self.wake.map_or(until, |other| other.min(until)));
            }
            _ => self.steps.push(Step {
                namespace: Arc::clone(namespace),
                action,
                reason,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
