//! JSON as Go's encoding/json takes it: a check of the whole text, then borrowed views of its values.
//!
//! Where Rust's readers differ, Go decides: bytes that are no UTF-8 and lone surrogates become U+FFFD,
//! a key may come twice, nesting ends at 10,000. Nothing recurses, and nothing is kept of numbers.
//!
//! Sources: `scanner.go`, `decode.go` and `fold.go` in encoding/json of Go 1.26.

use std::iter;

/// `maxNestingDepth`.
const MAX_DEPTH: usize = 10_000;

/// What may come next.
#[derive(Clone, Copy)]
enum Next {
    Value,
    /// The first element of an array, or its end.
    ElementOrEnd,
    /// The first key of an object, or its end.
    KeyOrEnd,
    Key,
    Colon,
    /// A comma, or the end of the array, the object or the text.
    CommaOrEnd,
}

/// Checks that the text is one JSON value. The error is the offset at which it stops being one.
pub(super) fn check(text: &[u8]) -> Result<(), usize> {
    let mut at = 0;
    // For each open array or object whether it is an object.
    let mut open: Vec<bool> = Vec::new();
    let mut next = Next::Value;
    loop {
        at += blanks(rest(text, at));
        let Some(&byte) = text.get(at) else {
            return match (next, open.is_empty()) {
                (Next::CommaOrEnd, true) => Ok(()),
                _ => Err(at),
            };
        };
        next = match (next, byte) {
            (Next::Value | Next::ElementOrEnd, b'{' | b'[') => {
                if open.len() == MAX_DEPTH {
                    return Err(at);
                }
                open.push(byte == b'{');
                at += 1;
                match byte {
                    b'{' => Next::KeyOrEnd,
                    _ => Next::ElementOrEnd,
                }
            }
            (Next::ElementOrEnd, b']') | (Next::KeyOrEnd, b'}') => {
                open.pop();
                at += 1;
                Next::CommaOrEnd
            }
            (Next::Value | Next::ElementOrEnd, _) => {
                at = scalar(text, at)?;
                Next::CommaOrEnd
            }
            (Next::Key | Next::KeyOrEnd, b'"') => {
                at = string(text, at)?;
                Next::Colon
            }
            (Next::Colon, b':') => {
                at += 1;
                Next::Value
            }
            (Next::CommaOrEnd, _) => {
                let object = open.last().copied();
                at += 1;
                match (object, byte) {
                    (Some(true), b',') => Next::Key,
                    (Some(false), b',') => Next::Value,
                    (Some(true), b'}') | (Some(false), b']') => {
                        open.pop();
                        Next::CommaOrEnd
                    }
                    _ => return Err(at - 1),
                }
            }
            _ => return Err(at),
        };
    }
}

fn rest(text: &[u8], at: usize) -> &[u8] {
    text.get(at..).unwrap_or_default()
}

/// How many bytes of white space the text starts with.
fn blanks(text: &[u8]) -> usize {
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    text.iter().take_while(blank).count()
}

/// Passes over a string, a number or a word.
fn scalar(text: &[u8], at: usize) -> Result<usize, usize> {
    match text.get(at) {
        Some(b'"') => string(text, at),
        Some(b'-' | b'0'..=b'9') => number(text, at),
        _ => {
            let word = ["null", "true", "false"]
                .into_iter()
                .find(|word| rest(text, at).starts_with(word.as_bytes()));
            word.map_or(Err(at), |word| Ok(at + word.len()))
        }
    }
}

fn string(text: &[u8], start: usize) -> Result<usize, usize> {
    let mut at = start + 1;
    loop {
        match text.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => match text.get(at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                Some(b'u') if code_unit(rest(text, at)).is_some() => at += 6,
                _ => return Err(at),
            },
            Some(0x20..) => at += 1,
            _ => return Err(at),
        }
    }
}

fn number(text: &[u8], start: usize) -> Result<usize, usize> {
    let digits = |at: usize| {
        let count = rest(text, at)
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if count == 0 { Err(at) } else { Ok(at + count) }
    };
    let mut at = start + usize::from(text.get(start) == Some(&b'-'));
    at = match text.get(at) {
        Some(b'0') => at + 1,
        _ => digits(at)?,
    };
    if text.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = matches!(text.get(at + 1), Some(b'+' | b'-'));
        at = digits(at + 1 + usize::from(sign))?;
    }
    Ok(at)
}

