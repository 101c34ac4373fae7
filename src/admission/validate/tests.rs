//! ConfigMaps as they are submitted: what is refused, warned of, let through.

use super::*;
use crate::diagnostic::Source;
use crate::load::{LoadOptions, load};
use serde_json::json;

const OWN: &str = "pullpass-system";
const GOOD: &str = "{apiVersion: pullpass.dev/v1, kind: RegistryPolicy, metadata: {name: p}, spec: \
    {rules: [{name: a, match: {images: [docker.io]}, inject: {imagePullSecrets: [x]}}], \
    credentials: [{name: x, from: {existing: {}}}]}}";

/// A policy of a name, that injects a Secret and may declare it.
fn policy(name: &str, secret: &str, declares: bool) -> String {
    let credentials = if declares {
        format!("[{{name: '{secret}', from: {{existing: {{}}}}}}]")
    } else {
        "[]".to_owned()
    };
    format!(
        "---\napiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         rules: [{{name: r, match: {{images: [quay.io/{name}]}}, inject: {{imagePullSecrets: ['{secret}']}}}}]\n  \
         credentials: {credentials}\n"
    )
}

fn config_map(label: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "c", "labels": {POLICY_LABEL: label}}, "data": {"p.yaml": text}})
}

fn respond(object: &Value, namespace: &str, options: &LoadOptions, table: &Table) -> Value {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "operation": "CREATE", "namespace": namespace, "object": object},
    });
    let body = review.to_string();
    let answer = validate(body.as_bytes(), table, &options.parse_options()).unwrap();
    serde_json::from_slice::<Value>(&answer.body).unwrap()["response"].clone()
}

fn alone(object: &Value, namespace: &str, tenant_policies: bool) -> Value {
    let options = LoadOptions {
        tenant_policies,
        ..LoadOptions::default()
    };
    respond(object, namespace, &options, &Table::new(Vec::new()))
}

