//! What was fetched or copied, or is seen in a copy → the value of a credential, as it is written and remembered.
//!
//! The bytes go into Secrets and nowhere else; all that is told of them is their digest.

use std::sync::Arc;

use k8s_openapi::ByteString;

use super::row::Row;
use crate::credentials::Fetched;
use crate::docker_config::{Digest, DockerConfig, Format, read};
use crate::plan::refresh::Lifetime;
use crate::plan::secrets::Marks;
use crate::status::Remembered;

/// The value of a credential.
#[derive(Clone)]
pub(super) struct Material {
    /// What a copy's one key holds.
    pub(super) json: Arc<ByteString>,
    pub(super) digest: Digest,
    pub(super) lifetime: Lifetime,
    /// Of which source.
    pub(super) source: Digest,
}

impl Material {
    pub(super) fn of(config: &DockerConfig, lifetime: Lifetime, source: Digest) -> Self {
        Self {
            json: Arc::new(ByteString(config.to_json())),
            digest: config.digest(),
            lifetime,
            source,
        }
    }

    pub(super) fn fetched(fetched: &Fetched, source: Digest) -> Self {
        let lifetime = Lifetime {
            issued: fetched.issued,
            expires: fetched.expires,
        };
        Self::of(&fetched.config, lifetime.in_whole_seconds(), source)
    }

    /// What another controller wrote, if this is it and a kubelet can read it.
    pub(super) fn taken_over(remembered: &Remembered, seen: &Seen) -> Option<Self> {
        if seen.digest != remembered.digest {
            return None;
        }
        read(Format::DockerConfigJson, &seen.json.0).ok()?;
        Some(Self {
            json: Arc::clone(&seen.json),
            digest: remembered.digest,
            lifetime: Lifetime {
                issued: remembered.issued,
                expires: remembered.expires,
            },
            source: remembered.source,
        })
    }

    pub(super) fn remembered(&self) -> Remembered {
        Remembered {
            digest: self.digest,
            source: self.source,
            issued: self.lifetime.issued,
            expires: self.lifetime.expires,
        }
    }
}

/// What a copy was last seen to hold: perhaps what another controller has fetched.
pub(super) struct Seen {
    pub(super) digest: Digest,
    pub(super) json: Arc<ByteString>,
}

/// What a copy says beside it.
pub(super) fn marks(row: &Row, material: &Material) -> Marks {
    Marks {
        policy: row.policy.to_string(),
        source: row.words.clone(),
        expires: material.lifetime.expires,
    }
}
