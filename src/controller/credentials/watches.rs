//! Every watch of the loop as one stream of tagged changes; those of single Secrets come and go.
//!
//! No right covers Secrets by any other name, so each name has a watch of its own.

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures_util::StreamExt as _;
use futures_util::future::AbortHandle;
use futures_util::stream::{BoxStream, ReadyChunks, SelectAll, abortable};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::watcher::{Config, Error, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::super::held::{self, Pod};
use super::announced;
use crate::cluster::fold::Namespace;
use crate::cluster::watch::watch;
use crate::names::SecretName;

/// Changes that are taken in one go.
const CHUNK: usize = 512;

/// A change that a watch brings.
pub(super) enum Change {
    Namespaces(Result<Event<Namespace>, Error>),
    Status(Result<Event<ConfigMap>, Error>),
    Pods(Result<Event<Pod>, Error>),
    /// Of the Secrets with a credential's name, in all namespaces.
    Copies(SecretName, Result<Event<Secret>, Error>),
    /// Of the Secret that a credential is copied from.
    Source(SecretName, Result<Event<Secret>, Error>),
}

/// All watches.
pub(super) struct Watches {
    client: Client,
    namespace: String,
    changes: ReadyChunks<SelectAll<BoxStream<'static, Change>>>,
    copies: BTreeMap<SecretName, AbortHandle>,
    /// By credential, with the Secret that is watched.
    sources: BTreeMap<SecretName, (SecretName, AbortHandle)>,
}

impl Watches {
    /// What is watched whatever the policies say.
    pub(super) fn new(client: Client, namespace: String) -> Self {
        let mut all = SelectAll::new();
        let namespaces = Api::all(client.clone());
        all.push(tagged(namespaces, Config::default(), Change::Namespaces));
        let status = Api::namespaced(client.clone(), &namespace);
        all.push(tagged(status, announced::config_maps(), Change::Status));
        let pods = Api::all(client.clone());
        all.push(tagged(pods, held::unscheduled(), Change::Pods));
        Self {
            client,
            namespace,
            changes: all.ready_chunks(CHUNK),
            copies: BTreeMap::new(),
            sources: BTreeMap::new(),
        }
    }

    /// The next changes. Cancel-safe: a stream keeps what it has not given.
    pub(super) async fn next(&mut self) -> Vec<Change> {
        match self.changes.next().await {
            Some(changes) => changes,
            // Watches have no end.
            None => std::future::pending().await,
        }
    }

    /// Whether the Secrets of a name are watched.
    pub(super) fn has_copies(&self, name: &SecretName) -> bool {
        self.copies.contains_key(name)
    }

    /// Watches the Secrets of a name.
    pub(super) fn watch_copies(&mut self, name: &SecretName) {
        if self.has_copies(name) {
            return;
        }
        let api = Api::all(self.client.clone());
        let handle = self.push(api, name, name, Change::Copies);
        self.copies.insert(name.clone(), handle);
    }

    /// Watches the Secret that a credential is copied from, and no other one for it.
    pub(super) fn watch_source(&mut self, credential: &SecretName, source: Option<&SecretName>) {
        let watched = self.sources.get(credential).map(|(watched, _)| watched);
        if watched == source {
            return;
        }
        if let Some((_, handle)) = self.sources.remove(credential) {
            handle.abort();
        }
        if let Some(source) = source {
            let api = Api::namespaced(self.client.clone(), &self.namespace);
            let handle = self.push(api, source, credential, Change::Source);
            let watched = (source.clone(), handle);
            self.sources.insert(credential.clone(), watched);
        }
    }

    /// Ends the watches of a credential.
    pub(super) fn forget(&mut self, name: &SecretName) {
        self.watch_source(name, None);
        if let Some(handle) = self.copies.remove(name) {
            handle.abort();
        }
    }

    fn push(
        &mut self,
        api: Api<Secret>,
        secret: &SecretName,
        credential: &SecretName,
        tag: fn(SecretName, Result<Event<Secret>, Error>) -> Change,
    ) -> AbortHandle {
        let config = Config::default().fields(&format!("metadata.name={secret}"));
        let credential = credential.clone();
        let changes = watch(api, config).map(move |change| tag(credential.clone(), change));
        let (changes, handle) = abortable(changes);
        self.changes.get_mut().push(changes.boxed());
        handle
    }
}

fn tagged<K>(
    api: Api<K>,
    config: Config,
    tag: fn(Result<Event<K>, Error>) -> Change,
) -> BoxStream<'static, Change>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watch(api, config).map(tag).boxed()
}
