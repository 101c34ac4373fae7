//! Kubernetes names as types: text → a name that an API server accepts, or the rule it breaks.
//!
//! A name is checked once, where it enters, and never again.

use std::fmt;

/// The Secret with the serving certificate, when no other is named.
pub const TLS_SECRET: &str = "pullpass-webhook-tls";
/// The Secret with the authority's key: the controller's alone.
pub const CA_SECRET: &str = "pullpass-ca";

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("a {kind} is empty")]
    Empty {
        /// `Secret name` and so on.
        kind: &'static str,
    },
    /// Longer than 253 characters.
    #[error("`{text}…` is no {kind}: it has {length} characters, and 253 are the most")]
    TooLong {
        /// `Secret name` and so on.
        kind: &'static str,
        /// Its first characters.
        text: String,
        /// Its length in bytes.
        length: usize,
    },
    /// A character, or its place, that DNS-1123 forbids.
    #[error(
        "`{text}` is no {kind}: it may have lower-case letters, digits, `-` and `.`, and begins and ends with a letter or digit"
    )]
    Malformed {
        /// `Secret name` and so on.
        kind: &'static str,
        /// The text.
        text: String,
    },
}

/// DNS-1123 subdomain, as `metadata.name` of most objects: labels of `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
/// joined by dots, 253 characters at most (`IsDNS1123Subdomain` of k8s.io/apimachinery).
fn check(kind: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > 253 {
        let length = text.len();
        return Err(NameError::TooLong {
            kind,
            text: text.chars().take(40).collect(),
            length,
        });
    }
    let label = |label: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        edge(label.bytes().next())
            && edge(label.bytes().next_back())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if text.split('.').all(label) {
        Ok(())
    } else {
        Err(NameError::Malformed {
            kind,
            text: text.to_owned(),
        })
    }
}

macro_rules! names {
    ($( $(#[doc = $doc:literal])+ $name:ident = $kind:literal; )+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Takes a text that follows the rules of such a name.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check($kind, text)?;
                Ok(Self(text.into()))
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+ };
}

names! {
    /// A policy's `metadata.name`, as `company-registries`.
    PolicyName = "policy name";
    /// A rule's name, unique in its policy; `policy/rule` names it everywhere.
    RuleName = "rule name";
    /// A Secret's name, as `dockerhub-creds`.
    SecretName = "Secret name";
    /// A ServiceAccount's name, as `buildkite-agent`.
    AccountName = "ServiceAccount name";
    /// A ConfigMap's name.
    ConfigMapName = "ConfigMap name";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_name_is_what_an_api_server_accepts() {
        for (text, want, why) in [
            ("regcred", true, "a plain name"),
            ("a.b-c.d1", true, "dots and dashes inside"),
            ("1", true, "a digit may begin"),
            ("", false, "nothing"),
            ("Reg", false, "upper case"),
            ("a_b", false, "an underscore"),
            ("-a", false, "a dash in front"),
            ("a-", false, "a dash at the end"),
            ("a..b", false, "an empty label"),
            ("a\nb", false, "a control character"),
            ("é", false, "not ASCII"),
        ] {
            assert_eq!(SecretName::parse(text).is_ok(), want, "{text:?}: {why}");
        }
        assert!(SecretName::parse(&"a".repeat(253)).is_ok());
        let error = SecretName::parse(&"a".repeat(254)).unwrap_err();
        assert!(
            error.to_string().contains("it has 254 characters"),
            "{error}"
        );
    }
}
