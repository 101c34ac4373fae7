//! Policies → the table that the engine reads: immutable, indexed, swapped whole.
//!
//! Valid by construction: what could be wrong with a policy was said before it came here.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::config_maps::ConfigMapName;
use super::document::{
    Credential, EnvFrom, ImageMatch, InjectAccount, Mode, RegistryPolicy, Scope, Subject,
};
use super::index::{self, Index, MatcherId};
use super::pattern::{Candidate, Specificity};
use super::selector::Selector;
use crate::names::SecretName;

/// Everything the loaded policies say.
#[derive(Debug)]
pub struct Table {
    policies: Box<[Policy]>,
    rules: Box<[Rule]>,
    /// The rules' names one behind the other: thousands of small texts cost more than they hold.
    names: Box<str>,
    /// The rules' secrets one behind the other.
    secrets: Box<[SecretName]>,
    matchers: Box<[Matcher]>,
    cluster: Index,
    tenants: HashMap<Arc<str>, Index>,
    every_pod: Box<[RuleId]>,
    credentials: HashMap<SecretName, Declared>,
    has_audit: bool,
    digest: String,
}

/// A policy's part of the table.
#[derive(Debug)]
pub struct Policy {
    /// Its name.
    pub name: Arc<str>,
    /// Where it applies.
    pub scope: Scope,
    /// What it does with a decision.
    pub mode: Mode,
    /// The ConfigMap that holds it, if one does.
    pub config_map: Option<ConfigMapName>,
}

/// A credential and the policy that declares it.
#[derive(Debug)]
struct Declared {
    credential: Credential,
    policy: u32,
}

/// A rule's place in table order: a smaller one stands earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u32);

/// A rule, compiled.
#[derive(Debug)]
pub struct Rule {
    policy: u32,
    name: Part,
    secrets: Part,
    rest: Option<Box<Rest>>,
    is_final: bool,
}

/// What few rules have.
#[derive(Debug)]
struct Rest {
    namespace: Option<Selector>,
    pod: Option<Selector>,
    account: Option<InjectAccount>,
    env_from: Box<[EnvFrom]>,
}

/// A rule's part of a list that all rules share.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: u32,
    end: u32,
}

impl Part {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

#[derive(Debug)]
struct Matcher {
    rule: RuleId,
    test: ImageMatch,
}

/// A rule of a table, with its policy.
#[derive(Clone, Copy)]
pub struct RuleRef<'t> {
    table: &'t Table,
    id: RuleId,
    rule: &'t Rule,
    policy: &'t Policy,
}

/// One way in which a rule matches an image.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'t> {
    /// The rule.
    pub rule: RuleRef<'t>,
    /// Which of its patterns or classes.
    pub test: &'t ImageMatch,
    /// How specific it is.
    pub specificity: Specificity,
}

impl Table {
    /// Compiles policies, given in table order.
    #[must_use]
    pub fn new(documents: Vec<RegistryPolicy>) -> Self {
        let mut build = Builder::default();
        for document in documents {
            build.add(document);
        }
        build.finish()
    }

    /// The policies, in table order.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// How many rules there are.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// Whether any policy is in `mode: Audit`.
    #[must_use]
    pub fn has_audit(&self) -> bool {
        self.has_audit
    }

    /// The credential that a Secret's name stands for.
    #[must_use]
    pub fn credential(&self, name: &SecretName) -> Option<&Credential> {
        self.credentials
            .get(name)
            .map(|declared| &declared.credential)
    }

    /// The policy that declares the credential of a name.
    #[must_use]
    pub fn declarer(&self, name: &SecretName) -> Option<&Policy> {
        let declared = self.credentials.get(name)?;
        self.policies.get(declared.policy as usize)
    }

    /// Every credential, by name.
    #[must_use]
    pub fn credentials(&self) -> Vec<&Credential> {
        let declared = self.credentials.values();
        let mut all: Vec<&Credential> = declared.map(|declared| &declared.credential).collect();
        all.sort_by(|a, b| a.name.value.cmp(&b.name.value));
        all
    }

