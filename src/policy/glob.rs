//! `path.Match` of Go, on one host label or one path segment at a time.
//!
//! `*` is any run, `?` one character, `[a-z]` and `[^a-z]` classes, `\` takes the next character as it
//! is. Candidates are ASCII, as every part of an image reference is. Linear in practice: one `*` is
//! remembered at a time, so the worst case is the product of the two lengths.

/// Whether a text has any character that is special in a glob.
pub(crate) fn is_glob(text: &str) -> bool {
    text.bytes()
        .any(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'))
}

/// Checks a glob, as Go's `path.Match` would before it matches. The error says what is wrong.
pub(crate) fn check(glob: &str) -> Result<(), &'static str> {
    let mut rest = glob.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = match first {
            b'\\' => {
                tail.split_first()
                    .ok_or("`\\` at the end escapes nothing")?
                    .1
            }
            b'[' => {
                class(tail, 0)
                    .ok_or("a `[…]` that is not closed, or is empty")?
                    .1
            }
            _ => tail,
        };
    }
    Ok(())
}

/// Whether a checked glob matches the whole text.
pub(crate) fn matches(glob: &str, text: &str) -> bool {
    let (mut glob, mut text) = (glob.as_bytes(), text.as_bytes());
    // Where to go on when the last `*` has to take one character more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match glob.split_first() {
            Some((b'*', tail)) => {
                retry = Some((tail, text));
                glob = tail;
                continue;
            }
            None if text.is_empty() => return true,
            None => None,
            Some((&first, tail)) => one(first, tail, text),
        };
        (glob, text) = match (step, retry) {
            (Some(next), _) => next,
            (None, Some((tail, [_, behind @ ..]))) => {
                retry = Some((tail, behind));
                (tail, behind)
            }
            _ => return false,
        };
    }
}

/// Takes one character of the text by one element of the glob.
fn one<'g, 't>(first: u8, tail: &'g [u8], text: &'t [u8]) -> Option<(&'g [u8], &'t [u8])> {
    let (&c, text) = text.split_first()?;
    match first {
        b'?' => Some((tail, text)),
        b'[' => {
            let (hit, tail) = class(tail, c)?;
            hit.then_some((tail, text))
        }
        b'\\' => {
            let (&literal, tail) = tail.split_first()?;
            (literal == c).then_some((tail, text))
        }
        literal => (literal == c).then_some((tail, text)),
    }
}

/// Reads a class behind its `[`: whether `c` is in it, and what follows its `]`. `None` when Go
/// would say `syntax error in pattern`.
fn class(glob: &[u8], c: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match glob.split_first() {
        Some((b'^', tail)) => (true, tail),
        _ => (false, glob),
    };
    let mut hit = false;
    let mut ranges = 0;
    loop {
        match rest.split_first() {
            Some((b']', tail)) if ranges > 0 => return Some((hit != negated, tail)),
            None => return None,
            _ => {}
        }
        let (low, tail) = class_character(rest)?;
        let (high, tail) = match tail.split_first() {
            Some((b'-', tail)) => class_character(tail)?,
            _ => (low, tail),
        };
        hit |= (low..=high).contains(&c);
        ranges += 1;
        rest = tail;
    }
}

fn class_character(glob: &[u8]) -> Option<(u8, &[u8])> {
    match glob.split_first()? {
        (b'-' | b']', _) => None,
        (b'\\', tail) => tail.split_first().map(|(&c, tail)| (c, tail)),
        (&c, tail) => Some((c, tail)),
    }
}

/// The literal text in front of the first special character and behind the last one.
///
/// A candidate can match only when it begins and ends with them. An escape counts as special.
pub(crate) fn affixes(glob: &str) -> (&str, &str) {
    let prefix = glob.find(['*', '?', '[', '\\']).unwrap_or(glob.len());
    let suffix = glob.rfind(['*', '?', ']']).map_or(glob.len(), |at| at + 1);
    // An escape or a class behind the last special character would make the tail ambiguous.
    let tail = glob.get(suffix..).unwrap_or_default();
    let tail = if tail.contains(['\\', '[']) { "" } else { tail };
    (glob.get(..prefix).unwrap_or_default(), tail)
}

