//! The Secrets that the controller made, deleted while it runs.

use super::super::install::Installation;
use super::trust::{CONFIGURATION, Visits, bundle, certificates};
use super::{SECRET, TAKEN, control, controlled, flowing, installed};
use crate::plane::{Plane, wait_until};

#[test]
fn a_lost_serving_certificate_fails_no_pod() {
    let plane = Plane::own();
    let installation = installed(&plane);
    let _controller = control(&installation, &[]);
    let webhook = controlled(&installation);
    let stream = flowing(&installation);
    let visits = Visits::start(plane.admin(), &webhook);
    let times = 10;
    for _ in 0..times {
        let taken = webhook.server.count(TAKEN);
        delete(&installation, SECRET);
        webhook.server.until_count(TAKEN, taken + 1);
        stream.goes_on(50);
    }
    let visited = visits.end();
    stream.end(
        &plane,
        "Secret of the serving certificate deleted",
        &format!("{times} times, {visited}"),
    );
    visited.went_well();
}

#[test]
fn a_lost_ca_fails_no_pod() {
    let plane = Plane::own();
    let installation = installed(&plane);
    // What is new is given 3 s to be seen.
    let _controller = control(&installation, &["--certificate-lifetime", "30s"]);
    let webhook = controlled(&installation);
    let stream = flowing(&installation);
    let visits = Visits::start(plane.admin(), &webhook);
    let times = 4;
    for _ in 0..times {
        let old = trusted(&plane);
        delete(&installation, "pullpass-ca");
        wait_until("another CA alone is trusted", || {
            let now = trusted(&plane);
            now != old && certificates(&now).len() == 1
        });
        stream.goes_on(50);
    }
    let visited = visits.end();
    stream.end(
        &plane,
        "Secret of the CA deleted",
        &format!("{times} rotations, {visited}"),
    );
    visited.went_well();
}

fn trusted(plane: &Plane) -> String {
    bundle(&plane.admin().get(CONFIGURATION).done())
}

fn delete(installation: &Installation<'_>, name: &str) {
    let at = format!("/api/v1/namespaces/{}/secrets/{name}", installation.own);
    installation.plane.admin().delete(&at, None).done();
}
