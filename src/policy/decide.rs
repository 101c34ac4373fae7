//! Pod facts + table → decision with its reasons. One pure function; everything that decides calls it.
//!
//! It knows nothing of patches: what the Pod has already, and what its service account allows, is
//! looked at where the decision is turned into changes (`admission`).

use std::borrow::Cow;
use std::fmt;

use super::document::{EnvFrom, ImageMatch, InjectAccount, Mode, Scope};
use super::pattern::{Candidate, Specificity};
use super::table::{Hit, RuleRef, Table};
use crate::image::{ImageError, ImageRef};
use crate::names::SecretName;

/// A label: key and value.
pub type Label<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The value of a label. A key that stands twice has its last value, as in JSON.
#[must_use]
pub fn label<'a>(labels: &'a [Label<'_>], key: &str) -> Option<&'a str> {
    labels
        .iter()
        .rev()
        .find(|(k, _)| k == key)
        .map(|(_, v)| v.as_ref())
}

/// Where in a Pod an image stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// `spec.containers[i]`.
    Container(usize),
    /// `spec.initContainers[i]`.
    InitContainer(usize),
    /// `spec.ephemeralContainers[i]`.
    EphemeralContainer(usize),
    /// `spec.volumes[i].image`.
    Volume(usize),
}

impl fmt::Display for Slot {
    /// The path of the image's field, as in an API server's messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(i) => write!(f, "spec.containers[{i}].image"),
            Self::InitContainer(i) => write!(f, "spec.initContainers[{i}].image"),
            Self::EphemeralContainer(i) => write!(f, "spec.ephemeralContainers[{i}].image"),
            Self::Volume(i) => write!(f, "spec.volumes[{i}].image.reference"),
        }
    }
}

/// An image of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageUse<'a> {
    /// Where it stands.
    pub slot: Slot,
    /// The reference as written.
    pub text: &'a str,
}

/// What a decision reads of a Pod.
#[derive(Clone, Copy, Debug)]
pub struct PodFacts<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The namespace's labels.
    pub namespace_labels: &'a [Label<'a>],
    /// The Pod's labels.
    pub labels: &'a [Label<'a>],
    /// Its images in the order: containers, initContainers, ephemeralContainers, volumes.
    pub images: &'a [ImageUse<'a>],
}

/// Which policies count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Those in force: the decision that changes Pods.
    Enforced,
    /// Those in `mode: Audit` as well: what would be.
    All,
}

/// What the table says for one Pod.
#[derive(Debug)]
pub struct Decision<'t, 'a> {
    /// For each image: who won it, who did not and why.
    pub images: Vec<ImageDecision<'t, 'a>>,
    /// The rules that apply: in order of first need, then those with `everyPod`.
    pub rules: Vec<RuleRef<'t>>,
    /// The pull secrets needed, each once, in order of first need.
    pub secrets: Vec<SecretNeed<'t>>,
    /// The service account asked for.
    pub account: Option<AccountNeed<'t>>,
    /// Environment sources and the containers they go to.
    pub env_from: Vec<EnvNeed<'t>>,
}

/// What the table says for one image.
#[derive(Debug)]
pub struct ImageDecision<'t, 'a> {
    /// The image.
    pub image: ImageUse<'a>,
    /// The parsed reference, or why it is none.
    pub parsed: Result<ImageRef<'a>, ImageError>,
    /// Every rule with a pattern that matches, in table order, with what became of it.
    pub considered: Vec<Considered<'t>>,
}

impl<'t> ImageDecision<'t, '_> {
    /// The rules that won it.
    pub fn winners(&self) -> impl Iterator<Item = &Considered<'t>> {
        self.considered
            .iter()
            .filter(|considered| considered.verdict == Verdict::Won)
    }
}

/// A rule that matches an image by a pattern or class.
#[derive(Clone, Copy, Debug)]
pub struct Considered<'t> {
    /// The rule.
    pub rule: RuleRef<'t>,
    /// Its most specific pattern or class that matches.
    pub test: &'t ImageMatch,
    /// How specific it is.
    pub specificity: Specificity,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a rule that matches an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It applies.
    Won,
    /// Another rule is more specific.
    LessSpecific,
    /// Its namespaceSelector does not match.
    OtherNamespace,
    /// Its podSelector does not match.
    OtherPod,
    /// A tenant's rule, and a cluster rule that matches is final.
    KeptByFinal,
    /// Its policy is in `mode: Audit`.
    AuditOnly,
}

