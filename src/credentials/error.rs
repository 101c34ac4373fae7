//! Why nothing was fetched, in words for an Event: what, where, why, what to do.
//!
//! The causes are told as text and not kept: errors of HTTP libraries and clouds quote requests, and a
//! request has tokens in it. So nothing that is secret gets in here, and every text is one bounded line.

use std::time::Duration;

use crate::docker_config::Dropped;

/// Why nothing was fetched. `call` is what was asked, of whom and where, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No version of pullpass can do it yet.
    #[error(
        "pullpass cannot fetch from `{from}` yet: make the Secret by other means and declare it \
         `from: {{existing: {{}}}}`"
    )]
    NotYet {
        /// The source, as a policy names it.
        from: &'static str,
    },
    /// This build cannot do it.
    #[error(
        "this pullpass was built without the feature `{feature}` and cannot fetch from `{from}`"
    )]
    LeftOut {
        /// The source, as a policy names it.
        from: &'static str,
        /// The feature that brings it.
        feature: &'static str,
    },
    /// The source is none that is asked.
    #[error("nothing is fetched from `{from}`")]
    NotFetched {
        /// The source, as a policy names it.
        from: &'static str,
    },
    /// pullpass has no identity to ask with, or it is not accepted.
    #[error("{call} has no usable credentials: {why}; {help}")]
    NoIdentity {
        /// What was asked.
        call: String,
        /// Why there is none.
        why: String,
        /// What to do.
        help: String,
    },
    /// The identity may not ask.
    #[error("{call} is refused: {why}; {help}")]
    Denied {
        /// What was asked.
        call: String,
        /// Who may not do what.
        why: String,
        /// Which right is missing.
        help: String,
    },
    /// Asked too often.
    #[error("{call} is throttled: {why}; it is asked again later")]
    Throttled {
        /// What was asked.
        call: String,
        /// What the source says.
        why: String,
    },
    /// Nobody answered in time.
    #[error("{call} was not answered in time: {why}; {}", ROUTE)]
    Timeout {
        /// What was asked.
        call: String,
        /// What was waited for, and how long.
        why: String,
    },
    /// Nobody was reached.
    #[error("{call} reached nobody: {why}; {}", ROUTE)]
    Unreachable {
        /// What was asked.
        call: String,
        /// What failed.
        why: String,
    },
    /// An answer that cannot be used.
    #[error("{call} was answered by something that cannot be used: {why}")]
    BadAnswer {
        /// What was asked.
        call: String,
        /// What is wrong with it.
        why: String,
    },
    /// A token that no registry takes.
    #[error("{call} gave a token that had expired {} s before; are the clocks right?", ago.as_secs())]
    Expired {
        /// What was asked.
        call: String,
        /// How long before.
        ago: Duration,
    },
    /// The source failed, by its own word.
    #[error("{call} failed: {why}")]
    Failed {
        /// What was asked.
        call: String,
        /// What the source says.
        why: String,
    },
    /// What was fetched holds nothing that is wanted.
    #[error("nothing of what was fetched can be written: {why}")]
    NothingLeft {
        /// Why, of the first entry.
        why: String,
    },
}

/// What to look at when nobody answers.
const ROUTE: &str =
    "look at the controller's NetworkPolicy, `HTTPS_PROXY`, `NO_PROXY` and `--ca-bundle`";

impl FetchError {
    pub(super) fn nothing_left(dropped: &[Dropped]) -> Self {
        let why = match dropped.first() {
            Some(dropped) => dropped.to_string(),
            None => "it has no entry".to_owned(),
        };
        Self::NothingLeft { why }
    }

    /// One word for it, for a label or an Event's reason: never more than there are variants.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotYet { .. } => "not-yet",
            Self::LeftOut { .. } => "left-out",
            Self::NotFetched { .. } => "not-fetched",
            Self::NoIdentity { .. } => "no-identity",
            Self::Denied { .. } => "denied",
            Self::Throttled { .. } => "throttled",
            Self::Timeout { .. } => "timeout",
            Self::Unreachable { .. } => "unreachable",
            Self::BadAnswer { .. } => "bad-answer",
            Self::Expired { .. } => "expired",
            Self::Failed { .. } => "failed",
            Self::NothingLeft { .. } => "nothing-left",
        }
    }

    /// Whether the same question has the same answer until somebody edits the policy or replaces pullpass.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::NotYet { .. } | Self::LeftOut { .. } | Self::NotFetched { .. }
        )
    }
}
