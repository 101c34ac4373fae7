//! Entries as read → those that can be written, and for each of the others why it is left out.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::location::Location;
use super::write::check;
use super::{DockerConfig, Entry, KeyFault, RegistryKey, Unwritable, shown};
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

impl Dropped {
    fn new(key: &str, reason: DropReason) -> Self {
        let key = shown(key);
        Self { key, reason }
    }
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
    Key(#[from] KeyFault),
    /// The policy names other hosts.
    #[error("`registries` names no host of it")]
    NotWanted,
    /// Another entry is for the same registry.
    #[error("the entry `{by}` is for the same registry")]
    Taken {
        /// The key of the other one, escaped and shortened.
        by: String,
    },
}

/// How good an entry is for a registry: the least is taken.
type Rank<'e> = (Closeness, Reverse<&'e str>);

/// How close a key is to what a kubelet looks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    /// A kubelet finds it for images of the registry.
    Exact,
    /// The same registry by another name or in other letters.
    Alias,
    /// A glob. Of several a kubelet tries the greatest key first.
    Glob,
    /// A glob that matches the registry by another name alone.
    AliasGlob,
}

impl DockerConfig {
    /// The entries that can be written, and the rest with the reasons.
    ///
    /// With `registries`, hosts as policies have them, only entries for these; a key that is a glob is
    /// then written as the hosts that it matches. Of several entries for one registry the one that a
    /// kubelet would find is taken, of several such the first.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "entries hold passwords: nobody keeps them beside what is made of them"
    )]
    pub fn from_entries(entries: Vec<Entry>, registries: &[Box<str>]) -> (Self, Vec<Dropped>) {
        let mut dropped = Vec::new();
        let wanted = parsed(registries, &mut dropped);
        // No host is left of those wanted: that is not the same as none named.
        let wanted = (!registries.is_empty()).then_some(wanted.as_slice());
        let mut choices: BTreeMap<RegistryKey, Vec<(Rank<'_>, &Entry)>> = BTreeMap::new();
        for entry in &entries {
            match keys(entry, wanted) {
                Ok(keys) => {
                    for (key, rank) in keys {
                        choices.entry(key).or_default().push((rank, entry));
                    }
                }
                Err(reason) => dropped.push(Dropped::new(&entry.key, reason)),
            }
        }
        let mut config = Self::new();
        for (key, mut choices) in choices {
            // Stable: of equal ones the first stays the first.
            choices.sort_by_key(|(rank, _)| *rank);
            let mut taken: Option<&Entry> = None;
            for (_, entry) in choices {
                let reason = match taken {
                    None => match config.insert(key.clone(), entry.login.clone()) {
                        Ok(()) => {
                            taken = Some(entry);
                            continue;
                        }
                        Err(fault) => fault.into(),
                    },
                    Some(best) if best.login == entry.login => continue,
                    Some(best) => DropReason::Taken {
                        by: shown(&best.key),
                    },
                };
                dropped.push(Dropped::new(&entry.key, reason));
            }
        }
        (config, dropped)
    }
}

fn parsed(registries: &[Box<str>], dropped: &mut Vec<Dropped>) -> Vec<RegistryKey> {
    let mut keys = Vec::with_capacity(registries.len());
    for registry in registries {
        match RegistryKey::parse(registry) {
            Ok(key) => keys.push(key),
            Err(error) => dropped.push(Dropped::new(registry, error.fault.into())),
        }
    }
    keys
}

/// The registries that an entry is for.
fn keys<'e>(
    entry: &'e Entry,
    wanted: Option<&[RegistryKey]>,
) -> Result<Vec<(RegistryKey, Rank<'e>)>, DropReason> {
    check(&entry.login)?;
    match (
        RegistryKey::parse(&entry.key).map_err(|error| error.fault),
        wanted,
    ) {
        (Ok(key), _) => {
            let is_wanted = |wanted: &[RegistryKey]| wanted.iter().any(|w| w.host() == key.host());
            if !wanted.is_none_or(is_wanted) {
                return Err(DropReason::NotWanted);
            }
            let exact = Location::of(&entry.key).is_some_and(|location| {
                key.image_hosts()
                    .first()
                    .is_some_and(|host| host.as_bytes() == location.host)
            });
            let closeness = if exact {
                Closeness::Exact
            } else {
                Closeness::Alias
            };
            Ok(vec![(key, (closeness, Reverse("")))])
        }
        (Err(KeyFault::Glob), Some(wanted)) => {
            let keys = globbed(&entry.key, wanted);
            if keys.is_empty() {
                return Err(DropReason::NotWanted);
            }
            let ranked = |(key, closeness)| (key, (closeness, Reverse(entry.key.as_str())));
            Ok(keys.into_iter().map(ranked).collect())
        }
        (Err(fault), _) => Err(fault.into()),
    }
}

