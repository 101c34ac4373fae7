//! One credential: what its policy says, its value, and its copies as a watch brings them.
//!
//! It holds what a plan is made of and what the plan said. It asks nobody and writes nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::material::{Material, Seen, marks};
use super::row::Row;
use super::secret;
use crate::metrics::CredentialState;
use crate::names::SecretName;
use crate::plan::gates::Standing;
use crate::plan::refresh::{Chance, within_reach};
use crate::plan::secrets::{Action, Copy, Marks, Owner, Plan, Step, Value, Waits, Wanted, plan};
use crate::status::{Memory, Remembered};

/// How long a Pod waits for a Secret of which we see no reason to come to its namespace.
const UNREACHED: Duration = Duration::from_secs(3);
/// How long a value that was fetched waits at most until it is remembered.
const WRITTEN_DOWN: Duration = Duration::from_secs(10);
/// A Secret that has to go stays for so long: a ConfigMap that is deleted and made again moves none.
const GRACE: Duration = Duration::from_secs(5);

/// What is known of the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// Nothing yet.
    No,
    /// All there are.
    Whole,
    /// They may not be read.
    Denied,
}

/// How it stands with asking the source.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asking {
    /// Nobody asks. After failures not before `next`.
    Idle {
        failures: u32,
        next: Option<SystemTime>,
    },
    /// Somebody does.
    Asked { failures: u32 },
}

/// How a fetched value stands to those that other controllers may have fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// It is the newest that is known.
    Shared,
    /// This process has fetched it since it leads: nobody can know a newer one.
    Own,
    /// Another controller has fetched a newer one, which nothing here holds.
    Outdated,
}

/// It may be asked as soon as there is a reason.
const IDLE: Asking = Asking::Idle {
    failures: 0,
    next: None,
};

/// A credential that is kept, or was.
pub(super) struct Kept {
    /// None: no policy declares it any more.
    pub(super) row: Option<Row>,
    /// Whether its Secrets go when its row goes. Of a name that is only remembered they do.
    leaves: bool,
    pub(super) material: Option<Material>,
    age: Age,
    /// When it was fetched, by a clock that nobody sets.
    fetched: Option<Instant>,
    seen: Option<Seen>,
    pub(super) asking: Asking,
    /// Since when its source has given nothing good.
    pub(super) lacking: Option<SystemTime>,
    /// Differs from value to value.
    pub(super) chance: Chance,
    pub(super) reach: BTreeSet<Arc<str>>,
    pub(super) copies: BTreeMap<Arc<str>, Copy>,
    listing: Option<BTreeMap<Arc<str>, Copy>>,
    pub(super) listed: Listed,
    pub(super) waits: Waits,
    /// Since when copies have to go, by a clock that nobody sets.
    leaving: BTreeMap<Arc<str>, Instant>,
    /// Steps that were planned and not begun.
    pub(super) queue: VecDeque<Step>,
    pub(super) last: Plan,
    /// A plan is to be made.
    pub(super) is_dirty: bool,
    pub(super) planned: Option<Instant>,
    /// When copies that have to go may go.
    pub(super) leave_at: Option<Instant>,
}

impl Kept {
    pub(super) fn new(row: Option<Row>, chance: Chance) -> Self {
        Self {
            row,
            leaves: true,
            material: None,
            age: Age::Shared,
            fetched: None,
            seen: None,
            asking: IDLE,
            lacking: None,
            chance,
            reach: BTreeSet::new(),
            copies: BTreeMap::new(),
            listing: None,
            listed: Listed::No,
            waits: Waits::default(),
            leaving: BTreeMap::new(),
            queue: VecDeque::new(),
            last: Plan::default(),
            is_dirty: true,
            planned: None,
            leave_at: None,
        }
    }

