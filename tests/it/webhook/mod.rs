//! `pullpass webhook`, the built binary, over real TLS: started as a user starts it, stopped by signals.

mod certificates;
pub(crate) mod client;
mod descriptors;
mod metrics;
mod reload;
pub(crate) mod server;
mod shutdown;
mod start;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// Waits for a condition, within bounds.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "it did not come true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends threads that ask until it is dropped, also by a failure of the test.
#[derive(Default)]
struct Load(AtomicBool);

impl Load {
    fn goes_on(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }

    /// Ends the load when the value is dropped.
    fn until_dropped(&self) -> impl Drop + use<'_> {
        struct End<'l>(&'l Load);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.0.store(true, Ordering::Relaxed);
            }
        }
        End(self)
    }
}

/// A policy with one rule for each pair of an image pattern and a secret.
fn policy(rules: &[(&str, &str)]) -> String {
    let mut text =
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {name: p}\nspec:\n  rules:\n"
            .to_owned();
    for (i, (pattern, secret)) in rules.iter().enumerate() {
        writeln!(
            text,
            "    - {{name: r{i}, match: {{images: [\"{pattern}\"]}}, inject: {{imagePullSecrets: [{secret}]}}}}"
        )
        .unwrap();
    }
    text
}

/// A review of a Pod with these images.
pub(crate) fn review(namespace: &str, images: &[&str]) -> Value {
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(i, image)| json!({"name": format!("c{i}"), "image": image}))
        .collect();
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE", "namespace": namespace,
            "object": {
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "pod", "namespace": namespace},
                "spec": {"serviceAccountName": "default", "containers": containers},
            },
        },
    })
}

/// The operations of an answer's patch.
pub(crate) fn patch(answer: &Value) -> Value {
    use base64::Engine as _;
    match answer["response"]["patch"].as_str() {
        None => json!([]),
        Some(text) => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(text)
                .unwrap();
            serde_json::from_slice(&bytes).unwrap()
        }
    }
}

/// The pull secrets that an answer adds to a Pod that has none.
pub(crate) fn secrets(answer: &Value) -> Vec<String> {
    let patch = patch(answer);
    let operations = patch.as_array().unwrap().iter();
    let list = operations.filter(|op| op["path"] == "/spec/imagePullSecrets");
    let entries = list.flat_map(|op| op["value"].as_array().unwrap().clone());
    entries
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}
