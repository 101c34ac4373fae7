//! Pods that wait for a Secret: who is held by which gate, and who never is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{cluster, mutate_review, named_policy, policy, pulls, review};
use crate::admission::Outcome;
use crate::diagnostic::Source;
use crate::load::{LoadOptions, load};
use crate::names::SecretName;
use crate::snapshot::Snapshot;
use crate::status::{GATE, Memory, Presence, Shard, Status};

const RULES: &str = "\
    - {name: slow, match: {images: [slow.io]}, inject: {imagePullSecrets: [slow-creds]}}\n\
    - {name: slower, match: {images: [slower.io]}, inject: {imagePullSecrets: [slower-creds]}}\n\
    - {name: fast, match: {images: [fast.io]}, inject: {imagePullSecrets: [fast-creds]}}\n\
    - {name: tried, match: {images: [tried.io]}, inject: {imagePullSecrets: [tried-creds]}}\n\
    - {name: denied, match: {images: [denied.io]}, inject: {imagePullSecrets: [slow-creds], serviceAccountName: absent, onMissingServiceAccount: Deny}}\n\
    - {name: strict, match: {images: [strict.io]}, inject: {imagePullSecrets: [slow-creds], serviceAccountName: strict}}";
const AUDITED: &str =
    "- {name: audited, match: {images: [audited.io]}, inject: {imagePullSecrets: [slow-creds]}}";
const ACCOUNTS: &str = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}}\n---\n\
    {apiVersion: v1, kind: ServiceAccount, metadata: {name: strict, annotations: {kubernetes.io/enforce-mountable-secrets: 'true'}}}";

/// Credentials of these names that Pods are held for.
fn held_for(names: &[&str]) -> String {
    let all = names
        .iter()
        .map(|name| format!("{{name: {name}, from: {{existing: {{}}}}, holdPods: true}}"));
    format!("  credentials: [{}]\n", all.collect::<Vec<_>>().join(", "))
}

/// `slow-creds` and `slower-creds` hold Pods; `tried-creds` would, but its policy is in audit.
fn rules() -> Snapshot {
    let enforced = policy(RULES) + &held_for(&["slow-creds", "slower-creds"]);
    let audited = named_policy("a", "Audit", AUDITED) + &held_for(&["tried-creds"]);
    cluster(&(enforced + &audited), ACCOUNTS)
}

/// What a controller that is there says of the namespace's shard: these credentials, and where their
/// Secrets stand.
pub(super) fn says(namespace: &str, ready: &[(&str, &[&str])]) -> Presence {
    let ready = ready.iter().map(|(name, namespaces)| {
        let namespaces = namespaces.iter().map(|&namespace| namespace.into());
        (SecretName::parse(name).unwrap(), namespaces.collect())
    });
    let status = Status {
        ready: ready.collect::<BTreeMap<_, _>>(),
        memory: Memory::default(),
    };
    let mut presence = Presence::default();
    presence.set(Shard::of(namespace), Some(Arc::new(status)));
    presence.attended(true);
    presence
}

/// Both are kept, and stand in no namespace.
fn none_there() -> Presence {
    says(
        "web",
        &[
            ("slow-creds", &[]),
            ("slower-creds", &[]),
            ("tried-creds", &[]),
            ("fast-creds", &[]),
        ],
    )
}

