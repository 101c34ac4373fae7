//! The whole answer to whole reviews: tables of Pods in, Pods and warnings out.
//!
//! Every patch is applied as the API server does it and the answer is asked for again: there is nothing
//! left to change, and the audit annotations are the same.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use json_patch::{Patch, PatchOperation};
use serde_json::{Value, json};

use super::{Answer, BadReview, Facts, Lack, answer};
use crate::diagnostic::{Severity, Source};
use crate::load::{LoadOptions, load};
use crate::snapshot::Snapshot;

mod accounts;
mod audits;
mod holds;
mod lacks;
mod patches;
mod plugin;
mod properties;
mod responses;
mod reviews;
mod updates;
mod yardstick;

/// A rule for Docker Hub's images, and one that is about none of the tests' other images.
const HUB: &str =
    "- {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub-creds]}}";

/// A policy `p` of these rules, one a line.
fn policy(rules: &str) -> String {
    named_policy("p", "Enforce", rules)
}

fn named_policy(name: &str, mode: &str, rules: &str) -> String {
    let rules: Vec<String> = rules
        .lines()
        .map(|line| format!("    {}", line.trim()))
        .collect();
    let rules = rules.join("\n");
    format!(
        "---\napiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: {name}}}\n\
         spec:\n  mode: {mode}\n  rules:\n{rules}\n"
    )
}

/// Policies and objects as one snapshot.
fn cluster(policies: &str, objects: &str) -> Snapshot {
    let sources = [Source::new("policy.yaml", policies)];
    let objects = [Source::new("objects.yaml", objects)];
    let options = LoadOptions {
        namespace: "web".to_owned(),
        ..LoadOptions::default()
    };
    let loaded = load(&sources, &objects, &options);
    let errors: Vec<&str> = loaded
        .diagnostics
        .iter()
        .filter(|found| found.severity() == Severity::Error)
        .map(|found| &*found.message)
        .collect();
    assert!(
        errors.is_empty(),
        "{errors:?}
{policies}
{objects:?}"
    );
    loaded.snapshot
}

fn snapshot(rules: &str) -> Snapshot {
    cluster(&policy(rules), "")
}

/// A Pod of one container.
fn pod(image: &str) -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

/// The review of a Pod that is being created in the namespace `web`.
fn review(object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "web",
            "operation": "CREATE",
            "object": object,
        },
    })
}

/// An answer, decoded as the API server does.
struct Response {
    body: Value,
    patch: Patch,
    warnings: Vec<String>,
    audit: BTreeMap<String, String>,
    facts: Facts,
    lacks: Vec<Lack>,
}

impl Response {
    fn codes(&self) -> Vec<&str> {
        self.facts
            .warnings
            .iter()
            .map(|code| code.as_str())
            .collect()
    }
}

fn ask(review: &Value, snapshot: &Snapshot) -> Response {
    ask_bytes(&serde_json::to_vec(review).unwrap(), snapshot).unwrap()
}

fn ask_bytes(body: &[u8], snapshot: &Snapshot) -> Result<Response, BadReview> {
    let Answer { body, facts, lacks } = answer(body, snapshot)?;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(body["kind"], "AdmissionReview");
    let body = body["response"].clone();
    assert_eq!(
        body.get("patch").is_some(),
        body.get("patchType").is_some(),
        "{body}"
    );
    let patch = body.get("patch").map_or_else(
        || Patch(Vec::new()),
        |patch| {
            let json = STANDARD.decode(patch.as_str().unwrap()).unwrap();
            serde_json::from_slice(&json).unwrap()
        },
    );
    let decode = |field: &str| body.get(field).cloned();
    let warnings = decode("warnings").map(|v| serde_json::from_value(v).unwrap());
    let audit = decode("auditAnnotations").map(|v| serde_json::from_value(v).unwrap());
    Ok(Response {
        patch,
        warnings: warnings.unwrap_or_default(),
        audit: audit.unwrap_or_default(),
        body,
        facts,
        lacks,
    })
}

/// Asks about the review's Pod, applies the patch and asks again.
fn mutate_review(review: &Value, snapshot: &Snapshot) -> (Value, Response) {
    let response = ask(review, snapshot);
    assert_legal(&response.patch);
    let mut again = review.clone();
    json_patch::patch(&mut again["request"]["object"], &response.patch)
        .unwrap_or_else(|error| panic!("{} does not apply: {error}\n{review}", response.patch));
    let second = ask(&again, snapshot);
    assert!(
        second.patch.is_empty(),
        "a second call patches again: {}\n{again}",
        second.patch
    );
    assert_eq!(
        second.audit, response.audit,
        "a second call states another decision\n{again}"
    );
    (again["request"]["object"].take(), response)
}

fn mutate(pod: &Value, snapshot: &Snapshot) -> Value {
    mutate_review(&review(pod), snapshot).0
}

/// A patch has no `test`, and touches only what it may.
fn assert_legal(patch: &Patch) {
    for operation in patch.iter() {
        let path = operation.path().to_string();
        let tokens: Vec<&str> = path.split('/').skip(1).collect();
        let legal = matches!(
            (operation, tokens.as_slice()),
            (
                PatchOperation::Add(_),
                ["spec", "imagePullSecrets" | "schedulingGates"]
                    | ["spec", "imagePullSecrets" | "schedulingGates", "-"]
                    | ["spec", "containers" | "initContainers", _, "envFrom"]
                    | ["spec", "containers" | "initContainers", _, "envFrom", "-"]
                    | ["metadata"]
                    | ["metadata", "annotations"]
                    | ["metadata", "annotations", "pullpass.dev~1rules"],
            ) | (
                PatchOperation::Add(_) | PatchOperation::Replace(_),
                ["spec", "serviceAccountName" | "serviceAccount"],
            ) | (
                PatchOperation::Remove(_),
                ["spec", "imagePullSecrets" | "volumes", _]
                    | [
                        "spec",
                        "containers" | "initContainers",
                        _,
                        "volumeMounts",
                        _,
                    ],
            )
        );
        assert!(legal, "{operation:?} is none that we may send");
    }
}

/// The names of a Pod's pull secrets.
fn pulls(pod: &Value) -> Vec<&str> {
    let entries = pod["spec"]["imagePullSecrets"]
        .as_array()
        .into_iter()
        .flatten();
    entries
        .map(|entry| entry["name"].as_str().unwrap_or(""))
        .collect()
}