fn warnings(response: &Value) -> Vec<&str> {
    let warnings = response["warnings"].as_array().into_iter().flatten();
    warnings.filter_map(Value::as_str).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table has that many rows")]
fn errors_deny_and_warnings_warn() {
    let bad = GOOD.replace("inject", "injekt");
    let warned = GOOD.replace("docker.io", "'https://docker.io'");
    let on = config_map("true", "");
    let without = |change: fn(&mut Value)| {
        let mut object = on.clone();
        change(&mut object);
        object
    };
    let many: String = (0..1000)
        .map(|n| policy(&format!("p-{n}"), "x", n == 0))
        .collect();
    let rules = (0..9000).fold(String::new(), |rules, n| {
        rules
            + &format!(
                "\n    - {{name: r-{n}, match: {{images: ['quay.io/organization-{n}/applications']}}, \
                 inject: {{imagePullSecrets: [x]}}}}"
            )
    });
    let large = format!(
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: p}}\nspec:\n  \
         credentials: [{{name: x, from: {{existing: {{}}}}}}]\n  rules:{rules}\n"
    );
    assert!(
        (900_000..1024 * 1024).contains(&large.len()),
        "{}",
        large.len()
    );
    for (object, namespace, tenants, allowed, codes, why) in [
        (
            config_map("true", GOOD),
            OWN,
            false,
            true,
            "",
            "a good policy",
        ),
        (
            config_map("true", &bad),
            OWN,
            false,
            false,
            "",
            "a field that is not known",
        ),
        (
            config_map("false", &bad),
            OWN,
            false,
            true,
            "",
            "not labelled as a policy",
        ),
        (
            config_map("true", &warned),
            OWN,
            false,
            true,
            "PP134",
            "a warning",
        ),
        (
            config_map("true", GOOD),
            "shop",
            true,
            false,
            "",
            "a tenant's credential",
        ),
        (
            config_map("true", &bad),
            "shop",
            false,
            true,
            "PP209",
            "tenants are not read",
        ),
        (
            config_map("true", &policy("t", "y", false)),
            "shop",
            true,
            true,
            "",
            "a tenant's policy",
        ),
        (json!({"kind": "Pod"}), OWN, false, true, "", "another kind"),
        (Value::Null, OWN, false, true, "", "a removal"),
        (
            without(|o| o["data"] = Value::Null),
            OWN,
            false,
            true,
            "PP135",
            "no data",
        ),
        (
            without(|o| o["data"] = json!({"a.txt": "a: ["})),
            OWN,
            false,
            true,
            "PP135",
            "no key of ours",
        ),
        (
            without(|o| {
                o["data"] = Value::Null;
                o["binaryData"] = json!({"p.yaml": "YTogWw=="});
            }),
            OWN,
            false,
            true,
            "PP135",
            "binaryData alone, which is not read",
        ),
        (
            config_map("true", &large),
            OWN,
            false,
            true,
            "",
            "a MiB of rules",
        ),
        (
            config_map("true", &many),
            OWN,
            false,
            true,
            "",
            "a thousand policies",
        ),
        (
            config_map(
                "true",
                &[policy("p", "x", true), policy("p", "x", false)].concat(),
            ),
            OWN,
            false,
            false,
            "",
            "two policies of one name",
        ),
        (
            config_map("true", &policy("p", "x", false).repeat(1000)),
            OWN,
            false,
            false,
            "PP130",
            "a thousand of one name",
        ),
    ] {
        let response = alone(&object, namespace, tenants);
        assert_eq!(response["allowed"], allowed, "{why}: {response}");
        let warnings = warnings(&response);
        let got: Vec<_> = warnings
            .iter()
            .filter_map(|w| w.strip_prefix("pullpass ")?.split(':').next())
            .collect();
        assert_eq!(got.join(" "), codes, "{why}: {response}");
        assert!(response.get("patch").is_none(), "{why}");
        assert!(
            response.to_string().len() < 16 * 1024,
            "{why}: told at length"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table has that many rows")]
fn names_and_sources_are_held_against_the_other_config_maps_in_force() {
    let held = |namespace: &str, name: &str, text: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"live.yaml": text},
            "metadata": {"name": name, "namespace": namespace, "labels": {POLICY_LABEL: "true"}}})
        .to_string()
    };
    let in_force = [
        held(OWN, "c", &policy("mine", "m", true)),
        held(
            OWN,
            "other",
            &(policy("theirs", "t", true) + &policy("more", "q", false)),
        ),
        held("shop", "c", &policy("tenant", "s", false)),
    ];
    let options = LoadOptions {
        tenant_policies: true,
        ..LoadOptions::default()
    };
    let sources = in_force.map(|text| Source::new("live.json", text));
    let file = Source::new("file.yaml", policy("filed", "f", true));
    let loaded = load(&[&sources[..], &[file]].concat(), &[], &options);
    assert!(!loaded.has_error(), "{:?}", loaded.diagnostics);
    let table = &loaded.snapshot.table;
    for (namespace, text, taken, warned, why) in [
        (OWN, policy("new", "n", true), "", "", "new names"),
        (
            OWN,
            policy("mine", "m", true),
            "",
            "",
            "its own former version",
        ),
        (
            OWN,
            policy("theirs", "n", true),
            "policy name `theirs`",
            "",
            "another's policy name",
        ),
        (
            OWN,
            policy("new", "t", true),
            "credential name `t`",
            "",
            "another's credential",
        ),
        (
            OWN,
            policy("tenant", "n", true),
            "",
            "",
            "a tenant's name is its namespace's",
        ),
        (
            OWN,
            policy("filed", "f", true),
            "",
            "",
            "a file may be the very text",
        ),
        (
            OWN,
            policy("new", "t", false),
            "",
            "",
            "a Secret that another declares",
        ),
        (
            OWN,
            policy("new", "m", false),
            "",
            "PP130",
            "one that its former version declared",
        ),
        (
            OWN,
            policy("new", "q", true),
            "",
            "",
            "a credential that another injects, too",
        ),
        (
            "shop",
            policy("theirs", "t", false),
            "",
            "",
            "a tenant's names are its own",
        ),
        (
            "shop",
            policy("tenant", "t", false),
            "",
            "",
            "the same one again",
        ),
        (
            "web",
            policy("tenant", "t", false),
            "",
            "",
            "another tenant's",
        ),
    ] {
        let response = respond(&config_map("true", &text), namespace, &options, table);
        assert_eq!(response["allowed"], taken.is_empty(), "{why}: {response}");
        if !taken.is_empty() {
            let message = response["status"]["message"].as_str().unwrap();
            for part in [
                "error[PP112] p.yaml:",
                taken,
                "is taken by policy `theirs` in ConfigMap `pullpass-system/other`",
            ] {
                assert!(message.contains(part), "{why}: {part} in {message}");
            }
        }
        let got = warnings(&response).join("\n");
        assert_eq!(got.contains("PP130"), !warned.is_empty(), "{why}: {got}");
        assert!(!got.contains("PP133"), "{why}: {got}");
    }
    let mut other = config_map("true", &policy("tenant", "n", false));
    other["metadata"]["name"] = json!("d");
    let response = respond(&other, "shop", &options, table);
    assert_eq!(response["allowed"], false, "a tenant's own other ConfigMap");
}

#[test]
fn a_refusal_is_invalid_and_tells_every_error_with_its_place() {
    let bad = GOOD
        .replace("inject", "injekt")
        .replace("existing", "exist");
    let response = alone(&config_map("true", &bad), OWN, false);
    let status = &response["status"];
    assert_eq!(
        (&status["code"], &status["reason"]),
        (&json!(422), &json!("Invalid"))
    );
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("PP102") && message.contains("PP104"),
        "{message}"
    );
    assert!(message.contains("p.yaml:1:"), "{message}");
    assert!(
        status.get("details").is_none(),
        "causes would replace the message: {status}"
    );
}
