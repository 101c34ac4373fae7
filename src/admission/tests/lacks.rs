//! What a decision says that a watched cluster's snapshot could not tell it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{HUB, Lack, ask, cluster, named_policy, pod, policy, review};
use crate::snapshot::{Account, Accounts, Coverage, NamespaceMode, Namespaces, Snapshot};

const SWITCH: &str = "- {name: s, match: {images: [docker.io]}, inject: {serviceAccountName: x}}";

/// A watched cluster that has these namespaces, and these accounts in `web`.
fn watched(policies: &str, namespaces: &str, accounts: &str) -> Snapshot {
    let mut snapshot = cluster(policies, "");
    let mut all = Namespaces::new(Coverage::Whole);
    for name in namespaces.split_whitespace() {
        all.insert(name, Vec::new());
    }
    snapshot.namespaces = Arc::new(all);
    let mut all = Accounts::new(Coverage::Whole);
    for name in accounts.split_whitespace() {
        all.insert("web", name, Account::default());
    }
    snapshot.accounts = Arc::new(all);
    snapshot
}

fn lacks(review: &Value, snapshot: &Snapshot) -> String {
    let named = |lack: &Lack| match lack {
        Lack::Namespace(name) => name.to_string(),
        Lack::Account { namespace, name } => format!("{namespace}/{name}"),
    };
    let lacks = ask(review, snapshot).lacks;
    assert!(lacks.iter().all(|lack| lack.is_in(snapshot)));
    lacks.iter().map(named).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_decision_lacks_what_it_looked_up_in_vain() {
    let audited = policy(HUB) + &named_policy("q", "Audit", SWITCH);
    let always = SWITCH.replace("x}", "x, replaceServiceAccount: Always}");
    let (hub, switch, always) = (policy(HUB), policy(SWITCH), policy(&always));
    let nginx = || pod("nginx");
    let under_y = || {
        let mut pod = nginx();
        pod["spec"]["serviceAccountName"] = json!("y");
        pod
    };
    for (policies, namespaces, accounts, pod, want, why) in [
        (&hub, "web", "default", nginx(), "", "all is known"),
        (
            &hub,
            "",
            "default",
            nginx(),
            "web",
            "the namespace's labels may say anything",
        ),
        (
            &hub,
            "web",
            "",
            nginx(),
            "web/default",
            "the Pod's account may keep secrets from it",
        ),
        (
            &hub,
            "web",
            "",
            pod("quay.io/a/b"),
            "",
            "no rule is about the Pod: its account does not matter",
        ),
        (
            &switch,
            "web",
            "default",
            nginx(),
            "web/x",
            "the account to switch to",
        ),
        (&switch, "web", "default x", nginx(), "", "it is there"),
        (
            &switch,
            "",
            "",
            nginx(),
            "web web/default web/x",
            "everything at once",
        ),
        (
            &switch,
            "web",
            "y",
            under_y(),
            "",
            "no switch is due, so the other account is not looked up",
        ),
        (
            &always,
            "web",
            "y",
            under_y(),
            "web/x",
            "and here one is due",
        ),
        (
            &audited,
            "web",
            "default",
            nginx(),
            "",
            "an audited policy makes nobody wait",
        ),
    ] {
        let snapshot = watched(policies, namespaces, accounts);
        assert_eq!(lacks(&review(&pod), &snapshot), want, "{why}");
        let files = cluster(policies, "");
        assert_eq!(lacks(&review(&pod), &files), "", "files are all there is");
    }
}

#[test]
fn a_pod_that_is_left_alone_anyway_lacks_nothing() {
    use NamespaceMode::{OptIn, OptOut};
    let opted_out = || {
        let mut pod = pod("nginx");
        pod["metadata"]["labels"] = json!({"pullpass.dev/inject": "disabled"});
        pod
    };
    let mirror = || {
        let mut pod = pod("nginx");
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        pod
    };
    for (mode, namespace, pod, want, why) in [
        (OptOut, "kube-system", pod("nginx"), "", "never injected"),
        (OptOut, "pullpass-system", pod("nginx"), "", "never"),
        (OptOut, "legacy", pod("nginx"), "", "excluded by a flag"),
        (OptOut, "web", mirror(), "", "a mirror Pod"),
        (OptOut, "web", opted_out(), "", "the Pod says no itself"),
        (OptIn, "web", opted_out(), "", "in either mode"),
        (
            OptIn,
            "web",
            pod("nginx"),
            "web",
            "left alone only because its namespace's labels are not known",
        ),
    ] {
        let mut snapshot = watched(&policy(HUB), "", "default");
        snapshot.scope.mode = mode;
        snapshot.scope.excluded = vec!["legacy".to_owned()];
        let mut review = review(&pod);
        review["request"]["namespace"] = json!(namespace);
        assert_eq!(
            lacks(&review, &snapshot),
            want,
            "{mode:?} {namespace}: {why}"
        );
    }
}

#[test]
fn a_new_container_of_a_running_pod_lacks_its_namespace_alone() {
    let mut review = review(&pod("nginx"));
    review["request"]["operation"] = json!("UPDATE");
    assert_eq!(lacks(&review, &watched(&policy(HUB), "", "")), "web");
    assert_eq!(lacks(&review, &watched(&policy(HUB), "web", "")), "");
}
