//! `pullpass match`, the built binary: what it says of images, in words and as JSON.

use serde_json::{Value, json};

use crate::command::{Ran, command, run, run_with, transcript};

/// `match` with the table of the tests.
fn matched(args: &[&str]) -> Ran {
    run(&[&["match", "--policy", "table/policy.yaml"], args].concat())
}

fn json(args: &[&str]) -> Vec<Value> {
    let ran = matched(&[args, &["-o", "json"]].concat());
    assert!(ran.status < 2, "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

const CI: [&str; 4] = ["--objects", "table/cluster.yaml", "--namespace", "ci"];

#[test]
fn text_tells_the_parts_the_winner_the_others_and_what_is_injected() {
    let ran = matched(&[
        "nginx",
        "acme/app:v1",
        "quay.io/acme/worker@sha256:aec070645fe53ee3b3763059376134f058cc337247c978add178b6ccdfb0019f",
        "europe-docker.pkg.dev/p/r/i",
        "registry.example.com:5000/a:b",
        "Not An Image",
    ]);
    insta::assert_snapshot!("match_text", transcript(&ran));
}

#[test]
fn text_tells_why_a_selector_keeps_a_rule_out_and_what_every_pod_gets() {
    let mut args = vec!["quay.io/acme/debug:1"];
    args.extend(CI);
    insta::assert_snapshot!("match_selectors", transcript(&matched(&args)));
}

#[test]
fn json_has_exactly_the_fields_of_the_contract() {
    let digest = "sha256:aec070645fe53ee3b3763059376134f058cc337247c978add178b6ccdfb0019f";
    let both = format!("ACME.example.com:80/a/b:v1@{digest}");
    let images = json(&["nginx", "docker.io/acme/app:v1", &both, "Upper", "a:b:c"]);
    let rule =
        |rule: &str, pattern: &str| json!({"policy": "company", "rule": rule, "pattern": pattern});
    let unreadable = |image: &str, error: &Value| {
        json!({
            "image": image, "normalized": null, "registry": null, "repository": null, "tag": null,
            "digest": null, "rules": null, "imagePullSecrets": null, "serviceAccountName": null,
            "error": error,
        })
    };
    assert_eq!(
        images,
        [
            json!({
                "image": "nginx", "normalized": "docker.io/library/nginx",
                "registry": "docker.io", "repository": "library/nginx", "tag": null, "digest": null,
                "rules": [rule("hub", "docker.io")], "imagePullSecrets": ["hub-creds"],
                "serviceAccountName": null, "error": null,
            }),
            json!({
                "image": "docker.io/acme/app:v1", "normalized": "docker.io/acme/app:v1",
                "registry": "docker.io", "repository": "acme/app", "tag": "v1", "digest": null,
                "rules": [rule("hub-acme", "dockerHub: {organizations: [acme]}")],
                "imagePullSecrets": ["acme-creds"], "serviceAccountName": null, "error": null,
            }),
            json!({
                "image": both, "normalized": both,
                "registry": "ACME.example.com:80", "repository": "a/b", "tag": "v1", "digest": digest,
                "rules": [], "imagePullSecrets": [], "serviceAccountName": null, "error": null,
            }),
            unreadable("Upper", &images[3]["error"]),
            unreadable("a:b:c", &images[4]["error"]),
        ]
    );
    for unreadable in &images[3..] {
        assert!(
            unreadable["error"]
                .as_str()
                .is_some_and(|why| !why.is_empty()),
            "{unreadable}"
        );
    }
}

#[test]
fn selectors_see_the_labels_that_are_given() {
    for (args, secrets, account, why) in [
        (
            &["quay.io/acme/debug"][..],
            json!(["quay-creds"]),
            json!(null),
            "neither selector matches",
        ),
        (
            &["quay.io/acme/debug", "--pod-label", "debug=1"],
            json!(["debug-creds"]),
            json!(null),
            "a label of the Pod",
        ),
        (
            &["quay.io/acme/debug", "--namespace", "ci"],
            json!(["quay-creds"]),
            json!(null),
            "a namespace that nobody describes has no labels",
        ),
        (
            &[
                "quay.io/acme/debug",
                "--namespace",
                "ci",
                "--objects",
                "table/cluster.yaml",
            ],
            json!(["build-creds", "agent-creds"]),
            json!("builder"),
            "a label of the namespace, and what every Pod there gets behind it",
        ),
        (
            &[
                "mine.example.com/a",
                "--namespace",
                "ci",
                "--objects",
                "table/cluster.yaml",
            ],
            json!(["agent-creds"]),
            json!(null),
            "what every Pod gets needs no pattern",
        ),
    ] {
        let got = json(args);
        assert_eq!(got[0]["imagePullSecrets"], secrets, "{args:?}: {why}");
        assert_eq!(got[0]["serviceAccountName"], account, "{args:?}: {why}");
    }
    let mut args = vec!["mine.example.com/a"];
    args.extend(CI);
    let rule = json!([{"policy": "company", "rule": "everywhere", "pattern": "everyPod"}]);
    assert_eq!(json(&args)[0]["rules"], rule);
}

#[test]
fn a_namespace_out_of_scope_gets_nothing_and_is_told() {
    let objects = ["--objects", "table/cluster.yaml"];
    for (args, why) in [
        (
            &["--namespace", "kube-system"][..],
            "kube-system is always left alone",
        ),
        (
            &["--namespace", "pullpass-system"],
            "pullpass's own namespace",
        ),
        (
            &["--namespace", "quiet"],
            "labelled pullpass.dev/inject: disabled",
        ),
        (
            &["--namespace", "shop", "--exclude-namespace", "shop,other"],
            "excluded by --exclude-namespace",
        ),
        (
            &["--namespace", "shop", "--namespace-mode", "opt-in"],
            "not labelled pullpass.dev/inject: enabled",
        ),
        (
            &["--pod-label", "pullpass.dev/inject=disabled"],
            "the Pod is labelled",
        ),
    ] {
        let args = [&["nginx"], args, &objects].concat();
        let ran = matched(&[&args[..], &["-o", "json"]].concat());
        assert_eq!(ran.status, 0, "{args:?}");
        assert!(ran.stderr.contains(why), "{args:?}: {}", ran.stderr);
        let got: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(got[0]["normalized"], "docker.io/library/nginx", "{args:?}");
        assert_eq!(got[0]["rules"], json!([]), "{args:?}");
        assert_eq!(got[0]["imagePullSecrets"], json!([]), "{args:?}");
        let text = matched(&args).stdout;
        assert!(
            text.contains("left alone") && text.contains(why),
            "{args:?}: {text}"
        );
    }
    let got = json(&[
        "nginx",
        "--namespace",
        "off",
        "--ignore-opt-out",
        "--objects",
        "table/cluster.yaml",
    ]);
    assert_eq!(
        got[0]["imagePullSecrets"],
        json!(["hub-creds"]),
        "labels may not opt out"
    );
}

#[test]
fn outputs_go_where_they_are_sent() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("out.json");
    let to_file = format!("json={}", file.display());
    let ran = matched(&["nginx", "-o", &to_file, "-o", "text"]);
    assert_eq!(
        ran.stdout,
        matched(&["nginx"]).stdout,
        "text stands alone on standard output"
    );
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written, matched(&["nginx", "-o", "json"]).stdout);
    let ran = matched(&["nginx", "-o", "json=missing/directory/out.json"]);
    assert_eq!(ran.status, 2);
    assert_eq!(
        ran.stderr,
        "error: cannot write `missing/directory/out.json`: No such file or directory (os error 2)\n"
    );
}

