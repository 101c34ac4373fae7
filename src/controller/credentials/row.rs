//! A table + one of its credentials → what the loop has to know of it: its policy, its source, whether it is made.
//!
//! It is made anew with each table, and compared by the digest of all that decides about the value.

use std::sync::Arc;

use crate::docker_config::Digest;
use crate::names::SecretName;
use crate::policy::config_maps::ConfigMapName;
use crate::policy::document::{Credential, CredentialSource};
use crate::policy::table::Table;

/// What a policy says of a credential.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) credential: Credential,
    pub(super) policy: Arc<str>,
    pub(super) config_map: Option<ConfigMapName>,
    /// Of all that decides about the value: another digest has another value.
    pub(super) source: Digest,
    /// The source in words.
    pub(super) words: String,
}

impl Row {
    /// The row of a credential that this table declares.
    pub(super) fn of(table: &Table, credential: &Credential) -> Self {
        let policy = table.declarer(&credential.name);
        // Everything in it was written in one policy, and nothing else has a say.
        let said = format!("{:?} {:?}", credential.from, credential.registries);
        Self {
            credential: credential.clone(),
            policy: policy.map_or_else(|| "".into(), |policy| Arc::clone(&policy.name)),
            config_map: policy.and_then(|policy| policy.config_map.clone()),
            source: Digest::of(said.as_bytes()),
            words: words(&credential.from),
        }
    }

    /// Whether pullpass makes its Secrets.
    pub(super) fn is_made(&self) -> bool {
        self.credential.from != CredentialSource::Existing
    }

    /// The Secret that it is copied from.
    pub(super) fn copied_from(&self) -> Option<&SecretName> {
        match &self.credential.from {
            CredentialSource::SecretRef { name } => Some(name),
            _ => None,
        }
    }

    /// Whether its value has to be asked for.
    pub(super) fn is_fetched(&self) -> bool {
        self.is_made() && self.copied_from().is_none()
    }

    /// Whether its Secrets go when it goes.
    pub(super) fn is_remembered(&self) -> bool {
        self.is_made() && !self.credential.keep
    }
}

fn words(source: &CredentialSource) -> String {
    match source {
        CredentialSource::SecretRef { name } => format!("secretRef {name}"),
        CredentialSource::Ecr { regions, .. } => format!("ecr {}", regions.join(",")),
        CredentialSource::Gcp => "gcp".to_owned(),
        CredentialSource::Acr { .. } => "acr".to_owned(),
        CredentialSource::Exec { command, .. } => format!("exec {command}"),
        CredentialSource::Existing => "existing".to_owned(),
    }
}