/// The characters of a checked glob that stand for themselves.
pub(crate) fn literals(glob: &str) -> impl Iterator<Item = u8> {
    let mut rest = glob.as_bytes();
    std::iter::from_fn(move || {
        loop {
            let (&first, tail) = rest.split_first()?;
            match first {
                b'*' | b'?' => rest = tail,
                b'[' => rest = class(tail, 0).map_or(&[], |(_, tail)| tail),
                b'\\' => {
                    let (&escaped, tail) = tail.split_first()?;
                    rest = tail;
                    return Some(escaped);
                }
                literal => {
                    rest = tail;
                    return Some(literal);
                }
            }
        }
    })
}

/// How many characters of a checked glob stand for themselves.
pub(crate) fn literal_characters(glob: &str) -> usize {
    if is_glob(glob) {
        literals(glob).count()
    } else {
        glob.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Go's own table, <https://go.dev/src/path/match_test.go>, less its rows with `/` and
    /// non-ASCII text, which never reach a label. `None` is ErrBadPattern.
    #[test]
    fn globs_match_as_go_does() {
        for (glob, text, want) in [
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*", "abc", Some(true)),
            ("a*b*c*d*e*", "axbxcxdxe", Some(true)),
            ("a*b*c*d*e*", "axbxcxdxexxx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^b-d]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("[a-ζ]*", "a", Some(true)),
            ("*[a-ζ]", "A", Some(false)),
            ("[\\]a]", "]", Some(true)),
            ("[\\-]", "-", Some(true)),
            ("[x\\-]", "x", Some(true)),
            ("[x\\-]", "-", Some(true)),
            ("[x\\-]", "z", Some(false)),
            ("[\\-x]", "a", Some(false)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[-x]", "x", None),
            ("\\", "a", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("[^", "a", None),
            ("[^bc", "a", None),
            ("a[", "a", None),
            ("a[", "ab", None),
            ("*x", "xxx", Some(true)),
            ("", "", Some(true)),
            ("", "a", Some(false)),
            ("?", "", Some(false)),
        ] {
            let got = check(glob).ok().map(|()| matches(glob, text));
            assert_eq!(got, want, "{glob} on {text}");
        }
    }

    #[test]
    fn affixes_are_the_literal_ends() {
        for (glob, want) in [
            ("a*b", ("a", "b")),
            ("*", ("", "")),
            ("team-[0-9]-x", ("team-", "-x")),
            ("a?b*cd", ("a", "cd")),
            ("a*\\*b", ("a", "b")),
            ("a*x\\yb", ("a", "")),
        ] {
            assert_eq!(affixes(glob), want, "{glob}");
        }
    }

    #[test]
    fn a_hostile_glob_ends_soon() {
        let (glob, text) = ("*a".repeat(60), "aab".repeat(80));
        assert!(!matches(&glob, &text), "the text ends in `b`");
    }

    /// `path.Match` as its specification reads: try every length for a star.
    fn naive(glob: &[u8], text: &[u8]) -> bool {
        match glob.split_first() {
            None => text.is_empty(),
            Some((b'*', tail)) => (0..=text.len()).any(|n| naive(tail, &text[n..])),
            Some((&first, tail)) => {
                one(first, tail, text).is_some_and(|(glob, text)| naive(glob, text))
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn matching_agrees_with_the_specification(
            glob in r"([ab*?]|\\[ab]|\[\^?[ab]-?b?\]){0,8}",
            text in "[abc-]{0,10}",
        ) {
            if check(&glob).is_ok() {
                let want = naive(glob.as_bytes(), text.as_bytes());
                proptest::prop_assert_eq!(matches(&glob, &text), want);
                let (prefix, suffix) = affixes(&glob);
                let ends = text.starts_with(prefix) && text.ends_with(suffix);
                proptest::prop_assert!(!want || (ends && text.len() >= prefix.len()));
            }
        }
    }
}
