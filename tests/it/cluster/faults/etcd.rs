//! etcd that answers nothing for a while, as on a disk that hangs.

use std::thread::sleep;
use std::time::Duration;

use super::{flowing, follows, installed, serving};
use crate::plane::Plane;

#[test]
fn an_etcd_that_hangs_fails_no_pod_in_our_name() {
    let plane = Plane::own();
    let installation = installed(&plane);
    let webhook = serving(&installation);
    let stream = flowing(&installation);
    for seconds in [2, 5, 12] {
        stream.goes_on(150);
        plane.order("pause-etcd");
        // The fault itself, not a wait for anything.
        sleep(Duration::from_secs(seconds));
        let ready = webhook.server.get("/readyz");
        assert_eq!(ready.status, 200, "Pods are answered from memory");
        plane.order("resume-etcd");
        stream.goes_on(100);
        follows(&installation, &webhook, &format!("after-{seconds}"));
    }
    stream.end(&plane, "etcd paused", "3 times, for 2 s, 5 s and 12 s");
}
