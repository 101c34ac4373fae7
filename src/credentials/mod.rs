//! Where the content of pull secrets comes from: one file a source.
//!
//! A [`Fetcher`] asks the clouds; [`secret_ref`] reads a Secret that somebody has fetched already.

pub mod secret_ref;

use std::path::PathBuf;
use std::time::SystemTime;

use crate::docker_config::DockerConfig;
use crate::policy::document::Credential;

/// What a source answered.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The logins, at least one. Its `Debug` shows no value.
    pub config: DockerConfig,
    /// When it was asked for.
    pub issued: SystemTime,
    /// From when on a registry refuses the first of them; `None` when nobody says.
    pub expires: Option<SystemTime>,
}

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No source of this kind is built in yet.
    #[error("this kind of source is not built in yet")]
    NotYet,
}

/// How calls leave.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Authorities that are trusted beside the system's.
    pub ca_bundle: Option<PathBuf>,
}

/// Why no call can leave.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutgoingError {}

impl Outgoing {
    /// As the environment says.
    pub fn from_env(ca_bundle: Option<PathBuf>) -> Result<Self, OutgoingError> {
        Ok(Self { ca_bundle })
    }
}

/// Asks the sources.
#[derive(Debug)]
pub struct Fetcher;

impl Fetcher {
    /// A fetcher whose calls leave as told.
    pub fn new(_outgoing: &Outgoing) -> Result<Self, OutgoingError> {
        Ok(Self)
    }

    /// Asks the credential's source once.
    pub async fn fetch(&self, _credential: &Credential) -> Result<Fetched, FetchError> {
        std::future::ready(Err(FetchError::NotYet)).await
    }
}
