//! The guides to the installation: their values render, and the sentences that they quote are said.

use super::{documents, rendered, template};

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

/// The values in an example: all of it, or what a GitOps controller's object gives the chart.
fn values(example: &str) -> String {
    let object = documents(example).remove(0);
    let values = match object["kind"].as_str() {
        None => return example.to_owned(),
        Some("Application") => &object["spec"]["source"]["helm"]["valuesObject"],
        Some("HelmRelease") => &object["spec"]["values"],
        Some(kind) => panic!("no values in a {kind}"),
    };
    assert!(values.is_object(), "{example}");
    values.to_string()
}

#[test]
fn every_example_renders() {
    for (name, count) in [("install.md", 7), ("clusters.md", 7), ("gitops.md", 2)] {
        let examples = examples(&page(name));
        assert_eq!(examples.len(), count, "{name}: {examples:?}");
        for example in examples {
            rendered(&values(&example));
        }
    }
}

#[test]
fn a_refusal_is_quoted_as_it_is_said() {
    for (name, before, values) in [
        (
            "install.md",
            "is refused by a sentence: `",
            "webhook: {failurePolicy: Sometimes}",
        ),
        (
            "clusters.md",
            "the chart refuses to render, `",
            "webhook: {hostNetwork: true}",
        ),
    ] {
        let text = page(name).split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, rest) = text.split_once(before).unwrap();
        let (sentence, _) = rest.split_once('`').unwrap();
        let ran = template(values);
        assert!(ran.stderr.contains(sentence), "{sentence}: {}", ran.stderr);
    }
}
