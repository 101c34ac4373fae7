//! What the API server makes of an answer: uid, patch, warnings, denial, audit annotations.

use serde_json::{Value, json};

use super::{HUB, ask, ask_bytes, cluster, mutate_review, pod, policy, review, snapshot};
use crate::admission::{AccountChange, Outcome};

#[test]
fn the_uid_is_echoed_whatever_is_in_it() {
    for uid in [
        "c3f1a9d4-5b0e",
        "",
        "a\"b\\c",
        "a\nb\0",
        "ü€\u{1f600}",
        "</script>",
    ] {
        let mut review = review(&pod("nginx"));
        review["request"]["uid"] = json!(uid);
        assert_eq!(ask(&review, &snapshot(HUB)).body["uid"], uid, "{uid:?}");
        review["request"]["object"] = json!(5);
        assert_eq!(
            ask(&review, &snapshot(HUB)).body["uid"],
            uid,
            "{uid:?} of what is no Pod"
        );
    }
    let mut no_uid = review(&pod("nginx"));
    no_uid["request"]["uid"] = json!(null);
    assert_eq!(ask(&no_uid, &snapshot(HUB)).body["uid"], "");
}

#[test]
fn an_answer_has_what_there_is_to_say_and_nothing_empty() {
    let fields = |response: &Value| {
        let mut keys: Vec<String> = response.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let patched = ask(&review(&pod("nginx")), &snapshot(HUB));
    assert_eq!(
        fields(&patched.body),
        ["allowed", "auditAnnotations", "patch", "patchType", "uid"]
    );
    assert_eq!(patched.body["patchType"], "JSONPatch");
    let unmatched = ask(&review(&pod("quay.io/x")), &snapshot(HUB));
    assert_eq!(fields(&unmatched.body), ["allowed", "uid"]);
    let (after, _) = mutate_review(&review(&pod("nginx")), &snapshot(HUB));
    let again = ask(&review(&after), &snapshot(HUB));
    assert_eq!(again.facts.outcome, Outcome::Unchanged);
    assert_eq!(fields(&again.body), ["allowed", "auditAnnotations", "uid"]);
}

#[test]
fn a_denial_has_code_reason_and_message_and_no_patch() {
    let deny = cluster(
        &policy(
            "- {name: r, match: {images: [docker.io]}, inject: {imagePullSecrets: [a], serviceAccountName: x, onMissingServiceAccount: Deny}}",
        ),
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}}",
    );
    let response = ask(&review(&pod("nginx")), &deny);
    assert_eq!(response.body["allowed"], false);
    assert_eq!(
        response.body["status"],
        json!({"code": 403, "reason": "Forbidden",
            "message": "rule `p/r` asks for service account `x`, which does not exist in `web`"})
    );
    assert!(response.patch.is_empty() && response.warnings.is_empty());
    assert_eq!(response.facts.outcome, Outcome::Denied);
    assert_eq!(response.facts.account, Some(AccountChange::Missing));
    assert_eq!(
        response.facts.secrets,
        [],
        "what is not injected is not counted"
    );
}

#[test]
fn audit_annotations_state_the_decision() {
    let rules = cluster(
        &policy(
            "- {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [a, b], serviceAccountName: x}}\n\
             - {name: quay, match: {images: [quay.io]}, inject: {imagePullSecrets: [b, c]}}",
        ),
        "",
    );
    let mut two = pod("quay.io/x");
    two["spec"]["initContainers"] = json!([{"name": "d", "image": "nginx"}]);
    two["spec"]["imagePullSecrets"] = json!([{"name": "b"}]);
    let response = mutate_review(&review(&two), &rules).1;
    let audit = json!(response.audit);
    assert_eq!(
        audit,
        json!({"rules": "p/quay,p/hub", "policy": "p", "secrets": "b,c,a", "service-account": "x"}),
        "`b` stands there although the Pod has it"
    );
}

#[test]
fn warnings_are_single_lines_within_the_api_servers_limits() {
    let hostile = [
        "a\nb",
        "a\tb",
        "a\0b",
        "\u{1b}[31mred",
        "\u{202e}gnp.exe",
        "a\r\nWarning: forged",
        "ü".repeat(500).leak(),
    ];
    for image in hostile {
        let response = ask(&review(&pod(image)), &snapshot(HUB));
        let [warning] = response.warnings.as_slice() else {
            panic!("{:?}", response.warnings)
        };
        assert!(
            !warning.is_empty() && warning.len() <= 256,
            "{} bytes: {warning}",
            warning.len()
        );
        assert!(!warning.chars().any(char::is_control), "{warning:?}");
        assert!(!warning.contains('\u{202e}'), "{warning:?}");
        assert!(warning.starts_with("pullpass PP201: "), "{warning}");
    }
}

#[test]
fn warnings_fit_together_and_equal_ones_come_once() {
    let containers: Vec<Value> = (0..100)
        .map(|i| json!({"name": format!("c{i}"), "image": format!("{}/{i}", "Not A Reference".repeat(9))}))
        .collect();
    let many = json!({"metadata": {}, "spec": {"containers": containers}});
    let response = ask(&review(&many), &snapshot(HUB));
    let total: usize = response.warnings.iter().map(String::len).sum();
    assert!(total <= 4096 && total > 3800, "{total} bytes");
    assert_eq!(
        response.codes().len(),
        100,
        "those that do not fit are counted as well"
    );

    let rules = snapshot(HUB);
    let mut review = review(&pod("nginx"));
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["object"]["spec"]["containers"] =
        json!([{"name": "a", "image": "nginx"}, {"name": "b", "image": "nginx"}]);
    let response = ask(&review, &rules);
    assert_eq!(
        (response.codes().len(), response.warnings.len()),
        (2, 1),
        "{:?}",
        response.warnings
    );
}

#[test]
fn quoted_kinds_are_bounded_in_every_sentence() {
    let long = "K\n".repeat(1000);
    let mut other = review(&pod("nginx"));
    other["request"]["kind"]["kind"] = json!(long);
    let response = ask(&other, &snapshot(HUB));
    assert!(response.warnings[0].len() <= 256 && !response.warnings[0].contains('\n'));
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": long}).to_string();
    let Err(error) = ask_bytes(body.as_bytes(), &snapshot(HUB)) else {
        panic!("no review")
    };
    assert!(
        error.to_string().len() < 256 && !error.to_string().contains('\n'),
        "{error}"
    );
}