    /// Equal for equal policies in equal order: twelve hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The rules with `everyPod`, in table order.
    pub fn every_pod(&self) -> impl Iterator<Item = RuleRef<'_>> {
        self.every_pod.iter().filter_map(|id| self.rule(*id))
    }

    /// Every rule, in table order.
    pub fn all_rules(&self) -> impl Iterator<Item = RuleRef<'_>> {
        (0..self.rules.len()).filter_map(|i| self.rule(RuleId(u32::try_from(i).ok()?)))
    }

    fn rule(&self, id: RuleId) -> Option<RuleRef<'_>> {
        let rule = self.rules.get(id.0 as usize)?;
        let policy = self.policies.get(rule.policy as usize)?;
        Some(RuleRef {
            table: self,
            id,
            rule,
            policy,
        })
    }

    /// Puts into `hits` how the rules that apply in a namespace match an image, each rule once, by its
    /// most specific pattern, in table order. Selectors are not looked at.
    pub fn hits<'t>(&'t self, image: &Candidate<'_>, namespace: &str, hits: &mut Vec<Hit<'t>>) {
        hits.clear();
        let mut visit = |id: MatcherId| {
            let Some(matcher) = self.matchers.get(id as usize) else {
                return;
            };
            let Some(specificity) = matcher.test.specificity(image) else {
                return;
            };
            let Some(rule) = self.rule(matcher.rule) else {
                return;
            };
            hits.push(Hit {
                rule,
                test: &matcher.test,
                specificity,
            });
        };
        self.cluster.candidates(image, &mut visit);
        if let Some(tenant) = self.tenants.get(namespace) {
            tenant.candidates(image, &mut visit);
        }
        // The most specific first within a rule; among equals the one written first is kept.
        hits.sort_by(|a, b| (a.rule.id, b.specificity).cmp(&(b.rule.id, a.specificity)));
        hits.dedup_by(|later, earlier| later.rule.id == earlier.rule.id);
    }

    /// The same as [`Table::hits`] without the index: every matcher is tried. For tests.
    #[doc(hidden)]
    pub fn hits_naively<'t>(
        &'t self,
        image: &Candidate<'_>,
        namespace: &str,
        hits: &mut Vec<Hit<'t>>,
    ) {
        hits.clear();
        for matcher in &self.matchers {
            let Some(rule) = self.rule(matcher.rule) else {
                continue;
            };
            let here = match &rule.policy.scope {
                Scope::Cluster => true,
                Scope::Namespace(own) => **own == *namespace,
            };
            let Some(specificity) = matcher.test.specificity(image) else {
                continue;
            };
            match hits.last_mut() {
                _ if !here => {}
                Some(last) if last.rule.id == rule.id => {
                    if specificity > last.specificity {
                        *last = Hit {
                            rule,
                            test: &matcher.test,
                            specificity,
                        };
                    }
                }
                _ => hits.push(Hit {
                    rule,
                    test: &matcher.test,
                    specificity,
                }),
            }
        }
    }
}

impl ImageMatch {
    /// How specific the match is, when it matches the image.
    #[must_use]
    pub fn specificity(&self, image: &Candidate<'_>) -> Option<Specificity> {
        match self {
            Self::Pattern(pattern) => pattern.specificity(image),
            Self::Class(class) => class.specificity(image),
        }
    }
}

impl fmt::Display for ImageMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => pattern.fmt(f),
            Self::Class(class) => class.fmt(f),
        }
    }
}

impl<'t> RuleRef<'t> {
    /// Its place in table order.
    #[must_use]
    pub fn id(&self) -> RuleId {
        self.id
    }

    /// Its name in its policy.
    #[must_use]
    pub fn name(&self) -> &'t str {
        let names = &self.table.names;
        names.get(self.rule.name.range()).unwrap_or_default()
    }

    /// Its policy.
    #[must_use]
    pub fn policy(&self) -> &'t Policy {
        self.policy
    }

    /// The pull secrets it injects.
    #[must_use]
    pub fn secrets(&self) -> &'t [SecretName] {
        let secrets = &self.table.secrets;
        secrets.get(self.rule.secrets.range()).unwrap_or_default()
    }

    /// The account it switches to.
    #[must_use]
    pub fn account(&self) -> Option<&'t InjectAccount> {
        self.rule.rest.as_ref()?.account.as_ref()
    }

    /// The environment sources it injects.
    #[must_use]
    pub fn env_from(&self) -> &'t [EnvFrom] {
        self.rule.rest.as_ref().map_or(&[], |rest| &rest.env_from)
    }

    /// Whether it keeps tenants' rules from the images it matches.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.rule.is_final
    }

    /// Whether it only says what it would change.
    #[must_use]
    pub fn is_audit(&self) -> bool {
        self.policy.mode == Mode::Audit
    }

    /// Which namespaces it is for; all when absent.
    #[must_use]
    pub fn namespace_selector(&self) -> Option<&'t Selector> {
        self.rule.rest.as_ref()?.namespace.as_ref()
    }

    /// Which Pods it is for; all when absent.
    #[must_use]
    pub fn pod_selector(&self) -> Option<&'t Selector> {
        self.rule.rest.as_ref()?.pod.as_ref()
    }

    /// The table it belongs to.
    #[must_use]
    pub fn table(&self) -> &'t Table {
        self.table
    }
}

