//! PP132: a pattern that can win no image, because another one covers it wholly and beats it.
//!
//! Conservative: it speaks only where no image can prove it wrong.

use std::collections::{HashMap, HashSet};

use crate::diagnostic::{Code, Diagnostic, Place};
use crate::policy::class::Class;
use crate::policy::document::{ImageMatch, Mode, RegistryPolicy, Rule, Scope, Spanned, Subject};
use crate::policy::pattern::Pattern;

/// PP132.
pub(super) fn shadowed(policies: &[RegistryPolicy]) -> Vec<Diagnostic> {
    let covers = Covers::new(policies);
    let mut found = Vec::new();
    for policy in policies {
        for rule in &policy.rules {
            let Subject::Images(tests) = &rule.subject else {
                continue;
            };
            let mut seen = HashSet::new();
            for test in tests {
                let ImageMatch::Pattern(pattern) = &test.value else {
                    continue;
                };
                if !seen.insert(pattern.as_str()) {
                    let message = format!("`{pattern}` stands in this rule already");
                    let finding =
                        Diagnostic::new(Code::Shadowed, &policy.source, test.span, message);
                    found.push(finding.help("remove one of them"));
                    continue;
                }
                let cover = covers.find(policy, pattern);
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

/// A class without parameters, in a rule without selectors.
type Cover<'p> = (&'p RegistryPolicy, &'p Rule, &'p Spanned<ImageMatch>);

/// The first cover of each family, by where and in which mode it is in force: a few, however many
/// rules there are.
struct Covers<'p>(HashMap<(&'p Scope, Mode, Family), Cover<'p>>);

impl<'p> Covers<'p> {
    fn new(policies: &'p [RegistryPolicy]) -> Self {
        let mut covers = HashMap::new();
        for (policy, rule, test) in all_tests(policies) {
            let open = rule.namespace_selector.is_none() && rule.pod_selector.is_none();
            if let (true, Some(family)) = (open, Family::of_cover(&test.value)) {
                let key = (&policy.scope, policy.mode, family);
                covers.entry(key).or_insert((policy, rule, test));
            }
        }
        Self(covers)
    }

    /// The class that takes part wherever `policy` does and matches all that a glob of it can.
    fn find(&self, policy: &RegistryPolicy, pattern: &Pattern) -> Option<Cover<'p>> {
        let family = Family::of_glob(pattern)?;
        let covers: &HashMap<(&Scope, Mode, Family), _> = &self.0;
        let modes: &[Mode] = match policy.mode {
            Mode::Enforce => &[Mode::Enforce],
            Mode::Audit => &[Mode::Enforce, Mode::Audit],
        };
        [&Scope::Cluster, &policy.scope]
            .into_iter()
            .flat_map(|scope| modes.iter().map(move |mode| (scope, *mode, family)))
            .find_map(|key| covers.get(&key).copied())
    }
}

/// A family of registries whose class without parameters can cover a glob.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Family {
    Ecr,
    Acr,
    Google,
}

impl Family {
    fn of_cover(test: &ImageMatch) -> Option<Self> {
        let ImageMatch::Class(class) = test else {
            return None;
        };
        match &**class {
            Class::Ecr {
                account_ids: None,
                regions: None,
            } => Some(Self::Ecr),
            Class::Acr { registries: None } => Some(Self::Acr),
            // It stands for literal hosts; a path in the glob cannot make that stronger.
            Class::Gcp { projects: None } => Some(Self::Google),
            _ => None,
        }
    }

    /// The family to which all hosts belong that a glob matches: told by the family's own domain.
    fn of_glob(pattern: &Pattern) -> Option<Self> {
        if !pattern.is_glob_host() || pattern.port().is_some() {
            return None;
        }
        let labels: Vec<&str> = pattern.host().split('.').collect();
        match labels.as_slice() {
            [_, "dkr", "ecr" | "ecr-fips", _, "amazonaws", "com"]
            | [_, "dkr", "ecr" | "ecr-fips", _, "amazonaws", "com", "cn"]
            | [_, "dkr-ecr" | "dkr-ecr-fips", _, "on", "aws"] => Some(Self::Ecr),
            [_, "azurecr", "io" | "cn" | "us"] => Some(Self::Acr),
            [docker, "pkg", "dev"] if docker.ends_with("-docker") => Some(Self::Google),
            _ => None,
        }
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
