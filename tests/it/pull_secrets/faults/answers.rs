//! Writes that are refused now and then, or all of them for a while: by conflicts, by an API server that has too much to do,
//! by one that fails, by answers that are lost. All copies are right in the end, and there is no storm of calls.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::between::{Answer, Between};
use super::*;

const NAMESPACES: usize = 40;

#[test]
fn refused_writes_are_made_again_in_time_and_without_haste() {
    let plane = Plane::shared();
    let estate = Estate::on(plane, POLICY);
    let namespaces = estate.namespaces(NAMESPACES);
    let between = Between::start(plane, |_| Answer::Real);
    let kubeconfig = between.kubeconfig(&estate.account());
    let ledger = Ledger::of(&estate, "quay");
    let mut values = vec!["robot:0".to_owned()];
    rotate(&estate, &values[0]);
    estate.put(POLICY);
    let controller = estate.control_at(&kubeconfig, &[], &[]);
    ledger.until(NAMESPACES, &values[0]);
    let (mut calls, mut refused) = (0, 0);
    for (answer, why) in [
        (Answer::Instead(409), "conflicts"),
        (Answer::Instead(429), "throttling"),
        (Answer::Instead(500), "failures"),
        (Answer::Instead(503), "overload"),
        (Answer::Lost(500), "answers that are lost"),
        (Answer::Cut, "connections that are cut"),
    ] {
        // Each third write.
        between.answers(move |n| if n % 3 == 0 { answer } else { Answer::Real });
        let value = format!("robot:{}", values.len());
        rotate(&estate, &value);
        values.push(value);
        ledger.until(NAMESPACES, values.last().unwrap());
        let writes = between.writes();
        assert!(
            writes.len() <= 3 * NAMESPACES,
            "{why}: {} writes",
            writes.len()
        );
        calls += writes.len();
        refused += writes.iter().filter(|(_, status)| *status != 200).count();
    }
    assert!(refused > NAMESPACES, "{refused} were refused");

    // All of them, for a while.
    for (status, least, why) in [
        (429, 2.0, "as it was asked to"),
        (500, 0.8, "the first backoff"),
    ] {
        between.answers(move |_| Answer::Instead(status));
        let value = format!("robot:{}", values.len());
        rotate(&estate, &value);
        values.push(value);
        // The fault itself, not a wait for anything.
        std::thread::sleep(Duration::from_secs(6));
        let writes = between.timed();
        assert!(
            writes.len() >= NAMESPACES,
            "each is tried: {}",
            writes.len()
        );
        assert!(
            writes.len() <= 4 * NAMESPACES,
            "{status}: {} writes in 6 s",
            writes.len()
        );
        let mut last: BTreeMap<&str, Instant> = BTreeMap::new();
        for (at, what) in &writes {
            if let Some(before) = last
                .insert(what, *at)
                .filter(|_| what.contains("/secrets/"))
            {
                let pause = (*at - before).as_secs_f64();
                assert!(
                    pause >= least,
                    "{status}: {what} again after {pause} s, {why}"
                );
            }
        }
        assert!(
            between.rush() <= 2 * NAMESPACES,
            "{} calls in a second",
            between.rush()
        );
        calls += writes.len();
        refused += writes.len();
        between.answers(|_| Answer::Real);
        ledger.until(NAMESPACES, values.last().unwrap());
    }
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    ledger.end(&Row {
        fault: "writes answered by 409, 429, 500, 503, lost, cut",
        values: &values.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
        wanted: &namespaces,
        waited: None,
        happened: &format!(
            "{} rotations, {calls} writes, {refused} of them refused",
            values.len() - 1
        ),
    });
}
