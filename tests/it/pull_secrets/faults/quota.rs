//! A quota that forbids Secrets in one namespace: that one lacks its copy, and its Pods go when their time is over.

use std::time::Duration;

use super::super::holds::{held, plane};
use super::*;

#[test]
fn a_quota_holds_up_its_namespace_alone_and_no_pod_past_its_time() {
    let plane = plane();
    let policy = POLICY.replace("from:", "holdPods: true, holdTimeout: 4s, from:");
    let estate = Estate::on(&plane, &policy);
    // The rules do not select it before the quota is in force.
    let full = estate.installation.plane.namespace("full");
    let ledger = Ledger::of(&estate, "quay");
    let waiting = Waiting::on(&plane);
    rotate(&estate, "robot:one");
    estate.put(&policy);
    let controller = estate.control();
    let quota = format!("/api/v1/namespaces/{full}/resourcequotas");
    let none = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/secrets": "0"}}});
    estate.admin().post(&quota, &none).done();
    wait_until("the quota is in force", || {
        let quota = estate.admin().get(&format!("{quota}/none")).done();
        quota["status"]["hard"]["count/secrets"] == "0"
    });
    let labels = json!({"metadata": {"labels": estate.labels()}});
    let at = format!("/api/v1/namespaces/{full}");
    estate.admin().merge(&at, &labels).done();
    let refused = writes(&estate, "quay", "quota");
    wait_until("it is refused", || count(&controller, &refused) > 0);
    create_pod(
        estate.admin(),
        &full,
        &held("waits", &[&estate.name("quay")]),
    )
    .done();
    let others = estate.namespaces(5);
    ledger.until(5, "robot:one");
    rotate(&estate, "robot:two");
    ledger.until(5, "robot:two");
    let note = estate.until_event(&full, "waits", "HoldTimedOut");
    assert!(note.contains(&estate.name("quay")), "{note}");
    assert_eq!(count(&controller, &copies(&estate, "quay", "missing")), 1);
    let tries = count(&controller, &refused);
    assert!(tries <= 6, "{tries} tries");
    estate.admin().delete(&format!("{quota}/none"), None).done();
    ledger.until(6, "robot:two");
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    ledger.end(&Row {
        fault: "quota that forbids Secrets, then lifted",
        values: &["robot:one", "robot:two"],
        wanted: &[others, vec![full]].concat(),
        waited: Some(waiting.end(Duration::from_secs(4), None)),
        happened: &format!("{tries} tries in its namespace"),
    });
}
