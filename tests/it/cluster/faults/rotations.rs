//! Certificates that live for seconds, so that they are renewed again and again while Pods are made.

use std::collections::BTreeSet;

use super::trust::{CONFIGURATION, Visits, bundle, certificates};
use super::{TAKEN, control, controlled, flowing, installed};
use crate::plane::{Plane, wait_until};

#[test]
fn serving_certificates_that_are_renewed_fail_no_pod() {
    let plane = Plane::own();
    let installation = installed(&plane);
    // Renewed every 12 s.
    let _controller = control(&installation, &["--certificate-lifetime", "18s"]);
    let webhook = controlled(&installation);
    let stream = flowing(&installation);
    let visits = Visits::start(plane.admin(), &webhook);
    let first = webhook.server.count(TAKEN);
    wait_until("three renewals", || {
        webhook.server.count(TAKEN) >= first + 3
    });
    stream.goes_on(100);
    let renewals = webhook.server.count(TAKEN) - first;
    let visited = visits.end();
    stream.end(
        &plane,
        "serving certificate renewed",
        &format!("{renewals} rotations, {visited}"),
    );
    visited.went_well();
}

#[test]
fn cas_that_are_renewed_fail_no_pod() {
    let plane = Plane::own();
    let installation = installed(&plane);
    // Renewed every 16 s, and the serving certificates with them; what is new is given 2.4 s to be seen.
    let _controller = control(&installation, &["--ca-lifetime", "24s"]);
    let webhook = controlled(&installation);
    let stream = flowing(&installation);
    let visits = Visits::start(plane.admin(), &webhook);
    // Each alone in the caBundle once its rotation is over.
    let mut alone = BTreeSet::new();
    wait_until("three rotations", || {
        let bundle = bundle(&plane.admin().get(CONFIGURATION).done());
        if certificates(&bundle).len() == 1 {
            alone.insert(bundle);
        }
        alone.len() > 3
    });
    stream.goes_on(100);
    let rotations = alone.len() - 1;
    let visited = visits.end();
    stream.end(
        &plane,
        "CA renewed",
        &format!("{rotations} rotations, {visited}"),
    );
    visited.went_well();
}
