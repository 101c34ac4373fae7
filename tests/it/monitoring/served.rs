//! What alerts, dashboard and docs name is what a webhook, a controller and an API server really serve.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{alerts, read};
use crate::chart::{committed, rendered};
use crate::cluster::install::Installation;
use crate::controller::Controller;
use crate::plane::{Plane, wait_until};
use crate::webhook::review;
use crate::webhook::server::Place;

/// Metric → the names of its labels, over all its series.
type Served = BTreeMap<String, BTreeSet<String>>;

/// What Prometheus adds to each series of a target.
const TARGET: [&str; 3] = ["namespace", "job", "pod"];

const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: monitored}
spec:
  rules: [{name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub]}}]
";

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

/// What a webhook and a controller in a cluster serve after a Pod was admitted.
fn ours() -> Served {
    let installation = Installation::on(Plane::shared());
    installation.put("monitored", POLICY);
    let webhook = installation.start(Place::with(""), &[]);
    let server = &webhook.server;
    wait_until("the policy is in force", || {
        server.count("pullpass_policy_rules") == 1
    });
    let _: Value = server.client().ask(&review("default", &["nginx", "A b"]));
    let account = installation
        .plane
        .account(&installation.own, "pullpass-controller");
    let kubeconfig = account.kubeconfig.to_str().unwrap();
    let controller = Controller::start(&[
        "--namespace",
        &installation.own,
        "--kubeconfig",
        kubeconfig,
        "--tls-secret",
        "pullpass-webhook-tls",
    ]);
    wait_until("it leads and has made a CA", || {
        let text = controller.get("/metrics").body;
        text.contains("pullpass_leader{} 1") && text.contains("seconds{kind=\"ca\"}")
    });
    let mut served = Served::new();
    note(&server.get("/metrics").body, &mut served);
    note(&controller.get("/metrics").body, &mut served);
    served
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
        for target in panel["targets"].as_array().unwrap() {
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

/// The API server's two, from a webhook that nobody answers for.
fn of_the_api_server() -> Served {
    let plane = Plane::shared();
    let namespace = plane.namespace("unanswered");
    let at = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mut served = Served::new();
    for policy in ["Ignore", "Fail"] {
        let name = format!("{namespace}-{}", policy.to_lowercase());
        let configuration = json!({
            "metadata": {"name": name},
            "webhooks": [{
                "name": "pods.unanswered.example", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://127.0.0.1:1/"}, "failurePolicy": policy, "timeoutSeconds": 1,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            }],
        });
        plane.admin().post(at, &configuration).done();
        let metric = if policy == "Fail" {
            "apiserver_admission_webhook_rejection_count{"
        } else {
            "apiserver_admission_webhook_fail_open_count{"
        };
        wait_until(metric, || {
            let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
            plane.admin().post(&path, &pod);
            let text = plane.admin().kubectl(&["get", "--raw", "/metrics"]).stdout;
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with(metric))
                .collect();
            note(&lines.join("\n"), &mut served);
            !lines.is_empty()
        });
        plane.admin().delete(&format!("{at}/{name}"), None).done();
    }
    served
}

#[test]
fn alerts_dashboard_and_docs_name_what_is_served_and_nothing_else() {
    let mut served = ours();
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
        let histogram = "pullpass_admission_duration_seconds";
        let name = if name.starts_with(histogram) {
            histogram
        } else {
            name
        };
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

    served.extend(of_the_api_server());
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