/// The wanted registries that a glob matches.
fn globbed(key: &str, wanted: &[RegistryKey]) -> Vec<(RegistryKey, Closeness)> {
    let Some(Location { host, path }) = Location::of(key) else {
        return Vec::new();
    };
    let (Ok(host), Ok(path)) = (str::from_utf8(&host), str::from_utf8(&path)) else {
        return Vec::new();
    };
    let glob = host.to_ascii_lowercase();
    let found = |registry: &RegistryKey| {
        let hosts = registry.image_hosts();
        let closeness = match hosts.iter().position(|host| matches(&glob, host))? {
            0 => Closeness::Glob,
            _ => Closeness::AliasGlob,
        };
        Some((RegistryKey::new(registry.host(), path).ok()?, closeness))
    };
    wanted.iter().filter_map(found).collect()
}

/// As a kubelet matches a host: label by label, the port as it is.
fn matches(glob: &str, host: &str) -> bool {
    let (globs, glob_port) = split_port(glob);
    let (labels, port) = split_port(host);
    let (globs, labels) = (globs.split('.'), labels.split('.'));
    port == glob_port
        && globs.clone().count() == labels.clone().count()
        && globs
            .zip(labels)
            .all(|(glob, label)| glob::matches(glob, label))
}

fn split_port(host: &str) -> (&str, &str) {
    host.rsplit_once(':').unwrap_or((host, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker_config::Login;

    fn entry(key: &str, user: &str) -> Entry {
        let login = Login {
            username: user.into(),
            password: "secret".to_owned().into(),
        };
        let key = key.into();
        Entry { key, login }
    }

    /// The result as lines: what is written by whom, then what is left out.
    fn chosen(entries: &[(&str, &str)], registries: &[&str]) -> Vec<String> {
        let entries = entries.iter().map(|(key, user)| entry(key, user)).collect();
        let registries: Vec<Box<str>> = registries.iter().map(|host| (*host).into()).collect();
        let (config, dropped) = DockerConfig::from_entries(entries, &registries);
        let written = config
            .keys()
            .map(|key| format!("{key} {}", config.get(key).unwrap().username));
        let dropped = dropped.iter().map(ToString::to_string);
        written.chain(dropped).collect()
    }

    #[test]
    fn an_entry_is_written_or_left_out_with_a_reason() {
        #[rustfmt::skip]
        #[expect(clippy::type_complexity, reason = "a table of a test")]
        let rows: &[(&[(&str, &str)], &[&str], &[&str], &str)] = &[
            (&[("https://Quay.io/v1/", "a"), ("quay.io/org", "b")], &[], &["quay.io a", "quay.io/org b"], "each in its form"),
            (&[("*.pkg.dev", "a")], &[], &["the entry `*.pkg.dev` is left out: it is a glob, and only exact hosts are written"], "a glob alone names no host"),
            (&[("quay.io", "")], &[], &["the entry `quay.io` is left out: it has no user"], "as `docker login` leaves it with a credential store"),
            (&[("quay.io", "a"), ("ghcr.io", "b")], &["ghcr.io"], &["ghcr.io b", "the entry `quay.io` is left out: `registries` names no host of it"], "only the hosts of the policy"),
            (&[("quay.io/org", "a")], &["quay.io"], &["quay.io/org a"], "with their paths"),
            (&[("quay.io:443", "a")], &["quay.io"], &["the entry `quay.io:443` is left out: `registries` names no host of it"], "another port is another host"),
            (&[("quay.io", "a")], &["a_b"], &["the entry `a_b` is left out: no image reference can name its host", "the entry `quay.io` is left out: `registries` names no host of it"], "a host that is none does not open the door"),
            (&[("*.pkg.dev", "a")], &["eu-docker.pkg.dev", "us-docker.pkg.dev", "gcr.io"], &["eu-docker.pkg.dev a", "us-docker.pkg.dev a"], "a glob is written as the hosts it matches"),
            (&[("*.pkg.dev/p", "a")], &["eu-docker.pkg.dev"], &["eu-docker.pkg.dev/p a"], "with its path"),
            (&[("*.pkg.dev/P", "a")], &["eu-docker.pkg.dev"], &["the entry `*.pkg.dev/P` is left out: `registries` names no host of it"], "a path that no repository has is nowhere"),
            (&[("*.dev", "a")], &["eu-docker.pkg.dev"], &["the entry `*.dev` is left out: `registries` names no host of it"], "a star stays within one label"),
            (&[("*.example.com:5000", "a")], &["reg.example.com", "reg.example.com:5000"], &["reg.example.com:5000 a"], "a port is matched as it is"),
            (&[("*.io", "a")], &["docker.io"], &["index.docker.io a"], "as a kubelet matches an image of docker.io"),
            (&[("*.docker.io", "a")], &["docker.io"], &["index.docker.io a"], "or of Docker Hub by another name"),
            (&[("*.docker.io", "a"), ("*.io", "b")], &["docker.io"], &["index.docker.io b", "the entry `*.docker.io` is left out: the entry `*.io` is for the same registry"], "which comes last"),
            (&[("*.io", "a"), ("quay.io", "b"), ("*uay.io", "c")], &["quay.io"], &["quay.io b", "the entry `*uay.io` is left out: the entry `quay.io` is for the same registry", "the entry `*.io` is left out: the entry `quay.io` is for the same registry"], "an exact key is before a glob"),
            (&[("*.io", "a"), ("*uay.io", "b")], &["quay.io"], &["quay.io b", "the entry `*.io` is left out: the entry `*uay.io` is for the same registry"], "of two globs the one that a kubelet tries first"),
            (&[("https://index.docker.io/v1/", "a"), ("docker.io", "b")], &[], &["index.docker.io b", "the entry `https://index.docker.io/v1/` is left out: the entry `docker.io` is for the same registry"], "where a kubelet has no need of its name for Docker Hub"),
            (&[("Quay.io", "a"), ("quay.io", "b")], &[], &["quay.io b", "the entry `Quay.io` is left out: the entry `quay.io` is for the same registry"], "the letters that images have"),
            (&[("quay.io", "a"), ("https://quay.io", "b")], &[], &["quay.io a", "the entry `https://quay.io` is left out: the entry `quay.io` is for the same registry"], "else the first"),
            (&[("quay.io", ""), ("https://quay.io", "b")], &[], &["quay.io b", "the entry `quay.io` is left out: it has no user"], "the first that can be used"),
            (&[("quay.io", "a"), ("https://quay.io", "a")], &[], &["quay.io a"], "two of one login are one"),
            (&[("https://me:hunter2@quay.io?t=hunter2", "")], &[], &["the entry `…@quay.io…` is left out: it has no user"], "what a URL can hide is not shown"),
        ];
        for (entries, registries, want, why) in rows {
            assert_eq!(
                chosen(entries, registries),
                *want,
                "{entries:?} for {registries:?}: {why}"
            );
        }
    }

    #[test]
    fn what_a_secret_has_no_room_for_is_left_out() {
        let entries = [("a.io", 700_000), ("b.io", 700_000), ("c.io", 10)].map(|(key, length)| {
            let mut entry = entry(key, "me");
            entry.login.password = "x".repeat(length).into();
            entry
        });
        let (config, dropped) = DockerConfig::from_entries(entries.into(), &[]);
        let keys: Vec<String> = config.keys().map(ToString::to_string).collect();
        assert_eq!(keys, ["a.io", "c.io"]);
        let dropped: Vec<String> = dropped.iter().map(ToString::to_string).collect();
        assert_eq!(
            dropped,
            ["the entry `b.io` is left out: with it the Secret has more than 1048576 bytes"]
        );
    }
}
