//! An admission → the AdmissionReview that answers it, as JSON, within the API server's limits.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::line::one_line;
use super::{REVIEW_VERSION, Warning};

/// The longest warning: a client shows one line. The API server cuts at 256 when all are too long.
const MAX_WARNING: usize = 256;
/// The longest all warnings together; beyond it the API server cuts and drops.
const MAX_WARNINGS: usize = 4096;

/// The warnings that are sent: one line each, equal ones once, as many as fit.
pub(crate) fn bounded_warnings(warnings: &[Warning]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut total = 0;
    for warning in warnings {
        let line = one_line(
            &format!("pullpass {}: {}", warning.code, warning.message),
            MAX_WARNING,
        );
        if total + line.len() > MAX_WARNINGS {
            break;
        }
        if !lines.contains(&line) {
            total += line.len();
            lines.push(line);
        }
    }
    lines
}

/// Why a request is refused.
#[derive(Clone, Copy)]
pub(crate) enum Denial<'r> {
    /// The Pod may not be created: 403.
    Forbidden(&'r str),
    /// The object is wrong in itself: 422.
    Invalid(&'r str),
}

/// What the response says.
pub(crate) struct Response<'r> {
    pub uid: &'r str,
    pub denial: Option<Denial<'r>>,
    pub patch: &'r Patch,
    pub warnings: &'r [String],
    pub audit: &'r [(&'static str, String)],
}

impl Response<'_> {
    /// The whole AdmissionReview.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(1024);
        // Writing strings and maps of strings into a Vec cannot fail.
        if serde_json::to_writer(&mut body, &Envelope(self)).is_err() {
            body.clear();
        }
        body
    }
}

struct Envelope<'r>(&'r Response<'r>);

impl Serialize for Envelope<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("apiVersion", REVIEW_VERSION)?;
        map.serialize_entry("kind", "AdmissionReview")?;
        map.serialize_entry("response", self.0)?;
        map.end()
    }
}

impl Serialize for Response<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("uid", self.uid)?;
        map.serialize_entry("allowed", &self.denial.is_none())?;
        if let Some(denial) = self.denial {
            map.serialize_entry("status", &denial)?;
        } else if !self.patch.is_empty() {
            let patch = serde_json::to_vec(self.patch).map_err(serde::ser::Error::custom)?;
            map.serialize_entry("patchType", "JSONPatch")?;
            map.serialize_entry("patch", &STANDARD.encode(patch))?;
        }
        if !self.warnings.is_empty() {
            map.serialize_entry("warnings", self.warnings)?;
        }
        if !self.audit.is_empty() {
            map.serialize_entry("auditAnnotations", &Pairs(self.audit))?;
        }
        map.end()
    }
}

impl Serialize for Denial<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Without a code the API server answers 400 and no reason.
        let (code, reason, message) = match self {
            Self::Forbidden(message) => (403, "Forbidden", message),
            Self::Invalid(message) => (422, "Invalid", message),
        };
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("code", &code)?;
        map.serialize_entry("reason", reason)?;
        map.serialize_entry("message", message)?;
        map.end()
    }
}

struct Pairs<'r>(&'r [(&'static str, String)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}
