//! `pullpass doctor` on a real API server: an installation that is well, and each way in which one is not.

mod waits;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pullpass::server::certificate::self_signed;
use serde_json::{Value, json};

use crate::cluster::install::Installation;
use crate::cluster::put;
use crate::command::{Ran, run};
use crate::plane::Plane;
use crate::pull_secrets::pull_secret;

const MUTATING: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/00-pullpass";
const CONTROLLER: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/pullpass-controller";

fn doctor(plane: &Plane, own: &str, flags: &[&str]) -> Ran {
    let kubeconfig = plane.admin().kubeconfig.to_str().unwrap();
    let always = ["doctor", "--namespace", own, "--kubeconfig", kubeconfig];
    run(&[&always[..], flags].concat())
}

/// It ends with this status and says all of this, each in a line that begins with the state.
fn says(ran: &Ran, status: i32, lines: &[(&str, &str)], why: &str) {
    assert_eq!(ran.status, status, "{why}: {ran:?}");
    for (state, part) in lines {
        let mut all = ran.stdout.lines();
        let found = all.any(|line| line.starts_with(state) && line.contains(part));
        assert!(found, "{why}: no `{state}` … `{part}` in {ran:#?}");
    }
}

fn secret(own: &str, certificate: &[u8], key: &[u8]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "pullpass-webhook-tls", "namespace": own},
        "data": {"tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key)},
    })
}

#[test]
fn without_a_cluster_there_is_nothing_to_examine() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    let nobody = "{current-context: a, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], \
                  users: [], contexts: [{name: a, context: {cluster: c}}]}";
    for (text, want, why) in [
        (nobody, "the cluster cannot be asked", "nobody answers"),
        ("a: [", "cannot use the kubeconfig", "no YAML"),
    ] {
        std::fs::write(&path, text).unwrap();
        let ran = run(&["doctor", "--kubeconfig", path.to_str().unwrap()]);
        assert_eq!((ran.status, &*ran.stdout), (2, ""), "{why}: {ran:?}");
        assert!(ran.stderr.contains(want), "{why}: {ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{why}: {ran:?}");
    }
}

#[test]
fn an_installation_is_well_or_what_is_not_is_named() {
    let plane = Plane::own();
    let before = doctor(&plane, "pullpass-system", &["--pre"]);
    let fine = [("ok", "api-server"), ("ok", "rights"), ("ok", "conflict")];
    says(&before, 0, &fine, "room for an installation");
    let nobody = doctor(&plane, "pullpass-system", &["--pre", "--as", "nobody"]);
    says(
        &nobody,
        1,
        &[("error", "you: may not create")],
        "no right to install",
    );

    let installation = Installation::alone(&plane);
    let own = &*installation.own;
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/policy.yaml"));
    put(&plane, own, "company", text);
    let absent = [
        ("ok", "policies, "),
        ("error", "no Pod gets a secret"),
        ("error", "certificate"),
        ("error", "comes out without"),
    ];
    says(
        &doctor(&plane, own, &[]),
        1,
        &absent,
        "no configuration, no certificate",
    );
    // Before the API server knows who refuses it.
    put(&plane, own, "broken", "a: [");

    let webhook = installation.serve(&[]);
    let file = |name: &str| std::fs::read(webhook.server.place.path(name)).unwrap();
    let secrets = format!("/api/v1/namespaces/{own}/secrets");
    let good = secret(own, &file("tls.crt"), &file("tls.key"));
    plane.admin().post(&secrets, &good).done();
    let rejected = [("error", "broken`: is rejected"), ("ok", "certificate")];
    says(
        &doctor(&plane, own, &[]),
        1,
        &rejected,
        "a policy with an error",
    );
    installation.remove("broken");
    sources_are_judged(&plane, own, &secrets);

    let well = doctor(&plane, own, &["--wait", "30s"]);
    let lines = [
        ("ok", "namespace"),
        ("ok", "account of `pullpass-webhook`"),
        ("ok", "account of `pullpass-controller`"),
        ("ok", "policies, "),
        ("skipped", "deployment"),
        ("ok", "source of `dockerhub-creds`: is a pull secret"),
        ("ok", "MutatingWebhookConfiguration `00-pullpass`"),
        ("ok", "certificate"),
        ("ok", "trial-pod"),
    ];
    says(&well, 0, &lines, "as it should be");
    let json = doctor(&plane, own, &["-o", "json"]);
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(report["namespace"], own);
    assert!(report["checks"].as_array().unwrap().len() >= 10, "{report}");
    let again = doctor(&plane, own, &["--pre"]);
    says(&again, 0, &[("warning", "installed already")], "again");
    let blind = doctor(&plane, own, &["--as", "nobody"]);
    let lines = [
        ("skipped", "rights"),
        ("skipped", "certificate"),
        ("skipped", "configuration"),
    ];
    says(&blind, 0, &lines, "who may look at nothing");
    assert!(
        blind.stdout.contains("the right to list clusterroles"),
        "{blind:?}"
    );

    rights_are_compared(&plane, own);
    certificates_are_judged(&plane, own, &secrets, &good);
}

