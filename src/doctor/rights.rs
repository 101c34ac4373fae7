//! Roles and bindings against the rights that the policies in force take: what is missing, what is more.
//!
//! `install::rbac` says what it takes, as `render rbac` prints it. A right more is no fault, only worth a look:
//! somebody may have granted it on purpose.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::settings::Settings;
use super::{Check, Facts, Found, State, few, is_of, name, text};
use crate::install::rbac::{self, Certificates, Options, Sweep};
use crate::install::{CONTROLLER, MUTATING_CONFIGURATION, WEBHOOK};
use crate::policy::config_maps::Compiled;

const NAME: &str = "rights";

/// One verb on one resource, of one object or of all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    resource: String,
    object: Option<String>,
    verb: String,
}

pub(super) fn checks(
    facts: &Facts,
    settings: &Settings,
    compiled: Option<&Compiled>,
) -> Vec<Check> {
    let read = [
        &facts.cluster_roles,
        &facts.cluster_role_bindings,
        &facts.roles,
        &facts.role_bindings,
    ];
    let object = "ClusterRoles and Roles";
    if let Some(check) = read.iter().find_map(|found| found.unread(NAME, object)) {
        return vec![check];
    }
    let Some(compiled) = compiled else {
        let message = "what they need depends on policies that cannot be read";
        return vec![Check::new(NAME, State::Skipped, object, message)];
    };
    let credentials = compiled.table.credentials();
    let by_controller = !settings.has_controller || settings.kept.is_some();
    let certificates = if by_controller && !by_cert_manager(facts) {
        controller_keeps(facts, settings)
    } else {
        Certificates::CertManager
    };
    let least = Options {
        namespace: facts.namespace.clone(),
        tls_secret: settings.tls_secret.clone(),
        certificates,
        tenant_policies: settings.tenants,
        sweep: Sweep::Report,
    };
    let most = Options {
        certificates: controller_keeps(facts, settings),
        tenant_policies: true,
        sweep: Sweep::Recreate,
        ..least.clone()
    };
    let (least, most) = (
        rbac::objects(&credentials, &least),
        rbac::objects(&credentials, &most),
    );
    [("webhook", WEBHOOK), ("controller", CONTROLLER)]
        .into_iter()
        .map(|(component, account)| {
            let wide = granted(
                facts,
                &facts.cluster_role_bindings,
                &facts.cluster_roles,
                component,
            );
            let own = granted(facts, &facts.role_bindings, &facts.roles, component);
            let mut missing = lacking(&needed(&least, "ClusterRole", account), &wide, "");
            let here = format!(" in `{}`", facts.namespace);
            // What holds everywhere holds here too.
            let both: Vec<&Value> = own.iter().chain(&wide).copied().collect();
            missing.extend(lacking(&needed(&least, "Role", account), &both, &here));
            let allowed = needed(&most, "ClusterRole", account);
            let mut more = lacking(&wide, &allowed, "");
            let own_allowed: Vec<&Value> = needed(&most, "Role", account)
                .into_iter()
                .chain(allowed)
                .collect();
            more.extend(lacking(&own, &own_allowed, &here));
            verdict(account, &missing, &more, &facts.namespace)
        })
        .collect()
}

fn verdict(account: &str, missing: &[String], more: &[String], namespace: &str) -> Check {
    let object = format!("account of `{account}`");
    if !missing.is_empty() {
        let message = format!("may not {}", few(missing));
        return Check::new(NAME, State::Error, &object, message).help(format!(
            "upgrade the chart with these policies in `policies`, or run `pullpass render rbac --namespace \
             {namespace} --policy PATH | kubectl apply --server-side -f -`"
        ));
    }
    if !more.is_empty() {
        let message = format!("may do more than the policies need: {}", few(more));
        return Check::new(NAME, State::Warning, &object, message)
            .help("take it away, unless you granted it on purpose");
    }
    Check::new(NAME, State::Ok, &object, "has the rights that it needs")
}

fn by_cert_manager(facts: &Facts) -> bool {
    let annotated = |object: &Value| {
        let annotations = object.pointer("/metadata/annotations");
        annotations.and_then(Value::as_object).is_some_and(|all| {
            all.keys()
                .any(|key| key.starts_with("cert-manager.io/inject-ca-from"))
        })
    };
    facts.mutating.items().iter().any(annotated)
}

fn controller_keeps(facts: &Facts, settings: &Settings) -> Certificates {
    let there = facts.mutating.items().first().map(name);
    let configuration = settings.kept.as_deref().or(there);
    Certificates::Controller {
        configuration: configuration.unwrap_or(MUTATING_CONFIGURATION).to_owned(),
    }
}

