//! Watches of policies, namespaces and accounts, joined into snapshots that are published whole.
//!
//! Changes that come together are published together, the first of them at once. Policies are
//! compiled beside the watches; what is wrong with them is told once.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::fold::{self, Fold};
use super::objects::{ConfigMap, ServiceAccount};
use super::published::Published;
use super::watch::{self as watching, Watched};
use crate::diagnostic::Severity;
use crate::metrics::{Metrics, PolicyReload, Resource};
use crate::policy::config_maps::{Compiled, ConfigMapName, ConfigMaps, Content, Report, Verdict};
use crate::policy::parse::POLICY_LABEL;
use crate::policy::table::Table;
use crate::server::health::Check;
use crate::snapshot::{Accounts, Namespaces, ScopeOptions, Snapshot};

/// Events of a watch that are taken in one go.
const CHUNK: usize = 512;
/// The time between two snapshots. The first change behind a quiet time is published at once, and a
/// storm of changes costs fifty snapshots a second at most.
const PAUSE: Duration = Duration::from_millis(20);

/// What is watched, and what the snapshots say beside it.
#[derive(Clone, Debug)]
pub struct FeedOptions {
    /// Which namespaces and Pods are left alone; its own namespace is where cluster-wide policies are.
    pub scope: ScopeOptions,
    /// Whether ConfigMaps of other namespaces are tenants' policies.
    pub tenant_policies: bool,
}

/// Reads a cluster for ever and publishes what decisions need.
pub struct Feed {
    client: Client,
    options: FeedOptions,
    metrics: Arc<Metrics>,
    published: Arc<Published>,
    reports: watch::Sender<Arc<[Report]>>,
    watched: [Watched; 3],
}

/// A change of the policies, as it came.
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
    table: Option<Arc<Table>>,
    reports: Arc<[Report]>,
}

impl Feed {
    /// A feed, and the conditions of readiness that it fulfils.
    #[must_use]
    pub fn new(client: Client, options: FeedOptions, metrics: Arc<Metrics>) -> (Self, [Check; 3]) {
        let of =
            |name, what: String, resource| Watched::new(name, what, resource, Arc::clone(&metrics));
        let policies = if options.tenant_policies {
            "the policy ConfigMaps of all namespaces".to_owned()
        } else {
            let own = &options.scope.own_namespace;
            format!("the policy ConfigMaps in `{own}`")
        };
        let (policies, a) = of("policies", policies, Resource::Policies);
        let (namespaces, b) = of(
            "namespaces",
            "the Namespaces".to_owned(),
            Resource::Namespaces,
        );
        let (accounts, c) = of(
            "serviceaccounts",
            "the ServiceAccounts".to_owned(),
            Resource::ServiceAccounts,
        );
        let empty = Snapshot {
            table: Arc::new(Table::new(Vec::new())),
            namespaces: Arc::clone(fold::namespaces().live()),
            accounts: Arc::clone(fold::accounts().live()),
            scope: options.scope.clone(),
        };
        let feed = Self {
            client,
            options,
            metrics,
            published: Arc::new(Published::new(empty)),
            reports: watch::Sender::new(Arc::new([])),
            watched: [policies, namespaces, accounts],
        };
        (feed, [a, b, c])
    }

