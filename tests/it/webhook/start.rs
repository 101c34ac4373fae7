//! How it starts: what it says, serves and logs; and what keeps it from starting.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use super::client::{Client, config};
use super::server::Place;
use super::{patch, policy, review, secrets};
use crate::command::{command, run};

#[test]
fn it_answers_a_review_with_the_very_answer_that_mutate_shows() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let file = |name: &str| examples.join(name).to_str().unwrap().to_owned();
    let server = Place::with("").start(&[
        "--policy",
        &file("policy.yaml"),
        "--objects",
        &file("cluster.yaml"),
    ]);
    let review: Value =
        serde_json::from_str(&fs::read_to_string(file("review.json")).unwrap()).unwrap();
    let answer = server.client().ask(&review);
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    assert!(!patch(&answer).as_array().unwrap().is_empty());
    let ran = run(&[
        "mutate",
        "-f",
        &file("review.json"),
        "-o",
        "review",
        "--policy",
        &file("policy.yaml"),
        "--objects",
        &file("cluster.yaml"),
    ]);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap(), answer);
}

#[test]
fn it_logs_where_it_listens_and_tells_how_it_is() {
    let server = Place::with(&policy(&[("docker.io", "hub")])).start(&[]);
    for line in server.log().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(
            line["timestamp"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
    server.until_ready();
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.get("/readyz").body, "ready\n");
    let verbose = server.get("/readyz?verbose").body;
    for check in [
        "policies: 1 policies, 1 rules, digest ",
        "certificate: valid for ",
        "self-call: ",
        "shutdown: ",
    ] {
        assert!(
            verbose.contains(&format!("[+] {check}")),
            "{check}: {verbose}"
        );
    }
    let metrics = server.get("/metrics");
    assert!(
        metrics
            .head
            .contains("content-type: application/openmetrics-text"),
        "{}",
        metrics.head
    );
    assert!(metrics.body.ends_with("# EOF\n"));
    assert_eq!(server.get("/").status, 404);
}

#[test]
fn at_debug_each_decision_is_one_line_without_what_the_pod_holds() {
    let server =
        Place::with(&policy(&[("docker.io", "hub")])).start(&["--log", "info,pullpass=debug"]);
    let mut pod = review("shop", &["nginx"]);
    pod["request"]["object"]["spec"]["containers"][0]["env"] =
        serde_json::json!([{"name": "PASSWORD", "value": "correct horse"}]);
    server.client().ask(&pod);
    let mut decided = Vec::new();
    super::until("the line is there", || {
        let log = server.log();
        let lines = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        decided = lines.filter(|line| line["message"] == "decided").collect();
        !decided.is_empty()
    });
    assert_eq!(decided.len(), 1);
    for (field, want) in [
        ("uid", "705ab4f5-6393-11e8-b7cc-42010a800002"),
        ("namespace", "shop"),
        ("pod", "pod"),
        ("operation", "CREATE"),
        ("outcome", "patched"),
        ("rules", "p/r0"),
    ] {
        assert_eq!(decided[0][field], want, "{field}");
    }
    assert!(decided[0]["microseconds"].is_u64());
    assert!(!server.log().contains("correct horse"));
}

#[test]
fn a_certificate_of_its_own_is_made_when_asked_for() {
    let server = Place::with(&policy(&[("docker.io", "hub")])).start(&["--self-signed"]);
    server.until_ready();
    let error = Client::connect(server.admission, &config(&[&server.place.pair.ca], None))
        .err()
        .unwrap();
    assert!(
        error.to_string().starts_with("invalid peer certificate: "),
        "it is of no authority we know: {error}"
    );
}

#[test]
fn the_scope_is_checked_by_the_server_as_well() {
    let place = Place::with(&policy(&[("docker.io", "hub")]));
    place.put("objects.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: quiet, labels: {pullpass.dev/inject: disabled}}}");
    let server = place.start(&[
        "--namespace",
        "mine",
        "--exclude-namespace",
        "a,b",
        "--objects",
        "objects.yaml",
    ]);
    let mut client = server.client();
    for (namespace, want) in [
        ("shop", true),
        ("kube-system", false),
        ("mine", false),
        ("a", false),
        ("b", false),
        ("quiet", false),
        ("pullpass-system", true),
    ] {
        let answer = client.ask(&review(namespace, &["nginx"]));
        assert_eq!(answer["response"]["allowed"], true, "{namespace}");
        assert_eq!(secrets(&answer) == ["hub"], want, "{namespace}");
    }
}

#[test]
fn flags_come_from_the_environment_too() {
    let place = Place::with(&policy(&[("docker.io", "hub")]));
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let mut command = command(&["webhook", "--self-signed"]);
    command
        .current_dir(place.directory.path())
        .env("PULLPASS_POLICY", "policy.yaml")
        .env("PULLPASS_LISTEN", &address)
        .env("PULLPASS_ADMIN_LISTEN", "127.0.0.1:0")
        .env("PULLPASS_LOG", "error");
    let ran = crate::command::run_with(command, b"");
    assert!(
        ran.stderr.contains(&address),
        "it read all of them: {}",
        ran.stderr
    );
}

#[test]
fn what_keeps_it_from_starting_is_one_line() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = busy.local_addr().unwrap().to_string();
    let other = Place::with("");
    let place = Place::with(&policy(&[("docker.io", "hub")]));
    place.put("other.key", &other.pair.key);
    place.put("empty.yaml", "");
    place.put("foreign.yaml", "kind: Pod\n");
    for (args, want) in [
        (
            &["--listen", &busy][..],
            format!("error: cannot listen on `{busy}` for admission requests: "),
        ),
        (
            &["--admin-listen", &busy],
            format!("error: cannot listen on `{busy}` for admin requests: "),
        ),
        (
            &["--policy", "gone.yaml"],
            "error: cannot read `gone.yaml`: no such file or directory\n".into(),
        ),
        (
            &["--policy", "empty.yaml"],
            "error: nothing to examine: no RegistryPolicy in the input\n".into(),
        ),
        (
            &["--policy", "foreign.yaml"],
            "error: nothing to examine: no RegistryPolicy in the input\n".into(),
        ),
        (
            &["--policy", "-"],
            "error: `-` is no file that could be read again".into(),
        ),
        (
            &["--objects", "gone.yaml"],
            "error: cannot read `gone.yaml`: no such file or directory\n".into(),
        ),
        (
            &["--tls-cert", "gone.crt", "--tls-key", "tls.key"],
            "error: cannot read `gone.crt`: ".into(),
        ),
        (
            &["--tls-cert", "tls.key", "--tls-key", "tls.key"],
            "error: `tls.key` holds no certificate in PEM form".into(),
        ),
        (
            &["--tls-cert", "tls.crt", "--tls-key", "tls.crt"],
            "error: `tls.crt` holds no private key in PEM form".into(),
        ),
        (
            &["--tls-cert", "tls.crt", "--tls-key", "other.key"],
            "error: the certificate in `tls.crt` and its key cannot be used together".into(),
        ),
        (
            &["--client-ca", "gone.crt"],
            "error: cannot read `gone.crt`: ".into(),
        ),
        (
            &["--client-ca", "policy.yaml"],
            "error: `policy.yaml` holds no certificate in PEM form".into(),
        ),
        (
            &["--log", "pullpass=loud"],
            "error: cannot read the log level `pullpass=loud`: ".into(),
        ),
    ] {
        let quiet = if args[0] == "--log" {
            &[][..]
        } else {
            &["--log", "error"]
        };
        let output = place.command(&[args, quiet].concat()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert_eq!(output.stdout, b"", "{args:?}");
        assert!(stderr.starts_with(&want), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
    }
}

#[test]
fn a_policy_with_errors_keeps_it_from_starting_and_every_error_is_told() {
    let place = Place::with(
        &policy(&[("a[b", "hub"), ("docker.io", "Not_A_Name")])
            .replace("spec:", "spec:\n  mood: good"),
    );
    let output = place.command(&[]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for code in ["PP102", "PP108", "PP113"] {
        assert!(
            stderr.contains(&format!("error[{code}]: ")),
            "{code}: {stderr}"
        );
    }
    assert!(stderr.contains(" --> policy.yaml:"), "{stderr}");
    assert!(
        stderr.ends_with("error: the policies have errors\n"),
        "{stderr}"
    );
}
