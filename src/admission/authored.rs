//! `managedFields` of a Pod that is being created → what its author wrote himself.
//!
//! The API server computes them before admission, so what a plugin or another webhook added does not
//! stand there; a client can claim more than it wrote, never hide something. Decides nothing.

use std::collections::HashSet;

use super::json::{Entries, List, Present, read_raw};
use super::review::{EntryKey, Managed, ManagedContainer, Pod};
use super::token::TOKEN_PATH;

/// What the Pod's author wrote himself.
#[derive(Debug, Default)]
pub(crate) struct Authored {
    /// Whether he named an account, `default` included.
    pub account: bool,
    /// The names of pull secrets.
    pub pull_secrets: HashSet<String>,
    /// The names of volumes.
    pub volumes: HashSet<String>,
    /// The containers and init containers with a mount of his at the token's path.
    pub token_mounts: HashSet<String>,
}

impl Authored {
    /// `None` when there are no `managedFields` that can be read: the object was too large for them, or
    /// it comes from a manifest.
    pub(crate) fn read(pod: &Pod<'_>) -> Option<Self> {
        let raw = pod.metadata.as_ref()?.managed_fields;
        let entries: List<Managed<'_>> = read_raw(raw).ok()?;
        let mut fields = entries
            .iter()
            .filter_map(|entry| entry.fields.as_ref())
            .peekable();
        fields.peek()?;
        let mut authored = Self::default();
        for spec in fields.map(|object| &object.spec) {
            authored.account |= spec.service_account_name.0 || spec.service_account.0;
            authored
                .pull_secrets
                .extend(names(&spec.image_pull_secrets));
            authored.volumes.extend(names(&spec.volumes));
            authored.take_mounts(&spec.containers);
            authored.take_mounts(&spec.init_containers);
        }
        Some(authored)
    }

    fn take_mounts(&mut self, containers: &Entries<'_, ManagedContainer<'_>>) {
        for (key, container) in &containers.0 {
            let mut mounts = container
                .volume_mounts
                .0
                .iter()
                .filter_map(|(key, _)| read_key(key));
            if mounts.any(|mount| *mount.mount_path == *TOKEN_PATH) {
                self.token_mounts
                    .extend(read_key(key).map(|container| container.name.0.into_owned()));
            }
        }
    }
}

fn names<'e>(entries: &'e Entries<'_, Present>) -> impl Iterator<Item = String> + 'e {
    let keys = entries.0.iter().filter_map(|(key, _)| read_key(key));
    keys.map(|key| key.name.0.into_owned())
}

/// Reads `k:{"name":"x"}`. The other keys (`.` and `f:…`) are about the list itself.
fn read_key(key: &str) -> Option<EntryKey<'_>> {
    serde_json::from_str(key.strip_prefix("k:")?).ok()
}
