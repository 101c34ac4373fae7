//! The rights of both accounts, as the API server sees them: no more than the contract's table, no Secret but by name, and
//! all that a running webhook asks for within them.
//!
//! On a plane of its own, so that the manifests are applied as they are printed.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::pod;
use crate::command::run;
use crate::controller::Controller;
use crate::plane::{Plane, USER_AGENT, User, wait_until};
use crate::webhook::server::{Place, Server};

const OWN: &str = "pullpass-system";
const READ: &[&str] = &["get", "list", "watch"];
const WRITTEN: &[&str] = &["acme-hub-creds", "dockerhub-creds", "ecr-creds"];
const WATCHED: &[&str] = &["gcr-creds", "ghcr-creds", "quay-creds"];

/// With the rights of `examples/policy.yaml`, applied with kubectl.
static PLANE: LazyLock<Plane> = LazyLock::new(|| {
    let plane = Plane::own();
    for namespace in [OWN, "shop"] {
        let object = json!({"metadata": {"name": namespace}});
        plane.admin().post("/api/v1/namespaces", &object).done();
    }
    apply(&plane, &["rbac", "--policy", policies()]);
    plane
});

fn policies() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/examples/policy.yaml")
}

/// Renders, and applies what is printed.
fn apply(plane: &Plane, args: &[&str]) {
    let rendered = run(&[&["render"], args].concat());
    assert_eq!(rendered.status, 0, "{rendered:?}");
    let args = ["apply", "--server-side", "-f", "-"];
    let dry = plane.admin().kubectl_with(
        &[&args[..], &["--dry-run=server"]].concat(),
        &rendered.stdout,
    );
    // What is in a namespace or a role that is not there yet cannot be tried.
    assert!(
        dry.status == 0 || dry.stderr.contains("not found"),
        "{dry:?}"
    );
    let ran = plane.admin().kubectl_with(&args, &rendered.stdout);
    assert_eq!((ran.status, &*ran.stderr), (0, ""), "{ran:?}");
}

/// An account with its rights in force.
fn account(name: &str) -> User {
    let user = PLANE.account(OWN, name);
    wait_until("the rights are in force", || {
        let mine = format!("/api/v1/namespaces/{OWN}/secrets/pullpass-webhook-tls");
        user.get("/api/v1/namespaces?limit=1").status == 200 && user.get(&mine).status != 403
    });
    user
}

/// Each single right of a user in a namespace, as `verb group/resource/name`.
fn rights(user: &User, namespace: &str) -> BTreeSet<String> {
    let at = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let review = json!({"spec": {"namespace": namespace}});
    let answer = user.post(at, &review).done();
    let list = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in answer["status"]["resourceRules"].as_array().unwrap() {
        let mut names = list(&rule["resourceNames"]);
        if names.is_empty() {
            names.push("*".to_owned());
        }
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                for verb in list(&rule["verbs"]) {
                    let of = |name| format!("{verb} {group}/{resource}/{name}");
                    rights.extend(names.iter().map(of));
                }
            }
        }
    }
    rights
}

type Row = (
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
);

fn expand(rows: &[Row]) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for (verbs, resource, names) in rows {
        for verb in *verbs {
            rights.extend(names.iter().map(|name| format!("{verb} {resource}/{name}")));
        }
    }
    rights
}

const EVERY: &[&str] = &["*"];
const STATUS: &[&str] = &[
    "pullpass-status-0",
    "pullpass-status-1",
    "pullpass-status-2",
    "pullpass-status-3",
    "pullpass-status-4",
    "pullpass-status-5",
    "pullpass-status-6",
    "pullpass-status-7",
    "pullpass-status-8",
    "pullpass-status-9",
    "pullpass-status-a",
    "pullpass-status-b",
    "pullpass-status-c",
    "pullpass-status-d",
    "pullpass-status-e",
    "pullpass-status-f",
];

