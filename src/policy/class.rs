//! A registry class of a rule (`ecr`, `gcp`, `dockerHub`…) → which images it matches, how specifically.
//!
//! `dockerHub`, `ghcr`, `quay` and `gcp` stand for the literal host and path they mean in an image; the
//! others are a kind of their own between literal hosts and globs. Host grammars live in `hosts`.

use std::fmt;

use super::pattern::{Candidate, HostKind, Specificity, path_specificity};
use crate::hosts::{azure, docker_hub, ecr, ecr_public, ghcr, google, quay};

/// A registry class with its parameters. A parameter left out (`None`) means any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Amazon ECR private registries.
    Ecr {
        /// Twelve-digit account ids.
        account_ids: Option<Box<[Box<str>]>>,
        /// Regions, as `us-east-1`.
        regions: Option<Box<[Box<str>]>>,
    },
    /// Amazon ECR Public.
    EcrPublic,
    /// Google Container Registry and Artifact Registry.
    Gcp {
        /// The projects' places in an image path: `acme`, `example.com/acme`.
        projects: Option<Box<[Box<str>]>>,
    },
    /// Azure Container Registry.
    Acr {
        /// Registry names.
        registries: Option<Box<[Box<str>]>>,
    },
    /// Docker Hub.
    DockerHub {
        /// Organizations or users.
        organizations: Option<Box<[Box<str>]>>,
    },
    /// GitHub Container Registry.
    Ghcr {
        /// Owners: users or organizations.
        owners: Option<Box<[Box<str>]>>,
    },
    /// Quay.io.
    Quay {
        /// Organizations.
        organizations: Option<Box<[Box<str>]>>,
    },
}

