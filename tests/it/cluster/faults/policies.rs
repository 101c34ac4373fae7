//! Policies edited all the time: good ones, broken ones, large ones, names taken, ConfigMaps that come and go.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::json;

use super::super::policy;
use super::{company, flowing, follows, in_time, installed, serving_as};
use crate::plane::Plane;

#[test]
fn a_storm_of_policy_edits_fails_no_pod() {
    let plane = Plane::own();
    let installation = installed(&plane);
    // What is broken gets into the cluster when nobody checks it.
    let webhook = serving_as(&installation, |entry| {
        in_time(entry);
        if entry["name"] == "policies.pullpass.dev" {
            entry["namespaceSelector"] = json!({"matchLabels": {"checked": "true"}});
        }
    });
    let stream = flowing(&installation);
    let (mut edits, mut digests) = (0, BTreeSet::new());
    while stream.created() < super::PODS || edits < 100 {
        match edits % 10 {
            // A few of them broken, so that what was in force stays.
            0 => installation.put("company", &format!("{}  mood: good\n", company())),
            1 => installation.put("company", "{["),
            2 => installation.put("company", &policy("company", "    []\n")),
            3 => installation.put("large", &large(edits)),
            // The name of a policy that is in force, and later in the order.
            4 => installation.put("thief", &company().replace("hub-creds", "stolen")),
            5 => installation.remove("thief"),
            _ => {
                let more = rule(&format!("edit-{edits}"), "registry.example.com");
                installation.put("company", &format!("{}{more}", company()));
                installation.put(&format!("small-{}", edits % 7), &small(edits));
            }
        }
        edits += 1;
        digests.insert(webhook.server.digest());
        assert_eq!(webhook.server.get("/readyz").status, 200);
    }
    follows(&installation, &webhook, "last-creds");
    let tables = digests.len();
    assert!(tables > 10, "{tables} tables were in force");
    stream.end(
        &plane,
        "policies edited, broken, removed",
        &format!("{edits} edits, {tables} tables seen in force"),
    );
}

fn rule(name: &str, image: &str) -> String {
    format!(
        "    - {{name: {name}, match: {{images: [{image}]}}, inject: {{imagePullSecrets: [{name}]}}}}\n"
    )
}

fn small(edit: usize) -> String {
    let name = format!("small-{}", edit % 7);
    policy(&name, &rule(&format!("edit-{edit}"), "quay.io/small"))
}

/// A thousand rules, and 900 kB, near the most that a ConfigMap holds.
fn large(edit: usize) -> String {
    let mut rules = String::new();
    for n in 0..1000 {
        let image = format!("registry-{n}.example.com/team-{edit}");
        let why = "why ".repeat(200);
        let rule = rule(&format!("large-{edit}-{n}"), &image);
        write!(rules, "    # {why}\n{rule}").unwrap();
    }
    policy("large", &rules)
}
