//! Options → the three webhook configurations by which an API server calls pullpass.
//!
//! Every field stands as the API server stores it, so that applying them again changes nothing and
//! conflicts with nobody. One entry each; the names of the entries never change: an upgrade that
//! renames an entry whose `caBundle` somebody else owns is refused.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{EPHEMERAL_CONFIGURATION, POLICIES_CONFIGURATION, labels};
use crate::policy::parse::POLICY_LABEL;
use crate::snapshot::{INJECT_LABEL, NamespaceMode, ScopeOptions};

/// The mutating configuration's entry.
pub const PODS_ENTRY: &str = "pods.pullpass.dev";
/// The entry of [`POLICIES_CONFIGURATION`].
pub const POLICIES_ENTRY: &str = "policies.pullpass.dev";
/// The entry of [`EPHEMERAL_CONFIGURATION`].
pub const EPHEMERAL_ENTRY: &str = "ephemeralcontainers.pullpass.dev";

/// What the configurations depend on.
#[derive(Clone, Debug)]
pub struct Options {
    /// The mutating configuration's name.
    pub name: String,
    /// Where API servers find the webhook.
    pub endpoint: Endpoint,
    /// The authority that signed its certificate, as PEM. Without it there is no `caBundle` at all,
    /// not even an empty one: whoever owns the field keeps it.
    pub ca: Option<String>,
    /// Which namespaces and Pods are left alone; the server judges again by the same.
    pub scope: ScopeOptions,
    /// What an outage means for Pods.
    pub failure_policy: FailurePolicy,
    /// How long an API server waits, in seconds.
    pub timeout_seconds: u8,
}

/// Where API servers find the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Service of the cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
    },
    /// An HTTPS URL without a slash at its end; `/mutate` and `/validate` are appended.
    Url(String),
}

/// What an API server does with a Pod when the webhook does not answer. Closed: Kubernetes knows two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// It is created without its secrets.
    #[default]
    Ignore,
    /// It is refused.
    Fail,
}

impl FailurePolicy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "Ignore",
            Self::Fail => "Fail",
        }
    }
}

/// The three configurations: Pods, policies, debug containers.
#[must_use]
pub fn objects(options: &Options) -> Vec<Value> {
    vec![
        configuration("Mutating", &options.name, &pods(options)),
        configuration("Validating", POLICIES_CONFIGURATION, &policies(options)),
        configuration("Validating", EPHEMERAL_CONFIGURATION, &ephemeral(options)),
    ]
}

fn configuration(kind: &str, name: &str, entry: &Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {
            "name": name,
            "labels": labels("webhook"),
            // AKS would write selectors of its own into ours.
            "annotations": {"admissions.enforcer/disabled": "true"},
        },
        "webhooks": [entry],
    })
}

fn pods(options: &Options) -> Value {
    json!({
        "name": PODS_ENTRY,
        "clientConfig": client_config(options, "/mutate"),
        // An update of a Pod could change nothing of what pullpass injects.
        "rules": rule("pods", &["CREATE"]),
        "namespaceSelector": namespaces(&options.scope),
        "objectSelector": objects_selector(&options.scope),
        "matchConditions": no_mirror_pods(),
        "matchPolicy": "Equivalent",
        // Sidecars of webhooks that come later have images too.
        "reinvocationPolicy": "IfNeeded",
        "failurePolicy": options.failure_policy.as_str(),
        "timeoutSeconds": options.timeout_seconds,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    })
}

fn policies(options: &Options) -> Value {
    json!({
        "name": POLICIES_ENTRY,
        "clientConfig": client_config(options, "/validate"),
        "rules": rule("configmaps", &["CREATE", "UPDATE"]),
        // Policies live in pullpass's own namespace, which the other selectors leave out.
        "namespaceSelector": {},
        "objectSelector": {"matchLabels": {POLICY_LABEL: "true"}},
        "matchPolicy": "Equivalent",
        // An outage must not keep anybody from mending a policy, nor a ConfigMap from being written.
        "failurePolicy": "Ignore",
        "timeoutSeconds": options.timeout_seconds,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    })
}

fn ephemeral(options: &Options) -> Value {
    json!({
        "name": EPHEMERAL_ENTRY,
        "clientConfig": client_config(options, "/mutate"),
        "rules": rule("pods/ephemeralcontainers", &["UPDATE"]),
        "namespaceSelector": namespaces(&options.scope),
        "objectSelector": objects_selector(&options.scope),
        "matchConditions": no_mirror_pods(),
        "matchPolicy": "Equivalent",
        // It can only warn.
        "failurePolicy": "Ignore",
        "timeoutSeconds": options.timeout_seconds,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    })
}

fn client_config(options: &Options, path: &str) -> Value {
    let mut config = match &options.endpoint {
        Endpoint::Service {
            namespace,
            name,
            port,
        } => json!({
            "service": {"namespace": namespace, "name": name, "path": path, "port": port},
        }),
        Endpoint::Url(base) => json!({"url": format!("{base}{path}")}),
    };
    if let (Some(pem), Some(config)) = (&options.ca, config.as_object_mut()) {
        config.insert("caBundle".to_owned(), STANDARD.encode(pem).into());
    }
    config
}

/// The scope is written although it is nearly the default: defaults inside a list that is owned
/// whole make the next apply conflict.
fn rule(resource: &str, operations: &[&str]) -> Value {
    json!([{
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": [resource],
        "operations": operations,
        "scope": "Namespaced",
    }])
}

fn namespaces(scope: &ScopeOptions) -> Value {
    let mut left_alone = vec!["kube-system", &*scope.own_namespace];
    let others: BTreeSet<&str> = scope.excluded.iter().map(String::as_str).collect();
    let others = others.into_iter().filter(|name| *name != "kube-system");
    left_alone.extend(others.filter(|name| *name != &*scope.own_namespace));
    left_alone.dedup();
    let (operator, value) = match scope.mode {
        NamespaceMode::OptOut => ("NotIn", "disabled"),
        NamespaceMode::OptIn => ("In", "enabled"),
    };
    json!({"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": left_alone},
        {"key": INJECT_LABEL, "operator": operator, "values": [value]},
    ]})
}

fn objects_selector(scope: &ScopeOptions) -> Value {
    if scope.ignore_opt_out {
        return json!({});
    }
    json!({"matchExpressions": [
        {"key": INJECT_LABEL, "operator": "NotIn", "values": ["disabled"]},
    ]})
}

/// A mirror Pod may not reference secrets. `orValue`: a Pod without annotations would be an error.
fn no_mirror_pods() -> Value {
    json!([{
        "name": "not-a-mirror-pod",
        "expression": "!('kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({}))",
    }])
}

#[cfg(test)]
mod tests;
