//! Policy ConfigMaps, watched → the table in force, and what became of each of them.
//!
//! Compiled beside the watch, which goes on meanwhile. What is wrong is logged and counted once; what
//! was good before stays.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::StreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::objects::ConfigMap;
use super::watch::{self as watching, Watched};
use crate::diagnostic::{Diagnostic, Severity};
use crate::metrics::{Metrics, PolicyReload, Resource};
use crate::policy::config_maps::{Compiled, ConfigMapName, ConfigMaps, Content, Report, Verdict};
use crate::policy::parse::POLICY_LABEL;
use crate::policy::table::Table;
use crate::server::health::Check;

/// Events that are taken in one go, and make one table together.
const CHUNK: usize = 512;

/// Reads the policies of a cluster for ever.
pub struct PolicyFeed {
    api: Api<ConfigMap>,
    own_namespace: Arc<str>,
    watched: Watched,
    metrics: Arc<Metrics>,
    in_force: watch::Sender<Option<InForce>>,
}

/// The policies of a cluster at one moment.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The table they make.
    pub table: Arc<Table>,
    /// What became of each ConfigMap, in table order.
    pub reports: Arc<[Report]>,
}

impl PolicyFeed {
    /// A feed, the condition of readiness that it fulfils, and where the tables come out. With
    /// `tenants`, ConfigMaps of all namespaces are read.
    #[must_use]
    pub fn new(
        client: Client,
        own_namespace: &Arc<str>,
        tenants: bool,
        metrics: Arc<Metrics>,
    ) -> (Self, Check, watch::Receiver<Option<InForce>>) {
        let (api, what) = if tenants {
            let what = "the policy ConfigMaps of all namespaces".to_owned();
            (Api::all(client), what)
        } else {
            let what = format!("the policy ConfigMaps in `{own_namespace}`");
            (Api::namespaced(client, own_namespace), what)
        };
        let (watched, check) =
            Watched::new("policies", what, Resource::Policies, Arc::clone(&metrics));
        let (in_force, seen) = watch::channel(None);
        let feed = Self {
            api,
            own_namespace: Arc::clone(own_namespace),
            watched,
            metrics,
            in_force,
        };
        (feed, check, seen)
    }

    /// Reads and compiles, for ever. It ends only with the runtime.
    pub async fn run(self) {
        let Self {
            api,
            own_namespace,
            mut watched,
            metrics,
            in_force,
        } = self;
        let labelled = watcher::Config::default().labels(&format!("{POLICY_LABEL}=true"));
        let mut events = pin!(watching::watch(api, labelled).ready_chunks(CHUNK));
        let mut policies = Policies::new(own_namespace);
        let mut compiling: Option<JoinHandle<(ConfigMaps, Option<Compiled>)>> = None;
        loop {
            if compiling.is_none() {
                compiling = policies.compile();
            }
            // Both arms are cancel-safe: a stream keeps what it has not given, a task its result.
            tokio::select! {
                Some(events) = events.next() => {
                    for event in events {
                        match event {
                            Ok(event) => policies.take(event),
                            Err(error) => watched.failed(&error),
                        }
                    }
                }
                compiled = finished(&mut compiling) => {
                    compiling = None;
                    let Some((maps, compiled)) = compiled else {
                        return;
                    };
                    let held = maps.len();
                    policies.maps = Some(maps);
                    let Some(compiled) = compiled else {
                        metrics.policy_reload_failed();
                        tracing::error!("reading the policies panicked; the table in force stays");
                        continue;
                    };
                    watched.synced(held, policies.compiled(compiled, &metrics));
                    in_force.send_replace(policies.in_force.clone());
                }
            }
        }
    }
}