/// Absent, then no pull secret, then good.
fn sources_are_judged(plane: &Plane, own: &str, secrets: &str) {
    let absent = [
        ("error", "source of `dockerhub-creds`: is not there"),
        ("error", "source of `acme-hub-creds`: is not there"),
    ];
    says(&doctor(plane, own, &[]), 1, &absent, "no source is there");
    for name in ["dockerhub", "acme-hub"] {
        let source = pull_secret(name, &[("docker.io", "robot:one")]);
        plane.admin().post(secrets, &source).done();
    }
    let at = format!("{secrets}/dockerhub");
    let broken = json!({"data": {".dockerconfigjson": STANDARD.encode("{\"auths\":1}")}});
    plane.admin().merge(&at, &broken).done();
    let lines = [
        ("error", "the Secret `dockerhub` cannot be read"),
        ("ok", "source of `acme-hub-creds`: is a pull secret"),
    ];
    says(&doctor(plane, own, &[]), 1, &lines, "no pull secret");
    plane.admin().delete(&at, None).done();
    let source = pull_secret("dockerhub", &[("docker.io", "robot:one")]);
    plane.admin().post(secrets, &source).done();
}

fn rights_are_compared(plane: &Plane, own: &str) {
    let role = plane.admin().get(CONTROLLER).done();
    let less = json!([{"op": "remove", "path": "/rules/0"}]);
    plane.admin().json_patch(CONTROLLER, &less).done();
    let missing = [("error", "may not get, list, watch namespaces")];
    says(
        &doctor(plane, own, &[]),
        1,
        &missing,
        "a right that is missing",
    );
    let mut more = role["rules"].clone();
    let nodes = json!({"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]});
    more.as_array_mut().unwrap().push(nodes);
    plane
        .admin()
        .merge(CONTROLLER, &json!({"rules": more}))
        .done();
    let more = doctor(plane, own, &[]);
    says(
        &more,
        0,
        &[("warning", "more than the policies need: get nodes")],
        "a right more",
    );
    let failed = doctor(plane, own, &["--fail-on", "warning"]);
    assert_eq!(failed.status, 1, "{failed:?}");
    plane
        .admin()
        .merge(CONTROLLER, &json!({"rules": role["rules"]}))
        .done();
}

/// With an expired one, then with another CA's caBundle.
fn certificates_are_judged(plane: &Plane, own: &str, secrets: &str, good: &Value) {
    let now = SystemTime::now();
    let names = ["127.0.0.1".to_owned(), "::1".to_owned()];
    let old = self_signed(&names, now - Duration::from_hours(24 * 365 * 30)).unwrap();
    let at = format!("{secrets}/pullpass-webhook-tls");
    let expired = secret(own, old.certificate.as_bytes(), old.key.as_bytes());
    plane.admin().merge(&at, &expired).done();
    let lines = [("error", "the certificate expired at")];
    says(
        &doctor(plane, own, &[]),
        1,
        &lines,
        "an expired certificate",
    );
    plane.admin().merge(&at, good).done();

    let other = self_signed(&names, now).unwrap();
    let bundle = json!([{
        "op": "replace", "path": "/webhooks/0/clientConfig/caBundle",
        "value": STANDARD.encode(other.ca),
    }]);
    plane.admin().json_patch(MUTATING, &bundle).done();
    crate::plane::wait_until("the API server trusts the other CA alone", || {
        doctor(plane, own, &[])
            .stdout
            .contains("the webhook cannot be called")
    });
    let lines = [
        ("error", "no CA of the configuration's `caBundle` signed"),
        ("error", "trial-pod"),
    ];
    says(&doctor(plane, own, &[]), 1, &lines, "another CA's caBundle");
}
