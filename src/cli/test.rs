//! `pullpass test`: runs the cases of PolicyTests against the policies that they name.
//!
//! It reads everything that the tests name before it runs any, so that every mistake is told at once.

mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::input::InputError;
use super::output::{Io, Output, OutputParser};
use super::shared::{self, OfflineArgs, ScopeArgs};
use super::{Exit, input};
use crate::admission::Admission;
use crate::diagnostic::{Code, Diagnostic, Place, Severity, Source, Span, any_error};
use crate::load::{LoadOptions, Loaded, load};
use crate::manifest;
use crate::policy::case::{self, Case, Expect, PolicyTest, Subject};
use crate::policy::document::Spanned;
use crate::snapshot::{AccountLookup, Snapshot};
use report::{CaseReport, Difference, Report, TestReport, draw, junit};

/// Run the cases that PolicyTests declare.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass test policies/
  pullpass test policies/company-test.yaml -o junit=report.xml

A PolicyTest names policies and objects relative to its own file. Each case is a Pod as the API server
would send it: with its account, and with that account's pull secrets when it has none itself.

Exit status: 0 all cases pass, 1 a case fails, 2 bad input, or no case at all.")]
pub struct Args {
    /// PolicyTests: files, directories, or `-`.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    offline: OfflineArgs,
    /// The format, and a file for it.
    #[arg(short, long, value_name = "FORMAT[=FILE]", env = "PULLPASS_OUTPUT", value_parser = OutputParser::<Format>::new())]
    output: Vec<Output<Format>>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One object with every case.
    Json,
    /// For CI systems.
    Junit,
}

/// Runs every case.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    let sources = input::read_all(&args.paths)?;
    let mut tests: Vec<PolicyTest> = Vec::new();
    let mut foreign = 0;
    let mut findings = Vec::new();
    for source in &sources {
        let (mut read, others, mut found) = case::read(source);
        tests.append(&mut read);
        foreign += others;
        findings.append(&mut found);
    }
    if foreign > 0 {
        io.say(&format!("skipped {}", shared::others(foreign)));
    }
    let objects = input::read_all(&args.scope.objects)?;
    let options = shared::load_options(&args.scope, &args.offline.namespace);
    let mut ready = Vec::new();
    for test in &tests {
        ready.extend(Ready::of(test, &objects, &options, &mut findings));
    }
    // Two tests of one policy find the same in it.
    let mut told: Vec<Diagnostic> = Vec::new();
    for finding in findings {
        if finding.severity() == Severity::Error && !told.contains(&finding) {
            told.push(finding);
        }
    }
    shared::show(&told, io)?;
    if !told.is_empty() {
        bail!("the tests, or what they name, have errors");
    }
    if tests.is_empty() {
        bail!("nothing to examine: no PolicyTest in the input");
    }
    let mut report = Report {
        passed: 0,
        failed: 0,
        tests: Vec::new(),
    };
    for test in ready {
        let done = test.run(&args.offline.namespace)?;
        report.passed += done.cases.iter().filter(|case| case.passed).count();
        report.failed += done.cases.iter().filter(|case| !case.passed).count();
        report.tests.push(done);
    }
    if report.passed + report.failed == 0 {
        bail!("nothing to examine: no case in the tests");
    }
    io.write(&args.output, Format::Text, |format, _, out| match format {
        Format::Text => draw(&report, out),
        Format::Json => {
            serde_json::to_writer_pretty(&mut *out, &report)?;
            writeln!(out)
        }
        Format::Junit => junit(&report, out),
    })?;
    Ok(if report.failed > 0 {
        Exit::Findings
    } else {
        Exit::Fine
    })
}

/// A test with everything that it names.
struct Ready<'t> {
    test: &'t PolicyTest,
    snapshot: Snapshot,
    cases: Vec<(&'t Case, GivenPod)>,
}

/// The Pod of a case, and the namespace that it names itself.
struct GivenPod {
    pod: Value,
    namespace: Option<String>,
}

