//! Findings as JSON, for scripts. The types are a contract of their own: they only ever gain fields.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter, Serializer};

use super::{Report, is_unprintable};
use crate::cli::explain;
use crate::diagnostic::{Diagnostic, Place, Severity};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    version: u32,
    findings: Vec<Finding<'a>>,
    summary: Summary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding<'a> {
    code: &'static str,
    severity: &'static str,
    #[serde(flatten)]
    place: Option<At<'a>>,
    message: &'a str,
    help: Option<&'a str>,
    related: Option<Related<'a>>,
    url: String,
}

/// Lines and columns count from 1, columns in characters; the end is exclusive.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct At<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    /// The place in a text that the file holds as a quoted string, where the file has no line for it.
    within: Option<Within<'a>>,
}

#[derive(Serialize)]
struct Within<'a> {
    text: &'a str,
    line: usize,
    column: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Related<'a> {
    #[serde(flatten)]
    place: At<'a>,
    message: &'a str,
}

#[derive(Serialize)]
struct Summary {
    files: usize,
    policies: usize,
    rejected: usize,
    foreign: usize,
    errors: usize,
    warnings: usize,
}

/// Writes one object.
pub fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let of = |severity| {
        report
            .diagnostics
            .iter()
            .filter(move |d| d.severity() == severity)
            .count()
    };
    let output = Output {
        version: 1,
        findings: report.diagnostics.iter().map(finding).collect(),
        summary: Summary {
            files: report.files.len(),
            policies: report.policies,
            rejected: report.rejected,
            foreign: report.foreign,
            errors: of(Severity::Error),
            warnings: of(Severity::Warning),
        },
    };
    to_writer(out, &output)
}

fn finding(diagnostic: &Diagnostic) -> Finding<'_> {
    Finding {
        code: diagnostic.code.as_str(),
        severity: match diagnostic.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        place: diagnostic.place.as_ref().map(at),
        message: &diagnostic.message,
        help: diagnostic.help.as_deref(),
        related: diagnostic.related.as_ref().map(|(place, message)| Related {
            place: at(place),
            message,
        }),
        url: explain::url(diagnostic.code),
    }
}

fn at(place: &Place) -> At<'_> {
    let file = place.in_file();
    let (start, end) = (file.start(), file.end());
    At {
        file: file.source.name(),
        line: start.line,
        column: start.column,
        end_line: end.line,
        end_column: end.column,
        within: place.source.origin().map(|_| {
            let start = place.start();
            Within {
                text: place.source.name(),
                line: start.line,
                column: start.column,
            }
        }),
    }
}

/// Writes a value as indented JSON and a line end, every unprintable character escaped: JSON itself
/// asks for fewer, a terminal for more.
pub(crate) fn to_writer(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(
        &mut *out,
        Printable::default(),
    ))?;
    out.write_all(b"\n")
}

#[derive(Default)]
struct Printable(PrettyFormatter<'static>);

impl Formatter for Printable {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_unprintable(*c)) {
            let (before, behind) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            // Every one of them is a single UTF-16 unit.
            write!(out, "\\u{:04x}", u32::from(c))?;
            rest = behind.get(c.len_utf8()..).unwrap_or_default();
        }
        out.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        c: CharEscape,
    ) -> io::Result<()> {
        self.0.write_char_escape(out, c)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unprintable_character_is_escaped_and_the_value_stays() {
        let value = serde_json::json!({"a\u{9b}": ["\u{1b}[31m", "\u{7f}\u{202e}é中", "\"\\\n"]});
        let mut out = Vec::new();
        to_writer(&mut out, &value).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.replace('\n', "").contains(is_unprintable), "{text:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }
}
