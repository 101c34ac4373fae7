//! The only writer: each write of the controller but its Lease goes through here, and decides nothing.
//!
//! Everything that is made is a server-side apply, because that is what a right to `create` with a name
//! covers; Events alone are posted. Before each write it is asked whether this process still leads,
//! and no write lasts longer than it does.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ClusterResourceScope, Status};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::facts;
use super::held::Pod;
use super::lease::Leadership;
use crate::cluster::explain::chain;
use crate::docker_config::Format;
use crate::status::{GATE, STATUS_KEY, STATUS_LABEL};

/// As whom everything is applied. Another process of this name would overwrite us unasked: there
/// is one name for all replicas, and the Lease between them.
pub const FIELD_MANAGER: &str = "pullpass";
/// On each Secret that is ours. One without it is never changed.
pub const OURS: (&str, &str) = ("app.kubernetes.io/managed-by", "pullpass");

/// No write takes longer.
const CALL: Duration = Duration::from_secs(8);

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another process may be writing.
    #[error("this process does not lead, or not any more")]
    NotLeading,
    /// The API server did not answer; it may have written.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The API server does not know whether something is granted: it has just started, or a role is missing.
    #[error("the API server cannot say whether it is granted: {0}")]
    Undecided(String),
    /// What was to be written is not what an API server could use.
    #[error("the caBundle would hold something else than certificates; this is a bug in pullpass")]
    Bundle,
    /// The API server refused, or could not be asked.
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

impl WriteError {
    /// What the API server says, if it said anything.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }

    /// In one line: what the API server says, or why it could not be asked.
    #[must_use]
    pub fn words(&self) -> String {
        let said = self.status().map(|status| status.message.clone());
        said.unwrap_or_else(|| chain(self))
    }

    /// What was read is not what is there any more: look again.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.status().is_some_and(|status| status.code == 409)
    }
}

/// What a Secret was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Not there: it is made, or nothing is done.
    Absent,
    /// This version of this object: it is changed, or nothing is done.
    Version {
        /// Which object: one made anew under the name is another's.
        uid: String,
        /// Which version.
        version: String,
    },
}

/// What a Secret holds.
pub struct Content {
    /// Its data.
    pub data: BTreeMap<String, ByteString>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// A pull secret in one namespace.
pub(super) struct PullSecret<'a> {
    /// Where.
    pub(super) namespace: &'a str,
    /// Its name.
    pub(super) name: &'a str,
    /// Which Secret is changed; absent: it is made, or nothing is done.
    pub(super) uid: Option<&'a str>,
    /// What its one key holds.
    pub(super) json: &'a ByteString,
    /// What it says beside it.
    pub(super) annotations: BTreeMap<&'static str, String>,
}

/// Writes to the cluster while this process leads.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    namespace: String,
    leadership: Leadership,
}

impl Writer {
    /// A writer whose Secrets are in this namespace.
    #[must_use]
    pub fn new(client: Client, namespace: String, leadership: Leadership) -> Self {
        Self {
            client,
            namespace,
            leadership,
        }
    }

