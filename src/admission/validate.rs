//! A review of a ConfigMap that holds policies → allowed, or refused with what `lint` says of it.
//!
//! Errors deny, warnings warn, everything else is allowed: another kind, no label, a removal. Names are
//! held against the other ConfigMaps of the table in force; reads no ConfigMap but the one it is given.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::line::quoted;
use super::response::{Denial, Response, bounded_warnings};
use super::{Answer, BadReview, Facts, ImageCounts, Outcome, Warning, check_version, operation};
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::policy::config_maps::{ConfigMapName, Content};
use crate::policy::document::Scope;
use crate::policy::parse::POLICY_LABEL;
use crate::policy::table::Table;
use crate::policy::{ParseOptions, checks};
use json_patch::Patch;

/// The most errors that a refusal tells; a person mends these first.
const MAX_ERRORS: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    object: Value,
}

/// Answers a review of a ConfigMap, beside the table in force.
pub fn validate(body: &[u8], table: &Table, options: &ParseOptions) -> Result<Answer, BadReview> {
    let review: Review = serde_json::from_slice(body).map_err(BadReview::NotJson)?;
    check_version(&review.api_version, &review.kind)?;
    let request = review.request.ok_or(BadReview::NoRequest)?;
    let namespace = request.namespace.unwrap_or_default();
    let (diagnostics, not_read) = match holds(&request.object, &namespace, options) {
        Holds::Nothing => (Vec::new(), None),
        Holds::Unread(warning) => (Vec::new(), Some(warning)),
        Holds::Policies(scope) => (examine(&request.object, &namespace, &scope, table), None),
    };
    let (errors, warnings): (Vec<Diagnostic>, Vec<Diagnostic>) = diagnostics
        .into_iter()
        .partition(|d| d.severity() == Severity::Error);
    let warnings: Vec<Warning> = warnings
        .iter()
        .map(|d| {
            Warning::new(
                d.code,
                d.place
                    .as_ref()
                    .map_or_else(String::new, |p| format!("{p}: "))
                    + &d.message,
            )
        })
        .chain(not_read)
        .collect();
    let message = (!errors.is_empty()).then(|| refusal(&errors));
    let sent = bounded_warnings(&warnings);
    let body = Response {
        uid: &request.uid,
        denial: message.as_deref().map(Denial::Invalid),
        patch: &Patch(Vec::new()),
        warnings: &sent,
        audit: &[],
    }
    .to_json();
    let facts = Facts {
        operation: operation(&request.operation),
        outcome: if message.is_some() {
            Outcome::Denied
        } else {
            Outcome::Unchanged
        },
        warnings: warnings.iter().map(|warning| warning.code).collect(),
        images: ImageCounts::default(),
        secrets: Vec::new(),
        account: None,
        uid: request.uid,
        namespace,
        pod: String::new(),
        rules: String::new(),
    };
    Ok(Answer {
        body,
        facts,
        lacks: Vec::new(),
    })
}

/// What an object is to us.
enum Holds {
    /// No ConfigMap with our label.
    Nothing,
    /// A tenant's policies, which nobody reads.
    Unread(Warning),
    /// Policies.
    Policies(Scope),
}

fn holds(object: &Value, namespace: &str, options: &ParseOptions) -> Holds {
    let label = object
        .pointer("/metadata/labels")
        .and_then(|labels| labels.get(POLICY_LABEL));
    let is_policy = object.get("kind").and_then(Value::as_str) == Some("ConfigMap")
        && label.and_then(Value::as_str) == Some("true");
    if !is_policy {
        Holds::Nothing
    } else if *namespace == *options.own_namespace {
        Holds::Policies(Scope::Cluster)
    } else if options.tenant_policies {
        Holds::Policies(Scope::Namespace(Arc::from(namespace)))
    } else {
        let message = format!(
            "policies in namespace {} are not read: pullpass reads those in `{}`; start it with \
             `--tenant-policies` to read the tenants' as well",
            quoted(namespace),
            options.own_namespace,
        );
        Holds::Unread(Warning::new(Code::TenantsOff, message))
    }
}

/// Everything that is wrong with a ConfigMap's policies.
fn examine(object: &Value, namespace: &str, scope: &Scope, table: &Table) -> Vec<Diagnostic> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    let name = ConfigMapName {
        namespace: namespace.into(),
        name: name.unwrap_or_default().into(),
    };
    let data = object.get("data").and_then(Value::as_object);
    let texts = data
        .into_iter()
        .flatten()
        .filter_map(|(key, text)| Some((key.as_str(), text.as_str()?)));
    let mut parsed = Content::submitted(&name, texts).parse(scope);
    checks::run_beside(&mut parsed, &name, table);
    parsed.diagnostics
}

/// One line an error, and how many more there are. `kubectl` prints the lines as they are.
fn refusal(errors: &[Diagnostic]) -> String {
    let mut message = String::from("the policies have errors:");
    for error in errors.iter().take(MAX_ERRORS) {
        // Writing into a `String` cannot fail.
        let _ = write!(message, "\n{error}");
    }
    if let Some(more) = errors
        .len()
        .checked_sub(MAX_ERRORS)
        .filter(|more| *more > 0)
    {
        let _ = write!(message, "\nand {more} more");
    }
    message
}

#[cfg(test)]
mod tests {
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
            format!("[{{name: {secret}, from: {{existing: {{}}}}}}]")
        } else {
            "[]".to_owned()
        };
        format!(
            "---\napiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
             rules: [{{name: r, match: {{images: [quay.io/{name}]}}, inject: {{imagePullSecrets: [{secret}]}}}}]\n  \
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
    fn errors_deny_and_warnings_warn() {
        let bad = GOOD.replace("inject", "injekt");
        let warned = GOOD.replace("docker.io", "'https://docker.io'");
        let on = config_map("true", "");
        let without = |change: fn(&mut Value)| {
            let mut object = on.clone();
            change(&mut object);
            object
        };
        let many = (0..1000).map(|n| policy(&format!("p-{n}"), "x", n == 0));
        let rules: String = (0..9000)
            .map(|n| format!("\n    - {{name: r-{n}, match: {{images: ['quay.io/organization-{n}/applications']}}, inject: {{imagePullSecrets: [x]}}}}"))
            .collect();
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
                config_map("true", &many.clone().collect::<String>()),
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
                config_map(
                    "true",
                    &many
                        .map(|text| text.replace("name: p-", "name: p # "))
                        .collect::<String>(),
                ),
                OWN,
                false,
                false,
                "",
                "a thousand of one name, or none that can be read",
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
                    "is taken by policy `theirs` in ConfigMap pullpass-system/other key live.yaml",
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
}
