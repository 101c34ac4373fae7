//! The chart says what the program says: rights, webhook configurations, cert-manager's objects, the schema of policies.

use serde_json::{Value, json};

use super::{Objects, documents, named, rendered};
use crate::command::{command, run_with};

/// One of every kind of credential.
const POLICY: &str = r#"
rules:
  - name: hub
    match: {images: [docker.io]}
    inject: {imagePullSecrets: [hub, ecr, vault]}
credentials:
  - name: hub
    from: {secretRef: {name: dockerhub}}
  - name: ecr
    from: {ecr: {accountIds: ["123456789012"], regions: [us-east-1]}}
  - name: vault
    from: {existing: {}}
"#;
const HOLD: &str = "    holdPods: true\n";

fn indented(text: &str, by: usize) -> String {
    let margin = " ".repeat(by);
    let lines: Vec<String> = text.lines().map(|line| format!("{margin}{line}")).collect();
    lines.join(
        "
",
    ) + "
"
}

fn values_of(policy: &str, more: &str) -> String {
    format!("policies:\n  company:\n{}{more}", indented(policy, 4))
}

/// What `pullpass render` prints.
fn printed(args: &[&str], policy: &str) -> Objects {
    let head =
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {name: company}\nspec:\n";
    let policy = format!("{head}{}", indented(policy, 2));
    let ran = run_with(command(&[&["render"], args].concat()), policy.as_bytes());
    assert_eq!(ran.status, 0, "{args:?}: {}", ran.stderr);
    named(documents(&ran.stdout))
}

/// The same but for what only an installation by Helm says: the release, its version.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    let labels = object["metadata"]["labels"].as_object_mut().unwrap();
    for theirs in [
        "app.kubernetes.io/instance",
        "app.kubernetes.io/version",
        "app.kubernetes.io/managed-by",
        "helm.sh/chart",
    ] {
        labels.remove(theirs);
    }
    // The Pods ask for the token themselves.
    object
        .as_object_mut()
        .unwrap()
        .remove("automountServiceAccountToken");
    object
}

/// The printed objects are in the chart, field by field, and the chart has no other of their kinds.
#[track_caller]
fn agree(printed: &Objects, chart: &Objects, why: &str) {
    let kind = |key: &str| key.split(' ').next().unwrap().to_owned();
    let kinds: Vec<String> = printed.keys().map(|key| kind(key)).collect();
    let of_kinds = chart.iter().filter(|(key, _)| kinds.contains(&kind(key)));
    let of_kinds: Objects = of_kinds
        .map(|(key, object)| (key.clone(), bare(object)))
        .collect();
    let names: Vec<&String> = of_kinds.keys().collect();
    assert_eq!(names, printed.keys().collect::<Vec<_>>(), "{why}");
    for (key, want) in printed {
        assert_eq!(&of_kinds[key], want, "{why}: {key}");
    }
}

#[test]
fn the_rights_are_those_that_are_printed() {
    let held = POLICY.replace("  - name: vault", &format!("{HOLD}  - name: vault"));
    for (flags, policy, values, why) in [
        (&[][..], POLICY, "", "the usual"),
        (&[], &*held, "", "Pods are held"),
        (
            &["--tenant-policies"],
            POLICY,
            "tenantPolicies: {enabled: true}\n",
            "tenants have policies",
        ),
        (
            &["--webhook-configuration", "50-pullpass"],
            POLICY,
            "webhook: {configurationName: 50-pullpass}\n",
            "another configuration",
        ),
        (
            &["--cert-manager"],
            POLICY,
            "certManager: {enabled: true}\n",
            "cert-manager makes the certificate",
        ),
        (
            &["--cert-manager", "--tls-secret", "mine"],
            POLICY,
            "webhook: {tls: {existingSecret: mine}}\n",
            "somebody else makes the certificate",
        ),
        (
            &["--namespace", "registry"],
            POLICY,
            "namespaceOverride: registry\n",
            "another namespace",
        ),
    ] {
        let args = [&["rbac", "--policy", "-"], flags].concat();
        let printed = printed(&args, policy);
        agree(&printed, &named(rendered(&values_of(policy, values))), why);
    }
}

#[test]
fn names_from_outside_of_the_chart_count_as_those_of_its_policies() {
    let values = "
controller:
  credentialNames: [ecr, vault]
  retiredCredentialNames: [old, ecr]
  sourceSecretNames: [dockerhub]
";
    let chart = named(rendered(values));
    let rule = |role: &str, names: &Value| {
        let rules = chart[role]["rules"].as_array().unwrap();
        let found = rules.iter().find(|rule| rule["resourceNames"] == *names);
        found.unwrap_or_else(|| panic!("{names} in {rules:?}"))["verbs"].clone()
    };
    let all = json!(["get", "list", "watch", "create", "patch", "delete"]);
    let written = rule(
        "ClusterRole pullpass-controller",
        &json!(["ecr", "old", "vault"]),
    );
    assert_eq!(written, all);
    let sources = rule("Role pullpass-controller", &json!(["dockerhub"]));
    assert_eq!(sources, json!(["get", "list", "watch"]));
}

