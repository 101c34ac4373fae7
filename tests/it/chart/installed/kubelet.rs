//! What a kubelet does, by hand: it runs what a Pod says and tells the API server how that went. A plane has no nodes.

use serde_json::{Value, json};

use super::{OWN, Release};
use crate::command::{Ran, command, run_with};
use crate::plane::{wait_for, wait_until};

/// The Pods of `helm test`.
const TESTS: &str = "pullpass-test";

fn pods() -> String {
    format!("/api/v1/namespaces/{OWN}/pods")
}

/// Tells in which phase a Pod is, and whether it is ready.
pub(super) fn tell(release: &Release, pod: &Value, phase: &str, ready: bool) {
    let ready = if ready { "True" } else { "False" };
    let status = json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]});
    tell_all(release, pod, &status);
}

fn tell_all(release: &Release, pod: &Value, status: &Value) {
    let name = pod["metadata"]["name"].as_str().unwrap();
    let at = format!("{}/{name}/status", pods());
    let status = json!({"status": status});
    release.admin().strategic_merge(&at, &status).done();
}

/// A Deployment's Pods once they are admitted: all of them, with their priority class, into a restricted namespace.
fn admitted(release: &Release, component: &str) -> Vec<Value> {
    let replicas = release.deployment(component)["spec"]["replicas"].clone();
    wait_for("the Pods are admitted", || {
        let selector = format!("labelSelector=app.kubernetes.io/component%3D{component}");
        let list = release
            .admin()
            .get(&format!("{}?{selector}", pods()))
            .done();
        let pods = list["items"].as_array().unwrap().clone();
        let class = |pod: &Value| pod["spec"]["priorityClassName"] == "system-cluster-critical";
        (replicas == pods.len() && pods.iter().all(class)).then_some(pods)
    })
}

/// Has a Deployment's Pods be ready.
pub(super) fn is_ready(release: &Release, component: &str) {
    for pod in &admitted(release, component) {
        tell(release, pod, "Running", true);
    }
}

/// Has a Deployment's one Pod be ready on a node, at this address.
pub(super) fn runs_at(release: &Release, component: &str, host: &str) -> Value {
    let pod = admitted(release, component).remove(0);
    let node = json!({"metadata": {"name": "node"}});
    release.admin().post("/api/v1/nodes", &node).done();
    let name = pod["metadata"]["name"].as_str().unwrap();
    let target = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "node"}});
    let at = format!("{}/{name}/binding", pods());
    release.admin().post(&at, &target).done();
    let status = json!({
        "phase": "Running", "podIP": host, "podIPs": [{"ip": host}],
        "conditions": [{"type": "Ready", "status": "True"}],
    });
    tell_all(release, &pod, &status);
    pod
}

/// Runs the Pod of `helm test` under its own account, with this in place of the time that it waits; tells its end.
pub(super) fn runs_the_test(release: &Release, wait: &str) -> Ran {
    let at = format!("{}/{TESTS}", pods());
    let pod = wait_for("the test's Pod", || {
        let answer = release.admin().get(&at);
        // Not that of the test before, which is on its way out or over.
        let is_new = answer.status == 200
            && answer.body["status"]["phase"] == "Pending"
            && answer.body["metadata"].get("deletionTimestamp").is_none();
        is_new.then_some(answer.body)
    });
    assert_eq!(pod["spec"]["serviceAccountName"], TESTS);
    let account = release.plane.account(OWN, TESTS);
    wait_until("its rights are in force", || {
        account.get("/api/v1/namespaces?limit=1").status == 200
    });
    let pod_of_theirs = json!({
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    });
    for namespace in ["default", OWN] {
        let at = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        assert_eq!(account.post(&at, &pod_of_theirs).status, 403, "{namespace}");
    }
    let secrets = format!("/api/v1/namespaces/{OWN}/secrets");
    for at in [
        &*secrets,
        &format!("{secrets}/pullpass-ca"),
        "/api/v1/secrets",
    ] {
        assert_eq!(account.get(at).status, 403, "{at}");
    }
    let args = pod["spec"]["containers"][0]["args"].as_array().unwrap();
    let args = args.iter().map(|arg| arg.as_str().unwrap());
    let args = args.map(|arg| if arg == "--wait=60s" { wait } else { arg });
    let kubeconfig = account.kubeconfig.to_str().unwrap();
    let args: Vec<&str> = args.chain(["--kubeconfig", kubeconfig]).collect();
    assert!(args.contains(&wait), "{args:?}");
    let ran = run_with(command(&args), b"");
    let phase = if ran.status == 0 {
        "Succeeded"
    } else {
        "Failed"
    };
    tell(release, &pod, phase, false);
    ran
}
