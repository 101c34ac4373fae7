//! PP132: a pattern that can win no image, because another one covers it wholly and beats it.
//!
//! Conservative: it speaks only where no image can prove it wrong.

use std::collections::HashSet;

use crate::diagnostic::{Code, Diagnostic, Place};
use crate::policy::class::Class;
use crate::policy::document::{ImageMatch, Mode, RegistryPolicy, Rule, Scope, Spanned, Subject};
use crate::policy::pattern::Pattern;

/// PP132.
pub(super) fn shadowed(policies: &[RegistryPolicy]) -> Vec<Diagnostic> {
    let covers = all_tests(policies).filter(|(_, rule, test)| {
        let open = rule.namespace_selector.is_none() && rule.pod_selector.is_none();
        open && matches!(test.value, ImageMatch::Class(_))
    });
    let covers: Vec<_> = covers.collect();
    let mut found = Vec::new();
    for policy in policies {
        for rule in &policy.rules {
            let Subject::Images(tests) = &rule.subject else {
                continue;
            };
            let mut texts = HashSet::new();
            for test in tests {
                let ImageMatch::Pattern(pattern) = &test.value else {
                    continue;
                };
                if !texts.insert(pattern.as_str()) {
                    let message = format!("`{pattern}` stands in this rule already");
                    let finding =
                        Diagnostic::new(Code::Shadowed, &policy.source, test.span, message);
                    found.push(finding.help("remove one of them"));
                    continue;
                }
                let cover = covers.iter().find(|(other, _, cover)| {
                    in_force_beside(other, policy) && class_covers(&cover.value, pattern)
                });
                if let Some((other, other_rule, cover)) = cover {
                    let message = format!(
                        "`{pattern}` never wins an image: `{}` of `{}/{}` matches all that it \
                         matches and is more specific",
                        cover.value,
                        other.name.as_str(),
                        other_rule.name.as_str()
                    );
                    let place = Place {
                        source: other.source.clone(),
                        span: cover.span,
                    };
                    let finding =
                        Diagnostic::new(Code::Shadowed, &policy.source, test.span, message)
                            .help("remove the pattern, or give the class parameters")
                            .related(place, "the class");
                    found.push(finding);
                }
            }
        }
    }
    found
}

fn all_tests(
    policies: &[RegistryPolicy],
) -> impl Iterator<Item = (&RegistryPolicy, &Rule, &Spanned<ImageMatch>)> {
    policies.iter().flat_map(|policy| {
        policy.rules.iter().flat_map(move |rule| {
            let tests: &[_] = match &rule.subject {
                Subject::Images(tests) => tests,
                Subject::EveryPod => &[],
            };
            tests.iter().map(move |test| (policy, rule, test))
        })
    })
}

/// Whether `cover` takes part wherever `policy` does.
fn in_force_beside(cover: &RegistryPolicy, policy: &RegistryPolicy) -> bool {
    let mode = cover.mode == Mode::Enforce || policy.mode == Mode::Audit;
    mode && (cover.scope == Scope::Cluster || cover.scope == policy.scope)
}

/// Whether a class without parameters matches every image that a glob can. Only globs that end in a
/// family's own domain can be judged.
fn class_covers(cover: &ImageMatch, pattern: &Pattern) -> bool {
    let ImageMatch::Class(class) = cover else {
        return false;
    };
    if !pattern.is_glob_host() || pattern.port().is_some() {
        return false;
    }
    let labels: Vec<&str> = pattern.host().split('.').collect();
    match &**class {
        Class::Ecr {
            account_ids: None,
            regions: None,
        } => matches!(
            labels.as_slice(),
            [_, "dkr", "ecr" | "ecr-fips", _, "amazonaws", "com"]
                | [_, "dkr", "ecr" | "ecr-fips", _, "amazonaws", "com", "cn"]
                | [_, "dkr-ecr" | "dkr-ecr-fips", _, "on", "aws"]
        ),
        Class::Acr { registries: None } => {
            matches!(labels.as_slice(), [_, "azurecr", "io" | "cn" | "us"])
        }
        // A class of literal hosts is a literal match; a path in the glob cannot make it stronger.
        Class::Gcp { projects: None } => {
            matches!(labels.as_slice(), [docker, "pkg", "dev"] if docker.ends_with("-docker"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnostic::{Code, Source};
    use crate::policy::{ParseOptions, checks, parse};

    #[test]
    fn a_glob_below_a_wider_class_is_shadowed() {
        for (images, class, want, why) in [
            (
                "*.dkr.ecr.*.amazonaws.com",
                "ecr: {}",
                true,
                "the class is more specific",
            ),
            (
                "*.azurecr.io/team",
                "acr: {}",
                true,
                "a path does not outweigh the host",
            ),
            (
                "*-docker.pkg.dev",
                "gcp: {}",
                true,
                "the class means literal hosts",
            ),
            (
                "*.dkr.ecr.*.amazonaws.com",
                "ecr: {regions: [eu-west-1]}",
                false,
                "not all regions",
            ),
            (
                "*.pkg.dev",
                "gcp: {}",
                false,
                "other hosts of pkg.dev are no Docker registries",
            ),
            (
                "1.dkr.ecr.x.amazonaws.com",
                "ecr: {}",
                false,
                "a literal host is stronger",
            ),
        ] {
            let text = format!(
                "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: p}}\nspec:\n  rules:\n  \
                 - {{name: a, match: {{images: ['{images}']}}, inject: {{}}}}\n  \
                 - {{name: b, match: {{{class}}}, inject: {{}}}}\n"
            );
            let mut parsed = parse(&Source::new("p", text), &ParseOptions::default());
            checks::run(&mut parsed);
            let got = parsed.diagnostics.iter().any(|d| d.code == Code::Shadowed);
            assert_eq!(
                got, want,
                "{images} beside {class}: {why} {:?}",
                parsed.diagnostics
            );
        }
    }
}