fn pod(image: &str, more: &Value) -> Value {
    let mut pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": format!("{image}/a")}]}});
    for (key, value) in more.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

/// Whether the Pod comes out with our gate, and the Secrets that are told for it.
fn waits(snapshot: &Snapshot, pod: &Value) -> (bool, String) {
    let (after, response) = mutate_review(&review(pod), snapshot);
    let gates = after["spec"]["schedulingGates"].as_array();
    let is_gated = gates.is_some_and(|gates| gates.iter().any(|gate| gate["name"] == GATE));
    let told = ["rules", "policy", "secrets", "service-account", "audit"];
    let audit = response.audit.keys();
    assert!(
        audit.into_iter().all(|key| told.contains(&&**key)),
        "a hold is of a moment, and no part of what audit annotations state"
    );
    (is_gated, response.facts.held)
}

#[test]
fn a_pod_waits_for_a_secret_that_is_not_there_and_no_pod_is_held_in_doubt() {
    let plain = json!({});
    let mut unattended = none_there();
    unattended.attended(false);
    let of_another = says("api", &[("slow-creds", &[])]);
    assert_ne!(Shard::of("api"), Shard::of("web"));
    let stands = says("web", &[("slow-creds", &["api", "web"])]);
    for (presence, image, want, why) in [
        (none_there(), "slow.io", "slow-creds", "it is not there"),
        (
            says("web", &[("slow-creds", &["api"])]),
            "slow.io",
            "slow-creds",
            "it is in another namespace",
        ),
        (stands, "slow.io", "", "it is there"),
        (unattended, "slow.io", "", "no controller is there"),
        (Presence::default(), "slow.io", "", "nothing was seen"),
        (of_another, "slow.io", "", "another shard was seen"),
        (
            says("web", &[("slower-creds", &[])]),
            "slow.io",
            "",
            "a controller does not keep it, or may not release its Pods",
        ),
        (
            none_there(),
            "fast.io",
            "",
            "its credential does not say holdPods",
        ),
        (none_there(), "other.io", "", "no rule"),
        (
            none_there(),
            "audited.io",
            "",
            "only an audited rule needs it",
        ),
        (
            none_there(),
            "tried.io",
            "",
            "an audited policy says that it holds Pods",
        ),
        (none_there(), "denied.io", "", "the Pod is refused"),
        (
            none_there(),
            "strict.io",
            "",
            "its account keeps the secret from it, so there is nothing to wait for",
        ),
    ] {
        let snapshot = Snapshot {
            presence,
            ..rules()
        };
        let (gated, told) = waits(&snapshot, &pod(image, &plain));
        assert_eq!((gated, &*told), (!want.is_empty(), want), "{image}: {why}");
    }
}

#[test]
fn a_pod_waits_for_all_of_its_secrets_behind_one_gate() {
    let snapshot = Snapshot {
        presence: none_there(),
        ..rules()
    };
    let mut both = pod("slower.io", &json!({}));
    both["spec"]["initContainers"] = json!([{"name": "i", "image": "slow.io/a"}]);
    let (after, response) = mutate_review(&review(&both), &snapshot);
    assert_eq!(after["spec"]["schedulingGates"], json!([{"name": GATE}]));
    assert_eq!(response.facts.held, "slower-creds,slow-creds");
    assert_eq!(pulls(&after), ["slower-creds", "slow-creds"]);
    assert_eq!(response.facts.outcome, Outcome::Patched);
    assert_eq!(response.warnings, [""; 0], "nobody has to do anything");
}

#[test]
fn pods_that_could_not_wait_are_never_held() {
    let snapshot = Snapshot {
        presence: none_there(),
        ..rules()
    };
    let own = json!([{"name": "slow-creds"}]);
    for (more, want, why) in [
        (json!({}), true, "any other"),
        (
            json!({"nodeName": "n"}),
            false,
            "the API server would refuse it",
        ),
        (json!({"nodeName": ""}), true, "of no node"),
        (json!({"nodeName": null}), true, "of no node"),
        (
            json!({"priorityClassName": "system-node-critical"}),
            false,
            "critical",
        ),
        (
            json!({"priorityClassName": "system-cluster-critical"}),
            false,
            "critical",
        ),
        (
            json!({"priorityClassName": "mine-critical", "priority": 1_000_000_000}),
            true,
            "a class of somebody's own",
        ),
        (
            json!({"schedulerName": "other", "preemptionPolicy": "Never"}),
            true,
            "whoever schedules it",
        ),
        (
            json!({"imagePullSecrets": own}),
            true,
            "its author wrote what a rule needs: it needs it all the same",
        ),
        (
            json!({"serviceAccountName": "strict"}),
            false,
            "its account keeps the secret from it",
        ),
    ] {
        let (gated, told) = waits(&snapshot, &pod("slow.io", &more));
        assert_eq!(gated, want, "{more}: {why}");
        assert_eq!(!told.is_empty(), want, "{more}: {why}");
    }
}

#[test]
fn pods_that_are_left_alone_are_not_held() {
    let mut snapshot = Snapshot {
        presence: none_there(),
        ..rules()
    };
    let subject = pod("slow.io", &json!({}));
    let with = |pointer: &str, value: Value| {
        let mut pod = subject.clone();
        pod["metadata"][pointer] = value;
        pod
    };
    let mirror = json!({"kubernetes.io/config.mirror": "x"});
    let opted_out = json!({"pullpass.dev/inject": "disabled"});
    for (pod, why) in [
        (with("annotations", mirror), "a mirror Pod"),
        (with("labels", opted_out), "it opts out"),
    ] {
        assert!(!waits(&snapshot, &pod).0, "{why}");
    }
    snapshot.scope.excluded = vec!["web".to_owned()];
    assert!(!waits(&snapshot, &subject).0, "an excluded namespace");
}

#[test]
fn an_update_holds_nobody() {
    let snapshot = Snapshot {
        presence: none_there(),
        ..rules()
    };
    let mut update = review(&pod("slow.io", &json!({})));
    update["request"]["operation"] = json!("UPDATE");
    update["request"]["oldObject"] = update["request"]["object"].clone();
    let (after, response) = mutate_review(&update, &snapshot);
    assert_eq!(after["spec"]["schedulingGates"], json!(null));
    assert_eq!(response.facts.held, "");
}

#[test]
fn a_tenants_rule_holds_nobody() {
    let cluster = policy(RULES) + &held_for(&["slow-creds"]);
    let text = policy(
        "- {name: t, match: {images: [tenant.io]}, inject: {imagePullSecrets: [slow-creds]}}",
    );
    let text = text
        .trim_start_matches("---\n")
        .replace("name: p", "name: t");
    let tenant = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"policy.yaml": text},
        "metadata": {"name": "t", "namespace": "web", "labels": {"pullpass.dev/policy": "true"}},
    });
    let sources = [
        Source::new("cluster.yaml", cluster),
        Source::new("tenant.yaml", tenant.to_string()),
    ];
    let options = LoadOptions {
        tenant_policies: true,
        ..LoadOptions::default()
    };
    let loaded = load(&sources, &[], &options);
    assert_eq!(loaded.policies, 2, "{:?}", loaded.diagnostics);
    let snapshot = Snapshot {
        presence: none_there(),
        ..loaded.snapshot
    };
    let (after, response) = mutate_review(&review(&pod("tenant.io", &json!({}))), &snapshot);
    assert_eq!(pulls(&after), ["slow-creds"], "it injects");
    assert_eq!(after["spec"]["schedulingGates"], json!(null));
    assert_eq!(response.facts.held, "");
    let (gated, _) = waits(&snapshot, &pod("slow.io", &json!({})));
    assert!(gated, "the cluster's own does");
}

