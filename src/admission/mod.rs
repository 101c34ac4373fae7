//! AdmissionReview in, AdmissionReview out: the webhook's whole answer as a function of its input.
//!
//! bytes → [`review`] → `decide` → `patch` → bytes. Stateless, no I/O, never panics. The command line
//! calls [`admit`] with the same Pods from files.

mod patch;
pub mod response;
pub mod review;
mod service_account;

pub use patch::RULES_ANNOTATION;

use std::fmt;
use std::sync::Arc;

use json_patch::Patch;

use crate::diagnostic::Code;
use crate::policy::decide::{Counting, Decision, EnvNeed, ImageUse, PodFacts, SecretNeed, decide};
use crate::policy::document::EnvFromKind;
use crate::policy::table::RuleRef;
use crate::snapshot::{Exclusion, Snapshot};
use patch::Changes;
use response::Response;
use review::{BareReview, Pod, Review, Spec, read_raw};
use service_account::AccountPlan;

/// The one version of AdmissionReview that is spoken.
pub const REVIEW_VERSION: &str = "admission.k8s.io/v1";
/// The longest value of an annotation.
const MAX_ANNOTATION: usize = 1024;

/// The answer to a review, and what it says to logs and metrics.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The AdmissionReview to send back, as JSON.
    pub body: Vec<u8>,
    /// What happened.
    pub facts: Facts,
}

/// What happened to one review. Holds names only, never a secret's value.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What was asked.
    pub operation: Operation,
    /// What was answered.
    pub outcome: Outcome,
    /// The code of every warning, also of those that did not fit.
    pub warnings: Vec<Code>,
    /// What became of the images.
    pub images: ImageCounts,
    /// How many pull secrets each policy injected.
    pub secrets: Vec<(Arc<str>, u32)>,
    /// What became of the service account.
    pub account: Option<AccountChange>,
    /// The request's uid.
    pub uid: String,
    /// The request's namespace.
    pub namespace: String,
    /// The Pod's name, or its prefix.
    pub pod: String,
    /// The rules that applied.
    pub rules: String,
}

macro_rules! words {
    ($( $(#[doc = $doc:literal])+ $name:ident { $( $(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal, )+ } )+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[doc = $variant_doc])+ $variant, )+ }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word that metrics and logs use.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+ };
}

words! {
    /// What a request does to its object. Closed: Kubernetes has these four.
    Operation {
        /// A new object.
        Create = "CREATE",
        /// A change.
        Update = "UPDATE",
        /// A removal.
        Delete = "DELETE",
        /// A connection, as `kubectl exec` makes.
        Connect = "CONNECT",
    }

    /// How a review was answered. Closed: metrics and their alerts name them.
    Outcome {
        /// With a patch.
        Patched = "patched",
        /// With nothing to change.
        Unchanged = "unchanged",
        /// The Pod is out of scope.
        Excluded = "excluded",
        /// With a refusal.
        Denied = "denied",
        /// The request holds no Pod that can be read.
        Invalid = "invalid",
    }

    /// What became of a Pod's service account. Closed: metrics name them.
    AccountChange {
        /// It was switched.
        Switched = "switched",
        /// The account to switch to does not exist.
        Missing = "missing",
        /// The API server would refuse the Pod under it.
        Refused = "refused",
    }
}

/// What became of a Pod's images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageCounts {
    /// A rule won them.
    pub matched: u32,
    /// No rule is about them.
    pub unmatched: u32,
    /// Their reference does not parse.
    pub unreadable: u32,
}

/// A body that is no AdmissionReview we can answer: 400 and one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadReview {
    /// Not JSON, or not of the shape of a review.
    #[error("the body is not an AdmissionReview in JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    /// Another kind.
    #[error("the body is a {0:?}, not an AdmissionReview")]
    OtherKind(String),
    /// Another version.
    #[error("the AdmissionReview is of version {0:?}; only admission.k8s.io/v1 is spoken here")]
    OtherVersion(String),
    /// A response, or nothing.
    #[error("the AdmissionReview has no request")]
    NoRequest,
}

/// One warning for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Its kind.
    pub code: Code,
    /// What it says, in one line.
    pub message: String,
}

