//! Texts of other people → one bounded line each; names → one bounded list.
//!
//! The API server drops a warning that has a control character, and what it stores or logs has to be
//! bounded whatever a Pod says. Nothing here knows what a line is about.

/// The longest value of an annotation.
const MAX_LIST: usize = 1024;
/// As much of a foreign text as a message quotes.
const MAX_QUOTE: usize = 100;

/// A text of somebody else in one line of at most `max` bytes, control characters escaped.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    if text.len() <= max && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut line = String::new();
    for c in text.chars() {
        if c.is_control() || reorders(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        if line.len() > max {
            let end = line.floor_char_boundary(max.saturating_sub('…'.len_utf8()));
            line.truncate(end);
            line.push('…');
            break;
        }
    }
    line
}

/// Characters that break or reorder a line are as good as control characters.
fn reorders(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A foreign text as a message quotes it.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", one_line(text, MAX_QUOTE))
}

/// Joins names by commas; from the first that does not fit on, they are left out whole.
pub(crate) fn join_bounded<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let mut joined = String::new();
    for name in names {
        let name = name.as_ref();
        let comma = usize::from(!joined.is_empty());
        if joined.len() + comma + name.len() > MAX_LIST {
            break;
        }
        if comma == 1 {
            joined.push(',');
        }
        joined.push_str(name);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_control_character_and_an_end() {
        for (text, max, want, why) in [
            ("plain", 10, "plain", "what fits stays"),
            ("exactly10!", 10, "exactly10!", "to the last byte"),
            (
                "eleven bytes",
                10,
                "eleven …",
                "what does not fit is cut, the mark included",
            ),
            ("a\nb", 20, "a\\nb", "a newline"),
            ("a\tb\r", 20, "a\\tb\\r", "tab and carriage return"),
            ("a\0b", 20, "a\\u{0}b", "NUL"),
            ("\u{1b}[31m", 20, "\\u{1b}[31m", "an escape sequence"),
            ("\u{7f}\u{85}", 20, "\\u{7f}\\u{85}", "DEL and C1"),
            (
                "a\u{202e}b",
                20,
                "a\\u{202e}b",
                "a character that turns the line around",
            ),
            (
                "\u{2028}\u{2069}",
                30,
                "\\u{2028}\\u{2069}",
                "line separator, end of an isolate",
            ),
            ("\u{61c}", 20, "\\u{61c}", "the Arabic letter mark"),
            ("grün", 20, "grün", "letters of any language stay"),
            ("ééééé", 9, "ééé…", "a cut never splits a character"),
            ("", 5, "", "nothing"),
        ] {
            let line = one_line(text, max);
            assert_eq!(line, want, "{text:?} in {max}: {why}");
            assert!(line.len() <= max, "{text:?} in {max}: {} bytes", line.len());
        }
    }

    #[test]
    fn a_list_of_names_ends_where_the_next_does_not_fit() {
        let name = "n".repeat(511);
        for (names, want, why) in [
            (vec![], 0, "no name, nothing"),
            (vec!["a", "b"], 3, "a comma between two"),
            (vec![&name, &name], 1023, "two with their comma"),
            (
                vec![&*name, &name, "x"],
                1023,
                "a comma and one more do not fit",
            ),
            (
                vec!["a", &name, &name, "b"],
                513,
                "behind the first that does not fit none comes",
            ),
        ] {
            assert_eq!(join_bounded(&names).len(), want, "{why}");
        }
    }
}
