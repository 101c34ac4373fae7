//! A registry class of a rule (`ecr`, `gcp`, `dockerHub`…) → which images it matches, how specifically.
//!
//! `dockerHub`, `ghcr`, `quay` and `gcp` stand for the literal host and path they mean in an image; the
//! others are a kind of their own between literal hosts and globs. Host grammars live in `hosts`.

use std::fmt;

use super::pattern::{Candidate, HostKind, Specificity, path_specificity};
use crate::hosts::{azure, docker_hub, ecr, ecr_public, ghcr, google, quay};

/// What a parameter names; any when absent.
type Values = Option<Box<[Box<str>]>>;

/// A registry class with its parameters. A parameter left out (`None`) means any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Amazon ECR private registries.
    Ecr {
        /// Twelve-digit account ids.
        account_ids: Values,
        /// Regions, as `us-east-1`.
        regions: Values,
    },
    /// Amazon ECR Public.
    EcrPublic,
    /// Google Container Registry and Artifact Registry.
    Gcp {
        /// The projects' places in an image path: `acme`, `example.com/acme`.
        projects: Values,
    },
    /// Azure Container Registry.
    Acr {
        /// Registry names.
        registries: Values,
    },
    /// Docker Hub.
    DockerHub {
        /// Organizations or users.
        organizations: Values,
    },
    /// GitHub Container Registry.
    Ghcr {
        /// Owners: users or organizations.
        owners: Values,
    },
    /// Quay.io.
    Quay {
        /// Organizations.
        organizations: Values,
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
                    visit(Anchor::Ecr(account));
                });
            }
            Self::EcrPublic => visit(Anchor::EcrPublic),
            Self::Acr { registries } => {
                each(registries.as_deref(), |registry| {
                    visit(Anchor::Azure(registry));
                });
            }
            Self::Gcp { projects } => {
                each(projects.as_deref(), |path| {
                    visit(Anchor::Google(path.unwrap_or_default()));
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
        let (name, parameters): (&str, &[(&str, &Values)]) = match self {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageRef;

    #[expect(clippy::unnecessary_wraps, reason = "a parameter that is given")]
    fn values(values: &[&str]) -> Values {
        Some(values.iter().map(|value| (*value).into()).collect())
    }

    fn key(class: &Class, image: &str) -> Option<Specificity> {
        let image = ImageRef::parse(image).unwrap_or_else(|error| panic!("{image}: {error}"));
        class.specificity(&Candidate::new(&image))
    }

    fn check(class: &Class, rows: &[(&str, bool, &str)]) {
        for (image, want, why) in rows {
            assert_eq!(
                key(class, image).is_some(),
                *want,
                "{class} on {image}: {why}"
            );
        }
    }

    #[test]
    fn ecr_is_told_by_account_and_region() {
        let any = Class::Ecr {
            account_ids: None,
            regions: None,
        };
        check(
            &any,
            &[
                (
                    "123456789012.dkr.ecr.us-east-1.amazonaws.com/a",
                    true,
                    "the common host",
                ),
                (
                    "123456789012.DKR.ecr.us-east-1.amazonaws.com/a",
                    true,
                    "in any case",
                ),
                (
                    "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/a",
                    true,
                    "FIPS",
                ),
                (
                    "123456789012.dkr-ecr.us-east-1.on.aws/a",
                    true,
                    "dual-stack",
                ),
                (
                    "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a",
                    true,
                    "China",
                ),
                (
                    "123456789012.dkr.ecr.us-east-1.amazonaws.com:443/a",
                    false,
                    "a port is none",
                ),
                (
                    "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example/a",
                    false,
                    "longer",
                ),
                (
                    "x.123456789012.dkr.ecr.us-east-1.amazonaws.com/a",
                    false,
                    "longer in front",
                ),
                (
                    "12345.dkr.ecr.us-east-1.amazonaws.com/a",
                    false,
                    "no account",
                ),
                ("public.ecr.aws/x/a", false, "ECR Public is another class"),
            ],
        );
        let one = Class::Ecr {
            account_ids: values(&["123456789012", "210987654321"]),
            regions: values(&["us-east-1"]),
        };
        check(
            &one,
            &[
                (
                    "210987654321.dkr.ecr.us-east-1.amazonaws.com/a",
                    true,
                    "any of the accounts",
                ),
                (
                    "111111111111.dkr.ecr.us-east-1.amazonaws.com/a",
                    false,
                    "another account",
                ),
                (
                    "123456789012.dkr.ecr.us-west-2.amazonaws.com/a",
                    false,
                    "another region",
                ),
            ],
        );
    }

    #[test]
    fn other_families_are_told_by_their_own_hosts() {
        check(
            &Class::EcrPublic,
            &[
                ("public.ecr.aws/x/a", true, "its host"),
                ("public.ecr.aws.evil.example/x/a", false, "a longer one"),
            ],
        );
        check(
            &Class::Acr {
                registries: values(&["contoso"]),
            },
            &[
                ("contoso.azurecr.io/a", true, "the registry"),
                ("contoso-d7ezgzevdwfvc8ht.azurecr.io/a", true, "with a hash"),
                ("contoso.eastus.geo.azurecr.io/a", true, "of one region"),
                ("contoso.azurecr.us/a", true, "of another cloud"),
                ("fabrikam.azurecr.io/a", false, "another registry"),
                ("contoso.eastus.data.azurecr.io/a", false, "a data endpoint"),
                ("contoso.azurecr.io.evil.example/a", false, "a longer host"),
            ],
        );
        check(
            &Class::Gcp {
                projects: values(&["acme", "example.com/acme"]),
            },
            &[
                ("gcr.io/acme/a", true, "Container Registry"),
                ("eu.gcr.io/acme/a", true, "of a multi-region"),
                (
                    "us-west1-docker.pkg.dev/acme/repo/a",
                    true,
                    "Artifact Registry",
                ),
                (
                    "docker.us-west1.rep.pkg.dev/acme/repo/a",
                    true,
                    "of one region",
                ),
                ("gcr.io/example.com/acme/a", true, "a domain's project"),
                ("gcr.io/acme-2/a", false, "another project"),
                ("gcr.io/acme", false, "a project is no image"),
                ("k8s.gcr.io/acme/a", false, "a host without projects"),
                (
                    "us-west1-python.pkg.dev/acme/repo/a",
                    false,
                    "another format",
                ),
                ("gcr.io.evil.example/acme/a", false, "a longer host"),
            ],
        );
        check(
            &Class::DockerHub {
                organizations: values(&["acme", "library"]),
            },
            &[
                ("acme/a", true, "an organization"),
                ("registry-1.docker.io/acme/a", true, "by an alias"),
                ("nginx", true, "an official image is in `library`"),
                ("acmeco/a", false, "half a segment"),
                ("docker.io.evil.example/acme/a", false, "a longer host"),
            ],
        );
        check(
            &Class::Ghcr {
                owners: values(&["acme"]),
            },
            &[
                ("ghcr.io/acme/a/b", true, "an owner"),
                ("ghcr.io/other/a", false, "another"),
                ("ghcr.io:443/acme/a", false, "a port"),
            ],
        );
        check(
            &Class::Quay {
                organizations: None,
            },
            &[
                ("quay.io/any/a", true, "any organization"),
                ("eu.quay.io/any/a", false, "a host below"),
            ],
        );
    }

    #[test]
    fn a_class_has_the_key_of_what_it_means() {
        let ecr = |accounts: Values, regions| {
            let class = Class::Ecr {
                account_ids: accounts,
                regions,
            };
            key(&class, "123456789012.dkr.ecr.us-east-1.amazonaws.com/a").unwrap()
        };
        let account = || values(&["123456789012"]);
        let [none, one, two] = [
            ecr(None, None),
            ecr(account(), None),
            ecr(account(), values(&["us-east-1"])),
        ];
        assert!(none < one && one < two, "more parameters are more specific");
        assert_eq!(one, ecr(None, values(&["us-east-1"])), "whichever they are");
        assert_eq!((none.host, none.segments), (HostKind::Class, 0));

        let pattern = |text: &str, image: &str| {
            let pattern = super::super::pattern::Pattern::parse(text).unwrap();
            pattern.specificity(&Candidate::new(&ImageRef::parse(image).unwrap()))
        };
        for (class, text, image) in [
            (
                Class::DockerHub {
                    organizations: values(&["acme"]),
                },
                "docker.io/acme",
                "acme/app",
            ),
            (
                Class::DockerHub {
                    organizations: None,
                },
                "docker.io",
                "acme/app",
            ),
            (
                Class::Ghcr {
                    owners: values(&["acme", "x"]),
                },
                "ghcr.io/acme",
                "ghcr.io/acme/app",
            ),
            (
                Class::Quay {
                    organizations: values(&["org"]),
                },
                "quay.io/org",
                "quay.io/org/app",
            ),
            (
                Class::Gcp {
                    projects: values(&["acme"]),
                },
                "gcr.io/acme",
                "gcr.io/acme/app",
            ),
            (
                Class::Gcp {
                    projects: values(&["example.com", "example.com/acme"]),
                },
                "gcr.io/example.com/acme",
                "gcr.io/example.com/acme/app",
            ),
            (
                Class::Gcp { projects: None },
                "us-docker.pkg.dev",
                "us-docker.pkg.dev/acme/repo/app",
            ),
        ] {
            assert_eq!(
                key(&class, image),
                pattern(text, image),
                "{class} is {text} for {image}"
            );
        }
    }

    #[test]
    fn a_class_prints_as_a_policy_writes_it() {
        let ecr = Class::Ecr {
            account_ids: values(&["123456789012"]),
            regions: values(&["us-east-1", "eu-west-1"]),
        };
        for (class, want) in [
            (
                ecr,
                r#"ecr: {accountIds: ["123456789012"], regions: [us-east-1, eu-west-1]}"#,
            ),
            (Class::EcrPublic, "ecrPublic: {}"),
            (Class::Acr { registries: None }, "acr: {}"),
            (
                Class::Quay {
                    organizations: values(&["org"]),
                },
                "quay: {organizations: [org]}",
            ),
        ] {
            assert_eq!(class.to_string(), want);
        }
    }
}
