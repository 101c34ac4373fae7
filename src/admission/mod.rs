//! What an admission call comes to: the answer's bytes and the facts that are counted and logged.
//!
//! Only data. It reads no request and decides nothing.

use std::sync::Arc;

use crate::diagnostic;

/// An answered review.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The AdmissionReview that goes back, as JSON.
    pub body: Vec<u8>,
    /// What is counted and logged of it.
    pub facts: Facts,
}

/// What is counted and logged of one answered review.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The review's operation.
    pub operation: Operation,
    /// What was decided.
    pub outcome: Outcome,
    /// The codes of the warnings that went out.
    pub warnings: Vec<diagnostic::Code>,
    /// How the Pod's images fared.
    pub images: ImageCounts,
    /// How many secrets each policy injected.
    pub secrets: Vec<(Arc<str>, u32)>,
    /// What became of the service account, when a rule wanted another.
    pub account: Option<AccountChange>,
    /// The review's uid.
    pub uid: String,
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod's name, or its `generateName`.
    pub pod: String,
    /// The rules that applied, `policy/rule`, comma-separated.
    pub rules: String,
}

/// What the API server was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `CREATE`
    Create,
    /// `UPDATE`
    Update,
    /// `DELETE`
    Delete,
    /// `CONNECT`
    Connect,
}

impl Operation {
    /// As the review writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What became of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Allowed, with a patch.
    Patched,
    /// Allowed; nothing to change.
    Unchanged,
    /// Allowed; out of scope.
    Excluded,
    /// Denied.
    Denied,
    /// Not something we can read.
    Invalid,
}

impl Outcome {
    /// As the metric's label writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Patched => "patched",
            Self::Unchanged => "unchanged",
            Self::Excluded => "excluded",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
        }
    }
}

/// How many images found a rule, found none, or could not be parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageCounts {
    /// A rule matched.
    pub matched: u32,
    /// No rule matched.
    pub unmatched: u32,
    /// The reference does not parse.
    pub unreadable: u32,
}

/// What became of a wanted change of the service account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountChange {
    /// Switched.
    Switched,
    /// The account does not exist.
    Missing,
    /// The API server would have refused the Pod.
    Refused,
}

impl AccountChange {
    /// As the metric's label writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Switched => "switched",
            Self::Missing => "missing",
            Self::Refused => "refused",
        }
    }
}
