//! Policies and objects that change while it runs: taken when good, refused when bad, never half.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::server::{Place, Server};
use super::{Load, patch, policy, review, secrets, until};

const SUCCESSFUL: &str = "pullpass_policy_last_reload_successful";
const TIMESTAMP: &str = "pullpass_policy_last_reload_success_timestamp_seconds";
const LOADED: &str = "pullpass_policy_documents{state=\"loaded\"}";
const REJECTED: &str = "pullpass_policy_documents{state=\"rejected\"}";

/// Reloads under load.
const RELOADS: usize = 200;
/// Connections that ask all the while.
const CLIENTS: usize = 4;

fn until_injects(server: &Server, want: &[&str]) {
    let mut client = server.client();
    until(&format!("it injects {want:?}"), || {
        secrets(&client.ask(&review("shop", &["nginx"]))) == want
    });
}

#[test]
fn an_edit_is_in_force_soon_also_on_a_connection_that_is_open() {
    let server = Place::with(&policy(&[("docker.io", "one")])).start(&[]);
    let (digest, loaded_at) = (server.digest(), server.metric(TIMESTAMP));
    let mut open = server.client();
    assert_eq!(secrets(&open.ask(&review("shop", &["nginx"]))), ["one"]);
    assert_eq!(server.count("pullpass_policy_rules"), 1);
    server.place.put(
        "policy.yaml",
        &policy(&[("docker.io", "two"), ("quay.io", "three")]),
    );
    until_injects(&server, &["two"]);
    assert_eq!(secrets(&open.ask(&review("shop", &["nginx"]))), ["two"]);
    assert_ne!(server.digest(), digest);
    assert!(server.metric(TIMESTAMP) > loaded_at);
    assert_eq!(server.count("pullpass_policy_rules"), 2);
    assert!(
        server.get("/readyz?verbose").body.contains("2 rules"),
        "readiness tells it too"
    );
}

#[test]
fn an_edit_in_place_of_the_same_length_is_seen_too() {
    let server = Place::with(&policy(&[("docker.io", "one")])).start(&[]);
    for secret in ["two", "six", "ten"] {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(server.place.path("policy.yaml"));
        file.unwrap()
            .write_all(policy(&[("docker.io", secret)]).as_bytes())
            .unwrap();
        until_injects(&server, &[secret]);
    }
}

#[test]
fn a_bad_edit_keeps_the_table_is_counted_and_logged_and_can_be_mended() {
    let good = policy(&[("docker.io", "one")]);
    let server = Place::with(&good).start(&[]);
    server.until_ready();
    let digest = server.digest();
    for (bad, told, rejected) in [
        (policy(&[("a[b", "two")]), "error[PP108] policy.yaml:6:", 1),
        ("a: [1".to_owned(), "error[PP101] policy.yaml:1:", 1),
        (
            "kind: Pod\n".to_owned(),
            "there is no RegistryPolicy in them",
            0,
        ),
        (format!("{good}---\n{good}"), "error[PP112] policy.yaml:", 1),
    ] {
        let loaded_at = server.metric(TIMESTAMP);
        server.place.put("policy.yaml", &bad);
        server.until_count(SUCCESSFUL, 0);
        until("the log tells it", || server.log().contains(told));
        until_injects(&server, &["one"]);
        assert_eq!(server.digest(), digest, "{told}");
        assert_eq!(server.count(LOADED), 1, "{told}");
        assert_eq!(server.count(REJECTED), rejected, "{told}");
        assert_eq!(
            server.metric(TIMESTAMP).to_bits(),
            loaded_at.to_bits(),
            "{told}"
        );
        assert_eq!(
            server.get("/readyz").status,
            200,
            "the old table is as good as before"
        );
        server.place.put("policy.yaml", &good);
        server.until_count(SUCCESSFUL, 1);
        assert_eq!(server.count(REJECTED), 0, "{told}");
        assert!(server.metric(TIMESTAMP) > loaded_at, "{told}");
    }
}

#[test]
fn a_file_that_is_gone_for_a_while_may_come_back_as_it_was() {
    let server = Place::with(&policy(&[("docker.io", "one")])).start(&[]);
    let (here, away) = (server.place.path("policy.yaml"), server.place.path("away"));
    fs::rename(&here, &away).unwrap();
    server.until_count(SUCCESSFUL, 0);
    until("the log tells it", || {
        server
            .log()
            .contains("cannot read `policy.yaml`: no such file")
    });
    until_injects(&server, &["one"]);
    fs::rename(&away, &here).unwrap();
    server.until_count(SUCCESSFUL, 1);
    let told = server.log().matches("cannot read `policy.yaml`").count();
    assert_eq!(told, 1, "told once, not at each look: {}", server.log());
}

