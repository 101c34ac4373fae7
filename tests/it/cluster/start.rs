//! How a webhook starts that cannot read its cluster yet: it says what is in the way and what to do, and becomes ready by
//! itself.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fake::{Fake, Mood};
use super::install::Installation;
use crate::command::run;
use crate::plane::{PATIENCE, Plane, wait_until};
use crate::webhook::review;
use crate::webhook::server::{Place, Server};

const RESOURCES: [&str; 3] = ["configmaps", "namespaces", "serviceaccounts"];
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn until_told(server: &Server, parts: &[&str]) {
    let mut last = String::new();
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let report = server.get("/readyz");
        if report.status == 503 && parts.iter().all(|part| report.body.contains(part)) {
            return;
        }
        last = report.body;
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("readiness does not say {parts:?}, but {last}");
}

/// The names of the checks that wait.
fn waiting(server: &Server) -> Vec<String> {
    let report = server.get("/readyz").body;
    let lines = report.lines().filter_map(|line| line.strip_prefix("[-] "));
    lines
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect()
}

/// A right that an installation lacks at first.
struct Lacked {
    /// The check of readiness that waits for it.
    check: &'static str,
    /// The resource, as the API server calls it.
    resource: &'static str,
    /// What readiness says of it.
    says: &'static str,
    /// Flags of the webhook.
    flags: &'static [&'static str],
}

const LACKED: [Lacked; 5] = [
    Lacked {
        check: "namespaces",
        resource: "namespaces",
        says: "the Namespaces may not be read",
        flags: &[],
    },
    Lacked {
        check: "serviceaccounts",
        resource: "serviceaccounts",
        says: "the ServiceAccounts may not be read",
        flags: &[],
    },
    Lacked {
        check: "policies",
        resource: "configmaps",
        says: "the policy ConfigMaps in `",
        flags: &[],
    },
    Lacked {
        check: "policies",
        resource: "configmaps",
        says: "the policy ConfigMaps of all namespaces may not be read",
        flags: &["--tenant-policies"],
    },
    Lacked {
        check: "certificate-secret",
        resource: "secrets",
        says: "the Secret `pullpass-webhook-tls` in `",
        flags: &["--tls-secret", "pullpass-webhook-tls"],
    },
];

#[test]
fn without_a_right_readiness_says_which_and_how_to_grant_it_until_it_is_granted() {
    let plane = Plane::shared();
    std::thread::scope(|scope| {
        for lacked in &LACKED {
            scope.spawn(|| waits_for_its_right(plane, lacked));
        }
    });
}

