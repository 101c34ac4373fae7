//! Logins by registry → the bytes of a pull secret, the same bytes for the same logins.
//!
//! Whatever is in a [`DockerConfig`] can be written, and a kubelet reads the same from it: a login that
//! cannot be is refused on its way in.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Digest, Login, MAX_LENGTH, RegistryKey};

const HEAD: &str = "{\"auths\":{";
const TAIL: &str = "}}";

/// What is written into a pull secret: exact registries, each with a login that can be used.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DockerConfig {
    logins: BTreeMap<RegistryKey, Login>,
    /// The bytes that the entries take.
    length: usize,
}

/// Why a login is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unwritable {
    /// No user.
    #[error("it has no user")]
    NoUser,
    /// No password.
    #[error("it has no password")]
    NoPassword,
    /// The user ends at the first colon.
    #[error("its user has a colon")]
    Colon,
    /// No user name has one.
    #[error("its user has a control character")]
    Control,
    /// No Secret holds as much.
    #[error("with it the Secret has more than {MAX_LENGTH} bytes")]
    TooLong,
}

impl DockerConfig {
    /// Without logins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a login, or puts it in the place of the one that the registry had.
    ///
    /// # Errors
    /// Says why it cannot be written; nothing is changed then.
    pub fn insert(&mut self, key: RegistryKey, login: Login) -> Result<(), Unwritable> {
        check(&login)?;
        let added = written_length(&key, &login);
        let place = self.logins.entry(key);
        let freed = match &place {
            Place::Occupied(old) => written_length(old.key(), old.get()),
            Place::Vacant(_) => 0,
        };
        let length = (self.length - freed).saturating_add(added);
        if length.saturating_add(HEAD.len() + TAIL.len()) > MAX_LENGTH {
            return Err(Unwritable::TooLong);
        }
        place.insert_entry(login);
        self.length = length;
        Ok(())
    }

    /// Whether it has no login. A Secret of it would be of no use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.logins.is_empty()
    }

    /// How many registries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.logins.len()
    }

    /// Its registries, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &RegistryKey> {
        self.logins.keys()
    }

    /// The login of one registry.
    #[must_use]
    pub fn get(&self, key: &RegistryKey) -> Option<&Login> {
        self.logins.get(key)
    }

    /// The value of `.dockerconfigjson`: keys sorted, nothing but `auth` in an entry.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let entries: BTreeMap<String, String> = self
            .logins
            .iter()
            .flat_map(|(key, login)| {
                let auth = auth(login);
                key.written()
                    .into_iter()
                    .map(move |key| (key, auth.clone()))
            })
            .collect();
        let mut text = String::with_capacity(HEAD.len() + self.length + TAIL.len());
        text.push_str(HEAD);
        for (index, (key, auth)) in entries.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            // A key has letters, digits, `.-_/:[]` and base64 has `+/=`: nothing to escape.
            for part in ["\"", key, "\":{\"auth\":\"", auth, "\"}"] {
                text.push_str(part);
            }
        }
        text.push_str(TAIL);
        text.into_bytes()
    }

    /// SHA-256 of what is written.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_json())
    }
}

/// The registries alone.
impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.keys().map(|key| format_args!("{key}").to_string()))
            .finish()
    }
}

/// Whether a login can be written and used.
pub(super) fn check(login: &Login) -> Result<(), Unwritable> {
    if login.username.is_empty() {
        Err(Unwritable::NoUser)
    } else if login.password.expose().is_empty() {
        Err(Unwritable::NoPassword)
    } else if login.username.contains(':') {
        Err(Unwritable::Colon)
    } else if login.username.contains(char::is_control) {
        Err(Unwritable::Control)
    } else {
        Ok(())
    }
}

fn auth(login: &Login) -> String {
    STANDARD.encode(format!("{}:{}", login.username, login.password.expose()))
}

/// The bytes that an entry takes, a comma included.
fn written_length(key: &RegistryKey, login: &Login) -> usize {
    let length = login.username.len() + 1 + login.password.expose().len();
    let auth = length.div_ceil(3) * 4;
    let around = "\"\":{\"auth\":\"\"},".len();
    key.written()
        .iter()
        .map(|key| key.len() + around + auth)
        .sum()
}
