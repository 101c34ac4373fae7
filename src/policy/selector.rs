//! A Kubernetes label selector, checked → does it match these labels.
//!
//! `matchLabels` and `matchExpressions` with In, NotIn, Exists and DoesNotExist, all ANDed, as
//! `metav1.LabelSelector`. NotIn also matches an object without the key.

/// A selector whose requirements all have to hold. None at all matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The requirements, `matchLabels` first.
    pub requirements: Box<[Requirement]>,
}

/// One requirement on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: Box<str>,
    /// What has to hold for its value.
    pub test: Test,
}

/// What has to hold for a label's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// One of these. `matchLabels` is an In of one.
    In(Box<[Box<str>]>),
    /// None of these, or no such label.
    NotIn(Box<[Box<str>]>),
    /// Any value.
    Exists,
    /// No such label.
    DoesNotExist,
}

impl Selector {
    /// Whether labels, asked for by key, match.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = label(&requirement.key);
            let among =
                |values: &[Box<str>]| value.is_some_and(|v| values.iter().any(|w| **w == *v));
            match &requirement.test {
                Test::In(values) => among(values),
                Test::NotIn(values) => !among(values),
                Test::Exists => value.is_some(),
                Test::DoesNotExist => value.is_none(),
            }
        })
    }
}

/// Whether a text may be a label's key: `[prefix/]name`, the prefix a DNS-1123 subdomain
/// (`IsQualifiedName` of k8s.io/apimachinery).
#[must_use]
pub fn is_label_key(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let subdomain = |p: &str| {
        let part = |l: &str| {
            is_word(l)
                && l.bytes()
                    .all(|b| !b.is_ascii_uppercase() && b != b'_' && b != b'.')
        };
        p.len() <= 253 && p.split('.').all(part)
    };
    prefix.is_none_or(subdomain) && is_word(name) && name.len() <= 63
}

/// Whether a text may be a label's value: empty, or at most 63 of `[-A-Za-z0-9_.]` that begin and end
/// with a letter or digit.
#[must_use]
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || (is_word(text) && text.len() <= 63)
}

fn is_word(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(text.bytes().next())
        && edge(text.bytes().next_back())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(key: &str, test: Test) -> Selector {
        Selector {
            requirements: [Requirement {
                key: key.into(),
                test,
            }]
            .into(),
        }
    }

    #[test]
    fn requirements_match_as_in_kubernetes() {
        let labels = |key: &str| (key == "team").then_some("build");
        let values = |v: &[&str]| v.iter().map(|v| (*v).into()).collect::<Box<[Box<str>]>>();
        for (key, test, want, why) in [
            (
                "team",
                Test::In(values(&["web", "build"])),
                true,
                "one of the values",
            ),
            ("team", Test::In(values(&["web"])), false, "another value"),
            ("zone", Test::In(values(&["a"])), false, "no such label"),
            (
                "team",
                Test::NotIn(values(&["build"])),
                false,
                "the value is excluded",
            ),
            (
                "zone",
                Test::NotIn(values(&["a"])),
                true,
                "NotIn holds without the label",
            ),
            ("team", Test::Exists, true, "any value"),
            ("zone", Test::Exists, false, "no such label"),
            ("zone", Test::DoesNotExist, true, "no such label"),
            ("team", Test::DoesNotExist, false, "it is there"),
        ] {
            assert_eq!(
                requirement(key, test.clone()).matches(labels),
                want,
                "{key} {test:?}: {why}"
            );
        }
        assert!(
            Selector::default().matches(labels),
            "an empty selector matches everything"
        );
    }

    #[test]
    fn keys_and_values_follow_the_rules_of_labels() {
        for (key, want) in [
            ("team", true),
            ("app.kubernetes.io/name", true),
            ("A_b.c-d", true),
            ("", false),
            ("/name", false),
            ("a/b/c", false),
            ("Upper.io/x", false),
            ("-a", false),
            ("a b", false),
        ] {
            assert_eq!(is_label_key(key), want, "{key:?}");
        }
        for (value, want) in [("", true), ("v1.2_x", true), ("-v", false), ("a/b", false)] {
            assert_eq!(is_label_value(value), want, "{value:?}");
        }
        assert!(!is_label_value(&"a".repeat(64)));
    }
}