impl Warning {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// What becomes of one Pod.
#[derive(Debug)]
pub struct Admission {
    /// How it is answered.
    pub outcome: Outcome,
    /// Why it is left alone, if it is.
    pub exclusion: Option<Exclusion>,
    /// What to change.
    pub patch: Patch,
    /// Why it is refused, if it is.
    pub denial: Option<String>,
    /// What to tell the client.
    pub warnings: Vec<Warning>,
    /// For the API server's audit log: key and value.
    pub audit: Vec<(&'static str, String)>,
    /// `policy/rule` of each rule that applied.
    pub rules: Vec<String>,
    /// The Secrets for which the Pod would be held while they are not there.
    pub holds: Vec<String>,
    /// What became of its images.
    pub images: ImageCounts,
    /// How many pull secrets each policy injected.
    pub secrets: Vec<(Arc<str>, u32)>,
    /// What became of its account.
    pub account: Option<AccountChange>,
}

impl Admission {
    fn unchanged(outcome: Outcome) -> Self {
        Self {
            outcome,
            exclusion: None,
            patch: Patch(Vec::new()),
            denial: None,
            warnings: Vec::new(),
            audit: Vec::new(),
            rules: Vec::new(),
            holds: Vec::new(),
            images: ImageCounts::default(),
            secrets: Vec::new(),
            account: None,
        }
    }

    fn invalid(message: impl Into<String>) -> Self {
        let warnings = vec![Warning::new(Code::NotAPod, message)];
        Self {
            warnings,
            ..Self::unchanged(Outcome::Invalid)
        }
    }
}

/// Answers a review.
pub fn answer(body: &[u8], snapshot: &Snapshot) -> Result<Answer, BadReview> {
    let review = match serde_json::from_slice::<Review<'_>>(body) {
        Ok(review) => review,
        Err(error) => return answer_unreadable(body, error),
    };
    check_version(&review.api_version, &review.kind)?;
    let request = review.request.as_ref().ok_or(BadReview::NoRequest)?;
    let operation = operation(&request.operation);
    let empty = Pod::default();
    let pod = request.object.as_ref().unwrap_or(&empty);
    let namespace = namespace(&request.namespace, pod);
    let kind = &request.kind;
    let is_pod = &*kind.kind == "Pod" && kind.group.is_empty() && &*kind.version == "v1";
    let admission = match operation {
        Operation::Delete | Operation::Connect => Admission::unchanged(Outcome::Unchanged),
        _ if !is_pod => Admission::invalid(format!(
            "the request is about a {}, and only Pods are looked at",
            if kind.kind.is_empty() {
                "nameless kind"
            } else {
                &*kind.kind
            },
        )),
        _ if request.object.is_none() => Admission::invalid("the request has no object"),
        Operation::Create => admit(pod, namespace, snapshot),
        Operation::Update => {
            let old: Pod<'_> = read_raw(request.old_object);
            warn_of_update(pod, &old, namespace, snapshot)
        }
    };
    Ok(finish(
        &request.uid,
        operation,
        namespace,
        pod.name(),
        admission,
    ))
}

/// A review whose object is of a shape that no Pod has: allowed, with a warning, if the review itself
/// can be read.
fn answer_unreadable(body: &[u8], error: serde_json::Error) -> Result<Answer, BadReview> {
    let Ok(review) = serde_json::from_slice::<BareReview<'_>>(body) else {
        return Err(BadReview::NotJson(error));
    };
    check_version(&review.api_version, &review.kind)?;
    let request = review.request.as_ref().ok_or(BadReview::NoRequest)?;
    let message = format!("the object cannot be read as a Pod, so nothing is injected: {error}");
    let admission = Admission::invalid(message);
    let operation = operation(&request.operation);
    Ok(finish(
        &request.uid,
        operation,
        &request.namespace,
        "",
        admission,
    ))
}

fn check_version(api_version: &str, kind: &str) -> Result<(), BadReview> {
    if kind != "AdmissionReview" {
        return Err(BadReview::OtherKind(one_line(kind, 64)));
    }
    if api_version != REVIEW_VERSION {
        return Err(BadReview::OtherVersion(one_line(api_version, 64)));
    }
    Ok(())
}

/// An operation that is none of the others is taken for the first, as every old client's is.
fn operation(text: &str) -> Operation {
    Operation::ALL
        .iter()
        .copied()
        .find(|o| o.as_str() == text)
        .unwrap_or(Operation::Create)
}

fn namespace<'a>(requested: &'a str, pod: &'a Pod<'_>) -> &'a str {
    let own = pod
        .metadata
        .as_ref()
        .map_or("", |metadata| &*metadata.namespace);
    [requested, own]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or("default")
}

