//! What `pullpass render` prints, on a real API server: it takes all of it, twice without a conflict, and the accounts
//! may do what is documented and nothing else.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{POLICY, configuration, rbac};
use crate::plane::{Plane, User, wait_until};

const OWN: &str = "pullpass-system";
const SERVICE: [&str; 2] = ["--service", "pullpass-system/pullpass-webhook"];

/// A plane of these tests: the names are a cluster's, and other tests have an installation of their own.
fn plane() -> &'static Plane {
    static PLANE: LazyLock<Plane> = LazyLock::new(|| {
        let plane = Plane::own();
        for name in [OWN, "shop"] {
            let namespace = json!({"metadata": {"name": name}});
            plane.admin().post("/api/v1/namespaces", &namespace).done();
        }
        let accounts = rbac(&[], POLICY).stdout;
        kubectl(
            plane.admin(),
            &["apply", "--server-side", "-f", "-"],
            &accounts,
        );
        plane
    });
    &PLANE
}

fn kubectl(user: &User, args: &[&str], stdin: &str) -> String {
    let ran = user.kubectl_with(args, stdin);
    assert_eq!(ran.status, 0, "{args:?}: {}", ran.stderr);
    assert_eq!(ran.stderr, "", "{args:?}: a warning");
    ran.stdout
}

/// The resourceVersions of what a manifest names.
fn versions(user: &User, manifest: &str) -> Vec<Value> {
    let text = kubectl(user, &["get", "-f", "-", "-o", "json"], manifest);
    let list: Value = serde_json::from_str(&text).unwrap();
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["metadata"]["resourceVersion"].clone())
        .collect()
}

#[test]
fn a_second_apply_changes_nothing() {
    let admin = plane().admin();
    let apply = ["apply", "--server-side", "-f", "-"];
    for (manifest, objects, what) in [
        (rbac(&[], POLICY).stdout, 10, "the accounts"),
        (rbac(&["-o", "json"], POLICY).stdout, 10, "the same as JSON"),
        (configuration(&SERVICE).stdout, 3, "the configurations"),
    ] {
        kubectl(admin, &apply, &manifest);
        let before = versions(admin, &manifest);
        assert_eq!(before.len(), objects, "{what}");
        kubectl(admin, &apply, &manifest);
        assert_eq!(versions(admin, &manifest), before, "{what}");
    }
}

#[test]
fn a_ca_bundle_of_the_controller_survives_every_apply() {
    let plane = plane();
    let admin = plane.admin();
    // Of other names than the rest, so that no test disturbs the other.
    let name = "50-pullpass";
    let render = |more: &[&str]| {
        let out = configuration(&[&SERVICE[..], &["--name", name], more].concat());
        let first = out.stdout.split("---\n").next().unwrap().to_owned();
        assert!(first.contains(name), "{first}");
        first
    };
    let accounts = rbac(&["--webhook-configuration", name, "-n", "other"], POLICY).stdout;
    let accounts = accounts.replace("name: pullpass-controller\n", "name: other-controller\n");
    admin
        .post(
            "/api/v1/namespaces",
            &json!({"metadata": {"name": "other"}}),
        )
        .done();
    kubectl(
        admin,
        &["apply", "--server-side", "-f", "-"],
        &accounts.replace("name: pullpass-webhook\n", "name: other-webhook\n"),
    );
    let controller = plane.account("other", "other-controller");
    // As somebody may have started: the last applied text of a client, then the server's.
    kubectl(admin, &["apply", "-f", "-"], &render(&[]));
    let path =
        format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}");
    let bundle = STANDARD.encode(&plane.ca);
    let entry = json!({"name": "pods.pullpass.dev", "clientConfig": {"caBundle": bundle}});
    let patch = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [entry],
    });
    let at = format!("{path}?fieldManager=pullpass&force=true");
    wait_until("the controller may patch it", || {
        controller.apply(&at, &patch).status == 200
    });
    for (more, why) in [
        (&[][..], "the same"),
        (
            &["--failure-policy", "Fail", "--timeout-seconds", "9"],
            "other fields",
        ),
        (
            &["--namespace-mode", "opt-in", "--ignore-opt-out"],
            "other selectors",
        ),
        (&["--exclude-namespace", "a,b"], "and back"),
    ] {
        kubectl(admin, &["apply", "--server-side", "-f", "-"], &render(more));
        let got = admin.get(&path).done();
        assert_eq!(
            got["webhooks"][0]["clientConfig"]["caBundle"], *bundle,
            "{why}"
        );
    }
    admin.delete(&path, None).done();
}

