//! A review of a ConfigMap that holds policies → allowed, or refused with what `lint` says of it.
//!
//! Errors deny, warnings warn, everything else is allowed: another kind, no label, a removal. What only
//! all policies together show (a name that another ConfigMap has taken) is not judged here.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::response::{Denial, Response, bounded_warnings};
use super::{Answer, BadReview, Facts, ImageCounts, Outcome, Warning, check_version, operation};
use crate::diagnostic::{Diagnostic, Severity, Source};
use crate::policy::document::Scope;
use crate::policy::parse::{POLICY_LABEL, holds_policies};
use crate::policy::{Parsed, checks, parse_key};
use crate::snapshot::Snapshot;
use json_patch::Patch;

/// The most errors that a refusal tells; a person mends these first.
const MAX_ERRORS: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    object: Value,
}

/// Answers a review of a ConfigMap.
pub fn validate(body: &[u8], snapshot: &Snapshot) -> Result<Answer, BadReview> {
    let review: Review = serde_json::from_slice(body).map_err(BadReview::NotJson)?;
    check_version(&review.api_version, &review.kind)?;
    let request = review.request.ok_or(BadReview::NoRequest)?;
    let namespace = request.namespace.unwrap_or_default();
    let diagnostics = examine(&request.object, &namespace, &snapshot.scope.own_namespace);

    let (errors, warnings): (Vec<Diagnostic>, Vec<Diagnostic>) = diagnostics
        .into_iter()
        .partition(|d| d.severity() == Severity::Error);
    let warnings: Vec<Warning> = warnings
        .iter()
        .map(|d| {
            Warning::new(
                d.code,
                d.place
                    .as_ref()
                    .map_or_else(String::new, |p| format!("{p}: "))
                    + &d.message,
            )
        })
        .collect();
    let message = (!errors.is_empty()).then(|| refusal(&errors));
    let sent = bounded_warnings(&warnings);
    let body = Response {
        uid: &request.uid,
        denial: message.as_deref().map(Denial::Invalid),
        patch: &Patch(Vec::new()),
        warnings: &sent,
        audit: &[],
    }
    .to_json();
    let facts = Facts {
        operation: operation(&request.operation),
        outcome: if message.is_some() {
            Outcome::Denied
        } else {
            Outcome::Unchanged
        },
        warnings: warnings.iter().map(|warning| warning.code).collect(),
        images: ImageCounts::default(),
        secrets: Vec::new(),
        account: None,
        uid: request.uid,
        namespace,
        pod: String::new(),
        rules: String::new(),
    };
    Ok(Answer {
        body,
        facts,
        lacks: Vec::new(),
    })
}

/// Everything that is wrong with a ConfigMap's policies; nothing for any other object.
fn examine(object: &Value, namespace: &str, own_namespace: &str) -> Vec<Diagnostic> {
    let label = object
        .pointer("/metadata/labels")
        .and_then(|labels| labels.get(POLICY_LABEL));
    let is_policy = object.get("kind").and_then(Value::as_str) == Some("ConfigMap")
        && label.and_then(Value::as_str) == Some("true");
    let Some(data) = object
        .get("data")
        .and_then(Value::as_object)
        .filter(|_| is_policy)
    else {
        return Vec::new();
    };
    let scope = if namespace == own_namespace {
        Scope::Cluster
    } else {
        Scope::Namespace(Arc::from(namespace))
    };
    let mut keys: Vec<_> = data.iter().filter(|(key, _)| holds_policies(key)).collect();
    keys.sort_by_key(|(key, _)| *key);
    let mut parsed = Parsed::default();
    for (key, text) in keys {
        if let Some(text) = text.as_str() {
            parsed.append(parse_key(&Source::new(key.as_str(), text), &scope));
        }
    }
    checks::run(&mut parsed);
    parsed.diagnostics
}

/// One line an error, and how many more there are. `kubectl` prints the lines as they are.
fn refusal(errors: &[Diagnostic]) -> String {
    let mut message = String::from("the policies have errors:");
    for error in errors.iter().take(MAX_ERRORS) {
        // Writing into a `String` cannot fail.
        let _ = write!(message, "\n{error}");
    }
    if let Some(more) = errors
        .len()
        .checked_sub(MAX_ERRORS)
        .filter(|more| *more > 0)
    {
        let _ = write!(message, "\nand {more} more");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{LoadOptions, load};
    use serde_json::json;

    const GOOD: &str = "{apiVersion: pullpass.dev/v1, kind: RegistryPolicy, metadata: {name: p}, spec: \
        {rules: [{name: a, match: {images: [docker.io]}, inject: {imagePullSecrets: [x]}}], \
        credentials: [{name: x, from: {existing: {}}}]}}";

    fn respond(object: &Value, namespace: &str) -> Value {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u", "operation": "CREATE", "namespace": namespace, "object": object},
        });
        let snapshot = load(&[], &[], &LoadOptions::default()).snapshot;
        let answer = validate(review.to_string().as_bytes(), &snapshot).unwrap();
        serde_json::from_slice::<Value>(&answer.body).unwrap()["response"].clone()
    }

    fn config_map(label: &str, text: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "c", "labels": {POLICY_LABEL: label}}, "data": {"p.yaml": text}})
    }

    #[test]
    fn errors_deny_and_warnings_warn() {
        let own = "pullpass-system";
        let bad = GOOD.replace("inject", "injekt");
        let warned = GOOD.replace("docker.io", "'https://docker.io'");
        for (object, namespace, allowed, warnings, why) in [
            (config_map("true", GOOD), own, true, 0, "a good policy"),
            (
                config_map("true", &bad),
                own,
                false,
                0,
                "a field that is not known",
            ),
            (
                config_map("false", &bad),
                own,
                true,
                0,
                "not labelled as a policy",
            ),
            (config_map("true", &warned), own, true, 1, "a warning"),
            (
                config_map("true", GOOD),
                "shop",
                false,
                0,
                "a tenant's credential",
            ),
            (json!({"kind": "Pod"}), own, true, 0, "another kind"),
            (Value::Null, own, true, 0, "a removal"),
        ] {
            let response = respond(&object, namespace);
            assert_eq!(response["allowed"], allowed, "{why}: {response}");
            let got = response["warnings"].as_array().map_or(0, Vec::len);
            assert_eq!(got, warnings, "{why}: {response}");
            assert!(response.get("patch").is_none(), "{why}");
        }
    }

    #[test]
    fn a_refusal_is_invalid_and_tells_every_error_with_its_place() {
        let bad = GOOD
            .replace("inject", "injekt")
            .replace("existing", "exist");
        let response = respond(&config_map("true", &bad), "pullpass-system");
        let status = &response["status"];
        assert_eq!(
            (&status["code"], &status["reason"]),
            (&json!(422), &json!("Invalid"))
        );
        let message = status["message"].as_str().unwrap();
        assert!(
            message.contains("PP102") && message.contains("PP104"),
            "{message}"
        );
        assert!(message.contains("p.yaml:1:"), "{message}");
        assert!(
            status.get("details").is_none(),
            "causes would replace the message: {status}"
        );
    }
}
