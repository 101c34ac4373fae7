//! What a controller says of its Secrets, in sixteen ConfigMaps: written by the controller, read by webhooks.
//!
//! A webhook may read no Secret, so this is how it knows whether a Pod has to wait for one, and how a restarted
//! controller knows which names it has written. Text in, text out: names and digests, never a value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::docker_config::Digest;
use crate::names::SecretName;

/// The scheduling gate of a Pod that waits for a Secret: put on by webhooks, taken off by a controller.
pub const GATE: &str = "pullpass.dev/pull-secret";
/// The key that holds the text.
pub const STATUS_KEY: &str = "status.json";
/// The label, with the value `true`, by which webhooks find them.
pub const STATUS_LABEL: &str = "pullpass.dev/status";
/// What the names begin with.
const PREFIX: &str = "pullpass-status-";
/// The form of the text. Another one is not read: nobody is held by it, and no name is forgotten by it.
const VERSION: u32 = 1;

/// One of the sixteen ConfigMaps: each namespace is in one, so that a change writes little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    /// The one that also holds what is not of one namespace: [`Memory`].
    pub const FIRST: Self = Self(0);

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..16).map(Self)
    }

    /// The one of a namespace: the first four bits of the SHA-256 of its name.
    #[must_use]
    pub fn of(namespace: &str) -> Self {
        Self(Digest::of(namespace.as_bytes()).first() >> 4)
    }

    /// The one that a ConfigMap's name stands for.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().find(|shard| shard.to_string() == name)
    }

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Shard {
    /// The ConfigMap's name: `pullpass-status-0` to `pullpass-status-f`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:x}", self.0)
    }
}

/// What one of the ConfigMaps says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// For each credential that Pods are held for: the namespaces in which a Secret of its name
    /// stands. One without a key is not kept, or nobody would let its Pods go.
    pub ready: BTreeMap<SecretName, BTreeSet<Arc<str>>>,
    /// What is not of one namespace; in [`Shard::FIRST`] alone.
    pub memory: Memory,
}

/// What a controller has to know after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Names of which Secrets of ours may exist.
    pub names: BTreeSet<SecretName>,
    /// Values that were fetched, by credential: a copy with this digest need not be fetched again.
    pub values: BTreeMap<SecretName, Remembered>,
}

/// A value that was fetched, without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The digest of what was written.
    pub digest: Digest,
    /// The digest of where it came from: another source has another value.
    pub source: Digest,
    /// Since when it is good.
    pub issued: SystemTime,
    /// Until when it is good; for ever when absent.
    pub expires: Option<SystemTime>,
}

/// Why a text says nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// Not JSON, or not of this shape.
    #[error("it is not the JSON that a controller writes")]
    Unreadable(#[source] serde_json::Error),
    /// Of another version of pullpass.
    #[error("it is of version {0}, and only {VERSION} is read")]
    Version(u32),
}

#[derive(Serialize, Deserialize)]
struct Text {
    version: u32,
    #[serde(default)]
    ready: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    names: BTreeSet<Box<str>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<Box<str>, Value>,
}

/// Times in whole seconds since 1970.
#[derive(Serialize, Deserialize)]
struct Value {
    digest: Box<str>,
    source: Box<str>,
    issued: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

impl Status {
    /// Reads what [`Status::to_text`] wrote. Entries of which no Secret can have the name are left out.
    pub fn parse(text: &str) -> Result<Self, StatusError> {
        let text: Text = serde_json::from_str(text).map_err(StatusError::Unreadable)?;
        if text.version != VERSION {
            return Err(StatusError::Version(text.version));
        }
        let name = |name: &str| SecretName::parse(name).ok();
        let ready = text.ready.into_iter();
        let values = text.values.into_iter();
        Ok(Self {
            ready: ready
                .filter_map(|(credential, all)| {
                    let all = all.into_iter().map(Arc::from).collect();
                    Some((name(&credential)?, all))
                })
                .collect(),
            memory: Memory {
                names: text.names.iter().filter_map(|text| name(text)).collect(),
                values: values
                    .filter_map(|(credential, value)| Some((name(&credential)?, value.read()?)))
                    .collect(),
            },
        })
    }

