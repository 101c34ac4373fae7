//! Starts that cannot go well, and what readiness, Events and the exit status say.

use super::*;
use crate::cluster::put;

#[test]
fn a_kubeconfig_of_no_use_ends_it_and_an_absent_api_server_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    let flags = [
        "--kubeconfig",
        path.to_str().unwrap(),
        "--namespace",
        "pullpass-system",
        "--tls-secret",
        "pullpass-webhook-tls",
    ];
    for (text, why) in [("a: [", "no YAML"), ("{}", "no context")] {
        std::fs::write(&path, text).unwrap();
        let output = Controller::command(&flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{why}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("cannot use the kubeconfig") && said.contains(flags[1]),
            "{why}: {said}"
        );
    }
    std::fs::write(
        &path,
        "{current-context: a, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], \
         users: [], contexts: [{name: a, context: {cluster: c}}]}",
    )
    .unwrap();
    let controller = Controller::start(&flags);
    wait_until("readiness says it", || {
        let said = controller.get("/readyz").body;
        [
            "the Lease `pullpass-controller` cannot be read",
            "the Secret `pullpass-ca` cannot be read",
            "reachable from here",
        ]
        .iter()
        .all(|part| said.contains(part))
    });
    assert_eq!(controller.get("/livez").status, 200);
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
}

#[test]
fn a_missing_right_is_named_with_how_to_grant_it() {
    let site = Site::on(Plane::shared());
    let own = &site.installation.own;
    // An account that may do nothing.
    let nobody = site.installation.plane.account(own, "default");
    let kubeconfig = nobody.kubeconfig.to_str().unwrap();
    let controller = Controller::start(&[
        "--namespace",
        own,
        "--kubeconfig",
        kubeconfig,
        "--tls-secret",
        "pullpass-webhook-tls",
    ]);
    wait_until("readiness says it", || {
        let said = controller.get("/readyz").body;
        [
            "the Lease `pullpass-controller` may not be read",
            "the Secret `pullpass-ca` may not be read",
            "pullpass render rbac",
        ]
        .iter()
        .all(|part| said.contains(part))
    });
}

#[test]
fn policies_are_told_when_they_break_and_when_they_are_mended() {
    let site = Site::on(Plane::shared());
    let own = site.installation.own.clone();
    let controller = site.control(&[]);
    wait_until("it leads", || controller.leads());
    put(site.installation.plane, &own, "company", "a: [");
    let (reason, note) = wait_for("an Event", || site.events(&own, "company").pop());
    assert_eq!(reason, "PolicyRejected", "{note}");
    let good = crate::cluster::policy("company", crate::cluster::HUB);
    put(site.installation.plane, &own, "company", &good);
    wait_until("it is told", || {
        site.events(&own, "company")
            .iter()
            .any(|(reason, _)| reason == "PolicyLoaded")
    });
    assert!(
        controller
            .get("/metrics")
            .body
            .contains("pullpass_policy_rules 1")
    );
}

#[test]
fn without_certificates_to_keep_it_needs_no_right_to_them() {
    let plane = Plane::shared();
    let installation = Installation::with(plane, &["--cert-manager"]);
    let own = &installation.own;
    let account = plane.account(own, "pullpass-controller");
    let kubeconfig = account.kubeconfig.to_str().unwrap();
    let controller = Controller::start(&["--namespace", own, "--kubeconfig", kubeconfig]);
    controller.until_ready();
    wait_until("it leads", || controller.leads());
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    let secrets = format!("/api/v1/namespaces/{own}/secrets");
    let secrets = plane.admin().get(&secrets).done();
    assert_eq!(secrets["items"], json!([]), "none was made");
}

#[test]
fn a_configuration_that_it_may_not_patch_keeps_no_certificate_from_being_made() {
    let site = Site::on(Plane::shared());
    site.configure();
    let own = &site.installation.own;
    let at = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/pullpass-controller-{own}");
    let mut role = site.admin().get(&at).done();
    for rule in role["rules"].as_array_mut().unwrap() {
        if rule["resources"] == json!(["mutatingwebhookconfigurations"]) {
            rule["verbs"] = json!(["get", "list", "watch"]);
        }
    }
    site.admin().put(&at, &role).done();
    let controller = site.control(&[]);
    wait_until("the certificate is made", || site.served().is_some());
    let (reason, note) = wait_for("an Event", || {
        site.events("default", &site.configuration).pop()
    });
    assert_eq!(reason, "CertificateRotationFailed");
    assert!(
        note.contains("may not be written") && note.contains("pullpass render rbac"),
        "{note}"
    );
    let said = controller.get("/readyz").body;
    let configuration = format!("MutatingWebhookConfiguration `{}`", site.configuration);
    assert!(said.contains(&configuration), "{said}");

    for rule in role["rules"].as_array_mut().unwrap() {
        if rule["resources"] == json!(["mutatingwebhookconfigurations"]) {
            rule["verbs"] = json!(["get", "list", "watch", "patch"]);
        }
    }
    role["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    site.admin().put(&at, &role).done();
    wait_until("it goes on when the right is there", || site.is_at_rest());
    controller.until_ready();
}
