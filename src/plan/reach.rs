//! Table + namespaces + scope → the namespaces that each credential's Secret goes to.
//!
//! Those in scope in which a cluster rule that changes Pods and injects the credential can apply. A
//! tenant's rule sends no Secret anywhere, and neither does a policy in `mode: Audit`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::names::SecretName;
use crate::policy::decide::label;
use crate::policy::document::Scope;
use crate::policy::selector::Selector;
use crate::policy::table::Table;
use crate::snapshot::{Namespaces, ScopeOptions};

/// For each credential of a table, which namespaces its rules select.
#[derive(Debug, Default)]
pub struct Reach(BTreeMap<SecretName, Selected>);

/// Namespaces that any of some rules select.
#[derive(Debug)]
enum Selected {
    /// A rule without a selector is among them.
    Every,
    /// These selectors, each once: thousands of rules share a few.
    Any(Vec<Selector>),
}

impl Reach {
    /// What a table says. A credential that nobody injects goes nowhere.
    #[must_use]
    pub fn of(table: &Table) -> Self {
        let mut reach = Self::default();
        for rule in table.all_rules() {
            if rule.policy().scope != Scope::Cluster || rule.is_audit() {
                continue;
            }
            for name in rule.secrets() {
                if table.credential(name).is_some() {
                    reach.add(name, rule.namespace_selector());
                }
            }
        }
        reach
    }

    fn add(&mut self, name: &SecretName, selector: Option<&Selector>) {
        let Some(selector) = selector else {
            self.0.insert(name.clone(), Selected::Every);
            return;
        };
        let nowhere = || Selected::Any(Vec::new());
        if let Selected::Any(known) = self.0.entry(name.clone()).or_insert_with(nowhere)
            && !known.contains(selector)
        {
            known.push(selector.clone());
        }
    }

    /// The namespaces of each credential that goes anywhere.
    #[must_use]
    pub fn namespaces(
        &self,
        all: &Namespaces,
        scope: &ScopeOptions,
    ) -> BTreeMap<SecretName, BTreeSet<Arc<str>>> {
        let mut reached: BTreeMap<SecretName, BTreeSet<Arc<str>>> = BTreeMap::new();
        for name in all.names() {
            let labels = all.labels(name);
            if scope.excludes_namespace(name, &labels).is_some() {
                continue;
            }
            let selected = |selected: &Selected| match selected {
                Selected::Every => true,
                Selected::Any(selectors) => selectors
                    .iter()
                    .any(|selector| selector.matches(|key| label(&labels, key))),
            };
            for (credential, _) in self.0.iter().filter(|(_, s)| selected(s)) {
                if let Some(namespaces) = reached.get_mut(credential) {
                    namespaces.insert(Arc::clone(name));
                } else {
                    let first = BTreeSet::from([Arc::clone(name)]);
                    reached.insert(credential.clone(), first);
                }
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::policy::{self, ParseOptions};
    use crate::snapshot::{Coverage, INJECT_LABEL, NamespaceMode};

    const POLICIES: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub]}}
    - name: ecr
      match: {images: ['*'], namespaceSelector: {matchLabels: {team: build}}}
      inject: {imagePullSecrets: [ecr, stranger]}
    - name: ecr-too
      match: {everyPod: true, namespaceSelector: {matchLabels: {team: web}}}
      inject: {imagePullSecrets: [ecr]}
    - name: both
      match: {images: [quay.io], namespaceSelector: {matchLabels: {team: web}}}
      inject: {imagePullSecrets: [hub]}
  credentials:
    - {name: hub, from: {secretRef: {name: s}}}
    - {name: ecr, from: {existing: {}}}
    - {name: idle, from: {existing: {}}}
---
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: tried}
spec:
  mode: Audit
  rules: [{name: r, match: {images: ['*']}, inject: {imagePullSecrets: [ecr, audited]}}]
  credentials: [{name: audited, from: {existing: {}}}]
";

    #[test]
    fn a_credential_goes_where_a_rule_that_injects_it_can_apply() {
        let parsed = policy::parse(&Source::new("p", POLICIES), &ParseOptions::default());
        let reach = Reach::of(&Table::new(parsed.policies));
        let mut all = Namespaces::new(Coverage::Whole);
        for (name, labels) in [
            ("build", [("team", "build")]),
            ("web", [("team", "web")]),
            ("other", [("team", "other")]),
            ("out", [(INJECT_LABEL, "disabled")]),
            ("in", [(INJECT_LABEL, "enabled")]),
            ("kube-system", [("team", "build")]),
            ("pullpass-system", [("team", "build")]),
            ("legacy", [("team", "build")]),
        ] {
            let labels = labels.map(|(key, value)| (key.into(), value.into()));
            all.insert(name, labels.to_vec());
        }
        let opt_out = ScopeOptions {
            excluded: vec!["legacy".to_owned()],
            ..ScopeOptions::default()
        };
        let opt_in = ScopeOptions {
            mode: NamespaceMode::OptIn,
            ..ScopeOptions::default()
        };
        let told = |scope: &ScopeOptions| {
            let reached = reach.namespaces(&all, scope);
            let line = |(name, all): (&SecretName, &BTreeSet<Arc<str>>)| {
                let all: Vec<&str> = all.iter().map(AsRef::as_ref).collect();
                format!("{name}: {}", all.join(" "))
            };
            reached.iter().map(line).collect::<Vec<_>>()
        };
        assert_eq!(
            told(&opt_out),
            ["ecr: build web", "hub: build in other web"]
        );
        assert_eq!(told(&opt_in), ["hub: in"]);
    }
}
