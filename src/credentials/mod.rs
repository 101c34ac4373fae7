//! Where the content of pull secrets comes from: one file a source, each a call that ends in bounded time.
//!
//! A [`Fetcher`] asks the clouds; [`secret_ref`] reads a Secret that somebody has fetched already. What comes
//! out is a [`DockerConfig`](crate::docker_config::DockerConfig). Nothing here writes, retries for longer than
//! one fetch, or tells a token to anybody.

#[cfg(feature = "aws")]
mod ecr;
mod error;
mod outgoing;
pub mod secret_ref;

use std::time::SystemTime;

pub use self::error::FetchError;
pub use self::outgoing::{Outgoing, OutgoingError, Proxy};
use crate::docker_config::{DockerConfig, Entry};
use crate::policy::document::{Credential, CredentialSource};

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

/// Asks the sources. One for the life of the process: connections and identities are kept between fetches.
#[derive(Debug)]
pub struct Fetcher {
    #[cfg(feature = "aws")]
    ecr: ecr::Ecr,
}

/// What the file of a source gives.
struct Answer {
    entries: Vec<Entry>,
    issued: SystemTime,
    expires: Option<SystemTime>,
}

impl Fetcher {
    /// A fetcher whose calls leave as told. It reads the file with the authorities, and calls nobody.
    pub fn new(outgoing: &Outgoing) -> Result<Self, OutgoingError> {
        let way = outgoing.way()?;
        #[cfg(not(feature = "aws"))]
        let _ = way;
        Ok(Self {
            #[cfg(feature = "aws")]
            ecr: ecr::Ecr::new(way)?,
        })
    }

    /// Asks the credential's source once. Of the answer, only the entries for its `registries` are kept, if it
    /// has any.
    pub async fn fetch(&self, credential: &Credential) -> Result<Fetched, FetchError> {
        let answer = self.ask(&credential.from).await?;
        let Answer {
            entries,
            issued,
            expires,
        } = answer;
        let (config, dropped) = DockerConfig::from_entries(entries, &credential.registries);
        if config.is_empty() {
            return Err(FetchError::nothing_left(&dropped));
        }
        Ok(Fetched {
            config,
            issued,
            expires,
        })
    }

    async fn ask(&self, source: &CredentialSource) -> Result<Answer, FetchError> {
        match source {
            #[cfg(feature = "aws")]
            CredentialSource::Ecr {
                account_ids,
                regions,
                role_arn,
            } => {
                let role = role_arn.as_deref();
                self.ecr.fetch(account_ids, regions, role).await
            }
            #[cfg(not(feature = "aws"))]
            CredentialSource::Ecr { .. } => Err(FetchError::LeftOut {
                from: "ecr",
                feature: "aws",
            }),
            CredentialSource::Gcp => Err(FetchError::NotYet { from: "gcp" }),
            CredentialSource::Acr { .. } => Err(FetchError::NotYet { from: "acr" }),
            CredentialSource::Exec { .. } => Err(FetchError::NotYet { from: "exec" }),
            CredentialSource::SecretRef { .. } => Err(FetchError::NotFetched { from: "secretRef" }),
            CredentialSource::Existing => Err(FetchError::NotFetched { from: "existing" }),
        }
    }
}
