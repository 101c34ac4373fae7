//! Watches of an API server that misbehaves: nothing that it sends stops them, and it is not asked too often.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fake::{Asked, Fake, Mood, OWN, refusal};
use super::{HUB, policy};
use crate::plane::wait_until;
use crate::webhook::server::Server;
use crate::webhook::{review, secrets};

const X: &str = "    - {name: x, match: {images: [quay.io]}, inject: {serviceAccountName: x}}\n";

fn config_map(name: &str, text: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": OWN, "labels": {"pullpass.dev/policy": "true"}}, "data": {"policy.yaml": text}})
}

fn namespace(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}})
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace}})
}

/// An object whose metadata has this in place of what it had.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    match object.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => object["metadata"][pointer.rsplit('/').next().unwrap()] = value,
    }
    object
}

/// A namespace `web` with an account `x`, and a policy.
fn cluster() -> Fake {
    let fake = Fake::start();
    fake.holds("namespaces", &[namespace("web")]);
    fake.holds("serviceaccounts", &[account("web", "x")]);
    fake.holds(
        "configmaps",
        &[config_map("company", &policy("company", HUB))],
    );
    fake
}

/// The pull secrets of a Pod that is asked for now.
fn injected(server: &Server, namespace: &str, image: &str) -> Vec<String> {
    secrets(&server.client().ask(&review(namespace, &[image])))
}

fn until_injected(server: &Server, namespace: &str, image: &str, want: &[&str]) {
    wait_until(&format!("{image} gets {want:?} in {namespace}"), || {
        injected(server, namespace, image) == want
    });
}

fn errors(server: &Server, resource: &str) -> u64 {
    server.count(&format!(
        "pullpass_watch_errors_total{{resource=\"{resource}\"}}"
    ))
}

/// Each of these came later behind the one before: a quarter of a second, a half, one...
fn backed_off(asked: &[Asked]) {
    let mut least = Duration::from_millis(250);
    for pair in asked.windows(2) {
        let waited = pair[1].at - pair[0].at;
        assert!(waited >= least, "{waited:?} is less than {least:?}");
        least *= 2;
    }
}

#[test]
fn an_object_of_a_wrong_shape_stops_no_watch_and_leaves_when_it_is_deleted() {
    let fake = cluster();
    let odd = |object: Value| {
        [
            ("/metadata/labels", json!(3)),
            ("/metadata/labels", json!({"a": 3})),
            ("/metadata/annotations", json!(["a"])),
            ("/metadata/creationTimestamp", json!("yesterday")),
            ("/metadata/managedFields", json!("none")),
            ("/metadata/ownerReferences", json!([{"uid": 7}])),
            ("/metadata/generation", json!("seven")),
        ]
        .into_iter()
        .enumerate()
        .map(|(n, (pointer, value))| {
            let mut object = with(object.clone(), pointer, value);
            object["metadata"]["name"] = json!(format!("odd-{n}"));
            object
        })
        .collect::<Vec<_>>()
    };
    let one = |name: &str, secret: &str| {
        config_map(name, &policy(name, &HUB.replace("hub-creds", secret)))
    };
    // Their text is as it should be: the first of this name is in force.
    let mut maps = odd(config_map("o", &policy("o", X)));
    maps.extend([
        with(one("list", "l"), "/data", json!(["a"])),
        with(one("number", "n"), "/data", json!({"policy.yaml": 3})),
        with(one("null", "n"), "/data", json!(null)),
        one("good", "good"),
    ]);
    let mut namespaces = odd(namespace("o"));
    namespaces.push(namespace("web"));
    let mut accounts = odd(account("web", "o"));
    accounts.extend([
        json!({"metadata": {"name": "y", "namespace": "web"}, "imagePullSecrets": 7, "secrets": "s", "automountServiceAccountToken": []}),
        account("web", "x"),
    ]);
    fake.holds("configmaps", &maps);
    fake.holds("namespaces", &namespaces);
    fake.holds("serviceaccounts", &accounts);
    let server = fake.webhook();
    server.until_ready();
    until_injected(&server, "web", "nginx", &["good"]);

    // The same on a watch: each is followed by one that can be read.
    for (resource, objects, good) in [
        ("configmaps", &maps, one("good", "better")),
        ("namespaces", &namespaces, namespace("next")),
        ("serviceaccounts", &accounts, account("web", "late")),
    ] {
        for object in objects {
            fake.sends(resource, "MODIFIED", object);
        }
        fake.sends(resource, "MODIFIED", &good);
    }
    until_injected(&server, "web", "nginx", &["better"]);

    // A policy becomes unreadable, and is deleted as such.
    let broken = with(one("good", "good"), "/data", json!(["broken"]));
    let rejected = "pullpass_policy_documents{state=\"rejected\"}";
    let before = server.count(rejected);
    fake.sends("configmaps", "MODIFIED", &broken);
    server.until_count(rejected, before + 1);
    assert_eq!(injected(&server, "web", "nginx"), ["better"], "as it was");
    fake.sends(
        "configmaps",
        "DELETED",
        &with(broken, "/metadata/labels", json!(3)),
    );
    until_injected(&server, "web", "nginx", &[]);
    server.until_count(rejected, before);

    // So is a namespace: it leaves the cache.
    let held = "pullpass_cache_objects{resource=\"namespaces\"}";
    let before = server.count(held);
    fake.sends("namespaces", "DELETED", &namespaces[0]);
    server.until_count(held, before - 1);
    for resource in ["configmaps", "namespaces", "serviceaccounts"] {
        assert_eq!(errors(&server, resource), 0, "{resource}: {}", server.log());
        assert_eq!(
            fake.asked(resource).len(),
            2,
            "one list and one watch of {resource}"
        );
    }
}

