//! PP130 and PP133: injected secrets without a source, credentials that nobody injects.

use std::collections::HashSet;

use crate::diagnostic::{Code, Diagnostic};
use crate::policy::document::{RegistryPolicy, Scope};

/// PP130, once for each name. A tenant names Secrets that its namespace has: it says no sources.
pub(super) fn unknown_sources(policies: &[RegistryPolicy]) -> Vec<Diagnostic> {
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
            if declared.contains(name) || !seen.insert(name) {
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
pub(super) fn unused(policies: &[RegistryPolicy]) -> Vec<Diagnostic> {
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
            if !injected.contains(name) {
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
