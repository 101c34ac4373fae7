//! `pullpass cleanup` on a real API server: what it lists, what it removes, and what it leaves alone.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cluster::install::Installation;
use crate::command::{Ran, command, run, run_with};
use crate::controller::Controller;
use crate::plane::{Plane, USER_AGENT, wait_until};

const GATE: &str = "pullpass.dev/pull-secret";
const PASSWORD: &str = "hunter2";

fn cleanup(plane: &Plane, flags: &[&str]) -> Command {
    let kubeconfig = plane.admin().kubeconfig.to_str().unwrap();
    command(&[&["cleanup", "--kubeconfig", kubeconfig][..], flags].concat())
}

fn cleaned(plane: &Plane, flags: &[&str]) -> Ran {
    let ran = run_with(cleanup(plane, flags), b"");
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!told.contains(PASSWORD), "{told}");
    ran
}

/// It ends with this status, and its rows begin with these words, in this order.
#[track_caller]
fn lists(ran: &Ran, status: i32, rows: &[&str], why: &str) {
    assert_eq!(ran.status, status, "{why}: {ran:#?}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let got: Vec<String> = ran.stdout.lines().map(words).collect();
    assert_eq!(got.len(), rows.len(), "{why}: {ran:#?}");
    for (got, want) in got.iter().zip(rows) {
        assert!(got.starts_with(want), "{why}: {got} is not {want}");
    }
}

fn secret(plane: &Plane, namespace: &str, name: &str, kind: &str, ours: bool) {
    let (key, text) = match kind {
        "kubernetes.io/dockerconfigjson" => (
            ".dockerconfigjson",
            format!(r#"{{"auths":{{"{PASSWORD}":{{}}}}}}"#),
        ),
        _ => ("key", PASSWORD.to_owned()),
    };
    let manager = if ours { "pullpass" } else { "Helm" };
    let object = json!({
        "type": kind, "data": {key: STANDARD.encode(text)},
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": manager}},
    });
    let at = format!("/api/v1/namespaces/{namespace}/secrets");
    plane.admin().post(&at, &object).done();
}

fn held(plane: &Plane, namespace: &str, name: &str, gates: &[&str]) {
    let gates: Vec<Value> = gates.iter().map(|gate| json!({"name": gate})).collect();
    let object = json!({
        "metadata": {"name": name},
        "spec": {
            "schedulingGates": gates,
            "imagePullSecrets": [{"name": "hub"}],
            "containers": [{"name": "c", "image": "nginx"}],
        },
    });
    let at = format!("/api/v1/namespaces/{namespace}/pods");
    plane.admin().post(&at, &object).done();
}

/// A controller that leads, under its account's own rights.
fn controller(installation: &Installation<'_>) -> Controller {
    let own = &installation.own;
    let account = installation.plane.account(own, "pullpass-controller");
    let kubeconfig = account.kubeconfig.to_str().unwrap();
    let controller = Controller::start(&[
        "--namespace",
        own,
        "--kubeconfig",
        kubeconfig,
        "--webhook-configuration",
        "00-pullpass",
        "--dns-name",
        "pullpass-webhook.svc",
    ]);
    wait_until("it leads", || controller.leads());
    controller
}

#[test]
fn without_a_cluster_nothing_can_be_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    let nobody = "{current-context: a, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], \
                  users: [], contexts: [{name: a, context: {cluster: c}}]}";
    std::fs::write(&path, nobody).unwrap();
    let ran = run(&["cleanup", "--kubeconfig", path.to_str().unwrap()]);
    assert_eq!((ran.status, &*ran.stdout), (2, ""), "{ran:?}");
    assert!(
        ran.stderr.contains("the cluster cannot be asked"),
        "{ran:?}"
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
}

#[test]
fn what_is_left_is_listed_and_removed_and_nothing_else() {
    let plane = Plane::own();
    let nothing = cleaned(&plane, &[]);
    lists(&nothing, 0, &[], "a cluster that never had pullpass");
    let installation = Installation::alone(&plane);
    let own = &*installation.own;
    let (shop, bakery) = (plane.namespace("shop"), plane.namespace("bakery"));
    let pull = "kubernetes.io/dockerconfigjson";
    for (namespace, name, kind, ours) in [
        (&*shop, "hub", pull, true),
        (&bakery, "hub", pull, true),
        (&shop, "theirs", pull, false),
        (&shop, "other-type", "Opaque", true),
    ] {
        secret(&plane, namespace, name, kind, ours);
    }
    held(&plane, &shop, "waits-for-others", &["example.com/other"]);

    let running = controller(&installation);
    let certificates = format!("/api/v1/namespaces/{own}/secrets/pullpass-webhook-tls");
    wait_until("it has made certificates", || {
        plane.admin().get(&certificates).status == 200
    });
    is_refused_while_it_is_in_use(&plane);
    assert_eq!(running.stop().0, 0);
    // A running controller lets go whom no Secret will help.
    held(&plane, &shop, "waits", &["example.com/other", GATE]);

    let rows = [
        format!("left Pod {shop}/waits the scheduling gate"),
        format!("left Secret {bakery}/hub no Pod names it"),
        format!("left Secret {shop}/hub 2 Pods name it"),
        format!("left Secret {own}/pullpass-ca"),
        format!("left Secret {own}/pullpass-webhook-tls"),
        format!("left Lease {own}/pullpass-controller"),
    ];
    let rows: Vec<&str> = rows.iter().map(|row| &**row).collect();
    let list = cleaned(&plane, &[]);
    lists(&list, 1, &rows, "stopped, so that nobody holds the Lease");
    let sentence =
        "1 Lease, 1 Pod, 4 Secrets left; `--yes` takes the gates off Pods and removes the rest";
    assert!(list.stderr.contains(sentence), "{list:#?}");
    assert!(
        list.stderr.contains("Pods name these Secrets in 2 places"),
        "{list:#?}"
    );
    let one = cleaned(&plane, &["-n", &bakery, "--fail-on", "never"]);
    lists(&one, 0, &rows[1..2], "one namespace");
    let all = cleaned(&plane, &["-n", &bakery, "-A"]);
    lists(&all, 1, &rows, "all, whatever else is said");
    let json = cleaned(&plane, &["-n", &shop, "-o", "json"]);
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    let want = json!({
        "controller": {"state": "gone", "namespace": null, "identity": null},
        "items": [
            {"kind": "Pod", "namespace": shop, "name": "waits", "state": "left", "namedBy": 0, "message": null},
            {"kind": "Secret", "namespace": shop, "name": "hub", "state": "left", "namedBy": 2, "message": null},
        ],
    });
    assert_eq!(report, want);
    cannot_be_told(&plane, &shop);
    is_removed(&plane, &installation, &shop, &bakery);
}

fn is_refused_while_it_is_in_use(plane: &Plane) {
    let list = cleaned(plane, &["-o", "json"]);
    assert_eq!(list.status, 1, "{list:#?}");
    let report: Value = serde_json::from_str(&list.stdout).unwrap();
    assert_eq!(report["controller"]["state"], "running", "{report}");
    assert!(
        list.stderr.contains("this is in use, not left"),
        "{list:#?}"
    );
    let refused = cleaned(plane, &["--yes"]);
    assert_eq!((refused.status, &*refused.stdout), (2, ""), "{refused:#?}");
    let sentence =
        "is running and would make all of this again; uninstall pullpass first, or give `--force`";
    assert!(refused.stderr.contains(sentence), "{refused:#?}");
}

fn cannot_be_told(plane: &Plane, shop: &str) {
    for (flags, want, why) in [
        (
            &["-n", "no-such"][..],
            "there is no namespace `no-such`",
            "a slip of the pen",
        ),
        (&["--as", "nobody"], "Secrets cannot be listed", "no right"),
    ] {
        let ran = cleaned(plane, flags);
        assert_eq!((ran.status, &*ran.stdout), (2, ""), "{why}: {ran:#?}");
        assert!(ran.stderr.contains(want), "{why}: {ran:#?}");
    }
    // Somebody with rights in one namespace sees no Lease.
    let binding = json!({
        "metadata": {"name": "somebody"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "somebody"}],
    });
    let at = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{shop}/rolebindings");
    plane.admin().post(&at, &binding).done();
    let flags = ["-n", shop, "--as", "somebody"];
    wait_until("somebody may look", || cleaned(plane, &flags).status == 1);
    let ran = cleaned(plane, &[&flags[..], &["--yes"]].concat());
    assert_eq!((ran.status, &*ran.stdout), (2, ""), "{ran:#?}");
    assert!(
        ran.stderr
            .contains("it cannot be told whether a controller is running"),
        "{ran:#?}"
    );
}

fn is_removed(plane: &Plane, installation: &Installation<'_>, shop: &str, bakery: &str) {
    // Killed, it leaves its Lease held. More Secrets than a page has.
    let many = plane.namespace("many");
    for i in 0..502 {
        secret(
            plane,
            &many,
            &format!("s{i}"),
            "kubernetes.io/dockerconfigjson",
            true,
        );
    }
    let waits = format!("/api/v1/namespaces/{shop}/pods/waits");
    plane.admin().delete(&waits, None).done();
    controller(installation).kill();
    held(plane, shop, "waits-too", &["example.com/other", GATE]);
    let listed = || {
        let by_us = |event: &Value| {
            event["verb"] == "list"
                && event["objectRef"]["resource"] == "pods"
                && event["requestURI"].as_str().unwrap().contains("limit=500")
                && event["userAgent"] != USER_AGENT
                && event["stage"] == "ResponseComplete"
        };
        plane.audited(by_us).len()
    };
    let before = listed();
    let command = cleanup(plane, &["--yes"]);
    let running = std::thread::spawn(|| run_with(command, b""));
    // It has its list, and waits whether the Lease is renewed.
    wait_until("it has listed everything", || listed() > before);
    let hub = |namespace: &str| format!("/api/v1/namespaces/{namespace}/secrets/hub");
    let change = json!({"metadata": {"annotations": {"changed": "in between"}}});
    plane.admin().merge(&hub(bakery), &change).done();
    let ran = running.join().unwrap();

    assert_eq!(ran.status, 1, "{ran:#?}");
    assert!(
        ran.stderr.contains("still renews its Lease: 15 s at most"),
        "{ran:#?}"
    );
    let of = |state: &str| {
        let lines = ran.stdout.lines().filter(|line| line.starts_with(state));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of("failed").len(), 1, "{ran:#?}");
    assert!(
        of("failed")[0].contains(&format!("{bakery}/hub")),
        "{ran:#?}"
    );
    assert!(
        ran.stdout
            .contains("it was changed in between, so it was left as it is"),
        "{ran:#?}"
    );
    assert_eq!(of("released").len(), 1, "{ran:#?}");
    assert_eq!(of("removed").len(), 502 + 4, "{ran:#?}");
    let sentence = "1 Pod released; 1 Lease, 505 Secrets removed; 1 Secret failed\n";
    assert!(ran.stderr.ends_with(sentence), "{ran:#?}");
    assert_eq!(plane.admin().get(&hub(shop)).status, 404);
    let there = |path: &str| plane.admin().get(path).done();
    for name in ["theirs", "other-type"] {
        there(&format!("/api/v1/namespaces/{shop}/secrets/{name}"));
    }
    let pods = |name: &str| there(&format!("/api/v1/namespaces/{shop}/pods/{name}"));
    for name in ["waits-too", "waits-for-others"] {
        let gates = &pods(name)["spec"]["schedulingGates"];
        assert_eq!(gates, &json!([{"name": "example.com/other"}]), "{name}");
    }
    let again = cleaned(plane, &["--yes"]);
    lists(
        &again,
        0,
        &[&format!("removed Secret {bakery}/hub")],
        "what was listed anew",
    );
    let nothing = cleaned(plane, &[]);
    lists(&nothing, 0, &[], "nothing is left");
    assert!(
        nothing
            .stderr
            .contains("nothing of pullpass is left in any namespace"),
        "{nothing:#?}"
    );
}
