//! The three webhook configurations: whether API servers call pullpass, for which Pods, and trust it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::settings::Settings;
use super::{Check, Facts, Found, State, few, name, text};
use crate::controller::facts;
use crate::install::webhook_configuration::{EPHEMERAL_ENTRY, PODS_ENTRY, POLICIES_ENTRY};
use crate::plan::certificates::Authority;
use crate::snapshot::{INJECT_LABEL, NamespaceMode};

const NAME: &str = "configuration";

pub(super) fn checks(facts: &Facts, settings: &Settings) -> Vec<Check> {
    vec![
        pods(facts, settings),
        validating(
            facts,
            POLICIES_ENTRY,
            "mistakes in policies are not told when they are applied",
        ),
        validating(
            facts,
            EPHEMERAL_ENTRY,
            "nobody is warned of debug containers without a secret",
        ),
    ]
}

/// The first entry of this name, with its configuration.
fn entry<'f>(found: &'f Found, wanted: &str) -> Option<(&'f Value, &'f Value)> {
    found.items().iter().find_map(|configuration| {
        let entries = configuration.get("webhooks").and_then(Value::as_array);
        let mut entries = entries.into_iter().flatten();
        let entry = entries.find(|entry| text(entry, "/name") == wanted)?;
        Some((configuration, entry))
    })
}

/// The authorities that an API server trusts when it calls for Pods, and the name that it asks for.
pub(super) fn trusted(facts: &Facts) -> Option<(Vec<Authority>, String)> {
    let (_, entry) = entry(&facts.mutating, PODS_ENTRY)?;
    Some((authorities(entry), called(entry)))
}

fn authorities(entry: &Value) -> Vec<Authority> {
    let bundle = STANDARD.decode(text(entry, "/clientConfig/caBundle"));
    facts::authorities(&bundle.unwrap_or_default())
}

/// The name in the certificate that an API server asks for.
fn called(entry: &Value) -> String {
    let service = |key: &str| text(entry, &format!("/clientConfig/service/{key}"));
    let url = text(entry, "/clientConfig/url");
    if url.is_empty() {
        return format!("{}.{}.svc", service("name"), service("namespace"));
    }
    let rest = url.strip_prefix("https://").unwrap_or(url);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    facts::spelled(host.unwrap_or_default())
}

fn pods(facts: &Facts, settings: &Settings) -> Check {
    let object = "MutatingWebhookConfiguration";
    if let Some(check) = facts.mutating.unread(NAME, object) {
        return check;
    }
    let Some((configuration, entry)) = entry(&facts.mutating, PODS_ENTRY) else {
        let message = format!("none has the entry `{PODS_ENTRY}`: no Pod gets a secret");
        return Check::new(NAME, State::Error, object, message).help(render(&facts.namespace));
    };
    let object = format!("MutatingWebhookConfiguration `{}`", name(configuration));
    if let Some(check) = distrusted(entry, &object) {
        return check;
    }
    let several = facts.mutating.items().len() > 1;
    let mut odd = selectors(entry, facts, settings);
    if several {
        odd.push("another one has the same label".to_owned());
    }
    if text(entry, "/reinvocationPolicy") != "IfNeeded" {
        odd.push(
            "`reinvocationPolicy` is not `IfNeeded`: images of later webhooks are missed"
                .to_owned(),
        );
    }
    if odd.is_empty() {
        let policy = text(entry, "/failurePolicy");
        let message = format!("is there and trusted; `failurePolicy` is `{policy}`");
        return Check::new(NAME, State::Ok, &object, message);
    }
    Check::new(NAME, State::Warning, &object, few(&odd)).help(render(&facts.namespace))
}

/// What is odd about which Pods it is called for.
fn selectors(entry: &Value, facts: &Facts, settings: &Settings) -> Vec<String> {
    let expressions = entry.pointer("/namespaceSelector/matchExpressions");
    let expressions = expressions.and_then(Value::as_array);
    let expressions = expressions.map(Vec::as_slice).unwrap_or_default();
    let says = |key: &str, operator: &str, value: &str| {
        expressions.iter().any(|expression| {
            let values = expression.get("values").and_then(Value::as_array);
            text(expression, "/key") == key
                && text(expression, "/operator") == operator
                && values.into_iter().flatten().any(|held| held == value)
        })
    };
    let mut odd = Vec::new();
    for left_alone in ["kube-system", &facts.namespace] {
        if !says("kubernetes.io/metadata.name", "NotIn", left_alone) {
            odd.push(format!(
                "`namespaceSelector` does not leave out `{left_alone}`"
            ));
        }
    }
    let (opt_in, opt_out) = (
        says(INJECT_LABEL, "In", "enabled"),
        says(INJECT_LABEL, "NotIn", "disabled"),
    );
    let fits = match settings.mode() {
        Some(NamespaceMode::OptIn) => opt_in,
        Some(NamespaceMode::OptOut) => opt_out && !opt_in,
        None => opt_in || opt_out,
    };
    if !fits {
        odd.push(format!(
            "`namespaceSelector` does not say of `{INJECT_LABEL}` what the webhook's `--namespace-mode` does"
        ));
    }
    odd
}

