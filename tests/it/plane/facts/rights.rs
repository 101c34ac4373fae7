//! How far RBAC by `resourceNames` reaches: reads by a field selector, and a creation only as an apply.

use serde_json::{Value, json};

use crate::plane::{Plane, User};

/// An account that may do this in its namespace.
fn account(plane: &Plane, namespace: &str, rules: &Value) -> User {
    let admin = plane.admin();
    let at =
        |kind: &str| format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{kind}");
    let name = json!({"name": "bounded"});
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    admin.post(&accounts, &json!({"metadata": name})).done();
    admin
        .post(&at("roles"), &json!({"metadata": name, "rules": rules}))
        .done();
    let binding = json!({
        "metadata": name,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "bounded"},
        "subjects": [{"kind": "ServiceAccount", "name": "bounded", "namespace": namespace}],
    });
    admin.post(&at("rolebindings"), &binding).done();
    plane.account(namespace, "bounded")
}

#[test]
fn a_name_in_a_role_lets_read_by_that_name_and_by_a_selector_of_it() {
    let plane = Plane::shared();
    let namespace = plane.namespace("rights-read");
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["get", "list", "watch"]}]);
    let user = account(plane, &namespace, &rules);
    let here = format!("/api/v1/namespaces/{namespace}/secrets");
    super::super::wait_until("the right is in force", || {
        user.get(&format!("{here}?fieldSelector=metadata.name%3Dmine"))
            .status
            == 200
    });
    // A watch ends by its own timeout.
    let watch = "watch=true&timeoutSeconds=1";
    for (query, want, why) in [
        ("/mine", 404, "by the name: allowed, and not there"),
        ("/other", 403, "by another name"),
        ("?fieldSelector=metadata.name%3Dmine", 200, "a list"),
        ("?fieldSelector=metadata.name%3D%3Dmine", 200, "with =="),
        (
            "?fieldSelector=metadata.name%3Dmine&limit=1&resourceVersion=0",
            200,
            "as a watcher lists first",
        ),
        (
            &format!("?fieldSelector=metadata.name%3Dmine&{watch}&allowWatchBookmarks=true"),
            200,
            "a watch",
        ),
        (
            "?fieldSelector=metadata.name%21%3Dmine",
            403,
            "all but the name",
        ),
        ("?fieldSelector=metadata.name%3Dother", 403, "another name"),
        ("", 403, "a list of all"),
        (&format!("?{watch}"), 403, "a watch of all"),
    ] {
        let answer = user.get(&format!("{here}{query}"));
        assert_eq!(answer.status, want, "{why}: {query}: {answer:?}");
    }
}

#[test]
fn a_role_that_names_an_object_lets_it_be_created_by_apply_and_not_by_post() {
    let plane = Plane::shared();
    let namespace = plane.namespace("rights-create");
    let verbs = json!(["get", "create", "patch"]);
    let rules = json!([
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": verbs},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["mine"], "verbs": verbs},
    ]);
    let user = account(plane, &namespace, &rules);
    let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"a": "b"}});
    let lease = |name: &str| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": {"holderIdentity": "a"}});
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    super::super::wait_until("the right is in force", || {
        user.get(&format!("{leases}/mine")).status == 404
    });
    for (at, object) in [
        (&secrets, &secret as &dyn Fn(&str) -> Value),
        (&leases, &lease),
    ] {
        assert_eq!(user.post(at, &object("mine")).status, 403, "a POST");
        let apply = |name: &str| user.apply(&format!("{at}/{name}?fieldManager=m"), &object(name));
        assert_eq!(apply("other").status, 403, "another name");
        assert_eq!(apply("mine").status, 201);
        assert_eq!(apply("mine").status, 200, "and changed the same way");
        let put = user.put(&format!("{at}/mine"), &object("mine"));
        assert_eq!(put.status, 403, "a PUT is `update`");
        assert_eq!(user.delete(&format!("{at}/mine"), None).status, 403);
        assert_eq!(user.delete(at, None).status, 403, "all at once");
    }
}
