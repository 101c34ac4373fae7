//! What becomes of a Pod, as data: for the answer, for metrics and logs, for the command line.
//!
//! Holds names only, never a secret's value. Decides nothing.

use std::fmt;
use std::sync::Arc;

use json_patch::Patch;

use super::Lack;
use crate::diagnostic::Code;
use crate::snapshot::Exclusion;

/// One warning for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Its kind.
    pub code: Code,
    /// What it says, in one line.
    pub message: String,
}

impl Warning {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// What becomes of one Pod.
#[derive(Debug)]
pub struct Admission {
    /// How it is answered.
    pub outcome: Outcome,
    /// Why it is left alone, if it is.
    pub exclusion: Option<Exclusion>,
    /// What to change.
    pub patch: Patch,
    /// Why it is refused, if it is.
    pub denial: Option<String>,
    /// What to tell the client.
    pub warnings: Vec<Warning>,
    /// For the API server's audit log: key and value.
    pub audit: Vec<(&'static str, String)>,
    /// `policy/rule` of each rule that applied.
    pub rules: Vec<String>,
    /// The Secrets for which the Pod would be held while they are not there.
    pub holds: Vec<String>,
    /// Those of them for which it is held: they are not there now.
    pub held: Vec<String>,
    /// What became of its images.
    pub images: ImageCounts,
    /// How many pull secrets each policy injected.
    pub secrets: Vec<(Arc<str>, u32)>,
    /// What became of its account.
    pub account: Option<AccountChange>,
    /// What the snapshot could not tell.
    pub lacks: Vec<Lack>,
}

impl Admission {
    pub(super) fn unchanged(outcome: Outcome) -> Self {
        Self {
            outcome,
            exclusion: None,
            patch: Patch(Vec::new()),
            denial: None,
            warnings: Vec::new(),
            audit: Vec::new(),
            rules: Vec::new(),
            holds: Vec::new(),
            held: Vec::new(),
            images: ImageCounts::default(),
            secrets: Vec::new(),
            account: None,
            lacks: Vec::new(),
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        let warnings = vec![Warning::new(Code::NotAPod, message)];
        Self {
            warnings,
            ..Self::unchanged(Outcome::Invalid)
        }
    }
}

/// What happened to one review. Holds names only, never a secret's value.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What was asked.
    pub operation: Operation,
    /// What was answered.
    pub outcome: Outcome,
    /// The code of every warning, also of those that did not fit.
    pub warnings: Vec<Code>,
    /// What became of the images.
    pub images: ImageCounts,
    /// How many pull secrets each policy injected.
    pub secrets: Vec<(Arc<str>, u32)>,
    /// What became of the service account.
    pub account: Option<AccountChange>,
    /// The request's uid.
    pub uid: String,
    /// The request's namespace.
    pub namespace: String,
    /// The Pod's name, or its prefix.
    pub pod: String,
    /// The rules that applied.
    pub rules: String,
    /// The Secrets for which it waits.
    pub held: String,
}

macro_rules! words {
    ($( $(#[doc = $doc:literal])+ $name:ident { $( $(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal, )+ } )+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[doc = $variant_doc])+ $variant, )+ }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word that metrics and logs use.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+ };
}

words! {
    /// What a request does to its object. Closed: Kubernetes has these four.
    Operation {
        /// A new object.
        Create = "CREATE",
        /// A change.
        Update = "UPDATE",
        /// A removal.
        Delete = "DELETE",
        /// A connection, as `kubectl exec` makes.
        Connect = "CONNECT",
    }

    /// How a review was answered. Closed: metrics and their alerts name them.
    Outcome {
        /// With a patch.
        Patched = "patched",
        /// With nothing to change.
        Unchanged = "unchanged",
        /// The Pod is out of scope.
        Excluded = "excluded",
        /// With a refusal.
        Denied = "denied",
        /// The request holds no Pod that can be read.
        Invalid = "invalid",
    }

    /// What became of a Pod's service account. Closed: metrics name them.
    AccountChange {
        /// It was switched.
        Switched = "switched",
        /// The account to switch to does not exist.
        Missing = "missing",
        /// The API server would refuse the Pod under it.
        Refused = "refused",
    }
}

/// What became of a Pod's images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageCounts {
    /// A rule won them.
    pub matched: u32,
    /// No rule is about them.
    pub unmatched: u32,
    /// Their reference does not parse.
    pub unreadable: u32,
}
