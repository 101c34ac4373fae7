//! Server-side apply with preconditions, as the controller writes: what is created, changed, refused, left alone.

use serde_json::{Value, json};

use super::path;
use crate::plane::Plane;

fn secret(metadata: &Value, password: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": password}})
}

#[test]
fn an_apply_with_resource_version_1_only_creates() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let namespace = plane.namespace("applies-create");
    for force in ["", "&force=true"] {
        let name = format!("s{}", force.len());
        let at = format!(
            "{}/{name}?fieldManager=m{force}",
            path(&namespace, "secrets")
        );
        let new = secret(&json!({"name": name, "resourceVersion": "1"}), "a");
        assert_eq!(admin.apply(&at, &new).status, 201);
        let again = admin.apply(&at, &new);
        let (status, message) = again.refused();
        assert_eq!(status, 409, "also when it is our own and equal");
        assert!(
            message.contains("the object has been modified"),
            "{message}"
        );
    }
}

#[test]
fn an_apply_with_a_uid_only_updates_that_object() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let namespace = plane.namespace("applies-update");
    let at = format!(
        "{}/s?fieldManager=m&force=true",
        path(&namespace, "secrets")
    );
    let uid = "11111111-2222-3333-4444-555555555555";
    let absent = admin.apply(&at, &secret(&json!({"name": "s", "uid": uid}), "a"));
    assert_eq!(absent.refused().0, 409, "{absent:?}");
    let made = admin.apply(&at, &secret(&json!({"name": "s"}), "a")).done();
    let other = admin.apply(&at, &secret(&json!({"name": "s", "uid": uid}), "b"));
    assert_eq!(other.refused().0, 422, "{other:?}");
    let ours = json!({"name": "s", "uid": made["metadata"]["uid"]});
    let changed = admin.apply(&at, &secret(&ours, "b")).done();
    let again = admin.apply(&at, &secret(&ours, "b")).done();
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    assert_ne!(version(&made), version(&changed));
    assert_eq!(
        version(&changed),
        version(&again),
        "the same again is no write"
    );
}

#[test]
fn an_apply_to_a_foreign_equal_secret_adopts_it_without_a_word() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let namespace = plane.namespace("applies-foreign");
    let foreign = secret(&json!({"name": "s"}), "a");
    admin.post(&path(&namespace, "secrets"), &foreign).done();
    let labels = json!({"app.kubernetes.io/managed-by": "pullpass"});
    let data = |password: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "labels": labels}, "data": {"password": password}});
    let at = format!("{}/s?fieldManager=m", path(&namespace, "secrets"));
    let different = admin.apply(&at, &data("Yg=="));
    assert_eq!(different.refused().0, 409, "{different:?}");
    let equal = admin.apply(&at, &data("YQ==")).done();
    assert_eq!(
        equal["metadata"]["labels"], labels,
        "why every creation says that it is one"
    );
}

#[test]
fn a_lease_is_held_by_the_resource_version_that_its_writer_read() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let namespace = plane.namespace("applies-lease");
    let at = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/l?fieldManager=m");
    let lease = |version: Option<&Value>, holder: &str| {
        let mut lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {"holderIdentity": holder}});
        if let Some(version) = version {
            lease["metadata"]["resourceVersion"] = version.clone();
        }
        lease
    };
    let one = admin.apply(&at, &lease(Some(&json!("1")), "a")).done();
    let read = &one["metadata"]["resourceVersion"];
    assert_eq!(
        admin.apply(&at, &lease(Some(&json!("1")), "b")).status,
        409,
        "one creates"
    );
    admin.apply(&at, &lease(Some(read), "a2")).done();
    assert_eq!(
        admin.apply(&at, &lease(Some(read), "b")).status,
        409,
        "what was read is old"
    );
    let careless = admin.apply(&at, &lease(None, "b")).done();
    assert_eq!(
        careless["spec"]["holderIdentity"], "b",
        "without the version the second of two takes it from the first"
    );
    admin.delete(at.split('?').next().unwrap(), None).done();
    let gone = admin.apply(&at, &lease(Some(read), "a"));
    assert_eq!(gone.status, 201, "a version of what is gone is no obstacle");
}

#[test]
fn deletions_hold_to_uid_and_resource_version() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let namespace = plane.namespace("applies-delete");
    let secrets = path(&namespace, "secrets");
    let made = admin
        .post(&secrets, &secret(&json!({"name": "s"}), "a"))
        .done();
    let metadata = &made["metadata"];
    let at = format!("{secrets}/s");
    for (precondition, want) in [
        (json!({"uid": "11111111-2222-3333-4444-555555555555"}), 409),
        (json!({"uid": metadata["uid"], "resourceVersion": "1"}), 409),
        (
            json!({"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}),
            200,
        ),
    ] {
        let answer = admin.delete(&at, Some(&json!({"preconditions": precondition})));
        assert_eq!(answer.status, want, "{precondition}: {answer:?}");
    }
}

#[test]
fn an_event_about_what_has_no_namespace_is_taken_in_default_alone() {
    let plane = Plane::shared();
    let namespace = plane.namespace("applies-events");
    let event = json!({
        "metadata": {"generateName": "about-"}, "type": "Normal", "reason": "CertificateRotated", "action": "Rotate",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "pullpass", "reportingInstance": "one",
        "note": "n".repeat(1024),
        "regarding": {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "name": "00-pullpass"},
    });
    let mut long = event.clone();
    long["note"] = json!("n".repeat(1025));
    for (namespace, event, want) in [
        ("default", &event, 201),
        (&*namespace, &event, 422),
        ("default", &long, 422),
    ] {
        let at = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let answer = plane.admin().post(&at, event);
        assert_eq!(answer.status, want, "{namespace}: {answer:?}");
    }
}
