//! Policy ConfigMaps, as they come and go → the table, with the last good version of each.
//!
//! A ConfigMap is edited as one: a version with an error in it leaves the one before in force, whole.
//! Where there was none before, its good documents count. Pure: it watches nothing and logs nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::checks;
use super::document::{RegistryPolicy, Scope};
use super::parse::{Parsed, holds_policies, no_policy, parse_key};
use super::table::Table;
use crate::diagnostic::{Code, Diagnostic, Source, Span, any_error};

/// A ConfigMap's namespace and name, ordered as tables are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigMapName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl fmt::Display for ConfigMapName {
    /// `namespace/name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What a ConfigMap holds: the texts under its policy keys, by key.
#[derive(Debug, PartialEq, Eq)]
pub struct Content {
    name: ConfigMapName,
    /// All keys, for a message that none holds a policy.
    whole: Arc<Source>,
    texts: Vec<Arc<Source>>,
    /// Why its data cannot be read at all.
    broken: Option<String>,
}

impl Content {
    /// Takes the keys that hold policies by their name; others are left alone, as is `binaryData`.
    pub fn new<'a>(
        name: &ConfigMapName,
        data: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        Self::called(name, data, |key| format!("ConfigMap {name} key {key}"))
    }

    /// The same for a reader who has the ConfigMap before him: messages call a text by its key alone.
    pub fn submitted<'a>(
        name: &ConfigMapName,
        data: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        Self::called(name, data, ToOwned::to_owned)
    }

    fn called<'a>(
        name: &ConfigMapName,
        data: impl IntoIterator<Item = (&'a str, &'a str)>,
        called: impl Fn(&str) -> String,
    ) -> Self {
        let mut data: Vec<_> = data
            .into_iter()
            .filter(|(key, _)| holds_policies(key))
            .collect();
        data.sort_unstable();
        Self {
            name: name.clone(),
            whole: Source::new(format!("ConfigMap {name}"), ""),
            texts: data
                .into_iter()
                .map(|(key, text)| Source::new(called(key), text))
                .collect(),
            broken: None,
        }
    }

    /// What cannot be read as a ConfigMap.
    #[must_use]
    pub fn unreadable(name: &ConfigMapName, why: impl Into<String>) -> Self {
        Self {
            name: name.clone(),
            whole: Source::new(format!("ConfigMap {name}"), ""),
            texts: Vec::new(),
            broken: Some(why.into()),
        }
    }

    /// Reads its policies.
    #[must_use]
    pub fn parse(&self, scope: &Scope) -> Parsed {
        let mut parsed = Parsed::default();
        if let Some(why) = &self.broken {
            let message = format!("the ConfigMap cannot be read: {why}");
            let found = Diagnostic::new(Code::WrongType, &self.whole, Span::default(), message);
            parsed.rejected = 1;
            parsed.diagnostics.push(found);
        }
        for text in &self.texts {
            parsed.append(parse_key(text, scope));
        }
        if parsed.documents() == 0 {
            let found = no_policy(&self.whole, Span::default(), !self.texts.is_empty());
            parsed.diagnostics.push(found);
        }
        parsed.held_by(&self.name)
    }
}

/// Every policy ConfigMap, in table order.
#[derive(Debug)]
pub struct ConfigMaps {
    /// Where those for the whole cluster are; another namespace's are its own.
    own_namespace: Arc<str>,
    maps: BTreeMap<ConfigMapName, Versions>,
}

#[derive(Clone, Debug)]
struct Versions {
    now: Arc<Content>,
    /// The last one without an error; `now` itself when it has none.
    good: Option<Arc<Content>>,
}

/// How a ConfigMap fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All its policies are in force.
    Loaded,
    /// It has errors. What it said before stays in force.
    KeptLastGood,
    /// It has errors, and there is no version before: its documents without an error are in force.
    Rejected,
}

/// What became of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub name: ConfigMapName,
    /// How it fared.
    pub verdict: Verdict,
    /// What was found in the version that came last.
    pub diagnostics: Vec<Diagnostic>,
    /// Documents of that version that are kept out.
    pub rejected: usize,
}

/// What all ConfigMaps together say.
#[derive(Debug)]
pub struct Compiled {
    /// The table.
    pub table: Table,
    /// One for each ConfigMap, in table order.
    pub reports: Vec<Report>,
    /// Warnings about the table as a whole.
    pub warnings: Vec<Diagnostic>,
}

impl Compiled {
    /// How many documents are kept out.
    #[must_use]
    pub fn rejected(&self) -> usize {
        self.reports.iter().map(|report| report.rejected).sum()
    }
}

/// A ConfigMap while the table is made.
struct Candidate {
    name: ConfigMapName,
    policies: Vec<RegistryPolicy>,
    report: Report,
    /// The last good version, while the one that came last is looked at.
    fallback: Option<Arc<Content>>,
}

