//! A client → facts: one question a fact, each with a time limit. It decides nothing.
//!
//! It writes nothing: the one Pod that it creates is a dry run, and what it asks about rights is not kept.

use std::time::{Duration, SystemTime};

use kube::Client;
use kube::api::{GetParams, ListParams, PostParams, Request};
use serde_json::{Value, json};

use super::trial::{self, Outcome, Trial};
use super::{Facts, Found, PART_OF, before};
use crate::cluster::explain::chain;
use crate::install::MUTATING_CONFIGURATION;
use crate::policy::parse::POLICY_LABEL;

/// Longer than an API server waits for webhooks with their default timeout.
const ANSWER: Duration = Duration::from_secs(20);
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// A request as `kube` makes it.
type Asked = axum::http::Request<Vec<u8>>;

/// Whom to ask, and as whom.
pub struct Asking {
    client: Client,
    user: Option<String>,
}

/// There is no API server to ask, or it does not know the caller.
#[derive(Debug, thiserror::Error)]
#[error(
    "the cluster cannot be asked: {0}; is the API server reachable from here, and the kubeconfig right?"
)]
pub struct Unreachable(String);

/// Why there is no answer.
enum Refusal {
    Absent,
    Forbidden(String),
    Unknown(String),
    Failed(String),
    Unreachable(String),
}

impl Asking {
    /// With `user`, as that user.
    #[must_use]
    pub fn new(client: Client, user: Option<String>) -> Self {
        Self { client, user }
    }

    /// All facts of an installation in a namespace.
    pub async fn facts(&self, namespace: &str) -> Result<Facts, Unreachable> {
        let mut facts = Facts::new(namespace, SystemTime::now());
        facts.version = self.version().await?;
        let core = format!("/api/v1/namespaces/{namespace}");
        let own_rbac = format!("{RBAC}/namespaces/{namespace}");
        facts.own_namespace = self.get("/api/v1/namespaces", namespace).await;
        facts.namespaces = self.list("/api/v1/namespaces", "").await;
        let policies = format!("{POLICY_LABEL}=true");
        facts.config_maps = self.list(&format!("{core}/configmaps"), &policies).await;
        let deployments = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
        facts.deployments = self.list(&deployments, PART_OF).await;
        let mutating = format!("{ADMISSION}/mutatingwebhookconfigurations");
        facts.mutating = self.list(&mutating, PART_OF).await;
        let validating = format!("{ADMISSION}/validatingwebhookconfigurations");
        facts.validating = self.list(&validating, PART_OF).await;
        facts.cluster_roles = self.list(&format!("{RBAC}/clusterroles"), PART_OF).await;
        let bindings = format!("{RBAC}/clusterrolebindings");
        facts.cluster_role_bindings = self.list(&bindings, PART_OF).await;
        facts.roles = self.list(&format!("{own_rbac}/roles"), PART_OF).await;
        let bindings = format!("{own_rbac}/rolebindings");
        facts.role_bindings = self.list(&bindings, PART_OF).await;
        let secret = facts.certificate_name();
        facts.certificate = self.get(&format!("{core}/secrets"), &secret).await;
        if let Some(trial) = trial::plan(&facts) {
            facts.trial = Some(self.attempt(trial).await);
        }
        Ok(facts)
    }

    /// All facts before an installation.
    pub async fn before(&self, namespace: &str) -> Result<before::Facts, Unreachable> {
        let version = self.version().await?;
        let mutating = format!("{ADMISSION}/mutatingwebhookconfigurations");
        Ok(before::Facts {
            namespace: namespace.to_owned(),
            version,
            own_namespace: self.get("/api/v1/namespaces", namespace).await,
            configuration: self.get(&mutating, MUTATING_CONFIGURATION).await,
            refused: self.refused(namespace).await,
        })
    }

    /// The first question: without an answer to it there is nothing to examine.
    async fn version(&self) -> Result<Found, Unreachable> {
        let request = Request::new("").get("version", &GetParams::default());
        match self.ask(request).await {
            Ok(info) => Ok(Found::Object(info)),
            Err(Refusal::Unreachable(why) | Refusal::Unknown(why)) => Err(Unreachable(why)),
            Err(Refusal::Forbidden(_)) => Ok(Found::Forbidden("get the URL `/version`".to_owned())),
            Err(Refusal::Absent) => Ok(Found::Absent),
            Err(Refusal::Failed(why)) => Ok(Found::Failed(why)),
        }
    }

