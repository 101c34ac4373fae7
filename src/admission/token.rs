//! A Pod's volumes and mounts → what the ServiceAccount admission plugin added of a token, by position.
//!
//! Only what the plugin added may go when a switch ends under an account that mounts none: never a volume
//! or mount of the author's, nor a volume that something else mounts. Writes no patch.

use super::authored::Authored;
use super::json::{List, read_raw};
use super::review::{Container, Mount, Projected, Spec, Volume};
use crate::policy::decide::Slot;

/// Where the plugin mounts an account's token.
pub(crate) const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How the plugin's volume is called, with five random characters behind. A volume of the author's that
/// is called so is taken by the plugin for the token's, and mounted.
const TOKEN_VOLUME: &str = "kube-api-access-";
/// For how many seconds the plugin asks for a token; for others 3600 is filled in.
const TOKEN_SECONDS: &str = "3607";

/// The plugin's mounts and its volume, by position.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenRemoval {
    /// Containers and their mounts, in order.
    pub mounts: Vec<(ContainerKind, usize, usize)>,
    /// The volume, when nothing else mounts it.
    pub volume: Option<usize>,
}

/// The two lists of containers that the plugin mounts a token into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerKind {
    /// `spec.containers`.
    Container,
    /// `spec.initContainers`.
    Init,
}

impl ContainerKind {
    /// The field of `spec`.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Container => "containers",
            Self::Init => "initContainers",
        }
    }

    /// Where the image of its `i`th container stands.
    pub(crate) fn slot(self, i: usize) -> Slot {
        match self {
            Self::Container => Slot::Container(i),
            Self::Init => Slot::InitContainer(i),
        }
    }
}

/// What of the plugin's goes; nothing when it added nothing.
pub(crate) fn removal(spec: &Spec<'_>, authored: Option<&Authored>) -> Option<TokenRemoval> {
    let volume = spec
        .volumes
        .iter()
        .position(|volume| is_plugins_volume(volume, authored));
    let volume_name = volume
        .and_then(|at| spec.volumes.get(at))
        .map(|volume| &*volume.name);
    let mut removal = TokenRemoval::default();
    let mut is_mounted = false;
    let lists = [
        (Some(ContainerKind::Container), &spec.containers),
        (Some(ContainerKind::Init), &spec.init_containers),
        (None, &spec.ephemeral_containers),
    ];
    for (kind, containers) in lists {
        for (i, container) in containers.iter().enumerate() {
            let mounts: List<Mount<'_>> = read_raw(container.volume_mounts).unwrap_or_default();
            for (j, mount) in mounts.iter().enumerate() {
                match kind {
                    Some(kind) if is_plugins_mount(container, mount, volume_name, authored) => {
                        removal.mounts.push((kind, i, j));
                    }
                    _ => is_mounted |= Some(&*mount.name) == volume_name,
                }
            }
        }
    }
    removal.volume = volume.filter(|_| !is_mounted);
    (removal != TokenRemoval::default()).then_some(removal)
}

fn is_plugins_volume(volume: &Volume<'_>, authored: Option<&Authored>) -> bool {
    if !volume.name.starts_with(TOKEN_VOLUME) || volume.image.is_some() {
        return false;
    }
    let projected: Projected<'_> = read_raw(volume.projected).unwrap_or_default();
    let mut tokens = projected
        .sources
        .iter()
        .filter_map(|source| source.token.as_ref());
    match authored {
        Some(authored) => !authored.volumes.contains(&*volume.name) && tokens.next().is_some(),
        None => tokens.any(|token| {
            token
                .expiration_seconds
                .is_some_and(|seconds| seconds.get() == TOKEN_SECONDS)
        }),
    }
}

fn is_plugins_mount(
    container: &Container<'_>,
    mount: &Mount<'_>,
    volume: Option<&str>,
    authored: Option<&Authored>,
) -> bool {
    *mount.path == *TOKEN_PATH
        && match authored {
            Some(authored) => {
                mount.name.starts_with(TOKEN_VOLUME)
                    && !authored.token_mounts.contains(&*container.name)
            }
            None => Some(&*mount.name) == volume,
        }
}
