//! Spanned nodes → typed values, with a finding for everything that is wrong on the way.
//!
//! serde stops at the first error; a person with ten mistakes wants all ten. A reader gives `None` for
//! what it could not take, after it has said why.

use std::collections::HashSet;
use std::sync::Arc;

use super::document::Spanned;
use crate::diagnostic::{Code, Diagnostic, Source, Span};
use crate::yaml::{Entry, Node, Value};

/// A text with more mistakes than this has been understood; the memory for them is bounded.
pub(crate) const MAX_FINDINGS: usize = 10_000;

/// The findings of one text.
pub(crate) struct Findings<'s> {
    pub(crate) source: &'s Arc<Source>,
    pub(crate) list: Vec<Diagnostic>,
}

impl<'s> Findings<'s> {
    pub(crate) fn new(source: &'s Arc<Source>) -> Self {
        Self {
            source,
            list: Vec::new(),
        }
    }

    /// Adds a finding; the answer is what a reader gives for a value it could not take.
    pub(crate) fn add<T>(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
    ) -> Option<T> {
        self.push(Diagnostic::new(code, self.source, span, message));
        None
    }

    pub(crate) fn add_with_help<T>(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.push(Diagnostic::new(code, self.source, span, message).help(help));
        None
    }

    /// Whether nothing more is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MAX_FINDINGS
    }

    pub(crate) fn push(&mut self, mut finding: Diagnostic) {
        if !self.is_full() {
            shorten(&mut finding.message);
            finding.help.as_mut().into_iter().for_each(shorten);
            self.list.push(finding);
        }
    }
}

/// Cuts a text that quotes a value of megabytes.
fn shorten(text: &mut String) {
    const MOST: usize = 1_000;
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
}

/// The fields of one mapping. What nobody asked for is an unknown field.
pub(crate) struct Fields<'n, 't> {
    entries: &'n [Entry<'t>],
    span: Span,
    what: &'static str,
    known: Known,
}

/// The fields that were asked for.
#[derive(Default)]
struct Known {
    names: [&'static str; Known::MOST],
    count: usize,
}

impl Known {
    /// `match` and `metadata` have eleven.
    const MOST: usize = 12;

    fn add(&mut self, name: &'static str) {
        if self.names().contains(&name) {
            return;
        }
        if let Some(free) = self.names.get_mut(self.count) {
            *free = name;
            self.count += 1;
        }
        debug_assert_eq!(self.names().last(), Some(&name), "room for all fields");
    }

    fn names(&self) -> &[&'static str] {
        self.names.get(..self.count).unwrap_or_default()
    }
}

impl<'n, 't> Fields<'n, 't> {
    /// The fields of a mapping that is called `what` in messages.
    pub(crate) fn of(
        node: &'n Node<'t>,
        what: &'static str,
        findings: &mut Findings<'_>,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            return wrong_type(node, what, "a mapping", findings);
        };
        unique_keys(entries, what, findings);
        Some(Self {
            entries,
            span: node.span,
            what,
            known: Known::default(),
        })
    }

    /// A field that may be absent. `null` counts as absent, as everywhere in Kubernetes.
    pub(crate) fn optional(&mut self, name: &'static str) -> Option<&'n Node<'t>> {
        self.known.add(name);
        let entry = self.entries.iter().rev().find(|e| e.key == name)?;
        (entry.value.value != Value::Null).then_some(&entry.value)
    }

    /// A field that has to be there.
    pub(crate) fn required(
        &mut self,
        name: &'static str,
        findings: &mut Findings<'_>,
    ) -> Option<&'n Node<'t>> {
        let found = self.optional(name);
        if found.is_none() {
            let message = format!("{} has no `{name}`", self.what);
            let help = format!("add `{name}:`");
            findings.add_with_help::<()>(Code::MissingField, self.span, message, help);
        }
        found
    }

    /// Reports every field that nobody asked for.
    pub(crate) fn finish(self, findings: &mut Findings<'_>) {
        for entry in self.entries {
            let known = self.known.names();
            if known.iter().any(|known| *known == entry.key) || findings.is_full() {
                continue;
            }
            let message = format!("{} has no field `{}`", self.what, entry.key);
            let help = match nearest(&entry.key, known) {
                Some(known) => format!("did you mean `{known}`?"),
                None if known.is_empty() => format!("{} takes no fields", self.what),
                None => format!("its fields are `{}`", known.join("`, `")),
            };
            findings.add_with_help::<()>(Code::UnknownField, entry.span, message, help);
        }
    }

    pub(crate) fn span(&self) -> Span {
        self.span
    }
}

