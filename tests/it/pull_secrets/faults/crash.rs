//! The controller dies between a Secret and the Pods that wait for it, or cannot write for longer than its Lease lasts.

use std::time::{Duration, Instant};

use super::super::holds::{held, plane};
use super::*;

fn policy(timeout: &str) -> String {
    POLICY.replace(
        "from:",
        &format!("holdPods: true, holdTimeout: {timeout}, from:"),
    )
}

#[test]
fn pods_that_a_dead_controller_held_go_with_the_next_one() {
    const PODS: usize = 60;
    let plane = plane();
    let policy = policy("60s");
    let estate = Estate::on(&plane, &policy);
    let namespaces = estate.namespaces(PODS);
    let ledger = Ledger::of(&estate, "quay");
    estate.put(&policy);
    let controller = estate.control();
    controller.until_ready();
    wait_until("it leads", || controller.leads());
    let waiting = Waiting::on(&plane);
    let pod = held("waits", &[&estate.name("quay")]);
    for namespace in &namespaces {
        wait_until("its account is there", || {
            create_pod(estate.admin(), namespace, &pod).status == 201
        });
    }
    rotate(&estate, "robot:one");
    ledger.until(1, "robot:one");
    controller.kill();
    let (written, held) = (ledger.count("robot:one"), waiting.now());
    assert!(held > 0, "all were let go before");
    let back = Instant::now();
    let next = estate.control();
    let waited = waiting.end(Duration::from_mins(1), None);
    assert!(
        back.elapsed() < Duration::from_secs(40),
        "{:?}",
        back.elapsed()
    );
    ledger.until(PODS, "robot:one");
    for namespace in &namespaces {
        let reasons = estate.events(namespace, "waits");
        assert!(
            reasons.iter().all(|(reason, _)| reason == "PodReleased"),
            "{reasons:?}"
        );
    }
    let (status, log) = next.stop();
    assert_eq!(status, 0, "{log}");
    ledger.end(&Row {
        fault: "controller killed between Secrets and held Pods",
        values: &["robot:one"],
        wanted: &namespaces,
        waited: Some(waited),
        happened: &format!(
            "{written} copies stood and {held} of {PODS} Pods were held when it died"
        ),
    });
}

#[test]
fn a_lease_that_is_lost_stops_all_writes_and_pods_go_soon_after() {
    let plane = plane();
    let policy = policy("4s");
    let estate = Estate::on(&plane, &policy);
    let namespaces = estate.namespaces(10);
    let absent = estate
        .installation
        .plane
        .namespace_labelled("absent", &estate.labels());
    let ledger = Ledger::of(&estate, "quay");
    rotate(&estate, "robot:one");
    estate.put(&policy);
    let controller = estate.control();
    ledger.until(11, "robot:one");
    // One for which no Secret will come.
    let nowhere = estate.installation.plane.namespace("nowhere");
    let waiting = Waiting::on(&plane);
    for namespace in [&nowhere, &absent] {
        create_pod(
            estate.admin(),
            namespace,
            &held("waits", &[&estate.name("quay"), "other"]),
        )
        .done();
    }
    rotate(&estate, "robot:two");
    plane.order("pause-etcd");
    wait_until("it does not lead", || !controller.leads());
    // Longer than the Lease lasts; what is waited for is that nothing happens.
    std::thread::sleep(Duration::from_secs(6));
    assert!(!controller.leads());
    plane.order("resume-etcd");
    let back = Instant::now();
    wait_until("it leads again", || controller.leads());
    ledger.until(11, "robot:two");
    let waited = waiting.end(Duration::from_secs(4), Some(back + Duration::from_secs(5)));
    let after = back.elapsed().as_secs_f64();
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    ledger.end(&Row {
        fault: "etcd paused for longer than the Lease lasts",
        values: &["robot:one", "robot:two"],
        wanted: &[namespaces, vec![absent]].concat(),
        waited: Some(waited),
        happened: &format!("all done {after:.1} s after it was back"),
    });
}
