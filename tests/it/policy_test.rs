//! `pullpass test`, the built binary: cases that pass and fail, their reports, and what is wrong with tests.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::{Ran, command, run, run_with, transcript};

const HEAD: &str = "apiVersion: pullpass.dev/v1\nkind: PolicyTest\nmetadata: {name: ours}\nspec:\n";

/// A directory with the tables and this test.
fn beside_the_table(test: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data/table");
    for file in ["policy.yaml", "cluster.yaml", "pod.yaml", "manifests.yaml"] {
        fs::copy(data.join(file), directory.path().join(file)).unwrap();
    }
    fs::write(directory.path().join("test.yaml"), test).unwrap();
    directory
}

/// `pullpass test test.yaml` in the directory.
fn run_in(directory: &TempDir, args: &[&str]) -> Ran {
    let mut command = command(&[&["test", "test.yaml"], args].concat());
    command.current_dir(directory.path());
    run_with(command, b"")
}

fn run_cases(cases: &str, args: &[&str]) -> Ran {
    let test =
        format!("{HEAD}  policies: [policy.yaml]\n  objects: [cluster.yaml]\n  cases:\n{cases}");
    run_in(&beside_the_table(&test), args)
}

const PASSING: &str = r"
    - name: a build Pod gets everything that the build team has
      namespace: {name: ci}
      pod: {images: [quay.io/acme/a, nginx], labels: {app: x}, serviceAccountName: default}
      expect:
        allowed: true
        rules: [company/quay-build, company/hub, company/everywhere]
        imagePullSecrets: [builder-creds, build-creds, hub-creds, agent-creds]
        serviceAccountName: builder
        envFrom: [cache]
        held: [build-creds]
        warnings: []
    - name: without the account it needs the Pod is refused
      namespace: {name: ci}
      pod: {images: [strict.example.com/a]}
      expect: {allowed: false, imagePullSecrets: [], serviceAccountName: default}
    - name: a namespace as the case describes it
      namespace: {name: elsewhere, labels: {team: build}}
      pod: {images: [x.example.com/a]}
      expect: {rules: [company/everywhere]}
    - name: what one case says of a namespace is nothing to the next
      namespace: {name: elsewhere}
      pod: {images: [x.example.com/a]}
      expect: {rules: []}
    - name: a Pod from a file is in its own namespace
      file: pod.yaml
      expect: {imagePullSecrets: [own-creds, builder-creds, build-creds, hub-creds, agent-creds]}
    - name: an image that does not parse is warned about
      pod: {images: ['A b']}
      expect: {warnings: [PP201], allowed: true}
";

const FAILING: &str = r#"
    - name: every field is off & says <so> in "quotes"
      namespace: {name: ci}
      pod: {images: [quay.io/acme/a], serviceAccountName: default}
      expect:
        allowed: false
        rules: [company/quay]
        imagePullSecrets: [build-creds]
        serviceAccountName: default
        envFrom: []
        held: []
        warnings: [PP203]
    - name: the order counts
      pod: {images: [nginx, acme/a]}
      expect: {imagePullSecrets: [acme-creds, hub-creds]}
    - name: this one passes
      pod: {images: [nginx]}
      expect: {imagePullSecrets: [hub-creds]}
"#;

#[test]
fn cases_that_pass_are_named_and_counted() {
    let ran = run_cases(PASSING, &[]);
    insta::assert_snapshot!("test_passing", transcript(&ran));
    assert_eq!(ran.status, 0);
}

#[test]
fn a_case_that_fails_shows_what_was_expected_and_what_came() {
    let ran = run_cases(FAILING, &[]);
    insta::assert_snapshot!("test_failing", transcript(&ran));
    assert_eq!(ran.status, 1);
}