    /// One line of JSON; equal for equal content.
    #[must_use]
    pub fn to_text(&self) -> String {
        let named = |name: &SecretName| name.as_str().into();
        let ready = self.ready.iter();
        let values = self.memory.values.iter();
        let text = Text {
            version: VERSION,
            ready: ready
                .map(|(name, all)| (named(name), all.iter().map(|n| (**n).into()).collect()))
                .collect(),
            names: self.memory.names.iter().map(named).collect(),
            values: values
                .map(|(name, value)| (named(name), value.into()))
                .collect(),
        };
        // Maps with keys of text, and numbers: nothing that JSON could not say.
        serde_json::to_string(&text).unwrap_or_default()
    }
}

impl Value {
    /// None when no controller wrote it.
    fn read(self) -> Option<Remembered> {
        // A time that no clock has is the beginning of time: long ago, so it is fetched anew.
        let at = |seconds| {
            let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
            at.unwrap_or(UNIX_EPOCH)
        };
        Some(Remembered {
            digest: Digest::parse(&self.digest).ok()?,
            source: Digest::parse(&self.source).ok()?,
            issued: at(self.issued),
            expires: self.expires.map(at),
        })
    }
}

impl From<&Remembered> for Value {
    fn from(value: &Remembered) -> Self {
        let seconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            digest: value.digest.to_string().into(),
            source: value.source.to_string().into(),
            issued: seconds(value.issued),
            expires: value.expires.map(seconds),
        }
    }
}

/// What a webhook knows of the Secrets that Pods are held for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    shards: [Option<Arc<Status>>; 16],
    /// Whether a controller is there to let Pods go.
    attended: bool,
}

impl Presence {
    /// What one of the ConfigMaps says now; nothing when it is not there, or cannot be read. Whether
    /// that is something else than before.
    pub fn set(&mut self, shard: Shard, status: Option<Arc<Status>>) -> bool {
        match self.shards.get_mut(shard.index()) {
            Some(place) if *place != status => {
                *place = status;
                true
            }
            _ => false,
        }
    }

    /// Whether a controller is there, by its Lease.
    pub fn attended(&mut self, attended: bool) {
        self.attended = attended;
    }

    /// How many of the ConfigMaps say something.
    #[must_use]
    pub fn known(&self) -> usize {
        self.shards.iter().flatten().count()
    }

