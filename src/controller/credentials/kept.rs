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

use super::secret;
use crate::credentials::Fetched;
use crate::docker_config::{Digest, DockerConfig, Format, read};
use crate::metrics::CredentialState;
use crate::names::SecretName;
use crate::plan::gates::Standing;
use crate::plan::refresh::{Chance, Lifetime};
use crate::plan::secrets::{Copy, Marks, Owner, Plan, Step, Value, Waits, Wanted, plan};
use crate::policy::config_maps::ConfigMapName;
use crate::policy::document::{Credential, CredentialSource};
use crate::policy::table::Table;
use crate::status::Remembered;

/// How long a Pod waits for a Secret of which we see no reason to come to its namespace.
const UNREACHED: Duration = Duration::from_secs(3);

/// What a policy says of a credential.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) credential: Credential,
    pub(super) policy: Arc<str>,
    pub(super) config_map: Option<ConfigMapName>,
    /// Of all that decides about the value: another digest has another value.
    pub(super) source: Digest,
    /// The source in words.
    pub(super) words: String,
}

impl Row {
    /// The row of a credential that this table declares.
    pub(super) fn of(table: &Table, credential: &Credential) -> Self {
        let policy = table.declarer(&credential.name);
        // Everything in it was written in one policy, and nothing else has a say.
        let said = format!("{:?} {:?}", credential.from, credential.registries);
        Self {
            credential: credential.clone(),
            policy: policy.map_or_else(|| "".into(), |policy| Arc::clone(&policy.name)),
            config_map: policy.and_then(|policy| policy.config_map.clone()),
            source: Digest::of(said.as_bytes()),
            words: words(&credential.from),
        }
    }

    /// Whether pullpass makes its Secrets.
    pub(super) fn is_made(&self) -> bool {
        self.credential.from != CredentialSource::Existing
    }

    /// The Secret that it is copied from.
    pub(super) fn copied_from(&self) -> Option<&SecretName> {
        match &self.credential.from {
            CredentialSource::SecretRef { name } => Some(name),
            _ => None,
        }
    }

    /// Whether its value has to be asked for.
    pub(super) fn is_fetched(&self) -> bool {
        self.is_made() && self.copied_from().is_none()
    }

    /// Whether its Secrets go when it goes.
    pub(super) fn is_remembered(&self) -> bool {
        self.is_made() && !self.credential.keep
    }
}

fn words(source: &CredentialSource) -> String {
    match source {
        CredentialSource::SecretRef { name } => format!("secretRef {name}"),
        CredentialSource::Ecr { regions, .. } => format!("ecr {}", regions.join(",")),
        CredentialSource::Gcp => "gcp".to_owned(),
        CredentialSource::Acr { .. } => "acr".to_owned(),
        CredentialSource::Exec { command, .. } => format!("exec {command}"),
        CredentialSource::Existing => "existing".to_owned(),
    }
}

/// The value of a credential.
#[derive(Clone)]
pub(super) struct Material {
    /// What a copy's one key holds.
    pub(super) json: Arc<ByteString>,
    pub(super) digest: Digest,
    pub(super) lifetime: Lifetime,
    /// Of which source.
    pub(super) source: Digest,
}

impl Material {
    pub(super) fn of(config: &DockerConfig, lifetime: Lifetime, source: Digest) -> Self {
        Self {
            json: Arc::new(ByteString(config.to_json())),
            digest: config.digest(),
            lifetime,
            source,
        }
    }

    pub(super) fn fetched(fetched: &Fetched, source: Digest) -> Self {
        let lifetime = Lifetime {
            issued: fetched.issued,
            expires: fetched.expires,
        };
        Self::of(&fetched.config, lifetime.in_whole_seconds(), source)
    }

    /// What a controller before us wrote, if this is it and a kubelet can read it.
    fn taken_over(remembered: &Remembered, secret: &Secret) -> Option<Self> {
        let json = secret::content(secret)?;
        if Digest::of(&json.0) != remembered.digest {
            return None;
        }
        read(Format::DockerConfigJson, &json.0).ok()?;
        Some(Self {
            json: Arc::new(json.clone()),
            digest: remembered.digest,
            lifetime: Lifetime {
                issued: remembered.issued,
                expires: remembered.expires,
            },
            source: remembered.source,
        })
    }

    pub(super) fn remembered(&self) -> Remembered {
        Remembered {
            digest: self.digest,
            source: self.source,
            issued: self.lifetime.issued,
            expires: self.lifetime.expires,
        }
    }
}

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

/// A credential that is kept, or was.
pub(super) struct Kept {
    /// None: no policy declares it any more.
    pub(super) row: Option<Row>,
    /// Since when, by a clock that nobody sets.
    pub(super) retired: Option<Instant>,
    pub(super) material: Option<Material>,
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
    /// Steps that were planned and not begun.
    pub(super) queue: VecDeque<Step>,
    pub(super) last: Plan,
    /// A plan is to be made.
    pub(super) is_dirty: bool,
    pub(super) planned: Option<Instant>,
}

impl Kept {
    pub(super) fn new(row: Option<Row>, chance: Chance) -> Self {
        Self {
            row,
            retired: None,
            material: None,
            asking: Asking::Idle {
                failures: 0,
                next: None,
            },
            lacking: None,
            chance,
            reach: BTreeSet::new(),
            copies: BTreeMap::new(),
            listing: None,
            listed: Listed::No,
            waits: Waits::default(),
            queue: VecDeque::new(),
            last: Plan::default(),
            is_dirty: true,
            planned: None,
        }
    }

