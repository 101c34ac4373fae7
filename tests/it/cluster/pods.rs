//! Pods however they come: by hand, by controllers, as a dry run. Each carries its secret.

use serde_json::{Value, json};

use super::install::Installation;
use super::{HUB, pods, policy, secrets};
use crate::plane::{Plane, wait_until};

#[test]
fn pods_made_by_hand_carry_their_secret_and_can_be_applied_again() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    installation.put("company", &policy("company", HUB));
    let _webhook = installation.serve(&[]);
    let namespace = installation.namespace("by-hand");
    let kubectl = |args: &[&str], stdin: &str| {
        let ran = plane
            .admin()
            .kubectl_with(&[&["-n", &namespace], args].concat(), stdin);
        assert_eq!(ran.status, 0, "{args:?}: {ran:?}");
        ran
    };
    let manifest = |name: &str, label: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": label}},
            "spec": {"containers": [{"name": "c", "image": "nginx"}], "imagePullSecrets": [{"name": "own"}]},
        })
        .to_string()
    };
    kubectl(&["run", "run", "--image", "nginx"], "");
    kubectl(&["create", "-f", "-"], &manifest("created", "a"));
    kubectl(&["apply", "-f", "-"], &manifest("applied", "a"));
    kubectl(
        &["apply", "--server-side", "-f", "-"],
        &manifest("server-side", "a"),
    );
    for (again, why) in [("a", "the same again"), ("b", "with another label")] {
        kubectl(&["apply", "-f", "-"], &manifest("applied", again));
        kubectl(
            &["apply", "--server-side", "-f", "-"],
            &manifest("server-side", again),
        );
        for pod in pods(plane, &namespace) {
            let want = if pod["metadata"]["name"] == "run" {
                &["hub-creds"][..]
            } else {
                &["own", "hub-creds"]
            };
            assert_eq!(secrets(&pod), want, "{why}: {pod}");
            assert_eq!(
                pod["metadata"]["annotations"]["pullpass.dev/rules"], "company/hub",
                "{why}"
            );
        }
    }
    let created = pods(plane, &namespace).len();
    let ran = kubectl(
        &[
            "run",
            "dry",
            "--image",
            "nginx",
            "--dry-run=server",
            "-o",
            "json",
        ],
        "",
    );
    let dry: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        secrets(&dry),
        ["hub-creds"],
        "a dry run shows what would be"
    );
    assert_eq!(pods(plane, &namespace).len(), created, "and makes nothing");
    let ran = kubectl(
        &["run", "other", "--image", "quay.io/a/b", "-o", "json"],
        "",
    );
    let other: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(secrets(&other), [""; 0], "no rule, no change: {other}");
    assert_eq!(other["metadata"]["annotations"], Value::Null);
}

#[test]
fn pods_made_by_controllers_carry_their_secret() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    installation.put("company", &policy("company", HUB));
    let _webhook = installation.serve(&[]);
    let namespace = installation.namespace("by-controllers");
    let template = |app: &str| json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": "nginx"}], "restartPolicy": "Always"}});
    let mut once = template("job");
    once["spec"]["restartPolicy"] = json!("Never");
    let selected = |app: &str| json!({"replicas": 2, "serviceName": app, "selector": {"matchLabels": {"app": app}}, "template": template(app)});
    let mut replicas = selected("replica-set");
    let mut deployment = selected("deployment");
    for spec in [&mut replicas, &mut deployment] {
        spec.as_object_mut().unwrap().remove("serviceName");
    }
    let mut controller = replicas.clone();
    controller["selector"] = json!({"app": "controller"});
    controller["template"] = template("controller");
    for (group, resource, name, spec) in [
        ("/apis/apps/v1", "deployments", "deployment", &deployment),
        ("/apis/apps/v1", "replicasets", "replica-set", &replicas),
        (
            "/apis/apps/v1",
            "statefulsets",
            "stateful-set",
            &selected("stateful-set"),
        ),
        (
            "/api/v1",
            "replicationcontrollers",
            "controller",
            &controller,
        ),
        ("/apis/batch/v1", "jobs", "job", &json!({"template": once})),
        (
            "/apis/batch/v1",
            "cronjobs",
            "cron-job",
            &json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": once}}}),
        ),
    ] {
        let at = format!("{group}/namespaces/{namespace}/{resource}");
        let object = json!({"metadata": {"name": name}, "spec": spec});
        plane.admin().post(&at, &object).done();
    }
    let owned_by = |prefix: &str| {
        let mut all = pods(plane, &namespace);
        all.retain(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap();
            name.starts_with(prefix)
        });
        all
    };
    // A StatefulSet makes its second Pod once the first runs. The CronJob waits for its minute.
    for (prefix, count) in [
        ("deployment-", 2),
        ("replica-set-", 2),
        ("stateful-set-", 1),
        ("controller-", 2),
        ("job-", 1),
        ("cron-job-", 1),
    ] {
        wait_until(&format!("{prefix} has Pods"), || {
            owned_by(prefix).len() >= count
        });
        for pod in owned_by(prefix) {
            assert_eq!(secrets(&pod), ["hub-creds"], "{pod}");
            assert_eq!(pod["metadata"]["ownerReferences"][0]["controller"], true);
        }
    }
}
