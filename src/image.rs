//! Turns the image reference a Pod writes into registry, repository, tag and digest.
//!
//! The grammar and the normalisation are those of [`ParseNormalizedNamed`] in
//! distribution/reference v0.6.0: the same texts are accepted and the same normal form is printed,
//! which `tests/it/oracle.rs` holds against the Go package itself. Never adds a default tag, never
//! folds case or aliases (matching does that), never looks at a registry, never allocates to parse.
//!
//! [`ParseNormalizedNamed`]: https://pkg.go.dev/github.com/distribution/reference@v0.6.0#ParseNormalizedNamed

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter;

mod error;
mod grammar;

pub use error::{ImageError, Spot};

/// The registry of a reference that names none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The registry's old name, which normalisation replaces.
const LEGACY_REGISTRY: &str = "index.docker.io";
/// The first segment of an official image, which nobody writes.
const OFFICIAL: &str = "library";
/// `RepositoryNameTotalLengthMax`; since v0.6.0 the registry does not count.
const REPOSITORY_MAX: usize = 255;

/// One image reference, borrowed from the text it was parsed from.
///
/// Two references are equal when they normalise to the same text.
#[derive(Clone, Copy, Debug)]
pub struct ImageRef<'a> {
    registry: &'a str,
    /// The repository as written: without the `library/` that `official` stands for.
    path: &'a str,
    official: bool,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> ImageRef<'a> {
    /// Parses and normalises one reference, in time linear in its length.
    ///
    /// ```
    /// use pullpass::image::{ImageError, ImageRef};
    ///
    /// let image = ImageRef::parse("nginx:1.29")?;
    /// assert_eq!(image.registry(), "docker.io");
    /// assert_eq!(image.repository(), "library/nginx");
    /// assert_eq!(image.tag(), Some("1.29"));
    /// assert_eq!(image.to_string(), "docker.io/library/nginx:1.29");
    ///
    /// // Only with a slash behind it is the first part a registry.
    /// assert_eq!(ImageRef::parse("[fc00::1]:5000/app")?.registry(), "[fc00::1]:5000");
    /// assert_eq!(ImageRef::parse("localhost:5000")?.to_string(), "docker.io/library/localhost:5000");
    ///
    /// let error = ImageRef::parse("quay.io/Org/app").unwrap_err();
    /// assert!(matches!(error, ImageError::Uppercase(spot) if spot.at == 8));
    /// # Ok::<(), ImageError>(())
    /// ```
    ///
    /// # Errors
    /// Says where the text leaves the grammar, or which limit it breaks. When several things are
    /// wrong the one that the Go package reports comes first.
    pub fn parse(text: &'a str) -> Result<Self, ImageError> {
        let spot = |at| Spot::new(text, at);
        if text.is_empty() {
            return Err(ImageError::Empty);
        }
        if let Some(at) = text.bytes().position(|byte| !byte.is_ascii()) {
            return Err(ImageError::NotAscii(spot(at)));
        }
        if grammar::is_identifier(text) {
            return Err(ImageError::Identifier);
        }

        let (host, rest) = split_host(text);
        let offset = text.len() - rest.len();
        // Up to the first colon: without a tag that takes in the digest's algorithm.
        let mut before_colon = rest.bytes().take_while(|byte| *byte != b':');
        if let Some(at) = before_colon.position(|byte| byte.is_ascii_uppercase()) {
            return Err(ImageError::Uppercase(spot(offset + at)));
        }

        let mut capital = None;
        let registry = match host {
            None | Some(LEGACY_REGISTRY) => DEFAULT_REGISTRY,
            Some(host) => match grammar::host(host) {
                Ok(()) => host,
                Err(at) => {
                    // `my_host.example/app` is no host but is a repository: Go's expression then
                    // takes the whole text as one, with an empty registry.
                    grammar::path(host.bytes().map(|byte| byte.to_ascii_lowercase()))
                        .map_err(|_| ImageError::Registry(spot(at)))?;
                    capital = host.bytes().position(|byte| byte.is_ascii_uppercase());
                    ""
                }
            },
        };

        let (name, suffix) = split_name(rest);
        grammar::path(name.bytes()).map_err(|at| ImageError::Repository(spot(offset + at)))?;
        let (tag, digest) = match suffix.strip_prefix(':') {
            None => (None, suffix.strip_prefix('@')),
            Some(after) => match after.split_once('@') {
                None => (Some(after), None),
                Some((tag, digest)) => (Some(tag), Some(digest)),
            },
        };
        if let Some(tag) = tag {
            let start = offset + name.len() + 1;
            grammar::tag(tag).map_err(|at| ImageError::Tag(spot(start + at)))?;
        }
        let digest_start = text.len() - digest.map_or(0, str::len);
        if let Some(digest) = digest {
            grammar::digest(digest).map_err(|at| ImageError::Digest(spot(digest_start + at)))?;
        }
        if let Some(at) = capital {
            return Err(ImageError::Uppercase(spot(at)));
        }

        let path = if registry.is_empty() {
            split_name(text).0
        } else {
            name
        };
        let official = registry == DEFAULT_REGISTRY && !path.contains('/');
        let length = path.len() + if official { OFFICIAL.len() + 1 } else { 0 };
        if length > REPOSITORY_MAX {
            return Err(ImageError::RepositoryTooLong { length });
        }
        if let Some(digest) = digest {
            check_algorithm(digest, |at| spot(digest_start + at))?;
        }
        Ok(Self {
            registry,
            path,
            official,
            tag,
            digest,
        })
    }

    /// The registry's host and port, its case as written; `docker.io` when none or its old name
    /// `index.docker.io` was written.
    ///
    /// Empty in one odd case: a first segment that has a dot, and an underscore as no host may
    /// (`my_host.example/app`), belongs to the repository and leaves no registry.
    #[must_use]
    pub fn registry(&self) -> &'a str {
        self.registry
    }

    /// The path in the registry, with the `library/` that an official image implies.
    #[must_use]
    pub fn repository(&self) -> Cow<'a, str> {
        if self.official {
            Cow::Owned(format!("{OFFICIAL}/{}", self.path))
        } else {
            Cow::Borrowed(self.path)
        }
    }

    /// The repository's segments, an implied `library` first. At least one, none empty.
    pub fn segments(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let implied = self.official.then_some(OFFICIAL);
        implied.into_iter().chain(self.path.split('/'))
    }

    /// The tag, if one is written.
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        self.tag
    }

    /// The digest, algorithm and all, if one is written.
    #[must_use]
    pub fn digest(&self) -> Option<&'a str> {
        self.digest
    }

    /// What makes two references one: `library/` is left out whether it was written or implied.
    fn identity(&self) -> (&'a str, &'a str, Option<&'a str>, Option<&'a str>) {
        let short = match self.path.split_once('/') {
            Some((OFFICIAL, name)) if self.registry == DEFAULT_REGISTRY && !name.contains('/') => {
                name
            }
            _ => self.path,
        };
        (self.registry, short, self.tag, self.digest)
    }
}

