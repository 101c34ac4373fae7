//! Names GitHub's container registry, and turns a text into the answer whether it can be an owner
//! there: a user or an organization of GitHub. Never says whether the owner exists.

use super::runs::{are_runs, is_run};

/// GitHub's container registry, for all owners.
pub const GHCR_IO: &str = "ghcr.io";

/// Whether `text` can be an owner, the first segment of a path: 1 to 39 lower-case letters and
/// digits with single hyphens between them; a managed user's ends in `_` and the enterprise's short
/// code. GitHub shows names in any case, but an image path has only lower case.
///
/// Sources: GitHub's docs,
/// [usernames](https://docs.github.com/en/enterprise-cloud@latest/admin/managing-iam/iam-configuration-reference/username-considerations-for-external-authentication)
/// and [container registry](https://docs.github.com/packages/working-with-a-github-packages-registry/working-with-the-container-registry).
#[must_use]
pub fn is_owner(text: &str) -> bool {
    let (name, short_code) = match text.split_once('_') {
        Some((name, short_code)) => (name, Some(short_code)),
        None => (text, None),
    };
    text.len() <= 39 && are_runs(name, &['-']) && short_code.is_none_or(is_run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_a_user_or_an_organization() {
        let (longest, too_long) = ("a".repeat(39), "a".repeat(40));
        for (text, want, why) in [
            ("acme", true, "a word"),
            ("x", true, "of one letter"),
            ("1-acme-2", true, "with hyphens and digits"),
            (
                "mona-cat_acme",
                true,
                "a managed user, with the enterprise's short code",
            ),
            (longest.as_str(), true, "39 characters are the most"),
            (too_long.as_str(), false, "40 are too many"),
            ("", false, "nothing"),
            ("Acme", false, "the caller folds the case"),
            ("-acme", false, "a hyphen is not first"),
            ("acme-", false, "nor last"),
            ("a--b", false, "nor beside another"),
            ("_acme", false, "a short code follows a name"),
            ("mona_", false, "and is not empty"),
            ("mona_a_b", false, "and is one"),
            ("mona_a-b", false, "of letters and digits"),
            ("acme.com", false, "a name has no dot"),
            ("acme/app", false, "a repository is not its owner"),
            ("*", false, "a glob is no owner"),
        ] {
            assert_eq!(is_owner(text), want, "{text:?}: {why}");
        }
    }
}
