//! The whole answer to whole reviews: tables of Pods in, patches and warnings out.

use serde_json::{Value, json};

use super::{Outcome, admit, answer, review::Pod};
use crate::diagnostic::Source;
use crate::policy::{ParseOptions, parse, table::Table};
use crate::snapshot::{Accounts, Namespaces, ScopeOptions, Snapshot};

fn snapshot(policy: &str) -> Snapshot {
    let parsed = parse(
        &Source::new("policy.yaml", policy),
        &ParseOptions::default(),
    );
    assert!(
        !crate::diagnostic::any_error(&parsed.diagnostics),
        "{:?}",
        parsed.diagnostics
    );
    Snapshot {
        table: Table::new(parsed.policies),
        namespaces: Namespaces::default(),
        accounts: Accounts::default(),
        scope: ScopeOptions::default(),
    }
}

const HUB: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: p}
spec:
  rules:
    - {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub-creds]}}
";

/// Applies the patch as the API server does, and asks again: there is nothing left to do.
fn mutate(pod: &Value, snapshot: &Snapshot) -> Value {
    let bytes = serde_json::to_vec(pod).unwrap();
    let admission = admit(&Pod::from_json(&bytes).unwrap(), "web", snapshot);
    let mut after = pod.clone();
    json_patch::patch(&mut after, &admission.patch).unwrap();
    let bytes = serde_json::to_vec(&after).unwrap();
    let again = admit(&Pod::from_json(&bytes).unwrap(), "web", snapshot);
    assert!(
        again.patch.is_empty(),
        "a second call patches again: {}",
        again.patch
    );
    assert_eq!(
        again.audit, admission.audit,
        "a second call states another decision"
    );
    after
}

#[test]
fn a_pod_without_pull_secrets_gets_the_list() {
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
    let after = mutate(&pod, &snapshot(HUB));
    assert_eq!(
        after["spec"]["imagePullSecrets"],
        json!([{"name": "hub-creds"}])
    );
    assert_eq!(
        after["metadata"]["annotations"],
        json!({"pullpass.dev/rules": "p/hub"})
    );
}

#[test]
fn an_answer_echoes_the_uid_and_carries_the_patch() {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
            "namespace": "web", "object": {"metadata": {}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}}
    });
    let answer = answer(review.to_string().as_bytes(), &snapshot(HUB)).unwrap();
    assert_eq!(answer.facts.outcome, Outcome::Patched);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["response"]["uid"], "u1");
    assert_eq!(body["response"]["patchType"], "JSONPatch");
    assert_eq!(body["response"]["auditAnnotations"]["secrets"], "hub-creds");
}
