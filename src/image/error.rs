//! Turns a refused image reference into what is wrong, where, and what to write instead.
//!
//! One variant per refusal of distribution/reference and go-digest, whose "invalid reference
//! format" is split by the part that breaks the grammar. Plain copies: no text is borrowed or
//! allocated, so a caller prints the reference beside the message.

use std::fmt;

use thiserror::Error;

/// Why a text is no image reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Nothing is written. (Go: invalid reference format.)
    #[error("image reference is empty: write one such as `nginx` or `quay.io/org/app:v1`")]
    Empty,
    /// The grammar is ASCII, punycode included. (Go: invalid reference format, or upper case.)
    #[error(
        "{0} is not ascii: write plain letters, digits and signs, an international host in punycode (`xn--…`)"
    )]
    NotAscii(Spot),
    /// 64 lower-case hexadecimal digits, which the grammar keeps for image IDs.
    #[error(
        "64 hexadecimal digits alone are an image's id, not its name: write `name@sha256:` before a digest, `docker.io/library/` before a name"
    )]
    Identifier,
    /// A capital in the repository, or in a digest's algorithm when there is no tag.
    #[error(
        "{0} is upper case: write the repository and the digest in lower case, only a registry and a tag may have capitals"
    )]
    Uppercase(Spot),
    /// The part before the first slash is meant as a registry and is none.
    #[error(
        "registry goes wrong at {0}: write `host`, `host:port` or `[ipv6]:port`, without `https://`"
    )]
    Registry(Spot),
    /// A segment of the repository is empty, or has a sign where none may stand.
    #[error(
        "repository goes wrong at {0}: write segments of lower-case letters and digits, joined by one `.`, one or two `_`, or dashes"
    )]
    Repository(Spot),
    /// The tag is empty, too long, or has a sign that it may not have.
    #[error(
        "tag goes wrong at {0}: write 1 to 128 letters, digits, `_`, `.` and `-` after the `:`, the first neither `.` nor `-`"
    )]
    Tag(Spot),
    /// The digest is not an algorithm, a colon and at least 32 hexadecimal digits.
    #[error(
        "digest goes wrong at {0}: write `sha256:` and 64 hexadecimal digits after the `@`, and nothing behind them"
    )]
    Digest(Spot),
    /// The repository, a `library/` that is implied included, is over 255 characters.
    #[error("repository is {length} characters long: 255 are the limit, shorten it")]
    RepositoryTooLong {
        /// Its length in bytes, which are characters here.
        length: usize,
    },
    /// The digest's algorithm is none that go-digest knows.
    #[error(
        "digest algorithm that starts with {0} is not supported: use `sha256`, `sha384` or `sha512`"
    )]
    DigestAlgorithm(Spot),
    /// The digest has not the number of digits of its algorithm.
    #[error(
        "digest has {got} hexadecimal digits where `{algorithm}` has {want}: copy it again, whole"
    )]
    DigestLength {
        /// The algorithm, as written.
        algorithm: &'static str,
        /// How many digits it has.
        want: usize,
        /// How many are there.
        got: usize,
    },
    /// The digest's algorithm or digits have a capital. (Go: invalid checksum digest format.)
    #[error("{0} is upper case: write the digest in lower case")]
    DigestUppercase(Spot),
}

/// A place in the text of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spot {
    /// The offset in bytes, from 0.
    pub at: usize,
    /// What stands there, `None` at the end of the text.
    pub character: Option<char>,
}

impl Spot {
    pub(super) fn new(text: &str, at: usize) -> Self {
        let character = text.get(at..).and_then(|rest| rest.chars().next());
        Self { at, character }
    }
}

/// For people: counted from 1, and nothing that could break a line or a terminal.
impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.character {
            None => write!(f, "its end"),
            Some(plain) if plain.is_ascii_graphic() => {
                write!(f, "`{plain}` (character {})", self.at + 1)
            }
            Some(other) => write!(f, "`{}` (character {})", other.escape_debug(), self.at + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ImageRef;

    #[test]
    fn a_message_says_what_where_and_what_to_do() {
        for (text, want) in [
            ("", "image reference is empty: write one"),
            ("caf\u{e9}", "`\u{e9}` (character 4) is not ascii"),
            ("a\u{200b}", "`\\u{200b}` (character 2) is not ascii"),
            (
                "quay.io/Org/app",
                "`O` (character 9) is upper case: write the repository",
            ),
            (
                "https://quay.io/app",
                "registry goes wrong at `/` (character 7): write `host`",
            ),
            ("nginx\n", "repository goes wrong at `\\n` (character 6)"),
            ("quay.io/", "repository goes wrong at its end"),
            ("nginx:", "tag goes wrong at its end"),
            ("nginx@sha256:12", "digest goes wrong at its end"),
        ] {
            let message = ImageRef::parse(text).unwrap_err().to_string();
            assert!(message.starts_with(want), "{text:?} gave: {message}");
            assert!(
                !message.ends_with('.') && !message.contains('\n'),
                "{message}"
            );
        }
    }
}
