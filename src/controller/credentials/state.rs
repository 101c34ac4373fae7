//! All that the loop knows, and what follows from it: which names are watched, what is asked, written,
//! announced, let go.
//!
//! It takes what watches and answers bring, and begins what the plans say. It waits for nobody.

mod announce;
mod answers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Secret;
use kube::Resource as _;
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::super::events::Teller;
use super::super::lease::random;
use super::super::watching::{Known, Slot};
use super::announced::Announced;
use super::kept::{Asking, Kept, Listed};
use super::material::Material;
use super::releases::Releases;
use super::row::Row;
use super::tell::Tell;
use super::watches::{Change, Watches};
use super::writing::Work;
use crate::cluster::fold::{self, Fold, Namespace};
use crate::cluster::policies::InForce;
use crate::cluster::watch::{is_denied, tell_failure};
use crate::credentials::secret_ref::read_source;
use crate::metrics::{Metrics, Resource};
use crate::names::SecretName;
use crate::plan::gates::Standing;
use crate::plan::reach::Reach;
use crate::plan::refresh::{Chance, Lifetime};
use crate::plan::secrets::Action;
use crate::policy::config_maps;
use crate::policy::document::CredentialSource;
use crate::server::health;
use crate::snapshot::{Namespaces, ScopeOptions};
use crate::status::Remembered;

/// The time between two plans of one credential: a storm of changes is planned for twenty times a second.
const PAUSE: Duration = Duration::from_millis(50);
pub(super) struct State {
    scope: ScopeOptions,
    tell: Tell,
    in_force: Option<InForce>,
    reach: Reach,
    namespaces: Fold<Namespaces>,
    /// Namespaces or rules have changed since it was looked where credentials go.
    has_moved: bool,
    /// When it was looked.
    reached: Option<Instant>,
    kept: BTreeMap<SecretName, Kept>,
    sources: BTreeMap<SecretName, Slot<Secret>>,
    announced: Announced,
    releases: Releases,
    /// Something has changed that the status ConfigMaps may have to say.
    has_news: bool,
    /// When it was looked last what they should say.
    told: Option<Instant>,
    /// When metrics were set last.
    shown: Option<Instant>,
}