fn waits_for_its_right(plane: &Plane, lacked: &Lacked) {
    let tenants = lacked.flags.contains(&"--tenant-policies");
    let with = if tenants {
        &["--tenant-policies"][..]
    } else {
        &[]
    };
    let installation = Installation::with(plane, with);
    let own = &installation.own;
    let account = plane.account(own, "pullpass-webhook");
    let (admin, resource) = (plane.admin(), lacked.resource);
    let roles = [
        format!("{RBAC}/clusterroles/pullpass-webhook-{own}"),
        format!("{RBAC}/namespaces/{own}/roles/pullpass-webhook"),
    ];
    let whole = roles.each_ref().map(|role| admin.get(role).done());
    for (role, whole) in roles.iter().zip(&whole) {
        let mut rules = whole["rules"].clone();
        for rule in rules.as_array_mut().unwrap() {
            let resources = rule["resources"].as_array_mut().unwrap();
            resources.retain(|name| name != resource);
        }
        rules
            .as_array_mut()
            .unwrap()
            .retain(|rule| rule["resources"] != json!([]));
        admin.merge(role, &json!({"rules": rules})).done();
    }
    let at = match resource {
        "namespaces" => "/api/v1/namespaces".to_owned(),
        "secrets" => format!("/api/v1/namespaces/{own}/secrets/pullpass-webhook-tls"),
        other => format!("/api/v1/namespaces/{own}/{other}"),
    };
    wait_until("the right is gone", || account.get(&at).status == 403);

    let place = Place::with("");
    let pair = [
        ("tls.crt", &place.pair.certificate),
        ("tls.key", &place.pair.key),
    ];
    let data: Value = pair
        .into_iter()
        .map(|(key, text)| (key.to_owned(), json!(STANDARD.encode(text))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let secret = json!({"metadata": {"name": "pullpass-webhook-tls"}, "type": "kubernetes.io/tls", "data": data});
    let secrets = format!("/api/v1/namespaces/{own}/secrets");
    admin.post(&secrets, &secret).done();
    let kubeconfig = account.kubeconfig.to_str().unwrap();
    let flags = ["--kubeconfig", kubeconfig, "--namespace", own];
    let server = place.start(&[&flags[..], lacked.flags].concat());

    let forbidden = format!("cannot list resource \"{resource}\"");
    let grant = "grant the right: `pullpass render rbac";
    until_told(
        &server,
        &[lacked.says, "may not be read", &forbidden, grant],
    );
    wait_until("nothing else waits", || {
        waiting(&server)
            .iter()
            .all(|check| check == lacked.check || resource == "secrets" && check != "policies")
    });
    assert_eq!(server.get("/livez").status, 200);
    wait_until("the log says so", || server.log().contains(lacked.says));
    let counted = format!("pullpass_watch_errors_total{{resource=\"{resource}\"}}");
    assert!(server.count(&counted) > 0);

    for (role, whole) in roles.iter().zip(&whole) {
        admin.merge(role, &json!({"rules": whole["rules"]})).done();
    }
    wait_until("it is ready by itself", || {
        server.get("/readyz").status == 200
    });
}

#[test]
fn an_api_server_that_is_not_there_is_asked_until_it_is() {
    let address = Fake::reserve();
    let server = Fake::webhook_of(address);
    until_told(
        &server,
        &[
            "the Namespaces cannot be read: ",
            "Connection refused",
            "is the API server there, and reachable from here?",
        ],
    );
    assert_eq!(
        server.get("/livez").status,
        200,
        "to restart it would not help"
    );
    let _fake = Fake::start_at(address);
    server.until_ready();
}

#[test]
fn an_api_server_that_refuses_is_asked_until_it_does_not() {
    std::thread::scope(|scope| {
        for (status, says) in [
            (401, "the API server does not know these credentials"),
            (403, "grant the right: `pullpass render rbac"),
            (429, "the API server says 429: told to say 429"),
            (500, "the API server says 500: told to say 500"),
            (503, "the API server says 503: told to say 503"),
        ] {
            scope.spawn(move || {
                let fake = Fake::start();
                fake.becomes("serviceaccounts", Mood::Refuses(status));
                let server = fake.webhook();
                until_told(&server, &["the ServiceAccounts ", says]);
                wait_until("nothing else waits", || {
                    waiting(&server) == ["serviceaccounts"]
                });
                fake.becomes("serviceaccounts", Mood::Answers);
                server.until_ready();
            });
        }
    });
}

#[test]
fn nothing_is_decided_before_everything_was_read_once() {
    let fake = Fake::start();
    for resource in RESOURCES {
        fake.becomes(resource, Mood::Silent);
    }
    let server = fake.webhook();
    let said = server.get("/readyz").body;
    for part in [
        "the policy ConfigMaps in `pullpass-system`: not read yet",
        "the Namespaces: not read yet",
        "the ServiceAccounts: not read yet",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    for resource in RESOURCES {
        let asked = server.client().post(&review("web", &["nginx"])).unwrap();
        assert_eq!(asked.status, 503, "before {resource}: {asked:?}");
        let sentence = "the cluster's policies are not read yet; try again";
        assert!(asked.body.contains(sentence), "{}", asked.body);
        assert_eq!(server.get("/readyz").status, 503);
        assert_eq!(server.get("/livez").status, 200);
        fake.becomes(resource, Mood::Answers);
        fake.until_watched(resource);
    }
    server.until_ready();
    let asked = server.client().post(&review("web", &["nginx"])).unwrap();
    assert_eq!(asked.status, 200, "{asked:?}");
}

#[test]
fn a_kubeconfig_that_cannot_be_used_ends_it_with_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file(
        "good",
        "{current-context: a, clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], \
         contexts: [{name: a, context: {cluster: c, user: u}}], users: [{name: u, user: {}}]}",
    );
    let broken = file("broken", "a: [b");
    let empty = file("empty", "");
    let absent = directory.path().join("absent");
    let absent = absent.to_str().unwrap();
    for (args, says, why) in [
        (
            &["--kubeconfig", &broken][..],
            &*broken,
            "it does not parse",
        ),
        (&["--kubeconfig", &empty], &empty, "there is nothing in it"),
        (&["--kubeconfig", absent], absent, "there is none"),
        (
            &["--kubeconfig", &good, "--context", "other"],
            "other",
            "it has no such context",
        ),
        (
            &[],
            "give `--kubeconfig FILE`",
            "nobody says where the cluster is",
        ),
    ] {
        let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let ran = run(&[&["webhook", "--self-signed"], &ports[..], args].concat());
        assert_eq!(ran.status, 2, "{why}: {ran:?}");
        assert_eq!(ran.stdout, "", "{why}");
        let told = ran.stderr.lines().last().unwrap_or_default();
        assert!(told.starts_with("error: "), "{why}: {}", ran.stderr);
        assert!(told.contains(says), "{why}: {told}");
    }
}
