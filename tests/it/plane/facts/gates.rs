//! Scheduling gates: when one can be set, and the one patch that takes off ours alone.

use serde_json::json;

use super::{path, pod};
use crate::plane::Plane;
use crate::plane::hook::{Hook, patching};

#[test]
fn a_gate_on_a_pod_with_a_node_is_refused_whatever_the_failure_policy() {
    let plane = Plane::shared();
    let namespace = plane.namespace("gates-node");
    let gate = json!([{"op": "add", "path": "/spec/schedulingGates", "value": [{"name": "pullpass.dev/pull-secret"}]}]);
    let _hook = Hook::start(plane, "gates", &namespace, move |_| patching(&gate));
    let pods = path(&namespace, "pods");
    let gated = plane.admin().post(&pods, &pod("free", &json!({}))).done();
    assert_eq!(
        gated["spec"]["schedulingGates"],
        json!([{"name": "pullpass.dev/pull-secret"}])
    );
    let bound = plane
        .admin()
        .post(&pods, &pod("bound", &json!({"nodeName": "n"})));
    let (status, message) = bound.refused();
    assert_eq!(status, 422);
    assert!(
        message.contains("cannot be set until all schedulingGates have been cleared"),
        "{message}"
    );
}

#[test]
fn a_strategic_merge_patch_with_the_uid_takes_off_our_gate_alone() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let namespace = plane.namespace("gates-patch");
    let gates = json!({"schedulingGates": [{"name": "other.example.com/gate"}, {"name": "pullpass.dev/pull-secret"}]});
    let pods = path(&namespace, "pods");
    let made = admin.post(&pods, &pod("p", &gates)).done();
    let at = format!("{pods}/p");
    let patch = |uid: &str| json!({"metadata": {"uid": uid}, "spec": {"schedulingGates": [{"$patch": "delete", "name": "pullpass.dev/pull-secret"}]}});
    let other = admin.strategic_merge(&at, &patch("11111111-2222-3333-4444-555555555555"));
    assert_eq!(other.refused().0, 422, "{other:?}");
    let uid = made["metadata"]["uid"].as_str().unwrap();
    for _ in 0..2 {
        let left = admin.strategic_merge(&at, &patch(uid)).done();
        assert_eq!(
            left["spec"]["schedulingGates"],
            json!([{"name": "other.example.com/gate"}])
        );
    }
    let added = admin.strategic_merge(&at, &json!({"spec": gates}));
    assert_eq!(added.refused().0, 422, "a gate cannot come later");
    let secrets = json!({"spec": {"imagePullSecrets": [{"name": "late"}]}});
    let late = admin.strategic_merge(&at, &secrets);
    assert_eq!(
        late.refused().0,
        422,
        "nor a pull secret while it waits: names go in at CREATE"
    );
}
