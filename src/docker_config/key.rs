//! A registry as an entry of a pull secret names it → the one form that is written.
//!
//! A key is taken only when some image reference has its host and a repository below its path, so that
//! a kubelet finds the entry for exactly those images. It never stands for more than one host.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::location::Location;
use super::shown;
use crate::hosts::docker_hub;
use crate::image::ImageRef;

/// A host has at most 253 characters and a repository 255.
const MAX_LENGTH: usize = 1024;

/// The host that a kubelet keeps the login of Docker Hub under.
const HUB: &str = "index.docker.io";
/// How that key is written since Docker wrote the first one.
const HUB_URL: &str = "https://index.docker.io/v1/";
/// Other hosts of Docker Hub that an image can name, and a kubelet does not take for it.
const HUB_ALIASES: [&str; 2] = ["registry-1.docker.io", "registry.hub.docker.com"];

/// A registry, or a part of one: `host[:port][/path]`, as the key of an entry.
///
/// One form for all that a kubelet takes for the same: the host in lower case, without scheme and
/// `/v1/` or `/v2/`. Docker Hub, whatever its name, is `index.docker.io`.
///
/// ```
/// use pullpass::docker_config::{KeyError, RegistryKey};
///
/// let key = RegistryKey::parse("https://Quay.io:443/v2/org")?;
/// assert_eq!(key.to_string(), "quay.io:443/org");
/// assert_eq!(RegistryKey::parse("docker.io")?.to_string(), "index.docker.io");
/// assert_eq!(RegistryKey::parse("*.azurecr.io"), Err(KeyError::Glob("*.azurecr.io".into())));
/// # Ok::<(), KeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryKey {
    host: Box<str>,
    /// Empty, or from its slash on.
    path: Box<str>,
}

/// Why a key is not written. Each has the key, escaped and shortened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A kubelet passes over it.
    #[error("`{0}` is no URL, and a kubelet passes over it")]
    Url(String),
    /// A glob stands for more than one host.
    #[error("`{0}` is a glob, and only exact hosts are written")]
    Glob(String),
    /// A host that no image reference can name.
    #[error("`{0}` has no host that an image reference can name")]
    Host(String),
    /// Brackets are a glob to a kubelet where no port follows.
    #[error("`{0}` is an IPv6 address without a port, which a kubelet never finds")]
    Address(String),
    /// No repository begins with the path.
    #[error("`{0}` has a path that no repository begins with")]
    Path(String),
    /// Longer than any reference.
    #[error("`{0}` is longer than {MAX_LENGTH} bytes")]
    TooLong(String),
}

impl RegistryKey {
    /// Takes the key of an entry, a registry's host, or what `Display` prints.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_LENGTH {
            return Err(KeyError::TooLong(shown(text)));
        }
        let Location { host, path } =
            Location::of(text).ok_or_else(|| KeyError::Url(shown(text)))?;
        let host = String::from_utf8(host).map_err(|_| KeyError::Host(shown(text)))?;
        let path = String::from_utf8(path).map_err(|_| KeyError::Path(shown(text)))?;
        if host.contains('*') {
            return Err(KeyError::Glob(shown(text)));
        }
        Self::exact(&host, &path, text)
    }

    /// A key of a host and a path that a kubelet got from `text`.
    pub(super) fn exact(host: &str, path: &str, text: &str) -> Result<Self, KeyError> {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(':').unwrap_or(&host);
        let hub = docker_hub::canonical(host) == docker_hub::DOCKER_IO;
        // The URL of Docker Hub is often written without its last slash.
        let path = if hub && (path == "/v1" || path == "/v2") {
            ""
        } else {
            path
        };
        if host.ends_with(']') {
            return Err(KeyError::Address(shown(text)));
        }
        let named = if hub { docker_hub::DOCKER_IO } else { host };
        let names_host = |image: &str| {
            ImageRef::parse(image).is_ok_and(|image| {
                image.registry() == named && image.tag().is_none() && image.digest().is_none()
            })
        };
        if !names_host(&format!("{named}/x")) {
            return Err(KeyError::Host(shown(text)));
        }
        // To a kubelet a path is a prefix, also of half a name.
        if !["", "x", "/x"]
            .into_iter()
            .any(|end| names_host(&format!("{named}{path}{end}")))
            && !path.is_empty()
        {
            return Err(KeyError::Path(shown(text)));
        }
        Ok(Self {
            host: if hub { HUB } else { host }.into(),
            path: path.into(),
        })
    }

    /// The registry's host and port; `index.docker.io` is Docker Hub's.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host and port that a normalised image reference has.
    pub(super) fn image_host(&self) -> &str {
        if &*self.host == HUB {
            docker_hub::DOCKER_IO
        } else {
            &self.host
        }
    }

    /// The path as it is written: a kubelet takes off one `/v1`.
    fn written_path(&self) -> Cow<'_, str> {
        if self.path.starts_with("/v1/") || self.path.starts_with("/v2/") {
            Cow::Owned(format!("/v1{}", self.path))
        } else {
            Cow::Borrowed(&self.path)
        }
    }

    /// The keys to write, so that a kubelet finds the entry for every image of the registry: one, and
    /// for Docker Hub one for each of its names.
    pub(super) fn written(&self) -> Vec<String> {
        if &*self.host != HUB {
            return vec![self.to_string()];
        }
        let path = self.written_path();
        let first = if path.is_empty() {
            HUB_URL.to_owned()
        } else {
            // A kubelet knows its own name of Docker Hub only without a path.
            format!("{}{path}", docker_hub::DOCKER_IO)
        };
        let aliases = HUB_ALIASES.iter().map(|host| format!("{host}{path}"));
        std::iter::once(first).chain(aliases).collect()
    }
}

impl FromStr for RegistryKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text)
    }
}

impl fmt::Display for RegistryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.written_path())
    }
}