    /// Whether a Pod in this namespace has to wait for this Secret: it does not stand there, and
    /// somebody will let the Pod go. In doubt nobody waits.
    #[must_use]
    pub fn lacks(&self, namespace: &str, secret: &SecretName) -> bool {
        if !self.attended {
            return false;
        }
        let status = self.shards.get(Shard::of(namespace).index());
        let Some(Some(status)) = status else {
            return false;
        };
        let ready = status.ready.get(secret);
        ready.is_some_and(|namespaces| !namespaces.contains(namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SecretName {
        SecretName::parse(text).unwrap()
    }

    fn ready(credential: &str, namespaces: &[&str]) -> Status {
        let namespaces = namespaces.iter().map(|&namespace| namespace.into());
        Status {
            ready: BTreeMap::from([(name(credential), namespaces.collect())]),
            memory: Memory::default(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_equal_for_equal_content() {
        let at = UNIX_EPOCH + Duration::from_hours(500_000);
        let mut status = ready("ecr", &["web", "api"]);
        status.memory.names.insert(name("hub"));
        let value = Remembered {
            digest: Digest::of(b"a"),
            source: Digest::of(b"b"),
            issued: at,
            expires: Some(at + Duration::from_hours(12)),
        };
        status.memory.values.insert(name("ecr"), value);
        let text = status.to_text();
        assert_eq!(
            text,
            r#"{"version":1,"ready":{"ecr":["api","web"]},"names":["hub"],"values":{"ecr":{"digest":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","source":"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d","issued":1800000000,"expires":1800043200}}}"#
        );
        let read = Status::parse(&text).unwrap();
        assert_eq!(read, status);
        assert_eq!(read.to_text(), text);
        assert_eq!(
            Status::default().to_text(),
            r#"{"version":1,"ready":{}}"#,
            "nothing is said of nothing"
        );
    }

    #[test]
    fn a_text_of_others_says_nothing_or_what_can_be_read_of_it() {
        for (text, want, why) in [
            (r#"{"version":1}"#, Ok(0), "nothing in it"),
            (
                r#"{"version":1,"ready":{"a":[]},"new":3}"#,
                Ok(1),
                "a newer field",
            ),
            (
                r#"{"version":1,"ready":{"A b":[]}}"#,
                Ok(0),
                "no Secret's name",
            ),
            (
                r#"{"version":2,"ready":{"a":[]}}"#,
                Err("version 2"),
                "another version",
            ),
            (r#"{"ready":{}}"#, Err("not the JSON"), "no version"),
            (
                r#"{"version":1,"ready":[]}"#,
                Err("not the JSON"),
                "another shape",
            ),
            ("", Err("not the JSON"), "no text"),
        ] {
            match (Status::parse(text), want) {
                (Ok(status), Ok(want)) => assert_eq!(status.ready.len(), want, "{why}"),
                (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{why}"),
                (got, want) => panic!("{why}: want {want:?}, got {got:?}"),
            }
        }
        let endless = r#"{"version":1,"values":{"a":{"digest":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","source":"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d","issued":18446744073709551615}}}"#;
        let read = Status::parse(endless).unwrap();
        let issued = read.memory.values[&name("a")].issued;
        assert_eq!(issued, UNIX_EPOCH, "a time that no clock has");
    }

    #[test]
    fn each_namespace_is_in_one_of_sixteen() {
        let names: Vec<_> = Shard::all().map(|shard| shard.to_string()).collect();
        assert_eq!(names.len(), 16);
        assert_eq!(
            (&*names[0], &*names[15]),
            ("pullpass-status-0", "pullpass-status-f")
        );
        for shard in Shard::all() {
            assert_eq!(Shard::parse(&shard.to_string()), Some(shard));
        }
        assert_eq!(Shard::parse("pullpass-status-10"), None);
        // printf web | sha256sum
        assert_eq!(Shard::of("web").to_string(), "pullpass-status-4");
        let used: BTreeSet<_> = (0..400).map(|n| Shard::of(&format!("ns-{n}"))).collect();
        assert_eq!(used.len(), 16, "they are evenly used");
    }

    #[test]
    fn a_pod_waits_only_for_what_is_surely_absent_and_surely_released() {
        let mut seen = Presence::default();
        seen.attended(true);
        for shard in Shard::all() {
            let says = Some(Arc::new(ready("ecr", &["web"])));
            assert!(seen.set(shard, says.clone()), "it was not known");
            assert!(!seen.set(shard, says), "the same again");
        }
        assert_eq!(seen.known(), 16);
        let mut gone = seen.clone();
        gone.attended(false);
        let mut unseen = seen.clone();
        unseen.set(Shard::of("api"), None);
        for (presence, namespace, secret, want, why) in [
            (&seen, "api", "ecr", true, "it is not there yet"),
            (&seen, "web", "ecr", false, "it stands there"),
            (&seen, "api", "hub", false, "nobody keeps it"),
            (&gone, "api", "ecr", false, "nobody would let it go"),
            (
                &unseen,
                "api",
                "ecr",
                false,
                "nothing is known of the namespace",
            ),
            (
                &Presence::default(),
                "api",
                "ecr",
                false,
                "nothing is known at all",
            ),
        ] {
            assert_eq!(presence.lacks(namespace, &name(secret)), want, "{why}");
        }
    }
}
