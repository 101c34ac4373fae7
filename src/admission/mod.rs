//! AdmissionReview in, AdmissionReview out: the webhook's whole answer as a function of its input.
//!
//! bytes → [`review`] → `decide` → `patch` → bytes. Stateless, no I/O, never panics. The command line
//! calls [`admit`] with the same Pods from files.

mod json;
pub mod review;

pub(crate) mod line;
mod outcome;

mod authored;
mod service_account;
mod token;

mod admit;
mod audit;
mod lack;
mod patch;
mod update;

pub mod response;
mod validate;

pub use admit::admit;
pub use lack::Lack;
pub use outcome::{AccountChange, Admission, Facts, ImageCounts, Operation, Outcome, Warning};
pub use patch::RULES_ANNOTATION;
pub use validate::validate;

use line::{one_line, quoted};
use response::Response;
use review::{BareReview, GroupVersionKind, Pod, Review};

/// The one version of AdmissionReview that is spoken.
pub const REVIEW_VERSION: &str = "admission.k8s.io/v1";

/// The answer to a review, and what it says to logs and metrics.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The AdmissionReview to send back, as JSON.
    pub body: Vec<u8>,
    /// What happened.
    pub facts: Facts,
    /// What the snapshot could not tell. With it the answer may be another.
    pub lacks: Vec<Lack>,
}

/// A body that is no AdmissionReview we can answer: 400 and one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadReview {
    /// Not text.
    #[error("the body is not UTF-8, and JSON is: {0}")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// Not JSON, or not of the shape of a review.
    #[error("the body is not an AdmissionReview in JSON: {}", one_line(&.0.to_string(), 200))]
    NotJson(#[source] serde_json::Error),
    /// Another kind.
    #[error("the body is of kind {0}: only `AdmissionReview` is answered here")]
    OtherKind(String),
    /// Another version.
    #[error(
        "the AdmissionReview is of version {0}: only `{REVIEW_VERSION}` is spoken here, list `v1` in the \
         webhook's `admissionReviewVersions`"
    )]
    OtherVersion(String),
    /// A response, or nothing.
    #[error("the AdmissionReview has no `request`: post one as kube-apiserver sends it")]
    NoRequest,
}

/// Answers a review.
pub fn answer(body: &[u8], snapshot: &crate::snapshot::Snapshot) -> Result<Answer, BadReview> {
    // Once for the whole body is five times as fast as once for each string.
    let body = std::str::from_utf8(body).map_err(BadReview::NotUtf8)?;
    let review = match serde_json::from_str::<Review<'_>>(body) {
        Ok(review) => review,
        Err(error) => return answer_unreadable(body, error),
    };
    check_version(&review.api_version, &review.kind)?;
    let request = review.request.as_ref().ok_or(BadReview::NoRequest)?;
    let operation = operation(&request.operation);
    let empty = Pod::default();
    let pod = request.object.as_ref().unwrap_or(&empty);
    let namespace = namespace(&request.namespace, pod);
    let admission = if let Some(admission) = without_a_look(operation, &request.kind) {
        admission
    } else if request.object.is_none() {
        Admission::invalid("the request has no `object`")
    } else if operation == Operation::Create && request.sub_resource.is_empty() {
        admit(pod, namespace, snapshot)
    } else {
        // A subresource cannot change pull secrets, whatever the operation is called.
        let old = json::read_raw(request.old_object).unwrap_or_default();
        update::warn(pod, &old, namespace, snapshot)
    };
    Ok(finish(
        &request.uid,
        operation,
        namespace,
        pod.name(),
        admission,
    ))
}

/// A review whose object is of a shape that no Pod has: allowed, with a warning, if the review itself
/// can be read.
fn answer_unreadable(body: &str, error: serde_json::Error) -> Result<Answer, BadReview> {
    let Ok(review) = serde_json::from_str::<BareReview<'_>>(body) else {
        return Err(BadReview::NotJson(error));
    };
    check_version(&review.api_version, &review.kind)?;
    let request = review.request.as_ref().ok_or(BadReview::NoRequest)?;
    let operation = operation(&request.operation);
    let admission = without_a_look(operation, &request.kind).unwrap_or_else(|| {
        let message =
            format!("the object cannot be read as a Pod, so nothing is injected: {error}");
        Admission::invalid(message)
    });
    Ok(finish(
        &request.uid,
        operation,
        &request.namespace,
        "",
        admission,
    ))
}

/// The answer to a request whose object need not be looked at.
fn without_a_look(operation: Operation, kind: &GroupVersionKind<'_>) -> Option<Admission> {
    match operation {
        // Its object is never a Pod, but the options of `kubectl exec` and the like.
        Operation::Connect => Some(Admission::unchanged(Outcome::Unchanged)),
        _ if !kind.is_pod() => {
            let name = match &*kind.kind {
                "" => "something without a kind".to_owned(),
                name => quoted(name),
            };
            let message = format!("the request is about {name}, and only Pods of v1 are looked at");
            Some(Admission::invalid(message))
        }
        Operation::Delete => Some(Admission::unchanged(Outcome::Unchanged)),
        Operation::Create | Operation::Update => None,
    }
}

fn check_version(api_version: &str, kind: &str) -> Result<(), BadReview> {
    if kind != "AdmissionReview" {
        return Err(BadReview::OtherKind(quoted(kind)));
    }
    if api_version != REVIEW_VERSION {
        return Err(BadReview::OtherVersion(quoted(api_version)));
    }
    Ok(())
}

/// An operation that is none of the four is taken for the first.
fn operation(text: &str) -> Operation {
    Operation::ALL
        .iter()
        .copied()
        .find(|operation| operation.as_str() == text)
        .unwrap_or(Operation::Create)
}

fn namespace<'a>(requested: &'a str, pod: &'a Pod<'_>) -> &'a str {
    let own = pod
        .metadata
        .as_ref()
        .map_or("", |metadata| &*metadata.namespace);
    [requested, own]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or("default")
}

fn finish(uid: &str, operation: Operation, namespace: &str, pod: &str, a: Admission) -> Answer {
    let warnings = response::bounded_warnings(&a.warnings);
    let body = Response {
        uid,
        denial: a.denial.as_deref().map(response::Denial::Forbidden),
        patch: &a.patch,
        warnings: &warnings,
        audit: &a.audit,
    }
    .to_json();
    let facts = Facts {
        operation,
        outcome: a.outcome,
        warnings: a.warnings.iter().map(|warning| warning.code).collect(),
        images: a.images,
        secrets: a.secrets,
        account: a.account,
        uid: uid.to_owned(),
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        rules: a.rules.join(","),
        held: a.held.join(","),
    };
    Answer {
        body,
        facts,
        lacks: a.lacks,
    }
}

#[cfg(test)]
mod tests;