/// Reports each key that stands in a mapping already.
pub(crate) fn unique_keys(entries: &[Entry<'_>], what: &str, findings: &mut Findings<'_>) {
    let mut report = |entry: &Entry<'_>| {
        let message = format!("`{}` stands twice in {what}", entry.key);
        let help = "keep one of them";
        findings.add_with_help::<()>(Code::DuplicateKey, entry.span, message, help);
    };
    // Nearly every mapping has a handful of keys: comparing them all is faster than a set.
    if entries.len() <= 16 {
        for (i, entry) in entries.iter().enumerate() {
            if entries.iter().take(i).any(|other| other.key == entry.key) {
                report(entry);
            }
        }
    } else {
        let mut seen = HashSet::new();
        entries
            .iter()
            .filter(|entry| !seen.insert(&entry.key))
            .for_each(report);
    }
}

/// Reports a value of the wrong type.
pub(crate) fn wrong_type<T>(
    node: &Node<'_>,
    what: &str,
    wanted: &str,
    findings: &mut Findings<'_>,
) -> Option<T> {
    let message = format!("{what} is {wanted}, and here stands {}", node.kind());
    let scalar = matches!(node.value, Value::Bool(_) | Value::Number(_));
    if wanted == "a string" && scalar {
        let text = node.span.of(findings.source.text()).to_owned();
        let help = format!("quote it: `\"{text}\"`");
        return findings.add_with_help(Code::WrongType, node.span, message, help);
    }
    if wanted == "a list" && node.as_str().is_some() {
        let help = format!("write `[{}]`", node.as_str().unwrap_or_default());
        return findings.add_with_help(Code::WrongType, node.span, message, help);
    }
    let help = match wanted {
        "a mapping" => "write its fields as `name: value`",
        "a list" => "write `[…]`, or one line with `- ` an entry",
        "a string" => "write one word, or a text in quotes",
        other => &format!("write {other} without quotes"),
    };
    findings.add_with_help(Code::WrongType, node.span, message, help)
}

/// A string.
pub(crate) fn string<'n>(
    node: &'n Node<'_>,
    what: &str,
    findings: &mut Findings<'_>,
) -> Option<&'n str> {
    match node.as_str() {
        Some(text) => Some(text),
        None => wrong_type(node, what, "a string", findings),
    }
}

/// A boolean.
pub(crate) fn boolean(node: &Node<'_>, what: &str, findings: &mut Findings<'_>) -> Option<bool> {
    match node.value {
        Value::Bool(value) => Some(value),
        _ => wrong_type(node, what, "`true` or `false`", findings),
    }
}

/// A list.
pub(crate) fn list<'n, 't>(
    node: &'n Node<'t>,
    what: &str,
    findings: &mut Findings<'_>,
) -> Option<&'n [Node<'t>]> {
    match &node.value {
        Value::List(items) => Some(items),
        _ => wrong_type(node, what, "a list", findings),
    }
}

/// One of a few words.
pub(crate) fn choice<T: Copy>(
    node: &Node<'_>,
    what: &str,
    choices: &[(&'static str, T)],
    findings: &mut Findings<'_>,
) -> Option<T> {
    let text = string(node, what, findings)?;
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let words: Vec<&'static str> = choices.iter().map(|(word, _)| *word).collect();
    let message = format!("`{text}` is no value of {what}");
    let help = match nearest(text, &words) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("write one of `{}`", words.join("`, `")),
    };
    findings.add_with_help(Code::BadValue, node.span, message, help)
}

/// A name that an API server accepts.
pub(crate) fn name<T>(
    node: &Node<'_>,
    what: &str,
    parse: impl Fn(&str) -> Result<T, crate::names::NameError>,
    findings: &mut Findings<'_>,
) -> Option<Spanned<T>> {
    let text = string(node, what, findings)?;
    match parse(text) {
        Ok(value) => Some(Spanned {
            value,
            span: node.span,
        }),
        Err(crate::names::NameError::Empty { .. }) => {
            let message = format!("{what} is empty");
            findings.add_with_help(Code::EmptyField, node.span, message, "write a name")
        }
        Err(error) => {
            let wanted: String = text.chars().map(plain).collect();
            let wanted = wanted.trim_matches(['-', '.']);
            let help = match parse(wanted) {
                Ok(_) => format!("write `{wanted}`, if that is its name"),
                Err(_) => "write a name as an API server takes it, as `team-a.creds`".into(),
            };
            findings.add_with_help(Code::BadName, node.span, error.to_string(), help)
        }
    }
}

/// A character as a name may have it.
fn plain(c: char) -> char {
    match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() || c == '.' => c,
        _ => '-',
    }
}

/// The word that is at most two edits away, when only one of them is the nearest.
pub(crate) fn nearest<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    let limit = if text.chars().count() <= 3 { 1 } else { 2 };
    let folded = text.to_lowercase();
    known
        .iter()
        .map(|candidate| (distance(&folded, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance; texts here are field names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = *cell;
            *cell = replaced.min(diagonal + 1).min(left + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let known = ["images", "inject", "imagePullSecrets"];
        for (text, want) in [
            ("image", Some("images")),
            ("imagePullSecret", Some("imagePullSecrets")),
            ("imagepullsecrets", Some("imagePullSecrets")),
            ("injekt", Some("inject")),
            ("zzz", None),
        ] {
            assert_eq!(nearest(text, &known), want, "{text}");
        }
    }
}