/// A pull secret that is needed, and the rule that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretNeed<'t> {
    /// The Secret's name.
    pub name: &'t SecretName,
    /// The first rule that needs it.
    pub rule: RuleRef<'t>,
}

/// The service account asked for.
#[derive(Clone, Debug)]
pub struct AccountNeed<'t> {
    /// The account and how it is to be taken.
    pub account: &'t InjectAccount,
    /// The rule that asks: the earliest in table order, a tenant's behind all if a final one asks.
    pub rule: RuleRef<'t>,
    /// Rules that apply and ask for another account, in table order.
    pub overruled: Vec<RuleRef<'t>>,
}

/// An environment source that is needed.
#[derive(Clone, Copy, Debug)]
pub struct EnvNeed<'t> {
    /// Which container it goes to; all containers and init containers when absent.
    pub slot: Option<Slot>,
    /// The source.
    pub source: &'t EnvFrom,
    /// The rule that says so.
    pub rule: RuleRef<'t>,
}

impl<'t> Decision<'t, '_> {
    /// The Secrets that the Pod would be held for while they are not there: those of credentials with
    /// `holdPods` that a cluster rule needs, whether or not a tenant's rule needed them first. A policy
    /// in `mode: Audit` holds nobody by its credentials either.
    pub fn holds(&self, table: &'t Table) -> impl Iterator<Item = &'t SecretName> {
        let by_cluster = |name: &SecretName| {
            let cluster = |rule: &RuleRef<'_>| rule.policy().scope == Scope::Cluster;
            let mut rules = self.rules.iter().filter(|rule| cluster(rule));
            rules.any(|rule| rule.secrets().contains(name))
        };
        let in_force = |name: &SecretName| {
            let declarer = table.declarer(name);
            declarer.is_some_and(|policy| policy.mode == Mode::Enforce)
        };
        self.secrets
            .iter()
            .map(|need| need.name)
            .filter(|name| table.credential(name).is_some_and(|c| c.hold_pods))
            .filter(move |name| in_force(name))
            .filter(move |name| by_cluster(name))
    }
}

/// Decides.
///
/// ```
/// use pullpass::diagnostic::Source;
/// use pullpass::policy::{self, decide::*, table::Table};
///
/// let source = Source::new("policy.yaml", r#"
/// apiVersion: pullpass.dev/v1
/// kind: RegistryPolicy
/// metadata: {name: company}
/// spec:
///   rules:
///     - {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub-creds]}}
/// "#);
/// let table = Table::new(policy::parse(&source, &Default::default()).policies);
/// let image = ImageUse { slot: Slot::Container(0), text: "nginx:1.27" };
/// let pod = PodFacts { namespace: "web", namespace_labels: &[], labels: &[], images: &[image] };
/// let decision = decide(&table, &pod, Counting::Enforced);
/// assert_eq!(decision.secrets[0].name.as_str(), "hub-creds");
/// assert_eq!(decision.rules[0].to_string(), "company/hub");
/// ```
#[must_use]
pub fn decide<'t, 'a>(
    table: &'t Table,
    pod: &PodFacts<'a>,
    counting: Counting,
) -> Decision<'t, 'a> {
    let mut decision = Decision {
        images: Vec::with_capacity(pod.images.len()),
        rules: Vec::new(),
        secrets: Vec::new(),
        account: None,
        env_from: Vec::new(),
    };
    let mut hits = Vec::new();
    for image in pod.images {
        let verdict = decide_image(table, pod, *image, counting, &mut hits);
        for won in verdict.winners() {
            decision.apply(won.rule);
            decision.env_from.extend(env_needs(won.rule, image.slot));
        }
        decision.images.push(verdict);
    }
    for rule in table.every_pod() {
        let here = match &rule.policy().scope {
            Scope::Cluster => true,
            Scope::Namespace(own) => **own == *pod.namespace,
        };
        if here && reach(rule, pod, counting) == Verdict::Won {
            decision.apply(rule);
            let needs = rule.env_from().iter();
            decision.env_from.extend(needs.map(|source| EnvNeed {
                slot: None,
                source,
                rule,
            }));
        }
    }
    decision.account = choose_account(&decision.rules);
    decision
}

