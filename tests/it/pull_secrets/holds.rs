//! Pods that wait for a Secret: let go once it stands, or when their time is over. The gate is put on by hand here, as the
//! webhook would.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::*;

/// Any controller lets Pods go for which its own policies have them not wait: one at a time has this plane.
pub(super) fn plane() -> MutexGuard<'static, Plane> {
    static PLANE: LazyLock<Mutex<Plane>> = LazyLock::new(|| Mutex::new(Plane::own()));
    PLANE.lock().unwrap_or_else(PoisonError::into_inner)
}

const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - name: quay
      match: {images: [quay.io], SELECTED}
      inject: {imagePullSecrets: [quay@]}
  credentials:
    - {name: quay@, holdPods: true, holdTimeout: 4s, from: {secretRef: {name: quay-source}}}
";

/// A Pod with our gate and another one, so that it stays even when it may go.
pub(super) fn held(name: &str, secrets: &[&str]) -> Value {
    let secrets: Vec<_> = secrets.iter().map(|name| json!({"name": name})).collect();
    json!({
        "metadata": {"name": name},
        "spec": {
            "schedulingGates": [{"name": "somebody.example/other"}, {"name": "pullpass.dev/pull-secret"}],
            "imagePullSecrets": secrets,
            "containers": [{"name": "c", "image": "quay.io/org/app:1"}],
        },
    })
}

fn gates(estate: &Estate<'_>, namespace: &str, name: &str) -> Vec<String> {
    let at = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let pod = estate.admin().get(&at).done();
    let gates = pod["spec"]["schedulingGates"].as_array().cloned();
    let name = |gate: &Value| gate["name"].as_str().unwrap().to_owned();
    gates.unwrap_or_default().iter().map(name).collect()
}

fn is_held(estate: &Estate<'_>, namespace: &str, name: &str) -> bool {
    gates(estate, namespace, name).len() == 2
}

#[test]
fn a_pod_goes_when_its_secret_stands_and_other_gates_stay() {
    let plane = plane();
    let estate = Estate::on(&plane, POLICY);
    let web = estate.namespace();
    let name = estate.name("quay");
    create_pod(estate.admin(), &web, &held("early", &["else", &name])).done();
    estate.put(POLICY);
    estate.source("quay-source", &[("quay.io", "robot:first-password")]);
    let controller = estate.control();
    wait_until("it goes", || !is_held(&estate, &web, "early"));
    assert_eq!(gates(&estate, &web, "early"), ["somebody.example/other"]);
    assert!(estate.logins(&web, "quay").is_some(), "its secret stands");
    estate.until_event(&web, "early", "PodReleased");
    wait_until("webhooks are told", || {
        let status = estate.status();
        status["ready"] == json!({&*name: [web]}) && status["maps"] == 16
    });

    // Nothing is there for which these would have to wait.
    create_pod(estate.admin(), &web, &held("needless", &[])).done();
    wait_until("it goes", || !is_held(&estate, &web, "needless"));
    controller.stop();
}

#[test]
fn a_pod_goes_without_its_secret_when_its_time_is_over() {
    let plane = plane();
    let estate = Estate::on(&plane, POLICY);
    let web = estate.namespace();
    let name = estate.name("quay");
    estate.put(POLICY);
    let controller = estate.control();
    controller.until_ready();
    create_pod(estate.admin(), &web, &held("waits", &[&name])).done();
    let made = std::time::Instant::now();
    wait_until("it goes", || !is_held(&estate, &web, "waits"));
    let waited = made.elapsed().as_secs_f64();
    assert!(waited > 2.5, "it did not wait: {waited}");
    let note = estate.until_event(&web, "waits", "HoldTimedOut");
    assert!(note.contains(&name), "{note}");
    estate.until_event(estate.own(), "policies", "SourceSecretMissing");
    controller.stop();
}

#[test]
fn a_pod_held_when_the_last_controller_died_goes_with_the_next() {
    let plane = plane();
    let estate = Estate::on(&plane, POLICY);
    let web = estate.namespace();
    estate.put(POLICY);
    estate.source("quay-source", &[("quay.io", "robot:first-password")]);
    let controller = estate.control();
    estate.until_logins(&web, "quay", &["quay.io robot:first-password"]);
    controller.kill();
    create_pod(
        estate.admin(),
        &web,
        &held("orphan", &[&estate.name("quay")]),
    )
    .done();
    let controller = estate.control();
    wait_until("it goes", || !is_held(&estate, &web, "orphan"));
    controller.stop();
}