fn validating(facts: &Facts, wanted: &str, without: &str) -> Check {
    let object = "ValidatingWebhookConfiguration";
    if let Some(check) = facts.validating.unread(NAME, object) {
        return check;
    }
    let Some((configuration, entry)) = entry(&facts.validating, wanted) else {
        let message = format!("none has the entry `{wanted}`: {without}");
        return Check::new(NAME, State::Warning, object, message).help(render(&facts.namespace));
    };
    let object = format!("ValidatingWebhookConfiguration `{}`", name(configuration));
    if let Some(check) = distrusted(entry, &object) {
        return check;
    }
    if text(entry, "/failurePolicy") != "Ignore" {
        let message =
            "`failurePolicy` is not `Ignore`: an outage refuses what it should only look at";
        return Check::new(NAME, State::Warning, &object, message).help(render(&facts.namespace));
    }
    Check::new(NAME, State::Ok, &object, "is there and trusted")
}

/// An API server that trusts no certificate cannot call. A URL may have one that every machine trusts.
fn distrusted(entry: &Value, object: &str) -> Option<Check> {
    let bundle = text(entry, "/clientConfig/caBundle");
    let message = if !bundle.is_empty() && !holds_a_certificate(bundle) {
        "its `caBundle` holds no certificate: API servers cannot call"
    } else if bundle.is_empty() && text(entry, "/clientConfig/url").is_empty() {
        "it has no `caBundle`: API servers cannot call"
    } else {
        return None;
    };
    Some(Check::new(NAME, State::Error, object, message).help(
        "is the controller (or cert-manager) running, and does it keep this configuration? its log and \
         Events tell",
    ))
}

/// A root need not be a CA: a server's own certificate that signed itself is trusted too.
fn holds_a_certificate(bundle: &str) -> bool {
    let pem = STANDARD.decode(bundle).unwrap_or_default();
    CertificateDer::pem_slice_iter(&pem)
        .filter_map(Result::ok)
        .any(|der| X509Certificate::from_der(&der).is_ok())
}

fn render(namespace: &str) -> String {
    format!(
        "install or upgrade the chart, or `pullpass render webhook-configuration --namespace {namespace} \
         --service {namespace}/pullpass-webhook | kubectl apply --server-side -f -`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::webhook_configuration::{Endpoint, FailurePolicy, Options, objects};
    use crate::server::certificate;
    use crate::snapshot::ScopeOptions;
    use serde_json::json;
    use std::time::SystemTime;

    fn installed(change: impl Fn(&mut Value)) -> Facts {
        let pair = certificate::self_signed(&["w.own.svc".to_owned()], SystemTime::now()).unwrap();
        let mut all = objects(&Options {
            name: "00-pullpass".into(),
            endpoint: Endpoint::Service {
                namespace: "own".into(),
                name: "w".into(),
                port: 443,
            },
            ca: Some(pair.ca.clone()),
            scope: ScopeOptions {
                own_namespace: "own".into(),
                ..ScopeOptions::default()
            },
            failure_policy: FailurePolicy::Ignore,
            timeout_seconds: 5,
        });
        let mut mutating = all.remove(0);
        change(&mut mutating["webhooks"][0]);
        let mut facts = Facts::new("own", SystemTime::now());
        facts.mutating = Found::Object(json!({"items": [mutating]}));
        facts.validating = Found::Object(json!({"items": all}));
        facts
    }

    #[test]
    fn a_configuration_is_as_it_was_rendered_or_told() {
        #[expect(clippy::type_complexity, reason = "a table of a test")]
        let rows: [(&dyn Fn(&mut Value), State, &str); 7] = [
            (&|_| {}, State::Ok, "as rendered"),
            (
                &|e| e["name"] = json!("x"),
                State::Error,
                "no entry of the name",
            ),
            (
                &|e| e["clientConfig"]["caBundle"] = json!(""),
                State::Error,
                "no CA",
            ),
            (
                &|e| e["clientConfig"]["caBundle"] = json!("YQ=="),
                State::Error,
                "no certificate",
            ),
            (
                &|e| e["reinvocationPolicy"] = json!("Never"),
                State::Warning,
                "once",
            ),
            (
                &|e| e["namespaceSelector"] = json!({}),
                State::Warning,
                "every namespace",
            ),
            (
                &|e| e["failurePolicy"] = json!("Fail"),
                State::Ok,
                "a choice",
            ),
        ];
        for (change, want, why) in rows {
            let checks = checks(&installed(change), &Settings::of(&[]));
            assert_eq!(checks[0].state, want, "{why}: {checks:?}");
            assert_eq!(
                (checks[1].state, checks[2].state),
                (State::Ok, State::Ok),
                "{checks:?}"
            );
        }
    }

    #[test]
    fn the_name_that_is_called_is_the_host_or_the_service() {
        for (config, want) in [
            (json!({"url": "https://A.example:8443/mutate"}), "a.example"),
            (json!({"url": "https://[0:0::1]:1/mutate"}), "::1"),
            (
                json!({"service": {"name": "w", "namespace": "n"}}),
                "w.n.svc",
            ),
        ] {
            assert_eq!(called(&json!({"clientConfig": config})), want);
        }
    }
}
