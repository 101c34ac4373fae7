//! The controller's clock set 13 hours forward and back while it runs, by libfaketime: sources are asked no more often than
//! they must be, no copy is lost, and Pods go in time by a clock that nobody sets.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::super::holds::{held, plane};
use super::*;
use crate::moto::Moto;

const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - name: ecr
      match: {images: [123456789012.dkr.ecr.us-east-1.amazonaws.com], SELECTED}
      inject: {imagePullSecrets: [ecr@]}
    - name: never
      match: {images: [quay.io], SELECTED}
      inject: {imagePullSecrets: [never@, patient@]}
  credentials:
    - {name: ecr@, from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1]}}}
    - {name: never@, holdPods: true, holdTimeout: 6s, from: {secretRef: {name: nothing}}}
    - {name: patient@, holdPods: true, holdTimeout: 13h8s, from: {secretRef: {name: nothing}}}
";

/// A clock on the wall that is set by writing to a file. Others, which nobody can set, are as they are.
struct Clock {
    library: String,
    file: PathBuf,
}

impl Clock {
    fn new(directory: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faketime/build.sh");
        let found = Command::new(script).arg("--where").output().unwrap();
        assert!(
            found.status.success(),
            "{}",
            String::from_utf8_lossy(&found.stderr)
        );
        let clock = Self {
            library: String::from_utf8(found.stdout)
                .unwrap()
                .trim_end()
                .to_owned(),
            file: directory.join("clock"),
        };
        clock.set("+0");
        clock
    }

    /// So far from the real one.
    fn set(&self, offset: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, offset).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }

    fn env(&self) -> [(&str, &str); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}

#[test]
fn a_clock_that_is_set_loses_nothing_and_holds_nobody_longer() {
    let plane = plane();
    let estate = Estate::on(&plane, POLICY);
    let directory = tempfile::tempdir().unwrap();
    let (clock, moto) = (Clock::new(directory.path()), Moto::start());
    let env = moto.env();
    let mut env: Vec<_> = env.iter().map(|(key, value)| (&**key, &**value)).collect();
    env.extend(clock.env());
    let values = || -> Vec<String> {
        let passwords = moto.passwords();
        passwords
            .iter()
            .map(|password| format!("AWS:{password}"))
            .collect()
    };
    let mut namespaces = estate.namespaces(5);
    let pods = estate.namespace();
    namespaces.push(pods.clone());
    let ledger = Ledger::of(&estate, "ecr");
    let waiting = Waiting::on(&plane);
    estate.put(POLICY);
    let controller = estate.control_with(&[], &env);
    wait_until("a token is fetched", || !values().is_empty());
    ledger.until(6, &values()[0]);
    let first = values()[0].clone();
    let hold = |name: &str, credential: &str| {
        create_pod(
            estate.admin(),
            &pods,
            &held(name, &[&estate.name(credential)]),
        )
        .done();
        wait_until("it is held", || {
            count(&controller, "pullpass_held_pods{}") == 1
        });
    };
    let failures = refreshes(&estate, "ecr", "failure");

    // The token, good for 12 hours, is over by this clock, and so is any that comes.
    hold("forward", "never");
    clock.set("+13h");
    // News make it look at its clock.
    namespaces.extend(estate.namespaces(1));
    wait_until("it is told", || count(&controller, &failures) >= 2);
    estate.until_event(&pods, "forward", "HoldTimedOut");
    let asked = moto.calls("ecr").len();
    assert!(asked <= 8, "asked {asked} times");
    assert_eq!(ledger.count(&first), 6, "what is there stays");

    // By this clock it has waited for 13 hours already, which leaves a few seconds.
    hold("back", "patient");
    clock.set("+0");
    namespaces.extend(estate.namespaces(1));
    wait_until("copies are whole", || {
        ledger.count(values().last().unwrap()) == 8
    });
    estate.until_event(&pods, "back", "HoldTimedOut");
    let asked_in_all = moto.calls("ecr").len();
    assert!(asked_in_all <= asked + 3, "asked {asked_in_all} times");
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    let times: Vec<_> = log
        .lines()
        .filter(|line| line.contains("\"timestamp\""))
        .collect();
    assert!(!times.is_empty());
    let values = [first, values().pop().unwrap()];
    let values: Vec<_> = values.iter().map(AsRef::as_ref).collect();
    ledger.end(&Row {
        fault: "controller's clock set 13 h forward, and back",
        values: &values,
        wanted: &namespaces,
        waited: Some(waiting.end(Duration::from_secs(8), None)),
        happened: &format!("the source was asked {asked_in_all} times in all"),
    });
}
