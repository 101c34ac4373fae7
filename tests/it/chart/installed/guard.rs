//! The admission guard in force: what the controller's account is refused although it has the right, and what passes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{MUTATING, OWN, Release};
use crate::plane::{Answer, User, wait_until};

pub(super) const HUB: &str = r#"{"auths":{}}"#;

fn secret(kind: &str, key: &str, ours: bool, data: &str) -> Value {
    let labels = if ours {
        json!({"app.kubernetes.io/managed-by": "pullpass"})
    } else {
        json!({})
    };
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {"name": "hub", "labels": labels},
        "data": {key: STANDARD.encode(data)},
    })
}

pub(super) fn pull_secret(ours: bool, data: &str) -> Value {
    secret(
        "kubernetes.io/dockerconfigjson",
        ".dockerconfigjson",
        ours,
        data,
    )
}

fn opaque() -> Value {
    secret("Opaque", "key", true, "value")
}

/// Waits until the account of the controller is refused something. Nothing is written.
pub(super) fn in_force(release: &Release, namespace: &str) {
    let controller = release.plane.account(OWN, "pullpass-controller");
    let at = format!("/api/v1/namespaces/{namespace}/secrets/hub");
    wait_until("the guard is in force", || {
        let at = format!("{at}?fieldManager=pullpass&force=true&dryRun=All");
        controller.apply(&at, &opaque()).status == 422
    });
}

/// By server-side apply with force, as the controller writes.
fn apply(user: &User, at: &str, object: &Value) -> Answer {
    user.apply(&format!("{at}?fieldManager=pullpass&force=true"), object)
}

#[track_caller]
fn refused(answer: &Answer, want: &str, why: &str) {
    let (status, message) = answer.refused();
    assert_eq!(status, 422, "{why}: {message}");
    assert!(message.contains(want), "{why}: {message}");
}

