//! One entry of `match.images` → what it matches and how specific it is.
//!
//! The rules are the kubelet's `matchImages` with the exceptions that the policy reference tells:
//! a path covers whole segments, hosts compare without case, Docker Hub's hosts are one. A pattern is
//! parsed once, an image is prepared once ([`Candidate`]), and each pair is compared without
//! allocating.

use std::borrow::Cow;
use std::fmt;

use super::glob;
use crate::hosts::docker_hub;
use crate::image::ImageRef;

/// How specific a match is. Greater wins; equal ones apply together.
///
/// The fields are compared in this order, as in Gateway API's route precedence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Specificity {
    /// Which kind of host stands in the pattern.
    pub host: HostKind,
    /// For a class the number of its parameters, for a glob its literal characters, else 0.
    pub host_detail: u16,
    /// Path segments.
    pub segments: u16,
    /// Path segments without a special character.
    pub literal_segments: u16,
    /// Characters of the path that stand for themselves.
    pub literal_characters: u16,
}

/// The kinds of host, the weakest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostKind {
    /// The single pattern `*`.
    #[default]
    Any,
    /// A host with `*`, `?` or `[…]`.
    Glob,
    /// A registry class.
    Class,
    /// A host as it is.
    Literal,
}

impl HostKind {
    /// The word that explanations use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any host",
            Self::Glob => "host glob",
            Self::Class => "class",
            Self::Literal => "literal host",
        }
    }
}

/// An image prepared for matching: its host folded (case, Docker Hub's aliases), its path as it is.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    pub(crate) host: Cow<'a, str>,
    pub(crate) port: Option<&'a str>,
    /// The repository's segments, joined by `/`.
    pub(crate) path: Cow<'a, str>,
}

impl<'a> Candidate<'a> {
    /// Prepares an image.
    #[must_use]
    pub fn new(image: &ImageRef<'a>) -> Self {
        let (host, port) = split_port(image.registry());
        let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            let lower = host.to_ascii_lowercase();
            match docker_hub::canonical(&lower) {
                folded if folded == lower => Cow::Owned(lower),
                folded => Cow::Owned(folded.to_owned()),
            }
        } else {
            Cow::Borrowed(docker_hub::canonical(host))
        };
        Self {
            host,
            port,
            path: image.repository(),
        }
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &str> {
        self.path.split('/')
    }
}

/// Splits `host:port`; an IPv6 host keeps its brackets.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// A host has at most 253 characters and a repository 255.
const MAX_LENGTH: usize = 1024;

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Nothing, or nothing in front of the path.
    #[error("the pattern has no host")]
    NoHost,
    /// White space or a control character.
    #[error("the pattern has white space or a control character in it")]
    Blank,
    /// Longer than any reference.
    #[error("the pattern is longer than {MAX_LENGTH} bytes, and no image reference is")]
    TooLong,
    /// A port that is no number.
    #[error("`{0}` is no port")]
    Port(String),
    /// A glob that Go's `path.Match` refuses.
    #[error("{0}")]
    Glob(&'static str),
}