/// The code unit of a `\uXXXX` that the text starts with.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit: u16, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
}

/// A value of a checked text.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Null,
    Text(Text<'a>),
    Object(Object<'a>),
    Other(&'static str),
}

impl<'a> Value<'a> {
    /// The value that a checked text, or a part of one, starts with.
    pub(super) fn of(text: &'a [u8]) -> Self {
        let text = rest(text, blanks(text));
        match text.first() {
            Some(b'n') => Self::Null,
            Some(b'"') => Self::Text(Text(text)),
            Some(b'{') => Self::Object(Object(text)),
            Some(b'[') => Self::Other("an array"),
            Some(b't' | b'f') => Self::Other("a boolean"),
            _ => Self::Other("a number"),
        }
    }

    /// What it is, in words.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text(_) => "a string",
            Self::Object(_) => "an object",
            Self::Other(kind) => kind,
        }
    }
}

/// A string of a checked text, from its quote on.
#[derive(Clone, Copy)]
pub(super) struct Text<'a>(&'a [u8]);

impl Text<'_> {
    /// The string without quotes and escapes, as Go's `unquote` gives it.
    pub(super) fn unquoted(self) -> String {
        let mut bytes = Vec::new();
        let mut at = 1;
        loop {
            match self.0.get(at) {
                None | Some(b'"') => break,
                Some(b'\\') => at += unescape(rest(self.0, at), &mut bytes),
                Some(&byte) => {
                    bytes.push(byte);
                    at += 1;
                }
            }
        }
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            // One for each byte, where `from_utf8_lossy` has one for a run of them.
            text.extend(iter::repeat_n(
                char::REPLACEMENT_CHARACTER,
                chunk.invalid().len(),
            ));
        }
        text
    }
}

/// Appends the character of the escape that the text starts with: how many bytes it takes.
fn unescape(text: &[u8], bytes: &mut Vec<u8>) -> usize {
    let mut push = |c: char| bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    let simple = match text.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let first = code_unit(text).unwrap_or_default();
            let second = code_unit(rest(text, 6));
            let units = iter::once(first).chain(second);
            // A pair takes both, anything else leaves the second for its own turn.
            let decoded = char::decode_utf16(units).next().and_then(Result::ok);
            push(decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
            return match decoded {
                Some(c) if c.len_utf16() == 2 => 12,
                _ => 6,
            };
        }
        Some(&other) => char::from(other),
        None => return 1,
    };
    push(simple);
    2
}

/// An object of a checked text, from its brace on.
#[derive(Clone, Copy)]
pub(super) struct Object<'a>(&'a [u8]);

impl<'a> Object<'a> {
    /// Its keys and values in the order of the text, a key as often as it comes.
    pub(super) fn members(self) -> impl Iterator<Item = (String, Value<'a>)> {
        let text = self.0;
        let mut at = 1;
        iter::from_fn(move || {
            at += blanks(rest(text, at));
            if text.get(at) == Some(&b',') {
                at += 1;
                at += blanks(rest(text, at));
            }
            let key = rest(text, at);
            if key.first() != Some(&b'"') {
                return None;
            }
            at = string(text, at).ok()?;
            // The colon.
            at += blanks(rest(text, at)) + 1;
            at += blanks(rest(text, at));
            let value = Value::of(rest(text, at));
            at = end(text, at);
            Some((Text(key).unquoted(), value))
        })
    }
}

