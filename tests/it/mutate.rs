//! `pullpass mutate`, the built binary: manifests in, manifests with the table applied out.

use std::fs;
use std::path::Path;

use pullpass::diagnostic::Source;
use serde_json::{Value, json};

use crate::command::{Ran, command, run, run_with, transcript};

const TABLE: [&str; 4] = [
    "--policy",
    "table/policy.yaml",
    "--objects",
    "table/cluster.yaml",
];

fn mutate(args: &[&str]) -> Ran {
    run(&[&["mutate"], args, &TABLE].concat())
}

/// `mutate` of this text.
fn mutate_text(text: &str, args: &[&str]) -> Ran {
    run_with(
        command(&[&["mutate", "-f", "-"], args, &TABLE].concat()),
        text.as_bytes(),
    )
}

fn data(name: &str) -> String {
    fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/it/data")
            .join(name),
    )
    .unwrap()
}

/// Every document of a YAML text, typed as `kubectl` types it.
fn documents(text: &str) -> Vec<Value> {
    let source = Source::new("test", text);
    let (documents, error) = pullpass::yaml::read(&source);
    assert!(error.is_none(), "{error:?}\n{text}");
    let documents = documents.iter().map(|document| document.root.to_json());
    documents.filter(|document| !document.is_null()).collect()
}

fn patched(document: &Value, patch: &Value) -> Value {
    let mut after = document.clone();
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
    json_patch::patch(&mut after, &patch).unwrap();
    after
}

#[test]
fn every_format_shows_the_same_change() {
    for format in ["yaml", "json", "patch", "diff", "review"] {
        let ran = mutate(&["-f", "table/pod.yaml", "-o", format]);
        insta::assert_snapshot!(format!("mutate_pod_{format}"), transcript(&ran));
    }
    let before = &documents(&data("table/pod.yaml"))[0];
    let of = |format: &str| mutate(&["-f", "table/pod.yaml", "-o", format]).stdout;
    let after: Value = serde_json::from_str(&of("json")).unwrap();
    let patch: Value = serde_json::from_str(&of("patch")).unwrap();
    assert_eq!(
        patched(before, &patch),
        after,
        "the patch of the input is the output"
    );
    assert_eq!(
        documents(&of("yaml")),
        std::slice::from_ref(&after),
        "in YAML as in JSON"
    );
    assert_ne!(*before, after);
}

#[test]
fn only_the_documents_that_change_are_written_anew() {
    let ran = mutate(&["-f", "table/manifests.yaml"]);
    insta::assert_snapshot!("mutate_manifests", transcript(&ran));
    let text = data("table/manifests.yaml");
    let (start, end) = (
        text.find("apiVersion: apps/v1").unwrap(),
        text.find("---\n\n---").unwrap(),
    );
    assert!(
        ran.stdout.starts_with(&text[..start]),
        "all before it, its own comments too"
    );
    assert!(ran.stdout.ends_with(&text[end..]), "and all behind it");
}

#[test]
fn what_nothing_changes_comes_out_byte_for_byte() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: x.example.com/a}]}";
    for (text, why) in [
        ("kind: Other  # comment\n\n\n", "comments and empty lines"),
        ("a:   'x'\nb: \"y\"", "no line end at the end"),
        ("a: 1\r\n---\r\nb: 2\r\n", "line ends of another system"),
        (
            "%YAML 1.1\n---\na: 1\n...\n---\nb: 2\n...\n",
            "directives and ends",
        ),
        (
            "--- # one\na: 1\n--- {b: 2}\n---\n---\n# only words\n",
            "text beside the markers",
        ),
        ("{\"a\": [1,   2]}", "JSON"),
        ("a: &x {b: 1}\nc: *x\n", "aliases"),
        (
            "{\"a\": \"\u{7f}\"}",
            "a character that YAML forbids, in JSON",
        ),
        ("# \\e[31m \u{85}\na: '\u{2028}'\n", "odd characters"),
        ("# ümlaut ☃\nä: '☃'\n", "other letters"),
        (
            &*format!("{pod}\n---\n{pod}\n"),
            "Pods that no rule is about",
        ),
    ] {
        let ran = mutate_text(text, &[]);
        assert_eq!(
            (ran.status, &*ran.stdout),
            (0, text),
            "{why}: {}",
            ran.stderr
        );
    }
}