    /// Takes a change of the copies. A value that a controller before us wrote is taken over. Whether copies
    /// have come or gone: a rotation's thousands of changes are no news to the status.
    pub(super) fn take(&mut self, event: Event<Secret>, remembered: Option<&Remembered>) -> bool {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(secret) => {
                self.take_over(&secret, remembered);
                if let (Some(listing), Some((namespace, copy))) =
                    (&mut self.listing, known(&secret))
                {
                    listing.insert(namespace, copy);
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
                self.take_over(&secret, remembered);
                if let Some((namespace, copy)) = known(&secret) {
                    return self.set(namespace, copy);
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
    pub(super) fn set(&mut self, namespace: Arc<str>, copy: Copy) -> bool {
        let held = self.copies.get(&namespace);
        if held.is_some_and(|held| is_older(&copy, held) || copy.version == held.version) {
            return false;
        }
        let same = held.is_some_and(|held| held.uid == copy.uid && held.owner == copy.owner);
        if !same {
            self.waits.changed(&namespace);
            self.is_dirty = true;
        }
        self.copies.insert(namespace, copy).is_none()
    }

    fn take_over(&mut self, secret: &Secret, remembered: Option<&Remembered>) {
        let (Some(row), Some(remembered)) = (&self.row, remembered) else {
            return;
        };
        let known = self.material.as_ref();
        if !row.is_fetched()
            || row.source != remembered.source
            || known.is_some_and(|known| known.digest == remembered.digest)
        {
            return;
        }
        let is_newer = known.is_none_or(|known| known.lifetime.issued < remembered.issued);
        if let Some(material) = Material::taken_over(remembered, secret).filter(|_| is_newer) {
            self.material = Some(material);
            self.is_dirty = true;
        }
    }

    /// What the row says now. A value of another source is none of its.
    pub(super) fn declare(&mut self, row: Row) {
        let moved = self
            .row
            .as_ref()
            .is_none_or(|before| before.source != row.source);
        if moved {
            self.material = None;
            self.lacking = None;
            self.asking = Asking::Idle {
                failures: 0,
                next: None,
            };
        }
        self.row = Some(row);
        self.retired = None;
        self.is_dirty = true;
    }

    /// No policy declares it any more.
    pub(super) fn retire(&mut self) {
        if self.row.take().is_some() || self.retired.is_none() {
            self.retired = Some(Instant::now());
            self.material = None;
            self.reach.clear();
            self.is_dirty = true;
        }
    }

    /// Makes the plan anew. `is_removable`: Secrets of a row that is gone may go.
    pub(super) fn plan(&mut self, is_removable: bool, now: SystemTime) {
        self.is_dirty = false;
        self.planned = Some(Instant::now());
        self.queue.clear();
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
            Some(_) => Wanted::Watched {
                namespaces: &self.reach,
            },
            None => Wanted::Retired,
        };
        let is_retired = self.row.is_none();
        let mut plan = plan(wanted, &self.copies, &self.waits, now);
        let steps = std::mem::take(&mut plan.steps);
        if !is_retired || is_removable {
            self.queue.extend(steps);
        }
        self.last = plan;
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
            ) => Some(next),
            (Asking::Idle { .. }, None) => Some(now),
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

    /// How a Secret that a Pod of this namespace names stands.
    pub(super) fn standing(&self, namespace: &str) -> Standing {
        let Some(row) = self.row.as_ref().filter(|row| row.credential.hold_pods) else {
            return Standing::NotAwaited;
        };
        let timeout = row.credential.hold_timeout;
        if self.copies.contains_key(namespace) {
            Standing::There
        } else if self.reach.contains(namespace) {
            Standing::Awaited(timeout)
        } else {
            // The webhook may have read of the namespace, or of its labels, a moment before us.
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
        let is_lost = self.listed == Listed::Denied && self.row.is_none();
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

fn marks(row: &Row, material: &Material) -> Marks {
    Marks {
        policy: row.policy.to_string(),
        source: row.words.clone(),
        expires: material.lifetime.expires,
    }
}

fn known(secret: &Secret) -> Option<(Arc<str>, Copy)> {
    let namespace = secret.metadata.namespace.as_deref()?;
    Some((namespace.into(), secret::copy(secret)?))
}

/// The answer to our own write may come before what the watch still has to tell.
fn is_older(copy: &Copy, held: &Copy) -> bool {
    match (copy.version.parse::<u64>(), held.version.parse::<u64>()) {
        (Ok(copy), Ok(held)) => copy < held,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(namespace: &str, uid: &str, version: &str) -> Secret {
        let metadata = json!({
            "name": "ecr", "namespace": namespace, "uid": uid, "resourceVersion": version,
        });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    #[test]
    fn copies_that_come_or_go_are_news_and_one_that_changes_is_none() {
        let mut kept = Kept::new(None, Chance::of(0));
        for (event, want, why) in [
            (Event::Init, false, "a list begins"),
            (
                Event::InitApply(secret("web", "a", "1")),
                false,
                "it is read",
            ),
            (Event::InitDone, true, "it is whole"),
            (Event::Apply(secret("web", "a", "2")), false, "a rotation"),
            (Event::Apply(secret("web", "a", "2")), false, "told twice"),
            (Event::Apply(secret("api", "b", "3")), true, "one more"),
            (
                Event::Apply(secret("api", "c", "5")),
                false,
                "another in its place",
            ),
            (
                Event::Delete(secret("api", "b", "4")),
                false,
                "the one before it",
            ),
            (Event::Delete(secret("web", "a", "6")), true, "it is gone"),
            (Event::Delete(secret("web", "a", "6")), false, "it was"),
        ] {
            assert_eq!(kept.take(event, None), want, "{why}");
        }
        let namespaces: Vec<_> = kept.copies.keys().map(|n| &**n).collect();
        assert_eq!(namespaces, ["api"]);
    }
}
