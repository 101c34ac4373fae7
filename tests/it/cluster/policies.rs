//! Policies as they come, change, break and go; and what the API server refuses of them in our name.

use serde_json::{Value, json};

use super::install::{Installation, Webhook, config_map, put};
use super::{HUB, policy};
use crate::plane::{Plane, wait_for, wait_until};

const QUAY: &str =
    "    - {name: quay, match: {images: [quay.io]}, inject: {imagePullSecrets: [quay-creds]}}\n";

/// Waits until so many documents are in force and refused.
fn until_documents(webhook: &Webhook<'_>, loaded: u64, rejected: u64) {
    for (state, want) in [("rejected", rejected), ("loaded", loaded)] {
        let series = format!("pullpass_policy_documents{{state=\"{state}\"}}");
        webhook.server.until_count(&series, want);
    }
}

#[test]
fn a_policy_is_edited_broken_mended_deleted_and_restored() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    let company = |secret: &str| policy("company", &HUB.replace("hub-creds", secret));
    installation.put("company", &company("one"));
    installation.put("other", &policy("other", QUAY));
    let webhook = installation.serve(&[]);
    let namespace = installation.namespace("policies");
    let [hub, quay] = ["nginx", "quay.io/a/b"]
        .map(|image| json!({"containers": [{"name": "c", "image": image}]}));
    webhook.until_secrets(&namespace, &hub, &["one"]);

    installation.put("company", &company("two"));
    webhook.until_secrets(&namespace, &hub, &["two"]);

    let broken = format!("{}\n  mood: good\n", company("three"));
    installation.put("company", &broken);
    until_documents(&webhook, 2, 1);
    webhook.until_secrets(&namespace, &hub, &["two"]);
    let log = webhook.server.log();
    assert!(log.contains("it has errors"), "{log}");
    assert!(log.contains("mood"), "{log}");

    installation.put("company", &company("four"));
    webhook.until_secrets(&namespace, &hub, &["four"]);
    until_documents(&webhook, 2, 0);

    installation.put("company", &broken);
    until_documents(&webhook, 2, 1);
    installation.remove("company");
    webhook.until_secrets(&namespace, &hub, &[]);
    until_documents(&webhook, 1, 0);

    installation.put("company", &company("five"));
    webhook.until_secrets(&namespace, &hub, &["five"]);
    let at = format!("/api/v1/namespaces/{}/configmaps/company", installation.own);
    let unlabelled = json!({"metadata": {"labels": {"pullpass.dev/policy": null}}});
    plane.admin().merge(&at, &unlabelled).done();
    webhook.until_secrets(&namespace, &hub, &[]);
    webhook.until_secrets(&namespace, &quay, &["quay-creds"]);
    assert_eq!(webhook.server.get("/readyz").status, 200);
}

#[test]
fn config_maps_that_no_policy_can_be_read_from_harm_no_other() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    installation.put("a-good", &policy("company", HUB));
    let many = |range: std::ops::Range<u32>| {
        let one = |n| format!("---\n{}", policy(&format!("p-{n}"), QUAY));
        range.map(one).collect::<String>()
    };
    let rule = |n| {
        QUAY.replace("name: quay", &format!("name: r-{n}"))
            .replace("quay.io", &format!("quay.io/organization-{n}"))
    };
    let large = policy("large", &(0..9_500).map(rule).collect::<String>());
    assert!(
        (1_000_000..1 << 20).contains(&large.len()),
        "{}",
        large.len()
    );
    for (name, change) in [
        ("no-key", json!({"data": {"notes.txt": "hello"}})),
        ("no-data", json!({"data": null})),
        (
            "binary",
            json!({"data": null, "binaryData": {"policy.yaml": "AAECAw=="}}),
        ),
        ("not-yaml", json!({"data": {"policy.yaml": "{[}"}})),
        ("nul", json!({"data": {"policy.yaml": "a: \"\u{0}\""}})),
        (
            "foreign",
            json!({"data": {"policy.yaml": "apiVersion: v1\nkind: Pod\n"}}),
        ),
        (
            "same-name",
            json!({"data": {"policy.yaml": policy("company", QUAY)}}),
        ),
        ("large", json!({"data": {"policy.yaml": large}})),
        ("thousand", json!({"data": {"policy.yaml": many(0..1000)}})),
    ] {
        let mut object = config_map(name, "");
        object["data"] = change["data"].clone();
        object["binaryData"] = change["binaryData"].clone();
        let at = format!("/api/v1/namespaces/{}/configmaps", installation.own);
        plane.admin().post(&at, &object).done();
    }
    let webhook = installation.serve(&[]);
    let namespace = installation.namespace("bad-input");
    let hub = json!({});
    webhook.until_secrets(&namespace, &hub, &["hub-creds"]);
    let loaded = webhook
        .server
        .count("pullpass_policy_documents{state=\"loaded\"}");
    assert_eq!(loaded, 1002, "the good one, the large one and the thousand");
    for name in [
        "no-key",
        "no-data",
        "binary",
        "not-yaml",
        "nul",
        "same-name",
    ] {
        let full = format!("{}/{name}", installation.own);
        let log = webhook.server.log();
        assert!(log.contains(&full), "{name} is told of: {log}");
    }
    for name in ["thousand", "large", "same-name", "not-yaml", "binary"] {
        installation.remove(name);
    }
    webhook
        .server
        .until_count("pullpass_policy_documents{state=\"loaded\"}", 1);
    webhook.until_secrets(&namespace, &hub, &["hub-creds"]);
}

