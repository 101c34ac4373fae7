//! The API server stopped and started again, in order and all of a sudden.

use super::{flowing, follows, installed, serving};
use crate::plane::Plane;

#[test]
fn an_api_server_that_restarts_fails_no_pod_in_our_name() {
    let plane = Plane::own();
    let installation = installed(&plane);
    let webhook = serving(&installation);
    let stream = flowing(&installation);
    for stop in ["stop-apiserver", "kill-apiserver"] {
        stream.goes_on(150);
        plane.order(stop);
        plane.order("start-apiserver");
        stream.goes_on(100);
        follows(&installation, &webhook, &format!("after-{stop}"));
    }
    stream.end(&plane, "API server restarted", "1 stop, 1 kill");
}