#[test]
fn a_watch_that_is_too_old_is_begun_anew_and_what_vanished_leaves() {
    let fake = cluster();
    let one = |name: &str, secret: &str| {
        config_map(name, &policy(name, &HUB.replace("hub-creds", secret)))
    };
    fake.holds("configmaps", &[one("a", "one"), one("b", "two")]);
    let server = fake.webhook();
    server.until_ready();
    assert_eq!(injected(&server, "web", "nginx"), ["one", "two"]);
    fake.holds("configmaps", &[one("b", "three")]);
    fake.sends("configmaps", "ERROR", &refusal(410));
    until_injected(&server, "web", "nginx", &["three"]);
    assert_eq!(errors(&server, "configmaps"), 0, "that is no failure");
}

#[test]
fn a_watch_that_ends_abruptly_goes_on_where_it_was() {
    let fake = cluster();
    let server = fake.webhook();
    server.until_ready();
    let edit = |secret: &str| {
        let map = config_map(
            "company",
            &policy("company", &HUB.replace("hub-creds", secret)),
        );
        fake.sends("configmaps", "MODIFIED", &map);
    };
    // The list had version 1, the events have those behind it.
    for (round, version) in [("one", "2"), ("two", "3"), ("three", "4")] {
        edit(round);
        until_injected(&server, "web", "nginx", &[round]);
        let before = fake.asked("configmaps").len();
        fake.cuts("configmaps");
        fake.until_watched("configmaps");
        let asked = fake.asked("configmaps");
        assert!(asked.len() > before);
        let all_watches = asked[before..].iter().all(|asked| asked.watch);
        assert!(all_watches, "nothing is listed again: {asked:?}");
        let from = &asked.last().unwrap().version;
        assert_eq!(from, version, "it goes on behind the last event");
    }
    edit("last");
    until_injected(&server, "web", "nginx", &["last"]);
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn errors_are_counted_and_backed_off_and_what_was_known_stays_in_force() {
    let fake = cluster();
    let server = fake.webhook();
    server.until_ready();
    for resource in ["configmaps", "namespaces", "serviceaccounts"] {
        fake.until_watched(resource);
        fake.becomes(resource, Mood::Refuses(500));
        fake.cuts(resource);
    }
    for resource in ["configmaps", "namespaces", "serviceaccounts"] {
        wait_until(&format!("errors of {resource} are counted"), || {
            errors(&server, resource) >= 4
        });
    }
    for resource in ["configmaps", "namespaces", "serviceaccounts"] {
        // One list and one watch went well.
        backed_off(&fake.asked(resource)[2..]);
    }
    assert_eq!(injected(&server, "web", "nginx"), ["hub-creds"]);
    assert_eq!(server.get("/readyz").status, 200, "an old table beats none");
    assert!(server.log().contains("told to say 500"), "{}", server.log());
    for resource in ["configmaps", "namespaces", "serviceaccounts"] {
        fake.becomes(resource, Mood::Answers);
    }
    fake.sends(
        "configmaps",
        "MODIFIED",
        &config_map("company", &policy("company", X)),
    );
    until_injected(&server, "web", "nginx", &[]);
}

#[test]
fn a_list_that_is_refused_is_asked_for_later_each_time() {
    let fake = cluster();
    fake.becomes("serviceaccounts", Mood::Refuses(500));
    let server = fake.webhook();
    wait_until("it was asked for five times", || {
        fake.asked("serviceaccounts").len() >= 5
    });
    backed_off(&fake.asked("serviceaccounts"));
    fake.becomes("serviceaccounts", Mood::Answers);
    server.until_ready();
}

#[test]
fn a_right_to_list_without_one_to_watch_is_told_in_log_and_metrics() {
    let fake = cluster();
    fake.becomes("configmaps", Mood::RefusesWatches(403));
    let server = fake.webhook();
    // There is a table to decide with.
    server.until_ready();
    wait_until("it is counted", || errors(&server, "configmaps") > 1);
    let told = "the policy ConfigMaps in `pullpass-system` may not be read";
    wait_until("it is logged", || server.log().contains(told));
    fake.becomes("configmaps", Mood::Answers);
    fake.sends("configmaps", "DELETED", &config_map("company", ""));
    until_injected(&server, "web", "nginx", &[]);
}

#[test]
fn a_pod_waits_a_moment_for_an_account_that_is_about_to_come() {
    let fake = cluster();
    let rules = X.replace("serviceAccountName: x", "serviceAccountName: late");
    fake.holds(
        "configmaps",
        &[config_map("company", &policy("company", &rules))],
    );
    let server = fake.webhook();
    server.until_ready();
    let switched = |namespace: &str| {
        let asked = Instant::now();
        let answer = server.client().ask(&review(namespace, &["quay.io/a/b"]));
        let account = answer["response"]["auditAnnotations"]["service-account"].clone();
        (account == "late", asked.elapsed())
    };
    let (found, waited) = switched("web");
    assert!(!found, "it does not come");
    assert!(waited >= Duration::from_millis(250), "{waited:?}");
    fake.sends("namespaces", "ADDED", &namespace("next"));
    std::thread::scope(|scope| {
        let pod = scope.spawn(|| switched("next"));
        std::thread::sleep(Duration::from_millis(10));
        fake.sends("serviceaccounts", "ADDED", &account("next", "late"));
        let (found, _) = pod.join().unwrap();
        assert!(found, "it came behind its Pod");
    });
}
