//! The Helm chart, by real helm: what it renders, what each value changes, what it refuses, and that it is what
//! `pullpass render` prints.
//!
//! Only `installed` and what stands beneath it have a cluster.

mod agreement;
mod guide;
mod installed;
mod kustomize;
mod refused;
mod schema;
mod values;
mod written;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use pullpass::diagnostic::Source;
use pullpass::yaml;
use serde_json::Value;

use crate::command::{Ran, run_with};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/helm/pullpass");

/// What helm keeps between runs; the tests have none of it.
static HOME: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// The helm of the tests.
static HELM: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/helm/build.sh");
    let output = Command::new(script).arg("--where").output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim_end().into()
});

/// helm with these arguments.
fn helm(args: &[&str]) -> Command {
    let mut command = Command::new(&*HELM);
    command
        .args(args)
        .env_clear()
        .env("HOME", HOME.path())
        .stdin(Stdio::null());
    command
}

/// Renders the chart, as the release `pullpass` in `pullpass-system`, with these values as YAML: what stays in a cluster, not
/// what `helm test` makes and removes.
fn template(values: &str) -> Ran {
    template_with(values, &["--skip-tests"])
}

fn template_with(values: &str, args: &[&str]) -> Ran {
    let system = ["--namespace", "pullpass-system", "--values", "-"];
    let args = [&["template", "pullpass", CHART][..], &system, args].concat();
    run_with(helm(&args), values.as_bytes())
}

/// The objects of a rendering that must succeed.
#[track_caller]
pub(crate) fn rendered(values: &str) -> Vec<Value> {
    let ran = template(values);
    assert_eq!(ran.status, 0, "{values}: {}", ran.stderr);
    documents(&ran.stdout)
}

/// The same with what `helm test` makes.
#[track_caller]
fn whole(values: &str) -> Vec<Value> {
    let ran = template_with(values, &[]);
    assert_eq!(ran.status, 0, "{values}: {}", ran.stderr);
    documents(&ran.stdout)
}

/// The objects of a text, without its empty documents.
fn documents(text: &str) -> Vec<Value> {
    let source = Source::new("rendered.yaml", text);
    let (documents, error) = yaml::read(&source);
    assert!(error.is_none(), "{error:?}\n{text}");
    let objects = documents.iter().map(|document| document.root.to_json());
    objects.filter(|object| !object.is_null()).collect()
}

/// `Kind name` → object.
type Objects = BTreeMap<String, Value>;

/// By what they are; two of one kind and name are a mistake.
fn named(objects: Vec<Value>) -> Objects {
    let mut named = Objects::new();
    for object in objects {
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let key = format!(
            "{} {}",
            text(&object["kind"]),
            text(&object["metadata"]["name"])
        );
        let before = named.insert(key.clone(), object);
        assert!(before.is_none(), "{key} twice");
    }
    named
}

/// A file that the chart makes is written anew instead of compared when this is set.
const UPDATE: &str = "UPDATE_CHART";

/// Compares a committed file that is made from the chart, or makes it.
#[track_caller]
pub(crate) fn committed(path: &str, want: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os(UPDATE).is_some() {
        // At once: other tests may be reading it.
        let beside = file.with_extension("new");
        std::fs::write(&beside, want).unwrap();
        std::fs::rename(beside, &file).unwrap();
    }
    let is = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        is == want,
        "{path} is not what the chart makes; run `make chart` and look at the difference"
    );
}
