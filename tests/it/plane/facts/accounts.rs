//! The ServiceAccount admission plugin: what it writes before a webhook sees the Pod, and after one changed the account.

use serde_json::{Value, json};

use super::{path, pod};
use crate::plane::hook::{Hook, patching};
use crate::plane::{Plane, wait_until};

fn account(plane: &Plane, namespace: &str, name: &str, fields: &Value) {
    let mut account = json!({"metadata": {"name": name}});
    let fields = fields.as_object().unwrap().clone();
    account.as_object_mut().unwrap().extend(fields);
    let accounts = path(namespace, "serviceaccounts");
    plane.admin().post(&accounts, &account).done();
}

/// The fields below `f:spec` that the managers of an object own, as JSON texts.
fn owned(object: &Value) -> Vec<String> {
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    let specs = managers.iter().map(|m| m["fieldsV1"]["f:spec"].to_string());
    specs.collect()
}

#[test]
fn managed_fields_in_a_review_tell_what_the_author_wrote_himself() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let namespace = plane.namespace("accounts-author");
    let default = format!("{}/default", path(&namespace, "serviceaccounts"));
    let inherited = json!({"imagePullSecrets": [{"name": "inherited"}]});
    admin.merge(&default, &inherited).done();
    let hook = Hook::start(plane, "author", &namespace, |_| json!({"allowed": true}));
    wait_until("the plugin knows the account's list", || {
        let dry = format!("{}?dryRun=All", path(&namespace, "pods"));
        let pod = admin.post(&dry, &pod("dry", &json!({}))).done();
        pod["spec"]["imagePullSecrets"] == json!([{"name": "inherited"}])
    });
    hook.calls();
    let token_like = json!({"volumes": [{"name": "kube-api-access-mine", "emptyDir": {}}]});
    for (n, (spec, wrote, not)) in [
        (
            json!({}),
            &[][..],
            &[
                "f:serviceAccountName",
                "f:imagePullSecrets",
                "kube-api-access",
            ][..],
        ),
        (
            json!({"serviceAccountName": "default"}),
            &["f:serviceAccountName"],
            &["f:imagePullSecrets"],
        ),
        (
            json!({"imagePullSecrets": [{"name": "own"}]}),
            &[r#""k:{\"name\":\"own\"}""#],
            &["f:serviceAccountName", "inherited"],
        ),
        (
            token_like,
            &[r#""k:{\"name\":\"kube-api-access-mine\"}""#],
            &["f:serviceAccountName"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let pods = path(&namespace, "pods");
        let name = format!("p{n}");
        admin.post(&pods, &pod(&name, &spec)).done();
        let applied = format!("a{n}");
        admin
            .apply(
                &format!("{pods}/{applied}?fieldManager=m"),
                &pod(&applied, &spec),
            )
            .done();
        let labels = json!({"app": format!("d{n}")});
        let deployment = json!({
            "metadata": {"name": format!("d{n}")},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod("t", &spec)["spec"]}},
        });
        let deployments = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
        admin.post(&deployments, &deployment).done();
        let mut calls = Vec::new();
        wait_until("three Pods were reviewed", || {
            calls.extend(hook.calls());
            calls.len() >= 3
        });
        for request in calls {
            let object = &request["object"];
            assert_eq!(object["spec"]["serviceAccountName"], "default");
            let owned = owned(object).concat();
            for field in wrote {
                assert!(
                    owned.contains(field),
                    "{spec}: {field} was written: {owned}"
                );
            }
            for field in not {
                assert!(!owned.contains(field), "{spec}: {field} was not: {owned}");
            }
        }
    }
}

#[test]
fn the_plugins_volume_has_a_known_look() {
    let plane = Plane::shared();
    let namespace = plane.namespace("accounts-volume");
    let spec = json!({
        "volumes": [{"name": "mine", "emptyDir": {}}],
        "initContainers": [{"name": "i", "image": "registry.example.com/i"}],
    });
    let made = plane
        .admin()
        .post(&path(&namespace, "pods"), &pod("p", &spec))
        .done();
    let volumes = made["spec"]["volumes"].as_array().unwrap();
    let [mine, token] = &volumes[..] else {
        panic!("{volumes:?}")
    };
    assert_eq!(mine["name"], "mine");
    let name = token["name"].as_str().unwrap();
    assert_eq!(name.strip_prefix("kube-api-access-").map(str::len), Some(5));
    let sources = &token["projected"]["sources"];
    assert_eq!(
        sources[0],
        json!({"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}})
    );
    for container in [
        &made["spec"]["initContainers"][0],
        &made["spec"]["containers"][0],
    ] {
        assert_eq!(
            container["volumeMounts"],
            json!([{"name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}])
        );
    }
}

#[test]
fn a_bare_switch_of_the_account_brings_the_name_and_nothing_else() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let namespace = plane.namespace("accounts-switch");
    let fields =
        json!({"imagePullSecrets": [{"name": "x"}], "automountServiceAccountToken": false});
    account(plane, &namespace, "x", &fields);
    let pods = path(&namespace, "pods");
    let asked = pod("asked", &json!({"serviceAccountName": "x"}));
    let asked = admin.post(&pods, &asked).done();
    assert_eq!(asked["spec"]["imagePullSecrets"], json!([{"name": "x"}]));
    assert_eq!(asked["spec"]["volumes"], Value::Null, "the yardstick");

    let hook = Hook::start(plane, "switch", &namespace, |request| {
        if request["object"]["spec"]["serviceAccountName"] == "x" {
            return json!({"allowed": true});
        }
        patching(&json!([{"op": "replace", "path": "/spec/serviceAccountName", "value": "x"}]))
    });
    let switched = admin.post(&pods, &pod("switched", &json!({}))).done();
    assert_eq!(switched["spec"]["serviceAccountName"], "x");
    assert_eq!(switched["spec"]["serviceAccount"], "x", "it follows");
    assert_eq!(
        switched["spec"]["volumes"].as_array().map(Vec::len),
        Some(1),
        "the token stays, although x says no"
    );
    assert_eq!(
        switched["spec"]["imagePullSecrets"],
        json!([{"name": "x"}]),
        "the plugin runs again and fills an empty list"
    );
    assert!(!hook.calls().is_empty());

    let own = json!({"imagePullSecrets": [{"name": "own"}]});
    let switched = admin.post(&pods, &pod("own", &own)).done();
    assert_eq!(
        switched["spec"]["imagePullSecrets"],
        json!([{"name": "own"}]),
        "and leaves one that is not empty: x's are not added"
    );
}

#[test]
fn an_enforcing_account_refuses_what_it_does_not_list_under_ignore_too() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let namespace = plane.namespace("accounts-enforcing");
    let pods = path(&namespace, "pods");
    for (value, enforces) in [
        ("true", true),
        ("1", true),
        ("T", true),
        ("yes", false),
        ("", false),
    ] {
        let name = format!("x{}", value.to_lowercase());
        let metadata = json!({"metadata": {"name": name, "annotations": {"kubernetes.io/enforce-mountable-secrets": value}}});
        account(plane, &namespace, &name, &metadata);
        for spec in [
            json!({"imagePullSecrets": [{"name": "stranger"}]}),
            json!({"imagePullSecrets": [{}]}),
            json!({"volumes": [{"name": "v", "secret": {"secretName": "stranger"}}]}),
            json!({"containers": [{"name": "c", "image": "c", "envFrom": [{"secretRef": {"name": "stranger"}}]}]}),
        ] {
            let mut pod = pod("p", &spec);
            pod["spec"]["serviceAccountName"] = json!(name);
            let answer = admin.post(&format!("{pods}?dryRun=All"), &pod);
            let want = if enforces { 403 } else { 201 };
            assert_eq!(answer.status, want, "{value:?}: {spec}: {answer:?}");
        }
    }
    let missing = pod("p", &json!({"serviceAccountName": "nope"}));
    let answer = admin.post(&pods, &missing);
    let (status, message) = answer.refused();
    assert_eq!(status, 403);
    assert!(
        message.contains("serviceaccount \"nope\" not found"),
        "{message}"
    );
}