#[test]
fn json_holds_every_case_with_its_line() {
    let report: Value = serde_json::from_str(&run_cases(FAILING, &["-o", "json"]).stdout).unwrap();
    assert_eq!(report["passed"], 1);
    assert_eq!(report["failed"], 2);
    let test = &report["tests"][0];
    assert_eq!(
        (&test["file"], &test["name"]),
        (&json!("test.yaml"), &json!("ours"))
    );
    let cases = test["cases"].as_array().unwrap();
    let lines: Vec<_> = cases
        .iter()
        .map(|case| case["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [9, 20, 23]);
    assert_eq!(
        cases[0]["differences"].as_array().unwrap().len(),
        7,
        "every field is compared"
    );
    assert_eq!(
        cases[1]["differences"],
        json!([{"field": "imagePullSecrets", "expected": ["acme-creds", "hub-creds"], "got": ["hub-creds", "acme-creds"]}])
    );
    assert_eq!(
        (&cases[2]["passed"], &cases[2]["differences"]),
        (&json!(true), &json!([]))
    );
}

#[test]
fn junit_is_xml_with_a_failure_for_each_failed_case() {
    let hostile = FAILING.replace("the order counts", r#""]]> \e[31m \0 \uFFFE 'x' ☃""#);
    let ran = run_cases(&hostile, &["-o", "junit"]);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    // Python's parser is expat: a reader that is not ours.
    let script = "import sys, xml.etree.ElementTree as E\n\
                  r = E.fromstring(sys.stdin.buffer.read())\n\
                  print(r.tag, r.get('tests'), r.get('failures'))\n\
                  for s in r: print(s.tag, s.get('name'), s.get('tests'), s.get('failures'))\n\
                  for c in r.iter('testcase'): print(c.get('name').encode('unicode_escape').decode(), '|', len(c.findall('failure')))\n";
    let mut python = Command::new("python3");
    python.args(["-c", script]).stderr(Stdio::inherit());
    let read = run_with(python, ran.stdout.as_bytes());
    assert_eq!(read.status, 0, "{read:?}\n{}", ran.stdout);
    let lines: Vec<_> = read.stdout.lines().collect();
    assert_eq!(lines[..2], ["testsuites 3 2", "testsuite ours 3 2"]);
    assert_eq!(lines[2], "every field is off & says <so> in \"quotes\" | 1");
    assert!(lines[3].ends_with("'x' \\u2603 | 1"), "{lines:?}");
    assert_eq!(lines[4], "this one passes | 0");
}

#[test]
fn every_mistake_in_the_tests_is_told_at_once() {
    let test = format!(
        "{HEAD}  policies: [missing.yaml, pod.yaml]\n  objects: [cluster.yaml, gone.yaml]\n  cases:\n    \
         - {{name: a, file: nowhere.yaml, expect: {{allowed: true}}}}\n    \
         - {{name: b, file: manifests.yaml, expect: {{allowed: true}}}}\n    \
         - {{name: c, file: cluster.yaml, expect: {{allowed: true}}}}\n"
    );
    let ran = run_in(&beside_the_table(&test), &[]);
    assert_eq!((ran.status, &*ran.stdout), (2, ""));
    insta::assert_snapshot!("test_missing_files", ran.stderr);

    let test = format!(
        "{HEAD}  polices: [policy.yaml]\n  policies: []\n  cases:\n    \
         - {{nam: a, pod: {{images: nginx}}, expect: {{}}}}\n    \
         - {{name: b, expect: {{alowed: true, warnings: [PP999]}}}}\n    \
         - {{name: c, pod: {{images: []}}, file: x, expect: {{allowed: maybe}}}}\n"
    );
    let ran = run_in(&beside_the_table(&test), &[]);
    assert_eq!((ran.status, &*ran.stdout), (2, ""));
    insta::assert_snapshot!("test_mistakes", ran.stderr);
}

#[test]
fn policies_with_errors_are_told_once() {
    let test = format!(
        "{HEAD}  policies: [policy.yaml]\n  cases: [{{name: a, pod: {{images: [a]}}, expect: {{allowed: true}}}}]\n"
    );
    let directory = beside_the_table(&format!("{test}---\n{test}"));
    let policy = directory.path().join("policy.yaml");
    fs::write(
        &policy,
        fs::read_to_string(&policy)
            .unwrap()
            .replace("match: {images: [docker.io]}", "match: {images: []}"),
    )
    .unwrap();
    let ran = run_in(&directory, &[]);
    assert_eq!((ran.status, &*ran.stdout), (2, ""));
    assert_eq!(
        ran.stderr.matches("error[PP105]").count(),
        1,
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .ends_with("error: the tests, or what they name, have errors\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_exit_status_says_whether_the_cases_pass() {
    for (args, want, why) in [
        (&["test", "table"][..], 2, "no test in the directory"),
        (&["test", "missing.yaml"], 2, "a missing file"),
        (&["test"], 2, "no path"),
        (&["test", "table", "-o", "sarif"], 2, "an unknown format"),
        (
            &["test", "table", "--objects", "missing.yaml"],
            2,
            "missing objects",
        ),
    ] {
        let ran = run(args);
        assert_eq!(
            (ran.status, &*ran.stdout),
            (want, ""),
            "{args:?}: {why}: {}",
            ran.stderr
        );
        let errors = ran
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{args:?}: {why}: {}", ran.stderr);
    }
}

#[test]
fn flags_reach_the_cases() {
    let case = "\n    - {name: a, namespace: {name: shop}, pod: {images: [nginx]}, expect: {imagePullSecrets: [hub-creds]}}\n";
    for (args, want, why) in [
        (&[][..], 0, "in scope"),
        (&["--exclude-namespace", "shop"], 1, "excluded"),
        (&["--namespace-mode", "opt-in"], 1, "not opted in"),
    ] {
        let ran = run_cases(case, args);
        assert_eq!(ran.status, want, "{why}: {ran:?}");
    }
    let case =
        "\n    - {name: a, pod: {images: [nginx]}, expect: {imagePullSecrets: [agent-creds]}}\n";
    let case = case.replace("[nginx]", "[x.example.com/a]");
    assert_eq!(
        run_cases(&case, &["--namespace", "ci"]).status,
        0,
        "the namespace of what names none"
    );
}
