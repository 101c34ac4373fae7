//! What the API server makes of a webhook's answer, and what it sends in a request.

use serde_json::{Value, json};

use super::{path, pod};
use crate::plane::hook::{Hook, patching};
use crate::plane::{Plane, wait_for};

#[test]
fn a_warning_with_a_control_character_vanishes_and_long_ones_are_cut() {
    let plane = Plane::shared();
    let namespace = plane.namespace("answers-warnings");
    let hook = Hook::start(plane, "warnings", &namespace, |request| {
        let name = request["name"].as_str().unwrap_or_default();
        let warnings = match name {
            "short" => {
                json!([
                    "good",
                    "new\nline",
                    "tab\there",
                    "nul\u{0}",
                    "es\u{1b}c",
                    "",
                    "good",
                    "ümläut"
                ])
            }
            "long" => json!(
                vec!["x".repeat(300); 2]
                    .into_iter()
                    .chain(["y".repeat(4000)])
                    .collect::<Vec<_>>()
            ),
            _ => json!([]),
        };
        json!({"allowed": true, "warnings": warnings})
    });
    let pods = format!("{}?dryRun=All", path(&namespace, "pods"));
    let answer = plane.admin().post(&pods, &pod("short", &json!({})));
    assert_eq!(answer.warnings, ["good", "ümläut"]);
    let answer = plane.admin().post(&pods, &pod("long", &json!({})));
    let lengths: Vec<usize> = answer.warnings.iter().map(String::len).collect();
    assert_eq!(lengths, [256, 256], "equal ones are one");
    drop(hook);
}

#[test]
fn a_denial_says_its_own_status() {
    let plane = Plane::shared();
    let namespace = plane.namespace("answers-denials");
    let hook = Hook::start(
        plane,
        "denials",
        &namespace,
        |request| match request["name"].as_str().unwrap_or_default() {
            "bare" => json!({"allowed": false}),
            "forbidden" => {
                let mut response =
                    patching(&json!([{"op": "add", "path": "/spec/foo", "value": 1}]));
                response["allowed"] = json!(false);
                response["status"] =
                    json!({"code": 403, "reason": "Forbidden", "message": "because"});
                response
            }
            _ => json!({"allowed": true}),
        },
    );
    let pods = path(&namespace, "pods");
    let bare = plane.admin().post(&pods, &pod("bare", &json!({})));
    assert_eq!(bare.refused().0, 400);
    let forbidden = plane.admin().post(&pods, &pod("forbidden", &json!({})));
    let (status, message) = forbidden.refused();
    assert_eq!(
        (status, &forbidden.body["reason"]),
        (403, &json!("Forbidden"))
    );
    assert!(
        message.ends_with("denied the request: because"),
        "{message}"
    );
    drop(hook);
}

#[test]
fn a_patch_that_does_not_apply_fails_the_pod_under_ignore_too() {
    let plane = Plane::shared();
    let namespace = plane.namespace("answers-patches");
    let operations = |name: &str| match name {
        "end-of-nothing" => {
            json!([{"op": "add", "path": "/spec/imagePullSecrets/-", "value": {"name": "s"}}])
        }
        "no-annotations" => json!([{"op": "add", "path": "/metadata/annotations/x", "value": "y"}]),
        "failed-test" => json!([{"op": "test", "path": "/spec/hostNetwork", "value": true}]),
        "unknown-field" => json!([{"op": "add", "path": "/spec/foo", "value": 1}]),
        "nameless" => {
            json!([{"op": "add", "path": "/spec/imagePullSecrets", "value": [{}, {"name": "s"}, {"name": "s"}]}])
        }
        _ => json!([]),
    };
    let hook = Hook::start(plane, "patches", &namespace, move |request| {
        patching(&operations(request["name"].as_str().unwrap_or_default()))
    });
    let pods = path(&namespace, "pods");
    for (name, want) in [
        ("end-of-nothing", 500),
        ("no-annotations", 500),
        ("failed-test", 500),
        ("unknown-field", 201),
        ("nameless", 201),
        ("empty", 201),
    ] {
        let answer = plane.admin().post(&pods, &pod(name, &json!({})));
        assert_eq!(answer.status, want, "{name}: {answer:?}");
        if name == "nameless" {
            assert_eq!(
                answer.body["spec"]["imagePullSecrets"],
                json!([{}, {"name": "s"}, {"name": "s"}]),
                "as they came"
            );
        }
    }
    drop(hook);
}

