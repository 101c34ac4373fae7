//! The guide to the installation: its values render, and the sentences that it quotes are said.

use super::{rendered, template};

pub(super) fn page(name: &str) -> String {
    let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// The blocks of YAML, without the margin of a list that they stand in.
pub(super) fn examples(text: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let bare = line.trim_start();
        if bare != "```yaml" {
            continue;
        }
        let margin = line.len() - bare.len();
        let inside = lines.by_ref().take_while(|line| line.trim_start() != "```");
        let inside = inside.map(|line| line.get(margin..).unwrap_or(""));
        examples.push(inside.collect::<Vec<_>>().join("\n"));
    }
    examples
}

#[test]
fn every_example_renders() {
    let examples = examples(&page("install.md"));
    assert_eq!(examples.len(), 6, "{examples:?}");
    for values in examples {
        rendered(&values);
    }
    rendered("webhook: {hostNetwork: true, port: 9443, adminPort: 9792}");
}

#[test]
fn a_refusal_is_quoted_as_it_is_said() {
    let text = page("install.md");
    let (_, rest) = text.split_once("is refused by a sentence: `").unwrap();
    let (sentence, _) = rest.split_once("`. [").unwrap();
    let ran = template("webhook: {failurePolicy: Sometimes}");
    assert!(ran.stderr.contains(sentence), "{sentence}: {}", ran.stderr);
}
