//! Names Red Hat's quay.io, and turns a text into the answer whether it can be an organization
//! there. Never says whether the organization exists.

use super::runs::are_runs;

/// Quay's public service. A Quay of one's own has any host: a pattern names it.
pub const QUAY_IO: &str = "quay.io";

/// Whether `text` can be an organization or a user, the first segment of a path: 2 to 255 lower-case
/// letters and digits with a single dot, underscore or hyphen between them.
///
/// Source: `VALID_USERNAME_REGEX` in `util/validation.py` of quay/quay.
#[must_use]
pub fn is_organization(text: &str) -> bool {
    (2..=255).contains(&text.len()) && are_runs(text, &['.', '_', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organization_is_the_first_segment_of_a_path() {
        let (longest, too_long) = ("a".repeat(255), "a".repeat(256));
        for (text, want, why) in [
            ("acme", true, "a word"),
            ("a.b_c-d", true, "dots, underscores and hyphens join"),
            (
                "42",
                true,
                "digits will do, and two characters are the fewest",
            ),
            ("a", false, "one is too few"),
            (longest.as_str(), true, "255 are the most"),
            (too_long.as_str(), false, "256 are too many"),
            ("", false, "nothing"),
            ("Acme", false, "the caller folds the case"),
            (
                "acme+robot",
                false,
                "a robot account is not an organization",
            ),
            ("acme/app", false, "nor is a repository"),
            (".acme", false, "a dot is not first"),
            ("acme-", false, "a hyphen is not last"),
            ("a__b", false, "nothing that joins is doubled"),
            ("*", false, "a glob is no organization"),
        ] {
            assert_eq!(is_organization(text), want, "{text:?}: {why}");
        }
    }
}