/// What a pattern has that does no harm and says nothing: dropped, with a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// `http://` or `https://`.
    Scheme,
    /// A first segment `v1` or `v2`, as in `https://index.docker.io/v1/`.
    ApiVersion,
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The text as written; behind it, when it is another one, `host[:port][/path]` with the host folded.
    text: Box<str>,
    /// Where the text as written ends.
    written: u16,
    /// Where `host[:port][/path]` starts: 0, or where the text ends.
    folded: u16,
    host_end: u16,
    path_start: u16,
    specificity: Specificity,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// ```
    /// use pullpass::{image::ImageRef, policy::pattern::{Candidate, Pattern}};
    ///
    /// let pattern = Pattern::parse("quay.io/org").unwrap();
    /// let matches = |image| pattern.specificity(&Candidate::new(&ImageRef::parse(image).unwrap())).is_some();
    /// assert!(matches("quay.io/org/app:v1"));
    /// assert!(!matches("quay.io/organic"));
    /// ```
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(PatternError::Blank);
        }
        if text.len() > MAX_LENGTH {
            return Err(PatternError::TooLong);
        }
        let bare = without_noise(text).0;
        if bare == "*" {
            return Ok(Self::build(text, &bare, (1, 1), Specificity::default()));
        }
        let (authority, path) = bare.split_once('/').unwrap_or((&bare, ""));
        // One slash at the end says nothing; of two the first ends an empty segment.
        let path = match path.strip_suffix('/') {
            Some(shorter) if !shorter.is_empty() => shorter,
            _ => path,
        };
        let (host, port) = split_authority(authority)?;
        if host.is_empty() {
            return Err(PatternError::NoHost);
        }
        let is_glob = !is_ipv6(host) && glob::is_glob(host);
        let lower = host.to_ascii_lowercase();
        if is_glob {
            lower
                .split('.')
                .try_for_each(glob::check)
                .map_err(PatternError::Glob)?;
        }
        path.split('/')
            .try_for_each(glob::check)
            .map_err(PatternError::Glob)?;

        let host = if is_glob {
            &lower
        } else {
            docker_hub::canonical(&lower)
        };
        let mut folded = String::from(host);
        let host_end = folded.len();
        if let Some(port) = port {
            folded.push(':');
            folded.push_str(port);
        }
        let path_start = folded.len() + usize::from(!path.is_empty());
        if !path.is_empty() {
            folded.push('/');
            folded.push_str(path);
        }
        let (kind, host_detail) = if is_glob {
            (HostKind::Glob, short(glob::literal_characters(host)))
        } else {
            (HostKind::Literal, 0)
        };
        let specificity = Specificity {
            host: kind,
            host_detail,
            ..path_specificity(path)
        };
        Ok(Self::build(
            text,
            &folded,
            (host_end, path_start),
            specificity,
        ))
    }

    fn build(text: &str, folded: &str, places: (usize, usize), specificity: Specificity) -> Self {
        let (host_end, path_start) = places;
        let (whole, start) = if text == folded {
            (text.into(), 0)
        } else {
            ([text, folded].concat().into(), text.len())
        };
        Self {
            text: whole,
            written: short(text.len()),
            folded: short(start),
            host_end: short(host_end),
            path_start: short(path_start),
            specificity,
        }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = usize::from(self.written);
        self.text.get(..end).unwrap_or_default()
    }

    /// How specific the match is, when the pattern matches the image.
    #[must_use]
    pub fn specificity(&self, image: &Candidate<'_>) -> Option<Specificity> {
        if self.is_any() || (self.host_matches(image) && self.path_matches(image)) {
            Some(self.specificity)
        } else {
            None
        }
    }

    fn host_matches(&self, image: &Candidate<'_>) -> bool {
        if self.port() != image.port {
            return false;
        }
        if self.is_literal_host() {
            return self.host() == image.host;
        }
        let (mut labels, mut wanted) = (image.host.split('.'), self.host().split('.'));
        loop {
            match (wanted.next(), labels.next()) {
                (None, None) => return true,
                (Some(glob), Some(label)) if glob::matches(glob, label) => {}
                _ => return false,
            }
        }
    }

    fn path_matches(&self, image: &Candidate<'_>) -> bool {
        let mut segments = image.segments();
        self.segments()
            .all(|glob| segments.next().is_some_and(|s| glob::matches(glob, s)))
    }

    fn whole(&self) -> &str {
        let start = usize::from(self.folded);
        self.text.get(start..).unwrap_or_default()
    }

    /// Whether this is the single pattern `*`.
    pub(crate) fn is_any(&self) -> bool {
        self.specificity.host == HostKind::Any
    }

    pub(crate) fn is_literal_host(&self) -> bool {
        self.specificity.host == HostKind::Literal
    }

    pub(crate) fn is_glob_host(&self) -> bool {
        self.specificity.host == HostKind::Glob
    }

    /// The folded host, without its port.
    pub(crate) fn host(&self) -> &str {
        self.whole()
            .get(..usize::from(self.host_end))
            .unwrap_or_default()
    }

    /// The port, when one is written.
    pub(crate) fn port(&self) -> Option<&str> {
        let end = usize::from(self.path_start);
        let rest = self.whole().get(usize::from(self.host_end)..end)?;
        let port = rest.strip_prefix(':')?;
        Some(port.strip_suffix('/').unwrap_or(port))
    }

    /// The path, without a slash in front.
    pub(crate) fn path(&self) -> &str {
        self.whole()
            .get(usize::from(self.path_start)..)
            .unwrap_or_default()
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &str> {
        self.path().split('/').filter(|_| !self.path().is_empty())
    }

    /// Why no image can match it, as a message and what to do about it.
    #[must_use]
    pub fn never_matches(&self) -> Option<(String, String)> {
        let host = self.host();
        if self.is_any() {
            return None;
        }
        let because = |why: String, help: &str| Some((why, help.to_owned()));
        let path = self.path();
        if let Some(at) = path.find([':', '@']) {
            let text = self.as_str();
            let kept = text.rfind(path.get(at..)?).and_then(|at| text.get(..at))?;
            return because(
                "a pattern matches repositories, which have no tag and no digest".into(),
                &format!("write `{kept}`"),
            );
        }
        if path.split('/').any(str::is_empty) && !path.is_empty() {
            return because(
                "the path has an empty segment".into(),
                "write one `/` between segments",
            );
        }
        if glob::literals(path).any(|b| b.is_ascii_uppercase()) {
            return because(
                "a repository has no upper-case letter".into(),
                "write the path in lower case",
            );
        }
        let in_path = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
        if !glob::literals(path).all(in_path) {
            return because(
                "a repository has letters, digits, `.`, `_`, `-` and `/` alone".into(),
                "remove the other characters",
            );
        }
        if self.port().is_some_and(|port| port.parse::<u16>().is_err()) {
            return because("a port is at most 65535".into(), "correct the port");
        }
        if is_ipv6(host) {
            return None;
        }
        if self.port().is_none() && !host.contains('.') && !glob::matches(host, "localhost") {
            return because(
                format!("`{host}` is no registry's host: it has no dot and no port"),
                &format!("for a Docker Hub image write `docker.io/{}`", self.whole()),
            );
        }
        if host.split('.').any(str::is_empty) {
            return because("the host has an empty label".into(), "remove the extra dot");
        }
        let in_label = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let bad = |label: &&str| {
            let dash = !glob::is_glob(label) && (label.starts_with('-') || label.ends_with('-'));
            dash || !glob::literals(label).all(in_label)
        };
        if let Some(label) = host.split('.').find(bad) {
            return because(
                format!("`{label}` is no label of a host"),
                "a label has letters, digits and dashes, and no dash at its ends",
            );
        }
        self.misses_ecr()
    }

    /// `*.amazonaws.com` is the commonest pattern that means ECR and never matches it.
    fn misses_ecr(&self) -> Option<(String, String)> {
        let labels = self.host().split('.').count();
        let (wanted, example) = match self.host() {
            host if host.ends_with(".amazonaws.com") => (6, "us-east-1.amazonaws.com"),
            host if host.ends_with(".amazonaws.com.cn") => (7, "cn-north-1.amazonaws.com.cn"),
            _ => return None,
        };
        (self.specificity.host == HostKind::Glob && labels != wanted).then(|| {
            let why = format!(
                "it matches no ECR host: `*` stays within one label, the pattern has {labels} and \
                 `123456789012.dkr.ecr.{example}` has {wanted}"
            );
            let help = "write the class `ecr: {}`, with `accountIds` and `regions` as needed";
            (why, help.into())
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The specificity that a path adds.
pub(crate) fn path_specificity(path: &str) -> Specificity {
    let mut specificity = Specificity::default();
    for segment in path.split('/').filter(|_| !path.is_empty()) {
        specificity.segments = specificity.segments.saturating_add(1);
        let literal = u16::from(!glob::is_glob(segment));
        specificity.literal_segments = specificity.literal_segments.saturating_add(literal);
        let characters = short(glob::literal_characters(segment));
        specificity.literal_characters = specificity.literal_characters.saturating_add(characters);
    }
    specificity
}

/// A pattern without what says nothing, and what that was.
pub(crate) fn without_noise(text: &str) -> (Cow<'_, str>, Vec<Noise>) {
    let mut noise = Vec::new();
    let bare = match ["https://", "http://"]
        .iter()
        .find_map(|s| strip_scheme(text, s))
    {
        Some(rest) => {
            noise.push(Noise::Scheme);
            rest
        }
        None => text,
    };
    let Some((host, path)) = bare.split_once('/') else {
        return (bare.into(), noise);
    };
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    if first != "v1" && first != "v2" {
        return (bare.into(), noise);
    }
    noise.push(Noise::ApiVersion);
    let joined = if rest.is_empty() {
        host.to_owned()
    } else {
        format!("{host}/{rest}")
    };
    (joined.into(), noise)
}

fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// Splits `host[:port]` of a pattern. A `:` inside `[…]` belongs to an IPv6 host or a class.
fn split_authority(authority: &str) -> Result<(&str, Option<&str>), PatternError> {
    match authority.rsplit_once(':') {
        Some((_, port)) if port.contains(']') => Ok((authority, None)),
        Some((host, port)) => {
            if port.is_empty() || port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit()) {
                return Err(PatternError::Port(port.to_owned()));
            }
            Ok((host, Some(port)))
        }
        None => Ok((authority, None)),
    }
}

/// `[…]` with at least two colons is an address, not a class of characters.
fn is_ipv6(host: &str) -> bool {
    host.strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .is_some_and(|inner| {
            inner.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
                && inner.bytes().filter(|&b| b == b':').count() >= 2
        })
}

/// Lengths in a pattern; the reader refuses texts that do not fit long before.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
