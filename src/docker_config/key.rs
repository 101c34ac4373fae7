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
/// use pullpass::docker_config::{KeyError, KeyFault, RegistryKey};
///
/// let key = RegistryKey::parse("https://Quay.io:443/v2/org")?;
/// assert_eq!(key.to_string(), "quay.io:443/org");
/// assert_eq!(RegistryKey::parse("docker.io")?.to_string(), "index.docker.io");
/// assert_eq!(RegistryKey::parse("*.azurecr.io").unwrap_err().fault, KeyFault::Glob);
/// # Ok::<(), KeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryKey {
    host: Box<str>,
    /// Empty, or from its slash on.
    path: Box<str>,
}

/// A text that is no [`RegistryKey`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` cannot be a key of a pull secret: {fault}")]
pub struct KeyError {
    /// The text, escaped and shortened.
    pub key: String,
    /// What is wrong with it.
    pub fault: KeyFault,
}

/// Why a key is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// A kubelet passes over it.
    #[error("it is no URL, and a kubelet passes over it")]
    Url,
    /// A glob stands for more than one host.
    #[error("it is a glob, and only exact hosts are written")]
    Glob,
    /// A host that no image reference can name.
    #[error("no image reference can name its host")]
    Host,
    /// Brackets are a glob to a kubelet where no port follows.
    #[error("it is an IPv6 address without a port, which a kubelet never finds")]
    Address,
    /// No repository begins with the path.
    #[error("no repository can begin with its path")]
    Path,
    /// Longer than any reference.
    #[error("it is longer than {MAX_LENGTH} bytes")]
    TooLong,
}