    /// Where snapshots are published. The first is there once all three checks are ready.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// What becomes of each policy ConfigMap, in table order.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Arc<[Report]>> {
        self.reports.subscribe()
    }

    /// Reads and publishes, for ever.
    pub async fn run(self) {
        let Self {
            client,
            options,
            metrics,
            published,
            reports,
            watched:
                [
                    mut policies_watched,
                    mut namespaces_watched,
                    mut accounts_watched,
                ],
        } = self;
        let own = &*options.scope.own_namespace;
        let config_maps: Api<ConfigMap> = if options.tenant_policies {
            Api::all(client.clone())
        } else {
            Api::namespaced(client.clone(), own)
        };
        let labelled = watcher::Config::default().labels(&format!("{POLICY_LABEL}=true"));
        let mut config_maps = pin!(watching::watch(config_maps, labelled).ready_chunks(CHUNK));
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
        let all = watcher::Config::default;
        let mut namespaces = pin!(watching::watch(namespaces, all()).ready_chunks(CHUNK));
        let accounts: Api<ServiceAccount> = Api::all(client);
        let mut accounts = pin!(watching::watch(accounts, all()).ready_chunks(CHUNK));

        let mut names = fold::namespaces();
        let mut known = fold::accounts();
        let mut policies = Policies::new(Arc::clone(&options.scope.own_namespace));
        let mut compiling: Option<JoinHandle<(ConfigMaps, Option<Compiled>)>> = None;
        let mut is_new = false;
        let mut next = Instant::now();
        loop {
            if compiling.is_none() {
                compiling = policies.compile();
            }
            let whole = policies
                .table
                .as_ref()
                .filter(|_| names.is_synced() && known.is_synced());
            if let Some(table) = whole.filter(|_| is_new && next <= Instant::now()) {
                published.publish(Snapshot {
                    table: Arc::clone(table),
                    namespaces: Arc::clone(names.live()),
                    accounts: Arc::clone(known.live()),
                    scope: options.scope.clone(),
                });
                is_new = false;
                next = Instant::now() + PAUSE;
            }
            let may_publish = is_new && whole.is_some();
            // Every arm is cancel-safe: a stream keeps what it has not given, a task its result.
            tokio::select! {
                Some(events) = config_maps.next() => {
                    for event in events {
                        match event {
                            Ok(event) => policies.take(event),
                            Err(error) => policies_watched.failed(&error),
                        }
                    }
                }
                Some(events) = namespaces.next() => {
                    for event in events {
                        match event {
                            Ok(event) => is_new |= names.take(event),
                            Err(error) => namespaces_watched.failed(&error),
                        }
                    }
                    tell_namespaces(&names, &mut namespaces_watched);
                }
                Some(events) = accounts.next() => {
                    for event in events {
                        match event {
                            Ok(event) => is_new |= known.take(event),
                            Err(error) => accounts_watched.failed(&error),
                        }
                    }
                    tell_accounts(&known, &mut accounts_watched);
                }
                compiled = finished(&mut compiling) => {
                    compiling = None;
                    let Some((maps, compiled)) = compiled else {
                        // The runtime is going down.
                        return;
                    };
                    let held = maps.len();
                    policies.maps = Some(maps);
                    match compiled {
                        Some(compiled) => {
                            let table = policies.compiled(compiled, &metrics);
                            policies_watched.synced(held, table);
                            reports.send_replace(Arc::clone(&policies.reports));
                            is_new = true;
                        }
                        None => {
                            metrics.policy_reload_failed();
                            tracing::error!("reading the policies panicked; the table in force stays");
                        }
                    }
                }
                () = sleep_until(next), if may_publish => {}
            }
        }
    }
}

fn tell_namespaces(fold: &Fold<Namespaces>, watched: &mut Watched) {
    if fold.is_synced() {
        let n = fold.live().len();
        watched.synced(n, format!("{n} are known"));
    }
}

fn tell_accounts(fold: &Fold<Accounts>, watched: &mut Watched) {
    if fold.is_synced() {
        let n = fold.live().len();
        watched.synced(n, format!("{n} are known"));
    }
}

/// The result of a task, when there is one.
async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Option<T> {
    match task {
        Some(task) => task.await.ok(),
        None => std::future::pending().await,
    }
}

impl Policies {
    fn new(own_namespace: Arc<str>) -> Self {
        Self {
            maps: Some(ConfigMaps::new(own_namespace)),
            listing: None,
            edits: Vec::new(),
            table: None,
            reports: Arc::new([]),
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
        let mut changed = self.table.is_none();
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
        for report in &compiled.reports {
            if !self.reports.contains(report) {
                log(report);
            }
        }
        for warning in &compiled.warnings {
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
        self.reports = compiled.reports.into();
        self.table = Some(table);
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
