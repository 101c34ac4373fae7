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
mod tests {
    use super::*;

    fn usual() -> Options {
        Options {
            name: "00-pullpass".to_owned(),
            endpoint: Endpoint::Service {
                namespace: "own".to_owned(),
                name: "hook".to_owned(),
                port: 443,
            },
            ca: None,
            scope: ScopeOptions {
                own_namespace: "own".into(),
                ..ScopeOptions::default()
            },
            failure_policy: FailurePolicy::Ignore,
            timeout_seconds: 5,
        }
    }

    fn scoped(scope: ScopeOptions) -> Options {
        Options { scope, ..usual() }
    }

    /// The value at a pointer in the one entry of each configuration.
    fn each(options: &Options, pointer: &str) -> [Value; 3] {
        let [pods, policies, ephemeral] = objects(options).try_into().unwrap();
        [pods, policies, ephemeral].map(|configuration: Value| {
            let [entry] = &configuration["webhooks"].as_array().unwrap()[..] else {
                panic!("{configuration}")
            };
            entry.pointer(pointer).cloned().unwrap_or_default()
        })
    }

    #[test]
    fn every_field_is_written_as_documented() {
        let null = Value::Null;
        let (service, names) = (usual(), ["pods", "policies", "ephemeralcontainers"]);
        let names = names.map(|name| json!(format!("{name}.pullpass.dev")));
        for (field, want, why) in [
            ("/name", names, "frozen for ever"),
            (
                "/rules/0/operations",
                [
                    json!(["CREATE"]),
                    json!(["CREATE", "UPDATE"]),
                    json!(["UPDATE"]),
                ],
                "a Pod is changed as it is made; policies also as they change",
            ),
            (
                "/rules/0/resources",
                [
                    json!(["pods"]),
                    json!(["configmaps"]),
                    json!(["pods/ephemeralcontainers"]),
                ],
                "one kind each",
            ),
            (
                "/rules/0/scope",
                ["Namespaced"; 3].map(Into::into),
                "written, never defaulted",
            ),
            (
                "/rules/1",
                [null.clone(), null.clone(), null.clone()],
                "one rule each",
            ),
            (
                "/clientConfig/service/path",
                ["/mutate", "/validate", "/mutate"].map(Into::into),
                "the webhook's two endpoints",
            ),
            (
                "/clientConfig/caBundle",
                [null.clone(), null.clone(), null.clone()],
                "nobody else's",
            ),
            (
                "/failurePolicy",
                ["Ignore"; 3].map(Into::into),
                "an outage stops no Pod",
            ),
            (
                "/timeoutSeconds",
                [json!(5), json!(5), json!(5)],
                "outlives a lost SYN",
            ),
            (
                "/matchPolicy",
                ["Equivalent"; 3].map(Into::into),
                "whatever version was used",
            ),
            (
                "/sideEffects",
                ["None"; 3].map(Into::into),
                "so that dry runs are answered",
            ),
            (
                "/admissionReviewVersions",
                [json!(["v1"]), json!(["v1"]), json!(["v1"])],
                "v1 alone",
            ),
            (
                "/reinvocationPolicy",
                [json!("IfNeeded"), null.clone(), null.clone()],
                "sidecars have images too; validation knows no second call",
            ),
            (
                "/matchConditions/0/expression",
                [
                    json!(
                        "!('kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({}))"
                    ),
                    null.clone(),
                    json!(
                        "!('kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({}))"
                    ),
                ],
                "mirror Pods take no secret",
            ),
            (
                "/objectSelector/matchLabels",
                [
                    null.clone(),
                    json!({"pullpass.dev/policy": "true"}),
                    null.clone(),
                ],
                "only ConfigMaps that hold policies",
            ),
            (
                "/namespaceSelector/matchExpressions/0/values",
                [
                    json!(["kube-system", "own"]),
                    null.clone(),
                    json!(["kube-system", "own"]),
                ],
                "policies live where Pods are left alone",
            ),
        ] {
            assert_eq!(each(&service, field), want, "{field}: {why}");
        }
    }

    #[test]
    fn only_the_first_may_fail_and_all_share_the_timeout() {
        let options = Options {
            failure_policy: FailurePolicy::Fail,
            timeout_seconds: 10,
            ..usual()
        };
        assert_eq!(
            each(&options, "/failurePolicy"),
            ["Fail", "Ignore", "Ignore"]
        );
        assert_eq!(each(&options, "/timeoutSeconds"), [10, 10, 10]);
    }

    #[test]
    fn a_url_stands_in_place_of_the_service_and_a_ca_in_all_three() {
        let options = Options {
            endpoint: Endpoint::Url("https://hook.example/base".to_owned()),
            ca: Some("PEM\n".to_owned()),
            ..usual()
        };
        let url = |path: &str| json!({"url": format!("https://hook.example/base{path}"), "caBundle": "UEVNCg=="});
        let want = [url("/mutate"), url("/validate"), url("/mutate")];
        assert_eq!(each(&options, "/clientConfig"), want);
    }

    #[test]
    fn selectors_say_what_the_server_decides() {
        let scope = usual().scope;
        let excluding = |names: &[&str], own: &str| ScopeOptions {
            excluded: names.iter().map(ToString::to_string).collect(),
            own_namespace: own.into(),
            ..ScopeOptions::default()
        };
        let names = "/namespaceSelector/matchExpressions/0/values";
        let mode = "/namespaceSelector/matchExpressions/1";
        let pods = "/objectSelector";
        let opt_in = ScopeOptions {
            mode: NamespaceMode::OptIn,
            ..scope.clone()
        };
        let ignoring = ScopeOptions {
            ignore_opt_out: true,
            ..scope.clone()
        };
        let label = |operator: &str, value: &str| json!({"key": "pullpass.dev/inject", "operator": operator, "values": [value]});
        let not_disabled = json!({"matchExpressions": [label("NotIn", "disabled")]});
        for (scope, pointer, want, why) in [
            (
                scope.clone(),
                mode,
                label("NotIn", "disabled"),
                "out when it says so",
            ),
            (
                opt_in.clone(),
                mode,
                label("In", "enabled"),
                "in when it says so",
            ),
            (
                scope.clone(),
                pods,
                not_disabled.clone(),
                "a Pod may opt out",
            ),
            (opt_in, pods, not_disabled, "in either mode"),
            (ignoring.clone(), pods, json!({}), "unless that is ignored"),
            (
                ignoring,
                mode,
                label("NotIn", "disabled"),
                "a namespace still may",
            ),
            (
                excluding(&["b", "a", "b", "own", "kube-system"], "own"),
                names,
                json!(["kube-system", "own", "a", "b"]),
                "each once, in an order that does not depend on the flags'",
            ),
            (
                excluding(&[], "kube-system"),
                names,
                json!(["kube-system"]),
                "also when it is ours",
            ),
        ] {
            let [first, _, third] = each(&scoped(scope), pointer);
            assert_eq!(first, want, "{why}");
            assert_eq!(third, want, "{why}, for debug containers too");
        }
    }
}