impl State {
    pub(super) fn new(
        namespace: String,
        scope: ScopeOptions,
        teller: Teller,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            scope,
            tell: Tell::new(namespace, teller, metrics),
            in_force: None,
            reach: Reach::default(),
            namespaces: fold::namespaces(),
            has_moved: true,
            reached: None,
            kept: BTreeMap::new(),
            sources: BTreeMap::new(),
            announced: Announced::default(),
            releases: Releases::default(),
            has_news: true,
            told: None,
            shown: None,
        }
    }

    fn metrics(&self) -> &Arc<Metrics> {
        &self.tell.metrics
    }

    /// This process leads from now on, or does not any more.
    pub(super) fn leads(&mut self, leads: bool) {
        for kept in self.kept.values_mut() {
            kept.share();
        }
        if leads {
            self.tell.anew();
            self.releases.ask_anew();
            self.remember();
            // What was found while another led, nobody has told.
            let names: Vec<SecretName> = self.kept.keys().cloned().collect();
            for name in names {
                self.convert(&name);
            }
            self.mark_dirty();
        } else {
            self.metrics().credentials_are_anothers();
        }
    }

    /// A new table is in force.
    pub(super) fn declare(&mut self, in_force: Option<InForce>) {
        let Some(now) = in_force else { return };
        self.reach = Reach::of(&now.table);
        self.has_moved = true;
        let mut gone: BTreeSet<SecretName> = self.kept.keys().cloned().collect();
        for credential in now.table.credentials() {
            let name = &credential.name.value;
            gone.remove(name);
            let row = Row::of(&now.table, credential);
            let kept = self.kept.entry(name.clone());
            let kept = kept.or_insert_with(|| Kept::new(None, Chance::of(random())));
            let before = kept.row.as_ref().and_then(Row::copied_from);
            if before != row.copied_from() {
                // What was read of another Secret says nothing of this one.
                self.sources.remove(name);
            }
            kept.declare(row);
            self.convert(name);
        }
        for name in gone {
            // One whose Secrets stay is forgotten where it is settled.
            if let Some(kept) = self.kept.get_mut(&name) {
                kept.retire();
            }
        }
        self.in_force = Some(now);
        self.mark_dirty();
    }

    /// A watch brought something.
    pub(super) fn take(&mut self, change: Change, now: SystemTime) {
        match change {
            Change::Namespaces(Ok(event)) => {
                self.forget_waits(&event);
                if self.namespaces.take(event) {
                    self.has_moved = true;
                }
                if self.namespaces.is_synced() {
                    let known = self.namespaces.live().len();
                    self.metrics().cached(Resource::Namespaces, known);
                }
            }
            Change::Status(Ok(event)) => {
                self.has_news = true;
                if self.announced.take(event) {
                    self.remember();
                }
                if self.announced.is_synced {
                    self.metrics()
                        .cached(Resource::Status, self.announced.len());
                }
            }
            Change::Pods(Ok(event)) => {
                self.releases.take(event, now);
                if self.releases.is_synced() {
                    let (held, _) = self.releases.held();
                    self.metrics().cached(Resource::Pods, held);
                }
            }
            Change::Copies(name, Ok(event)) => {
                let remembered = self.remembered(&name).cloned();
                if let Some(kept) = self.kept.get_mut(&name) {
                    self.has_news |= kept.take(event, remembered.as_ref());
                }
            }
            Change::Source(name, Ok(event)) => {
                let is_whole = !matches!(event, Event::Init | Event::InitApply(_));
                let slot = self.sources.entry(name.clone()).or_insert_with(Slot::new);
                slot.take(event);
                if is_whole {
                    self.convert(&name);
                }
            }
            Change::Namespaces(Err(error)) => {
                self.failed("the Namespaces", Resource::Namespaces, &error);
            }
            Change::Status(Err(error)) => {
                self.failed("the status ConfigMaps", Resource::Status, &error);
            }
            Change::Pods(Err(error)) => self.failed("the Pods", Resource::Pods, &error),
            Change::Copies(name, Err(error)) => {
                let what = format!("the Secrets `{name}`");
                self.failed(&what, Resource::Secrets, &error);
                if is_denied(&error) {
                    self.denied(&name);
                }
            }
            Change::Source(name, Err(error)) => {
                let what = format!("the Secret that `{name}` is copied from");
                self.failed(&what, Resource::Secrets, &error);
                if is_denied(&error) {
                    self.source_denied(&name);
                }
            }
        }
    }

    fn failed(&self, what: &str, resource: Resource, error: &kube::runtime::watcher::Error) {
        let _ = tell_failure(what, resource, error, self.metrics());
    }

    /// The Secrets of a name may not be read.
    fn denied(&mut self, name: &SecretName) {
        let Some(kept) = self.kept.get_mut(name) else {
            return;
        };
        // An API server that has just started refuses what it has no roles for yet. A watch goes on then as if
        // nothing had been, and what was listed before is still known.
        if kept.listed == Listed::No {
            kept.listed = Listed::Denied;
            kept.is_dirty = true;
        }
        if let Some(row) = &kept.row {
            let why = "its Secrets may not be read: grant the rights that `pullpass render rbac` prints for the \
                       policies in force (the chart: `policies` or `controller.credentialNames`)";
            self.tell.not_refreshed(name, row, why);
        }
    }

    /// The Secret that a credential is copied from may not be read.
    fn source_denied(&mut self, name: &SecretName) {
        let row = self.kept.get(name).and_then(|kept| kept.row.as_ref());
        let Some((row, from)) = row.and_then(|row| Some((row, row.copied_from()?))) else {
            return;
        };
        let why = format!(
            "the Secret `{from}`, which it is copied from, may not be read: grant the rights that `pullpass render \
             rbac` prints for the policies in force (the chart: `policies` or `controller.sourceSecretNames`)"
        );
        self.tell.not_refreshed(name, row, &why);
    }

    /// A namespace that comes after another of its name has nothing to do with what was in the way there.
    fn forget_waits(&mut self, event: &Event<Namespace>) {
        for kept in self.kept.values_mut() {
            match event {
                Event::Delete(gone) => {
                    let name = gone.meta().name.as_deref();
                    kept.waits.forget(name.unwrap_or_default());
                    kept.is_dirty = true;
                }
                Event::InitDone => {
                    kept.waits.doubt();
                    kept.is_dirty = true;
                }
                _ => {}
            }
        }
    }

    fn remembered(&self, name: &SecretName) -> Option<&Remembered> {
        self.announced.memory()?.values.get(name)
    }

    /// What other controllers wrote: names of which no policy knows any more, and values.
    fn remember(&mut self) {
        let Some(memory) = self.announced.memory() else {
            return;
        };
        for name in &memory.names {
            let kept = self.kept.entry(name.clone());
            kept.or_insert_with(|| Kept::new(None, Chance::of(random())));
        }
        for (name, remembered) in &memory.values {
            if let Some(kept) = self.kept.get_mut(name) {
                kept.recall(remembered);
            }
        }
    }

    /// The value of a credential that is copied from a Secret.
    fn convert(&mut self, name: &SecretName) {
        let Some(kept) = self.kept.get_mut(name) else {
            return;
        };
        let Some(row) = kept.row.clone() else { return };
        let (Some(from), Some(slot)) = (row.copied_from(), self.sources.get(name)) else {
            return;
        };
        let source = match &slot.object {
            Known::Unlisted => return,
            Known::Absent => {
                kept.lacks(SystemTime::now());
                return self.tell.no_source(name, &row, from);
            }
            // The watch of the Secret that it was copied from before.
            Known::Present(source) if source.metadata.name.as_deref() != Some(from.as_str()) => {
                return;
            }
            Known::Present(source) => source,
        };
        match read_source(source, &row.credential.registries) {
            Ok(read) => {
                for dropped in &read.dropped {
                    tracing::warn!(credential = %name, source = %from, %dropped, "an entry is left out");
                }
                let lifetime = Lifetime {
                    issued: SystemTime::now(),
                    expires: None,
                };
                let material = Material::of(&read.config, lifetime, row.source);
                self.set(name, material);
            }
            Err(error) => {
                kept.lacks(SystemTime::now());
                self.tell.malformed(name, from, &error.to_string());
            }
        }
    }

    /// A value was got.
    fn set(&mut self, name: &SecretName, material: Material) {
        let Some(kept) = self.kept.get_mut(name) else {
            return;
        };
        kept.lacking = None;
        let Some(row) = &kept.row else { return };
        let before = kept.material.as_ref().map(|before| before.digest);
        if before == Some(material.digest) && row.copied_from().is_some() {
            return self.tell.mended(name);
        }
        self.tell.refreshed(name, row, material.lifetime.expires);
        kept.set_material(material, Chance::of(random()));
    }

    /// All is planned anew, and told if there is news.
    fn mark_dirty(&mut self) {
        self.has_news = true;
        for kept in self.kept.values_mut() {
            kept.is_dirty = true;
        }
    }

    /// Watches what is to be watched, and forgets what is done with; when to look again.
    pub(super) fn settle(&mut self, watches: &mut Watches) -> Option<Instant> {
        // What is remembered says whose values to take over, so it comes first.
        if self.in_force.is_none() || !self.announced.is_synced || !self.namespaces.is_synced() {
            return None;
        }
        let wake = self.move_reach();
        let memory = self.announced.memory();
        let mut done = Vec::new();
        for (name, kept) in &mut self.kept {
            // Its name is remembered until nothing is left of it, and it is looked after until that is written.
            let is_remembered = memory.is_some_and(|memory| memory.names.contains(name));
            if kept.is_over() && !is_remembered {
                done.push(name.clone());
                continue;
            }
            watches.watch_copies(name);
            let source = kept.row.as_ref().and_then(Row::copied_from);
            watches.watch_source(name, source);
        }
        self.has_news |= !done.is_empty();
        for name in done {
            watches.forget(&name);
            self.kept.remove(&name);
            self.sources.remove(&name);
        }
        wake
    }

    /// Looks where credentials go, if that may have changed; when to look again.
    fn move_reach(&mut self) -> Option<Instant> {
        if !self.has_moved {
            return None;
        }
        let now = Instant::now();
        if let Some(next) = self.reached.map(|reached| reached + PAUSE)
            && next > now
        {
            return Some(next);
        }
        self.has_moved = false;
        self.reached = Some(now);
        let live = self.namespaces.live();
        let mut reached = self.reach.namespaces(live, &self.scope);
        for (name, kept) in &mut self.kept {
            let reach = reached.remove(name).unwrap_or_default();
            if kept.row.is_some() && kept.reach != reach {
                kept.reach = reach;
                kept.is_dirty = true;
            }
            kept.waits.retain(|namespace| !live.lacks(namespace));
        }
        None
    }

    /// Plans what has changed; when to plan again.
    pub(super) fn plan(&mut self, now: SystemTime) -> Option<Instant> {
        let at = Instant::now();
        let may_remove = self.is_sure();
        let mut wake: Option<Instant> = None;
        let mut sooner = |at: Instant| wake = Some(wake.map_or(at, |other| other.min(at)));
        for (name, kept) in &mut self.kept {
            kept.is_dirty |= kept.waits.bound(now);
            let is_due = kept.last.wake.is_some_and(|wake| wake <= now)
                || kept.leave_at.is_some_and(|end| end <= at);
            let expires = kept.material.as_ref().and_then(|m| m.lifetime.expires);
            let is_over = expires.is_some_and(|at| at <= now) && kept.last.counts.fresh > 0;
            if kept.is_dirty || is_due || is_over {
                match kept.planned.map(|planned| planned + PAUSE) {
                    Some(next) if next > at => sooner(next),
                    _ => {
                        kept.plan(may_remove, at, now);
                        self.tell.foreign(name, kept);
                    }
                }
            }
            kept.leave_at.into_iter().for_each(&mut sooner);
            if let Some(left) = kept.last.wake.and_then(|at| at.duration_since(now).ok()) {
                sooner(at + left);
            }
            if kept.is_orphaned() {
                self.tell.orphaned(name);
            }
        }
        wake
    }

    /// Whether the policies say all that they were meant to. A document with an error hides its rows, and
    /// its rules with them: nothing is removed for that. Those of tenants have no say in it.
    fn is_sure(&self) -> bool {
        let own = self.tell.namespace();
        self.in_force.as_ref().is_some_and(|in_force| {
            let reports = in_force.reports.iter();
            let mut ours = reports.filter(|report| *report.name.namespace == *own);
            ours.all(|report| report.verdict == config_maps::Verdict::Loaded)
        })
    }

    /// Asks the sources whose time has come; when the next one's comes.
    pub(super) fn ask(&mut self, work: &mut Work, now: SystemTime) -> Option<Instant> {
        let at = Instant::now();
        let mut wake: Option<Instant> = None;
        for kept in self.kept.values_mut() {
            // Until all copies are known, one of them may hold what a controller before us fetched. What
            // may not be written is not fetched.
            if kept.listed != Listed::Whole {
                continue;
            }
            let Some(ask_at) = kept.ask_at(now) else {
                continue;
            };
            if let Ok(left) = ask_at.duration_since(now)
                && !left.is_zero()
            {
                let next = at + left;
                wake = Some(wake.map_or(next, |other| other.min(next)));
                continue;
            }
            let Some(row) = &kept.row else { continue };
            let failures = match kept.asking {
                Asking::Idle { failures, .. } | Asking::Asked { failures } => failures,
            };
            kept.asking = Asking::Asked { failures };
            let kind = kind(&row.credential.from);
            work.ask(&row.credential, row.source, kind, &self.tell.metrics);
        }
        wake
    }

    /// Begins the writes that are planned, as many as may be under way: those of each credential in
    /// turn, so that none waits behind thousands of another.
    pub(super) fn write(&mut self, work: &mut Work) {
        let memory = self.announced.memory();
        let mut is_idle = false;
        while work.has_room() && !is_idle {
            is_idle = true;
            for (name, kept) in &mut self.kept {
                if !work.has_room() {
                    return;
                }
                if !kept.is_written_down(name, memory) {
                    continue;
                }
                let Some(step) = kept.queue.pop_front() else {
                    continue;
                };
                is_idle = false;
                let namespace = Arc::clone(&step.namespace);
                if let Action::Remove { .. } = step.action {
                    kept.waits.begin(&namespace);
                    work.remove(name, step);
                } else if let Some((json, marks)) = kept.to_write() {
                    kept.waits.begin(&namespace);
                    work.write(name, step, json, &marks);
                }
            }
        }
    }

    /// Lets go the Pods whose time has come; when the next one's comes. Asks for the right first.
    pub(super) fn release(&mut self, work: &mut Work) -> Option<Instant> {
        let matters = self.kept.values().any(holds);
        let ask_at = self.releases.ask(matters, work);
        if self.in_force.is_none() || !self.namespaces.is_synced() {
            return ask_at;
        }
        let (kept, namespaces) = (&self.kept, self.namespaces.live());
        let standing = |namespace: &str, name: &SecretName| {
            let kept = kept.get(name);
            kept.map_or(Standing::NotAwaited, |kept| {
                kept.standing(namespace, !namespaces.lacks(namespace))
            })
        };
        let next = self.releases.begin(standing, work);
        ask_at.into_iter().chain(next).min()
    }

    /// Metrics of what is kept; when to set them again.
    pub(super) fn show(&mut self, now: SystemTime) -> Option<Instant> {
        let at = Instant::now();
        if let Some(next) = self.shown.map(|shown| shown + PAUSE)
            && next > at
        {
            return Some(next);
        }
        self.shown = Some(at);
        let known = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.listed != Listed::No);
        let all = known.map(|(name, kept)| (name.as_str(), kept.state(now)));
        self.metrics().credentials_fare(&all.collect());
        let copies = self.kept.values().map(|kept| kept.copies.len()).sum();
        self.metrics().cached(Resource::Secrets, copies);
        let (held, oldest) = self.releases.held();
        self.metrics().pods_held(held, oldest);
        None
    }

    /// Whether all is known that decisions are made of.
    pub(super) fn health(&self) -> health::State {
        let missing = if self.in_force.is_none() {
            Some("the policies")
        } else if !self.namespaces.is_synced() {
            Some("the Namespaces")
        } else if !self.announced.is_synced {
            Some("the status ConfigMaps")
        } else if !self.releases.is_synced() {
            Some("the Pods")
        } else {
            None
        };
        if let Some(what) = missing {
            let mend = "wait a moment; if it lasts, look for `cannot watch` in the log";
            return health::State::waiting(format!("{what} are not read yet"), mend);
        }
        let unread = self.kept.iter().find(|(_, kept)| kept.listed == Listed::No);
        match unread {
            Some((name, _)) => health::State::waiting(
                format!("the Secrets `{name}` are not read yet"),
                "wait a moment; if it lasts, look for `cannot watch` in the log",
            ),
            None => health::State::ready(format!("{} are kept", self.kept.len())),
        }
    }
}

/// Whether Pods wait for it.
fn holds(kept: &Kept) -> bool {
    let row = kept.row.as_ref();
    row.is_some_and(|row| row.credential.hold_pods)
}

/// The kind of source, as metrics call it.
fn kind(source: &CredentialSource) -> &'static str {
    match source {
        CredentialSource::SecretRef { .. } => "secret_ref",
        CredentialSource::Ecr { .. } => "ecr",
        CredentialSource::Gcp => "gcp",
        CredentialSource::Acr { .. } => "acr",
        CredentialSource::Exec { .. } => "exec",
        CredentialSource::Existing => "existing",
    }
}
