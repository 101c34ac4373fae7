//! PP112: a policy or credential name that an earlier document in table order has, or, for a ConfigMap
//! that is to be changed, a document of another one in the table in force.

use std::collections::HashMap;

use crate::diagnostic::{Code, Diagnostic, Place, Span};
use crate::policy::document::{RegistryPolicy, Scope};
use crate::policy::table::{self, Table};

/// For each document the findings that keep it out, if any.
///
/// Names are unique among the cluster's policies and within each tenant's namespace: a tenant whose
/// namespace sorts first must not be able to take a cluster policy's name away.
pub(crate) fn taken(policies: &[&RegistryPolicy]) -> Vec<Option<Vec<Diagnostic>>> {
    let mut names: HashMap<(&Scope, &str), Place> = HashMap::new();
    let mut credentials: HashMap<&str, Place> = HashMap::new();
    let mut all = Vec::with_capacity(policies.len());
    for policy in policies {
        let place = |span: Span| Place {
            source: policy.source.clone(),
            span,
        };
        let mut found = Vec::new();
        let mut report = |what: &str, name: &str, span: Span, first: &Place| {
            let message = format!("the {what} name `{name}` is taken by an earlier document");
            let finding = Diagnostic::new(Code::NameTaken, &policy.source, span, message)
                .help("rename this one, or merge the two documents")
                .related(first.clone(), "the earlier one");
            found.push(finding);
        };
        if let Some(first) = names.get(&(&policy.scope, policy.name.as_str())) {
            report("policy", policy.name.as_str(), policy.name.span, first);
        }
        for credential in &policy.credentials {
            if let Some(first) = credentials.get(credential.name.as_str()) {
                report(
                    "credential",
                    credential.name.as_str(),
                    credential.name.span,
                    first,
                );
            }
        }
        if found.is_empty() {
            names.insert(
                (&policy.scope, policy.name.as_str()),
                place(policy.name.span),
            );
            for credential in &policy.credentials {
                credentials.insert(credential.name.as_str(), place(credential.name.span));
            }
        }
        all.push((!found.is_empty()).then_some(found));
    }
    all
}

/// The names that policies of other ConfigMaps have in a table. Which of two would come first does not
/// matter: whichever it is, one of them would be kept out.
pub(super) fn taken_in(table: &Table, policies: &[RegistryPolicy]) -> Vec<Diagnostic> {
    // What stands in a plain file may be the very text that is put into the cluster now.
    let other_holder = |other: &table::Policy, policy: &RegistryPolicy| {
        let held = other.config_map.clone();
        held.filter(|held| Some(held) != policy.config_map.as_ref())
    };
    let names: HashMap<(&Scope, &str), &table::Policy> = table
        .policies()
        .iter()
        .map(|policy| ((&policy.scope, &*policy.name), policy))
        .collect();
    let mut found = Vec::new();
    for policy in policies {
        let mut report = |what: &str, name: &str, span: Span, other: &table::Policy| {
            let Some(holder) = other_holder(other, policy) else {
                return;
            };
            let message = format!(
                "the {what} name `{name}` is taken by policy `{}` in ConfigMap `{holder}`",
                other.name
            );
            let finding = Diagnostic::new(Code::NameTaken, &policy.source, span, message)
                .help("rename this one, or take the other one out first");
            found.push(finding);
        };
        let name = policy.name.as_str();
        if let Some(other) = names.get(&(&policy.scope, name)) {
            report("policy", name, policy.name.span, other);
        }
        for credential in &policy.credentials {
            if let Some(other) = table.declarer(&credential.name) {
                let name = &credential.name;
                report("credential", name.as_str(), name.span, other);
            }
        }
    }
    found
}
