//! Findings that only all policies together show: taken names, secrets without a source, shadows.
//!
//! One file a check; each looks at documents in table order and adds findings.

mod credentials;
mod names;
mod shadows;

pub(crate) use names::taken;

use credentials::Elsewhere;

use super::config_maps::ConfigMapName;
use super::document::RegistryPolicy;
use super::parse::Parsed;
use super::table::Table;
use crate::diagnostic::{Diagnostic, any_error};

/// Looks at all policies that were read, in table order. A document that an error hits is taken out,
/// as one that has an error by itself.
pub fn run(parsed: &mut Parsed) {
    keep_out_taken(parsed);
    parsed.diagnostics.extend(warnings(&parsed.policies));
    debug_assert!(parsed.rejected > 0 || !any_error(&parsed.diagnostics));
}

/// The same for one ConfigMap that is to be changed, beside the others in a table: what they declare,
/// inject and are called counts, and its own former version does not.
pub(crate) fn run_beside(parsed: &mut Parsed, config_map: &ConfigMapName, table: &Table) {
    keep_out_taken(parsed);
    let policies = &parsed.policies;
    let elsewhere = Elsewhere::new(table, config_map);
    parsed.diagnostics.extend(names::taken_in(table, policies));
    parsed
        .diagnostics
        .extend(warnings_beside(policies, &elsewhere));
}

fn keep_out_taken(parsed: &mut Parsed) {
    let taken = taken(&parsed.policies.iter().collect::<Vec<_>>());
    let before = parsed.policies.len();
    let mut keep = taken.iter().map(Option::is_none);
    parsed.policies.retain(|_| keep.next().unwrap_or(true));
    parsed.rejected += before - parsed.policies.len();
    parsed
        .diagnostics
        .extend(taken.into_iter().flatten().flatten());
}

/// What is worth a look and keeps no document out.
pub(crate) fn warnings(policies: &[RegistryPolicy]) -> Vec<Diagnostic> {
    warnings_beside(policies, &Elsewhere::default())
}

fn warnings_beside(policies: &[RegistryPolicy], elsewhere: &Elsewhere<'_>) -> Vec<Diagnostic> {
    let mut found = credentials::unknown_sources(policies, elsewhere);
    found.extend(credentials::unused(policies, elsewhere));
    found.extend(shadows::shadowed(policies));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::policy::document::Scope;
    use crate::policy::parse_key;

    /// A policy that injects secrets and declares credentials, in a tenant's namespace or none.
    fn policy(namespace: &str, name: &str, secrets: &str, credentials: &str) -> Parsed {
        let declared: Vec<_> = credentials
            .split_whitespace()
            .map(|name| format!("{{name: {name}, from: {{existing: {{}}}}}}"))
            .collect();
        let declared = declared.join(", ");
        let text = format!(
            "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
             rules: [{{name: r, match: {{images: [quay.io]}}, inject: {{imagePullSecrets: [{secrets}]}}}}]\n  \
             credentials: [{declared}]\n"
        );
        let scope = match namespace {
            "" => Scope::Cluster,
            other => Scope::Namespace(other.into()),
        };
        parse_key(&Source::new(format!("{namespace}/{name}"), text), &scope)
    }

    #[test]
    fn documents_are_held_against_each_other_in_table_order() {
        type Documents<'t> = &'t [(&'t str, &'t str, &'t str, &'t str)];
        let rows: [(Documents<'_>, &str, &[&str], &str); 11] = [
            (
                &[("", "p", "a", "a")],
                "p",
                &[],
                "a declared secret that is injected",
            ),
            (&[("", "p", "", "")], "p", &[], "nothing of either"),
            (
                &[("", "p", "a, b, a", "b")],
                "p",
                &["PP130 a"],
                "one without a source, told once",
            ),
            (
                &[("", "p", "a", "a b")],
                "p",
                &["PP133 b"],
                "one that nobody injects",
            ),
            (
                &[("", "p", "a", ""), ("", "q", "", "a")],
                "p q",
                &[],
                "another document declares it",
            ),
            (
                &[("web", "t", "a", "")],
                "t",
                &[],
                "a tenant says no sources",
            ),
            (
                &[("", "p", "", "a"), ("web", "t", "a", "")],
                "p t",
                &["PP133 a"],
                "nor does it use ours",
            ),
            (
                &[("", "p", "", ""), ("", "p", "b", "")],
                "p",
                &["PP112 p"],
                "a name is taken, and that document is out",
            ),
            (
                &[("", "p", "a", "a"), ("", "q", "a", "a"), ("", "q", "a", "")],
                "p q",
                &["PP112 a"],
                "a credential's, too; a document that is out takes no name",
            ),
            (
                &[("aaa", "p", "", ""), ("", "p", "", "")],
                "p p",
                &[],
                "a tenant cannot take a cluster policy's name",
            ),
            (
                &[
                    ("web", "p", "", ""),
                    ("app", "p", "", ""),
                    ("web", "p", "", ""),
                ],
                "p p",
                &["PP112 p"],
                "nor another tenant's, but its own",
            ),
        ];
        for (documents, names, want, why) in rows {
            let mut parsed = Parsed::default();
            for (namespace, name, secrets, credentials) in documents {
                parsed.append(policy(namespace, name, secrets, credentials));
            }
            assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
            run(&mut parsed);
            let kept: Vec<_> = parsed.policies.iter().map(|p| p.name.as_str()).collect();
            assert_eq!(kept.join(" "), names, "{why}");
            assert_eq!(parsed.rejected, documents.len() - kept.len(), "{why}");
            let shown = |d: &Diagnostic| {
                let place = d.place.as_ref().expect("a place");
                format!("{} {}", d.code, place.span.of(place.source.text()))
            };
            let got: Vec<_> = parsed.diagnostics.iter().map(shown).collect();
            assert_eq!(got, want, "{why}");
        }
    }
}
