//! An API server → what is left, page by page; what is left → removed, each object only as it was seen.
//!
//! Of Secrets it asks for the metadata alone, so that no password comes this way. It decides nothing.

use std::cell::Cell;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, Preconditions, Request};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{CERTIFICATE, Holder, Kind, Left, Seen};
use crate::cluster::ask::{Asked, Asker, Refusal, Unreachable};
use crate::controller::apply::{FIELD_MANAGER, OURS};
use crate::docker_config::Format;
use crate::install::CONTROLLER;

/// Objects a page: as many as kubectl asks for.
const PAGE: u32 = 500;
/// Removals under way at once; an API server has other callers.
const AT_ONCE: usize = 8;
/// Between two looks at a Lease; its holder renews it every five seconds.
const LOOK: Duration = Duration::from_secs(1);
/// Between two words for whoever waits.
const WORDS: Duration = Duration::from_secs(2);

const LEASES: &str = "/apis/coordination.k8s.io/v1/leases";

/// All that was found.
#[derive(Debug)]
pub struct Found {
    /// What is left, in the order in which it is removed.
    pub left: Vec<Left>,
    /// What is known of the controller.
    pub controller: Controller,
    /// What could not be looked at.
    pub unseen: Vec<String>,
}

/// Whether a controller would make again what is removed. Closed: whoever removes has to say what each means to him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Controller {
    /// None is.
    Gone,
    /// This one is: it renews its Lease.
    Running {
        /// pullpass's own namespace.
        namespace: String,
        /// The Pod, and something that no other process has.
        identity: String,
    },
    /// It cannot be told.
    Unknown {
        /// Why.
        why: String,
    },
}

/// What became of something that was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was tried.
    Left,
    /// It is removed; of a Pod, the gate.
    Removed,
    /// It went by itself.
    Gone,
    /// It is still there.
    Failed(String),
}

/// Why it cannot be said what is left.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Nobody to ask.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// There is nothing to look at.
    #[error("there is no namespace `{0}`")]
    NoNamespace(String),
    /// It may not be asked, or there was no answer of use.
    #[error("{what} cannot be listed: {why}")]
    Refused {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
}

impl LookError {
    fn of(what: &str, refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unreachable(why) | Refusal::Unknown(why) => Unreachable(why).into(),
            refusal => Self::Refused {
                what: what.to_owned(),
                why: refusal.words(),
            },
        }
    }
}

/// Who asks and removes, and tells how far it is.
pub struct Work<'a> {
    asker: Asker,
    tell: &'a dyn Fn(&str),
    told: Cell<Instant>,
}

impl<'a> Work<'a> {
    /// `tell` gets a line whenever somebody may wonder what takes so long.
    #[must_use]
    pub fn new(asker: Asker, tell: &'a dyn Fn(&str)) -> Self {
        let told = Cell::new(Instant::now());
        Self { asker, tell, told }
    }

    /// What is left in a namespace, or in all.
    pub async fn look(&self, scope: Option<&str>) -> Result<Found, LookError> {
        if let Some(name) = scope {
            let request = Request::new("/api/v1/namespaces").get(name, &GetParams::default());
            match self.asker.ask(request).await {
                Err(Refusal::Absent) => return Err(LookError::NoNamespace(name.to_owned())),
                // What may not be seen may be there.
                Ok(_) | Err(Refusal::Forbidden(_)) => {}
                Err(refusal) => return Err(LookError::of("namespaces", refusal)),
            }
        }
        let mut seen = Seen::default();
        let mut unseen = Vec::new();
        let mut holders = Vec::new();
        let named = ListParams::default().fields(&format!("metadata.name={CONTROLLER}"));
        // Wherever it is: a controller reaches every namespace.
        let leases = self.pages(LEASES, named, Objects::Whole, |page| {
            holders.extend(seen.leases(page));
        });
        let unknown = match leases.await {
            Ok(()) => None,
            Err(Refusal::Forbidden(_)) => Some("you may not list leases in all namespaces"),
            Err(refusal) => return Err(LookError::of("leases", refusal)),
        };
        let (listed, controller) = tokio::join!(
            self.list(scope, &mut seen, &mut unseen),
            self.controller(&holders)
        );
        listed?;
        let mut left = seen.left();
        left.retain(|left| scope.is_none_or(|scope| left.namespace == scope));
        let controller = match (controller, unknown) {
            (Controller::Gone, Some(why)) => {
                unseen.push(format!("the Lease `{CONTROLLER}`: {why}"));
                Controller::Unknown {
                    why: why.to_owned(),
                }
            }
            (controller, _) => controller,
        };
        Ok(Found {
            left,
            controller,
            unseen,
        })
    }

