//! A Pod that is to be created + a snapshot → what becomes of it.
//!
//! Joins the decision with what the Pod's accounts make of it. Never reads what an earlier call wrote but
//! as part of the Pod.

use std::sync::Arc;

use super::line::{join_bounded, quoted};
use super::patch::{self, Changes};
use super::review::{Pod, Spec};
use super::service_account::{self, AccountPlan, Subject};
use super::{Admission, ImageCounts, Outcome, Warning, audit, lack};
use crate::diagnostic::Code;
use crate::names::SecretName;
use crate::policy::decide::{Counting, Decision, ImageUse, Label, PodFacts, SecretNeed, decide};
use crate::policy::document::{EnvFrom, EnvFromKind};
use crate::policy::table::{RuleRef, Table};
use crate::snapshot::{Account, Snapshot};

/// What becomes of a Pod that is to be created.
#[must_use]
pub fn admit(pod: &Pod<'_>, namespace: &str, snapshot: &Snapshot) -> Admission {
    let namespace_labels = snapshot.namespaces.labels(namespace);
    if let Some(excluded) = excluded(pod, namespace, &namespace_labels, snapshot) {
        return excluded;
    }
    let Some(spec) = &pod.spec else {
        return Admission::invalid("the Pod has no `spec`");
    };
    let images = spec.images();
    let facts = PodFacts {
        namespace,
        namespace_labels: &namespace_labels,
        labels: pod.labels(),
        images: &images,
    };
    let subject = Subject {
        pod,
        spec,
        namespace,
        account: spec.account(),
    };
    let decided = Decided::new(subject, &facts, snapshot, Counting::Enforced);
    let mut lacks = lack::namespace(namespace, None, false, snapshot);
    lack::accounts(subject, &decided, snapshot, &mut lacks);
    let holds = holds(&decided.decision, spec, &snapshot.table);
    let lacking = |name: &&SecretName| snapshot.presence.lacks(namespace, name);
    let held: Vec<&SecretName> = holds.iter().copied().filter(lacking).collect();
    let would = (snapshot.table.has_audit())
        .then(|| audit::differences(&decided, subject, &facts, snapshot));
    let mut admission = decided.admission(pod, spec, !held.is_empty());
    admission.lacks = lacks;
    if admission.denial.is_none() {
        let names = |names: &[&SecretName]| names.iter().map(ToString::to_string).collect();
        admission.holds = names(&holds);
        admission.held = names(&held);
    }
    if let Some(would) = would {
        would.tell(&mut admission);
    }
    admission
}

/// The answer for a Pod that is left alone.
pub(super) fn excluded(
    pod: &Pod<'_>,
    namespace: &str,
    labels: &[Label<'_>],
    snapshot: &Snapshot,
) -> Option<Admission> {
    let scope = &snapshot.scope;
    let exclusion = scope.excludes(namespace, labels, pod.labels(), pod.is_mirror())?;
    let pod_opts_out = scope.pod_opts_out(pod.labels());
    Some(Admission {
        exclusion: Some(exclusion),
        lacks: lack::namespace(namespace, Some(exclusion), pod_opts_out, snapshot),
        ..Admission::unchanged(Outcome::Excluded)
    })
}

/// A decision, and what the Pod's accounts make of it.
pub(super) struct Decided<'s, 'a> {
    /// Without what an enforcing account keeps from the Pod.
    pub decision: Decision<'s, 'a>,
    pub account: AccountPlan<'s, 's>,
    warnings: Vec<Warning>,
}

impl<'s, 'a> Decided<'s, 'a> {
    pub(super) fn new(
        subject: Subject<'_>,
        facts: &PodFacts<'a>,
        snapshot: &'s Snapshot,
        counting: Counting,
    ) -> Self {
        let mut decision = decide(&snapshot.table, facts, counting);
        let mut warnings = unreadable_images(&decision);
        let need = decision.account.as_ref();
        let account = service_account::plan(subject, need, &snapshot.accounts, &mut warnings);
        if let Some((enforcing, name)) = &account.enforcing {
            keep_listed(enforcing, name, &mut decision, &mut warnings);
        }
        Self {
            decision,
            account,
            warnings,
        }
    }

    fn admission(self, pod: &Pod<'_>, spec: &Spec<'_>, held: bool) -> Admission {
        let Self {
            decision,
            account,
            warnings,
        } = self;
        let rules: Vec<String> = decision.rules.iter().map(ToString::to_string).collect();
        let joined = join_bounded(&rules);
        let mut admission = Admission {
            warnings,
            audit: annotations(&decision, &account, &joined),
            rules,
            images: count_images(&decision),
            account: account.change,
            ..Admission::unchanged(Outcome::Unchanged)
        };
        if let Some(denial) = account.denial {
            admission.outcome = Outcome::Denied;
            admission.denial = Some(denial);
            return admission;
        }
        let changes = Changes {
            secrets: &decision.secrets,
            account: &account,
            env_from: &decision.env_from,
            held,
            rules: &joined,
        };
        admission.patch = patch::build(pod, spec, &changes);
        if !admission.patch.is_empty() {
            admission.outcome = Outcome::Patched;
        }
        admission.secrets = count_secrets(spec, &decision.secrets);
        admission
    }
}

/// A warning for each image that does not parse.
pub(super) fn unreadable_images(decision: &Decision<'_, '_>) -> Vec<Warning> {
    let images = decision.images.iter().filter_map(|image| {
        let error = image.parsed.as_ref().err()?;
        let ImageUse { slot, text } = image.image;
        let message = format!("`{slot}` {} is no image reference: {error}", quoted(text));
        Some(Warning::new(Code::ImageUnreadable, message))
    });
    images.collect()
}

/// An enforcing account bounds what may be injected: the API server refuses the rest of the Pod with it.
fn keep_listed(
    account: &Account,
    name: &str,
    decision: &mut Decision<'_, '_>,
    warnings: &mut Vec<Warning>,
) {
    let mut warn = |what: &str, secret: &str, rule: RuleRef<'_>, field: &str| {
        let message = format!(
            "{what} `{secret}` of rule `{rule}` is not injected: service account {} enforces mountable \
             secrets and does not list it in `{field}`",
            quoted(name),
        );
        warnings.push(Warning::new(Code::AccountDoesNotList, message));
    };
    decision.secrets.retain(|need| {
        let listed = account.pulls(need.name.as_str());
        if !listed {
            warn(
                "pull secret",
                need.name.as_str(),
                need.rule,
                "imagePullSecrets",
            );
        }
        listed
    });
    let mut told: Vec<&str> = Vec::new();
    decision.env_from.retain(|need| {
        let EnvFrom { from, name, .. } = need.source;
        let listed = *from != EnvFromKind::Secret || account.mounts(name);
        if !listed && !told.contains(&&**name) {
            warn("`envFrom` Secret", name, need.rule, "secrets");
            told.push(name);
        }
        listed
    });
}

