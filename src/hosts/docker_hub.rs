//! Turns the names that Docker Hub answers to into one, and a text into the answer whether it can be
//! an organization there. Never adds `library/`: normalising a reference does that.

use super::runs::are_runs;

/// Docker Hub, as a normalised reference names it.
pub const DOCKER_IO: &str = "docker.io";

/// [`DOCKER_IO`] for each of Docker Hub's hosts (lower case, no port); any other host as it is.
///
/// `index.docker.io` is the name that logins are kept under, `registry-1.docker.io` the one that
/// clients connect to, `registry.hub.docker.com` an older one; they serve the same images.
///
/// Sources: `normalize.go` in distribution/reference; `registry/config.go` in moby/moby;
/// `core/remotes/docker/registry.go` in containerd/containerd.
#[must_use]
pub fn canonical(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DOCKER_IO,
        other => other,
    }
}

/// Whether `text` can be an organization or a user of Docker Hub, the first segment of a path there:
/// 2 to 255 lower-case letters and digits, with a hyphen or one or two underscores between them.
///
/// New ones are held to 4 to 30 characters; older ones are not. `library`, where the official images
/// are, is one.
///
/// Sources: the namespace rules that `registry/config.go` in moby/moby had before 1.8, within the path
/// grammar of distribution/reference.
#[must_use]
pub fn is_organization(text: &str) -> bool {
    (2..=255).contains(&text.len()) && text.split("__").all(|part| are_runs(part, &['-', '_']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_has_one_name() {
        for (host, want, why) in [
            ("docker.io", DOCKER_IO, "its name"),
            ("index.docker.io", DOCKER_IO, "where logins are kept"),
            ("registry-1.docker.io", DOCKER_IO, "where clients connect"),
            ("registry.hub.docker.com", DOCKER_IO, "an older name"),
            (
                "hub.docker.com",
                "hub.docker.com",
                "the web site serves no images",
            ),
            ("auth.docker.io", "auth.docker.io", "nor do tokens"),
            (
                "evil.docker.io",
                "evil.docker.io",
                "an unknown name is itself",
            ),
            (
                "docker.io.evil.example",
                "docker.io.evil.example",
                "a longer one is another's",
            ),
            (
                "index.docker.io.evil.example",
                "index.docker.io.evil.example",
                "of any alias",
            ),
            (
                "evilindex.docker.io",
                "evilindex.docker.io",
                "as is a neighbour",
            ),
            (
                "docker.io:443",
                "docker.io:443",
                "the caller drops the port",
            ),
            ("quay.io", "quay.io", "another registry is itself"),
            ("", "", "as is nothing"),
        ] {
            assert_eq!(canonical(host), want, "{host}: {why}");
        }
    }

    #[test]
    fn an_organization_is_the_first_segment_of_a_path() {
        let (longest, too_long) = ("a".repeat(255), "a".repeat(256));
        for (text, want, why) in [
            ("acme", true, "a word"),
            ("library", true, "the official images' own"),
            ("1and1internet", true, "a digit may be first"),
            ("my-org_2", true, "hyphens and underscores join"),
            ("ab", true, "two characters are the fewest"),
            ("a", false, "one is too few"),
            (longest.as_str(), true, "255 are the most"),
            (too_long.as_str(), false, "256 are too many"),
            ("", false, "nothing"),
            ("Acme", false, "the caller folds the case"),
            ("acme/app", false, "a repository is not its organization"),
            ("acme.com", false, "a dot is for registries"),
            ("-acme", false, "a hyphen is not first"),
            ("acme-", false, "nor last"),
            ("a--b", false, "nor beside another"),
            ("a__b", true, "two underscores may be"),
            ("a___b", false, "three may not"),
            ("a__-b", false, "nor a hyphen beside two"),
            ("*", false, "a glob is no organization"),
        ] {
            assert_eq!(is_organization(text), want, "{text:?}: {why}");
        }
    }
}
