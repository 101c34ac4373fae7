//! What alerts, dashboard and docs name is what a webhook, a controller and an API server really serve.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::living::{self, Living};
use super::{alerts, read};
use crate::chart::{committed, rendered};
use crate::plane::Plane;

/// Metric → the names of its labels, over all its series.
type Served = BTreeMap<String, BTreeSet<String>>;

/// What Prometheus adds to each series of a target.
const TARGET: [&str; 3] = ["namespace", "job", "pod"];

fn note(text: &str, served: &mut Served) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(name) = line.split(['{', ' ']).next() else {
            continue;
        };
        let labels = served.entry(name.to_owned()).or_default();
        if let Some((inside, _)) = line
            .split_once('{')
            .and_then(|(_, rest)| rest.rsplit_once('}'))
        {
            labels.extend(matched(inside));
        }
    }
}

/// The names before `=`, `=~`, `!=` or `!~` in what stands between braces.
fn matched(inside: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    // Every other part is between quotes.
    for part in inside.split('"').step_by(2) {
        let name = part.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if !name.is_empty() {
            names.insert(name.to_owned());
        }
    }
    names
}

/// What both processes serve, and of the API server what its calls of webhooks are counted by.
fn served() -> [Served; 2] {
    let plane = Plane::own();
    let estate = living::estate(&plane);
    let living = Living::start(&estate);
    let (mut ours, mut of_the_api_server) = (Served::new(), Served::new());
    note(&living.webhook.server.get("/metrics").body, &mut ours);
    note(&living.controller.get("/metrics").body, &mut ours);
    living.fail_calls();
    let text = living.api_server();
    let is_about_calls = |line: &&str| line.starts_with("apiserver_admission_webhook_");
    let lines: Vec<&str> = text.lines().filter(is_about_calls).collect();
    note(&lines.join("\n"), &mut of_the_api_server);
    [ours, of_the_api_server]
}

/// Metric → labels that an expression asks of it, and the labels by which it groups.
fn asked(query: &str) -> (Vec<(String, BTreeSet<String>)>, BTreeSet<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut metrics = Vec::new();
    let mut groups = BTreeSet::new();
    for prefix in ["pullpass_", "apiserver_"] {
        for (at, _) in query.match_indices(prefix) {
            let rest = &query[at..];
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let inside = rest[end..]
                .strip_prefix('{')
                .and_then(|rest| rest.split_once('}'));
            let labels = inside.map_or_else(BTreeSet::new, |(inside, _)| matched(inside));
            metrics.push((rest[..end].to_owned(), labels));
        }
    }
    for part in query.split("by (").skip(1) {
        let names = part.split(')').next().unwrap().split(',');
        groups.extend(names.map(|name| name.trim().to_owned()));
    }
    (metrics, groups)
}

/// Expression and legend of each query.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/pullpass.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((text(&target["expr"]), text(&target["legendFormat"])));
        }
    }
    found.extend(
        alerts()
            .iter()
            .map(|alert| (text(&alert["expr"]), String::new())),
    );
    found
}

#[test]
fn alerts_dashboard_and_docs_name_what_is_served_and_nothing_else() {
    let [mut served, of_the_api_server] = served();
    let documented = read("docs/serving.md");
    let rows = documented
        .lines()
        .filter_map(|line| line.strip_prefix("| `pullpass_"));
    let rows: BTreeMap<String, &str> = rows
        .map(|row| {
            let (name, rest) = row.split_once('`').unwrap();
            (format!("pullpass_{name}"), rest.split('|').nth(1).unwrap())
        })
        .collect();
    let mut metrics = BTreeMap::<String, BTreeSet<String>>::new();
    for (name, labels) in &served {
        let histograms = ["_bucket", "_count", "_sum"];
        let whole = histograms.iter().find_map(|part| name.strip_suffix(part));
        let name = whole.unwrap_or(name);
        metrics
            .entry(name.to_owned())
            .or_default()
            .extend(labels.clone());
    }
    let names = |keys: &mut dyn Iterator<Item = &String>| keys.cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&mut rows.keys()),
        names(&mut metrics.keys()),
        "docs/serving.md, then what is served"
    );
    for (name, labels) in &metrics {
        for label in labels.iter().filter(|label| *label != "le") {
            assert!(
                rows[name].contains(&format!("`{label}`")),
                "docs/serving.md: {name} has {label}"
            );
        }
    }

    served.extend(of_the_api_server);
    for (query, legend) in queries() {
        let (metrics, groups) = asked(&query);
        let mut known: BTreeSet<&str> = TARGET.into();
        for (name, labels) in &metrics {
            let has = served
                .get(name)
                .unwrap_or_else(|| panic!("nobody serves {name}: {query}"));
            for label in labels {
                let is = has.contains(label) || TARGET.contains(&label.as_str());
                assert!(is, "{name} has no label {label}: {query}");
            }
            known.extend(has.iter().map(String::as_str));
        }
        assert!(
            !metrics.is_empty() || query.starts_with("absent(up{"),
            "{query}"
        );
        let shown = legend
            .split("{{")
            .skip(1)
            .map(|part| part.split("}}").next().unwrap());
        for label in groups.iter().map(String::as_str).chain(shown) {
            assert!(
                known.contains(label),
                "nothing has the label {label}: {query} {legend}"
            );
        }
    }
}

#[test]
fn the_chart_ships_the_dashboard_as_it_is() {
    let source = read("deploy/grafana/pullpass.json");
    committed("deploy/helm/pullpass/files/dashboard.json", &source);
    let objects = rendered("grafanaDashboard: {enabled: true}");
    let is = |object: &&Value| object["metadata"]["name"] == "pullpass-dashboard";
    let object = objects.iter().find(is).unwrap();
    assert_eq!(
        object["data"]["pullpass.json"].as_str().unwrap().trim(),
        source.trim()
    );
}
