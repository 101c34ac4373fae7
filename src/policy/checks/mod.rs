//! Findings that only all policies together show: taken names, secrets without a source, shadows.
//!
//! One file a check; each looks at documents in table order and adds findings.

mod credentials;
mod names;
mod shadows;

use super::document::RegistryPolicy;
use super::parse::Parsed;
use crate::diagnostic::{Diagnostic, any_error};

/// Looks at all policies that were read, in table order. A document that an error hits is taken out,
/// as one that has an error by itself.
pub fn run(parsed: &mut Parsed) {
    let taken = names::taken(&parsed.policies);
    let before = parsed.policies.len();
    let mut keep = taken.iter().map(Option::is_none);
    parsed.policies.retain(|_| keep.next().unwrap_or(true));
    parsed.rejected += before - parsed.policies.len();
    parsed
        .diagnostics
        .extend(taken.into_iter().flatten().flatten());
    parsed.diagnostics.extend(warnings(&parsed.policies));
    debug_assert!(parsed.rejected > 0 || !any_error(&parsed.diagnostics));
}

fn warnings(policies: &[RegistryPolicy]) -> Vec<Diagnostic> {
    let mut found = credentials::unknown_sources(policies);
    found.extend(credentials::unused(policies));
    found.extend(shadows::shadowed(policies));
    found
}
