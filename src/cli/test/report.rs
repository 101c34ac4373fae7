//! What became of the cases, as text, JSON or JUnit XML.
//!
//! It only draws; the types here are what `-o json` prints.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::cli::render::visible;

/// The whole report in `-o json`. Fields are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) tests: Vec<TestReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct TestReport {
    pub(super) file: String,
    pub(super) name: String,
    pub(super) cases: Vec<CaseReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct CaseReport {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) passed: bool,
    pub(super) differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
pub(super) struct Difference {
    pub(super) field: &'static str,
    pub(super) expected: Value,
    pub(super) got: Value,
}

pub(super) fn draw(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for test in &report.tests {
        writeln!(out, "{} ({})", visible(&test.name), visible(&test.file))?;
        for case in &test.cases {
            let verdict = if case.passed { "ok    " } else { "FAILED" };
            writeln!(out, "  {verdict} {}", visible(&case.name))?;
            for difference in &case.differences {
                writeln!(out, "           {}", difference.field)?;
                writeln!(out, "             expected {}", difference.expected)?;
                writeln!(out, "             got      {}", difference.got)?;
            }
        }
    }
    writeln!(out, "{} passed, {} failed", report.passed, report.failed)
}

pub(super) fn junit(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let escape = crate::cli::render::junit::escape;
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    let total = report.passed + report.failed;
    writeln!(
        out,
        r#"<testsuites name="pullpass test" tests="{total}" failures="{}">"#,
        report.failed
    )?;
    for test in &report.tests {
        let failed = test.cases.iter().filter(|case| !case.passed).count();
        writeln!(
            out,
            r#"  <testsuite name="{}" file="{}" tests="{}" failures="{failed}">"#,
            escape(&test.name),
            escape(&test.file),
            test.cases.len()
        )?;
        for case in &test.cases {
            let name = escape(&case.name);
            let class = escape(&test.name);
            write!(
                out,
                r#"    <testcase classname="{class}" name="{name}" line="{}""#,
                case.line
            )?;
            if case.passed {
                writeln!(out, "/>")?;
                continue;
            }
            let differences = case.differences.iter().map(|difference| {
                format!(
                    "{}: expected {}, got {}",
                    difference.field, difference.expected, difference.got
                )
            });
            let text = differences.collect::<Vec<_>>().join("\n");
            writeln!(
                out,
                r#"><failure message="the Pod comes out otherwise">{}</failure></testcase>"#,
                escape(&text)
            )?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}
