//! The productions of distribution/reference's grammar, each a small automaton over bytes.
//!
//! Turns a part of a reference into "fits" or the offset of the first byte that does not (the
//! part's length if it ends too early). One pass, no backtracking: the expressions in [regexp.go]
//! need none, as no production contains the sign that ends it. Never decides where a part starts.
//!
//! [regexp.go]: https://github.com/distribution/reference/blob/v0.6.0/regexp.go

/// Fewer hexadecimal digits make no digest, whatever the algorithm.
const DIGEST_MIN: usize = 32;
/// The longest tag.
const TAG_MAX: usize = 128;

/// `identifier`: the text is 64 lower-case hexadecimal digits, which is an image's ID.
pub(super) fn is_identifier(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `domainAndPort`: dotted labels or a bracketed IPv6 address, and perhaps a port.
pub(super) fn host(text: &str) -> Result<(), usize> {
    #[derive(Clone, Copy)]
    enum After {
        Nothing,
        Dot,
        Alnum,
        Dash,
        Bracket,
        Address,
        Closed,
        Colon,
        Port,
    }
    let mut after = After::Nothing;
    for (at, byte) in text.bytes().enumerate() {
        after = match (after, byte) {
            (After::Nothing, b'[') => After::Bracket,
            (After::Bracket | After::Address, b':') => After::Address,
            (After::Bracket | After::Address, _) if byte.is_ascii_hexdigit() => After::Address,
            (After::Address, b']') => After::Closed,
            (After::Alnum | After::Closed, b':') => After::Colon,
            (After::Colon | After::Port, b'0'..=b'9') => After::Port,
            (After::Nothing | After::Dot | After::Alnum | After::Dash, _)
                if byte.is_ascii_alphanumeric() =>
            {
                After::Alnum
            }
            (After::Alnum | After::Dash, b'-') => After::Dash,
            (After::Alnum, b'.') => After::Dot,
            _ => return Err(at),
        };
    }
    match after {
        After::Alnum | After::Closed | After::Port => Ok(()),
        _ => Err(text.len()),
    }
}

/// `remoteName`: segments of lower-case letters and digits with separators between them.
pub(super) fn path(bytes: impl Iterator<Item = u8>) -> Result<(), usize> {
    #[derive(Clone, Copy)]
    enum After {
        Slash,
        Alnum,
        Dot,
        Underscore,
        Underscores,
        Dash,
    }
    let mut after = After::Slash;
    let mut length = 0;
    for (at, byte) in bytes.enumerate() {
        after = match (after, byte) {
            (_, b'a'..=b'z' | b'0'..=b'9') => After::Alnum,
            (After::Alnum, b'/') => After::Slash,
            (After::Alnum, b'.') => After::Dot,
            (After::Alnum, b'_') => After::Underscore,
            (After::Underscore, b'_') => After::Underscores,
            (After::Alnum | After::Dash, b'-') => After::Dash,
            _ => return Err(at),
        };
        length = at + 1;
    }
    match after {
        After::Alnum => Ok(()),
        _ => Err(length),
    }
}

/// `tag`: a word character, then up to 127 of them, dots and dashes.
pub(super) fn tag(text: &str) -> Result<(), usize> {
    let fits = |(at, byte): (usize, u8)| match byte {
        b'.' | b'-' => 0 < at && at < TAG_MAX,
        b'_' => at < TAG_MAX,
        _ => byte.is_ascii_alphanumeric() && at < TAG_MAX,
    };
    match text.bytes().enumerate().position(|next| !fits(next)) {
        Some(at) => Err(at),
        None if text.is_empty() => Err(0),
        None => Ok(()),
    }
}

/// `digestPat`: an algorithm of one or more words, a colon, hexadecimal digits.
pub(super) fn digest(text: &str) -> Result<(), usize> {
    #[derive(Clone, Copy)]
    enum After {
        Separator,
        Word,
        Digits(usize),
    }
    let mut after = After::Separator;
    for (at, byte) in text.bytes().enumerate() {
        after = match (after, byte) {
            (After::Separator, _) if byte.is_ascii_alphabetic() => After::Word,
            (After::Word, _) if byte.is_ascii_alphanumeric() => After::Word,
            (After::Word, b'-' | b'_' | b'+' | b'.') => After::Separator,
            (After::Word, b':') => After::Digits(0),
            (After::Digits(count), _) if byte.is_ascii_hexdigit() => After::Digits(count + 1),
            _ => return Err(at),
        };
    }
    match after {
        After::Digits(count) if count >= DIGEST_MIN => Ok(()),
        _ => Err(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_production_says_where_it_stops_fitting() {
        type Production = fn(&str) -> Result<(), usize>;
        const PATH: Production = |text| path(text.bytes());
        let long = "t".repeat(129);
        #[rustfmt::skip]
        let rows: &[(Production, &str, Result<(), usize>, &str)] = &[
            (host, "a", Ok(()), "one label will do"),
            (host, "A-1.b--c:0", Ok(()), "dashes stay inside a label, capitals and port 0 pass"),
            (host, "[:]", Ok(()), "an address is not checked beyond its signs"),
            (host, "[fC00::1]:5000", Ok(()), "an address takes a port"),
            (host, "", Err(0), "nothing is no host"),
            (host, "-a", Err(0), "a label starts with no dash"),
            (host, "a-", Err(2), "nor ends with one"),
            (host, "a-.b", Err(2), "not even before a dot"),
            (host, "a.", Err(2), "a root dot is not allowed"),
            (host, "a..b", Err(2), "no label is empty"),
            (host, "a_b", Err(1), "an underscore is no host's"),
            (host, "a:", Err(2), "a port has digits"),
            (host, "a:1x", Err(3), "and nothing else"),
            (host, "[]", Err(1), "an address has a digit or colon"),
            (host, "[::1", Err(4), "and a closing bracket"),
            (host, "[::1]x", Err(5), "with only a port behind it"),
            (host, "[fe80::1%eth0]", Err(8), "zones are left out of the grammar"),
            (host, "[::1.2.3.4]", Err(4), "and so are mapped addresses"),
            (PATH, "a/b.c/d_e/f__g/h---i", Ok(()), "every separator joins"),
            (PATH, "", Err(0), "nothing is no path"),
            (PATH, "a/", Err(2), "no segment is empty"),
            (PATH, "a//b", Err(2), "not in the middle either"),
            (PATH, "/a", Err(0), "nor at the start"),
            (PATH, "a..b", Err(2), "one dot joins"),
            (PATH, "a___b", Err(3), "two underscores at most"),
            (PATH, "a._b", Err(2), "separators do not mix"),
            (PATH, "a-/b", Err(2), "none ends a segment"),
            (PATH, "_a", Err(0), "or starts one"),
            (PATH, "aB", Err(1), "capitals are out"),
            (tag, "_", Ok(()), "a tag may start with an underscore"),
            (tag, "V1.2-x", Ok(()), "dots, dashes and capitals follow"),
            (tag, &long[..128], Ok(()), "128 is the limit"),
            (tag, &long, Err(128), "and 129 is over it"),
            (tag, "", Err(0), "a tag has a character"),
            (tag, ".a", Err(0), "its first is no dot"),
            (tag, "-a", Err(0), "and no dash"),
            (tag, "a:b", Err(1), "a colon never belongs to it"),
            (digest, &format!("a:{}", &"f".repeat(32)), Ok(()), "32 digits are enough"),
            (digest, &format!("a:{}", &"f".repeat(31)), Err(33), "31 are not"),
            (digest, &format!("Sha-b_c+d.E9:{}", "F".repeat(33)), Ok(()), "words and capitals"),
            (digest, "", Err(0), "nothing is no digest"),
            (digest, "1a:f", Err(0), "a word starts with a letter"),
            (digest, "a+:f", Err(2), "every word has one"),
            (digest, "a", Err(1), "an algorithm alone is no digest"),
            (digest, "a:fg", Err(3), "digits are hexadecimal"),
        ];
        for (production, text, want, why) in rows {
            assert_eq!(production(text), *want, "`{text}`: {why}");
        }
    }

    #[test]
    fn only_64_lower_case_digits_are_an_identifier() {
        for (text, want) in [
            ("0123456789abcdef".repeat(4), true),
            ("0123456789ABCDEF".repeat(4), false),
            ("0123456789abcdeg".repeat(4), false),
            ("a".repeat(63), false),
            ("a".repeat(65), false),
        ] {
            assert_eq!(is_identifier(&text), want, "{text}");
        }
    }
}