impl<'t> Ready<'t> {
    /// Reads what the test names; nothing when something of it cannot be used, which is told.
    fn of(
        test: &'t PolicyTest,
        more_objects: &[Arc<Source>],
        options: &LoadOptions,
        findings: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let before = findings.len();
        let mut read = |paths: &[Spanned<String>]| -> Vec<Arc<Source>> {
            let texts = paths.iter().map(|path| texts(test, path));
            let (texts, errors): (Vec<_>, Vec<_>) = texts.partition(Result::is_ok);
            findings.extend(errors.into_iter().filter_map(Result::err));
            texts.into_iter().flatten().flatten().collect()
        };
        let policies = read(&test.policies);
        let mut objects = read(&test.objects);
        let complete = findings.len() == before;
        objects.extend_from_slice(more_objects);
        let Loaded {
            snapshot,
            policies,
            diagnostics,
            rejected,
            ..
        } = load(&policies, &objects, options);
        findings.extend(diagnostics);
        if let (0, 0, true, Some(path)) = (policies, rejected, complete, test.policies.first()) {
            findings.push(
                unusable(test, path.span, "there is no RegistryPolicy in these files")
                    .help("name the files that hold the policies to be tested"),
            );
        }
        let mut cases = Vec::new();
        for case in &test.cases {
            match given_pod(test, case) {
                Ok(pod) => cases.push((case, pod)),
                Err(finding) => findings.push(finding),
            }
        }
        let new = findings.get(before..).unwrap_or_default();
        (!any_error(new)).then_some(Self {
            test,
            snapshot,
            cases,
        })
    }

    fn run(mut self, namespace: &str) -> anyhow::Result<TestReport> {
        let namespaces = self.snapshot.namespaces.clone();
        let mut cases = Vec::new();
        for (case, pod) in self.cases {
            // What one case says of its namespace is nothing to the next.
            self.snapshot.namespaces = namespaces.clone();
            let place = Place {
                source: Arc::clone(&self.test.source),
                span: case.name.span,
            };
            let differences = run_case(case, pod, &mut self.snapshot, namespace)
                .with_context(|| format!("{place}: `{}`", case.name.value))?;
            cases.push(CaseReport {
                name: case.name.value.clone(),
                line: place.start().line,
                passed: differences.is_empty(),
                differences,
            });
        }
        Ok(TestReport {
            file: self.test.source.name().to_owned(),
            name: self.test.name.clone(),
            cases,
        })
    }
}

/// The texts of a path that a test names.
fn texts(test: &PolicyTest, path: &Spanned<String>) -> Result<Vec<Arc<Source>>, Diagnostic> {
    let base = Path::new(test.source.name()).parent();
    let file = base.unwrap_or(Path::new("")).join(&path.value);
    if path.value == "-" {
        let message = "`-` is no file beside the test";
        return Err(unusable(test, path.span, message).help("write the path of a file"));
    }
    input::read_all(&[file]).map_err(|error| match error {
        InputError::Refused(finding) => *finding,
        other => unusable(test, path.span, other.to_string())
            .help("paths are relative to the test's own file"),
    })
}

fn unusable(test: &PolicyTest, span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Code::TestFile, &test.source, span, message)
}

fn given_pod(test: &PolicyTest, case: &Case) -> Result<GivenPod, Diagnostic> {
    match &case.subject {
        Subject::Pod {
            labels,
            images,
            service_account_name,
        } => {
            let labels: serde_json::Map<String, Value> = labels
                .iter()
                .map(|(k, v)| (k.to_string(), v.as_ref().into()))
                .collect();
            let containers: Vec<Value> = images
                .iter()
                .enumerate()
                .map(|(i, image)| json!({ "name": format!("c{i}"), "image": image }))
                .collect();
            let mut pod =
                json!({ "metadata": { "labels": labels }, "spec": { "containers": containers } });
            if let Some(account) = service_account_name {
                set(&mut pod, "serviceAccountName", account.as_str().into());
            }
            Ok(GivenPod {
                pod,
                namespace: None,
            })
        }
        Subject::File(path) => pod_of_file(test, path),
    }
}

/// The one Pod, or Pod template, of a file, and its namespace.
fn pod_of_file(test: &PolicyTest, path: &Spanned<String>) -> Result<GivenPod, Diagnostic> {
    let mut found = Vec::new();
    for source in texts(test, path)? {
        let (documents, broken) = crate::yaml::read(&source);
        if let Some(broken) = broken {
            return Err(broken);
        }
        for document in documents {
            let document = document.root.to_json();
            let pods = manifest::pods(&document).into_iter();
            found.extend(pods.map(|p| GivenPod {
                pod: p.pod.clone(),
                namespace: p.namespace.map(ToOwned::to_owned),
            }));
        }
    }
    let count = found.len();
    found.pop().filter(|_| count == 1).ok_or_else(|| {
        let held = if count == 0 { "no" } else { "more than one" };
        let message = format!("`{}` holds {held} Pod or template", path.value);
        unusable(test, path.span, message)
            .help("a case is about one Pod: give it a file of its own")
    })
}

