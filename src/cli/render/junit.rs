//! Findings as JUnit XML, for test reports: a test case a file, which fails when a finding in it does.

use std::collections::HashMap;
use std::io::{self, Write};

use super::{Report, visible};
use crate::cli::shared::FailOn;
use crate::diagnostic::Diagnostic;

/// Writes one suite. Findings below `--fail-on` stand in their file's `system-out`.
pub fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut found: HashMap<&str, Vec<&Diagnostic>> = HashMap::new();
    for finding in report.diagnostics {
        if let Some(place) = &finding.place {
            found
                .entry(place.in_file().source.name())
                .or_default()
                .push(finding);
        }
    }
    let mut cases = Vec::with_capacity(report.files.len());
    for file in report.files {
        let found = found.remove(file).unwrap_or_default();
        cases.push(Case::of(file, found, report.fail_on));
    }
    let failures = cases.iter().filter(|case| !case.failing.is_empty()).count();
    let counts = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"0\"",
        cases.len()
    );
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(out, "<testsuites {counts}>")?;
    writeln!(
        out,
        "  <testsuite name=\"pullpass lint\" {counts} skipped=\"0\" time=\"0\">"
    )?;
    for case in cases {
        case.write(out)?;
    }
    writeln!(out, "  </testsuite>\n</testsuites>")
}

struct Case<'a> {
    file: &'a str,
    failing: Vec<&'a Diagnostic>,
    passing: Vec<&'a Diagnostic>,
}

impl<'a> Case<'a> {
    fn of(file: &'a str, found: Vec<&'a Diagnostic>, fail_on: FailOn) -> Self {
        let (failing, passing) = found
            .into_iter()
            .partition(|finding| fail_on.fails(finding));
        Self {
            file,
            failing,
            passing,
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let name = escape(self.file);
        write!(
            out,
            "    <testcase classname=\"pullpass.lint\" name=\"{name}\" time=\"0\""
        )?;
        if self.failing.is_empty() && self.passing.is_empty() {
            return writeln!(out, "/>");
        }
        writeln!(out, ">")?;
        if let Some(first) = self.failing.first() {
            let message = match self.failing.len() {
                1 => first.message.clone(),
                n => format!("{n} findings; the first: {}", first.message),
            };
            let (message, code) = (escape(&message), first.code);
            writeln!(out, "      <failure type=\"{code}\" message=\"{message}\">")?;
            lines(&self.failing, out)?;
            writeln!(out, "</failure>")?;
        }
        if !self.passing.is_empty() {
            writeln!(out, "      <system-out>")?;
            lines(&self.passing, out)?;
            writeln!(out, "</system-out>")?;
        }
        writeln!(out, "    </testcase>")
    }
}

fn lines(findings: &[&Diagnostic], out: &mut dyn Write) -> io::Result<()> {
    findings
        .iter()
        .try_for_each(|finding| writeln!(out, "{}", escape(&finding.to_string())))
}

/// A text for XML 1.0, which has no place for most control characters, escaped or not.
/// A text inside XML.
pub(crate) fn escape(text: &str) -> String {
    let text = visible(text).replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_has_no_raw_markup_and_no_control_character() {
        assert_eq!(
            escape("<a \"b\"> & \u{0}\u{ffff}"),
            "&lt;a &quot;b&quot;&gt; &amp; \\u{0}\u{fffd}"
        );
    }
}