#[test]
fn several_files_are_one_stream() {
    let directory = tempfile::tempdir().unwrap();
    let pod = "kind: Pod\napiVersion: v1\nmetadata: {name: p}\nspec: {containers: [{name: c, image: nginx}]}\n";
    for (file, text) in [
        ("a.yaml", "# first\na: 1"),
        ("b.yaml", pod),
        ("c.yaml", "# third\n---\nc: 3\n"),
        ("d.json", "{\"d\": 4}\n"),
        ("e.txt", "not read"),
    ] {
        fs::write(directory.path().join(file), text).unwrap();
    }
    let ran = mutate(&["-f", directory.path().to_str().unwrap()]);
    assert_eq!(
        ran.stdout,
        "# first\na: 1\n---\nkind: Pod\napiVersion: v1\nmetadata:\n  name: p\n  annotations:\n    \
         pullpass.dev/rules: company/hub\nspec:\n  containers:\n  - name: c\n    image: nginx\n  \
         imagePullSecrets:\n  - name: hub-creds\n# third\n---\nc: 3\n---\n{\"d\": 4}\n"
    );
    assert_eq!(documents(&ran.stdout).len(), 4);
    let list: Value = serde_json::from_str(
        &mutate(&["-f", directory.path().to_str().unwrap(), "-o", "json"]).stdout,
    )
    .unwrap();
    assert_eq!(list["kind"], "List");
    assert_eq!(
        list["items"],
        Value::Array(documents(&ran.stdout)),
        "the same documents in both"
    );
}

/// Strings that a reader of YAML may take for something else.
const ODD: &[&str] = &[
    "yes",
    "Yes",
    "no",
    "on",
    "off",
    "y",
    "N",
    "true",
    "FALSE",
    "null",
    "Null",
    "~",
    "",
    " ",
    "012",
    "0o14",
    "0644",
    "1e3",
    "1E3",
    "1.0",
    "1.",
    ".5",
    "+1",
    "-1",
    "0x1f",
    "0b1",
    "1_000",
    "12:30:45",
    "2024-01-01",
    ".inf",
    "-.INF",
    ".nan",
    "=",
    "<<",
    "-",
    "--",
    "---",
    "...",
    "- a",
    "a: b",
    "a:",
    ":a",
    "#a",
    "a #b",
    "a# b",
    "@a",
    "`a`",
    "%a",
    "!a",
    "&a",
    "*a",
    "|",
    ">",
    "[a",
    "{a",
    "]",
    "}",
    ",",
    "?",
    "? a",
    "'a'",
    "\"a\"",
    "a'b",
    "a\"b",
    "\\",
    "a\\nb",
    " lead",
    "trail ",
    "\ttab",
    "tab\t",
    "a\tb",
    "two\nlines",
    "two\nlines\n",
    "kept\n\n",
    "\nfirst",
    "  indented\nthen not",
    "a\r\nb",
    "a\rb",
    "trail \nnext",
    "nul\u{0}",
    "bell\u{7}",
    "esc\u{1b}[0m",
    "del\u{7f}",
    "next\u{85}line",
    "sep\u{2028}par\u{2029}",
    "bom\u{feff}x",
    "☃ snow",
    "🦀",
    "nbsp\u{a0}",
    "1.2.3",
    "1,000",
    "0",
    "-0",
    "123456789012",
    "9223372036854775808",
    "a very long line that goes on and on for more than eighty columns, which some writers would fold into two",
    "{{ .Values.x }}",
    "$(VAR)",
    "key: value # comment",
    "- - -",
    "!!str x",
    "<<: x",
    "NaN",
    "inf",
];