fn run_case(
    case: &Case,
    given: GivenPod,
    snapshot: &mut Snapshot,
    namespace: &str,
) -> anyhow::Result<Vec<Difference>> {
    let said = case.namespace.as_ref();
    let namespace = said
        .map(|namespace| namespace.name.clone())
        .or(given.namespace)
        .unwrap_or_else(|| namespace.to_owned());
    if let Some(labels) = said.and_then(|namespace| namespace.labels.clone()) {
        Arc::make_mut(&mut snapshot.namespaces).insert(&namespace, labels);
    }
    let pod = as_the_api_server_sends(given.pod, &namespace, snapshot);
    let admission = manifest::admit_value(&pod, &namespace, snapshot)
        .map_err(|error| anyhow::anyhow!("it cannot be read as a Pod: {error}"))?;
    let mut after = pod;
    json_patch::patch(&mut after, &admission.patch).context("the patch does not apply")?;
    Ok(compare(&case.expect, &admission, &after))
}

/// What the API server's own plugin does before the webhook sees a Pod.
fn as_the_api_server_sends(mut pod: Value, namespace: &str, snapshot: &Snapshot) -> Value {
    let spec = pod.get("spec").cloned().unwrap_or_default();
    let text = |key: &str| {
        spec.get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let account = text("serviceAccountName")
        .or(text("serviceAccount"))
        .unwrap_or("default");
    if text("serviceAccountName").is_none() {
        set(&mut pod, "serviceAccountName", account.into());
        set(&mut pod, "serviceAccount", account.into());
    }
    let has_list = spec
        .get("imagePullSecrets")
        .and_then(Value::as_array)
        .is_some_and(|l| !l.is_empty());
    if let (false, AccountLookup::Known(account)) =
        (has_list, snapshot.accounts.get(namespace, account))
    {
        let list = account
            .image_pull_secrets
            .iter()
            .map(|name| json!({ "name": name }));
        let list: Vec<Value> = list.collect();
        if !list.is_empty() {
            set(&mut pod, "imagePullSecrets", list.into());
        }
    }
    pod
}

fn set(pod: &mut Value, key: &str, value: Value) {
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert(key.to_owned(), value);
    }
}

fn compare(expect: &Expect, admission: &Admission, after: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut check = |field: &'static str, expected: Option<Value>, got: Value| {
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            differences.push(Difference {
                field,
                expected,
                got,
            });
        }
    };
    let list = |list: &Option<Vec<String>>| list.as_ref().map(|list| json!(list));
    check(
        "allowed",
        expect.allowed.map(Value::from),
        admission.denial.is_none().into(),
    );
    check("rules", list(&expect.rules), json!(admission.rules));
    let secrets = names(after.pointer("/spec/imagePullSecrets"));
    check(
        "imagePullSecrets",
        list(&expect.image_pull_secrets),
        json!(secrets),
    );
    let account = after
        .pointer("/spec/serviceAccountName")
        .cloned()
        .unwrap_or_default();
    let expected = expect.service_account_name.as_ref().map(|name| json!(name));
    check("serviceAccountName", expected, account);
    check("envFrom", list(&expect.env_from), json!(env_from(after)));
    check("held", list(&expect.held), json!(admission.holds));
    let codes = |codes: &mut dyn Iterator<Item = String>| {
        let mut codes: Vec<String> = codes.collect();
        codes.sort();
        codes.dedup();
        json!(codes)
    };
    let expected = expect
        .warnings
        .as_ref()
        .map(|list| codes(&mut list.iter().cloned()));
    let got = codes(
        &mut admission
            .warnings
            .iter()
            .map(|warning| warning.code.to_string()),
    );
    check("warnings", expected, got);
    differences
}

fn names(list: Option<&Value>) -> Vec<&str> {
    let entries = list.and_then(Value::as_array).into_iter().flatten();
    entries
        .map(|entry| {
            entry
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
        })
        .collect()
}

/// The Secrets and ConfigMaps of every container's `envFrom`, each once.
fn env_from(pod: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    for list in ["/spec/containers", "/spec/initContainers"] {
        let containers = pod
            .pointer(list)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let sources = containers
            .filter_map(|c| c.get("envFrom")?.as_array())
            .flatten();
        for source in sources {
            let reference = source.get("secretRef").or(source.get("configMapRef"));
            let name = reference
                .and_then(|r| r.get("name"))
                .and_then(Value::as_str);
            if let Some(name) = name.filter(|name| !found.contains(name)) {
                found.push(name);
            }
        }
    }
    found
}