#[test]
fn the_api_server_refuses_what_lint_refuses_with_every_error_in_kubectls_text() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    let declares = format!(
        "{}  credentials: [{{name: hub-creds, from: {{existing: {{}}}}}}]\n",
        policy("company", HUB)
    );
    installation.put("company", &declares);
    let _webhook = installation.serve(&[]);
    installation.adopt(&installation.own);
    let apply = |object: &Value| {
        let args = ["-n", &installation.own, "apply", "-f", "-"];
        plane.admin().kubectl_with(&args, &object.to_string())
    };
    let bad = config_map(
        "bad",
        &policy(
            "bad",
            "    - {name: UPPER, match: {images: ['a[b']}, inject: {imagePullSecrets: [x]}}\n",
        ),
    );
    let ran = wait_for("the webhook for policies is called", || {
        let ran = apply(&bad);
        (ran.status != 0).then_some(ran)
    });
    for says in ["the policies have errors:", "a[b", "policy.yaml:"] {
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    }
    for (object, refused, says, why) in [
        (
            config_map("company", &declares.replace("docker.io", "index.docker.io")),
            false,
            "",
            "an edit has its own names",
        ),
        (
            config_map("twin", &policy("company", QUAY)),
            true,
            "PP112",
            "a policy's name that another ConfigMap has",
        ),
        (
            config_map("twin", &declares.replace("name: company", "name: twin")),
            true,
            "PP112",
            "a credential's name that another ConfigMap has",
        ),
        (
            config_map("undeclared", &policy("undeclared", QUAY)),
            false,
            "Warning: pullpass PP1",
            "a secret that no credential declares",
        ),
    ] {
        let ran = apply(&object);
        assert_eq!(ran.status != 0, refused, "{why}: {ran:?}");
        assert!(ran.stderr.contains(says), "{why}: {ran:?}");
    }
    let mut unlabelled = bad.clone();
    unlabelled["metadata"]["labels"] = json!({});
    let ran = apply(&unlabelled);
    assert_eq!(ran.status, 0, "without the label it is nobody's: {ran:?}");
    let label = [
        "-n",
        &installation.own,
        "label",
        "configmap",
        "bad",
        "pullpass.dev/policy=true",
    ];
    let ran = plane.admin().kubectl(&label);
    assert_ne!(ran.status, 0, "and with it, it is ours: {ran:?}");
}

#[test]
fn a_storm_of_edits_ends_with_the_last_one() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    installation.put("company", &policy("company", HUB));
    let webhook = installation.serve(&[]);
    let namespace = installation.namespace("storm");
    for n in 0..100 {
        let rules = HUB.replace("hub-creds", &format!("s-{n}"));
        put(
            plane,
            &installation.own,
            "company",
            &policy("company", &rules),
        );
    }
    webhook.until_secrets(&namespace, &json!({}), &["s-99"]);
    wait_until("it is ready", || {
        webhook.server.get("/readyz").status == 200
    });
    webhook.until_secrets(&namespace, &json!({}), &["s-99"]);
}
