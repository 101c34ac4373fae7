//! PP130 and PP133: injected secrets without a source, credentials that nobody injects.

use std::collections::HashSet;

use crate::diagnostic::{Code, Diagnostic};
use crate::names::SecretName;
use crate::policy::config_maps::ConfigMapName;
use crate::policy::document::{RegistryPolicy, Scope};
use crate::policy::table::{self, Table};

/// What other ConfigMaps declare and inject, for one that is looked at alone.
#[derive(Default)]
pub(super) struct Elsewhere<'t> {
    declared: HashSet<&'t str>,
    injected: HashSet<&'t str>,
}

impl<'t> Elsewhere<'t> {
    /// What the other ConfigMaps of a table do.
    pub(super) fn new(table: &'t Table, config_map: &ConfigMapName) -> Self {
        let is_other = |policy: &table::Policy| {
            policy.scope == Scope::Cluster && policy.config_map.as_ref() != Some(config_map)
        };
        let declared = table.credentials().into_iter().map(|c| &c.name.value);
        let rules = table.all_rules().filter(|rule| is_other(rule.policy()));
        Self {
            declared: declared
                .filter(|name| table.declarer(name).is_some_and(is_other))
                .map(SecretName::as_str)
                .collect(),
            injected: rules
                .flat_map(|rule| rule.secrets())
                .map(SecretName::as_str)
                .collect(),
        }
    }
}

/// PP130, once for each name. A tenant names Secrets that its namespace has: it says no sources.
pub(super) fn unknown_sources(
    policies: &[RegistryPolicy],
    elsewhere: &Elsewhere<'_>,
) -> Vec<Diagnostic> {
    let declared: HashSet<&str> = policies
        .iter()
        .flat_map(|policy| &policy.credentials)
        .map(|credential| credential.name.as_str())
        .collect();
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for policy in policies
        .iter()
        .filter(|policy| policy.scope == Scope::Cluster)
    {
        for secret in policy.rules.iter().flat_map(|rule| &rule.inject.secrets) {
            let name = secret.as_str();
            let is_declared = declared.contains(name) || elsewhere.declared.contains(name);
            if is_declared || !seen.insert(name) {
                continue;
            }
            let message = format!("no credential says where the Secret `{name}` comes from");
            let help = format!(
                "add `{{name: {name}, from: {{secretRef: {{name: …}}}}}}` to `credentials`, or \
                 `from: {{existing: {{}}}}` when somebody else makes it"
            );
            let finding =
                Diagnostic::new(Code::UnknownSource, &policy.source, secret.span, message);
            found.push(finding.help(help));
        }
    }
    found
}

/// PP133.
pub(super) fn unused(policies: &[RegistryPolicy], elsewhere: &Elsewhere<'_>) -> Vec<Diagnostic> {
    let injected: HashSet<&str> = policies
        .iter()
        .filter(|policy| policy.scope == Scope::Cluster)
        .flat_map(|policy| &policy.rules)
        .flat_map(|rule| &rule.inject.secrets)
        .map(|secret| secret.as_str())
        .collect();
    let mut found = Vec::new();
    for policy in policies {
        for credential in &policy.credentials {
            let name = credential.name.as_str();
            if !injected.contains(name) && !elsewhere.injected.contains(name) {
                let message = format!("no rule injects the credential `{name}`");
                let span = credential.name.span;
                let finding =
                    Diagnostic::new(Code::UnusedCredential, &policy.source, span, message);
                found.push(finding.help("name it in a rule's `imagePullSecrets`, or remove it"));
            }
        }
    }
    found
}