#[test]
fn the_exit_status_says_whether_the_images_parse() {
    for (args, want, why) in [
        (
            &["match", "nginx", "--policy", "table/policy.yaml"][..],
            0,
            "it parses",
        ),
        (
            &[
                "match",
                "other.example.com/a",
                "--policy",
                "table/policy.yaml",
            ],
            0,
            "no rule is about it",
        ),
        (
            &["match", "nginx", "a b", "--policy", "table/policy.yaml"],
            1,
            "one of them does not parse",
        ),
        (
            &["match", "", "--policy", "table/policy.yaml"],
            1,
            "nothing does not parse",
        ),
        (&["match", "nginx"], 2, "no policy"),
        (&["match", "--policy", "table/policy.yaml"], 2, "no image"),
        (
            &["match", "nginx", "--policy", "missing.yaml"],
            2,
            "a missing policy",
        ),
        (
            &["match", "nginx", "--policy", "table/cluster.yaml"],
            2,
            "no policy in the file",
        ),
        (
            &[
                "match",
                "nginx",
                "--policy",
                "table/policy.yaml",
                "--objects",
                "missing.yaml",
            ],
            2,
            "missing objects",
        ),
        (
            &[
                "match",
                "nginx",
                "--policy",
                "table/policy.yaml",
                "--pod-label",
                "x",
            ],
            2,
            "a label without a value",
        ),
    ] {
        let ran = run(args);
        assert_eq!(ran.status, want, "{args:?}: {why}: {ran:?}");
        if want == 2 {
            assert_eq!(ran.stdout, "", "{args:?}: {why}");
            let errors = ran
                .stderr
                .lines()
                .filter(|line| line.starts_with("error: "));
            assert_eq!(errors.count(), 1, "{args:?}: {why}: {}", ran.stderr);
        }
    }
}

#[test]
fn a_policy_with_errors_is_not_used_in_part() {
    let policy =
        b"apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {name: p}\nspec:\n  \
                   rules:\n    - name: a\n      match: {images: ['a[b']}\n      injekt: {}\n";
    let ran = run_with(command(&["match", "nginx", "--policy", "-"]), policy);
    assert_eq!((ran.status, &*ran.stdout), (2, ""));
    for code in ["PP102", "PP104", "PP108"] {
        assert!(
            ran.stderr.contains(&format!("error[{code}]")),
            "{code}: {}",
            ran.stderr
        );
    }
    assert!(
        ran.stderr.ends_with("error: the policies have errors\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_an_image_holds_never_reaches_the_terminal_raw() {
    let ran = matched(&["a\u{1b}[31mb\nc"]);
    assert_eq!(ran.status, 1);
    assert!(!ran.stdout.contains('\u{1b}'), "{:?}", ran.stdout);
    assert_eq!(ran.stdout.lines().count(), 2, "{:?}", ran.stdout);
}
