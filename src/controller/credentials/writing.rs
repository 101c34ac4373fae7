//! What the loop has begun and not heard of: questions to sources, writes, Pods let go.
//!
//! Bounded in number, so that the API server has room for others. It carries out and decides nothing.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tokio::task::JoinSet;

use super::super::apply::{PullSecret, WriteError, Writer};
use super::secret;
use crate::credentials::{FetchError, Fetched, Fetcher};
use crate::docker_config::Digest;
use crate::names::SecretName;
use crate::plan::gates::{HeldPod, Reason};
use crate::plan::secrets::{Action, Marks, Step};
use crate::policy::document::Credential;
use crate::status::Shard;

/// Writes of Secrets at once: API servers give each of their levels of priority several dozen.
const WRITES: usize = 16;
/// Pods let go at once.
const RELEASES: usize = 8;

/// What has ended.
pub(super) enum Done {
    Asked {
        name: SecretName,
        /// Of the source as it was when it was asked.
        source: Digest,
        result: Result<Fetched, FetchError>,
    },
    Written {
        name: SecretName,
        step: Step,
        /// The Secret as it is now; none when it was removed.
        result: Result<Option<Box<Secret>>, WriteError>,
    },
    Announced {
        shard: Shard,
        /// The ConfigMap as it is now.
        result: Result<Box<ConfigMap>, WriteError>,
    },
    Released {
        pod: HeldPod,
        reason: Reason,
        result: Result<(), WriteError>,
    },
    MayRelease(Result<bool, WriteError>),
    /// A task of ours ended by a panic.
    Lost,
}

/// What was begun.
pub(super) struct Work {
    writer: Writer,
    fetcher: Arc<Fetcher>,
    fetches: JoinSet<Done>,
    writes: JoinSet<Done>,
    releases: JoinSet<Done>,
    others: JoinSet<Done>,
}

impl Work {
    pub(super) fn new(writer: Writer, fetcher: Fetcher) -> Self {
        Self {
            writer,
            fetcher: Arc::new(fetcher),
            fetches: JoinSet::new(),
            writes: JoinSet::new(),
            releases: JoinSet::new(),
            others: JoinSet::new(),
        }
    }

    /// The next thing that ends. Cancel-safe: a set keeps what it has not given.
    pub(super) async fn next(&mut self) -> Done {
        let done = tokio::select! {
            Some(done) = self.releases.join_next() => done,
            Some(done) = self.others.join_next() => done,
            Some(done) = self.writes.join_next() => done,
            Some(done) = self.fetches.join_next() => done,
            else => return std::future::pending().await,
        };
        done.unwrap_or(Done::Lost)
    }

    /// What has ended besides, without waiting.
    pub(super) fn next_now(&mut self) -> Option<Done> {
        let sets = [
            &mut self.releases,
            &mut self.others,
            &mut self.writes,
            &mut self.fetches,
        ];
        let done = sets.into_iter().find_map(JoinSet::try_join_next)?;
        Some(done.unwrap_or(Done::Lost))
    }

    /// Waits for the writes; questions are dropped.
    pub(super) async fn finish(&mut self) {
        self.fetches.abort_all();
        while self.writes.join_next().await.is_some() {}
        while self.releases.join_next().await.is_some() {}
        while self.others.join_next().await.is_some() {}
    }

    pub(super) fn ask(
        &mut self,
        credential: &Credential,
        source: Digest,
        kind: &'static str,
        told: &Arc<crate::metrics::Metrics>,
    ) {
        let (fetcher, credential, metrics) = (
            Arc::clone(&self.fetcher),
            credential.clone(),
            Arc::clone(told),
        );
        self.fetches.spawn(async move {
            let start = Instant::now();
            let result = fetcher.fetch(&credential).await;
            metrics.credential_fetched(kind, start.elapsed());
            Done::Asked {
                name: credential.name.value,
                source,
                result,
            }
        });
    }

    /// Whether one more write may begin.
    pub(super) fn has_room(&self) -> bool {
        self.writes.len() < WRITES
    }

    pub(super) fn write(
        &mut self,
        name: &SecretName,
        step: Step,
        json: Arc<ByteString>,
        marks: &Marks,
    ) {
        let (writer, name) = (self.writer.clone(), name.clone());
        let annotations = secret::annotations(marks, &step.namespace);
        self.writes.spawn(async move {
            let uid = match &step.action {
                Action::Replace { uid } => Some(uid.as_str()),
                Action::Create | Action::Remove { .. } => None,
            };
            let secret = PullSecret {
                namespace: &step.namespace,
                name: name.as_str(),
                uid,
                json: &json,
                annotations,
            };
            let result = writer.pull_secret(&secret).await;
            let result = result.map(|secret| Some(Box::new(secret)));
            Done::Written { name, step, result }
        });
    }

    pub(super) fn remove(&mut self, name: &SecretName, step: Step) {
        let (writer, name) = (self.writer.clone(), name.clone());
        self.writes.spawn(async move {
            let result = match &step.action {
                Action::Remove { uid, version } => {
                    writer
                        .remove_secret(&step.namespace, name.as_str(), uid, version)
                        .await
                }
                Action::Create | Action::Replace { .. } => Ok(()),
            };
            let result = result.map(|()| None);
            Done::Written { name, step, result }
        });
    }

    pub(super) fn announce(&mut self, shard: Shard, text: String) {
        let writer = self.writer.clone();
        self.others.spawn(async move {
            let result = writer.status(&shard.to_string(), &text).await;
            let result = result.map(Box::new);
            Done::Announced { shard, result }
        });
    }

    pub(super) fn ask_may_release(&mut self) {
        let writer = self.writer.clone();
        self.others
            .spawn(async move { Done::MayRelease(writer.may_release().await) });
    }

    /// Whether one more Pod may be let go.
    pub(super) fn has_room_to_release(&self) -> bool {
        self.releases.len() < RELEASES
    }

    pub(super) fn release(&mut self, pod: HeldPod, reason: Reason) {
        let writer = self.writer.clone();
        self.releases.spawn(async move {
            let result = writer.release(&pod.namespace, &pod.name, &pod.uid).await;
            Done::Released {
                pod,
                reason,
                result,
            }
        });
    }
}
