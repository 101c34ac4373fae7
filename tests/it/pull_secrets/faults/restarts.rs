//! The API server goes away in the middle of a rotation over hundreds of namespaces, in order and all of a sudden.

use super::*;

/// Into which a rotation goes.
const NAMESPACES: usize = 320;

#[test]
fn a_rotation_is_finished_when_the_api_server_comes_back() {
    let plane = large_plane();
    let estate = Estate::on(&plane, POLICY);
    let namespaces = estate.namespaces(NAMESPACES);
    let ledger = Ledger::of(&estate, "quay");
    rotate(&estate, "robot:one");
    estate.put(POLICY);
    let controller = estate.control();
    ledger.until(NAMESPACES, "robot:one");
    let mut told = Vec::new();
    for (order, value) in [
        ("stop-apiserver", "robot:two"),
        ("kill-apiserver", "robot:three"),
    ] {
        rotate(&estate, value);
        ledger.until(10, value);
        plane.order(order);
        let written = ledger.count(value);
        assert!(written < NAMESPACES, "it was not in the middle of it");
        plane.order("start-apiserver");
        ledger.until(NAMESPACES, value);
        told.push(written.to_string());
    }
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    ledger.end(&Row {
        fault: "API server stopped, then killed, in mid-rotation",
        values: &["robot:one", "robot:two", "robot:three"],
        wanted: &namespaces,
        waited: None,
        happened: &format!("it went when {} copies were written", told.join(" and ")),
    });
}