/// The rules of one account's role as they should be.
fn needed<'o>(objects: &'o [Value], kind: &str, account: &str) -> Vec<&'o Value> {
    objects
        .iter()
        .filter(|object| text(object, "/kind") == kind && name(object) == account)
        .flat_map(rules)
        .collect()
}

fn rules(role: &Value) -> impl Iterator<Item = &Value> {
    role.get("rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// The rules of those roles that are bound to an account of pullpass's own namespace.
fn granted<'f>(
    facts: &Facts,
    bindings: &'f Found,
    roles: &'f Found,
    component: &str,
) -> Vec<&'f Value> {
    let ours = |binding: &&Value| {
        let subjects = binding.get("subjects").and_then(Value::as_array);
        is_of(binding, component)
            && subjects.into_iter().flatten().any(|subject| {
                text(subject, "/kind") == "ServiceAccount"
                    && text(subject, "/namespace") == facts.namespace
            })
    };
    let bound: BTreeSet<&str> = bindings
        .items()
        .iter()
        .filter(ours)
        .map(|binding| text(binding, "/roleRef/name"))
        .collect();
    roles
        .items()
        .iter()
        .filter(|role| bound.contains(name(role)))
        .flat_map(rules)
        .collect()
}

/// What `needed` grants and `granted` does not, a sentence's part for each object: `patch secrets `a``.
fn lacking(needed: &[&Value], granted: &[&Value], place: &str) -> Vec<String> {
    let mut lacking: BTreeMap<(String, String, Option<String>), Vec<String>> = BTreeMap::new();
    let rights: BTreeSet<Right> = needed.iter().flat_map(|rule| rights(rule)).collect();
    for right in rights {
        if !granted.iter().any(|rule| grants(rule, &right)) {
            let key = (right.group, right.resource, right.object);
            lacking.entry(key).or_default().push(right.verb);
        }
    }
    lacking
        .into_iter()
        .map(|((_, resource, object), verbs)| {
            let object = object.map(|name| format!(" `{name}`")).unwrap_or_default();
            format!("{} {resource}{object}{place}", verbs.join(", "))
        })
        .collect()
}

fn strings<'v>(rule: &'v Value, key: &str) -> Vec<&'v str> {
    let list = rule.get(key).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn rights(rule: &Value) -> Vec<Right> {
    let names = strings(rule, "resourceNames");
    let objects: Vec<Option<&str>> = if names.is_empty() {
        vec![None]
    } else {
        names.into_iter().map(Some).collect()
    };
    let mut rights = Vec::new();
    for group in strings(rule, "apiGroups") {
        for resource in strings(rule, "resources") {
            for object in &objects {
                for verb in strings(rule, "verbs") {
                    rights.push(Right {
                        group: group.to_owned(),
                        resource: resource.to_owned(),
                        object: object.map(ToOwned::to_owned),
                        verb: verb.to_owned(),
                    });
                }
            }
        }
    }
    rights
}

fn grants(rule: &Value, right: &Right) -> bool {
    let has = |key: &str, wanted: &str| {
        strings(rule, key)
            .iter()
            .any(|held| *held == wanted || *held == "*")
    };
    let names = strings(rule, "resourceNames");
    let object = right.object.as_deref();
    has("apiGroups", &right.group)
        && has("resources", &right.resource)
        && has("verbs", &right.verb)
        && (names.is_empty() || object.is_some_and(|object| names.contains(&object)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_right_is_granted_by_name_by_all_or_by_a_wildcard() {
        let rule = |resource: &str, names: &[&str], verbs: &[&str]| json!({"apiGroups": [""], "resources": [resource], "resourceNames": names, "verbs": verbs});
        for (needed, granted, want, why) in [
            (
                rule("secrets", &["a"], &["get"]),
                rule("secrets", &["a"], &["get"]),
                &[][..],
                "the very one",
            ),
            (
                rule("secrets", &["a"], &["get"]),
                rule("secrets", &[], &["get"]),
                &[],
                "all objects hold this one",
            ),
            (
                rule("pods", &[], &["get"]),
                rule("pods", &["a"], &["get"]),
                &["get pods here"],
                "one object is not all",
            ),
            (
                rule("secrets", &["a", "b"], &["get", "patch"]),
                rule("secrets", &["a"], &["get"]),
                &["patch secrets `a` here", "get, patch secrets `b` here"],
                "each object by itself",
            ),
            (
                rule("secrets", &["a"], &["get"]),
                rule("*", &[], &["*"]),
                &[],
                "a wildcard",
            ),
        ] {
            assert_eq!(lacking(&[&needed], &[&granted], " here"), want, "{why}");
        }
    }
}