#[test]
fn the_gate_joins_those_that_are_there_and_is_put_on_once() {
    let snapshot = Snapshot {
        presence: none_there(),
        ..rules()
    };
    let ours = json!({"name": GATE});
    let other = json!({"name": "other.example.com/gate"});
    for (gates, want, why) in [
        (None, json!([ours]), "none"),
        (Some(json!(null)), json!([ours]), "null is none"),
        (Some(json!([])), json!([ours]), "an empty list"),
        (Some(json!([other])), json!([other, ours]), "another's"),
        (Some(json!([ours])), json!([ours]), "ours already"),
        (
            Some(json!([ours, other])),
            json!([ours, other]),
            "ours in front of another's",
        ),
        (
            Some(json!([other, ours, ours])),
            json!([other, ours, ours]),
            "twice, which the API server will refuse by itself",
        ),
        (
            Some(json!([{}, null, {"name": null}])),
            json!([{}, null, {"name": null}, ours]),
            "entries without a name",
        ),
    ] {
        let mut subject = pod("slow.io", &json!({}));
        if let Some(gates) = gates {
            subject["spec"]["schedulingGates"] = gates;
        }
        let (after, response) = mutate_review(&review(&subject), &snapshot);
        assert_eq!(after["spec"]["schedulingGates"], want, "{why}");
        assert_eq!(response.facts.held, "slow-creds", "{why}");
    }
}

#[test]
fn a_second_call_may_hold_what_the_first_did_not_and_never_releases() {
    let plain = pod("slow.io", &json!({}));
    let ready = Snapshot {
        presence: says("web", &[("slow-creds", &["web"])]),
        ..rules()
    };
    let lacking = Snapshot {
        presence: none_there(),
        ..rules()
    };
    let (after, _) = mutate_review(&review(&plain), &ready);
    let (gated, _) = waits(&lacking, &after);
    assert!(gated, "the Secret was deleted in between");
    let (after, _) = mutate_review(&review(&plain), &lacking);
    let (gated, told) = waits(&ready, &after);
    assert!(gated, "the controller takes it off");
    assert_eq!(told, "", "and this call does not hold it");
}
