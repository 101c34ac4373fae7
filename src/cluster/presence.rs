//! What a controller says of its Secrets, and whether it is there: for which Secrets Pods are held.
//!
//! Two watches in pullpass's own namespace: the status ConfigMaps and the controllers' Lease. A webhook
//! is as good without them, it only holds nobody, so readiness does not wait for them. A renewal of the
//! Lease is no news; that it stopped being renewed is, and comes by a timer.

use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::fold::{self, Fold};
use super::lease::{Attendance, Read};
use super::objects::ConfigMap;
use super::watch::{self as watching, Watched};
use crate::install::CONTROLLER;
use crate::metrics::{Metrics, Resource};
use crate::status::{Presence, STATUS_LABEL};

/// Events of a watch that are taken in one go.
const CHUNK: usize = 64;

/// Reads what a controller says, for ever.
pub(super) struct PresenceFeed {
    status: Api<ConfigMap>,
    lease: Api<Lease>,
    status_watched: Watched,
    lease_watched: Watched,
    told: watch::Sender<Presence>,
}

impl PresenceFeed {
    /// A feed, and where its news come out.
    pub(super) fn new(
        client: Client,
        own_namespace: &str,
        metrics: &Arc<Metrics>,
    ) -> (Self, watch::Receiver<Presence>) {
        let of = |name, what: String, resource| {
            // Older rights do not grant these reads: the checks of readiness are left out.
            let (watched, _) = Watched::new(name, what, resource, Arc::clone(metrics));
            watched
        };
        let what = format!("the status ConfigMaps in `{own_namespace}`");
        let status_watched = of("status", what, Resource::Status);
        let what = format!("the Lease `{CONTROLLER}`");
        let lease_watched = of("lease", what, Resource::Leases);
        let (told, news) = watch::channel(Presence::default());
        let feed = Self {
            status: Api::namespaced(client.clone(), own_namespace),
            lease: Api::namespaced(client, own_namespace),
            status_watched,
            lease_watched,
            told,
        };
        (feed, news)
    }

    /// Reads and tells, for ever. It ends only with the runtime.
    pub(super) async fn run(self) {
        let Self {
            status,
            lease,
            mut status_watched,
            mut lease_watched,
            told,
        } = self;
        let labelled = Config::default().labels(&format!("{STATUS_LABEL}=true"));
        let mut statuses = pin!(watching::watch(status, labelled).ready_chunks(CHUNK));
        let named = Config::default().fields(&format!("metadata.name={CONTROLLER}"));
        let mut leases = pin!(watching::watch(lease, named));
        let mut seen = Seen::new();
        loop {
            // Every arm is cancel-safe: streams keep what they have not given.
            tokio::select! {
                Some(events) = statuses.next() => {
                    for event in events {
                        match event {
                            Ok(event) => seen.status(event),
                            Err(error) => status_watched.failed(&error),
                        }
                    }
                    if seen.statuses.is_synced() {
                        let n = seen.statuses.live().known();
                        status_watched.synced(n, format!("{n} are known"));
                    }
                }
                Some(event) = leases.next() => match event {
                    Ok(event) => {
                        seen.lease(event, Instant::now(), SystemTime::now());
                        if let Some(is_there) = seen.lease_is_there {
                            lease_watched.synced(usize::from(is_there), "read");
                        }
                    }
                    Err(error) => lease_watched.failed(&error),
                },
                () = at(seen.attendance.until(), seen.is_attended) => {}
            }
            if let Some(news) = seen.news(Instant::now()) {
                told.send_replace(news);
            }
        }
    }
}

/// The moment when nobody is there any more; never, where nobody is.
async fn at(until: Option<Instant>, is_attended: bool) {
    match until {
        Some(until) if is_attended => sleep_until(until).await,
        _ => std::future::pending().await,
    }
}

/// What both watches have brought.
struct Seen {
    statuses: Fold<Presence>,
    /// The Lease of a list that is not whole yet.
    listed: Option<Lease>,
    /// Nothing: it was not listed yet.
    lease_is_there: Option<bool>,
    attendance: Attendance,
    /// What was told last.
    is_attended: bool,
    is_new: bool,
}

impl Seen {
    fn new() -> Self {
        Self {
            statuses: fold::presence(),
            listed: None,
            lease_is_there: None,
            attendance: Attendance::default(),
            is_attended: false,
            is_new: false,
        }
    }

    fn status(&mut self, event: Event<ConfigMap>) {
        self.is_new |= self.statuses.take(event);
    }

