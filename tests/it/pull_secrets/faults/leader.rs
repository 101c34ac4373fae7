//! The leading controller killed in the middle of a rotation, with a second one that waits; and one that begins where another
//! has ended.

use super::*;
use crate::moto::Moto;

const NAMESPACES: usize = 320;

/// A credential that is fetched.
const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - name: ecr
      match: {images: [123456789012.dkr.ecr.us-east-1.amazonaws.com], SELECTED}
      inject: {imagePullSecrets: [ecr@]}
  credentials:
    - {name: ecr@, from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1]}}}
";

#[test]
fn another_controller_finishes_a_rotation_and_fetches_no_value_that_was_fetched() {
    let plane = large_plane();
    let estate = Estate::on(&plane, POLICY);
    let namespaces = estate.namespaces(NAMESPACES);
    let moto = Moto::start();
    let env = moto.env();
    let env: Vec<_> = env.iter().map(|(key, value)| (&**key, &**value)).collect();
    let values = || -> Vec<String> {
        let passwords = moto.passwords();
        passwords
            .iter()
            .map(|password| format!("AWS:{password}"))
            .collect()
    };
    let ledger = Ledger::of(&estate, "ecr");
    // The first value lives for seconds, the others for hours.
    moto.set(&json!({"lifetimes": {"us-east-1": 20}}));
    estate.put(POLICY);
    let first = estate.control_with(&[], &env);
    wait_until("the first leads", || first.leads());
    let second = estate.control_with(&[], &env);
    second.until_ready();
    wait_until("a value is fetched", || values().len() == 1);
    moto.set(&json!({"lifetimes": {}}));
    ledger.until(NAMESPACES, &values()[0]);
    wait_until("the next one is", || values().len() == 2);
    let next = values()[1].clone();
    ledger.until(10, &next);
    first.kill();
    let written = ledger.count(&next);
    assert!(written < NAMESPACES, "it was not in the middle of it");
    wait_until("the second leads", || second.leads());
    wait_until("all copies are written", || {
        ledger.count(values().last().unwrap()) == NAMESPACES
    });
    let fetched = values().len();
    assert!(fetched <= 3, "it was fetched {fetched} times");
    second.until_ready();
    let (status, log) = second.stop();
    assert_eq!(status, 0, "{log}");

    // One that begins anew has nothing to do.
    let before = estate.writes().len();
    let third = estate.control_with(&[], &env);
    third.until_ready();
    wait_until("the third leads", || third.leads());
    let late = estate.namespaces(1);
    ledger.until(NAMESPACES + 1, values().last().unwrap());
    let written_anew: Vec<_> = estate.writes().split_off(before);
    assert_eq!(written_anew.len(), 1, "{written_anew:?}");
    assert_eq!(values().len(), fetched, "it knows the value by its digest");
    third.stop();

    let (values, wanted) = (values(), [namespaces, late].concat());
    ledger.end(&Row {
        fault: "leading controller killed in mid-rotation",
        values: &values.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
        wanted: &wanted,
        waited: None,
        happened: &format!(
            "it went when {written} copies were written, {fetched} values fetched in all; after a restart none, and no write"
        ),
    });
}
