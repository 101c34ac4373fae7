//! Which Pods are left alone: by the rendered selectors, so that nobody is asked, and by the server when it is asked.

use serde_json::{Value, json};

use super::install::{Installation, Webhook};
use super::{HUB, pod, policy, secrets};
use crate::plane::{Plane, wait_until};

const DISABLED: &str = "disabled";
const ENABLED: &str = "enabled";

/// Namespaces by their label, and Pods by theirs.
const PLACES: [(&str, &str); 6] = [
    ("", ""),
    ("", DISABLED),
    (ENABLED, ""),
    (ENABLED, DISABLED),
    (DISABLED, ""),
    (DISABLED, DISABLED),
];

fn labels(value: &str) -> Value {
    if value.is_empty() {
        json!({})
    } else {
        json!({"pullpass.dev/inject": value})
    }
}

/// Creates a Pod; whether it got its secret.
fn injected(plane: &Plane, namespace: &str, label: &str) -> bool {
    let mut subject = pod("p", &json!({}));
    subject["metadata"]["labels"] = labels(label);
    let at = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    let made = plane.admin().post(&at, &subject).done();
    secrets(&made) == ["hub-creds"]
}

#[test]
fn each_mode_leaves_alone_what_it_says_twice_over() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    installation.put("company", &policy("company", HUB));
    let places = PLACES.map(|(namespace, pod)| {
        let name = installation.namespace_labelled("scope", &labels(namespace));
        (name, namespace, pod)
    });
    let excluded = installation.namespace("scope-excluded");
    for namespace in ["kube-system", &installation.own] {
        installation.adopt(namespace);
    }
    for (flags, in_scope) in [
        (&[][..], &[("", ""), (ENABLED, "")][..]),
        (&["--namespace-mode", "opt-in"], &[(ENABLED, "")]),
        (
            &["--ignore-opt-out"],
            &[("", ""), ("", DISABLED), (ENABLED, ""), (ENABLED, DISABLED)],
        ),
        (
            &["--namespace-mode", "opt-in", "--ignore-opt-out"],
            &[(ENABLED, ""), (ENABLED, DISABLED)],
        ),
    ] {
        let flags = [flags, &["--exclude-namespace", &excluded]].concat();
        let check = |webhook: &Webhook<'_>, asks: bool| {
            let always = [&*excluded, "kube-system", &installation.own];
            let always = always.map(|name| (name, "", "", false));
            let places = places.iter().map(|(name, namespace, pod)| {
                (
                    &**name,
                    *namespace,
                    *pod,
                    in_scope.contains(&(*namespace, *pod)),
                )
            });
            for (name, namespace, pod, want) in places.chain(always) {
                let why = format!("{flags:?}: Pod `{pod}` in {name} `{namespace}`");
                let before = webhook.calls();
                assert_eq!(injected(plane, name, pod), want, "{why}");
                let asked = webhook.calls() > before;
                assert_eq!(asked, want || asks, "{why}: who decides");
            }
        };
        check(&installation.serve(&flags), false);
        // A configuration that selects everything: the server decides alone.
        let everything = |entry: &mut Value| {
            entry["namespaceSelector"] = json!({});
            entry["objectSelector"] = json!({});
        };
        check(&installation.serve_as(&flags, everything), true);
    }
}

#[test]
fn a_namespace_that_is_relabelled_is_judged_by_its_new_labels() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    let rules = "    - {name: build, match: {images: [docker.io], namespaceSelector: {matchLabels: {team: build}}}, inject: {imagePullSecrets: [hub-creds]}}\n";
    installation.put("company", &policy("company", rules));
    let _webhook = installation.serve(&[]);
    let namespace = installation.namespace("relabelled");
    assert!(!injected(plane, &namespace, ""), "of no team");
    for (labels, want, why) in [
        (json!({"team": "build"}), true, "now of the team"),
        (json!({"pullpass.dev/inject": DISABLED}), false, "opted out"),
        (json!({"pullpass.dev/inject": null}), true, "and in again"),
        (json!({"team": "web"}), false, "of another team"),
    ] {
        let patch = json!({"metadata": {"labels": labels}});
        let at = format!("/api/v1/namespaces/{namespace}");
        plane.admin().merge(&at, &patch).done();
        wait_until(why, || injected(plane, &namespace, "") == want);
    }
}

#[test]
fn a_mirror_pod_is_left_alone() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    installation.put("company", &policy("company", HUB));
    let webhook = installation.serve(&[]);
    let namespace = installation.namespace("mirror");
    let mut mirror = pod("mirror", &json!({"nodeName": "n"}));
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let before = webhook.calls();
    let at = format!("/api/v1/namespaces/{namespace}/pods");
    let made = plane.admin().post(&at, &mirror).done();
    assert_eq!(secrets(&made), [""; 0]);
    assert_eq!(webhook.calls(), before, "nobody is asked");
}
