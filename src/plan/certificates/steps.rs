//! What a plan for certificates says: actions with their reasons, and when to look again.
//!
//! It words and holds; what is to be done is decided beside it.

use std::fmt;
use std::time::SystemTime;

use super::seen::{Authority, ConfigurationId, Flaw, Validity};

/// Which of the two Secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The CA's.
    Ca,
    /// The serving certificate's.
    Serving,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a CA; write it, its key and the CAs to keep into its Secret.
    MakeCa {
        /// Its time.
        validity: Validity,
        /// CAs that stay trusted until the serving certificate is swapped.
        keep: Vec<Authority>,
    },
    /// Write these CAs beside the one in the Secret, which stays.
    Keep {
        /// CAs that stay trusted until the serving certificate is swapped.
        previous: Vec<Authority>,
    },
    /// Note in the CA's Secret since when every caBundle holds it; nothing: it is not so any more.
    Mark {
        /// Since when.
        complete_since: Option<SystemTime>,
    },
    /// Set the caBundle of these entries, which are all that were seen there.
    ApplyBundle {
        /// Where.
        configuration: ConfigurationId,
        /// Their names.
        entries: Vec<String>,
        /// What to set.
        bundle: String,
    },
    /// Make a serving certificate signed by the CA, and write it into its Secret.
    MakeServing {
        /// Its time.
        validity: Validity,
    },
    /// Forget the CAs before this one.
    DropOld,
}

/// Why something is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no such Secret.
    Absent(Subject),
    /// The Secret's content is of no use.
    Unusable(Subject, Flaw),
    /// It has expired.
    Expired(Subject),
    /// It is not valid yet: a clock is, or was, off.
    Early(Subject),
    /// Two thirds of its life are over.
    Due(Subject),
    /// The serving certificate is not for the names that are wanted.
    Names,
    /// The CA has not signed the serving certificate.
    Unsigned,
    /// The serving certificate in use is signed by a CA that only the caBundles know.
    Trusted,
    /// The caBundles hold something else than they should.
    Bundle,
    /// Every caBundle holds the CA now.
    Complete,
    /// Some caBundle does not hold the CA any more.
    Incomplete,
    /// Nobody serves under the CAs before this one any more.
    Swapped,
}

impl Reason {
    /// As an Event's machine-readable part and a metric's label would have it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Absent(_) => "Absent",
            Self::Unusable(..) => "Unusable",
            Self::Expired(_) => "Expired",
            Self::Early(_) => "Early",
            Self::Due(_) => "Due",
            Self::Names => "Names",
            Self::Unsigned => "Unsigned",
            Self::Trusted => "Trusted",
            Self::Bundle => "Bundle",
            Self::Complete => "Complete",
            Self::Incomplete => "Incomplete",
            Self::Swapped => "Swapped",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = |subject: &Subject| match subject {
            Subject::Ca => "the CA's Secret",
            Subject::Serving => "the serving certificate's Secret",
        };
        let certificate = |subject: &Subject| match subject {
            Subject::Ca => "the CA",
            Subject::Serving => "the serving certificate",
        };
        match self {
            Self::Absent(of) => write!(f, "{} is not there", secret(of)),
            Self::Unusable(of, flaw) => write!(f, "{} {flaw}", secret(of)),
            Self::Expired(of) => write!(f, "{} has expired", certificate(of)),
            Self::Early(of) => write!(f, "{} is not valid yet", certificate(of)),
            Self::Due(of) => write!(f, "two thirds of the life of {} are over", certificate(of)),
            Self::Names => f.write_str("the serving certificate is for other names"),
            Self::Unsigned => f.write_str("the serving certificate is not signed by the CA"),
            Self::Trusted => f.write_str(
                "the serving certificate in use is signed by a CA that only the caBundles hold",
            ),
            Self::Bundle => f.write_str("the caBundle is not what it should be"),
            Self::Complete => f.write_str("every caBundle holds the CA"),
            Self::Incomplete => f.write_str("a caBundle has lost the CA"),
            Self::Swapped => f.write_str("no serving certificate of the CA before is in use"),
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// What to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order; then look again. Nothing to do leaves it empty.
    pub steps: Vec<Step>,
    /// When to look again though nothing has changed.
    pub wake: Option<SystemTime>,
    /// Secrets of others in the place of ours: nothing is done until they are gone.
    pub foreign: Vec<Subject>,
}
