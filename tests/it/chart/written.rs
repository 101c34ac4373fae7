//! The values as they are written: each has a comment, and the comments are the reference in README.md.

use std::fmt::Write as _;

use serde_json::Value;

use super::{CHART, committed, documents};

/// A value with its comment, or a heading: what has values of its own beneath.
pub(super) struct Written {
    /// As in `webhook.tls.caBundle`.
    pub(super) path: String,
    pub(super) comment: String,
    pub(super) default: Value,
    pub(super) is_heading: bool,
}

/// Every line of values.yaml that a comment precedes. What is beneath without comments is its default.
pub(super) fn written() -> Vec<Written> {
    let text = std::fs::read_to_string(format!("{CHART}/values.yaml")).unwrap();
    let all = documents(&text).remove(0);
    let mut found: Vec<Written> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut path: Vec<(usize, &str)> = Vec::new();
    for line in text.lines() {
        let bare = line.trim_start();
        if let Some(words) = bare.strip_prefix("# ") {
            comment.push(words);
            continue;
        }
        let (key, is_key) = match bare.split_once(':') {
            Some((key, _)) if !bare.starts_with('-') => (key, true),
            _ => ("", false),
        };
        let comment = std::mem::take(&mut comment);
        if !is_key {
            continue;
        }
        let depth = line.len() - bare.len();
        path.retain(|(other, _)| *other < depth);
        path.push((depth, key));
        if comment.is_empty() {
            continue;
        }
        let keys: Vec<&str> = path.iter().map(|(_, key)| *key).collect();
        let default = keys.iter().fold(&all, |at, key| &at[key]).clone();
        let path = keys.join(".");
        for before in &mut found {
            before.is_heading |= path.starts_with(&format!("{}.", before.path));
        }
        found.push(Written {
            path,
            comment: comment.join(" "),
            default,
            is_heading: false,
        });
    }
    found
}

/// Every value of the defaults, down to what is no map.
fn leaves(path: &str, value: &Value, found: &mut Vec<String>) {
    match value.as_object() {
        Some(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(&format!("{path}{dot}{key}"), value, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn every_value_has_a_comment() {
    let text = std::fs::read_to_string(format!("{CHART}/values.yaml")).unwrap();
    let mut all = Vec::new();
    leaves("", &documents(&text)[0], &mut all);
    assert!(all.len() > 100, "{all:?}");
    let written = written();
    for leaf in all {
        let told = written.iter().any(|value| {
            !value.is_heading
                && (leaf == value.path || leaf.starts_with(&format!("{}.", value.path)))
        });
        assert!(told, "{leaf} has no comment");
    }
    for value in &written {
        assert!(
            value.comment.ends_with('.'),
            "{}: {}",
            value.path,
            value.comment
        );
    }
}

#[test]
fn the_reference_is_made_of_the_comments() {
    let mut text = String::from(
        "# pullpass, the chart\n\nHow to install it: [docs/install.md](../../../docs/install.md). This page is made from \
         the comments of [values.yaml](values.yaml) by `make chart`.\n\nAny other key is refused, and so is a value of the \
         wrong kind: `values.schema.json` knows them all, the fields of policies included.\n",
    );
    let mut section = None;
    for value in written() {
        let top = value.path.split('.').next().unwrap().to_owned();
        let comment = value.comment.replace('|', "\\|");
        let is_section = value.is_heading && value.path == top;
        // Values at the top that have no section of their own follow each other.
        let of = if is_section || value.path != top {
            top
        } else {
            String::new()
        };
        if section.as_ref() != Some(&of) {
            let title = if of.is_empty() { "At the top" } else { &of };
            write!(text, "\n## {title}\n").unwrap();
            if is_section {
                write!(text, "\n{comment}\n").unwrap();
            }
            text.push_str("\n| value | default | meaning |\n| --- | --- | --- |\n");
            section = Some(of);
        }
        if is_section {
            continue;
        }
        let default = if value.is_heading {
            String::new()
        } else {
            format!("`{}`", value.default)
        };
        writeln!(text, "| `{}` | {default} | {comment} |", value.path).unwrap();
    }
    committed("deploy/helm/pullpass/README.md", &text);
}
