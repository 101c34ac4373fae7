//! Certificates: the two Secrets and the caBundles as they are → what to do next, and why.
//!
//! What is planned is safe at every step: whoever serves with a certificate of a moment ago is
//! trusted by whoever has read a caBundle of a moment ago. All state is in the cluster, so any
//! controller goes on where another one stopped. It reads no clock and parses no certificate.

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
/// A caBundle filled by others may hold any number of certificates; more than one is rare.
const MOST_KEPT: usize = 8;

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

    fn expired(self, now: SystemTime) -> bool {
        now > self.not_after
    }

    fn early(self, now: SystemTime) -> bool {
        now < self.not_before
    }

    /// When it was made, if it is one of ours.
    fn made(self) -> SystemTime {
        match self.not_before.checked_add(BACKDATED) {
            Some(made) if made < self.not_after => made,
            _ => self.not_before,
        }
    }

    /// At two thirds of its life, or of the life that is wanted now if that is shorter.
    fn due(self, wanted: Duration) -> SystemTime {
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
    fn whole(&self) -> Option<&T> {
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
    fn is_signed_by(&self, authority: &Authority) -> bool {
        self.signed_by.contains(&authority.fingerprint)
    }

    /// When every webhook has had the time to take it. A clock that was set back since it was
    /// made says nothing.
    fn settled(&self, wanted: &Wanted, now: SystemTime) -> SystemTime {
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
    fn holds(&self, authority: &Authority) -> bool {
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

/// What to do next with the certificates of a cluster.
#[must_use]
pub fn plan(seen: &Seen, wanted: &Wanted, now: SystemTime) -> Plan {
    let foreign: Vec<_> = [
        (Subject::Ca, seen.ca == Held::Foreign),
        (Subject::Serving, seen.serving == Held::Foreign),
    ]
    .into_iter()
    .filter_map(|(subject, foreign)| foreign.then_some(subject))
    .collect();
    if !foreign.is_empty() {
        return Plan {
            foreign,
            ..Plan::default()
        };
    }
    let ca = match usable_ca(seen, wanted, now) {
        Ok(ca) => ca,
        Err(reason) => {
            let validity = Validity::starting(now, wanted.ca_lifetime);
            let keep = kept(seen, wanted, now);
            return Plan::only(Action::MakeCa { validity, keep }, reason);
        }
    };
    if let Some(previous) = trusted_elsewhere(seen, ca, wanted, now) {
        return Plan::only(Action::Keep { previous }, Reason::Trusted);
    }
    let mut plan = Plan::default();
    let held_everywhere = plan.bundles(seen, ca);
    plan.serving(seen, ca, wanted, now, held_everywhere);
    plan.wake_at(ca.authority.validity.due(wanted.ca_lifetime));
    plan
}

/// The CA that signs, or why there must be another one.
fn usable_ca<'a>(seen: &'a Seen, wanted: &Wanted, now: SystemTime) -> Result<&'a Ca, Reason> {
    let ca = match &seen.ca {
        Held::Whole(ca) => ca,
        Held::Unusable(flaw) => return Err(Reason::Unusable(Subject::Ca, *flaw)),
        Held::Absent | Held::Foreign => return Err(Reason::Absent(Subject::Ca)),
    };
    let validity = ca.authority.validity;
    if validity.expired(now) {
        return Err(Reason::Expired(Subject::Ca));
    }
    if validity.early(now) {
        return Err(Reason::Early(Subject::Ca));
    }
    // One rotation after the other: a CA that nobody serves under yet is not replaced.
    if now >= validity.due(wanted.ca_lifetime) && ca.previous.is_empty() {
        return Err(Reason::Due(Subject::Ca));
    }
    Ok(ca)
}

/// Which CAs stay trusted beside a new one: those that signed the serving certificate in use. If
/// that cannot be seen, or is new, webhooks may serve from memory, under any of them.
fn kept(seen: &Seen, wanted: &Wanted, now: SystemTime) -> Vec<Authority> {
    let serving = seen.serving.whole();
    if serving.is_some_and(|serving| serving.validity.expired(now)) {
        return Vec::new();
    }
    let in_use = serving.filter(|serving| now >= serving.settled(wanted, now));
    let held = seen.ca.whole().into_iter();
    let held = held.flat_map(|ca| std::iter::once(&ca.authority).chain(&ca.previous));
    let mut kept: Vec<Authority> = Vec::new();
    for authority in held.chain(in_bundles(seen)) {
        let asked = in_use.is_none_or(|serving| serving.is_signed_by(authority));
        let known = kept.iter().any(|k| k.fingerprint == authority.fingerprint);
        if asked && !known && !authority.validity.expired(now) && kept.len() < MOST_KEPT {
            kept.push(authority.clone());
        }
    }
    kept
}

fn in_bundles(seen: &Seen) -> impl Iterator<Item = &Authority> {
    let entries = seen.configurations.iter().flat_map(|c| &c.entries);
    entries.flat_map(|entry| &entry.authorities)
}

/// The previous CAs with those that only the caBundles know, when the CA's Secret was replaced by
/// hand: somebody may serve under them.
fn trusted_elsewhere(
    seen: &Seen,
    ca: &Ca,
    wanted: &Wanted,
    now: SystemTime,
) -> Option<Vec<Authority>> {
    let known = || std::iter::once(&ca.authority).chain(&ca.previous);
    let unsigned = seen.serving.whole().is_some_and(|serving| {
        let mut known = known();
        !known.any(|authority| serving.is_signed_by(authority))
    });
    let mut entries = seen.configurations.iter().flat_map(|c| &c.entries);
    let unheard = entries.any(|e| !e.authorities.is_empty() && !e.holds(&ca.authority));
    if !unsigned && !unheard {
        return None;
    }
    let is_new = |authority: &Authority| {
        let mut known = known();
        known.all(|k| k.fingerprint != authority.fingerprint)
    };
    let mut previous = ca.previous.clone();
    previous.extend(kept(seen, wanted, now).into_iter().filter(is_new));
    previous.truncate(MOST_KEPT.max(ca.previous.len()));
    (previous.len() > ca.previous.len()).then_some(previous)
}

impl Plan {
    fn only(action: Action, reason: Reason) -> Self {
        let mut plan = Self::default();
        plan.step(action, reason);
        plan
    }

    fn step(&mut self, action: Action, reason: Reason) {
        self.steps.push(Step { action, reason });
    }

    fn wake_at(&mut self, at: SystemTime) {
        self.wake = Some(self.wake.map_or(at, |other| other.min(at)));
    }

    /// Sets every caBundle that differs. Whether all of them hold the CA already.
    fn bundles(&mut self, seen: &Seen, ca: &Ca) -> bool {
        let bundle = ca.bundle();
        let mut entries = seen.configurations.iter().flat_map(|c| &c.entries);
        let complete = entries.all(|entry| entry.holds(&ca.authority));
        // First: were it done after, a controller that stops in between would leave a lie.
        if !complete && ca.complete_since.is_some() {
            let complete_since = None;
            self.step(Action::Mark { complete_since }, Reason::Incomplete);
        }
        for configuration in &seen.configurations {
            let mut entries = configuration.entries.iter();
            if entries.any(|entry| entry.bundle != bundle.as_bytes()) {
                // All of them: an apply takes away what it leaves out.
                let entries = configuration.entries.iter();
                let action = Action::ApplyBundle {
                    configuration: configuration.id.clone(),
                    entries: entries.map(|entry| entry.name.clone()).collect(),
                    bundle: bundle.clone(),
                };
                self.step(action, Reason::Bundle);
            }
        }
        complete
    }

    /// Swaps the serving certificate once everybody trusts the new one, and forgets the CAs
    /// before once nobody serves under them.
    fn serving(&mut self, seen: &Seen, ca: &Ca, wanted: &Wanted, now: SystemTime, complete: bool) {
        let serving = seen.serving.whole();
        let swapped = serving.is_some_and(|serving| serving.is_signed_by(&ca.authority));
        let expired = serving.is_some_and(|serving| serving.validity.expired(now));
        let old_in_use = ca.previous.iter().any(|a| !a.validity.expired(now));
        if let Err(reason) = good_serving(seen, ca, wanted, now) {
            // Nobody can be led away from what does not work, or from a CA that stays.
            let at_once = swapped || expired || !old_in_use;
            let since = ca.complete_since.filter(|since| *since <= now && complete);
            match since.map(|since| since + wanted.wait()) {
                Some(at) if !at_once && now < at => return self.wake_at(at),
                None if !at_once => {
                    if complete {
                        let complete_since = Some(now);
                        self.step(Action::Mark { complete_since }, Reason::Complete);
                    }
                    return;
                }
                _ => {}
            }
            let mut validity = Validity::starting(now, wanted.certificate_lifetime);
            validity.not_after = validity.not_after.min(ca.authority.validity.not_after);
            return self.step(Action::MakeServing { validity }, reason);
        }
        let Some(serving) = serving else { return };
        if !ca.previous.is_empty() {
            let at = serving.settled(wanted, now);
            if complete && now >= at {
                self.step(Action::DropOld, Reason::Swapped);
            } else {
                self.wake_at(at);
            }
        }
        self.wake_at(serving.validity.due(wanted.certificate_lifetime));
    }
}

/// Why there must be another serving certificate.
fn good_serving(seen: &Seen, ca: &Ca, wanted: &Wanted, now: SystemTime) -> Result<(), Reason> {
    let serving = match &seen.serving {
        Held::Whole(serving) => serving,
        Held::Unusable(flaw) => return Err(Reason::Unusable(Subject::Serving, *flaw)),
        Held::Absent | Held::Foreign => return Err(Reason::Absent(Subject::Serving)),
    };
    if serving.validity.expired(now) {
        return Err(Reason::Expired(Subject::Serving));
    }
    if serving.validity.early(now) {
        return Err(Reason::Early(Subject::Serving));
    }
    if !serving.is_signed_by(&ca.authority) {
        return Err(Reason::Unsigned);
    }
    let sorted = |names: &[String]| {
        let mut names: Vec<_> = names.iter().map(|n| n.to_ascii_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    if sorted(&serving.names) != sorted(&wanted.names) {
        return Err(Reason::Names);
    }
    if now >= serving.validity.due(wanted.certificate_lifetime) {
        return Err(Reason::Due(Subject::Serving));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
