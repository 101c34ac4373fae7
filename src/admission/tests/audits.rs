//! `mode: Audit`: nothing changes, and it is told what would.

use serde_json::{Value, json};

use super::{HUB, cluster, mutate_review, named_policy, pod, policy, pulls, review};
use crate::admission::Outcome;

const ACCOUNTS: &str = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}}\n---\n\
    {apiVersion: v1, kind: ServiceAccount, metadata: {name: x}}\n---\n\
    {apiVersion: v1, kind: ServiceAccount, metadata: {name: z}}";

#[test]
fn an_audited_policy_says_what_it_would_change() {
    let enforced = policy(HUB);
    for (audited, want, why) in [
        (
            "- {name: r, match: {images: [quay.io]}, inject: {imagePullSecrets: [q]}}",
            vec![],
            "it is about no image of the Pod",
        ),
        (
            "- {name: r, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub-creds]}}",
            vec![],
            "nothing new",
        ),
        (
            "- {name: r, match: {images: [docker.io]}, inject: {imagePullSecrets: [new]}}",
            vec!["`a/r` would add pull secret new"],
            "one more secret",
        ),
        (
            "- {name: r, match: {images: [docker.io/library]}, inject: {}}",
            vec!["`a/r` would not add pull secret hub-creds"],
            "a more specific rule that injects nothing",
        ),
        (
            "- {name: r, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub-creds], serviceAccountName: x}}",
            vec!["`a/r` would ask for service account x"],
            "an account",
        ),
        (
            "- {name: r, match: {images: [docker.io]}, inject: {serviceAccountName: absent, onMissingServiceAccount: Deny}}",
            vec![
                "`a/r` would refuse the Pod: rule `a/r` asks for service account `absent`, which does not exist in `web`",
            ],
            "a refusal",
        ),
        (
            "- {name: r, match: {images: [docker.io]}, inject: {envFrom: [{secretRef: {name: s}}]}}",
            vec!["`a/r` would add envFrom s to spec.containers[0].image"],
            "an environment source",
        ),
        (
            "- {name: r, match: {everyPod: true}, inject: {envFrom: [{secretRef: {name: s}}]}}",
            vec!["`a/r` would add envFrom s to all containers"],
            "one for all containers",
        ),
    ] {
        let snapshot = cluster(
            &format!("{enforced}{}", named_policy("a", "Audit", audited)),
            ACCOUNTS,
        );
        let (after, response) = mutate_review(&review(&pod("nginx")), &snapshot);
        let warnings: Vec<String> = want
            .iter()
            .map(|change| format!("pullpass PP207: audit: {change}"))
            .collect();
        assert_eq!(response.warnings, warnings, "{why}");
        assert_eq!(
            response.audit.contains_key("audit"),
            !want.is_empty(),
            "{why}"
        );
        assert_eq!(pulls(&after), ["hub-creds"], "{why}");
        assert_eq!(after["spec"].get("serviceAccountName"), None, "{why}");
        assert_eq!(
            after["metadata"]["annotations"]["pullpass.dev/rules"], "p/hub",
            "{why}"
        );
        assert_eq!(response.audit["rules"], "p/hub", "{why}");
    }
}

#[test]
fn an_audited_policy_alone_changes_nothing() {
    let snapshot = cluster(&named_policy("a", "Audit", HUB), "");
    let (after, response) = mutate_review(&review(&pod("nginx")), &snapshot);
    assert_eq!(after, pod("nginx"));
    assert_eq!(response.facts.outcome, Outcome::Unchanged);
    assert_eq!(
        json!(response.audit),
        json!({"audit": "add pull secret hub-creds"})
    );
}

/// The switch in force is made when the second call comes; what audited policies would have done to the
/// Pod as it came is told all the same.
#[test]
fn a_second_call_repeats_the_audit_although_the_account_is_switched() {
    let enforced =
        policy("- {name: r, match: {images: [docker.io]}, inject: {serviceAccountName: x}}");
    let audited = named_policy(
        "a",
        "Audit",
        "- {name: r, match: {images: [docker.io]}, inject: {serviceAccountName: z}}",
    );
    let snapshot = cluster(&format!("{audited}{enforced}"), ACCOUNTS);
    let mut pod = pod("nginx");
    pod["spec"]["serviceAccountName"] = json!("default");
    pod["spec"]["serviceAccount"] = json!("default");
    pod["metadata"]["managedFields"] = json!([{"fieldsV1": {"f:spec": {"f:containers": {}}}}]);
    let (after, response) = mutate_review(&review(&pod), &snapshot);
    assert_eq!(after["spec"]["serviceAccountName"], "x");
    assert_eq!(response.audit["audit"], "ask for service account z");
    let Value::String(_) = after["metadata"]["annotations"]["pullpass.dev/rules"] else {
        panic!()
    };
}