impl PartialEq for ImageRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for ImageRef<'_> {}

impl Hash for ImageRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// The normal form, as distribution/reference prints it; a tag is not made up.
impl fmt::Display for ImageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = Some(self.registry).filter(|registry| !registry.is_empty());
        for (index, part) in iter::chain(registry, self.segments()).enumerate() {
            let slash = if index == 0 { "" } else { "/" };
            write!(f, "{slash}{part}")?;
        }
        if let Some(tag) = self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Takes off the first segment if it looks like a host: `localhost`, or a dot, colon or capital.
fn split_host(text: &str) -> (Option<&str>, &str) {
    let tells = |byte: u8| matches!(byte, b'.' | b':') || byte.is_ascii_uppercase();
    match text.split_once('/') {
        Some((first, rest)) if first == "localhost" || first.bytes().any(tells) => {
            (Some(first), rest)
        }
        _ => (None, text),
    }
}

/// The name, and what follows from the first `:` or `@` on, that sign included.
fn split_name(text: &str) -> (&str, &str) {
    match text.find([':', '@']) {
        Some(end) => text.split_at(end),
        None => (text, ""),
    }
}

/// What go-digest asks beyond the grammar, with the three algorithms that a kubelet registers.
fn check_algorithm(digest: &str, spot: impl Fn(usize) -> Spot) -> Result<(), ImageError> {
    let (algorithm, encoded) = digest.split_once(':').unwrap_or((digest, ""));
    let capital = |text: &str| text.bytes().position(|byte| byte.is_ascii_uppercase());
    let (algorithm, want) = match algorithm {
        "sha256" => ("sha256", 64),
        "sha384" => ("sha384", 96),
        "sha512" => ("sha512", 128),
        other => {
            return Err(match capital(other) {
                Some(at) => ImageError::DigestUppercase(spot(at)),
                None => ImageError::DigestAlgorithm(spot(0)),
            });
        }
    };
    if encoded.len() != want {
        return Err(ImageError::DigestLength {
            algorithm,
            want,
            got: encoded.len(),
        });
    }
    match capital(encoded) {
        Some(at) => Err(ImageError::DigestUppercase(spot(algorithm.len() + 1 + at))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
