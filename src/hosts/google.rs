//! Turns a host of Google's registries into its kind and location, and a project id into the way it
//! stands at the head of an image path. Knows only hosts whose path begins with a project. Never
//! says whether location or project exist.

use super::runs::{are_runs, are_runs_from_a_letter};

/// A Google registry, as its host tells.
///
/// Sources: [Artifact Registry names](https://cloud.google.com/artifact-registry/docs/docker/names);
/// the lists of GoogleCloudPlatform/docker-credential-gcr, `config/const.go`, and of gcloud's
/// `configure-docker`, which name the regional endpoints.
///
/// ```
/// use pullpass::hosts::google::GoogleHost;
///
/// let host = GoogleHost::parse("us-west1-docker.pkg.dev");
/// assert_eq!(host, Some(GoogleHost::ArtifactRegistry { location: "us-west1" }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GoogleHost<'a> {
    /// `gcr.io`, or with a multi-region `us.gcr.io`, `eu.gcr.io`, `asia.gcr.io`; today served by
    /// Artifact Registry. The other names under `gcr.io` (`k8s`, `mirror`, `marketplace`, `l`, …) are
    /// public and their paths begin with no project.
    ContainerRegistry {
        /// The multi-region that the host names.
        location: Option<&'a str>,
    },
    /// `LOCATION-docker.pkg.dev`.
    ArtifactRegistry {
        /// A region (`us-west1`) or multi-region (`us`, `europe`, `asia`).
        location: &'a str,
    },
    /// `docker.LOCATION.rep.pkg.dev`, for those who need their traffic to stay in the region.
    RegionalEndpoint {
        /// A region.
        location: &'a str,
    },
}

impl<'a> GoogleHost<'a> {
    /// The registry that `host` (lower case, no port) stands for; `None` when it is not Google's.
    #[must_use]
    pub fn parse(host: &'a str) -> Option<Self> {
        if host == "gcr.io" {
            return Some(Self::ContainerRegistry { location: None });
        }
        if let Some(location) = host.strip_suffix(".gcr.io") {
            return matches!(location, "us" | "eu" | "asia").then_some(Self::ContainerRegistry {
                location: Some(location),
            });
        }
        let name = host.strip_suffix(".pkg.dev")?;
        if let Some(location) = name.strip_suffix("-docker") {
            return are_runs_from_a_letter(location).then_some(Self::ArtifactRegistry { location });
        }
        let location = name.strip_prefix("docker.")?.strip_suffix(".rep")?;
        are_runs_from_a_letter(location).then_some(Self::RegionalEndpoint { location })
    }
}

/// How a project stands at the head of an image path: `acme` as itself, the domain-scoped
/// `example.com:acme` as `example.com/acme`; `None` when `project` is not a project id. A project's
/// number is not one: no path holds it.
///
/// New ids have 6 to 30 characters; older and Google's own may be shorter.
///
/// Sources: [project ids](https://cloud.google.com/resource-manager/docs/creating-managing-projects),
/// [domain-scoped projects](https://cloud.google.com/artifact-registry/docs/docker/names).
#[must_use]
pub fn project_path(project: &str) -> Option<String> {
    match project.split_once(':') {
        Some((domain, id)) => {
            (is_domain(domain) && is_project_id(id)).then(|| format!("{domain}/{id}"))
        }
        None => is_project_id(project).then(|| project.to_owned()),
    }
}