#[test]
fn each_account_may_do_what_the_contract_lists_and_nothing_else() {
    let keep = &["get", "create", "patch"];
    let configurations = &["get", "list", "watch", "patch"];
    let admission = "admissionregistration.k8s.io";
    let mutating: &str = &format!("{admission}/mutatingwebhookconfigurations");
    let validating: &str = &format!("{admission}/validatingwebhookconfigurations");
    let webhook: &[Row] = &[
        (READ, "/namespaces", EVERY),
        (READ, "/serviceaccounts", EVERY),
    ];
    let webhook_own: &[Row] = &[
        (READ, "/configmaps", EVERY),
        (READ, "/secrets", &["pullpass-webhook-tls"]),
        (READ, "coordination.k8s.io/leases", &["pullpass-controller"]),
    ];
    let controller = [
        (READ, "/namespaces", EVERY),
        // One of the policies holds Pods.
        (&["get", "list", "watch", "patch"], "/pods", EVERY),
        (
            &["get", "list", "watch", "create", "patch", "delete"],
            "/secrets",
            WRITTEN,
        ),
        (READ, "/secrets", WATCHED),
        (&["create", "patch"], "events.k8s.io/events", EVERY),
    ];
    let mut controller = expand(&controller);
    for (resource, names) in [
        (mutating, &["00-pullpass"][..]),
        (
            validating,
            &["pullpass-policies", "pullpass-ephemeralcontainers"],
        ),
    ] {
        for verb in configurations {
            controller.extend(names.iter().map(|name| format!("{verb} {resource}/{name}")));
        }
    }
    let controller_own: &[Row] = &[
        (READ, "/configmaps", EVERY),
        (keep, "/configmaps", STATUS),
        (
            &["get", "list", "watch", "create", "patch"],
            "/secrets",
            &["pullpass-webhook-tls", "pullpass-ca"],
        ),
        (READ, "/secrets", &["acme-hub", "dockerhub"]),
        (keep, "coordination.k8s.io/leases", &["pullpass-controller"]),
    ];
    // What every account may do, such as asking what it may do.
    let anybody = rights(&PLANE.account("shop", "default"), "shop");
    for (name, cluster, own) in [
        ("pullpass-webhook", expand(webhook), webhook_own),
        ("pullpass-controller", controller, controller_own),
    ] {
        let user = account(name);
        for (namespace, more) in [("shop", &[][..]), (OWN, own)] {
            let granted = rights(&user, namespace);
            let granted: BTreeSet<_> = granted.difference(&anybody).cloned().collect();
            let want = cluster.union(&expand(more)).cloned().collect();
            assert_eq!(granted, want, "{name} in {namespace}");
        }
        let ran = user.kubectl(&["auth", "can-i", "--list", "-n", OWN]);
        println!("{name} in {OWN}:\n{}", ran.stdout);
    }
}

#[test]
fn every_other_secret_is_refused_to_both() {
    let admin = PLANE.admin();
    let others = ["foreign", "pullpass-ca-2", "default-token"];
    for namespace in [OWN, "shop"] {
        for name in others {
            let secret = json!({"metadata": {"name": name}, "stringData": {"a": "b"}});
            let at = format!("/api/v1/namespaces/{namespace}/secrets");
            admin.post(&at, &secret).done();
        }
    }
    for name in ["pullpass-webhook", "pullpass-controller"] {
        let user = account(name);
        assert_eq!(
            user.get("/api/v1/secrets").status,
            403,
            "all of the cluster"
        );
        for namespace in [OWN, "shop"] {
            let at = format!("/api/v1/namespaces/{namespace}/secrets");
            assert_eq!(user.get(&at).status, 403, "all of {namespace}");
            let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
            assert_eq!(user.post(&at, &secret("new")).status, 403, "a new one");
            assert_eq!(user.delete(&at, None).status, 403, "all at once");
            for other in others {
                let one = format!("{at}/{other}");
                let applied = format!("{one}?fieldManager=m&force=true");
                for (what, status) in [
                    ("get", user.get(&one).status),
                    (
                        "list",
                        user.get(&format!("{at}?fieldSelector=metadata.name%3D{other}"))
                            .status,
                    ),
                    ("apply", user.apply(&applied, &secret(other)).status),
                    ("patch", user.merge(&one, &json!({"data": {}})).status),
                    ("put", user.put(&one, &secret(other)).status),
                    ("delete", user.delete(&one, None).status),
                ] {
                    assert_eq!(status, 403, "{name}: {what} {namespace}/{other}");
                }
            }
        }
    }
    let webhook = account("pullpass-webhook");
    for (namespace, name) in [
        (OWN, "pullpass-ca"),
        (OWN, "dockerhub"),
        ("shop", "pullpass-webhook-tls"),
        ("shop", "dockerhub-creds"),
    ] {
        let at = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
        assert_eq!(
            webhook.get(&at).status,
            403,
            "the webhook: {namespace}/{name}"
        );
    }
}

