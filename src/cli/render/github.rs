//! Findings as workflow commands of GitHub Actions, which it shows beside the lines of a pull request:
//! <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions>.

use std::io::{self, Write};

use super::{Report, relative, visible};
use crate::diagnostic::{Diagnostic, Severity};

/// Writes one line a finding.
pub fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    report
        .diagnostics
        .iter()
        .try_for_each(|finding| write_one(finding, out))
}

fn write_one(finding: &Diagnostic, out: &mut dyn Write) -> io::Result<()> {
    let command = match finding.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    write!(out, "::{command} ")?;
    let mut message = visible(&finding.message).into_owned();
    if let Some(place) = &finding.place {
        let file = place.in_file();
        let start = file.start();
        let name = relative(file.source.name());
        write!(
            out,
            "file={},line={},col={},",
            property(&name),
            start.line,
            start.column
        )?;
        if place.source.origin().is_some() {
            message = format!("{message} (at {})", visible(&place.to_string()));
        }
    }
    if let Some(help) = &finding.help {
        message = format!("{message}\nhelp: {}", visible(help));
    }
    writeln!(out, "title={}::{}", finding.code, data(&message))
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(&visible(text)).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Code, Source, Span};

    #[test]
    fn what_would_end_a_command_is_escaped() {
        let source = Source::new("a,b:c%.yaml", "x: 1\n");
        let finding = Diagnostic::new(
            Code::BadValue,
            &source,
            Span { start: 3, end: 4 },
            "a\n::b 100%",
        )
        .help("do c");
        let mut out = Vec::new();
        write_one(&finding, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "::error file=a%2Cb%3Ac%25.yaml,line=1,col=4,title=PP114::a\\n::b 100%25%0Ahelp: do c\n"
        );
    }
}