/// The result of a task, when there is one.
async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Option<T> {
    match task {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}

/// A change, as it came.
enum Edit {
    Set(ConfigMapName, Content),
    Remove(ConfigMapName),
    Replace(BTreeMap<ConfigMapName, Content>),
}

/// The ConfigMaps, while nobody compiles them, and what has come since.
struct Policies {
    maps: Option<ConfigMaps>,
    listing: Option<BTreeMap<ConfigMapName, Content>>,
    edits: Vec<Edit>,
    in_force: Option<InForce>,
    warnings: Vec<Diagnostic>,
}

impl Policies {
    fn new(own_namespace: Arc<str>) -> Self {
        Self {
            maps: Some(ConfigMaps::new(own_namespace)),
            listing: None,
            edits: Vec::new(),
            in_force: None,
            warnings: Vec::new(),
        }
    }

    fn take(&mut self, event: Event<ConfigMap>) {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(map) => {
                if let Some(list) = &mut self.listing {
                    list.insert(map.name(), map.content());
                }
            }
            Event::InitDone => self.edits.extend(self.listing.take().map(Edit::Replace)),
            Event::Apply(map) => self.edits.push(Edit::Set(map.name(), map.content())),
            // By its name alone: what cannot be read leaves as well.
            Event::Delete(map) => self.edits.push(Edit::Remove(map.name())),
        }
    }

    /// Compiles what has come, if that changes anything. The watches go on meanwhile.
    fn compile(&mut self) -> Option<JoinHandle<(ConfigMaps, Option<Compiled>)>> {
        if self.edits.is_empty() {
            return None;
        }
        let mut maps = self.maps.take()?;
        // The first list makes a table, even if there is nothing in it.
        let mut changed = self.in_force.is_none();
        for edit in self.edits.drain(..) {
            changed |= match edit {
                Edit::Set(name, content) => maps.set(name, content),
                Edit::Remove(name) => maps.remove(&name),
                Edit::Replace(all) => maps.replace(all),
            };
        }
        if !changed {
            self.maps = Some(maps);
            return None;
        }
        Some(tokio::task::spawn_blocking(move || {
            // A panic must not take the last good versions with it.
            let compiled = catch_unwind(AssertUnwindSafe(|| maps.compile())).ok();
            (maps, compiled)
        }))
    }

    /// Takes a table into force, counts and logs it. What it says of itself.
    fn compiled(&mut self, compiled: Compiled, metrics: &Metrics) -> String {
        let rejected = compiled.rejected();
        let table = Arc::new(compiled.table);
        let policies = table.policies().len();
        metrics.policy_reloaded(PolicyReload {
            digest: table.digest(),
            loaded: policies,
            rejected,
            rules: table.rules(),
            at: SystemTime::now(),
        });
        let before = self.in_force.as_ref().map(|before| &*before.reports);
        for report in &compiled.reports {
            if !before.unwrap_or_default().contains(report) {
                log(report);
            }
        }
        let known = |warning: &&Diagnostic| !self.warnings.contains(warning);
        for warning in compiled.warnings.iter().filter(known) {
            tracing::warn!(%warning, "policy");
        }
        tracing::info!(
            policies,
            rules = table.rules(),
            digest = table.digest(),
            rejected,
            "policies loaded"
        );
        let said = format!(
            "{policies} policies, {} rules, digest {}",
            table.rules(),
            table.digest()
        );
        self.warnings = compiled.warnings;
        self.in_force = Some(InForce {
            table,
            reports: compiled.reports.into(),
        });
        said
    }
}

/// What was found in a ConfigMap, and what that means.
fn log(report: &Report) {
    for diagnostic in &report.diagnostics {
        match diagnostic.severity() {
            Severity::Error => tracing::error!(error = %diagnostic, "policy"),
            Severity::Warning => tracing::warn!(warning = %diagnostic, "policy"),
        }
    }
    let config_map = tracing::field::display(&report.name);
    match report.verdict {
        Verdict::Loaded => tracing::debug!(config_map, "taken"),
        Verdict::KeptLastGood => {
            tracing::error!(
                config_map,
                "it has errors: what it said before stays in force"
            );
        }
        Verdict::Rejected => {
            tracing::error!(
                config_map,
                "it has errors: only its documents without one are in force"
            );
        }
    }
}
