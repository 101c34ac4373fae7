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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn login(username: &str, password: &str) -> Login {
        Login {
            username: username.into(),
            password: password.to_owned().into(),
        }
    }

    fn key(text: &str) -> RegistryKey {
        RegistryKey::parse(text).unwrap()
    }

    #[test]
    fn what_is_written_is_sorted_and_has_nothing_but_auth() {
        let mut config = DockerConfig::new();
        for (registry, password) in [("quay.io/org", "b"), ("ghcr.io", "x"), ("ghcr.io", "a")] {
            config.insert(key(registry), login("me", password)).unwrap();
        }
        let want = r#"{"auths":{"ghcr.io":{"auth":"bWU6YQ=="},"quay.io/org":{"auth":"bWU6Yg=="}}}"#;
        assert_eq!(String::from_utf8(config.to_json()).unwrap(), want);
        assert_eq!(config.digest(), Digest::of(want.as_bytes()));
        assert_eq!(config.len(), 2);
        assert_eq!(config.get(&key("ghcr.io")), Some(&login("me", "a")));
        assert_eq!(format!("{config:?}"), r#"{"ghcr.io", "quay.io/org"}"#);
        assert_eq!(DockerConfig::new().to_json(), br#"{"auths":{}}"#);
    }

    #[test]
    fn docker_hub_is_written_by_all_its_names() {
        for (registry, want, why) in [
            (
                "docker.io",
                [
                    "https://index.docker.io/v1/",
                    "registry-1.docker.io",
                    "registry.hub.docker.com",
                ],
                "a kubelet and every other tool know the first",
            ),
            (
                "index.docker.io/acme",
                [
                    "docker.io/acme",
                    "registry-1.docker.io/acme",
                    "registry.hub.docker.com/acme",
                ],
                "with a path a kubelet goes by the images' name",
            ),
        ] {
            let mut config = DockerConfig::new();
            config.insert(key(registry), login("me", "a")).unwrap();
            let written: Value = serde_json::from_slice(&config.to_json()).unwrap();
            let keys: Vec<&String> = written["auths"].as_object().unwrap().keys().collect();
            assert_eq!(keys, want, "{registry}: {why}");
        }
    }

    #[test]
    fn a_login_that_cannot_be_used_is_refused_and_changes_nothing() {
        let mut config = DockerConfig::new();
        config.insert(key("quay.io"), login("me", "a")).unwrap();
        let before = config.clone();
        let large = "x".repeat(MAX_LENGTH);
        for (username, password, want) in [
            ("", "a", Unwritable::NoUser),
            ("me", "", Unwritable::NoPassword),
            ("m:e", "a", Unwritable::Colon),
            ("me\n", "a", Unwritable::Control),
            ("me", &large, Unwritable::TooLong),
        ] {
            for registry in ["quay.io", "ghcr.io"] {
                let refused = config.insert(key(registry), login(username, password));
                assert_eq!((refused, &config), (Err(want), &before), "{username:?}");
            }
        }
    }

    #[test]
    fn a_secret_can_be_full_to_the_last_byte() {
        let password = |length: usize| login("me", &"x".repeat(length));
        let mut config = DockerConfig::new();
        config.insert(key("quay.io"), password(1)).unwrap();
        // Three more letters are four more of base64.
        let room = (MAX_LENGTH - config.to_json().len()) / 4 * 3;
        config.insert(key("quay.io"), password(room)).unwrap();
        let full = config.to_json().len();
        assert!((MAX_LENGTH - 8..=MAX_LENGTH).contains(&full), "{full}");
        let refused = config.insert(key("quay.io"), password(room + 6));
        assert_eq!(refused, Err(Unwritable::TooLong));
        config.insert(key("quay.io"), password(1)).unwrap();
        config.insert(key("ghcr.io"), password(room / 2)).unwrap();
    }
}