fn is_project_id(id: &str) -> bool {
    // Unlike a location's, its hyphens may stand side by side.
    id.len() <= 30
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && !id.ends_with('-')
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_domain(domain: &str) -> bool {
    domain.len() <= 253 && domain.contains('.') && are_runs(domain, &['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn googles_registries_parse() {
        use GoogleHost::{ArtifactRegistry, ContainerRegistry, RegionalEndpoint};
        for (host, want) in [
            ("gcr.io", ContainerRegistry { location: None }),
            (
                "us.gcr.io",
                ContainerRegistry {
                    location: Some("us"),
                },
            ),
            (
                "eu.gcr.io",
                ContainerRegistry {
                    location: Some("eu"),
                },
            ),
            (
                "asia.gcr.io",
                ContainerRegistry {
                    location: Some("asia"),
                },
            ),
            ("us-docker.pkg.dev", ArtifactRegistry { location: "us" }),
            (
                "us-west1-docker.pkg.dev",
                ArtifactRegistry {
                    location: "us-west1",
                },
            ),
            (
                "europe-west12-docker.pkg.dev",
                ArtifactRegistry {
                    location: "europe-west12",
                },
            ),
            (
                "northamerica-northeast1-docker.pkg.dev",
                ArtifactRegistry {
                    location: "northamerica-northeast1",
                },
            ),
            (
                "docker.me-central2.rep.pkg.dev",
                RegionalEndpoint {
                    location: "me-central2",
                },
            ),
        ] {
            assert_eq!(GoogleHost::parse(host), Some(want), "{host}");
        }
    }

    #[test]
    fn nothing_else_parses() {
        for (host, why) in [
            ("", "nothing is no host"),
            ("gcr.io.evil.example", "a longer name is another's"),
            ("us.gcr.io.evil.example", "with a location too"),
            ("us-docker.pkg.dev.evil.example", "in every family"),
            ("docker.us-west1.rep.pkg.dev.evil.example", "this one too"),
            ("evilgcr.io", "a suffix is whole labels"),
            ("us-docker.evilpkg.dev", "in every family"),
            ("evil.us.gcr.io", "there are no names below"),
            ("evil.us-docker.pkg.dev", "in no family"),
            ("evil.docker.us-west1.rep.pkg.dev", "this one neither"),
            (".gcr.io", "nothing is no location"),
            ("-docker.pkg.dev", "here neither"),
            ("docker..rep.pkg.dev", "nor here"),
            ("docker.rep.pkg.dev", "nor is a missing label"),
            (
                "europe.gcr.io",
                "Container Registry's three multi-regions are us, eu, asia",
            ),
            ("k8s.gcr.io", "public, and its paths have no project"),
            ("mirror.gcr.io", "public, and its paths are Docker Hub's"),
            (
                "marketplace.gcr.io",
                "public, and its paths have no project",
            ),
            ("docker.pkg.dev", "a location must be there"),
            ("pkg.dev", "and a format"),
            ("us-python.pkg.dev", "which is Docker's"),
            ("python.us-west1.rep.pkg.dev", "here too"),
            ("us-west1.rep.pkg.dev", "and is never left out"),
            (
                "usdocker.pkg.dev",
                "a hyphen stands between location and format",
            ),
            ("us--west1-docker.pkg.dev", "a location has single hyphens"),
            ("1us-docker.pkg.dev", "and begins with a letter"),
            ("docker.us.west1.rep.pkg.dev", "and is one label"),
            ("*-docker.pkg.dev", "a glob is no location"),
            ("container.cloud.google.com", "never was pulled from"),
            ("US.gcr.io", "the caller folds the case"),
            ("gcr.io:443", "and drops the port"),
        ] {
            assert_eq!(GoogleHost::parse(host), None, "{host}: {why}");
        }
    }

    #[test]
    fn a_project_stands_in_the_path_as_itself_or_below_its_domain() {
        let longest = "a".repeat(30);
        let too_long = "a".repeat(31);
        // The longest name in DNS, and one character more.
        let [domain, no_domain] = [249, 250].map(|n| format!("{}.com", "a".repeat(n)));
        let (below, above) = (format!("{domain}:acme"), format!("{no_domain}:acme"));
        let below_path = format!("{domain}/acme");
        for (project, want, why) in [
            ("acme", Some("acme"), "an id is itself"),
            (
                "acme-prod-42",
                Some("acme-prod-42"),
                "with hyphens and digits",
            ),
            ("my--project", Some("my--project"), "even two hyphens"),
            (
                "example.com:acme",
                Some("example.com/acme"),
                "a domain becomes a segment",
            ),
            (
                "my-corp.co.uk:acme",
                Some("my-corp.co.uk/acme"),
                "any domain",
            ),
            (
                longest.as_str(),
                Some(longest.as_str()),
                "30 characters are the most",
            ),
            (too_long.as_str(), None, "31 are too many"),
            (
                below.as_str(),
                Some(below_path.as_str()),
                "253 are a domain's most",
            ),
            (above.as_str(), None, "254 are too many"),
            ("", None, "nothing"),
            ("123456789012", None, "a project's number is not its id"),
            ("4cme", None, "an id begins with a letter"),
            ("acme-", None, "and does not end with a hyphen"),
            ("Acme", None, "and is lower case"),
            ("acme_prod", None, "without underscores"),
            ("acme/repo", None, "and no path"),
            (
                "example.com/acme",
                None,
                "written with a colon when it has a domain",
            ),
            ("example.com", None, "a domain alone is no project"),
            ("localhost:acme", None, "a domain has a dot"),
            (".com:acme", None, "and no empty label"),
            ("example.com.:acme", None, "at neither end"),
            ("-.com:acme", None, "and no hyphen at a label's end"),
            (":acme", None, "and is not empty"),
            ("example.com:", None, "nor is the id"),
            ("example.com:acme:x", None, "one colon"),
            ("*", None, "a glob is no project"),
        ] {
            assert_eq!(project_path(project).as_deref(), want, "{project:?}: {why}");
        }
    }
}
