//! What pullpass relies on, seen on a real API server, without pullpass: a test here that fails says that Kubernetes
//! changed, not pullpass. A file a subject.

mod accounts;
mod answers;
mod applies;
mod configurations;
mod gates;
mod rights;

use serde_json::{Value, json};

/// A Pod of one container.
fn pod(name: &str, spec: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "registry.example.com/c"}]},
    });
    let spec = spec.as_object().unwrap().clone();
    pod["spec"].as_object_mut().unwrap().extend(spec);
    pod
}

/// The path of a kind in a namespace.
fn path(namespace: &str, resource: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/{resource}")
}