    async fn get(&self, collection: &str, name: &str) -> Found {
        let request = Request::new(collection).get(name, &GetParams::default());
        found(self.ask(request).await, "get", collection)
    }

    async fn list(&self, collection: &str, labels: &str) -> Found {
        let request = Request::new(collection).list(&ListParams::default().labels(labels));
        found(self.ask(request).await, "list", collection)
    }

    /// What the caller may not create.
    async fn refused(&self, namespace: &str) -> Result<Vec<String>, String> {
        let mut refused = Vec::new();
        for (group, resource, inside) in before::RIGHTS {
            let mut attributes = json!({"group": group, "resource": resource, "verb": "create"});
            if let (true, Some(attributes)) = (inside, attributes.as_object_mut()) {
                attributes.insert("namespace".to_owned(), namespace.into());
            }
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            });
            let at = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            let bytes = review.to_string().into_bytes();
            let request = Request::new(at).create(&PostParams::default(), bytes);
            match self.ask(request).await {
                Ok(answer) => {
                    let allowed = answer.pointer("/status/allowed").and_then(Value::as_bool);
                    if allowed != Some(true) {
                        refused.push(resource.to_owned());
                    }
                }
                Err(refusal) => return Err(refusal.words()),
            }
        }
        Ok(refused)
    }

    async fn attempt(&self, trial: Trial) -> Outcome {
        let at = format!("/api/v1/namespaces/{}/pods", trial.namespace);
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let request = Request::new(at).create(&dry_run, trial.pod.to_string().into_bytes());
        match self.ask(request).await {
            Ok(pod) => Outcome::Made(trial, pod),
            // A Pod is refused with 403 for other reasons too.
            Err(Refusal::Forbidden(why)) if why.contains("cannot create resource") => {
                Outcome::Forbidden(trial)
            }
            Err(refusal) => Outcome::Refused(trial, refusal.words()),
        }
    }

    async fn ask(
        &self,
        request: Result<Asked, kube::core::request::Error>,
    ) -> Result<Value, Refusal> {
        let failed = |error: &(dyn std::error::Error + 'static)| Refusal::Failed(chain(error));
        let mut request = request.map_err(|error| failed(&error))?;
        if let Some(user) = &self.user {
            let value = user.parse().map_err(|_| {
                Refusal::Failed(format!(
                    "`--as {user}` cannot be sent: it is no header's value"
                ))
            })?;
            request.headers_mut().insert("impersonate-user", value);
        }
        let answer = tokio::time::timeout(ANSWER, self.client.request::<Value>(request));
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(kube::Error::Api(status))) => Err(match status.code {
                401 => {
                    Refusal::Unknown("the API server does not know these credentials".to_owned())
                }
                403 => Refusal::Forbidden(status.message.clone()),
                404 => Refusal::Absent,
                code => Refusal::Failed(format!("the API server says {code}: {}", status.message)),
            }),
            Ok(Err(error @ kube::Error::SerdeError(_))) => Err(failed(&error)),
            Ok(Err(error)) => Err(Refusal::Unreachable(chain(&error))),
            Err(_) => Err(Refusal::Unreachable(format!(
                "no answer within {} s",
                ANSWER.as_secs()
            ))),
        }
    }
}

impl Refusal {
    fn words(self) -> String {
        match self {
            Self::Absent => "it is not there".to_owned(),
            Self::Forbidden(why)
            | Self::Unknown(why)
            | Self::Failed(why)
            | Self::Unreachable(why) => why,
        }
    }
}

fn found(answer: Result<Value, Refusal>, verb: &str, collection: &str) -> Found {
    match answer {
        Ok(value) => Found::Object(value),
        Err(Refusal::Absent) => Found::Absent,
        Err(Refusal::Forbidden(_)) => {
            let resource = collection.rsplit('/').next().unwrap_or(collection);
            Found::Forbidden(format!("{verb} {resource}"))
        }
        Err(refusal) => Found::Failed(refusal.words()),
    }
}
