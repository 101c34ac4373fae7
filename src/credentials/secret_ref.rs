//! A source Secret → the logins to copy, or why there are none, in words for an Event.
//!
//! It is read exactly as a kubelet would read it: a copy must not work where the source would not. It reads
//! no cluster, and no value of the Secret is in what it says.

use k8s_openapi::api::core::v1::Secret;

use crate::docker_config::{DockerConfig, Dropped, Format, ReadError, read};

/// What a source Secret holds.
#[derive(Clone, Debug)]
pub struct Source {
    /// What is written, at least one login.
    pub config: DockerConfig,
    /// Entries that are not written, with the reasons.
    pub dropped: Vec<Dropped>,
}

/// Why a Secret is no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Not a pull secret.
    #[error(
        "the Secret `{name}` is of type `{found}`: a source is of type `{}` or `{}`",
        Format::DockerConfigJson.secret_type(),
        Format::DockerCfg.secret_type()
    )]
    Type {
        /// Which Secret.
        name: String,
        /// Its type.
        found: String,
    },
    /// A pull secret without content.
    #[error("the Secret `{name}` has no key `{key}`, which its type asks for")]
    NoKey {
        /// Which Secret.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// Content that a kubelet would refuse.
    #[error(
        "the Secret `{name}` cannot be read under `{key}`, by a kubelet neither: {fault}; the copies stay as \
         they are"
    )]
    Malformed {
        /// Which Secret.
        name: String,
        /// The key.
        key: &'static str,
        /// What is wrong.
        fault: ReadError,
    },
    /// No entry.
    #[error("the Secret `{name}` has no entry under `{key}`")]
    Empty {
        /// Which Secret.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// Entries, and none of use.
    #[error("the Secret `{name}` has {} under `{key}` and none can be written: {}", entries(dropped.len()), first(dropped))]
    NothingLeft {
        /// Which Secret.
        name: String,
        /// The key.
        key: &'static str,
        /// Each with its reason.
        dropped: Vec<Dropped>,
    },
}

/// Reads a source Secret. With `registries` only the entries for these hosts are kept.
pub fn read_source(secret: &Secret, registries: &[Box<str>]) -> Result<Source, SourceError> {
    let name = || secret.metadata.name.clone().unwrap_or_default();
    // The API server's own default.
    let type_ = secret.type_.as_deref().unwrap_or("Opaque");
    let Some(format) = Format::of_type(type_) else {
        return Err(SourceError::Type {
            name: name(),
            found: type_.escape_default().to_string(),
        });
    };
    let key = format.key();
    let content = secret.data.as_ref().and_then(|data| data.get(key));
    let Some(content) = content else {
        return Err(SourceError::NoKey { name: name(), key });
    };
    let entries = read(format, &content.0).map_err(|fault| SourceError::Malformed {
        name: name(),
        key,
        fault,
    })?;
    if entries.is_empty() {
        return Err(SourceError::Empty { name: name(), key });
    }
    let (config, dropped) = DockerConfig::from_entries(entries, registries);
    if config.is_empty() {
        return Err(SourceError::NothingLeft {
            name: name(),
            key,
            dropped,
        });
    }
    Ok(Source { config, dropped })
}

fn entries(number: usize) -> String {
    let many = if number == 1 { "entry" } else { "entries" };
    format!("{number} {many}")
}

/// An Event has room for one.
fn first(dropped: &[Dropped]) -> String {
    dropped.first().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    fn secret(type_: Option<&str>, data: &[(&str, &str)]) -> Secret {
        let data: serde_json::Map<_, _> = data
            .iter()
            .map(|(key, text)| ((*key).to_owned(), json!(STANDARD.encode(text))))
            .collect();
        let object = json!({"metadata": {"name": "hub"}, "type": type_, "data": data});
        serde_json::from_value(object).unwrap()
    }

    const JSON: &str = "kubernetes.io/dockerconfigjson";
    const LEGACY: &str = "kubernetes.io/dockercfg";

    #[test]
    fn both_formats_are_sources_of_the_same_copy() {
        let entry = r#"{"https://Quay.io/v1/": {"auth": "bWU6aHVudGVyMg=="}}"#;
        let new = secret(
            Some(JSON),
            &[(".dockerconfigjson", &format!(r#"{{"auths": {entry}}}"#))],
        );
        let old = secret(Some(LEGACY), &[(".dockercfg", entry)]);
        let copies = [new, old].map(|secret| read_source(&secret, &[]).unwrap().config.to_json());
        assert_eq!(copies[0], copies[1]);
        let text = String::from_utf8(copies[0].clone()).unwrap();
        assert_eq!(text, r#"{"auths":{"quay.io":{"auth":"bWU6aHVudGVyMg=="}}}"#);
    }

    #[test]
    fn only_wanted_registries_are_copied_and_the_rest_is_told() {
        let content = r#"{"auths": {
            "quay.io": {"username": "me", "password": "hunter2"},
            "ghcr.io": {"username": "me", "password": "hunter2"},
            "empty.io": {}
        }}"#;
        let secret = secret(Some(JSON), &[(".dockerconfigjson", content)]);
        let source = read_source(&secret, &["ghcr.io".into()]).unwrap();
        let keys: Vec<_> = source.config.keys().map(ToString::to_string).collect();
        assert_eq!(keys, ["ghcr.io"]);
        let mut dropped: Vec<_> = source.dropped.iter().map(|d| d.key.as_str()).collect();
        dropped.sort_unstable();
        assert_eq!(dropped, ["empty.io", "quay.io"]);
    }

    #[test]
    fn what_is_no_source_is_said_with_its_name_and_without_its_values() {
        let json = |content: &str| secret(Some(JSON), &[(".dockerconfigjson", content)]);
        for (secret, registries, want, why) in [
            (secret(None, &[]), &[][..], "is of type `Opaque`", "no type"),
            (
                secret(Some("kubernetes.io/tls"), &[("tls.key", "hunter2")]),
                &[],
                "is of type `kubernetes.io/tls`",
                "another type",
            ),
            (
                secret(Some("a\nb"), &[]),
                &[],
                r"is of type `a\nb`",
                "a type on one line",
            ),
            (
                secret(Some(JSON), &[(".dockercfg", "{}")]),
                &[],
                "has no key `.dockerconfigjson`",
                "the key of the other type",
            ),
            (
                secret(Some(LEGACY), &[]),
                &[],
                "has no key `.dockercfg`",
                "no content",
            ),
            (json("hunter2"), &[], "no JSON", "not JSON"),
            (
                json(r#"{"auths": {"quay.io": {"auth": "hunter2"}}}"#),
                &[],
                "the entry `quay.io`",
                "one malformed entry fails every pull, so it is named",
            ),
            (json("{}"), &[], "has no entry", "nothing"),
            (
                json(r#"{"auths": {"quay.io": {"username": "me"}}}"#),
                &[],
                "has 1 entry under `.dockerconfigjson` and none can be written: the entry `quay.io`",
                "no password",
            ),
            (
                json(r#"{"auths": {"quay.io": {"username": "me", "password": "hunter2"}}}"#),
                &["ghcr.io".into()],
                "`registries` names no host of it",
                "none of the wanted",
            ),
        ] {
            let error = read_source(&secret, registries).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("the Secret `hub` "), "{why}: {text}");
            assert!(text.contains(want), "{why}: {text}");
            let shown = format!("{text}{error:?}");
            assert!(
                !shown.contains("hunter2") && !text.contains('\n'),
                "{why}: {shown}"
            );
        }
    }
}