#[test]
fn audit_annotations_are_kept_as_first_told() {
    let plane = Plane::shared();
    let namespace = plane.namespace("answers-audit");
    // It changes the Pod each time until it is done, so that it is called again after the other one.
    let annotating = |value: &str| json!({"allowed": true, "auditAnnotations": {"same": "s", "differs": value, "no good key": "x"}});
    let ours = Hook::start(plane, "a", &namespace, move |request| {
        let again = request["object"]["spec"]["containers"]
            .as_array()
            .map(Vec::len)
            == Some(2);
        annotating(if again { "second" } else { "first" })
    });
    let sidecar = json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "sidecar", "image": "sidecar.example.com/s"}}]);
    let later = Hook::start(plane, "b", &namespace, move |request| {
        if request["object"]["spec"]["containers"]
            .as_array()
            .map(Vec::len)
            == Some(2)
        {
            return json!({"allowed": true});
        }
        patching(&sidecar)
    });
    ours.calls();
    let pods = path(&namespace, "pods");
    plane
        .admin()
        .post(&pods, &pod("audited", &json!({})))
        .done();
    assert_eq!(ours.calls().len(), 2, "again after the later webhook");
    assert!(!later.calls().is_empty());
    let uri = path(&namespace, "pods");
    let event = wait_for("the line in the audit log", || {
        let events = plane.audited(|event| {
            event["verb"] == "create"
                && event["requestURI"] == *uri
                && event["responseStatus"]["code"] == 201
        });
        events.into_iter().next_back()
    });
    let annotations = &event["annotations"];
    assert_eq!(annotations["pods.hook.example.com/same"], "s");
    assert_eq!(annotations["pods.hook.example.com/differs"], "first");
    assert_eq!(
        annotations["pods.hook.example.com/no good key"],
        Value::Null
    );
}

#[test]
fn a_debug_container_comes_as_an_update_of_the_whole_pod() {
    let plane = Plane::shared();
    let namespace = plane.namespace("answers-debug");
    let hook = Hook::start(plane, "debug", &namespace, |request| {
        if request["subResource"] == "ephemeralcontainers" {
            let secrets = json!([{"op": "add", "path": "/spec/imagePullSecrets", "value": [{"name": "late"}]}]);
            let mut response = patching(&secrets);
            response["warnings"] = json!(["too late for a pull secret"]);
            return response;
        }
        json!({"allowed": true})
    });
    let pods = path(&namespace, "pods");
    plane.admin().post(&pods, &pod("p", &json!({}))).done();
    hook.calls();
    let ran = plane.admin().kubectl(&[
        "-n",
        &namespace,
        "debug",
        "p",
        "--image",
        "debug.example.com/d",
        "--container",
        "d",
        "--attach=false",
    ]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("Warning: too late for a pull secret"),
        "{ran:?}"
    );
    let calls = hook.calls();
    let request = calls.first().unwrap();
    assert_eq!(request["kind"]["kind"], "Pod");
    assert_eq!(request["operation"], "UPDATE");
    for (object, want) in [("object", 1), ("oldObject", 0)] {
        let spec = &request[object]["spec"];
        assert_eq!(
            spec["containers"].as_array().unwrap().len(),
            1,
            "the whole Pod"
        );
        let ephemeral = spec["ephemeralContainers"].as_array().map_or(0, Vec::len);
        assert_eq!(ephemeral, want, "{object}");
    }
    let stored = plane.admin().get(&format!("{pods}/p")).done();
    assert_eq!(
        stored["spec"]["imagePullSecrets"],
        Value::Null,
        "the patch is without effect"
    );
}

#[test]
fn what_a_request_holds() {
    let plane = Plane::shared();
    let namespace = plane.namespace("answers-requests");
    let hook = Hook::start(plane, "requests", &namespace, |_| json!({"allowed": true}));
    let mut generated = pod("", &json!({}));
    generated["metadata"] = json!({"generateName": "web-"});
    let pods = path(&namespace, "pods");
    plane.admin().post(&pods, &generated).done();
    let dry = format!("{pods}?dryRun=All");
    plane
        .admin()
        .post(&dry, &pod("dry", &json!({"imagePullSecrets": []})))
        .done();
    let calls = hook.calls();
    let [generated, dry] = &calls[..] else {
        panic!("{calls:?}")
    };
    assert_eq!(generated["name"], Value::Null);
    assert_eq!(generated["namespace"], *namespace);
    assert_eq!(generated["object"]["metadata"]["namespace"], *namespace);
    assert_eq!(
        (&generated["dryRun"], &dry["dryRun"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(
        dry["object"]["spec"]["imagePullSecrets"],
        Value::Null,
        "an empty list is no list at our door"
    );
}