#[test]
fn a_running_webhook_uses_its_rights_and_asks_for_no_other() {
    let webhook = account("pullpass-webhook");
    let kubeconfig = webhook.kubeconfig.to_str().unwrap();
    let server = Place::with("").start(&[
        "--kubeconfig",
        kubeconfig,
        "--namespace",
        OWN,
        "--tls-secret",
        "pullpass-webhook-tls",
    ]);
    wait_until("it has read the cluster", || {
        let ready = server.get("/readyz?verbose").body;
        ["policies", "namespaces", "serviceaccounts"]
            .iter()
            .all(|check| ready.contains(&format!("[+] {check}: ")))
    });
    let pair = &server.place.pair;
    let secret = json!({
        "metadata": {"name": "pullpass-webhook-tls"}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": pair.certificate, "tls.key": pair.key},
    });
    let secrets = format!("/api/v1/namespaces/{OWN}/secrets");
    PLANE.admin().post(&secrets, &secret).done();
    server.until_ready();
    assert_eq!(used(&PLANE, "pullpass-webhook"), of_webhook());
}

/// A credential that uses every right there is to credentials.
const HELD: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules: [{name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub-creds]}}]
  credentials: [{name: hub-creds, holdPods: true, from: {secretRef: {name: hub-source}}}]
";

