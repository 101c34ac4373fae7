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