#[test]
fn the_rights_for_policies_outside_of_the_chart_are_those_that_are_printed() {
    let (policy, _) = POLICY.split_once("  - name: vault").unwrap();
    let policy = format!("{policy}{HOLD}");
    let values = "
controller:
  credentialNames: [hub, ecr]
  sourceSecretNames: [dockerhub]
  holdPods: true
";
    let printed = printed(&["rbac", "--policy", "-"], &policy);
    agree(
        &printed,
        &named(rendered(values)),
        "no policy is in the chart",
    );
}

#[test]
fn without_a_credential_no_right_to_secrets_is_without_a_name() {
    for (key, role) in named(rendered("")) {
        if !key.contains("Role ") {
            continue;
        }
        for rule in role["rules"].as_array().unwrap() {
            let secrets = rule["resources"] == json!(["secrets"]);
            let names = rule["resourceNames"].as_array().map_or(0, Vec::len);
            assert!(!secrets || names > 0, "{key}: {rule}");
            let text = rule.to_string();
            assert!(
                !text.contains('*') && !text.contains("\"update\""),
                "{key}: {rule}"
            );
        }
    }
}

#[test]
fn the_configurations_are_those_that_are_printed() {
    let service = ["--service", "pullpass-system/pullpass-webhook"];
    for (flags, values, why) in [
        (&service[..], "", "the usual"),
        (
            &[
                &service[..],
                &["--failure-policy", "Fail", "--timeout-seconds", "9"],
            ]
            .concat(),
            "webhook: {failurePolicy: Fail, timeoutSeconds: 9}",
            "Pods are refused in an outage",
        ),
        (
            &[
                &service[..],
                &["--namespace-mode", "opt-in", "--ignore-opt-out"],
            ]
            .concat(),
            "{namespaceMode: opt-in, allowOptOut: false}",
            "namespaces opt in, Pods may not opt out",
        ),
        (
            &[&service[..], &["--exclude-namespace", "z,a,kube-system"]].concat(),
            "excludedNamespaces: [z, a, kube-system]",
            "some namespaces are left out",
        ),
        (
            &["--url", "https://hooks.example:8443/pullpass/"],
            "webhook: {url: 'https://hooks.example:8443/pullpass/'}",
            "by a URL",
        ),
        (
            &[&service[..], &["--name", "50-pullpass"]].concat(),
            "webhook: {configurationName: 50-pullpass}",
            "another name",
        ),
    ] {
        let args = [&["webhook-configuration"], flags].concat();
        agree(&printed(&args, ""), &named(rendered(values)), why);
    }
}

#[test]
fn the_objects_for_cert_manager_are_those_of_the_manifest() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/cert-manager.yaml");
    let manifest = named(documents(&std::fs::read_to_string(path).unwrap()));
    let values = "certManager: {enabled: true}";
    let chart = named(rendered(values));
    for (key, object) in manifest {
        assert_eq!(chart[&key]["spec"], object["spec"], "{key}");
        assert_eq!(chart[&key]["apiVersion"], object["apiVersion"], "{key}");
    }
    let [certificate] = [&chart["Certificate pullpass-webhook"]["metadata"]];
    for (key, object) in &chart {
        if key.contains("WebhookConfiguration") {
            let from = &object["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
            let want = format!(
                "{}/{}",
                certificate["namespace"].as_str().unwrap(),
                certificate["name"].as_str().unwrap()
            );
            assert_eq!(*from, json!(want), "{key}");
        }
    }
}

#[test]
fn a_policy_arrives_in_its_config_map_as_it_was_written() {
    let chart = named(rendered(&values_of(POLICY, "")));
    let config_map = &chart["ConfigMap pullpass-policy-company"];
    assert_eq!(
        config_map["metadata"]["labels"]["pullpass.dev/policy"],
        "true"
    );
    let text = config_map["data"]["policy.yaml"].as_str().unwrap();
    let [policy] = &documents(text)[..] else {
        panic!("{text}")
    };
    assert_eq!(policy["metadata"]["name"], "company");
    assert_eq!(policy["spec"], documents(POLICY)[0]);
    let lint = run_with(command(&["lint", "-"]), text.as_bytes());
    assert_eq!(lint.status, 0, "{}", lint.stdout);
}
