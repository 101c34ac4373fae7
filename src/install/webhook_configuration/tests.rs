//! Configurations: each field against what is documented, and selectors against what the server decides.

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
#[expect(clippy::too_many_lines, reason = "the table has that many rows")]
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