/// For the audit log. They state the decision, not the patch: a second call has to repeat them, because
/// the API server drops another value with a line in its log.
fn annotations(
    decision: &Decision<'_, '_>,
    account: &AccountPlan<'_, '_>,
    rules: &str,
) -> Vec<(&'static str, String)> {
    if rules.is_empty() {
        return Vec::new();
    }
    let mut policies: Vec<&str> = Vec::new();
    for rule in &decision.rules {
        let name = &*rule.policy().name;
        if policies.last() != Some(&name) && !policies.contains(&name) {
            policies.push(name);
        }
    }
    let mut annotations = vec![
        ("rules", rules.to_owned()),
        ("policy", join_bounded(policies)),
    ];
    if !decision.secrets.is_empty() {
        let secrets = decision.secrets.iter().map(|need| need.name.as_str());
        annotations.push(("secrets", join_bounded(secrets)));
    }
    if let Some(account) = account.settled {
        annotations.push(("service-account", account.to_owned()));
    }
    annotations
}

pub(super) fn count_images(decision: &Decision<'_, '_>) -> ImageCounts {
    let mut counts = ImageCounts::default();
    for image in &decision.images {
        let count = match (&image.parsed, image.winners().next()) {
            (Err(_), _) => &mut counts.unreadable,
            (Ok(_), Some(_)) => &mut counts.matched,
            (Ok(_), None) => &mut counts.unmatched,
        };
        *count += 1;
    }
    counts
}

/// How many pull secrets each policy adds that the Pod has not.
fn count_secrets(spec: &Spec<'_>, needs: &[SecretNeed<'_>]) -> Vec<(Arc<str>, u32)> {
    let mut counts: Vec<(Arc<str>, u32)> = Vec::new();
    for need in needs {
        if spec.pull_secrets().any(|name| name == need.name.as_str()) {
            continue;
        }
        let policy = &need.rule.policy().name;
        match counts.iter_mut().find(|(name, _)| name == policy) {
            Some((_, count)) => *count += 1,
            None => counts.push((Arc::clone(policy), 1)),
        }
    }
    counts
}

/// The Secrets to hold the Pod for while they are not there, unless it is one that is never held: a
/// bound one (the API server would refuse it) or a critical one. By the class's name: the API server
/// gives these priorities to no Pod without it, and nobody else may make a class called `system-…`.
fn holds<'t>(
    decision: &Decision<'t, '_>,
    spec: &Spec<'_>,
    table: &'t Table,
) -> Vec<&'t SecretName> {
    let critical = matches!(
        &*spec.priority_class_name,
        "system-node-critical" | "system-cluster-critical"
    );
    if critical || !spec.node_name.is_empty() {
        return Vec::new();
    }
    decision.holds(table).collect()
}