    fn lease(&mut self, event: Event<Lease>, now: Instant, wall: SystemTime) {
        let lease = match event {
            Event::Init => {
                self.listed = None;
                return;
            }
            Event::InitApply(lease) => {
                self.listed = Some(lease);
                return;
            }
            Event::InitDone => self.listed.take(),
            Event::Apply(lease) => Some(lease),
            Event::Delete(_) => None,
        };
        self.lease_is_there = Some(lease.is_some());
        self.attendance.take(Read::of(lease.as_ref()), now, wall);
    }

    /// What holds from now on, if that is anything new.
    fn news(&mut self, now: Instant) -> Option<Presence> {
        let is_attended = self.attendance.is_attended(now);
        if is_attended != self.is_attended {
            if is_attended {
                tracing::info!("a controller is there: Pods that lack a Secret can be held");
            } else {
                tracing::info!("no controller is there that would release Pods: none is held");
            }
            self.is_attended = is_attended;
            self.is_new = true;
        }
        if !std::mem::take(&mut self.is_new) {
            return None;
        }
        let mut presence = Presence::clone(self.statuses.live());
        presence.attended(is_attended);
        Some(presence)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::names::SecretName;
    use serde_json::json;

    fn lease(version: u32, holder: &str) -> Lease {
        let object = json!({
            "metadata": {"name": CONTROLLER, "resourceVersion": version.to_string()},
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": 15,
                "renewTime": "2027-01-15T08:00:00.000000Z",
            },
        });
        serde_json::from_value(object).unwrap()
    }

    /// The status that `web` belongs to, and no Secret stands.
    fn status() -> ConfigMap {
        let text = r#"{"version":1,"ready":{"ecr":[]}}"#;
        let metadata = json!({"name": "pullpass-status-4", "namespace": "own"});
        serde_json::from_value(json!({"metadata": metadata, "data": {"status.json": text}}))
            .unwrap()
    }

    #[test]
    fn what_changes_for_pods_is_news_and_a_renewal_is_not() {
        use Event::{Apply, Delete, Init, InitApply, InitDone};
        enum Comes {
            Lease(Event<Lease>),
            Status(Event<ConfigMap>),
            Nothing,
        }
        use Comes::{Nothing, Status};
        let renewed = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let start = Instant::now();
        let mut seen = Seen::new();
        // At which second; the news, and whether a Pod in `web` waits by them.
        for (second, comes, want, why) in [
            (0, Status(Init), None, "a list begins"),
            (0, Status(InitApply(status())), None, "it is not whole"),
            (0, Status(InitDone), Some(false), "no controller was seen"),
            (0, Comes::Lease(Init), None, "another list"),
            (0, Comes::Lease(InitApply(lease(1, "a"))), None, "not whole"),
            (0, Comes::Lease(InitDone), Some(true), "somebody is there"),
            (5, Comes::Lease(Apply(lease(2, "a"))), None, "a renewal"),
            (9, Status(Apply(status())), None, "the same status"),
            (10, Comes::Lease(Apply(lease(3, "a"))), None, "a renewal"),
            (24, Nothing, None, "it lasts for 15 s"),
            (25, Nothing, Some(false), "and no longer"),
            (26, Nothing, None, "which is told once"),
            (27, Status(Apply(status())), None, "the same status"),
            (
                28,
                Comes::Lease(Apply(lease(4, "b"))),
                None,
                "by its time it is older than 15 s, and nobody saw it change",
            ),
            (33, Comes::Lease(Apply(lease(5, "b"))), Some(true), "alive"),
            (34, Comes::Lease(Apply(lease(6, ""))), Some(false), "back"),
            (35, Comes::Lease(Apply(lease(7, "c"))), Some(true), "taken"),
            (36, Status(Delete(status())), Some(false), "nothing known"),
            (37, Status(Apply(status())), Some(true), "known again"),
            (38, Comes::Lease(Init), None, "its watch begins anew"),
            (38, Comes::Lease(InitDone), Some(false), "it is not there"),
        ] {
            let passed = Duration::from_secs(second);
            let now = start + passed;
            match comes {
                Comes::Lease(event) => seen.lease(event, now, renewed + passed),
                Status(event) => seen.status(event),
                Nothing => {}
            }
            let ecr = SecretName::parse("ecr").unwrap();
            let news = seen.news(now);
            let news = news.map(|presence| presence.lacks("web", &ecr));
            assert_eq!(news, want, "{second}: {why}");
        }
    }
}