/// Where an index finds the images of a class.
pub(crate) enum Anchor<'a> {
    /// A literal host and literal first segments.
    Literal(&'static str, &'a str),
    /// An ECR account, or any.
    Ecr(Option<&'a str>),
    /// ECR Public.
    EcrPublic,
    /// Google's hosts and a project's place in the path, or any.
    Google(&'a str),
    /// An Azure registry, or any.
    Azure(Option<&'a str>),
}

fn lists(list: Option<&[Box<str>]>, value: &str) -> bool {
    list.is_none_or(|list| list.iter().any(|entry| **entry == *value))
}

impl Class {
    /// How specific the match is, when the class matches the image.
    #[must_use]
    pub fn specificity(&self, image: &Candidate<'_>) -> Option<Specificity> {
        if image.port.is_some() {
            return None;
        }
        let literal = |hit: bool, path: Option<&str>| {
            let specificity = path_specificity(path.unwrap_or_default());
            hit.then_some(Specificity {
                host: HostKind::Literal,
                ..specificity
            })
        };
        let parameterised = |hit: bool, parameters: &[bool]| {
            let given = parameters.iter().filter(|given| **given).count();
            let host_detail = u16::try_from(given).unwrap_or(u16::MAX);
            hit.then_some(Specificity {
                host: HostKind::Class,
                host_detail,
                ..Specificity::default()
            })
        };
        match self {
            Self::Ecr {
                account_ids,
                regions,
            } => {
                let host = ecr::EcrHost::parse(&image.host)?;
                let hit = lists(account_ids.as_deref(), host.account_id)
                    && lists(regions.as_deref(), host.region);
                parameterised(hit, &[account_ids.is_some(), regions.is_some()])
            }
            Self::EcrPublic => parameterised(ecr_public::is_ecr_public(&image.host), &[]),
            Self::Acr { registries } => {
                let host = azure::AcrHost::parse(&image.host)?;
                parameterised(
                    lists(registries.as_deref(), host.registry),
                    &[registries.is_some()],
                )
            }
            Self::Gcp { projects } => {
                google::GoogleHost::parse(&image.host)?;
                let Some(projects) = projects else {
                    return literal(true, None);
                };
                let project = longest_prefix(projects, &image.path)?;
                literal(true, Some(project))
            }
            Self::DockerHub {
                organizations: owners,
            }
            | Self::Ghcr { owners }
            | Self::Quay {
                organizations: owners,
            } => {
                if self.literal_host() != Some(&image.host) {
                    return None;
                }
                let Some(owners) = owners else {
                    return literal(true, None);
                };
                let owner = longest_prefix(owners, &image.path)?;
                literal(true, Some(owner))
            }
        }
    }

    fn literal_host(&self) -> Option<&'static str> {
        match self {
            Self::DockerHub { .. } => Some(docker_hub::DOCKER_IO),
            Self::Ghcr { .. } => Some(ghcr::GHCR_IO),
            Self::Quay { .. } => Some(quay::QUAY_IO),
            _ => None,
        }
    }

    /// Calls `visit` with each place under which an index has to list the class.
    pub(crate) fn anchors<'a>(&'a self, mut visit: impl FnMut(Anchor<'a>)) {
        fn each<'a>(list: Option<&'a [Box<str>]>, mut visit: impl FnMut(Option<&'a str>)) {
            match list {
                None => visit(None),
                Some(list) => list.iter().for_each(|value| visit(Some(value))),
            }
        }
        match self {
            Self::Ecr { account_ids, .. } => {
                each(account_ids.as_deref(), |account| {
                    visit(Anchor::Ecr(account))
                });
            }
            Self::EcrPublic => visit(Anchor::EcrPublic),
            Self::Acr { registries } => {
                each(registries.as_deref(), |registry| {
                    visit(Anchor::Azure(registry))
                });
            }
            Self::Gcp { projects } => {
                each(projects.as_deref(), |path| {
                    visit(Anchor::Google(path.unwrap_or_default()))
                });
            }
            Self::DockerHub {
                organizations: owners,
            }
            | Self::Ghcr { owners }
            | Self::Quay {
                organizations: owners,
            } => {
                let host = self.literal_host().unwrap_or_default();
                each(owners.as_deref(), |path| {
                    visit(Anchor::Literal(host, path.unwrap_or_default()));
                });
            }
        }
    }
}

/// The longest of the paths that is a prefix of the image's path on whole segments, with at least
/// one segment behind it.
fn longest_prefix<'a>(paths: &'a [Box<str>], image: &str) -> Option<&'a str> {
    let covers = |path: &str| {
        image
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    paths
        .iter()
        .map(AsRef::as_ref)
        .filter(|path| covers(path))
        .max_by_key(|path| path.len())
}

impl fmt::Display for Class {
    /// As in a policy, on one line: `ecr: {accountIds: ["123456789012"], regions: [us-east-1]}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, parameters): (&str, &[(&str, &Option<Box<[Box<str>]>>)]) = match self {
            Self::Ecr {
                account_ids,
                regions,
            } => ("ecr", &[("accountIds", account_ids), ("regions", regions)]),
            Self::EcrPublic => ("ecrPublic", &[]),
            Self::Gcp { projects } => ("gcp", &[("projects", projects)]),
            Self::Acr { registries } => ("acr", &[("registries", registries)]),
            Self::DockerHub { organizations } => ("dockerHub", &[("organizations", organizations)]),
            Self::Ghcr { owners } => ("ghcr", &[("owners", owners)]),
            Self::Quay { organizations } => ("quay", &[("organizations", organizations)]),
        };
        write!(f, "{name}: {{")?;
        let mut first = true;
        for (parameter, values) in parameters {
            let Some(values) = values else { continue };
            write!(f, "{}{parameter}: [", if first { "" } else { ", " })?;
            first = false;
            for (i, value) in values.iter().enumerate() {
                let comma = if i == 0 { "" } else { ", " };
                if value.bytes().all(|b| b.is_ascii_digit()) {
                    write!(f, "{comma}\"{value}\"")?;
                } else {
                    write!(f, "{comma}{value}")?;
                }
            }
            write!(f, "]")?;
        }
        write!(f, "}}")
    }
}