#[test]
fn the_controller_is_refused_what_it_never_does_and_nothing_else() {
    let release = Release::new();
    let admin = release.admin();
    let shop = release.plane.namespace("shop");
    let bakery = release.plane.namespace("bakery");
    release.install(&release.values(""));
    // Pods are made before anybody answers.
    admin.delete(MUTATING, None).done();
    let controller = release.plane.account(OWN, "pullpass-controller");
    let hub = |namespace: &str| format!("/api/v1/namespaces/{namespace}/secrets/hub");

    in_force(&release, &shop);
    for (object, why) in [
        (&opaque(), "a Secret of another type"),
        (&pull_secret(false, HUB), "one without its label"),
    ] {
        let answer = apply(&controller, &hub(&shop), object);
        refused(&answer, "pull secrets that bear its label", why);
    }
    assert_eq!(
        apply(&controller, &hub(&shop), &pull_secret(true, HUB)).status,
        201
    );
    let renewed = pull_secret(true, r#"{"auths":{"docker.io":{"auth":"YTpi"}}}"#);
    assert_eq!(apply(&controller, &hub(&shop), &renewed).status, 200);
    controller.delete(&hub(&shop), None).done();

    let at = format!("/api/v1/namespaces/{bakery}/secrets");
    admin.post(&at, &pull_secret(false, HUB)).done();
    let foreign = "this Secret is not pullpass's";
    let answer = apply(&controller, &hub(&bakery), &pull_secret(true, HUB));
    refused(&answer, foreign, "taking over an equal Secret of others");
    refused(
        &controller.delete(&hub(&bakery), None),
        foreign,
        "deleting it",
    );
    // An administrator is not meant.
    admin.delete(&hub(&bakery), None).done();

    pods(&controller, &release, &shop);
    configurations(&controller, &release);
    for policy in type_checked(admin) {
        assert!(
            policy["status"]["typeChecking"]
                .get("expressionWarnings")
                .is_none(),
            "{policy}"
        );
    }
}

fn pods(controller: &User, release: &Release, namespace: &str) {
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let gates = json!([{"name": "pullpass.dev/pull-secret"}, {"name": "example.com/other"}]);
    let pod = json!({
        "metadata": {"name": "held"},
        "spec": {"containers": [{"name": "c", "image": "nginx"}], "schedulingGates": gates},
    });
    release.admin().post(&pods, &pod).done();
    let at = format!("{pods}/held");
    let remove = |gate: &str| {
        let gate = json!({"$patch": "delete", "name": gate});
        controller.strategic_merge(&at, &json!({"spec": {"schedulingGates": [gate]}}))
    };
    let gate = "may remove its own scheduling gate, no other";
    refused(&remove("example.com/other"), gate, "the gate of others");
    for (patch, why) in [
        (json!({"metadata": {"labels": {"a": "b"}}}), "a label"),
        (
            json!({"metadata": {"annotations": {"a": "b"}}}),
            "an annotation",
        ),
        (
            json!({"metadata": {"finalizers": ["example.com/f"]}}),
            "a finalizer",
        ),
        (
            json!({"spec": {"containers": [{"name": "c", "image": "evil"}]}}),
            "an image",
        ),
        (
            json!({"spec": {"nodeSelector": {"a": "b"}}}),
            "where it may run",
        ),
        (
            json!({"spec": {"activeDeadlineSeconds": 5}}),
            "how long it may run",
        ),
    ] {
        // Even together with what it may do.
        let mut patch = patch;
        patch["spec"]["schedulingGates"] =
            json!([{"$patch": "delete", "name": "pullpass.dev/pull-secret"}]);
        let answer = controller.strategic_merge(&at, &patch);
        refused(&answer, "nothing of a Pod but its own scheduling gate", why);
    }
    let freed = remove("pullpass.dev/pull-secret").done();
    assert_eq!(
        freed["spec"]["schedulingGates"],
        json!([{"name": "example.com/other"}])
    );
}

fn configurations(controller: &User, release: &Release) {
    let at =
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/pullpass-policies";
    // Both kinds have the same rules; the mutating one is made again, as its own guard has to be seen.
    let again = super::template(&release.values("")).stdout;
    let ran = release
        .admin()
        .kubectl_with(&["apply", "--server-side", "-f", "-"], &again);
    // Helm is the owner of the rest, equal to what is applied.
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let entry = "nothing of a webhook but its caBundle";
    let whole = "nothing of a webhook configuration but its caBundle";
    for (at, name, other) in [
        (
            MUTATING,
            "pods.pullpass.dev",
            Some(json!({"reinvocationPolicy": "Never"})),
        ),
        (at, "policies.pullpass.dev", None),
    ] {
        let patch = |fields: &Value| {
            let mut entry = fields.clone();
            entry["name"] = json!(name);
            controller.strategic_merge(at, &json!({"webhooks": [entry]}))
        };
        let bundle = json!({"clientConfig": {"caBundle": STANDARD.encode(&release.plane.ca)}});
        assert_eq!(patch(&bundle).status, 200, "{at}");
        let rule = json!({
            "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "operations": ["*"], "scope": "*",
        });
        let refusals = [
            (json!({"rules": [rule]}), "every request"),
            (
                json!({"clientConfig": {"url": "https://evil.example"}}),
                "another server",
            ),
            (
                json!({"failurePolicy": if name.starts_with("pods") { "Ignore" } else { "Fail" }}),
                "an outage for all",
            ),
            (json!({"timeoutSeconds": 30}), "a longer wait"),
            (
                json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}),
                "other namespaces",
            ),
            (
                json!({"objectSelector": {"matchLabels": {"a": "b"}}}),
                "other objects",
            ),
            (
                json!({"matchConditions": [{"name": "never", "expression": "false"}]}),
                "no request",
            ),
        ];
        for (fields, why) in refusals
            .into_iter()
            .chain(other.map(|fields| (fields, "a second call less")))
        {
            refused(&patch(&fields), entry, why);
        }
        let second = json!({"name": "second.pullpass.dev", "clientConfig": {"url": "https://evil.example"}, "sideEffects": "None", "admissionReviewVersions": ["v1"]});
        let more = controller.strategic_merge(at, &json!({"webhooks": [second]}));
        refused(&more, entry, "a second webhook");
        let less = controller.strategic_merge(
            at,
            &json!({"webhooks": [{"$patch": "delete", "name": name}]}),
        );
        refused(&less, entry, "none at all");
        for patch in [
            json!({"metadata": {"labels": {"a": "b"}}}),
            json!({"metadata": {"annotations": {"a": "b"}}}),
            json!({"metadata": {"finalizers": ["example.com/f"]}}),
        ] {
            refused(
                &controller.strategic_merge(at, &patch),
                whole,
                "what it is found by",
            );
        }
    }
}

/// The policies, once the API server has looked at their expressions.
fn type_checked(admin: &User) -> Vec<Value> {
    let at = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let mut found = Vec::new();
    wait_until("the expressions are checked", || {
        found = admin.get(at).done()["items"].as_array().unwrap().clone();
        found.len() == 4
            && found
                .iter()
                .all(|policy| policy["status"].get("observedGeneration").is_some())
    });
    found
}
