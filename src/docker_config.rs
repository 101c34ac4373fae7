//! dockerconfigjson and dockercfg, the content of pull secrets: read as a kubelet reads them, written
//! so that a kubelet finds every login.
//!
//! Text → [`Entry`] → [`DockerConfig`] → text. What is read can be anything that a kubelet takes, globs
//! included; what is written has exact registry hosts and usable logins alone. Nothing here shows a
//! password: not `Debug`, not an error, also not the part of a key that can hold one.

use std::fmt;

mod digest;
mod json;
mod key;
mod location;
mod read;
mod select;
#[cfg(test)]
mod tests;
mod write;

pub use digest::{Digest, NotADigest};
pub use key::{KeyError, KeyFault, RegistryKey};
pub use location::keyring_key;
pub use read::{EntryFault, ReadError, read};
pub use select::{DropReason, Dropped};
pub use write::{DockerConfig, Unwritable};

/// The most that one Secret holds (`MaxSecretSize` in k8s.io/api): no more is read or written.
pub const MAX_LENGTH: usize = 1024 * 1024;

/// A password, which only [`Password::expose`] shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password itself, for where it is sent or written.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What a registry asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub username: String,
    /// The password, or the token that stands for one.
    pub password: Password,
}

/// The two formats of a pull secret. Closed: a kubelet knows no third.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `kubernetes.io/dockerconfigjson`: the entries stand under `auths`.
    DockerConfigJson,
    /// `kubernetes.io/dockercfg`, the legacy one: the entries are the document.
    DockerCfg,
}

impl Format {
    /// The format that a Secret of this type has, if it is a pull secret.
    #[must_use]
    pub fn of_type(secret_type: &str) -> Option<Self> {
        [Self::DockerConfigJson, Self::DockerCfg]
            .into_iter()
            .find(|format| format.secret_type() == secret_type)
    }

    /// The key of a Secret's data that it stands under.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::DockerConfigJson => ".dockerconfigjson",
            Self::DockerCfg => ".dockercfg",
        }
    }

    /// The type of a Secret that has it.
    #[must_use]
    pub fn secret_type(self) -> &'static str {
        match self {
            Self::DockerConfigJson => "kubernetes.io/dockerconfigjson",
            Self::DockerCfg => "kubernetes.io/dockercfg",
        }
    }
}

/// One entry as a kubelet reads it.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key as it was written, with its scheme and globs. It can have a password in it, as a URL can:
    /// messages never print it whole.
    pub key: String,
    /// The login; a kubelet takes empty ones too.
    pub login: Login,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &shown(&self.key))
            .field("login", &self.login)
            .finish()
    }
}

/// As much of a key as a message quotes.
const MAX_SHOWN: usize = 100;

/// A key as messages quote it: one line, bounded, and without what a URL can hide a password in
/// (`https://user:password@host`, `?token=…`).
fn shown(key: &str) -> String {
    let (start, text) = match key.rsplit_once('@') {
        Some((_, rest)) => ("…@", rest),
        None => ("", key),
    };
    let (text, cut) = match text.split_once(['?', '#']) {
        Some((text, _)) => (text, true),
        None => (text, false),
    };
    let mut line = start.to_owned();
    for c in text.chars() {
        if line.len() >= MAX_SHOWN {
            return line + "…";
        }
        line.extend(c.escape_default());
    }
    if cut { line + "…" } else { line }
}