impl ConfigMaps {
    /// None yet.
    #[must_use]
    pub fn new(own_namespace: Arc<str>) -> Self {
        Self {
            own_namespace,
            maps: BTreeMap::new(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.maps.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }

    /// A ConfigMap came or changed. Whether that changes anything: an update of its labels does not.
    pub fn set(&mut self, name: ConfigMapName, content: Content) -> bool {
        let now = Arc::new(content);
        match self.maps.get_mut(&name) {
            Some(versions) if versions.now == now => false,
            Some(versions) => {
                versions.now = now;
                true
            }
            None => {
                self.maps.insert(name, Versions { now, good: None });
                true
            }
        }
    }

    /// A ConfigMap is gone, and its last good version with it.
    pub fn remove(&mut self, name: &ConfigMapName) -> bool {
        self.maps.remove(name).is_some()
    }

    /// Everything was listed anew: what is not in it is gone. Whether that changes anything.
    pub fn replace(&mut self, all: BTreeMap<ConfigMapName, Content>) -> bool {
        let before = self.maps.len();
        self.maps.retain(|name, _| all.contains_key(name));
        let mut changed = self.maps.len() != before;
        for (name, content) in all {
            changed |= self.set(name, content);
        }
        changed
    }

    /// The table that they make, and what became of each. A version that turns out good is remembered.
    pub fn compile(&mut self) -> Compiled {
        let mut candidates: Vec<Candidate> = self
            .maps
            .iter()
            .map(|(name, versions)| self.candidate(name, versions))
            .collect();
        // Each round takes one version back or is the last.
        let taken = loop {
            let all: Vec<&RegistryPolicy> = candidates.iter().flat_map(|c| &c.policies).collect();
            let taken = checks::taken(&all);
            let mut rest = taken.iter();
            let mut again = false;
            for candidate in &mut candidates {
                let errors: Vec<Diagnostic> = rest
                    .by_ref()
                    .take(candidate.policies.len())
                    .flatten()
                    .flatten()
                    .cloned()
                    .collect();
                if errors.is_empty() {
                    continue;
                }
                if let Some(good) = candidate.fallback.take() {
                    candidate.report.rejected += 1;
                    candidate.report.diagnostics.extend(errors);
                    candidate.report.verdict = Verdict::KeptLastGood;
                    candidate.policies = good.parse(&self.scope(&candidate.name)).policies;
                    again = true;
                }
            }
            if !again {
                break taken;
            }
        };
        self.finish(candidates, taken)
    }

    fn candidate(&self, name: &ConfigMapName, versions: &Versions) -> Candidate {
        let scope = self.scope(name);
        let parsed = versions.now.parse(&scope);
        let fallback = versions
            .good
            .as_ref()
            .filter(|good| !Arc::ptr_eq(good, &versions.now));
        let bad = any_error(&parsed.diagnostics);
        let (verdict, policies) = match (bad, fallback) {
            (false, _) => (Verdict::Loaded, parsed.policies),
            (true, Some(good)) => (Verdict::KeptLastGood, good.parse(&scope).policies),
            (true, None) => (Verdict::Rejected, parsed.policies),
        };
        Candidate {
            name: name.clone(),
            policies,
            report: Report {
                name: name.clone(),
                diagnostics: parsed.diagnostics,
                rejected: parsed.rejected,
                verdict: verdict.clone(),
            },
            fallback: fallback.filter(|_| verdict == Verdict::Loaded).cloned(),
        }
    }

    fn finish(
        &mut self,
        candidates: Vec<Candidate>,
        taken: Vec<Option<Vec<Diagnostic>>>,
    ) -> Compiled {
        let mut taken = taken.into_iter();
        let mut policies = Vec::new();
        let mut reports = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let mut report = candidate.report;
            for (policy, errors) in candidate.policies.into_iter().zip(taken.by_ref()) {
                match errors {
                    None => policies.push(policy),
                    Some(errors) => {
                        report.diagnostics.extend(errors);
                        if report.verdict == Verdict::Loaded {
                            report.verdict = Verdict::Rejected;
                        }
                        report.rejected += 1;
                    }
                }
            }
            if report.verdict == Verdict::Loaded
                && let Some(versions) = self.maps.get_mut(&candidate.name)
            {
                versions.good = Some(Arc::clone(&versions.now));
            }
            reports.push(report);
        }
        let warnings = checks::warnings(&policies);
        Compiled {
            table: Table::new(policies),
            reports,
            warnings,
        }
    }

    fn scope(&self, name: &ConfigMapName) -> Scope {
        if name.namespace == self.own_namespace {
            Scope::Cluster
        } else {
            Scope::Namespace(Arc::clone(&name.namespace))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, registry: &str) -> String {
        format!(
            "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
             rules: [{{name: r, match: {{images: [{registry}]}}, inject: {{}}}}]\n"
        )
    }

    fn named(name: &str) -> ConfigMapName {
        let (namespace, name) = name.split_once('/').unwrap_or(("pullpass-system", name));
        ConfigMapName {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// `policy registry; …` as the documents of a ConfigMap; `!` is no YAML.
    fn content(name: &ConfigMapName, documents: &str) -> Content {
        let texts: Vec<String> = documents
            .split("; ")
            .filter(|document| !document.is_empty())
            .map(|document| match document.split_once(' ') {
                Some((name, registry)) => policy(name, registry),
                None => "a: [".to_owned(),
            })
            .collect();
        let text = texts.join("---\n");
        Content::new(name, [("p.yaml", &*text), ("README.md", "a: [")])
    }

    /// `policy=registry` of each policy in force, in table order.
    fn in_force(compiled: &Compiled) -> String {
        let rules = compiled.table.all_rules().map(|rule| {
            let namespace = match &rule.policy().scope {
                Scope::Cluster => String::new(),
                Scope::Namespace(namespace) => format!("{namespace}:"),
            };
            format!("{namespace}{}", rule.policy().name)
        });
        rules.collect::<Vec<_>>().join(" ")
    }

    fn verdicts(compiled: &Compiled) -> String {
        let reports = compiled.reports.iter().map(|report| {
            let word = match report.verdict {
                Verdict::Loaded => "loaded",
                Verdict::KeptLastGood => "kept",
                Verdict::Rejected => "rejected",
            };
            let codes: Vec<_> = report.diagnostics.iter().map(|d| d.code.as_str()).collect();
            format!("{} {word} {}", report.name.name, codes.join(","))
        });
        reports
            .map(|r| r.trim().to_owned())
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn a_configmap_is_edited_as_one_and_keeps_its_last_good_version() {
        let mut maps = ConfigMaps::new("pullpass-system".into());
        for (name, documents, want, verdict, why) in [
            ("b", "p quay.io", "p", "b loaded", "a first version"),
            (
                "b",
                "p quay.io; !",
                "p",
                "b kept PP101",
                "an error beside what was there",
            ),
            (
                "b",
                "q quay.io; !",
                "p",
                "b kept PP101",
                "keeps the last good one whole",
            ),
            ("b", "q quay.io", "q", "b loaded", "mended"),
            (
                "c",
                "s quay.io; !",
                "q s",
                "b loaded; c rejected PP101",
                "without a good one: its good documents",
            ),
            (
                "c",
                "t quay.io; !",
                "q t",
                "b loaded; c rejected PP101",
                "and again",
            ),
            (
                "c",
                "q ghcr.io",
                "q",
                "b loaded; c rejected PP112",
                "a name that an earlier one has",
            ),
            (
                "c",
                "u ghcr.io",
                "q u",
                "b loaded; c loaded",
                "a name of its own",
            ),
            (
                "c",
                "q ghcr.io",
                "q u",
                "b loaded; c kept PP112",
                "an edit that takes a name is not taken",
            ),
            (
                "a",
                "q ghcr.io",
                "q u",
                "a loaded; b rejected PP112; c kept PP112",
                "the earliest has the name",
            ),
            (
                "a",
                "",
                "q u",
                "a loaded PP135; b loaded; c kept PP112",
                "no policy key, and the name is free again",
            ),
        ] {
            let name = named(name);
            let content = content(&name, documents);
            let content = if documents.is_empty() {
                Content::new(&name, [("x.txt", "y")])
            } else {
                content
            };
            assert!(maps.set(name, content), "{why}: new");
            let compiled = maps.compile();
            assert_eq!(verdicts(&compiled), verdict, "{why}");
            assert_eq!(in_force(&compiled), want, "{why}");
        }
        assert!(maps.remove(&named("a")));
        assert_eq!(in_force(&maps.compile()), "q u", "one that held nothing");
        assert!(maps.remove(&named("b")));
        assert_eq!(
            verdicts(&maps.compile()),
            "c loaded",
            "and the edit that waited for it is taken"
        );
        assert!(!maps.remove(&named("b")), "it is gone already");
    }

    #[test]
    fn what_is_not_in_a_new_list_is_gone_also_when_it_was_unreadable() {
        let mut maps = ConfigMaps::new("pullpass-system".into());
        let (a, b) = (named("a"), named("web/b"));
        maps.set(a.clone(), Content::unreadable(&a, "data is a list"));
        maps.set(b.clone(), content(&b, "p quay.io"));
        let compiled = maps.compile();
        assert_eq!(verdicts(&compiled), "a rejected PP103; b loaded");
        assert_eq!(
            in_force(&compiled),
            "web:p",
            "another namespace's is its own"
        );
        assert_eq!(compiled.rejected(), 1);
        let list = BTreeMap::from([(b.clone(), content(&b, "p quay.io"))]);
        assert!(maps.replace(list), "one is gone");
        assert_eq!(verdicts(&maps.compile()), "b loaded");
        let list = BTreeMap::from([(b.clone(), content(&b, "p quay.io"))]);
        assert!(!maps.replace(list), "nothing changed");
    }
}
