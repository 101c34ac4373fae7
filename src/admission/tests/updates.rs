//! UPDATE and `ephemeralcontainers`: warnings for new containers, never a patch.

use serde_json::{Value, json};

use super::{HUB, ask, named_policy, pod, review, snapshot};
use crate::admission::Outcome;
use crate::admission::tests::cluster;

fn update(object: &Value, old: &Value) -> Value {
    let mut review = review(object);
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["subResource"] = json!("ephemeralcontainers");
    review["request"]["oldObject"] = old.clone();
    review
}

fn with_debuggers(debuggers: &[&str]) -> Value {
    let mut pod = pod("quay.io/app");
    let debuggers: Vec<Value> = debuggers
        .iter()
        .map(|image| json!({"name": format!("debug-{image}"), "image": image}))
        .collect();
    pod["spec"]["ephemeralContainers"] = json!(debuggers);
    pod
}

#[test]
fn new_containers_are_warned_of_and_old_ones_are_not() {
    let rules = snapshot(&format!(
        "{HUB}\n- {{name: quay, match: {{images: [quay.io]}}, inject: {{imagePullSecrets: [q]}}}}"
    ));
    let none: [&str; 0] = [];
    for (old, new, has, codes, why) in [
        (
            with_debuggers(&[]),
            with_debuggers(&["busybox"]),
            json!(null),
            vec!["PP206"],
            "a new debug container",
        ),
        (
            with_debuggers(&["busybox"]),
            with_debuggers(&["busybox"]),
            json!(null),
            none.to_vec(),
            "it was there before",
        ),
        (
            with_debuggers(&["busybox"]),
            with_debuggers(&["busybox", "alpine"]),
            json!(null),
            vec!["PP206"],
            "one more",
        ),
        (
            with_debuggers(&[]),
            with_debuggers(&["busybox"]),
            json!([{"name": "hub-creds"}]),
            none.to_vec(),
            "the Pod has the secret",
        ),
        (
            with_debuggers(&[]),
            with_debuggers(&["ghcr.io/x"]),
            json!(null),
            none.to_vec(),
            "no rule is about it",
        ),
        (
            with_debuggers(&[]),
            with_debuggers(&["Not A Reference"]),
            json!(null),
            vec!["PP201"],
            "no reference",
        ),
        (
            json!(null),
            with_debuggers(&[]),
            json!(null),
            vec!["PP206"],
            "without the old object all are new",
        ),
        (
            json!({"spec": 5}),
            with_debuggers(&[]),
            json!(null),
            vec!["PP206"],
            "so with one that cannot be read",
        ),
        (
            with_debuggers(&[]),
            json!({"spec": null}),
            json!(null),
            vec!["PP208"],
            "no spec",
        ),
    ] {
        let mut new = new;
        if !new["spec"].is_null() {
            new["spec"]["imagePullSecrets"] = has;
        }
        let response = ask(&update(&new, &old), &rules);
        assert_eq!(response.codes(), codes, "{why}");
        assert!(
            response.patch.is_empty() && response.body["allowed"] == true,
            "{why}"
        );
        assert_eq!(response.audit.len(), 0, "{why}");
    }
}

#[test]
fn a_warning_names_image_secret_and_rule() {
    let response = ask(
        &update(&with_debuggers(&["busybox"]), &with_debuggers(&[])),
        &snapshot(HUB),
    );
    assert_eq!(
        response.warnings,
        [
            "pullpass PP206: image `busybox` needs pull secret `hub-creds` of rule `p/hub`, which the Pod lacks and which cannot be added to a running Pod"
        ]
    );
}

#[test]
fn a_changed_image_of_an_old_container_is_left_alone() {
    let mut new = pod("quay.io/app");
    new["spec"]["containers"][0]["image"] = json!("nginx");
    let response = ask(&update(&new, &pod("quay.io/app")), &snapshot(HUB));
    assert_eq!(response.facts.outcome, Outcome::Unchanged);
    assert!(response.warnings.is_empty());
}

#[test]
fn a_subresource_never_gets_a_patch_whatever_the_operation() {
    let mut review = update(&pod("nginx"), &json!(null));
    review["request"]["operation"] = json!("CREATE");
    let response = ask(&review, &snapshot(HUB));
    assert!(response.patch.is_empty());
    assert_eq!(response.codes(), ["PP206"]);
}

#[test]
fn an_update_out_of_scope_or_of_an_audited_policy_is_left_alone() {
    let mut new = with_debuggers(&["busybox"]);
    new["metadata"]["labels"] = json!({"pullpass.dev/inject": "disabled"});
    let response = ask(&update(&new, &with_debuggers(&[])), &snapshot(HUB));
    assert_eq!(response.facts.outcome, Outcome::Excluded);
    let audited = cluster(&named_policy("p", "Audit", HUB), "");
    let response = ask(
        &update(&with_debuggers(&["busybox"]), &with_debuggers(&[])),
        &audited,
    );
    assert!(response.warnings.is_empty(), "{:?}", response.warnings);
}
