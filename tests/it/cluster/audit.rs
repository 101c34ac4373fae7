//! What the API server's own audit log tells of our decisions, and policies that only tell.

use serde_json::{Value, json};

use super::install::Installation;
use super::{HUB, pod, policy, secrets};
use crate::plane::{Plane, wait_for};

/// What the audit log says of the creation of the only Pod in a namespace.
fn annotations(plane: &Plane, namespace: &str) -> Value {
    let uri = format!("/api/v1/namespaces/{namespace}/pods");
    let event = wait_for("the line in the audit log", || {
        let mut events =
            plane.audited(|event| event["verb"] == "create" && event["requestURI"] == *uri);
        events.pop()
    });
    event["annotations"].clone()
}

#[test]
fn the_audit_log_tells_what_was_decided_and_by_which_rule() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    let x = "    - {name: x, match: {images: [quay.io]}, inject: {serviceAccountName: x, imagePullSecrets: [quay-creds]}}\n";
    installation.put("company", &policy("company", &[HUB, x].concat()));
    let _webhook = installation.serve(&[]);
    let namespace = installation.namespace("audited");
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    let account = json!({"metadata": {"name": "x"}});
    plane.admin().post(&accounts, &account).done();
    let both = json!({"containers": [{"name": "a", "image": "nginx"}, {"name": "b", "image": "quay.io/a/b"}]});
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    plane.admin().post(&pods, &pod("p", &both)).done();
    let said = annotations(plane, &namespace);
    for (key, want) in [
        ("rules", json!("company/hub,company/x")),
        ("secrets", json!("hub-creds,quay-creds")),
        ("service-account", json!("x")),
    ] {
        assert_eq!(
            said[format!("pods.pullpass.dev/{key}")],
            want,
            "{key}: {said}"
        );
    }
    let policy = said["pods.pullpass.dev/policy"]
        .as_str()
        .unwrap_or_default();
    assert!(!policy.is_empty(), "which table it was: {said}");
}

#[test]
fn a_policy_in_audit_mode_tells_and_changes_nothing() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    let quay = "    - {name: next, match: {images: [docker.io/library]}, inject: {imagePullSecrets: [next-creds]}}\n";
    let trial = policy("trial", quay).replace("spec:\n", "spec:\n  mode: Audit\n");
    installation.put("company", &policy("company", HUB));
    installation.put("trial", &trial);
    let _webhook = installation.serve(&[]);
    let namespace = installation.namespace("trial");
    let ran = plane.admin().kubectl(&[
        "-n", &namespace, "run", "p", "--image", "nginx", "-o", "json",
    ]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let made: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(secrets(&made), ["hub-creds"], "as if it were not there");
    let warning = "`trial/next` would add pull secret next-creds";
    assert!(ran.stderr.contains(warning), "{}", ran.stderr);
    let uri = format!("/api/v1/namespaces/{namespace}/pods");
    let event = wait_for("the line in the audit log", || {
        let of_kubectl = |event: &Value| {
            event["verb"] == "create"
                && event["requestURI"]
                    .as_str()
                    .unwrap_or_default()
                    .starts_with(&uri)
        };
        plane.audited(of_kubectl).pop()
    });
    let said = event["annotations"]["pods.pullpass.dev/audit"].as_str();
    assert!(
        said.unwrap_or_default()
            .contains("add pull secret next-creds"),
        "{event}"
    );
}
