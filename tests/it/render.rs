//! `pullpass render`, the built binary: whole outputs, and what is refused.

mod applied;

use std::fs;

use pullpass::diagnostic::Source;
use pullpass::yaml;

use crate::command::{Ran, command, run, run_with, transcript};

const POLICY: &str = r#"
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - name: hub
      match: {images: [docker.io]}
      inject: {imagePullSecrets: [hub, ecr, vault]}
  credentials:
    - name: hub
      from: {secretRef: {name: dockerhub}}
    - name: ecr
      from: {ecr: {accountIds: ["123456789012"], regions: [us-east-1]}}
      holdPods: true
    - name: vault
      from: {existing: {}}
"#;

fn rbac(args: &[&str], policy: &str) -> Ran {
    let args = [&["render", "rbac", "--policy", "-"], args].concat();
    run_with(command(&args), policy.as_bytes())
}

fn configuration(args: &[&str]) -> Ran {
    run(&[&["render", "webhook-configuration"], args].concat())
}

/// What `-o yaml` and `-o json` print must be the same objects.
fn objects(yaml: &Ran, json: &Ran) -> Vec<serde_json::Value> {
    assert_eq!((yaml.status, json.status), (0, 0), "{yaml:?} {json:?}");
    let source = Source::new("out", yaml.stdout.as_str());
    let (documents, error) = yaml::read(&source);
    assert!(error.is_none(), "{error:?}");
    let documents: Vec<_> = documents.iter().map(|d| d.root.to_json()).collect();
    let list: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&list["apiVersion"], &list["kind"]),
        (&"v1".into(), &"List".into())
    );
    assert_eq!(list["items"], serde_json::Value::Array(documents.clone()));
    assert!(yaml.stdout.ends_with('\n') && json.stdout.ends_with('\n'));
    documents
}

#[test]
fn the_accounts_are_what_they_were() {
    let flags = ["--tenant-policies", "--sweep", "recreate", "-n", "registry"];
    insta::assert_snapshot!("render_rbac", transcript(&rbac(&[], POLICY)));
    insta::assert_snapshot!("render_rbac_flags", transcript(&rbac(&flags, POLICY)));
    let json = rbac(&["-o", "json"], POLICY);
    assert_eq!(objects(&rbac(&[], POLICY), &json).len(), 10);
}

#[test]
fn the_configurations_are_what_they_were() {
    let service = ["--service", "pullpass-system/pullpass-webhook"];
    let ran = configuration(&service);
    insta::assert_snapshot!("render_webhook_configuration", transcript(&ran));
    let json = configuration(&[&service[..], &["-o", "json"]].concat());
    assert_eq!(objects(&ran, &json).len(), 3);
    let flags = [
        "--url",
        "https://203.0.113.7:8443/hook/",
        "--namespace-mode",
        "opt-in",
        "--exclude-namespace",
        "legacy,batch",
        "--ignore-opt-out",
        "--failure-policy",
        "fail",
        "--timeout-seconds",
        "10",
        "--name",
        "10-pullpass",
        "-n",
        "registry",
    ];
    let ran = configuration(&flags);
    insta::assert_snapshot!("render_webhook_configuration_flags", transcript(&ran));
}

