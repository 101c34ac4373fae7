//! The table, namespaces and accounts of a cluster, joined into snapshots that are published whole.
//!
//! Changes that come together are published together, the first of them at once.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::fold;
use super::objects::{Namespace, ServiceAccount};
use super::policies::{InForce, PolicyFeed};
use super::presence::PresenceFeed;
use super::published::Published;
use super::watch::{self as watching, Watched};
use crate::metrics::{Metrics, Resource};
use crate::policy::table::Table;
use crate::server::health::Check;
use crate::snapshot::{ScopeOptions, Snapshot};
use crate::status::Presence;

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
    scope: ScopeOptions,
    policies: PolicyFeed,
    in_force: watch::Receiver<Option<InForce>>,
    presence: PresenceFeed,
    present: watch::Receiver<Presence>,
    published: Arc<Published>,
    namespaces: Watched,
    accounts: Watched,
}

impl Feed {
    /// A feed, and the conditions of readiness that it fulfils.
    #[must_use]
    pub fn new(client: Client, options: FeedOptions, metrics: &Arc<Metrics>) -> (Self, [Check; 3]) {
        let FeedOptions {
            scope,
            tenant_policies,
        } = options;
        let (policies, a, in_force) = PolicyFeed::new(
            client.clone(),
            &scope.own_namespace,
            tenant_policies,
            Arc::clone(metrics),
        );
        let (presence, present) = PresenceFeed::new(client.clone(), &scope.own_namespace, metrics);
        let of = |name, what, resource| Watched::new(name, what, resource, Arc::clone(metrics));
        let (namespaces, b) = of("namespaces", "the Namespaces", Resource::Namespaces);
        let (accounts, c) = of(
            "serviceaccounts",
            "the ServiceAccounts",
            Resource::ServiceAccounts,
        );
        let empty = Snapshot {
            table: Arc::new(Table::new(Vec::new())),
            namespaces: Arc::clone(fold::namespaces().live()),
            accounts: Arc::clone(fold::accounts().live()),
            scope: scope.clone(),
            presence: Presence::default(),
        };
        let feed = Self {
            client,
            scope,
            policies,
            in_force,
            presence,
            present,
            published: Arc::new(Published::new(empty)),
            namespaces,
            accounts,
        };
        (feed, [a, b, c])
    }

    /// Where snapshots are published. The first is there once all three checks are ready.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// Reads and publishes, for ever. It ends only with the runtime.
    pub async fn run(self) {
        let Self {
            client,
            scope,
            policies,
            mut in_force,
            presence,
            mut present,
            published,
            namespaces: mut namespaces_watched,
            accounts: mut accounts_watched,
        } = self;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let accounts: Api<ServiceAccount> = Api::all(client);
        let mut policies = pin!(policies.run());
        let mut presence = pin!(presence.run());
        let mut namespaces =
            pin!(watching::watch(namespaces, Config::default()).ready_chunks(CHUNK));
        let mut accounts = pin!(watching::watch(accounts, Config::default()).ready_chunks(CHUNK));

        let mut names = fold::namespaces();
        let mut known = fold::accounts();
        let mut table = None;
        let mut is_new = false;
        let mut next = Instant::now();
        loop {
            let whole = table
                .as_ref()
                .filter(|_| names.is_synced() && known.is_synced());
            let due = whole.filter(|_| is_new && next <= Instant::now());
            if let Some(table) = due {
                published.publish(Snapshot {
                    table: Arc::clone(table),
                    namespaces: Arc::clone(names.live()),
                    accounts: Arc::clone(known.live()),
                    scope: scope.clone(),
                    presence: present.borrow_and_update().clone(),
                });
                is_new = false;
                next = Instant::now() + PAUSE;
            }
            let may_publish = is_new && whole.is_some();
            // Every arm is cancel-safe: streams and channels keep what they have not given.
            tokio::select! {
                () = &mut policies => return,
                () = &mut presence => return,
                changed = in_force.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = in_force.borrow_and_update();
                    table = now.as_ref().map(|now| Arc::clone(&now.table));
                    is_new = true;
                }
                changed = present.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    is_new = true;
                }
                Some(events) = namespaces.next() => {
                    for event in events {
                        match event {
                            Ok(event) => is_new |= names.take(event),
                            Err(error) => namespaces_watched.failed(&error),
                        }
                    }
                    if names.is_synced() {
                        let n = names.live().len();
                        namespaces_watched.synced(n, format!("{n} are known"));
                    }
                }
                Some(events) = accounts.next() => {
                    for event in events {
                        match event {
                            Ok(event) => is_new |= known.take(event),
                            Err(error) => accounts_watched.failed(&error),
                        }
                    }
                    if known.is_synced() {
                        let n = known.live().len();
                        accounts_watched.synced(n, format!("{n} are known"));
                    }
                }
                () = sleep_until(next), if may_publish => {}
            }
        }
    }
}