fn finish(uid: &str, operation: Operation, namespace: &str, pod: &str, a: Admission) -> Answer {
    let warnings = response::bounded_warnings(&a.warnings);
    let body = Response {
        uid,
        denial: a.denial.as_deref(),
        patch: &a.patch,
        warnings: &warnings,
        audit: &a.audit,
    }
    .to_json();
    let facts = Facts {
        operation,
        outcome: a.outcome,
        warnings: a.warnings.iter().map(|warning| warning.code).collect(),
        images: a.images,
        secrets: a.secrets,
        account: a.account,
        uid: uid.to_owned(),
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        rules: a.rules.join(","),
    };
    Answer { body, facts }
}

/// What becomes of a Pod that is to be created.
#[must_use]
pub fn admit(pod: &Pod<'_>, namespace: &str, snapshot: &Snapshot) -> Admission {
    let namespace_labels = snapshot.namespaces.labels(namespace);
    let excluded =
        snapshot
            .scope
            .excludes(namespace, &namespace_labels, pod.labels(), pod.is_mirror());
    if let Some(exclusion) = excluded {
        return Admission {
            exclusion: Some(exclusion),
            ..Admission::unchanged(Outcome::Excluded)
        };
    }
    let Some(spec) = &pod.spec else {
        return Admission::invalid("the Pod has no spec");
    };
    let images = spec.images();
    let facts = PodFacts {
        namespace,
        namespace_labels: &namespace_labels,
        labels: pod.labels(),
        images: &images,
    };
    let decided = Decided::new(pod, spec, &facts, snapshot, Counting::Enforced);
    let mut admission = decided.admission(pod, spec);
    admission.holds = holds(&decided.decision, spec, snapshot);
    if snapshot.table.has_audit() {
        let all = Decided::new(pod, spec, &facts, snapshot, Counting::All);
        audit(&decided, &all, &mut admission);
    }
    admission
}

/// A decision, and what the Pod's accounts make of it.
struct Decided<'s, 'a> {
    decision: Decision<'s, 'a>,
    account: AccountPlan<'s, 's>,
    /// The pull secrets that may be injected.
    secrets: Vec<SecretNeed<'s>>,
    /// The environment sources that may be injected.
    env_from: Vec<EnvNeed<'s>>,
    warnings: Vec<Warning>,
}

impl<'s, 'a> Decided<'s, 'a> {
    fn new(
        pod: &Pod<'_>,
        spec: &Spec<'_>,
        facts: &PodFacts<'a>,
        snapshot: &'s Snapshot,
        counting: Counting,
    ) -> Self {
        let decision = decide(&snapshot.table, facts, counting);
        let mut warnings = Vec::new();
        for image in &decision.images {
            if let Err(error) = &image.parsed {
                let ImageUse { slot, text } = image.image;
                let text = one_line(text, 100);
                let message = format!("{slot} `{text}` is no image reference: {error}");
                warnings.push(Warning::new(Code::ImageUnreadable, message));
            }
        }
        let account = service_account::plan(
            pod,
            spec,
            facts.namespace,
            decision.account.as_ref(),
            &snapshot.accounts,
            &mut warnings,
        );
        let mut this = Self {
            decision,
            account,
            secrets: Vec::new(),
            env_from: Vec::new(),
            warnings,
        };
        this.filter_by_account();
        this
    }

    /// An enforcing account bounds what may be injected: the API server refuses the rest of the Pod
    /// with it.
    fn filter_by_account(&mut self) {
        let Some((account, name)) = &self.account.enforcing else {
            self.secrets = self.decision.secrets.clone();
            self.env_from.clone_from(&self.decision.env_from);
            return;
        };
        for need in &self.decision.secrets {
            if account
                .image_pull_secrets
                .iter()
                .any(|listed| **listed == *need.name.as_str())
            {
                self.secrets.push(*need);
                continue;
            }
            self.warnings.push(Warning::new(
                Code::AccountDoesNotList,
                format!(
                    "pull secret {} ({}) is not injected: service account {name} enforces mountable \
                     secrets and does not list it in imagePullSecrets",
                    need.name, need.rule
                ),
            ));
        }
        for need in &self.decision.env_from {
            let source = need.source;
            let listed = source.from != EnvFromKind::Secret
                || account.secrets.iter().any(|listed| *listed == source.name);
            if listed {
                self.env_from.push(*need);
                continue;
            }
            self.warnings.push(Warning::new(
                Code::AccountDoesNotList,
                format!(
                    "envFrom Secret {} ({}) is not injected: service account {name} enforces \
                     mountable secrets and does not list it in secrets",
                    source.name, need.rule
                ),
            ));
        }
    }

