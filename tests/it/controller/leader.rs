//! Several controllers: one writes, and another one follows it, whether it stops or is killed.

use std::time::Instant;

use super::*;

fn lease(site: &Site<'_>) -> Value {
    let own = &site.installation.own;
    let at = format!("/apis/coordination.k8s.io/v1/namespaces/{own}/leases/pullpass-controller");
    site.admin().get(&at).body
}

/// How many lead; never more than one.
fn leaders(all: &[&Controller]) -> usize {
    let n = all.iter().filter(|controller| controller.leads()).count();
    assert!(n <= 1, "{n} controllers lead");
    n
}

#[test]
fn one_of_two_leads_and_the_other_follows_a_killed_and_a_stopped_leader() {
    let site = Site::on(Plane::shared());
    site.configure();
    let first = site.control(&SHORT);
    let second = site.control(&SHORT);
    wait_until("one leads", || leaders(&[&first, &second]) == 1);
    wait_until("all is made", || site.is_at_rest());
    for controller in [&first, &second] {
        controller.until_ready();
    }
    let (leader, other) = if first.leads() {
        (first, second)
    } else {
        (second, first)
    };
    for _ in 0..50 {
        leaders(&[&leader, &other]);
        std::thread::sleep(Duration::from_millis(50));
    }

    let before = lease(&site);
    leader.kill();
    let killed = Instant::now();
    wait_until("the other takes over", || other.leads());
    // It was renewed at most five seconds before it was killed.
    assert!(
        killed.elapsed() >= Duration::from_secs(9),
        "{:?}",
        killed.elapsed()
    );
    let after = lease(&site);
    assert_ne!(
        before["spec"]["holderIdentity"],
        after["spec"]["holderIdentity"]
    );
    let transitions = |lease: &Value| lease["spec"]["leaseTransitions"].as_i64().unwrap();
    assert_eq!(transitions(&after), transitions(&before) + 1);
    let ca = site.ca();
    wait_until("it goes on rotating", || {
        site.ca() != ca && site.is_at_rest()
    });

    let third = site.control(&SHORT);
    third.until_ready();
    assert_eq!(leaders(&[&other, &third]), 1);
    let (status, log) = other.stop();
    let stopped = Instant::now();
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("gave the Lease back"), "{log}");
    wait_until("the third takes over", || third.leads());
    assert!(
        stopped.elapsed() < Duration::from_secs(9),
        "it need not wait: {:?}",
        stopped.elapsed()
    );
}

#[test]
fn a_lease_taken_by_somebody_else_ends_the_writing() {
    let site = Site::on(Plane::shared());
    site.configure();
    let controller = site.control(&[]);
    wait_until("it leads", || controller.leads());
    wait_until("all is made", || site.is_at_rest());
    let own = &site.installation.own;
    let at = format!("/apis/coordination.k8s.io/v1/namespaces/{own}/leases/pullpass-controller");
    let stolen = json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 15}});
    site.admin().merge(&at, &stolen).done();
    wait_until("it knows", || !controller.leads());
    site.delete_secret("pullpass-webhook-tls");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(site.served(), None, "another may be writing");
    assert_eq!(lease(&site)["spec"]["holderIdentity"], "thief");
    // The thief never renews.
    wait_until("it leads again", || controller.leads());
    wait_until("and heals what was lost", || site.is_at_rest());
}
