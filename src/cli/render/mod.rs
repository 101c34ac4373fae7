//! Findings → text, JSON, SARIF, GitHub annotations, JUnit: one model, a file a format.
//!
//! A renderer reads nothing but the report. What users wrote never reaches a terminal raw: control
//! characters are shown, not sent.

pub mod github;
pub mod json;
pub mod junit;
pub mod sarif;
pub mod text;

use std::borrow::Cow;
use std::path::{Component, Path};

use super::shared::FailOn;
use crate::diagnostic::Diagnostic;

/// What was examined and what was found.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The findings, in the order they are drawn.
    pub diagnostics: &'a [Diagnostic],
    /// Every file that was read, those without a finding too.
    pub files: &'a [&'a str],
    /// Policies without an error.
    pub policies: usize,
    /// Policies that an error keeps out.
    pub rejected: usize,
    /// Documents of other kinds.
    pub foreign: usize,
    /// What counts as a failure.
    pub fail_on: FailOn,
}

/// A text with every character that a terminal would act on, or hide, written as an escape.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => shown.extend(c.escape_default()),
            c if is_unprintable(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Control characters, and the format characters that reorder or hide their neighbours.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A path as tools that know the repository want it: below the working directory, with `/`.
pub(crate) fn relative(name: &str) -> String {
    let path = Path::new(name);
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(&here).unwrap_or(path);
    let mut parts: Vec<Cow<'_, str>> = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::RootDir => parts.push(Cow::Borrowed("")),
            other => parts.push(other.as_os_str().to_string_lossy()),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        for (text, want) in [
            ("plain `é` 中", "plain `é` 中"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}evil\u{200b}", "\\u{202e}evil\\u{200b}"),
            ("\u{7f}", "\\u{7f}"),
        ] {
            assert_eq!(visible(text), want);
        }
    }

    #[test]
    fn a_path_is_told_from_the_working_directory() {
        let here = std::env::current_dir().unwrap();
        for (name, want) in [
            ("./a/b.yaml", "a/b.yaml"),
            ("a.yaml", "a.yaml"),
            ("-", "-"),
            ("../a.yaml", "../a.yaml"),
            ("/nowhere/a.yaml", "/nowhere/a.yaml"),
            (here.join("x/y.yaml").to_str().unwrap(), "x/y.yaml"),
        ] {
            assert_eq!(relative(name), want, "{name}");
        }
    }
}