#[test]
fn an_edit_of_the_objects_is_an_edit_of_the_table() {
    let account = |name: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {name}, namespace: shop}}}}\n"
        )
    };
    let text =
        policy(&[("docker.io", "one")]).replace("[one]}", "[one], serviceAccountName: builder}");
    let place = Place::with(&text);
    place.put("objects.yaml", &account("default"));
    let server = place.start(&["--objects", "objects.yaml"]);
    let mut client = server.client();
    let mut switches = || {
        let patch = patch(&client.ask(&review("shop", &["nginx"])));
        patch.as_array().unwrap().contains(
            &json!({"op": "replace", "path": "/spec/serviceAccountName", "value": "builder"}),
        )
    };
    assert!(!switches(), "the account does not exist");
    server
        .place
        .put("objects.yaml", &(account("default") + &account("builder")));
    until("the account is known", &mut switches);
    server
        .place
        .put("objects.yaml", "{apiVersion: v1, kind: ServiceAccount}");
    server.until_count(SUCCESSFUL, 0);
    assert!(switches(), "bad objects are not taken");
    assert_eq!(server.count(REJECTED), 0, "no policy is wrong");
    server.place.put("objects.yaml", &account("default"));
    until("the account is gone", || !switches());
}

/// A directory as the kubelet mounts a ConfigMap: links through `..data`, which is swapped whole.
fn mount(at: &Path, version: &str, files: &[(&str, &str)]) {
    let data = at.join(format!("..{version}"));
    fs::create_dir_all(&data).unwrap();
    for (name, text) in files {
        fs::write(data.join(name), text).unwrap();
        let link = at.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    let _ = fs::remove_file(at.join("..data_tmp"));
    symlink(format!("..{version}"), at.join("..data_tmp")).unwrap();
    fs::rename(at.join("..data_tmp"), at.join("..data")).unwrap();
    // What is mounted no more goes after the swap, as the kubelet does it.
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() && fs::metadata(&path).is_err() {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_mounted_directory_is_swapped_whole_and_never_seen_half() {
    let place = Place::with("");
    let at = place.path("mounted");
    fs::create_dir(&at).unwrap();
    // Equal names, so that a mixture of both versions would be neither's answer.
    let version = |n: usize| {
        let one = policy(&[("docker.io", &format!("a{n}"))]);
        let two = policy(&[("docker.io", &format!("b{n}"))]).replace("name: p}", "name: q}");
        (one, two)
    };
    let swap = |n: usize| {
        let (one, two) = version(n);
        mount(&at, &format!("v{n}"), &[("a.yaml", &one), ("b.yaml", &two)]);
    };
    swap(0);
    let server = place.start(&["--policy", "mounted"]);
    let mut client = server.client();
    for n in 1..=20 {
        swap(n);
        until("the new version is in force", || {
            let got = secrets(&client.ask(&review("shop", &["nginx"])));
            let of = |n: usize| [format!("a{n}"), format!("b{n}")];
            assert!(got == of(n) || got == of(n - 1), "a mixture: {got:?}");
            got == of(n)
        });
    }
    mount(&at, "last", &[("c.yaml", &policy(&[("docker.io", "c")]))]);
    until_injects(&server, &["c"]);
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[test]
fn reloads_under_load_fail_no_request_and_answer_by_one_of_the_tables() {
    let texts = [
        policy(&[("docker.io", "one")]),
        policy(&[("docker.io", "two"), ("quay.io", "two")]),
    ];
    let server = Place::with(&texts[0]).start(&[]);
    let digests = {
        let first = server.digest();
        server.place.put("policy.yaml", &texts[1]);
        until("the other table", || server.digest() != first);
        [first, server.digest()]
    };
    let pod = review("shop", &["nginx"]);
    let answers = {
        let mut client = server.client();
        let two = client.post(&pod).unwrap().body;
        server.place.put("policy.yaml", &texts[0]);
        until("the first table", || server.digest() == digests[0]);
        [client.post(&pod).unwrap().body, two]
    };
    assert_ne!(answers[0], answers[1]);
    let (load, asked) = (Load::default(), AtomicU64::new(0));
    std::thread::scope(|threads| {
        let _load = load.until_dropped();
        for _ in 0..CLIENTS {
            threads.spawn(|| {
                // One connection all the while: nothing closes it.
                let mut client = server.client();
                let mut seen = [false; 2];
                while load.goes_on() {
                    let response = client.post(&pod).unwrap();
                    let table = answers.iter().position(|answer| *answer == response.body);
                    let table =
                        table.unwrap_or_else(|| panic!("neither table's answer: {response:?}"));
                    seen[table] = true;
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                assert_eq!(seen, [true; 2], "both tables answered");
            });
        }
        for n in 1..=RELOADS {
            server.place.put("policy.yaml", &texts[n % 2]);
            until("the table is in force", || {
                server.digest() == digests[n % 2]
            });
        }
    });
    let asked = asked.into_inner();
    assert!(asked > RELOADS as u64, "only {asked} requests");
    let counted =
        server.count("pullpass_admission_requests_total{operation=\"CREATE\",outcome=\"patched\"}");
    assert!(counted >= asked, "{counted} counted of {asked}");
    assert_eq!(server.count(SUCCESSFUL), 1);
}