#[test]
fn the_accounts_may_do_what_is_documented_and_nothing_else() {
    let plane = plane();
    let mut told = Vec::new();
    for account in ["pullpass-webhook", "pullpass-controller"] {
        let user = plane.account(OWN, account);
        for namespace in [OWN, "shop"] {
            wait_until("the rights are in force", || {
                user.get("/api/v1/namespaces").status == 200
            });
            let list = kubectl(&user, &["auth", "can-i", "--list", "-n", namespace], "");
            let mut lines: Vec<String> = list
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            lines.sort();
            told.push(format!("{account} in {namespace}\n{}\n", lines.join("\n")));
        }
    }
    insta::assert_snapshot!("render_can_i", told.join("\n"));
}

#[test]
fn a_secret_of_another_name_is_refused_and_one_of_the_table_only_by_apply() {
    let plane = plane();
    let admin = plane.admin();
    for (namespace, name) in [("shop", "password"), (OWN, "password"), (OWN, "dockerhub")] {
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        admin
            .post(&path, &json!({"metadata": {"name": name}}))
            .done();
    }
    let webhook = plane.account(OWN, "pullpass-webhook");
    let controller = plane.account(OWN, "pullpass-controller");
    let secret =
        |namespace: &str, name: &str| format!("/api/v1/namespaces/{namespace}/secrets/{name}");
    wait_until("the rights are in force", || {
        webhook.get(&secret(OWN, "pullpass-webhook-tls")).status == 404
            && controller.get(&secret(OWN, "pullpass-ca")).status == 404
    });
    for (namespace, name, of_webhook, of_controller, why) in [
        (
            OWN,
            "pullpass-webhook-tls",
            404,
            404,
            "both read the certificate",
        ),
        (
            OWN,
            "pullpass-ca",
            403,
            404,
            "the CA's key is the controller's",
        ),
        (OWN, "dockerhub", 403, 200, "so is a source"),
        (OWN, "password", 403, 403, "another Secret beside them"),
        ("shop", "hub", 403, 404, "a credential"),
        ("shop", "vault", 403, 404, "one that others make"),
        ("shop", "password", 403, 403, "anything else"),
        (
            "shop",
            "dockerhub",
            403,
            403,
            "a source is one in its own namespace alone",
        ),
        ("shop", "pullpass-ca", 403, 403, "and so is the CA"),
        ("shop", "", 403, 403, "a list of all"),
    ] {
        let path = secret(namespace, name);
        let path = path.trim_end_matches('/');
        assert_eq!(
            webhook.get(path).status,
            of_webhook,
            "webhook, {path}: {why}"
        );
        assert_eq!(
            controller.get(path).status,
            of_controller,
            "controller, {path}: {why}"
        );
    }
    let all = "/api/v1/secrets?fieldSelector=metadata.name%3Dhub";
    assert_eq!(controller.get(all).status, 200, "in all namespaces by name");
    for (name, want, why) in [
        ("hub", 201, "a credential"),
        ("vault", 403, "others make it"),
        ("password", 403, "no credential"),
    ] {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": STANDARD.encode("{\"auths\":{}}")},
        });
        let at = "/api/v1/namespaces/shop/secrets";
        assert_eq!(controller.post(at, &object).status, 403, "a POST of {why}");
        let path = format!("{at}/{name}?fieldManager=pullpass&force=true");
        assert_eq!(
            webhook.apply(&path, &object).status,
            403,
            "the webhook, {why}"
        );
        assert_eq!(controller.apply(&path, &object).status, want, "{why}");
    }
    assert_eq!(controller.delete(&secret("shop", "hub"), None).status, 200);
}
