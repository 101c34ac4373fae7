//! A webhook configuration with two owners: the chart owns all but `caBundle`, the controller owns that.

use serde_json::{Value, json};

use crate::plane::Plane;

const AT: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// Any base64 will do: see below.
const ONE: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==";
const TWO: &str = "Z2FyYmFnZQ==";

/// As the chart renders it; it selects no namespace that there is.
fn chart(name: &str, timeout: u32) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "pods.example.com", "timeoutSeconds": timeout,
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "Namespaced"}],
            "namespaceSelector": {"matchLabels": {"facts.example.com/none": "none"}},
            "clientConfig": {"service": {"namespace": "none", "name": "none", "path": "/mutate", "port": 443}},
            "failurePolicy": "Ignore", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        }],
    })
}

fn bundle(name: &str, entry: &str, bundle: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{"name": entry, "clientConfig": {"caBundle": bundle}}],
    })
}

fn at(name: &str, manager: &str) -> String {
    format!("{AT}/{name}?fieldManager={manager}")
}

#[test]
fn a_bundle_of_another_manager_outlives_what_the_chart_applies() {
    let plane = Plane::shared();
    let admin = plane.admin();
    for (name, client_side) in [("facts-server-side", false), ("facts-client-side", true)] {
        let install = |timeout: u32| {
            let chart = chart(name, timeout);
            if client_side {
                let ran = admin.kubectl_with(&["apply", "-f", "-"], &chart.to_string());
                assert_eq!(ran.status, 0, "{ran:?}");
            } else {
                admin.apply(&at(name, "chart"), &chart).done();
            }
        };
        install(5);
        let ours = bundle(name, "pods.example.com", ONE);
        let first = admin.apply(&at(name, "pullpass"), &ours).done();
        let again = admin.apply(&at(name, "pullpass"), &ours).done();
        assert_eq!(
            first["metadata"]["resourceVersion"],
            again["metadata"]["resourceVersion"]
        );
        install(5);
        install(6);
        let now = admin.get(&format!("{AT}/{name}")).done();
        assert_eq!(
            now["webhooks"][0]["clientConfig"]["caBundle"], ONE,
            "{name}"
        );
        assert_eq!(now["webhooks"][0]["timeoutSeconds"], 6, "{name}");
        admin.delete(&format!("{AT}/{name}"), None).done();
    }
}

#[test]
fn a_bundle_is_wiped_by_replace_conflicts_with_an_empty_one_and_is_taken_by_force() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let name = "facts-bundles";
    admin.apply(&at(name, "chart"), &chart(name, 5)).done();
    let ours = |value: &str| bundle(name, "pods.example.com", value);
    admin.apply(&at(name, "pullpass"), &ours(ONE)).done();
    let mut empty = chart(name, 5);
    empty["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
    let conflict = admin.apply(&at(name, "chart"), &empty);
    let (status, message) = conflict.refused();
    assert_eq!(status, 409);
    assert!(message.contains("conflict with \"pullpass\""), "{message}");

    let ran = admin.kubectl_with(&["replace", "-f", "-"], &chart(name, 5).to_string());
    assert_eq!(ran.status, 0, "{ran:?}");
    let there = || {
        admin.get(&format!("{AT}/{name}")).done()["webhooks"][0]["clientConfig"]["caBundle"].clone()
    };
    assert_eq!(there(), Value::Null, "wiped");

    let edit = json!({"webhooks": [chart(name, 5)["webhooks"][0].clone()]});
    let mut edit = edit;
    edit["webhooks"][0]["clientConfig"]["caBundle"] = json!(TWO);
    admin
        .merge(&format!("{AT}/{name}?fieldManager=editor"), &edit)
        .done();
    assert_eq!(there(), TWO, "what is no certificate is taken");
    let shy = admin.apply(&at(name, "pullpass"), &ours(ONE));
    assert_eq!(shy.refused().0, 409, "somebody else's");
    let forced = format!("{}&force=true", at(name, "pullpass"));
    admin.apply(&forced, &ours(ONE)).done();
    assert_eq!(there(), ONE);
    admin.delete(&format!("{AT}/{name}"), None).done();
}

#[test]
fn a_bundle_needs_its_entry() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let name = "facts-entries";
    let forced = format!("{}&force=true", at(name, "pullpass"));
    let absent = admin.apply(&forced, &bundle(name, "pods.example.com", ONE));
    assert_eq!(absent.refused().0, 422, "no configuration: {absent:?}");
    admin.apply(&at(name, "chart"), &chart(name, 5)).done();
    let unknown = admin.apply(&forced, &bundle(name, "other.example.com", ONE));
    let (status, message) = unknown.refused();
    assert_eq!(status, 422, "no such entry");
    assert!(
        message.contains("exactly one of url or service is required"),
        "{message}"
    );
    let ours = bundle(name, "pods.example.com", ONE);
    admin.apply(&forced, &ours).done();
    let mut renamed = chart(name, 5);
    renamed["webhooks"][0]["name"] = json!("renamed.example.com");
    let upgrade = admin.apply(&at(name, "chart"), &renamed);
    assert_eq!(
        upgrade.refused().0,
        422,
        "why the names of entries never change: {upgrade:?}"
    );
    admin.delete(&format!("{AT}/{name}"), None).done();
}
