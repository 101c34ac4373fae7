//! pullpass in a real cluster: installed as it tells to be, under its own accounts' rights, seen through the API server
//! and real kubectl. A file a subject.

mod accounts;
mod audit;
mod fake;
mod faults;
mod hand;
mod holds;
pub(crate) mod install;
mod others;
mod pods;
mod policies;
mod rights;
mod said;
mod scope;
mod start;
mod tenants;
mod watches;
mod yardstick;

pub(crate) use install::put;
use serde_json::{Value, json};

use crate::plane::Plane;

/// A policy with these rules, as YAML items.
pub(crate) fn policy(name: &str, rules: &str) -> String {
    format!(
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: {name}}}\nspec:\n  rules:\n{rules}"
    )
}

/// The rule that a test has when it only matters that there is one.
pub(crate) const HUB: &str =
    "    - {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub-creds]}}\n";

fn pod(name: &str, spec: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    });
    let spec = spec.as_object().unwrap().clone();
    pod["spec"].as_object_mut().unwrap().extend(spec);
    pod
}

/// The names of a Pod's pull secrets, in order.
fn secrets(pod: &Value) -> Vec<&str> {
    let entries = pod["spec"]["imagePullSecrets"].as_array();
    let entries = entries.into_iter().flatten();
    entries
        .map(|entry| entry["name"].as_str().unwrap_or("(nameless)"))
        .collect()
}

/// The Pods of a namespace.
fn pods(plane: &Plane, namespace: &str) -> Vec<Value> {
    let list = plane
        .admin()
        .get(&format!("/api/v1/namespaces/{namespace}/pods"));
    list.done()["items"].as_array().unwrap().clone()
}
