//! Webhooks of others beside ours, and containers that come when the Pod runs.

use serde_json::{Value, json};

use super::install::Installation;
use super::{HUB, pod, policy, secrets};
use crate::plane::hook::{Hook, patching};
use crate::plane::{Plane, wait_for};

const QUAY: &str =
    "    - {name: quay, match: {images: [quay.io]}, inject: {imagePullSecrets: [quay-creds]}}\n";

/// Adds a sidecar to a Pod that has none.
fn sidecar(request: &Value) -> Value {
    let containers = request["object"]["spec"]["containers"].as_array().unwrap();
    if containers.iter().any(|c| c["name"] == "sidecar") {
        return json!({"allowed": true});
    }
    patching(
        &json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "sidecar", "image": "quay.io/mesh/proxy"}}]),
    )
}

#[test]
fn a_sidecar_of_another_webhook_gets_its_secret_whoever_is_called_first() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    installation.put("company", &policy("company", &[HUB, QUAY].concat()));
    let webhook = installation.serve(&[]);
    let at = |namespace: &str| format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    // API servers call in the order of names; ours is `00-pullpass`.
    for (name, calls, why) in [
        ("0-mesh", 1, "it comes before us: once is enough"),
        ("mesh", 2, "it comes after us: we are called again"),
    ] {
        let namespace = installation.namespace("sidecars");
        let _mesh = Hook::start(plane, name, &namespace, sidecar);
        let before = webhook.calls();
        let made = plane
            .admin()
            .post(&at(&namespace), &pod("p", &json!({})))
            .done();
        assert_eq!(made["spec"]["containers"][1]["name"], "sidecar");
        assert_eq!(secrets(&made), ["hub-creds", "quay-creds"], "{why}");
        assert_eq!(
            made["metadata"]["annotations"]["pullpass.dev/rules"], "company/hub,company/quay",
            "{why}"
        );
        let called = webhook.calls() - before;
        assert!(called >= calls, "{why}: {called}");
    }
    let namespace = installation.namespace("no-sidecars");
    let before = webhook.calls();
    let made = plane
        .admin()
        .post(&at(&namespace), &pod("p", &json!({})))
        .done();
    assert_eq!(secrets(&made), ["hub-creds"]);
    assert_eq!(
        webhook.calls() - before,
        1,
        "our own patch calls nobody again"
    );
}

#[test]
fn a_debug_container_warns_of_a_secret_that_comes_too_late() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    let agents = "    - {name: agents, match: {everyPod: true, podSelector: {matchLabels: {agents: 'yes'}}}, inject: {imagePullSecrets: [quay-creds]}}\n";
    installation.put("company", &policy("company", &[HUB, QUAY, agents].concat()));
    let _webhook = installation.serve(&[]);
    let namespace = installation.namespace("debug");
    let admin = plane.admin();
    for (name, labels) in [("plain", json!({})), ("agents", json!({"agents": "yes"}))] {
        let mut subject = pod(name, &json!({}));
        subject["metadata"]["labels"] = labels;
        let at = format!("/api/v1/namespaces/{namespace}/pods");
        admin.post(&at, &subject).done();
    }
    let mut count = 0;
    let mut debug = |pod: &str, image: &str| {
        count += 1;
        let name = format!("d{count}");
        let args = [
            "-n",
            &namespace,
            "debug",
            pod,
            "--image",
            image,
            "--container",
            &name,
            "--attach=false",
        ];
        let ran = admin.kubectl(&args);
        assert_eq!(ran.status, 0, "never refused: {ran:?}");
        ran.stderr
    };
    let late = "needs pull secret `quay-creds` of rule `company/quay`, which the Pod lacks and which cannot be added to a running Pod";
    let said = wait_for("the webhook for debug containers is called", || {
        let said = debug("plain", "quay.io/tools/debug");
        said.contains("Warning: ").then_some(said)
    });
    assert!(said.contains(late), "{said}");
    for (pod, image, why) in [
        (
            "plain",
            "nginx",
            "the Pod has it, and the earlier ones are told of",
        ),
        (
            "agents",
            "quay.io/tools/debug",
            "a rule for every Pod has seen to it",
        ),
        ("plain", "ghcr.io/a/b", "no rule"),
    ] {
        let said = debug(pod, image);
        assert!(!said.contains("Warning: "), "{why}: {said}");
    }
    let copy = [
        "-n",
        &namespace,
        "debug",
        "plain",
        "--copy-to",
        "copy",
        "--image",
        "quay.io/tools/debug",
        "--attach=false",
    ];
    let ran = admin.kubectl(&copy);
    assert_eq!(ran.status, 0, "{ran:?}");
    let at = format!("/api/v1/namespaces/{namespace}/pods/copy");
    assert_eq!(
        secrets(&admin.get(&at).done()),
        ["hub-creds", "quay-creds"],
        "a copy is a new Pod"
    );
}
