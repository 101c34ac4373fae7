//! Findings as SARIF 2.1.0, for code scanning:
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.
//!
//! URIs are relative to the working directory, lines and columns are the file's; a clean run is an
//! empty `results`, never an absent one. Only codes that occur are described as rules.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Report, json, relative};
use crate::cli::explain;
use crate::diagnostic::{Code, Diagnostic, Place, Severity};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Writes one log with one run.
pub fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let codes: BTreeSet<Code> = report
        .diagnostics
        .iter()
        .map(|finding| finding.code)
        .collect();
    let codes: Vec<Code> = codes.into_iter().collect();
    let results: Vec<Value> = report
        .diagnostics
        .iter()
        .map(|finding| result(finding, &codes))
        .collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "pullpass",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": "https://pullpass.dev",
                "rules": codes.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    json::to_writer(out, &log)
}

fn rule(code: Code) -> Value {
    let page = explain::page(code).unwrap_or_default();
    json!({
        "id": code.as_str(),
        "name": format!("{code:?}"),
        "shortDescription": {"text": explain::title(code).unwrap_or_default()},
        "help": {"text": page, "markdown": page},
        "helpUri": explain::url(code),
        "defaultConfiguration": {"level": level(code)},
    })
}

fn level(code: Code) -> &'static str {
    match code.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn result(finding: &Diagnostic, codes: &[Code]) -> Value {
    let mut text = finding.message.clone();
    if let Some(help) = &finding.help {
        text = format!("{text}; help: {help}");
    }
    if let Some(place) = finding
        .place
        .as_ref()
        .filter(|place| place.source.origin().is_some())
    {
        text = format!("{text} (at {place})");
    }
    let mut result = json!({
        "ruleId": finding.code.as_str(),
        "ruleIndex": codes.binary_search(&finding.code).unwrap_or_default(),
        "level": level(finding.code),
        "message": {"text": text},
        "locations": finding.place.iter().map(location).collect::<Vec<_>>(),
    });
    if let (Some((place, label)), Some(object)) = (&finding.related, result.as_object_mut()) {
        let mut related = location(place);
        if let Some(related) = related.as_object_mut() {
            related.insert("message".into(), json!({"text": label}));
        }
        object.insert("relatedLocations".into(), json!([related]));
    }
    result
}

fn location(place: &Place) -> Value {
    let place = place.in_file();
    let (start, end) = (place.start(), place.end());
    json!({"physicalLocation": {
        "artifactLocation": {"uri": uri(place.source.name())},
        "region": {
            "startLine": start.line,
            "startColumn": start.column,
            "endLine": end.line,
            "endColumn": end.column,
        },
    }})
}

/// A URI reference (RFC 3986): relative below the working directory, `file:` anywhere else.
fn uri(name: &str) -> String {
    let path = relative(name);
    let mut uri = String::with_capacity(path.len());
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => drop(fmt::Write::write_fmt(&mut uri, format_args!("%{byte:02X}"))),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_relative_and_escaped() {
        for (name, want) in [
            ("./policies/hub.yaml", "policies/hub.yaml"),
            ("a b#c?.yaml", "a%20b%23c%3F.yaml"),
            ("é.yaml", "%C3%A9.yaml"),
            ("a:b.yaml", "a%3Ab.yaml"),
            ("/nowhere/x.yaml", "file:///nowhere/x.yaml"),
        ] {
            assert_eq!(uri(name), want, "{name}");
        }
    }
}