/// Both processes as they are deployed, but for the Service: no certificate is given to either, a Pod waits for its secret,
/// and the secret goes with its policy.
#[test]
fn a_whole_installation_makes_its_certificates_secrets_and_pods_within_its_rights() {
    let plane = Plane::own();
    let admin = plane.admin();
    for namespace in [OWN, "shop"] {
        let object = json!({"metadata": {"name": namespace}});
        admin.post("/api/v1/namespaces", &object).done();
    }
    let policy = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(policy.path(), HELD).unwrap();
    apply(
        &plane,
        &["rbac", "--policy", policy.path().to_str().unwrap()],
    );
    super::install::put(&plane, OWN, "company", HELD);
    let (server, controller) = whole(&plane);
    let is_held = |pod: &Value| !pod["spec"]["schedulingGates"].is_null();
    wait_until("a Pod gets its secret, and waits for it", || {
        let pods = "/api/v1/namespaces/shop/pods?dryRun=All";
        let answer = admin.post(pods, &pod("p", &json!({})));
        answer.status == 201
            && super::secrets(&answer.body) == ["hub-creds"]
            && is_held(&answer.body)
    });
    let ran = admin.kubectl(&["-n", "shop", "run", "web", "--image", "nginx"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let source = crate::pull_secrets::pull_secret("hub-source", &[("docker.io", "a:b")]);
    let secrets = format!("/api/v1/namespaces/{OWN}/secrets");
    admin.post(&secrets, &source).done();
    wait_until("it goes", || {
        !is_held(&admin.get("/api/v1/namespaces/shop/pods/web").done())
    });
    let config_map = format!("/api/v1/namespaces/{OWN}/configmaps/company");
    admin.delete(&config_map, None).done();
    let copy = "/api/v1/namespaces/shop/secrets/hub-creds";
    wait_until("the secret goes", || admin.get(copy).status == 404);

    let want = of_controller();
    // Events come a little later than what they tell of.
    wait_until("all was asked for", || {
        used(&plane, "pullpass-controller").is_superset(&want)
    });
    assert_eq!(used(&plane, "pullpass-controller"), want);
    assert_eq!(used(&plane, "pullpass-webhook"), of_webhook());
    drop((server, controller));
}

/// Starts both processes, and waits until they are ready.
fn whole(plane: &Plane) -> (Server, Controller) {
    let start = |component: &str| {
        let user = plane.account(OWN, &format!("pullpass-{component}"));
        wait_until("the rights are in force", || {
            let mine = format!("/api/v1/namespaces/{OWN}/secrets/pullpass-webhook-tls");
            user.get("/api/v1/namespaces?limit=1").status == 200 && user.get(&mine).status != 403
        });
        user.kubeconfig.to_str().unwrap().to_owned()
    };
    let kubeconfig = start("webhook");
    let flags = ["--kubeconfig", &kubeconfig, "--namespace", OWN];
    let tls = ["--tls-secret", "pullpass-webhook-tls"];
    let server = Place::with("").start(&[&flags[..], &tls].concat());
    let url = format!("https://{}", server.admission);
    let configuration = [
        "webhook-configuration",
        "--url",
        &url,
        "--failure-policy",
        "Fail",
        "--namespace",
        OWN,
    ];
    apply(plane, &configuration);
    let kubeconfig = start("controller");
    let flags = ["--kubeconfig", &kubeconfig, "--namespace", OWN];
    let kept = ["--webhook-configuration", "00-pullpass"];
    let name = ["--dns-name", "127.0.0.1"];
    let controller = Controller::start(&[&flags[..], &kept, &name].concat());
    controller.until_ready();
    server.until_ready();
    (server, controller)
}

/// What a controller asks for that keeps certificates and the credential, and all that it asks for.
fn of_controller() -> BTreeSet<String> {
    let lease = ["get", "patch"].map(|verb| format!("{verb} {OWN}/leases/pullpass-controller"));
    let mut want = BTreeSet::from(lease);
    want.extend([OWN, "default", "shop"].map(|namespace| format!("create {namespace}/events/*")));
    for verb in ["list", "watch"] {
        want.insert(format!("{verb} {OWN}/configmaps/*"));
        want.insert(format!("{verb} {OWN}/secrets/hub-source"));
        let wide = ["namespaces/*", "pods/*", "secrets/hub-creds"];
        want.extend(wide.map(|at| format!("{verb} */{at}")));
    }
    for verb in ["list", "watch", "patch"] {
        let pairs = ["pullpass-ca", "pullpass-webhook-tls"];
        want.extend(pairs.map(|name| format!("{verb} {OWN}/secrets/{name}")));
        want.insert(format!(
            "{verb} */mutatingwebhookconfigurations/00-pullpass"
        ));
        let validating = ["pullpass-policies", "pullpass-ephemeralcontainers"];
        want.extend(
            validating.map(|name| format!("{verb} */validatingwebhookconfigurations/{name}")),
        );
    }
    for verb in ["patch", "delete"] {
        let all = ["default", "kube-node-lease", "kube-public", "shop"];
        want.extend(all.map(|namespace| format!("{verb} {namespace}/secrets/hub-creds")));
    }
    let status = (0..16).map(|n| format!("patch {OWN}/configmaps/pullpass-status-{n:x}"));
    want.extend(status);
    want.insert("create */selfsubjectaccessreviews/*".to_owned());
    want.insert("patch shop/pods/web".to_owned());
    want
}

/// What a webhook asks for, and all that it asks for.
fn of_webhook() -> BTreeSet<String> {
    let mut want = BTreeSet::new();
    for verb in ["list", "watch"] {
        for at in ["*/namespaces/*", "*/serviceaccounts/*"] {
            want.insert(format!("{verb} {at}"));
        }
        want.insert(format!("{verb} {OWN}/configmaps/*"));
        want.insert(format!("{verb} {OWN}/secrets/pullpass-webhook-tls"));
        want.insert(format!("{verb} {OWN}/leases/pullpass-controller"));
    }
    want
}

/// What a process asked of the API server, by the audit log, as `verb namespace/resource/name`. None of it was forbidden.
fn used(plane: &Plane, account: &str) -> BTreeSet<String> {
    let user = format!("system:serviceaccount:{OWN}:{account}");
    let of_it = |event: &Value| {
        let agent = event["userAgent"].as_str().unwrap_or_default();
        event["user"]["username"] == *user && agent != USER_AGENT && !agent.starts_with("kubectl")
    };
    let text = |value: &Value| value.as_str().unwrap_or("*").to_owned();
    let mut used = BTreeSet::new();
    for event in plane.audited(of_it) {
        assert_ne!(event["responseStatus"]["code"], 403, "{event}");
        let object = &event["objectRef"];
        let verb = text(&event["verb"]);
        let [namespace, resource, name] =
            ["namespace", "resource", "name"].map(|key| text(&object[key]));
        used.insert(format!("{verb} {namespace}/{resource}/{name}"));
    }
    used
}

#[test]
fn the_manifests_apply_again_without_a_conflict_and_pods_are_created_while_nobody_answers() {
    let args = [
        "webhook-configuration",
        "--service",
        "pullpass-system/pullpass-webhook",
    ];
    for _ in 0..2 {
        apply(&PLANE, &["rbac", "--policy", policies()]);
        apply(&PLANE, &args);
    }
    let at = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/00-pullpass";
    let bundle = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "00-pullpass"},
        "webhooks": [{"name": "pods.pullpass.dev", "clientConfig": {"caBundle": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="}}],
    });
    let controller = account("pullpass-controller");
    let applied = format!("{at}?fieldManager=pullpass&force=true");
    controller.apply(&applied, &bundle).done();
    apply(&PLANE, &args);
    let now = PLANE.admin().get(at).done();
    assert_eq!(
        now["webhooks"][0]["clientConfig"]["caBundle"],
        bundle["webhooks"][0]["clientConfig"]["caBundle"],
        "an upgrade leaves the bundle"
    );
    let pods = "/api/v1/namespaces/shop/pods?dryRun=All";
    let made = PLANE.admin().post(pods, &pod("p", &json!({}))).done();
    assert_eq!(super::secrets(&made), [""; 0], "as it would be without us");
}