/// Passes over a value of a checked text.
fn end(text: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string(text, at).unwrap_or(text.len());
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b']' => return at + depth,
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Whether Go takes the key for the field `name`, which is ASCII: without case, and with the two
/// letters of Unicode that fold to ASCII ones.
pub(super) fn is_field(key: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_json_or_it_is_told_where_it_stops_being_it() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        #[rustfmt::skip]
        let rows: &[(&str, Result<(), usize>, &str)] = &[
            (" {\"a\" : [ ] , \"a\":{\n}}\t", Ok(()), "white space stands anywhere, keys come again"),
            ("null", Ok(()), "a word is a document"),
            ("-0.5e+10", Ok(()), "a number too, of any size"),
            (r#""\"\\\/\b\f\n\r\t\u00e9\ud800""#, Ok(()), "every escape, also of half a pair"),
            ("", Err(0), "nothing is no value"),
            ("{} {}", Err(3), "two values are none"),
            ("[1,]", Err(3), "a comma has a value behind it"),
            ("{\"a\":1,}", Err(7), "or a key"),
            ("{\"a\"}", Err(4), "a key has a value"),
            ("{a:1}", Err(1), "a key has quotes"),
            ("[}", Err(1), "what opens closes in kind"),
            ("[1", Err(2), "and at all"),
            ("]", Err(0), "nothing closes that is not open"),
            ("01", Err(1), "no number begins with a zero"),
            ("1.", Err(2), "or ends with a dot"),
            ("1e+", Err(3), "or with an exponent without digits"),
            ("+1", Err(0), "or has a plus in front"),
            ("nul", Err(0), "a word is whole"),
            ("nullx", Err(4), "and nothing more"),
            (r#""\x""#, Err(1), "an escape that is none"),
            (r#""\u12g4""#, Err(1), "or has another digit"),
            ("\"a\nb\"", Err(2), "a control character is escaped"),
            ("\"a", Err(2), "a string ends"),
            ("\u{feff}{}", Err(0), "a byte order mark is no white space"),
            (&deep(10_000), Ok(()), "nesting may be deep"),
            (&deep(10_001), Err(10_000), "and has an end"),
        ];
        for (text, want, why) in rows {
            assert_eq!(
                check(text.as_bytes()),
                *want,
                "{}: {why}",
                text.get(..40).unwrap_or(text)
            );
        }
    }

    #[test]
    fn a_string_is_what_go_makes_of_it() {
        #[rustfmt::skip]
        let rows: &[(&[u8], &str, &str)] = &[
            (br#""a\"\\\/\n\u00e9""#, "a\"\\/\n\u{e9}", "escapes are resolved"),
            (br#""\ud83d\udd11""#, "\u{1f511}", "a pair is one character"),
            (br#""\ud83dx""#, "\u{fffd}x", "half a pair is none"),
            (br#""\udd11\ud83d\u0041""#, "\u{fffd}\u{fffd}A", "nor are two wrong halves, and what follows stays"),
            (b"\"\xe2\x82a\xff\"", "\u{fffd}\u{fffd}a\u{fffd}", "each byte that is no UTF-8 is replaced by itself"),
        ];
        for (text, want, why) in rows {
            assert_eq!(check(text), Ok(()));
            assert_eq!(
                Text(text).unquoted(),
                *want,
                "{}: {why}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn members_are_found_whatever_their_values_are() {
        let text = br#" { "a" : "}\"," , "b":[{"c":"]"}], "a":{"x":{}} ,"\u0063":-1,"d":null}"#;
        assert_eq!(check(text), Ok(()));
        let Value::Object(object) = Value::of(text) else {
            panic!("an object");
        };
        let members: Vec<(String, &str)> = object.members().map(|(k, v)| (k, v.kind())).collect();
        let want = [
            ("a", "a string"),
            ("b", "an array"),
            ("a", "an object"),
            ("c", "a number"),
            ("d", "null"),
        ];
        assert_eq!(members, want.map(|(key, kind)| (key.to_owned(), kind)));
    }

    #[test]
    fn the_name_of_a_field_has_no_case() {
        for (key, want, why) in [
            ("auths", true, "as it is"),
            ("AuThS", true, "in capitals"),
            ("auth\u{17f}", true, "with the long s, which is one"),
            ("auth", false, "shorter"),
            ("auths ", false, "longer"),
            ("\u{e4}uths", false, "another letter"),
        ] {
            assert_eq!(is_field(key, "auths"), want, "{key}: {why}");
        }
        assert!(is_field("\u{212a}ey", "key"), "the Kelvin sign is a k");
    }
}