    fn admission(&self, pod: &Pod<'_>, spec: &Spec<'_>) -> Admission {
        let rules: Vec<String> = self
            .decision
            .rules
            .iter()
            .map(ToString::to_string)
            .collect();
        let joined = join_bounded(&rules);
        let mut admission = Admission {
            warnings: self.warnings.clone(),
            audit: self.annotations(&joined),
            rules,
            images: count_images(&self.decision),
            account: self.account.change,
            ..Admission::unchanged(Outcome::Unchanged)
        };
        if let Some(denial) = &self.account.denial {
            admission.outcome = Outcome::Denied;
            admission.denial = Some(denial.clone());
            return admission;
        }
        let secrets: Vec<&str> = self.secrets.iter().map(|need| need.name.as_str()).collect();
        let changes = Changes {
            secrets: &secrets,
            account: &self.account,
            env_from: &self.env_from,
            rules: (!joined.is_empty()).then_some(&*joined),
        };
        admission.patch = patch::build(pod, spec, &changes);
        if !admission.patch.is_empty() {
            admission.outcome = Outcome::Patched;
        }
        admission.secrets = count_secrets(spec, &self.secrets);
        admission
    }

    /// They state the decision, not the patch: a second call has to repeat them, because the API
    /// server drops another value with a line in its log.
    fn annotations(&self, rules: &str) -> Vec<(&'static str, String)> {
        if rules.is_empty() {
            return Vec::new();
        }
        let mut annotations = vec![("rules", rules.to_owned())];
        let mut policies: Vec<String> = Vec::new();
        for rule in &self.decision.rules {
            if !policies.iter().any(|name| **name == *rule.policy().name) {
                policies.push(rule.policy().name.to_string());
            }
        }
        annotations.push(("policy", join_bounded(&policies)));
        let secrets: Vec<String> = self.secrets.iter().map(|n| n.name.to_string()).collect();
        if !secrets.is_empty() {
            annotations.push(("secrets", join_bounded(&secrets)));
        }
        if let Some(account) = self.account.settled {
            annotations.push(("service-account", account.to_owned()));
        }
        annotations
    }
}

