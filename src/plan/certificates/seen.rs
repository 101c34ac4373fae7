//! What a plan for certificates reads: what is wanted, and what is seen in a cluster.
//!
//! Data with its arithmetic. Certificates come in as facts; nothing is parsed here.

use std::fmt;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

/// Clocks differ: a certificate is valid from a little before it was made.
pub const BACKDATED: Duration = Duration::from_hours(1);
/// The shortest life that leaves time for a rotation in its last third.
pub const SHORTEST_LIFETIME: Duration = Duration::from_secs(10);
/// How long a change may need to reach every API server and webhook: a tenth of a certificate's
/// life, within these bounds.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// What the flags ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The life of a CA.
    pub ca_lifetime: Duration,
    /// The life of a serving certificate.
    pub certificate_lifetime: Duration,
    /// The names of the serving certificate: DNS names and IP addresses.
    pub names: Vec<String>,
}

impl Wanted {
    /// How long a change is given to be seen everywhere.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let shorter = self.ca_lifetime.min(self.certificate_lifetime);
        (shorter / 10).clamp(WAIT.0, WAIT.1)
    }
}

/// SHA-256 of a certificate's DER form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

/// The first eight bytes: enough to tell certificates apart in a log.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// From when to when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From when on.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
}

impl Validity {
    /// Of a certificate made now.
    #[must_use]
    pub fn starting(now: SystemTime, lifetime: Duration) -> Self {
        Self {
            not_before: now.checked_sub(BACKDATED).unwrap_or(now),
            not_after: now.checked_add(lifetime).unwrap_or(now),
        }
    }

    pub(super) fn expired(self, now: SystemTime) -> bool {
        now > self.not_after
    }

    pub(super) fn early(self, now: SystemTime) -> bool {
        now < self.not_before
    }

    /// When it was made, if it is one of ours.
    pub(super) fn made(self) -> SystemTime {
        match self.not_before.checked_add(BACKDATED) {
            Some(made) if made < self.not_after => made,
            _ => self.not_before,
        }
    }

    /// At two thirds of its life, or of the life that is wanted now if that is shorter.
    pub(super) fn due(self, wanted: Duration) -> SystemTime {
        let made = self.made();
        let life = self.not_after.duration_since(made).unwrap_or_default();
        made + life.min(wanted) * 2 / 3
    }
}

/// A certificate that others trust.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// Which it is.
    pub fingerprint: Fingerprint,
    /// The certificate, one block of PEM that ends with a newline.
    pub pem: String,
    /// Its time.
    pub validity: Validity,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authority").field(&self.fingerprint).finish()
    }
}

/// What is in the place of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held<T> {
    /// Nothing.
    Absent,
    /// A Secret that pullpass did not make. It is never touched.
    Foreign,
    /// Ours, with content that nothing can be done with.
    Unusable(Flaw),
    /// Ours and whole.
    Whole(T),
}

impl<T> Held<T> {
    pub(super) fn whole(&self) -> Option<&T> {
        match self {
            Self::Whole(held) => Some(held),
            _ => None,
        }
    }
}

/// What is wrong with a Secret's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A certificate or a key is missing or does not parse.
    Malformed,
    /// The key is another certificate's.
    KeyMismatch,
    /// The certificate may not sign others.
    NotAnAuthority,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "has a certificate or key that is missing or does not parse",
            Self::KeyMismatch => "has a key that does not belong to its certificate",
            Self::NotAnAuthority => "has a certificate that may not sign others",
        })
    }
}

/// The CA's Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ca {
    /// The CA whose key is there.
    pub authority: Authority,
    /// CAs before it that somebody may still serve under: a rotation is under way.
    pub previous: Vec<Authority>,
    /// Since when every caBundle was seen to hold the CA.
    pub complete_since: Option<SystemTime>,
}

impl Ca {
    /// What the caBundles should hold.
    #[must_use]
    pub fn bundle(&self) -> String {
        let all = std::iter::once(&self.authority).chain(&self.previous);
        all.map(|authority| authority.pem.as_str()).collect()
    }
}

/// The serving certificate's Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Its time.
    pub validity: Validity,
    /// The names it is for.
    pub names: Vec<String>,
    /// Which of all authorities that were seen have signed it.
    pub signed_by: Vec<Fingerprint>,
    /// Since when the caller has seen it, never later than now; it may have been there before.
    pub seen_since: SystemTime,
}

impl Serving {
    pub(super) fn is_signed_by(&self, authority: &Authority) -> bool {
        self.signed_by.contains(&authority.fingerprint)
    }

    /// When every webhook has had the time to take it. A clock that was set back since it was
    /// made says nothing.
    pub(super) fn settled(&self, wanted: &Wanted, now: SystemTime) -> SystemTime {
        let made = Some(self.validity.made()).filter(|made| *made <= now);
        made.map_or(self.seen_since, |made| made.max(self.seen_since)) + wanted.wait()
    }
}

/// A kind of webhook configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigurationKind {
    /// MutatingWebhookConfiguration.
    Mutating,
    /// ValidatingWebhookConfiguration.
    Validating,
}

impl ConfigurationKind {
    /// As Kubernetes calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }
}

/// Which webhook configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigurationId {
    /// Its kind.
    pub kind: ConfigurationKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ConfigurationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind.as_str(), self.name)
    }
}

/// A webhook configuration that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Which.
    pub id: ConfigurationId,
    /// Its webhooks.
    pub entries: Vec<Entry>,
}

/// One webhook of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its caBundle as it stands.
    pub bundle: Vec<u8>,
    /// The certificates that an API server finds in it.
    pub authorities: Vec<Authority>,
}

impl Entry {
    pub(super) fn holds(&self, authority: &Authority) -> bool {
        let mut held = self.authorities.iter();
        held.any(|a| a.fingerprint == authority.fingerprint)
    }
}

/// All that is seen of the certificates in a cluster. A configuration that is absent is left out:
/// it sends nobody here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The Secret of the CA.
    pub ca: Held<Ca>,
    /// The Secret of the serving certificate.
    pub serving: Held<Serving>,
    /// The webhook configurations.
    pub configurations: Vec<Configuration>,
}
