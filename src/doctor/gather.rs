//! A client → facts: one question a fact, each with a time limit. It decides nothing.
//!
//! It writes nothing: the one Pod that it creates is a dry run, and what it asks about rights is not kept.

use std::time::SystemTime;

use kube::api::{GetParams, ListParams, PostParams, Request};
use serde_json::{Value, json};

use super::trial::{self, Outcome, Trial};
use super::{Facts, Found, PART_OF, Source, before};
use crate::cluster::ask::{Asker, Refusal, Unreachable};
use crate::install::{CONTROLLER, MUTATING_CONFIGURATION};
use crate::policy::parse::POLICY_LABEL;
use crate::status::STATUS_LABEL;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// Who asks.
pub struct Asking(Asker);

impl Asking {
    /// By these questions.
    #[must_use]
    pub fn new(asker: Asker) -> Self {
        Self(asker)
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
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        facts.lease = self.get(&leases, CONTROLLER).await;
        let status = format!("{STATUS_LABEL}=true");
        facts.status = self.list(&format!("{core}/configmaps"), &status).await;
        for (credential, (secret, registries)) in facts.copied() {
            let found = self.get(&format!("{core}/secrets"), secret.as_str()).await;
            let source = Source::of(found, &registries);
            facts.sources.insert(credential, source);
        }
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
        match self.0.ask(request).await {
            Ok(info) => Ok(Found::Object(info)),
            Err(Refusal::Unreachable(why) | Refusal::Unknown(why)) => Err(Unreachable(why)),
            Err(Refusal::Forbidden(_)) => Ok(Found::Forbidden("get the URL `/version`".to_owned())),
            Err(Refusal::Absent) => Ok(Found::Absent),
            Err(Refusal::Stale(why) | Refusal::Failed(why)) => Ok(Found::Failed(why)),
        }
    }

    async fn get(&self, collection: &str, name: &str) -> Found {
        let request = Request::new(collection).get(name, &GetParams::default());
        found(self.0.ask(request).await, "get", collection)
    }

    async fn list(&self, collection: &str, labels: &str) -> Found {
        let request = Request::new(collection).list(&ListParams::default().labels(labels));
        found(self.0.ask(request).await, "list", collection)
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
            match self.0.ask(request).await {
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
        match self.0.ask(request).await {
            Ok(pod) => Outcome::Made(trial, pod),
            // A Pod is refused with 403 for other reasons too.
            Err(Refusal::Forbidden(why)) if why.contains("cannot create resource") => {
                Outcome::Forbidden(trial)
            }
            Err(refusal) => Outcome::Refused(trial, refusal.words()),
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