    /// Whether it may write now.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leadership.remaining().is_some()
    }

    /// Waits until that may have changed.
    pub async fn leadership_changed(&mut self) {
        self.leadership.changed().await;
    }

    /// Sets a TLS Secret of ours, whole.
    ///
    /// By force: what others wrote into our fields of our own Secret is undone. Never over a
    /// Secret of others: a new one is made only where none is, an old one is named by its uid.
    pub async fn secret(
        &self,
        name: &str,
        expected: &Expected,
        content: &Content,
    ) -> Result<Secret, WriteError> {
        let mut metadata = json!({
            "name": name,
            "namespace": self.namespace,
            "labels": {OURS.0: OURS.1},
            "annotations": content.annotations,
        });
        if let Some(metadata) = metadata.as_object_mut() {
            // "1" is no version that anything has: with it an apply makes the object or is refused.
            let version = match expected {
                Expected::Absent => "1",
                Expected::Version { uid, version } => {
                    metadata.insert("uid".to_owned(), uid.as_str().into());
                    version
                }
            };
            metadata.insert("resourceVersion".to_owned(), version.into());
        }
        let body = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "kubernetes.io/tls",
            "data": content.data,
        });
        let api = Api::namespaced(self.client.clone(), &self.namespace);
        self.apply(&api, name, &body).await
    }

    /// Sets the caBundle of entries that were seen in a configuration, and nothing else there.
    ///
    /// By force: a caBundle that somebody else has set makes API servers call us in vain.
    pub(super) async fn bundle<K>(
        &self,
        name: &str,
        entries: &[String],
        bundle: &str,
    ) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        // The API server takes anything, and calls nobody from then on.
        let authorities = facts::authorities(bundle.as_bytes());
        let read: String = authorities.iter().map(|a| a.pem.as_str()).collect();
        if read != bundle || authorities.is_empty() {
            return Err(WriteError::Bundle);
        }
        let bytes = ByteString(bundle.as_bytes().to_vec());
        let webhooks: Vec<_> = entries
            .iter()
            .map(|entry| json!({"name": entry, "clientConfig": {"caBundle": bytes}}))
            .collect();
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name},
            "webhooks": webhooks,
        });
        self.apply(&Api::all(self.client.clone()), name, &body)
            .await
    }

    /// Sets a pull secret of ours.
    ///
    /// By force, as [`Writer::secret`]; of one that is there only its uid has to be as it was seen, since
    /// any version of it is to be undone.
    pub(super) async fn pull_secret(&self, secret: &PullSecret<'_>) -> Result<Secret, WriteError> {
        let (pin, value) = match secret.uid {
            Some(uid) => ("uid", uid),
            None => ("resourceVersion", "1"),
        };
        let body = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": secret.name,
                "namespace": secret.namespace,
                pin: value,
                "labels": {OURS.0: OURS.1},
                "annotations": secret.annotations,
            },
            "type": Format::DockerConfigJson.secret_type(),
            "data": {Format::DockerConfigJson.key(): secret.json},
        });
        let api = Api::namespaced(self.client.clone(), secret.namespace);
        self.apply(&api, secret.name, &body).await
    }

    /// Removes a pull secret, if it is still this version of this one. That it is gone is as good.
    pub(super) async fn remove_secret(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        version: &str,
    ) -> Result<(), WriteError> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: Some(version.to_owned()),
            }),
            ..DeleteParams::default()
        };
        let api = Api::<Secret>::namespaced(self.client.clone(), namespace);
        match self.call(api.delete(name, &params)).await {
            Err(error) if error.status().is_some_and(|status| status.code == 404) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sets one of the ConfigMaps that say how the pull secrets fare.
    ///
    /// By force: they are ours by their names, which no other right covers.
    pub(super) async fn status(&self, name: &str, text: &str) -> Result<ConfigMap, WriteError> {
        let body = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": {OURS.0: OURS.1, STATUS_LABEL: "true"},
            },
            "data": {STATUS_KEY: text},
        });
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        self.apply(&api, name, &body).await
    }

    /// Takes our gate from a Pod, and nothing else. That the Pod is gone is as good.
    ///
    /// A strategic merge patch: the one form that removes ours alone, needs no right but to patch Pods,
    /// and does nothing to another Pod of the name.
    pub(super) async fn release(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<(), WriteError> {
        let body = json!({
            "metadata": {"uid": uid},
            "spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]},
        });
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let (params, patch) = (PatchParams::default(), Patch::Strategic(&body));
        match self.call(api.patch(name, &params, &patch)).await {
            Err(error) if is_another(&error) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Whether this process may take gates from Pods. It asks and writes nothing.
    pub(super) async fn may_release(&self) -> Result<bool, WriteError> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {},
            "spec": {"resourceAttributes": {"verb": "patch", "resource": "pods"}},
        });
        let review = serde_json::from_value(review).map_err(kube::Error::SerdeError)?;
        let api = Api::<SelfSubjectAccessReview>::all(self.client.clone());
        let params = PostParams::default();
        let status = self.call(api.create(&params, &review)).await?.status;
        let status = status.unwrap_or_default();
        match status.evaluation_error.filter(|why| !why.is_empty()) {
            Some(why) if !status.allowed => Err(WriteError::Undecided(why)),
            _ => Ok(status.allowed),
        }
    }

    /// Tells an Event.
    pub async fn event(&self, namespace: &str, event: &Event) -> Result<(), WriteError> {
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        self.call(api.create(&params, event)).await?;
        Ok(())
    }

    async fn apply<K>(&self, api: &Api<K>, name: &str, body: &Value) -> Result<K, WriteError>
    where
        K: Clone + Debug + DeserializeOwned,
    {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.call(api.patch(name, &params, &Patch::Apply(body)))
            .await
    }

    /// One call, while this process leads and no longer.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        let left = self.leadership.remaining().ok_or(WriteError::NotLeading)?;
        let time = left.min(CALL);
        match timeout(time, call).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(WriteError::Timeout(time)),
        }
    }
}

/// The Pod is gone, or another one has its name.
fn is_another(error: &WriteError) -> bool {
    error.status().is_some_and(|status| {
        status.code == 404 || (status.code == 422 && status.message.contains("metadata.uid"))
    })
}
