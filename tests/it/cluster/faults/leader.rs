//! The leading controller killed in the middle of a rotation, with a second one that waits: it finishes what was begun.

use super::trust::{CONFIGURATION, Visits, bundle, certificates};
use super::{TAKEN, control, controlled, flowing, installed};
use crate::plane::{Plane, wait_until};

#[test]
fn a_leader_that_is_killed_in_mid_rotation_fails_no_pod() {
    let plane = Plane::own();
    let installation = installed(&plane);
    // What is new is given 6 s to be seen; a Lease ends after 15 s.
    let flags = ["--certificate-lifetime", "60s"];
    let mut leader = control(&installation, &flags);
    wait_until("the first leads", || leader.leads());
    let webhook = controlled(&installation);
    let stream = flowing(&installation);
    let visits = Visits::start(plane.admin(), &webhook);
    let trusted = || bundle(&plane.admin().get(CONFIGURATION).done());
    let ca = format!(
        "/api/v1/namespaces/{}/secrets/pullpass-ca",
        installation.own
    );
    let rotations = ["made", "trusted", "served"];
    for at in rotations {
        let second = control(&installation, &flags);
        let (old, taken) = (trusted(), webhook.server.count(TAKEN));
        // A lost CA is a rotation.
        plane.admin().delete(&ca, None).done();
        wait_until(&format!("the new CA is {at}"), || match at {
            "made" => plane.admin().get(&ca).status == 200,
            "trusted" => certificates(&trusted()).len() == 2,
            _ => webhook.server.count(TAKEN) > taken,
        });
        leader.kill();
        leader = second;
        wait_until("the second leads", || leader.leads());
        wait_until("another CA alone is trusted", || {
            let now = trusted();
            now != old && certificates(&now).len() == 1
        });
        assert!(webhook.server.count(TAKEN) > taken, "and serves");
    }
    let visited = visits.end();
    stream.end(
        &plane,
        "leading controller killed in mid-rotation",
        &format!(
            "{} rotations finished by another, {visited}",
            rotations.len()
        ),
    );
    visited.went_well();
}