impl PartialEq for RuleRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && std::ptr::eq(self.table, other.table)
    }
}

impl Eq for RuleRef<'_> {}

impl fmt::Debug for RuleRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RuleRef({self})")
    }
}

impl fmt::Display for RuleRef<'_> {
    /// `policy/rule`, as everywhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.policy.name, self.name())
    }
}

#[derive(Default)]
struct Builder {
    policies: Vec<Policy>,
    rules: Vec<Rule>,
    names: String,
    secrets: Vec<SecretName>,
    matchers: Vec<Matcher>,
    cluster: index::Builder,
    tenants: HashMap<Arc<str>, index::Builder>,
    every_pod: Vec<RuleId>,
    credentials: HashMap<SecretName, Declared>,
    digest: Sha256,
}

impl Builder {
    fn add(&mut self, document: RegistryPolicy) {
        let policy = count(self.policies.len());
        let namespace = match &document.scope {
            Scope::Cluster => "",
            Scope::Namespace(namespace) => namespace,
        };
        // Lengths keep two texts from being taken for another two.
        for part in [namespace, document.span.of(document.source.text())] {
            self.digest.update((part.len() as u64).to_le_bytes());
            self.digest.update(part);
        }
        let index = match &document.scope {
            Scope::Cluster => &mut self.cluster,
            Scope::Namespace(namespace) => self.tenants.entry(Arc::clone(namespace)).or_default(),
        };
        for rule in document.rules {
            let id = RuleId(count(self.rules.len()));
            match rule.subject {
                Subject::EveryPod => self.every_pod.push(id),
                Subject::Images(tests) => {
                    for test in tests {
                        index.insert(count(self.matchers.len()), &test.value);
                        self.matchers.push(Matcher {
                            rule: id,
                            test: test.value,
                        });
                    }
                }
            }
            let (inject, namespace, pod) =
                (rule.inject, rule.namespace_selector, rule.pod_selector);
            let usual = namespace.is_none()
                && pod.is_none()
                && inject.account.is_none()
                && inject.env_from.is_empty();
            let rest = (!usual).then(|| {
                Box::new(Rest {
                    namespace,
                    pod,
                    account: inject.account,
                    env_from: inject.env_from.into(),
                })
            });
            let (name, secret) = (count(self.names.len()), count(self.secrets.len()));
            self.names.push_str(rule.name.as_str());
            let secrets = inject.secrets.into_iter();
            self.secrets.extend(secrets.map(|secret| secret.value));
            self.rules.push(Rule {
                policy,
                name: Part {
                    start: name,
                    end: count(self.names.len()),
                },
                secrets: Part {
                    start: secret,
                    end: count(self.secrets.len()),
                },
                rest,
                is_final: rule.is_final && document.scope == Scope::Cluster,
            });
        }
        for credential in document.credentials {
            self.credentials
                .entry(credential.name.value.clone())
                .or_insert(Declared { credential, policy });
        }
        let name = document.name.value.as_str().into();
        self.policies.push(Policy {
            name,
            scope: document.scope,
            mode: document.mode,
            config_map: document.config_map,
        });
    }

    fn finish(mut self) -> Table {
        let tenants = self.tenants.drain();
        let tenants = tenants
            .map(|(name, index)| (name, index.finish()))
            .collect();
        let has_audit = self
            .policies
            .iter()
            .any(|policy| policy.mode == Mode::Audit);
        let digest = self
            .digest
            .finalize()
            .iter()
            .take(6)
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        Table {
            policies: self.policies.into(),
            rules: self.rules.into(),
            names: self.names.into(),
            secrets: self.secrets.into(),
            matchers: self.matchers.into(),
            cluster: self.cluster.finish(),
            tenants,
            every_pod: self.every_pod.into(),
            credentials: self.credentials,
            has_audit,
            digest,
        }
    }
}

/// Positions in a table. A text has far fewer values than `u32::MAX`, and so have all texts that fit
/// into memory beside their table.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