    async fn list(
        &self,
        scope: Option<&str>,
        seen: &mut Seen,
        unseen: &mut Vec<String>,
    ) -> Result<(), LookError> {
        let at = |resource: &str| match scope {
            Some(namespace) => format!("/api/v1/namespaces/{namespace}/{resource}"),
            None => format!("/api/v1/{resource}"),
        };
        let (secrets, config_maps, pods) = (at("secrets"), at("configmaps"), at("pods"));
        let (label, value) = OURS;
        let ours = ListParams::default().labels(&format!("{label}={value}"));
        for (kind, of) in [
            (Kind::Secret, Format::DockerConfigJson.secret_type()),
            (Kind::Certificate, CERTIFICATE),
        ] {
            let ours = ours.clone().fields(&format!("type={of}"));
            let pages = self.pages(&secrets, ours, Objects::Metadata, |page| {
                seen.secrets(kind, page);
            });
            pages
                .await
                .map_err(|refusal| LookError::of("Secrets", refusal))?;
        }
        let pages = self.pages(&config_maps, ours, Objects::Metadata, |page| {
            seen.config_maps(page);
        });
        match pages.await {
            Ok(()) => {}
            Err(Refusal::Forbidden(_)) => {
                unseen.push("ConfigMaps: you may not list them".to_owned());
            }
            Err(refusal) => return Err(LookError::of("ConfigMaps", refusal)),
        }
        let pages = self.pages(&pods, ListParams::default(), Objects::Whole, |page| {
            seen.pods(page);
            self.tell(|| format!("looked at {} Pods so far", seen.looked_at()));
        });
        pages
            .await
            .map_err(|refusal| LookError::of("Pods", refusal))
    }

    /// A list page by page; none is kept.
    async fn pages(
        &self,
        at: &str,
        mut params: ListParams,
        objects: Objects,
        mut fold: impl FnMut(&[Value]),
    ) -> Result<(), Refusal> {
        params.limit = Some(PAGE);
        loop {
            let request = Request::new(at);
            let request = match objects {
                Objects::Whole => request.list(&params),
                Objects::Metadata => request.list_metadata(&params),
            };
            let page = self.asker.ask(request).await?;
            let items = page.get("items").and_then(Value::as_array);
            fold(items.map(Vec::as_slice).unwrap_or_default());
            let next = page.pointer("/metadata/continue").and_then(Value::as_str);
            match next.filter(|next| !next.is_empty()) {
                Some(next) => params.continue_token = Some(next.to_owned()),
                None => return Ok(()),
            }
        }
    }

    /// Whether one of those who hold a Lease still renews it. The times in it count for nothing: clocks differ.
    async fn controller(&self, holders: &[Holder]) -> Controller {
        for holder in holders {
            let Some(identity) = &holder.identity else {
                continue; // Given back: nobody leads.
            };
            let Holder {
                namespace, seconds, ..
            } = holder;
            (self.tell)(&format!(
                "watching whether `{identity}` in `{namespace}` still renews its Lease: {seconds} s at most"
            ));
            match self.is_renewed(holder).await {
                Ok(false) => {}
                Ok(true) => {
                    return Controller::Running {
                        namespace: namespace.clone(),
                        identity: identity.clone(),
                    };
                }
                Err(refusal) => {
                    return Controller::Unknown {
                        why: format!(
                            "its Lease in `{namespace}` cannot be read: {}",
                            refusal.words()
                        ),
                    };
                }
            }
        }
        Controller::Gone
    }

    async fn is_renewed(&self, holder: &Holder) -> Result<bool, Refusal> {
        let end = Instant::now() + Duration::from_secs(holder.seconds);
        loop {
            sleep(LOOK).await;
            let at = Kind::Lease.collection(&holder.namespace);
            let request = Request::new(at).get(CONTROLLER, &GetParams::default());
            let now = match self.asker.ask(request).await {
                Ok(lease) => Holder::of(&lease),
                Err(Refusal::Absent) => None,
                Err(refusal) => return Err(refusal),
            };
            match now {
                Some(now) if now.identity.is_some() => {
                    if now.version != holder.version {
                        return Ok(true);
                    }
                }
                // Deleted, or given back.
                _ => return Ok(false),
            }
            if Instant::now() >= end {
                return Ok(false);
            }
        }
    }

    /// Removes what is left, kind by kind; the outcomes in the same order.
    pub async fn remove(&self, left: &[Left]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(left.len());
        // Once nobody answers, the rest is not tried.
        let silent = Cell::new(false);
        for kind in left.chunk_by(|a, b| a.kind == b.kind) {
            let removing = kind.iter().map(|left| async {
                if silent.get() {
                    return Outcome::Left;
                }
                match self.asker.ask(removal(left)).await {
                    Ok(_) => Outcome::Removed,
                    Err(Refusal::Absent) => Outcome::Gone,
                    Err(Refusal::Stale(why)) => Outcome::Failed(format!(
                        "it was changed in between, so it was left as it is: {why}"
                    )),
                    Err(refusal) => {
                        let nobody =
                            matches!(refusal, Refusal::Unreachable(_) | Refusal::Unknown(_));
                        silent.set(silent.get() || nobody);
                        Outcome::Failed(refusal.words())
                    }
                }
            });
            let mut removing = stream::iter(removing).buffered(AT_ONCE);
            while let Some(outcome) = removing.next().await {
                outcomes.push(outcome);
                self.tell(|| format!("{} of {} done so far", outcomes.len(), left.len()));
            }
        }
        outcomes
    }

    fn tell(&self, line: impl FnOnce() -> String) {
        if self.told.get().elapsed() >= WORDS {
            self.told.set(Instant::now());
            (self.tell)(&line());
        }
    }
}

/// How much of each object.
#[derive(Clone, Copy)]
enum Objects {
    Whole,
    Metadata,
}

fn removal(left: &Left) -> Result<Asked, kube::core::request::Error> {
    let request = Request::new(left.kind.collection(&left.namespace));
    if left.kind == Kind::Pod {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        return request.patch(&left.name, &params, &Patch::Strategic(left.release()));
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(left.uid.clone()),
            resource_version: Some(left.version.clone()),
        }),
        ..DeleteParams::default()
    };
    request.delete(&left.name, &params)
}
