//! A controller at work under the guard: everything that it does for credentials passes, and the audit log has no refusal.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::guard::{HUB, in_force, pull_secret};
use super::{CHART, MUTATING, OWN, Release};
use crate::plane::wait_until;
use crate::pull_secrets::{self, logins, secret_path};

/// Sets the Secret that the credential is copied from.
fn source(release: &Release, login: &str) {
    let secret = pull_secrets::pull_secret("dockerhub", &[("docker.io", login)]);
    let at = format!(
        "{}?fieldManager=test&force=true",
        secret_path(OWN, "dockerhub")
    );
    release.admin().apply(&at, &secret).done();
}

fn copy(release: &Release, namespace: &str) -> Option<Value> {
    let answer = release.admin().get(&secret_path(namespace, "hub"));
    (answer.status == 200).then_some(answer.body)
}

/// All logins of a copy are these: Docker Hub has several names.
fn has_login(secret: &Value, login: &str) -> bool {
    let logins = logins(secret).unwrap_or_default();
    let end = format!(" {login}");
    !logins.is_empty() && logins.iter().all(|line| line.ends_with(&end))
}

fn until_login(release: &Release, namespace: &str, login: &str) {
    wait_until(&format!("{namespace} has {login}"), || {
        copy(release, namespace).is_some_and(|secret| has_login(&secret, login))
    });
}

/// What the controller wrote, as `verb resource`, and each request that was refused, as the audit log has them.
fn audited(release: &Release) -> (BTreeSet<String>, Vec<String>) {
    let user = json!(format!("system:serviceaccount:{OWN}:pullpass-controller"));
    let events = release
        .plane
        .audited(|event| event["user"]["username"] == user && event["stage"] == "ResponseComplete");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (mut wrote, mut refused) = (BTreeSet::new(), Vec::new());
    for event in &events {
        let (verb, object) = (text(&event["verb"]), &event["objectRef"]);
        let resource = text(&object["resource"]);
        let code = event["responseStatus"]["code"].as_u64().unwrap_or_default();
        if [403, 422].contains(&code) {
            let said = text(&event["responseStatus"]["message"]);
            refused.push(format!("{verb} {resource} {}: {said}", object["name"]));
        } else if code < 300 && ["create", "patch", "update", "delete"].contains(&verb.as_str()) {
            wrote.insert(format!("{verb} {resource}"));
        }
    }
    (wrote, refused)
}

#[test]
fn a_controller_at_work_is_refused_nothing() {
    let release = Release::new();
    let admin = release.admin();
    let shop = release.plane.namespace("shop");
    let bakery = release.plane.namespace("bakery");
    let values = release.values("");
    release.install(&values);
    // No webhook runs here: Pods are made without it, and held by hand.
    admin.delete(MUTATING, None).done();
    in_force(&release, &shop);
    let (_, tried) = audited(&release);
    let at = format!("/api/v1/namespaces/{bakery}/secrets");
    let foreign = admin.post(&at, &pull_secret(false, HUB)).done();
    let pods = format!("/api/v1/namespaces/{shop}/pods");
    let pod = json!({
        "metadata": {"name": "held"},
        "spec": {
            "containers": [{"name": "c", "image": "nginx"}],
            "imagePullSecrets": [{"name": "hub"}],
            "schedulingGates": [{"name": "pullpass.dev/pull-secret"}],
        },
    });
    admin.post(&pods, &pod).done();

    let mut controller = release.process("controller");
    controller.until_ready();
    source(&release, "robot:one");
    until_login(&release, &shop, "robot:one");
    wait_until("the Pod goes", || {
        let pod = admin.get(&format!("{pods}/held")).done();
        pod["spec"].get("schedulingGates").is_none()
    });
    source(&release, "robot:two");
    until_login(&release, &shop, "robot:two");

    // By hand: edited, its annotations gone, deleted.
    let at = secret_path(&shop, "hub");
    for patch in [
        json!({"data": {".dockerconfigjson": "e30="}}),
        json!({"metadata": {"annotations": null}}),
    ] {
        admin.merge(&at, &patch).done();
        wait_until("it is mended", || {
            copy(&release, &shop).is_some_and(|secret| {
                let says = &secret["metadata"]["annotations"]["pullpass.dev/policy"];
                *says == "company" && has_login(&secret, "robot:two")
            })
        });
    }
    admin.delete(&at, None).done();
    until_login(&release, &shop, "robot:two");

    // The row goes: the right stays for as long as it takes.
    let (before, row) = values.split_once("    credentials:").unwrap();
    assert!(row.contains("name: hub"), "{row}");
    let retired = "controller: {retiredCredentialNames: [hub]}";
    let upgrade = ["upgrade", "pullpass", CHART, "--values", "-"];
    release.helm(&upgrade, &format!("{before}\n{retired}\n"));
    wait_until("the copy is gone", || copy(&release, &shop).is_none());
    let now = admin.get(&secret_path(&bakery, "hub")).done();
    assert_eq!(now["metadata"], foreign["metadata"], "it was touched");

    let (wrote, refused) = audited(&release);
    let refused: Vec<_> = refused.iter().skip(tried.len()).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    for want in [
        "patch secrets",
        "delete secrets",
        "patch pods",
        "patch configmaps",
        "create events",
    ] {
        assert!(wrote.contains(want), "no {want}: {wrote:?}");
    }
    let log = std::fs::read_to_string(&controller.log).unwrap();
    assert!(
        !log.contains("robot") && !log.contains("cm9ib3Q"),
        "a value in the log: {log}"
    );
}