impl RegistryKey {
    /// Takes the key of an entry, a registry's host, or what `Display` prints.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Self::from_text(text).map_err(|fault| KeyError {
            key: shown(text),
            fault,
        })
    }

    fn from_text(text: &str) -> Result<Self, KeyFault> {
        if text.len() > MAX_LENGTH {
            return Err(KeyFault::TooLong);
        }
        let Location { host, path } = Location::of(text).ok_or(KeyFault::Url)?;
        let host = String::from_utf8(host).map_err(|_| KeyFault::Host)?;
        let path = String::from_utf8(path).map_err(|_| KeyFault::Path)?;
        if host.contains('*') {
            return Err(KeyFault::Glob);
        }
        Self::new(&host, &path)
    }

    /// The key of a host without globs and a path, as [`Location`] has them.
    pub(super) fn new(host: &str, path: &str) -> Result<Self, KeyFault> {
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
            return Err(KeyFault::Address);
        }
        let named = if hub { docker_hub::DOCKER_IO } else { host };
        let can_be = |path: &str, end: &str| {
            let image = format!("{named}{path}{end}");
            ImageRef::parse(&image).is_ok_and(|image| {
                image.registry() == named && image.tag().is_none() && image.digest().is_none()
            })
        };
        if !can_be("", "/x") {
            return Err(KeyFault::Host);
        }
        // To a kubelet a path is a prefix, also of half a name.
        if !["/x", "x", ""].into_iter().any(|end| can_be(path, end)) {
            return Err(KeyFault::Path);
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

    /// What the repositories it is for begin with: empty, or from its slash on.
    ///
    /// To a kubelet also half a name is a beginning: `/org` is one of `/organic/app`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The hosts and ports that normalised image references of the registry have, the usual one first.
    pub(super) fn image_hosts(&self) -> Vec<&str> {
        if &*self.host == HUB {
            std::iter::once(docker_hub::DOCKER_IO)
                .chain(HUB_ALIASES)
                .collect()
        } else {
            vec![&self.host]
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
        let key = |host: &str| match host {
            // A kubelet knows its own name of Docker Hub only without a path.
            docker_hub::DOCKER_IO if path.is_empty() => HUB_URL.to_owned(),
            host => format!("{host}{path}"),
        };
        self.image_hosts().into_iter().map(key).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_form_or_a_reason() {
        use KeyFault as F;
        let (longest, too_long) = ("a".repeat(255), "a".repeat(256));
        let longest = format!("quay.io/{longest}");
        #[rustfmt::skip]
        let rows: &[(&str, Result<&str, F>, &str)] = &[
            ("quay.io", Ok("quay.io"), "a host"),
            ("https://Quay.IO:443/v2/org/app", Ok("quay.io:443/org/app"), "host in lower case, without scheme and version"),
            ("quay.io:", Ok("quay.io"), "an empty port is none"),
            ("quay.io:0443", Ok("quay.io:0443"), "a port is as images write it"),
            ("quay.io/org/", Ok("quay.io/org/"), "a last slash keeps neighbours out"),
            ("quay.io/or", Ok("quay.io/or"), "a path may be half a name"),
            ("quay.io/a__", Ok("quay.io/a__"), "or end in a separator"),
            (&longest, Ok(&longest), "or be as long as a repository"),
            ("quay.io/%6frg", Ok("quay.io/org"), "escapes are resolved"),
            ("https://u:p@quay.io?a#b", Ok("quay.io"), "what is no host is dropped"),
            ("localhost", Ok("localhost"), "a host without a dot that images know"),
            ("reg:5000", Ok("reg:5000"), "or with a port"),
            ("[2001:DB8::1]:5000", Ok("[2001:db8::1]:5000"), "an address with a port"),
            ("docker.io", Ok("index.docker.io"), "Docker Hub by its name"),
            ("https://index.docker.io/v1/", Ok("index.docker.io"), "by its URL"),
            ("https://index.docker.io/v1", Ok("index.docker.io"), "as it is mistyped"),
            ("Registry-1.docker.io", Ok("index.docker.io"), "by where clients connect"),
            ("registry.hub.docker.com/v2/", Ok("index.docker.io"), "by an older name"),
            ("docker.io/acme", Ok("index.docker.io/acme"), "and a part of it"),
            ("docker.io:443", Ok("docker.io:443"), "with a port it is a host as any"),
            ("quay.io/v1/v2/org", Ok("quay.io/v1/v2/org"), "repositories can begin with a version, which then is written twice"),
            ("*.pkg.dev", Err(F::Glob), "more than one host"),
            ("*", Err(F::Glob), "every host"),
            ("quay.io:x", Err(F::Url), "no URL"),
            ("", Err(F::Host), "nothing"),
            ("quay", Err(F::Host), "to images a segment of a path"),
            ("my_reg.io", Err(F::Host), "no host has an underscore"),
            ("quay.io.", Err(F::Host), "or a last dot"),
            ("é.io", Err(F::Host), "or letters beyond ASCII"),
            ("HTTPS://quay.io", Err(F::Host), "a scheme is lower-case"),
            ("[2001:db8::1]", Err(F::Address), "brackets are a glob"),
            ("quay.io/Org", Err(F::Path), "no repository has a capital"),
            ("quay.io//org", Err(F::Path), "or an empty segment"),
            ("quay.io/org:1", Err(F::Path), "or its tag"),
            ("quay.io/org/*", Err(F::Path), "or a star"),
            ("quay.io/%ff", Err(F::Path), "or any byte"),
            (&format!("quay.io/{too_long}"), Err(F::Path), "or so many letters"),
            (&format!("quay.io/{}", "a/".repeat(600)), Err(F::TooLong), "let alone so many"),
        ];
        for (text, want, why) in rows {
            let got = RegistryKey::parse(text);
            let printed = got.as_ref().map(ToString::to_string);
            let printed = printed.as_deref().map_err(|error| error.fault);
            assert_eq!(printed, *want, "{text}: {why}");
            if let Ok(key) = got {
                assert_eq!(key.to_string().parse(), Ok(key), "{text}: it parses again");
            }
        }
    }

    #[test]
    fn an_error_quotes_the_key_in_one_short_line_without_passwords() {
        let long = format!("https://{}.io:x/", "a".repeat(200));
        for (text, want) in [
            (
                "*.io",
                "`*.io` cannot be a key of a pull secret: it is a glob, and only exact hosts are written",
            ),
            (
                "me:hunter2@a\u{202e}b\n?hunter2",
                r"`…@a\u{202e}b\n…` cannot be a key of a pull secret: it is no URL, and a kubelet passes over it",
            ),
        ] {
            assert_eq!(RegistryKey::parse(text).unwrap_err().to_string(), want);
        }
        let shown = RegistryKey::parse(&long).unwrap_err().key;
        assert!(shown.len() < 110 && shown.ends_with('…'), "{shown}");
    }
}
