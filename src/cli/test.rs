//! `pullpass test`: runs the cases of PolicyTests against the policies that they name.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use super::output::{Io, Output, OutputParser};
use super::render::visible;
use super::shared::{self, OfflineArgs, ScopeArgs};
use super::{Exit, input};
use crate::admission::Admission;
use crate::diagnostic::{Place, any_error};
use crate::load::{Loaded, load};
use crate::manifest;
use crate::policy::case::{self, Case, Expect, PolicyTest, Subject};
use crate::policy::document::Spanned;
use crate::snapshot::{AccountLookup, Snapshot};

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

/// The whole report in `-o json`. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    tests: Vec<TestReport>,
}

#[derive(Debug, Serialize)]
struct TestReport {
    file: String,
    name: String,
    cases: Vec<CaseReport>,
}

#[derive(Debug, Serialize)]
struct CaseReport {
    name: String,
    line: usize,
    passed: bool,
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct Difference {
    field: &'static str,
    expected: Value,
    got: Value,
}

/// Runs every case.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    let sources = input::read_all(&args.paths)?;
    let mut tests: Vec<PolicyTest> = Vec::new();
    let mut foreign = 0;
    let mut diagnostics = Vec::new();
    for source in &sources {
        let (mut read, others, mut found) = case::read(source);
        tests.append(&mut read);
        foreign += others;
        diagnostics.append(&mut found);
    }
    shared::show(&diagnostics, io)?;
    if any_error(&diagnostics) {
        bail!("the tests have errors");
    }
    if tests.is_empty() {
        bail!("there is no PolicyTest in the input ({foreign} other documents)");
    }
    let mut report = Report {
        passed: 0,
        failed: 0,
        tests: Vec::new(),
    };
    for test in &tests {
        let Some(loaded) = load_for(test, args, io)? else {
            return Ok(Exit::Unusable);
        };
        let done = run_test(test, loaded, args)?;
        report.passed += done.cases.iter().filter(|case| case.passed).count();
        report.failed += done.cases.iter().filter(|case| !case.passed).count();
        report.tests.push(done);
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

/// The policies and objects of a test; nothing when they have errors, which are told.
fn load_for(test: &PolicyTest, args: &Args, io: &mut Io) -> anyhow::Result<Option<Loaded>> {
    let base = base_of(test);
    let read = |paths: &[Spanned<String>]| -> anyhow::Result<Vec<_>> {
        let mut sources = Vec::new();
        for path in paths {
            let place = Place {
                source: test.source.clone(),
                span: path.span,
            };
            let file = base.join(&path.value);
            let texts = input::read_all(&[file]);
            sources.extend(texts.with_context(|| format!("error[PP140] {place}"))?);
        }
        Ok(sources)
    };
    let policies = read(&test.policies)?;
    let mut objects = read(&test.objects)?;
    objects.extend(input::read_all(&args.scope.objects)?);
    let options = shared::load_options(&args.scope, &args.offline.namespace);
    let loaded = load(&policies, &objects, &options);
    if loaded.has_error() {
        shared::show(&loaded.diagnostics, io)?;
        io.say(&format!(
            "error: the policies of `{}` have errors",
            test.name
        ));
        return Ok(None);
    }
    if loaded.policies == 0 {
        bail!(
            "the test `{}` names files without a RegistryPolicy",
            test.name
        );
    }
    Ok(Some(loaded))
}

fn base_of(test: &PolicyTest) -> &Path {
    Path::new(test.source.name())
        .parent()
        .unwrap_or(Path::new(""))
}

fn run_test(test: &PolicyTest, loaded: Loaded, args: &Args) -> anyhow::Result<TestReport> {
    let mut snapshot = loaded.snapshot;
    let namespaces = snapshot.namespaces.clone();
    let mut cases = Vec::new();
    for case in &test.cases {
        // What one case says of its namespace is nothing to the next.
        snapshot.namespaces = namespaces.clone();
        let place = Place {
            source: test.source.clone(),
            span: case.name.span,
        };
        let differences = run_case(case, base_of(test), &mut snapshot, &args.offline.namespace)
            .with_context(|| format!("{place}"))?;
        cases.push(CaseReport {
            name: case.name.value.clone(),
            line: place.start().line,
            passed: differences.is_empty(),
            differences,
        });
    }
    Ok(TestReport {
        file: test.source.name().to_owned(),
        name: test.name.clone(),
        cases,
    })
}

fn run_case(
    case: &Case,
    base: &Path,
    snapshot: &mut Snapshot,
    namespace: &str,
) -> anyhow::Result<Vec<Difference>> {
    let (pod, own_namespace) = match &case.subject {
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
            (pod, None)
        }
        Subject::File(path) => pod_of_file(&base.join(&path.value))?,
    };
    let given = case
        .namespace
        .as_ref()
        .map(|namespace| namespace.name.clone());
    let namespace = given
        .or(own_namespace)
        .unwrap_or_else(|| namespace.to_owned());
    if let Some(labels) = case
        .namespace
        .as_ref()
        .and_then(|namespace| namespace.labels.clone())
    {
        snapshot.namespaces.insert(&namespace, labels);
    }
    let pod = as_the_api_server_sends(pod, &namespace, snapshot);
    let admission = manifest::admit_value(&pod, &namespace, snapshot)
        .map_err(|error| anyhow::anyhow!(error))?;
    let mut after = pod;
    json_patch::patch(&mut after, &admission.patch).context("the patch does not apply")?;
    Ok(compare(&case.expect, &admission, &after))
}

/// The one Pod, or Pod template, of a file, and its namespace.
fn pod_of_file(path: &Path) -> anyhow::Result<(Value, Option<String>)> {
    let mut found = Vec::new();
    for source in input::read_all(&[path.to_owned()])? {
        let (documents, broken) = crate::yaml::read(&source);
        if let Some(broken) = broken {
            bail!("{broken}");
        }
        for document in documents {
            let document = document.root.to_json();
            let pods = manifest::pods(&document).into_iter();
            found.extend(pods.map(|p| (p.pod.clone(), p.namespace.map(ToOwned::to_owned))));
        }
    }
    match found.len() {
        1 => found.pop().context("no Pod"),
        count => bail!(
            "`{}` holds {count} Pods or templates; a case needs one",
            path.display()
        ),
    }
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

fn draw(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for test in &report.tests {
        writeln!(out, "{} ({})", visible(&test.name), visible(&test.file))?;
        for case in &test.cases {
            let verdict = if case.passed { "ok    " } else { "FAILED" };
            writeln!(out, "  {verdict} {}", visible(&case.name))?;
            for difference in &case.differences {
                writeln!(out, "           {}", difference.field)?;
                writeln!(out, "             expected {}", difference.expected)?;
                writeln!(out, "             got      {}", difference.got)?;
            }
        }
    }
    writeln!(out, "{} passed, {} failed", report.passed, report.failed)
}

fn junit(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let escape = super::render::junit::escape;
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    let total = report.passed + report.failed;
    writeln!(
        out,
        r#"<testsuites name="pullpass test" tests="{total}" failures="{}">"#,
        report.failed
    )?;
    for test in &report.tests {
        let failed = test.cases.iter().filter(|case| !case.passed).count();
        writeln!(
            out,
            r#"  <testsuite name="{}" file="{}" tests="{}" failures="{failed}">"#,
            escape(&test.name),
            escape(&test.file),
            test.cases.len()
        )?;
        for case in &test.cases {
            let name = escape(&case.name);
            let class = escape(&test.name);
            write!(
                out,
                r#"    <testcase classname="{class}" name="{name}" line="{}""#,
                case.line
            )?;
            if case.passed {
                writeln!(out, "/>")?;
                continue;
            }
            let differences = case.differences.iter().map(|difference| {
                format!(
                    "{}: expected {}, got {}",
                    difference.field, difference.expected, difference.got
                )
            });
            let text = differences.collect::<Vec<_>>().join("\n");
            writeln!(
                out,
                r#"><failure message="the Pod comes out otherwise">{}</failure></testcase>"#,
                escape(&text)
            )?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}
