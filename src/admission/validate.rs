//! A review of a ConfigMap that holds policies → allowed, or refused with what `lint` says of it.
//!
//! Errors deny, warnings warn, everything else is allowed: another kind, no label, a removal. Names are
//! held against the other ConfigMaps of the table in force; reads no ConfigMap but the one it is given.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::line::quoted;
use super::response::{Denial, Response, bounded_warnings};
use super::{Answer, BadReview, Facts, ImageCounts, Outcome, Warning, check_version, operation};
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::policy::config_maps::{ConfigMapName, Content};
use crate::policy::document::Scope;
use crate::policy::parse::POLICY_LABEL;
use crate::policy::table::Table;
use crate::policy::{ParseOptions, checks};
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

/// Answers a review of a ConfigMap, beside the table in force.
pub fn validate(body: &[u8], table: &Table, options: &ParseOptions) -> Result<Answer, BadReview> {
    let review: Review = serde_json::from_slice(body).map_err(BadReview::NotJson)?;
    check_version(&review.api_version, &review.kind)?;
    let request = review.request.ok_or(BadReview::NoRequest)?;
    let namespace = request.namespace.unwrap_or_default();
    let (diagnostics, not_read) = match holds(&request.object, &namespace, options) {
        Holds::Nothing => (Vec::new(), None),
        Holds::Unread(warning) => (Vec::new(), Some(warning)),
        Holds::Policies(scope) => (examine(&request.object, &namespace, &scope, table), None),
    };
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
        .chain(not_read)
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
        held: String::new(),
    };
    Ok(Answer {
        body,
        facts,
        lacks: Vec::new(),
    })
}

/// What an object is to us.
enum Holds {
    /// No ConfigMap with our label.
    Nothing,
    /// A tenant's policies, which nobody reads.
    Unread(Warning),
    /// Policies.
    Policies(Scope),
}

fn holds(object: &Value, namespace: &str, options: &ParseOptions) -> Holds {
    let label = object
        .pointer("/metadata/labels")
        .and_then(|labels| labels.get(POLICY_LABEL));
    let is_policy = object.get("kind").and_then(Value::as_str) == Some("ConfigMap")
        && label.and_then(Value::as_str) == Some("true");
    if !is_policy {
        Holds::Nothing
    } else if *namespace == *options.own_namespace {
        Holds::Policies(Scope::Cluster)
    } else if options.tenant_policies {
        Holds::Policies(Scope::Namespace(Arc::from(namespace)))
    } else {
        let message = format!(
            "policies in namespace {} are not read: pullpass reads those in `{}`; start it with \
             `--tenant-policies` to read the tenants' as well",
            quoted(namespace),
            options.own_namespace,
        );
        Holds::Unread(Warning::new(Code::TenantsOff, message))
    }
}

/// Everything that is wrong with a ConfigMap's policies.
fn examine(object: &Value, namespace: &str, scope: &Scope, table: &Table) -> Vec<Diagnostic> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    let name = ConfigMapName {
        namespace: namespace.into(),
        name: name.unwrap_or_default().into(),
    };
    let data = object.get("data").and_then(Value::as_object);
    let texts = data
        .into_iter()
        .flatten()
        .filter_map(|(key, text)| Some((key.as_str(), text.as_str()?)));
    let mut parsed = Content::submitted(&name, texts).parse(scope);
    checks::run_beside(&mut parsed, &name, table);
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
mod tests;