    /// Takes a change of the copies. A value that another controller wrote is taken over. Whether copies have
    /// come or gone: a rotation's thousands of changes are no news to the status.
    pub(super) fn take(&mut self, event: Event<Secret>, remembered: Option<&Remembered>) -> bool {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(secret) => {
                let Some((namespace, copy)) = known(&secret) else {
                    return false;
                };
                self.look_at(&secret, &copy, remembered);
                if let Some(listing) = &mut self.listing {
                    put(listing, namespace, copy);
                }
            }
            Event::InitDone => {
                let Some(listing) = self.listing.take() else {
                    return false;
                };
                self.copies = listing;
                self.listed = Listed::Whole;
                self.is_dirty = true;
                return true;
            }
            Event::Apply(secret) => {
                if let Some((namespace, copy)) = known(&secret) {
                    self.look_at(&secret, &copy, remembered);
                    return self.set(&namespace, copy);
                }
            }
            Event::Delete(secret) => {
                let Some((namespace, gone)) = known(&secret) else {
                    return false;
                };
                let held = self.copies.get(&namespace);
                if held.is_some_and(|held| held.uid == gone.uid || !is_older(&gone, held)) {
                    self.copies.remove(&namespace);
                    self.waits.changed(&namespace);
                    self.is_dirty = true;
                    return true;
                }
            }
        }
        false
    }

    /// What a Secret is now, by the watch or by the answer to a write. Whether there was none before.
    pub(super) fn set(&mut self, namespace: &Arc<str>, copy: Copy) -> bool {
        // A list that began before the write may not have it.
        if let Some(listing) = &mut self.listing {
            put(listing, Arc::clone(namespace), copy.clone());
        }
        let held = self.copies.get(namespace);
        let is_new = held.is_none();
        let same = held.is_some_and(|held| held.uid == copy.uid && held.owner == copy.owner);
        if put(&mut self.copies, Arc::clone(namespace), copy) && !same {
            self.waits.changed(namespace);
            self.is_dirty = true;
        }
        is_new
    }

    /// A Secret was removed by us; another one of its name may be there already. Whether it was known.
    pub(super) fn removed(&mut self, namespace: &str, uid: &str) -> bool {
        let mut was_known = false;
        let all = self.listing.iter_mut().chain([&mut self.copies]);
        for copies in all {
            if copies.get(namespace).is_some_and(|held| held.uid == uid) {
                copies.remove(namespace);
                was_known = true;
            }
        }
        was_known
    }

    /// Keeps what a copy of ours holds, and takes it over if it is what another controller has fetched.
    fn look_at(&mut self, secret: &Secret, copy: &Copy, remembered: Option<&Remembered>) {
        let Owner::Us { digest, .. } = copy.owner else {
            return;
        };
        if !self.row.as_ref().is_some_and(Row::is_fetched)
            || self.seen.as_ref().is_some_and(|seen| seen.digest == digest)
        {
            return;
        }
        if let Some(json) = secret::content(secret) {
            let json = Arc::new(json.clone());
            self.seen = Some(Seen { digest, json });
        }
        if let Some(remembered) = remembered {
            self.recall(remembered);
        }
    }

    /// Another controller has fetched a value, perhaps a newer one than ours. It is taken from a copy, or has to
    /// be fetched again; and ours is none any more, if it would be written over that.
    pub(super) fn recall(&mut self, remembered: &Remembered) {
        let is_of = |row: &Row| row.is_fetched() && row.source == remembered.source;
        if self.age == Age::Own || !self.row.as_ref().is_some_and(is_of) {
            return;
        }
        let is_known = |held: &Material| {
            held.digest == remembered.digest || held.lifetime.issued >= remembered.issued
        };
        if self.material.as_ref().is_some_and(is_known) {
            return;
        }
        let seen = self.seen.as_ref();
        let material = seen.and_then(|seen| Material::taken_over(remembered, seen));
        let stands = |copy: &Copy| matches!(copy.owner, Owner::Us { digest, .. } if digest == remembered.digest);
        let mut copies = self
            .copies
            .values()
            .chain(self.listing.iter().flat_map(|l| l.values()));
        self.age = match (&material, &self.material) {
            (None, Some(_)) => Age::Outdated,
            _ => Age::Shared,
        };
        if material.is_some() || copies.any(stands) {
            self.is_dirty = true;
            self.material = material;
        }
    }

    /// Another process leads from now on, or this one does: others may have fetched, or will.
    pub(super) fn share(&mut self) {
        if self.age == Age::Own {
            self.age = Age::Shared;
        }
    }

    /// A value was fetched, or copied from its source.
    pub(super) fn set_material(&mut self, material: Material, chance: Chance) {
        if self.row.as_ref().is_some_and(Row::is_fetched) {
            self.age = Age::Own;
            self.fetched = Some(Instant::now());
        }
        self.material = Some(material);
        self.chance = chance;
        self.is_dirty = true;
    }

    /// What a controller has to know of its value after a restart. `before`: what is remembered now.
    pub(super) fn to_remember(&self, before: Option<&Remembered>) -> Option<Remembered> {
        if !self.row.as_ref().is_some_and(Row::is_fetched) {
            return None;
        }
        let material = self.material.as_ref().filter(|_| self.age != Age::Outdated);
        material
            .map(Material::remembered)
            .or_else(|| before.cloned())
    }

    /// Whether what is to be written may be: a name is written down before the first Secret of it is, and a
    /// value that was fetched before its first copy is, so that whoever leads next knows which is newer. That
    /// is not waited for too long: a token that is not renewed is worse.
    pub(super) fn is_written_down(&self, name: &SecretName, memory: Option<&Memory>) -> bool {
        let Some(row) = &self.row else { return true };
        let is_named = memory.is_some_and(|memory| memory.names.contains(name));
        let remembered = memory.and_then(|memory| memory.values.get(name));
        let is_valued = self.material.as_ref().is_none_or(|held| {
            remembered.is_some_and(|remembered| remembered.digest == held.digest)
        });
        let is_late = self.fetched.is_none_or(|at| at.elapsed() > WRITTEN_DOWN);
        (is_named || !row.is_remembered()) && (is_valued || is_late || !row.is_fetched())
    }

    /// What the row says now. A value of another source is none of its.
    pub(super) fn declare(&mut self, row: Row) {
        let is_other = |material: &Material| material.source != row.source;
        let before = self.row.as_ref();
        if self.material.as_ref().is_some_and(is_other)
            || before.is_some_and(|before| before.source != row.source)
        {
            self.material = None;
            self.lacking = None;
            self.age = Age::Shared;
            self.fetched = None;
            self.asking = IDLE;
        }
        self.leaves = row.is_remembered();
        self.row = Some(row);
        self.is_dirty = true;
    }

    /// No policy declares it any more. Its value stays for a while: it may be declared again.
    pub(super) fn retire(&mut self) {
        if self.row.take().is_some() {
            self.asking = IDLE;
            self.reach.clear();
            self.is_dirty = true;
        }
    }

    /// Whether there is nothing left of one that no policy declares: no Secret that would have to go, and
    /// none on its way. What may not be read is not waited for, unless something is known to be there.
    pub(super) fn is_over(&self) -> bool {
        self.row.is_none() && (!self.leaves || (self.ours() == 0 && !self.waits.is_busy()))
    }

    /// Whether its name has to be remembered, if it is known to have been, because Secrets of ours may be left.
    pub(super) fn is_remembered(&self, was_known: bool) -> bool {
        match &self.row {
            // Of a name that may not be read nothing was written.
            Some(row) => row.is_remembered() && (was_known || self.listed == Listed::Whole),
            None => {
                self.leaves && !(self.is_over() && self.listed == Listed::Whole) && {
                    was_known || self.ours() > 0
                }
            }
        }
    }

    /// Whether Secrets are left of it that no right covers any more.
    pub(super) fn is_orphaned(&self) -> bool {
        self.row.is_none() && self.leaves && {
            self.listed == Listed::Denied || self.waits.is_refused()
        }
    }

    /// Makes the plan anew. `may_remove`: all is known that says where Secrets belong.
    pub(super) fn plan(&mut self, may_remove: bool, at: Instant, now: SystemTime) {
        self.is_dirty = false;
        self.planned = Some(at);
        self.queue.clear();
        self.leave_at = None;
        if self.listed != Listed::Whole {
            self.last = Plan::default();
            return;
        }
        let value = self.value();
        let wanted = match &self.row {
            Some(row) if row.is_made() => Wanted::Kept {
                value: value.as_ref(),
                namespaces: &self.reach,
            },
            None if self.leaves => Wanted::Retired,
            Some(_) | None => Wanted::Watched {
                namespaces: &self.reach,
            },
        };
        let mut plan = plan(wanted, &self.copies, &self.waits, now);
        let steps = std::mem::take(&mut plan.steps);
        self.last = plan;
        let (reach, copies) = (&self.reach, &self.copies);
        self.leaving
            .retain(|name, _| copies.contains_key(name) && !reach.contains(name));
        for step in steps {
            if let Action::Remove { .. } = step.action {
                if !may_remove {
                    continue;
                }
                let since = self.leaving.entry(Arc::clone(&step.namespace));
                let end = *since.or_insert(at) + GRACE;
                if end > at {
                    self.leave_at = Some(self.leave_at.map_or(end, |other| other.min(end)));
                    continue;
                }
            }
            self.queue.push_back(step);
        }
    }

    fn value(&self) -> Option<Value> {
        let (row, material) = (self.row.as_ref()?, self.material.as_ref()?);
        Some(Value {
            digest: material.digest,
            marks: marks(row, material),
        })
    }

    /// What to write now, if there is anything to write.
    pub(super) fn to_write(&self) -> Option<(Arc<ByteString>, Marks)> {
        let (row, material) = (self.row.as_ref()?, self.material.as_ref()?);
        Some((Arc::clone(&material.json), marks(row, material)))
    }

    /// When its source is to be asked, if it is one that is asked.
    pub(super) fn ask_at(&self, now: SystemTime) -> Option<SystemTime> {
        if !self.row.as_ref()?.is_fetched() || self.reach.is_empty() {
            return None;
        }
        match (self.asking, &self.material) {
            (Asking::Asked { .. }, _) => None,
            (
                Asking::Idle {
                    next: Some(next), ..
                },
                _,
            ) => Some(within_reach(next, now)),
            (Asking::Idle { .. }, None) => Some(now),
            (Asking::Idle { .. }, Some(_)) if self.age == Age::Outdated => Some(now),
            (Asking::Idle { .. }, Some(material)) => {
                Some(material.lifetime.renew_at(now, self.chance))
            }
        }
    }

    /// Its source gave nothing good.
    pub(super) fn lacks(&mut self, now: SystemTime) {
        self.lacking.get_or_insert(now);
    }

    /// When a new value is due, or was: unlike [`Kept::ask_at`] it does not move with each failure. One that
    /// is copied is due as soon as its source is no good.
    fn due_at(&self, now: SystemTime) -> Option<SystemTime> {
        let row = self.row.as_ref()?;
        match &self.material {
            Some(material) if row.is_fetched() => {
                Some(material.lifetime.renew_at(now, self.chance))
            }
            _ => self.lacking,
        }
    }

    /// How a Secret that a Pod of this namespace names stands. `is_known`: the namespace is.
    pub(super) fn standing(&self, namespace: &str, is_known: bool) -> Standing {
        let Some(row) = self.row.as_ref().filter(|row| row.credential.hold_pods) else {
            return Standing::NotAwaited;
        };
        let timeout = row.credential.hold_timeout;
        if self.copies.contains_key(namespace) {
            Standing::There
        } else if self.reach.contains(namespace) || !is_known {
            Standing::Awaited(timeout)
        } else {
            // The webhook may have read of the namespace's labels a moment before us.
            Standing::Awaited(timeout.min(UNREACHED))
        }
    }

    /// Secrets of ours that are left.
    pub(super) fn ours(&self) -> usize {
        let ours = |copy: &&Copy| copy.owner != Owner::Others;
        self.copies.values().filter(ours).count()
    }

    /// For the metrics.
    pub(super) fn state(&self, now: SystemTime) -> CredentialState {
        let counts = self.last.counts;
        let is_lost = self.is_orphaned();
        // What goes nowhere is not kept fresh.
        let is_needed = !self.reach.is_empty();
        let material = self.material.as_ref().filter(|_| is_needed);
        CredentialState {
            fresh: counts.fresh,
            stale: counts.stale,
            missing: counts.missing,
            foreign: counts.foreign,
            // How many there are cannot be seen any more: at least the name is left.
            orphaned: if is_lost { self.ours().max(1) } else { 0 },
            expires: material.and_then(|material| material.lifetime.expires),
            renewal: self.due_at(now).filter(|_| is_needed),
        }
    }
}

fn known(secret: &Secret) -> Option<(Arc<str>, Copy)> {
    let namespace = secret.metadata.namespace.as_deref()?;
    Some((namespace.into(), secret::copy(secret)?))
}

/// Puts a copy where no newer one is. Whether it is news.
fn put(copies: &mut BTreeMap<Arc<str>, Copy>, namespace: Arc<str>, copy: Copy) -> bool {
    let held = copies.get(&namespace);
    if held.is_some_and(|held| is_older(&copy, held) || copy.version == held.version) {
        return false;
    }
    copies.insert(namespace, copy);
    true
}

/// The answer to our own write may come before what the watch still has to tell.
fn is_older(copy: &Copy, held: &Copy) -> bool {
    match (copy.version.parse::<u64>(), held.version.parse::<u64>()) {
        (Ok(copy), Ok(held)) => copy < held,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