#[test]
fn strings_that_look_like_something_else_stay_strings() {
    let env: Vec<Value> = ODD.iter().map(|s| json!({"name": s, "value": s})).collect();
    let annotations: serde_json::Map<String, Value> = ODD
        .iter()
        .map(|s| ((*s).to_owned(), Value::from(*s)))
        .collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "annotations": annotations},
        "spec": {
            "containers": [{"name": "c", "image": "nginx", "env": env, "command": ODD,
                "securityContext": {"runAsUser": 9_007_199_254_740_993_i64, "x": -1, "float": 1.5, "no": false, "nil": null}}],
            "volumes": [{"name": "v", "secret": {"defaultMode": 420}}], "tolerations": [], "nodeSelector": {},
            "x": [[], {}, [[1, "1"], [{"a": []}]], null],
        },
    });
    let ran = mutate_text(&pod.to_string(), &["-o", "yaml"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(
        ran.stdout.starts_with("apiVersion: v1\n"),
        "written anew, as YAML"
    );
    let patch: Value =
        serde_json::from_str(&mutate_text(&pod.to_string(), &["-o", "patch"]).stdout).unwrap();
    let want = patched(&pod, &patch);
    let got = &documents(&ran.stdout)[0];
    for (i, text) in ODD.iter().enumerate() {
        let command = &got["spec"]["containers"][0]["command"][i];
        assert_eq!(command, text, "as a value\n{}", ran.stdout);
        assert_eq!(got["metadata"]["annotations"][*text], *text, "as a key");
    }
    assert_eq!(*got, want);
    let again = mutate_text(&ran.stdout, &["-o", "yaml"]);
    assert_eq!(
        again.stdout, ran.stdout,
        "what was written is read as it was meant"
    );
}

#[test]
fn octal_modes_and_bare_words_mean_what_kubectl_reads() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {a: 'on'}}\nspec:\n  hostNetwork: yes\n  \
                containers: [{name: c, image: nginx}]\n  volumes: [{name: v, secret: {defaultMode: 0644}}]\n";
    let got = &documents(&mutate_text(text, &[]).stdout)[0];
    assert_eq!(got["spec"]["volumes"][0]["secret"]["defaultMode"], 420);
    assert_eq!(got["spec"]["hostNetwork"], true);
    assert_eq!(got["metadata"]["labels"]["a"], "on");
}

#[test]
fn mutating_twice_is_mutating_once() {
    for (name, text) in [
        ("a Pod", data("table/pod.yaml")),
        ("several manifests", data("table/manifests.yaml")),
        ("a List", list().to_string()),
        ("a review", review("ci", "quay.io/acme/worker").to_string()),
    ] {
        let once = mutate_text(&text, &["--exit-code"]);
        assert_eq!(once.status, 1, "{name}: {}", once.stderr);
        let twice = mutate_text(&once.stdout, &["--exit-code"]);
        assert_eq!(
            (twice.status, &*twice.stdout),
            (0, &*once.stdout),
            "{name}: {}",
            twice.stderr
        );
    }
}

fn list() -> Value {
    let pod = |image: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": image}]}})
    };
    json!({"apiVersion": "v1", "kind": "List", "items": [
        pod("nginx"), {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}, pod("x.example.com/a"),
        {"apiVersion": "v1", "kind": "List", "items": [pod("acme/a")]},
    ]})
}

fn review(namespace: &str, image: &str) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1", "operation": "CREATE", "namespace": namespace,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace},
            "spec": {"serviceAccountName": "default", "containers": [{"name": "c", "image": image}]}},
    }})
}

#[test]
fn a_list_is_one_document_and_its_items_are_changed_where_they_stand() {
    let text = list().to_string();
    let patch: Value = serde_json::from_str(&mutate_text(&text, &["-o", "patch"]).stdout).unwrap();
    let after: Value = serde_json::from_str(&mutate_text(&text, &["-o", "json"]).stdout).unwrap();
    assert_eq!(patched(&list(), &patch), after);
    let secrets = |pointer: &str| {
        after
            .pointer(pointer)
            .map(|pod| pod["spec"]["imagePullSecrets"].clone())
    };
    assert_eq!(secrets("/items/0"), Some(json!([{"name": "hub-creds"}])));
    assert_eq!(
        secrets("/items/2"),
        Some(Value::Null),
        "no rule is about it"
    );
    assert_eq!(
        secrets("/items/3/items/0"),
        Some(json!([{"name": "acme-creds"}]))
    );
    assert_eq!(after["items"][1], list()["items"][1]);
}