#[test]
fn a_ca_file_is_the_ca_bundle_and_only_then_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    assert_eq!(run(&["certs", "--out", out]).status, 0);
    let ca = directory.path().join("ca.crt");
    let service = ["--service", "a/b"];
    let without = configuration(&service);
    assert!(!without.stdout.contains("caBundle"), "{}", without.stdout);
    let with = configuration(&[&service[..], &["--ca-file", ca.to_str().unwrap()]].concat());
    assert_eq!(with.status, 0, "{}", with.stderr);
    let source = Source::new("out", with.stdout.as_str());
    let (documents, _) = yaml::read(&source);
    let want = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(fs::read(&ca).unwrap())
    };
    for document in &documents {
        let object = document.root.to_json();
        assert_eq!(object["webhooks"][0]["clientConfig"]["caBundle"], *want);
    }
    assert_eq!(documents.len(), 3);

    let key = directory.path().join("tls.key");
    let junk = directory.path().join("junk");
    fs::write(&junk, [0xff, 0xfe]).unwrap();
    for (file, want) in [
        (&key, "cannot be a caBundle: block 1 is a `PRIVATE KEY`"),
        (&junk, "is no PEM: it is not text"),
        (&directory.path().join("none"), "cannot read `"),
    ] {
        let ran = configuration(&[&service[..], &["--ca-file", file.to_str().unwrap()]].concat());
        assert_eq!((ran.status, &*ran.stdout), (2, ""), "{want}");
        assert!(ran.stderr.contains(want), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
}

#[test]
fn policies_are_read_as_everywhere() {
    let tenant = "
apiVersion: v1
kind: ConfigMap
metadata: {name: p, namespace: NAMESPACE, labels: {pullpass.dev/policy: 'true'}}
data:
  p.yaml: |
    apiVersion: pullpass.dev/v1
    kind: RegistryPolicy
    metadata: {name: company}
    spec:
      rules: [{name: r, match: {images: ['*']}, inject: {imagePullSecrets: [hub]}}]
      credentials: [{name: hub, from: {existing: {}}}]
";
    let own = tenant.replace("NAMESPACE", "registry");
    let other = tenant.replace("NAMESPACE", "shop");
    for (args, policy, status, out, said) in [
        (
            &[][..],
            "kind: Pod",
            2,
            "",
            "no RegistryPolicy in the input",
        ),
        (&[], "kind: [", 2, "", "the policies have errors"),
        (&["-n", "registry"], &*own, 0, "- hub\n", ""),
        (
            &["-n", "registry", "--tenant-policies"],
            &*other,
            2,
            "",
            "a tenant's policy",
        ),
    ] {
        let ran = rbac(args, policy);
        assert_eq!(ran.status, status, "{args:?} {policy}: {}", ran.stderr);
        assert!(
            ran.stdout.contains(out),
            "{args:?} {policy}: {}",
            ran.stdout
        );
        assert!(status == 0 || ran.stdout.is_empty(), "{}", ran.stdout);
        assert!(
            ran.stderr.contains(said),
            "{args:?} {policy}: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_mistake_is_one_line() {
    let hook = "webhook-configuration";
    let service = ["render", hook, "--service", "a/b"];
    let with = |args: &[&'static str]| [&service[..], args].concat();
    for (args, want) in [
        (
            vec!["render", "rbac"],
            "there is no policy; give `--policy PATH`",
        ),
        (
            vec!["render", "rbac", "--policy", "-", "-n", "a.b"],
            "no dot",
        ),
        (
            vec!["render", "rbac", "--policy", "-", "--sweep", "x"],
            "'x' for '--sweep",
        ),
        (
            vec![
                "render",
                "rbac",
                "--policy",
                "-",
                "--cert-manager",
                "--webhook-configuration",
                "x",
            ],
            "'--cert-manager' cannot be used with '--webhook-configuration",
        ),
        (vec!["render", hook], "--service"),
        (
            vec!["render", hook, "--service", "b"],
            "write the namespace and the name",
        ),
        (
            vec!["render", hook, "--url", "http://a"],
            "by `https://` only",
        ),
        (with(&["--url", "https://a"]), "cannot be used with"),
        (with(&["--timeout-seconds", "31"]), "31 is not in 1..=30"),
        (with(&["--timeout-seconds", "0"]), "0 is not in 1..=30"),
        (
            with(&["--failure-policy", "Maybe"]),
            "'Maybe' for '--failure-policy",
        ),
        (with(&["--exclude-namespace", "a,B"]), "`B` is no such name"),
        (with(&["--name", "a/b"]), "`a/b` is no such name"),
        (vec!["render", "nothing"], "'nothing'"),
    ] {
        let ran = run(&args);
        assert_eq!((ran.status, &*ran.stdout), (2, ""), "{args:?}");
        assert!(ran.stderr.contains(want), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn the_certificate_of_cert_manager_is_the_one_that_is_served_and_called() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/cert-manager.yaml");
    let source = Source::new("cert-manager.yaml", fs::read_to_string(path).unwrap());
    let (documents, error) = yaml::read(&source);
    assert!(error.is_none(), "{error:?}");
    let documents: Vec<_> = documents.iter().map(|d| d.root.to_json()).collect();
    let named = |kind: &str, name: &str| {
        documents
            .iter()
            .find(|d| d["kind"] == kind && d["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    let serving = named("Certificate", "pullpass-webhook");
    assert_eq!(serving["spec"]["secretName"], pullpass::install::TLS_SECRET);
    let host = "pullpass-webhook.pullpass-system.svc";
    assert_eq!(serving["spec"]["dnsNames"], serde_json::json!([host]));
    let issuer = named(
        "Issuer",
        serving["spec"]["issuerRef"]["name"].as_str().unwrap(),
    );
    let ca = named("Certificate", "pullpass-ca");
    assert_eq!(ca["spec"]["secretName"], issuer["spec"]["ca"]["secretName"]);
    assert_eq!(ca["spec"]["isCA"], true);
    // The controller's own: it would take one that it finds for a foreign one, or for its own.
    assert_ne!(ca["spec"]["secretName"], pullpass::install::CA_SECRET);
    named("Issuer", ca["spec"]["issuerRef"]["name"].as_str().unwrap());
}
