//! Turns a text into the answer whether it is made of runs, a run being one or more lower-case
//! ASCII letters and digits: what every registry builds its names of. A run is never empty, so a
//! joint stands neither first nor last nor beside another. Never looks at lengths.

/// Whether `text` is one run.
pub(super) fn is_run(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Whether `text` is runs with one of `joints` between each two.
pub(super) fn are_runs(text: &str, joints: &[char]) -> bool {
    text.split(joints).all(is_run)
}

/// Whether `text` is runs with one hyphen between each two, the first starting with a letter: a
/// Google location.
pub(super) fn are_runs_from_a_letter(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase()) && are_runs(text, &['-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_letters_and_digits_with_single_joints() {
        for (text, want, why) in [
            ("a", true, "one letter is a run"),
            ("0a9z", true, "digits may stand anywhere"),
            ("a-b_c", true, "any of the joints joins"),
            ("", false, "a run is never empty"),
            ("-a", false, "a joint is never first"),
            ("a-", false, "nor last"),
            ("a-_b", false, "nor beside another"),
            ("a.b", false, "a joint that was not named is none"),
            ("A", false, "the caller folds the case"),
            (
                "é",
                false,
                "other letters are no part of any registry's names",
            ),
            (
                "a\n",
                false,
                "nor is a line break, which a regular expression's `$` lets by",
            ),
        ] {
            assert_eq!(are_runs(text, &['-', '_']), want, "{text:?}: {why}");
        }
        assert!(!is_run("a-b"), "one run has no joint");
        assert!(are_runs_from_a_letter("a1-2b"));
        assert!(!are_runs_from_a_letter("1a-b"), "a digit is no letter");
    }
}
