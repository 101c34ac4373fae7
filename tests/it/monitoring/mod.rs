//! Alerts by real promtool, the dashboard's queries by a real Prometheus, and the metrics that alerts, dashboard and docs name
//! against those that are served.

mod alerts;
mod living;
mod prometheus;
mod served;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::chart::rendered;

/// The chart's rules, as the release `pullpass` in `pullpass-system` has them.
fn rules() -> Value {
    let objects = rendered("prometheusRule: {enabled: true}");
    let mut rules = objects
        .into_iter()
        .filter(|object| object["kind"] == "PrometheusRule");
    rules.next().unwrap()["spec"].take()
}

/// Its alerts.
fn alerts() -> Vec<Value> {
    rules()["groups"][0]["rules"].as_array().unwrap().clone()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A program of Prometheus that the tests have built.
fn tool(name: &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prometheus/build.sh");
    let output = Command::new(script).arg("--where").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let path = String::from_utf8(output.stdout).unwrap();
    Command::new(PathBuf::from(path.trim_end()).join(name))
}