fn count_images(decision: &Decision<'_, '_>) -> ImageCounts {
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
    let present = spec.image_pull_secrets.as_deref().unwrap_or_default();
    let mut counts: Vec<(Arc<str>, u32)> = Vec::new();
    for need in needs {
        if present
            .iter()
            .any(|entry| *entry.name == *need.name.as_str())
        {
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

/// The Secrets to hold the Pod for, unless it is one that is never held: a bound one (the API server
/// would refuse it) or a critical one.
fn holds(decision: &Decision<'_, '_>, spec: &Spec<'_>, snapshot: &Snapshot) -> Vec<String> {
    let critical = matches!(
        &*spec.priority_class_name,
        "system-node-critical" | "system-cluster-critical"
    );
    if critical || !spec.node_name.is_empty() {
        return Vec::new();
    }
    decision
        .holds(&snapshot.table)
        .map(ToString::to_string)
        .collect()
}

/// Says what the policies in `mode: Audit` would change.
fn audit(enforced: &Decided<'_, '_>, all: &Decided<'_, '_>, admission: &mut Admission) {
    let mut changes = Vec::new();
    let mut say = |change: String, rule: &dyn fmt::Display| {
        let message = format!("audit: {rule} would {change}");
        admission
            .warnings
            .push(Warning::new(Code::AuditOnly, message));
        changes.push(change);
    };
    for need in &all.secrets {
        if !enforced.secrets.iter().any(|other| other.name == need.name) {
            say(format!("add pull secret {}", need.name), &need.rule);
        }
    }
    for need in &enforced.secrets {
        if !all.secrets.iter().any(|other| other.name == need.name) {
            let winners = audit_rules(all);
            say(
                format!("take away pull secret {}", need.name),
                &join_bounded(&winners),
            );
        }
    }
    if let (Some(account), Some(need)) = (all.account.settled, &all.decision.account) {
        if enforced.account.settled != Some(account) {
            say(
                format!("switch the service account to {account}"),
                &need.rule,
            );
        }
    }
    if let (Some(why), None, Some(need)) = (
        &all.account.denial,
        &enforced.account.denial,
        &all.decision.account,
    ) {
        say(format!("refuse the Pod: {why}"), &need.rule);
    }
    for need in &all.env_from {
        let same = |o: &EnvNeed<'_>| o.slot == need.slot && o.source == need.source;
        if !enforced.env_from.iter().any(same) {
            let slot = need
                .slot
                .map_or_else(|| "all containers".to_owned(), |s| s.to_string());
            say(
                format!("add envFrom {} to {slot}", need.source.name),
                &need.rule,
            );
        }
    }
    if !changes.is_empty() {
        admission.audit.push(("audit", join_bounded(&changes)));
    }
}

fn audit_rules(all: &Decided<'_, '_>) -> Vec<String> {
    all.decision
        .rules
        .iter()
        .filter(|rule| rule.is_audit())
        .map(ToString::to_string)
        .collect()
}

/// An UPDATE cannot change pull secrets: the client is told what new containers lack.
fn warn_of_update(pod: &Pod<'_>, old: &Pod<'_>, namespace: &str, snapshot: &Snapshot) -> Admission {
    let namespace_labels = snapshot.namespaces.labels(namespace);
    let excluded =
        snapshot
            .scope
            .excludes(namespace, &namespace_labels, pod.labels(), pod.is_mirror());
    if let Some(exclusion) = excluded {
        return Admission {
            exclusion: Some(exclusion),
            ..Admission::unchanged(Outcome::Excluded)
        };
    }
    let Some(spec) = &pod.spec else {
        return Admission::invalid("the Pod has no spec");
    };
    let known: Vec<&str> = old.spec.iter().flat_map(container_names).collect();
    let images: Vec<ImageUse<'_>> = spec
        .images()
        .into_iter()
        .filter(|image| container_name(spec, image).is_some_and(|name| !known.contains(&name)))
        .collect();
    let facts = PodFacts {
        namespace,
        namespace_labels: &namespace_labels,
        labels: pod.labels(),
        images: &images,
    };
    let decision = decide(&snapshot.table, &facts, Counting::Enforced);
    let present = spec.image_pull_secrets.as_deref().unwrap_or_default();
    let mut admission = Admission::unchanged(Outcome::Unchanged);
    admission.images = count_images(&decision);
    for image in &decision.images {
        let text = one_line(image.image.text, 100);
        if let Err(error) = &image.parsed {
            let message = format!(
                "{} `{text}` is no image reference: {error}",
                image.image.slot
            );
            admission
                .warnings
                .push(Warning::new(Code::ImageUnreadable, message));
        }
        let needed = image
            .winners()
            .flat_map(|won| won.rule.secrets().iter().map(|s| (s, won.rule)));
        let needed: Vec<(_, RuleRef<'_>)> = needed.collect();
        for (secret, rule) in needed {
            if !present.iter().any(|entry| *entry.name == *secret.as_str()) {
                let message = format!(
                    "`{text}` needs pull secret {secret} ({rule}), which the Pod lacks and which \
                     cannot be added to a running Pod"
                );
                admission
                    .warnings
                    .push(Warning::new(Code::CannotChange, message));
            }
        }
    }
    admission
}

fn container_names<'s>(spec: &'s Spec<'_>) -> impl Iterator<Item = &'s str> {
    let all = spec.containers.iter().chain(spec.init_containers.iter());
    all.chain(spec.ephemeral_containers.iter())
        .map(|container| &*container.name)
}

/// The container's name that an image belongs to; none for a volume.
fn container_name<'s>(spec: &'s Spec<'_>, image: &ImageUse<'_>) -> Option<&'s str> {
    use crate::policy::decide::Slot;
    let container = match image.slot {
        Slot::Container(i) => spec.containers.get(i),
        Slot::InitContainer(i) => spec.init_containers.get(i),
        Slot::EphemeralContainer(i) => spec.ephemeral_containers.get(i),
        Slot::Volume(_) => None,
    };
    container.map(|container| &*container.name)
}

/// Joins names by commas; what does not fit is left out whole.
fn join_bounded(names: &[String]) -> String {
    let mut joined = String::new();
    for name in names {
        let comma = usize::from(!joined.is_empty());
        if joined.len() + comma + name.len() > MAX_ANNOTATION {
            break;
        }
        if comma == 1 {
            joined.push(',');
        }
        joined.push_str(name);
    }
    joined
}

/// A text of somebody else in one line of at most `max` bytes, control characters escaped.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    for c in text.chars() {
        // Characters that reorder a line are as good as control characters.
        let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || reorders {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        if line.len() > max {
            let end = line.floor_char_boundary(max.saturating_sub('…'.len_utf8()));
            line.truncate(end);
            line.push('…');
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests;