#[test]
fn a_review_is_answered_as_the_webhook_answers_it() {
    let text = review("ci", "quay.io/acme/worker").to_string();
    let answer: Value =
        serde_json::from_str(&mutate_text(&text, &["-o", "review"]).stdout).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["response"]["uid"], "u-1");
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    let patch = answer["response"]["patch"].as_str().unwrap();
    let patch: Value = serde_json::from_slice(&base64(patch)).unwrap();
    let after: Value = serde_json::from_str(&mutate_text(&text, &["-o", "json"]).stdout).unwrap();
    assert_eq!(
        patched(
            &review("ci", "quay.io/acme/worker")["request"]["object"],
            &patch
        ),
        after["request"]["object"]
    );

    let mut update = review("ci", "quay.io/acme/worker");
    update["request"]["operation"] = "UPDATE".into();
    let ran = mutate_text(&update.to_string(), &["--exit-code"]);
    assert_eq!(
        (ran.status, ran.stdout),
        (0, update.to_string()),
        "an update gets no patch"
    );

    let mut bad = review("ci", "nginx");
    bad["apiVersion"] = "admission.k8s.io/v1beta1".into();
    let ran = mutate_text(&bad.to_string(), &["-o", "review"]);
    assert_eq!(
        (ran.status, &*ran.stdout),
        (2, ""),
        "the webhook's 400: {}",
        ran.stderr
    );
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

#[test]
fn a_refused_pod_is_a_finding_and_stays_as_it_is() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: ci}\n\
               spec: {containers: [{name: c, image: strict.example.com/a}]}\n";
    let ran = mutate_text(pod, &[]);
    assert_eq!((ran.status, &*ran.stdout), (1, pod));
    insta::assert_snapshot!("mutate_refused", ran.stderr);
    let review: Value = serde_json::from_str(&mutate_text(pod, &["-o", "review"]).stdout).unwrap();
    assert_eq!(review["response"]["allowed"], false);
    assert_eq!(review["response"]["status"]["code"], 403);
}

#[test]
fn warnings_are_told_beside_the_result() {
    let pod = |image: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c, image: \"{image}\"}}]}}\n"
        )
    };
    for (text, want, why) in [
        (
            pod("A b"),
            "warning[PP201] Pod default/p: ",
            "an image that does not parse",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: x}\n".to_owned(),
            "warning[PP208] Pod default/p: ",
            "a Pod of a shape that no Pod has",
        ),
        (
            pod("nginx").replace("name: p", "name: p, namespace: kube-system"),
            "note: Pod kube-system/p is left alone: ",
            "a namespace out of scope",
        ),
    ] {
        let ran = mutate_text(&text, &[]);
        assert_eq!((ran.status, &ran.stdout), (0, &text), "{why}");
        assert!(ran.stderr.contains(want), "{why}: {}", ran.stderr);
    }
    let ran = mutate_text(&pod(r"\e[31m\n\0"), &[]);
    assert!(!ran.stderr.contains(['\u{1b}', '\0']), "{:?}", ran.stderr);
}

#[test]
fn the_exit_status_says_whether_it_could_and_on_request_whether_it_did() {
    for (args, want, why) in [
        (
            &["-f", "table/pod.yaml"][..],
            0,
            "a change is what was asked for",
        ),
        (
            &["-f", "table/pod.yaml", "--exit-code"],
            1,
            "and a finding when asked for",
        ),
        (
            &["-f", "table/cluster.yaml", "--exit-code"],
            0,
            "nothing changes",
        ),
        (&["-f", "missing.yaml"], 2, "a missing file"),
        (&["-f", "table"], 0, "a directory"),
        (&[], 2, "no file"),
        (
            &["-f", "table/pod.yaml", "-o", "xml"],
            2,
            "an unknown format",
        ),
        (
            &["-f", "table/pod.yaml", "-o", "yaml", "-o", "json"],
            2,
            "two results in one place",
        ),
        (&["-f", "-"], 2, "an empty input"),
    ] {
        let ran = mutate(args);
        assert_eq!(ran.status, want, "{args:?}: {why}: {}", ran.stderr);
        if want == 2 {
            assert_eq!(ran.stdout, "", "{args:?}: {why}");
            let errors = ran
                .stderr
                .lines()
                .filter(|line| line.starts_with("error: "));
            assert_eq!(errors.count(), 1, "{args:?}: {why}: {}", ran.stderr);
        }
    }
    let ran = mutate_text("a: [1\n", &[]);
    assert_eq!(ran.status, 2, "a broken text");
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    assert_eq!(ran.stdout, "", "nothing comes out before all is read");
}
