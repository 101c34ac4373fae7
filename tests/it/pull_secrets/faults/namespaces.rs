//! Namespaces that are on their way out and do not go, and those that are made again at once under the same name.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn a_namespace_that_ends_is_waited_for_alone_and_the_next_of_its_name_has_its_copy_at_once() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let others = estate.namespaces(5);
    let stays = estate.namespaces(1).remove(0);
    let ledger = Ledger::of(&estate, "quay");
    ledger.excuse(&stays);
    rotate(&estate, "robot:one");
    estate.put(POLICY);
    let controller = estate.control();
    ledger.until(6, "robot:one");
    // Something in it holds it up.
    let keeper = format!("/api/v1/namespaces/{stays}/configmaps");
    let finalizers =
        json!({"metadata": {"name": "keeper", "finalizers": ["tests.pullpass.dev/stays"]}});
    estate.admin().post(&keeper, &finalizers).done();
    remove(&estate, &stays);
    let terminating = writes(&estate, "quay", "terminating");
    wait_until("its Secret went and cannot be made again", || {
        count(&controller, &terminating) >= 4
    });
    rotate(&estate, "robot:two");
    ledger.until(5, "robot:two");
    let tries = count(&controller, &terminating);
    assert!(tries <= 8, "{tries} tries");
    let none = json!({"metadata": {"finalizers": null}});
    estate
        .admin()
        .merge(&format!("{keeper}/keeper"), &none)
        .done();
    let made = make_again(&estate, &stays);
    ledger.until(6, "robot:two");
    let mut longest = made.elapsed();

    // And nothing holds it up.
    let times = 5;
    for _ in 0..times {
        remove(&estate, &stays);
        let made = make_again(&estate, &stays);
        wait_until("the copy of the next one", || {
            let secret = estate.secret(&stays, &estate.name("quay"));
            secret.is_some_and(|secret| logins(&secret).is_some())
        });
        longest = longest.max(made.elapsed());
    }
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    ledger.end(&Row {
        fault: "namespace that does not end, and made again at once",
        values: &["robot:one", "robot:two"],
        wanted: &[others, vec![stays]].concat(),
        waited: None,
        happened: &format!(
            "{tries} tries while it did not end; {times} times made again, the copy after {:.2} s at most",
            longest.as_secs_f64()
        ),
    });
}

fn remove(estate: &Estate<'_>, namespace: &str) {
    let at = format!("/api/v1/namespaces/{namespace}");
    estate.admin().delete(&at, None).done();
}

/// Makes it as soon as there is none; when it was there.
fn make_again(estate: &Estate<'_>, namespace: &str) -> Instant {
    let object = json!({"metadata": {"name": namespace, "labels": estate.labels()}});
    wait_until("it is gone", || {
        estate.admin().post("/api/v1/namespaces", &object).status == 201
    });
    Instant::now()
}
