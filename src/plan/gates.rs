//! Held Pods + the Secrets that stand + how long each has waited → which of them to let go, and why.
//!
//! In doubt a Pod goes: one that starts without its secret fails and is told of, one that is held
//! for ever is not. It knows nothing of how a gate is removed, nor of clocks that can be set.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::names::SecretName;

/// A Pod with our gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPod {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: String,
    /// Which Pod of this name.
    pub uid: String,
    /// The pull secrets that it names.
    pub secrets: BTreeSet<SecretName>,
}

/// What is known of a Secret that a Pod names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No Pod waits for it: nobody keeps it, or it is not held for, or it goes elsewhere.
    NotAwaited,
    /// It stands in the Pod's namespace.
    There,
    /// It is about to stand there; a Pod waits for so long at most.
    Awaited(Duration),
}

/// Why a Pod goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Everything it waits for is there.
    Ready,
    /// It has waited as long as it may, for these.
    TimedOut(Vec<SecretName>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("its pull secrets are there"),
            Self::TimedOut(missing) => {
                f.write_str("it was held as long as it may be, and still there is no ")?;
                for (at, name) in missing.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}`{name}`")?;
                }
                Ok(())
            }
        }
    }
}

/// What becomes of a held Pod now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes.
    Release(Reason),
    /// It waits, so much longer at most.
    Wait(Duration),
}

/// Judges a Pod that has waited for so long.
pub fn judge(
    pod: &HeldPod,
    standing: impl Fn(&SecretName) -> Standing,
    waited: Duration,
) -> Verdict {
    let mut late = Vec::new();
    let mut left: Option<Duration> = None;
    for name in &pod.secrets {
        let Standing::Awaited(timeout) = standing(name) else {
            continue;
        };
        match timeout.checked_sub(waited).filter(|left| !left.is_zero()) {
            None => late.push(name.clone()),
            Some(more) => left = Some(left.map_or(more, |other| other.max(more))),
        }
    }
    match left {
        Some(left) => Verdict::Wait(left),
        None if late.is_empty() => Verdict::Release(Reason::Ready),
        None => Verdict::Release(Reason::TimedOut(late)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_waits_for_what_it_names_and_no_longer_than_each_may_be_waited_for() {
        use Standing::{Awaited, NotAwaited, There};
        let seconds = Duration::from_secs;
        let name = |text: &str| SecretName::parse(text).unwrap();
        let minute = Awaited(Duration::from_mins(1));
        let short = Awaited(Duration::from_secs(5));
        let ready = Verdict::Release(Reason::Ready);
        let timed_out = |names: &[&str]| {
            let names = names.iter().map(|text| name(text));
            Verdict::Release(Reason::TimedOut(names.collect()))
        };
        for (a, b, waited, want, why) in [
            (There, There, 1, ready.clone(), "both are there"),
            (There, NotAwaited, 1, ready.clone(), "the other is nobody's"),
            (NotAwaited, NotAwaited, 1, ready.clone(), "nothing keeps it"),
            (
                There,
                minute,
                1,
                Verdict::Wait(seconds(59)),
                "one is missing",
            ),
            (
                short,
                minute,
                1,
                Verdict::Wait(seconds(59)),
                "the longer one counts",
            ),
            (
                short,
                minute,
                6,
                Verdict::Wait(seconds(54)),
                "also when the other is over",
            ),
            (short, There, 5, timed_out(&["a"]), "its time is over"),
            (short, minute, 60, timed_out(&["a", "b"]), "both are over"),
        ] {
            let pod = HeldPod {
                namespace: "web".into(),
                name: "p".to_owned(),
                uid: "u".to_owned(),
                secrets: [name("a"), name("b")].into(),
            };
            let standing = |secret: &SecretName| if secret.as_str() == "a" { a } else { b };
            assert_eq!(judge(&pod, standing, seconds(waited)), want, "{why}");
        }
    }

    #[test]
    fn a_reason_names_what_is_missing() {
        let names = ["a", "b"].map(|text| SecretName::parse(text).unwrap());
        let reason = Reason::TimedOut(names.to_vec());
        assert!(
            reason.to_string().ends_with("there is no `a`, `b`"),
            "{reason}"
        );
    }
}