impl<'t> Decision<'t, '_> {
    fn apply(&mut self, rule: RuleRef<'t>) {
        if self.rules.contains(&rule) {
            return;
        }
        self.rules.push(rule);
        for name in rule.secrets() {
            if !self.secrets.iter().any(|need| need.name == name) {
                self.secrets.push(SecretNeed { name, rule });
            }
        }
    }
}

fn env_needs(rule: RuleRef<'_>, slot: Slot) -> impl Iterator<Item = EnvNeed<'_>> {
    let takes = matches!(slot, Slot::Container(_) | Slot::InitContainer(_));
    let sources = if takes { rule.env_from() } else { &[] };
    sources.iter().map(move |source| EnvNeed {
        slot: Some(slot),
        source,
        rule,
    })
}

fn decide_image<'t, 'a>(
    table: &'t Table,
    pod: &PodFacts<'a>,
    image: ImageUse<'a>,
    counting: Counting,
    hits: &mut Vec<Hit<'t>>,
) -> ImageDecision<'t, 'a> {
    let parsed = ImageRef::parse(image.text);
    let Ok(reference) = &parsed else {
        return ImageDecision {
            image,
            parsed,
            considered: Vec::new(),
        };
    };
    table.hits(&Candidate::new(reference), pod.namespace, hits);
    let mut considered: Vec<Considered<'t>> = hits
        .iter()
        .map(
            |&Hit {
                 rule,
                 test,
                 specificity,
             }| {
                Considered {
                    rule,
                    test,
                    specificity,
                    verdict: reach(rule, pod, counting),
                }
            },
        )
        .collect();
    let won = |c: &Considered<'_>| c.verdict == Verdict::Won;
    if considered.iter().any(|c| won(c) && c.rule.is_final()) {
        for c in considered.iter_mut().filter(|c| won(c)) {
            if c.rule.policy().scope != Scope::Cluster {
                c.verdict = Verdict::KeptByFinal;
            }
        }
    }
    let best = considered
        .iter()
        .filter(|c| won(c))
        .map(|c| c.specificity)
        .max();
    for c in considered.iter_mut().filter(|c| won(c)) {
        if Some(c.specificity) != best {
            c.verdict = Verdict::LessSpecific;
        }
    }
    ImageDecision {
        image,
        parsed,
        considered,
    }
}

/// Whether a rule that matches can take part at all; `Won` until a better one is seen.
fn reach(rule: RuleRef<'_>, pod: &PodFacts<'_>, counting: Counting) -> Verdict {
    let namespace = |key: &str| label(pod.namespace_labels, key);
    if rule.is_audit() && counting == Counting::Enforced {
        Verdict::AuditOnly
    } else if rule
        .namespace_selector()
        .is_some_and(|s| !s.matches(namespace))
    {
        Verdict::OtherNamespace
    } else if rule
        .pod_selector()
        .is_some_and(|s| !s.matches(|key| label(pod.labels, key)))
    {
        Verdict::OtherPod
    } else {
        Verdict::Won
    }
}

/// One Pod has one account: the earliest rule in table order has its way, but no tenant's rule before
/// a final one.
fn choose_account<'t>(rules: &[RuleRef<'t>]) -> Option<AccountNeed<'t>> {
    let mut asking: Vec<_> = rules
        .iter()
        .filter_map(|r| Some((*r, r.account()?)))
        .collect();
    let final_asks = asking.iter().any(|(rule, _)| rule.is_final());
    let yields = |rule: &RuleRef<'_>| final_asks && rule.policy().scope != Scope::Cluster;
    asking.sort_by_key(|(rule, _)| (yields(rule), rule.id()));
    let (rule, account) = *asking.first()?;
    let others = asking
        .iter()
        .filter(|(_, other)| other.name != account.name);
    Some(AccountNeed {
        account,
        rule,
        overruled: others.map(|(rule, _)| *rule).collect(),
    })
}

#[cfg(test)]
mod tests;
