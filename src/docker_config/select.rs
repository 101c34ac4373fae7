//! Entries as read → those that can be written, and for each of the others why it is left out.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::location::Location;
use super::write::check;
use super::{DockerConfig, Entry, KeyError, Login, RegistryKey, Unwritable, shown};
use crate::policy::glob;

/// An entry that is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry `{key}` is left out: {reason}")]
pub struct Dropped {
    /// Its key, escaped and shortened.
    pub key: String,
    /// Why.
    pub reason: DropReason,
}

/// Why an entry is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DropReason {
    /// Its login cannot be used.
    #[error(transparent)]
    Login(#[from] Unwritable),
    /// Its key cannot be written.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The policy names other hosts.
    #[error("`registries` has no host of it")]
    NotWanted,
    /// Another entry is for the same registry.
    #[error("the entry `{by}` is for the same registry")]
    Taken {
        /// The key of the other one, escaped and shortened.
        by: String,
    },
}

/// An entry that is for a registry, and how good it is: the least is taken.
struct Choice<'e> {
    rank: (Closeness, Reverse<Vec<u8>>),
    entry: &'e Entry,
}

/// How close a key is to what a kubelet looks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    /// A kubelet finds it for images of the registry.
    Exact,
    /// The same registry by another name or in other letters.
    Alias,
    /// A glob. Of several a kubelet tries the greatest key first.
    Glob,
}

impl DockerConfig {
    /// The entries that can be written, and the rest with the reasons.
    ///
    /// With `registries`, hosts as policies have them, only entries for these; a key that is a glob is
    /// then written as the hosts that it matches. Of several entries for one registry the one that a
    /// kubelet would find is taken, of several such the first.
    #[must_use]
    pub fn from_entries(entries: Vec<Entry>, registries: &[Box<str>]) -> (Self, Vec<Dropped>) {
        let mut dropped = Vec::new();
        let wanted = if registries.is_empty() {
            None
        } else {
            Some(parsed(registries, &mut dropped))
        };
        let mut choices: BTreeMap<RegistryKey, Vec<Choice<'_>>> = BTreeMap::new();
        for entry in &entries {
            match keys(entry, wanted.as_deref()) {
                Ok(keys) => {
                    for (key, rank) in keys {
                        let choice = Choice { rank, entry };
                        choices.entry(key).or_default().push(choice);
                    }
                }
                Err(reason) => dropped.push(Dropped::new(&entry.key, reason)),
            }
        }
        let mut config = Self::new();
        for (key, mut choices) in choices {
            choices.sort_by(|a, b| a.rank.cmp(&b.rank));
            let mut taken: Option<&Entry> = None;
            for Choice { entry, .. } in choices {
                let reason = match taken {
                    None => match config.insert(key.clone(), entry.login.clone()) {
                        Ok(()) => {
                            taken = Some(entry);
                            continue;
                        }
                        Err(unwritable) => unwritable.into(),
                    },
                    Some(by) if by.login == entry.login => continue,
                    Some(by) => DropReason::Taken { by: shown(&by.key) },
                };
                dropped.push(Dropped::new(&entry.key, reason));
            }
        }
        (config, dropped)
    }
}

impl Dropped {
    fn new(key: &str, reason: DropReason) -> Self {
        let key = shown(key);
        Self { key, reason }
    }
}

fn parsed(registries: &[Box<str>], dropped: &mut Vec<Dropped>) -> Vec<RegistryKey> {
    let mut keys = Vec::with_capacity(registries.len());
    for registry in registries {
        match RegistryKey::parse(registry) {
            Ok(key) => keys.push(key),
            Err(error) => dropped.push(Dropped::new(registry, error.into())),
        }
    }
    keys
}

type Ranked = (RegistryKey, (Closeness, Reverse<Vec<u8>>));

/// The registries that an entry is for.
fn keys(entry: &Entry, wanted: Option<&[RegistryKey]>) -> Result<Vec<Ranked>, DropReason> {
    check_early(&entry.login)?;
    match (RegistryKey::parse(&entry.key), wanted) {
        (Ok(key), _) => {
            let hosts = |wanted: &[RegistryKey]| wanted.iter().any(|w| w.host() == key.host());
            if !wanted.is_none_or(hosts) {
                return Err(DropReason::NotWanted);
            }
            let closeness = match Location::of(&entry.key) {
                Some(location) if location.host == key.image_host().as_bytes() => Closeness::Exact,
                _ => Closeness::Alias,
            };
            Ok(vec![(key, (closeness, Reverse(Vec::new())))])
        }
        (Err(KeyError::Glob(_)), Some(wanted)) => {
            let keys = globbed(entry, wanted);
            if keys.is_empty() {
                return Err(DropReason::NotWanted);
            }
            Ok(keys)
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// What is wrong with a login for every registry alike.
fn check_early(login: &Login) -> Result<(), Unwritable> {
    check(login)
}

/// The wanted registries that a glob matches, as a kubelet matches it: label by label, the port as it is.
fn globbed(entry: &Entry, wanted: &[RegistryKey]) -> Vec<Ranked> {
    let Some(Location { host, path }) = Location::of(&entry.key) else {
        return Vec::new();
    };
    let (Ok(host), Ok(path)) = (str::from_utf8(&host), str::from_utf8(&path)) else {
        return Vec::new();
    };
    let host = host.to_ascii_lowercase();
    let (labels, port) = split_port(&host);
    let mut keys = Vec::new();
    for registry in wanted {
        let (name, name_port) = split_port(registry.image_host());
        let matches = port == name_port
            && labels.split('.').count() == name.split('.').count()
            && labels
                .split('.')
                .zip(name.split('.'))
                .all(|(glob, label)| glob::matches(glob, label));
        if matches && let Ok(key) = RegistryKey::exact(registry.host(), path, &entry.key) {
            let rank = (Closeness::Glob, Reverse(entry.key.clone().into_bytes()));
            keys.push((key, rank));
        }
    }
    keys
}

fn split_port(host: &str) -> (&str, &str) {
    host.rsplit_once(':').unwrap_or((host, ""))
}
