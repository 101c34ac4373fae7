//! Table + namespaces + accounts + scope + presence: all that a decision reads, published whole.
//!
//! A request loads one snapshot once; nothing in it changes afterwards.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::policy::decide::{Label, label};
use crate::policy::table::Table;
use crate::status::Presence;

/// The label by which a namespace or Pod opts in or out.
pub const INJECT_LABEL: &str = "pullpass.dev/inject";
/// The label that every namespace has.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Everything that a decision reads. Cheap to clone: a change of one part shares the others.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The rules.
    pub table: Arc<Table>,
    /// The namespaces' labels.
    pub namespaces: Arc<Namespaces>,
    /// The service accounts.
    pub accounts: Arc<Accounts>,
    /// Which namespaces and Pods are left alone.
    pub scope: ScopeOptions,
    /// Which Secrets are missing that Pods are held for. Without a cluster nothing is known of any, and
    /// nobody is held.
    pub presence: Presence,
}

/// How much is known of objects that nobody gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// They may exist all the same: manifests name a few of a cluster's objects.
    #[default]
    Partial,
    /// They do not exist, or came into being this moment: a cluster is watched.
    Whole,
}

/// Labels of namespaces. A clone shares them: it costs two counters a namespace.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    labels: HashMap<Arc<str>, Arc<[Label<'static>]>>,
    coverage: Coverage,
}

impl Namespaces {
    /// None yet.
    #[must_use]
    pub fn new(coverage: Coverage) -> Self {
        Self {
            labels: HashMap::new(),
            coverage,
        }
    }

    /// Gives a namespace its labels; `kubernetes.io/metadata.name` is added.
    pub fn insert(&mut self, name: &str, labels: Vec<Label<'static>>) {
        self.labels
            .insert(name.into(), with_name(name, labels).into());
    }

    /// Whether a namespace has exactly these labels already.
    #[must_use]
    pub fn has(&self, name: &str, labels: &[Label<'static>]) -> bool {
        self.labels.get(name).is_some_and(|known| {
            known[..] == *labels || known[..] == *with_name(name, labels.to_vec())
        })
    }

    /// A namespace is gone.
    pub fn remove(&mut self, name: &str) {
        self.labels.remove(name);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.labels.keys()
    }

    /// Whether a namespace should be here and is not: a watch may bring it any moment.
    #[must_use]
    pub fn lacks(&self, name: &str) -> bool {
        self.coverage == Coverage::Whole && !self.labels.contains_key(name)
    }

    /// A namespace's labels. One that nobody gave has only its name's.
    #[must_use]
    pub fn labels<'a>(&'a self, name: &'a str) -> Cow<'a, [Label<'a>]> {
        match self.labels.get(name) {
            Some(labels) => Cow::Borrowed(labels),
            None => Cow::Owned(vec![(NAME_LABEL.into(), name.into())]),
        }
    }
}

/// What decisions need of a service account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Names in `imagePullSecrets`.
    pub image_pull_secrets: Vec<Box<str>>,
    /// Names in `secrets`.
    pub secrets: Vec<Box<str>>,
    /// `automountServiceAccountToken`.
    pub automount: Option<bool>,
    /// Whether `kubernetes.io/enforce-mountable-secrets` says true.
    pub enforcing: bool,
}

fn with_name(name: &str, mut labels: Vec<Label<'static>>) -> Vec<Label<'static>> {
    if label(&labels, NAME_LABEL).is_none() {
        labels.push((NAME_LABEL.into(), name.to_owned().into()));
    }
    labels
}

/// Service accounts by namespace and name. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    by_namespace: HashMap<Arc<str>, Arc<HashMap<Box<str>, Account>>>,
    coverage: Coverage,
}

/// What is known of a service account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountLookup<'s> {
    /// It exists.
    Known(&'s Account),
    /// Nothing is known of its namespace's accounts: it is taken to exist, with no pull secrets.
    Assumed,
    /// Its namespace's accounts are known, and it is none of them.
    Missing,
}

impl Accounts {
    /// None yet.
    #[must_use]
    pub fn new(coverage: Coverage) -> Self {
        Self {
            by_namespace: HashMap::new(),
            coverage,
        }
    }

    /// Adds an account. From then on its namespace's accounts are complete.
    pub fn insert(&mut self, namespace: &str, name: &str, account: Account) {
        let accounts = self.by_namespace.entry(namespace.into()).or_default();
        Arc::make_mut(accounts).insert(name.into(), account);
    }

    /// An account is gone.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        let Some(accounts) = self.by_namespace.get_mut(namespace) else {
            return;
        };
        let accounts = Arc::make_mut(accounts);
        accounts.remove(name);
        if accounts.is_empty() && self.coverage == Coverage::Whole {
            self.by_namespace.remove(namespace);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_namespace
            .values()
            .map(|accounts| accounts.len())
            .sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an account should be here and is not: a watch may bring it any moment.
    #[must_use]
    pub fn lacks(&self, namespace: &str, name: &str) -> bool {
        self.coverage == Coverage::Whole && self.get(namespace, name) == AccountLookup::Missing
    }

    /// Looks an account up.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> AccountLookup<'_> {
        match (self.by_namespace.get(namespace), self.coverage) {
            (None, Coverage::Partial) => AccountLookup::Assumed,
            (None, Coverage::Whole) => AccountLookup::Missing,
            (Some(accounts), _) => accounts
                .get(name)
                .map_or(AccountLookup::Missing, AccountLookup::Known),
        }
    }
}

/// Whether a cluster's namespaces are in unless they say no, or out unless they say yes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamespaceMode {
    /// All but those labelled `pullpass.dev/inject: disabled`.
    #[default]
    OptOut,
    /// Only those labelled `pullpass.dev/inject: enabled`.
    OptIn,
}

/// Which namespaces and Pods are left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeOptions {
    /// Opt-in or opt-out.
    pub mode: NamespaceMode,
    /// pullpass's own namespace.
    pub own_namespace: Arc<str>,
    /// Namespaces excluded by the administrator.
    pub excluded: Vec<String>,
    /// A Pod's label cannot opt out; a namespace's still does.
    pub ignore_opt_out: bool,
}

impl Default for ScopeOptions {
    fn default() -> Self {
        Self {
            mode: NamespaceMode::OptOut,
            own_namespace: "pullpass-system".into(),
            excluded: Vec::new(),
            ignore_opt_out: false,
        }
    }
}

/// Why a Pod is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// `kube-system`.
    KubeSystem,
    /// pullpass's own namespace.
    OwnNamespace,
    /// Named by `--exclude-namespace`.
    ExcludedNamespace,
    /// The namespace's label says `disabled`.
    NamespaceOptedOut,
    /// Opt-in, and the namespace's label does not say `enabled`.
    NamespaceNotOptedIn,
    /// The Pod's label says `disabled`.
    PodOptedOut,
    /// A mirror Pod.
    MirrorPod,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KubeSystem => "the namespace kube-system is always left alone",
            Self::OwnNamespace => "pullpass's own namespace is always left alone",
            Self::ExcludedNamespace => "the namespace is excluded by --exclude-namespace",
            Self::NamespaceOptedOut => "the namespace is labelled pullpass.dev/inject: disabled",
            Self::NamespaceNotOptedIn => {
                "the namespace is not labelled pullpass.dev/inject: enabled"
            }
            Self::PodOptedOut => "the Pod is labelled pullpass.dev/inject: disabled",
            Self::MirrorPod => "a mirror Pod may not reference secrets",
        })
    }
}

impl ScopeOptions {
    /// Why the Pods of a namespace are left alone, if they are.
    #[must_use]
    pub fn excludes_namespace(&self, name: &str, labels: &[Label<'_>]) -> Option<Exclusion> {
        let inject = label(labels, INJECT_LABEL);
        if name == "kube-system" {
            Some(Exclusion::KubeSystem)
        } else if *name == *self.own_namespace {
            Some(Exclusion::OwnNamespace)
        } else if self.excluded.iter().any(|excluded| excluded == name) {
            Some(Exclusion::ExcludedNamespace)
        } else {
            match self.mode {
                NamespaceMode::OptIn if inject != Some("enabled") => {
                    Some(Exclusion::NamespaceNotOptedIn)
                }
                NamespaceMode::OptOut if inject == Some("disabled") => {
                    Some(Exclusion::NamespaceOptedOut)
                }
                _ => None,
            }
        }
    }

    /// Why a Pod is left alone, if it is.
    #[must_use]
    pub fn excludes(
        &self,
        namespace: &str,
        namespace_labels: &[Label<'_>],
        pod_labels: &[Label<'_>],
        is_mirror: bool,
    ) -> Option<Exclusion> {
        if is_mirror {
            return Some(Exclusion::MirrorPod);
        }
        self.excludes_namespace(namespace, namespace_labels)
            .or_else(|| {
                self.pod_opts_out(pod_labels)
                    .then_some(Exclusion::PodOptedOut)
            })
    }

    /// Whether a Pod's label leaves it alone, wherever it is.
    #[must_use]
    pub fn pod_opts_out(&self, pod_labels: &[Label<'_>]) -> bool {
        !self.ignore_opt_out && label(pod_labels, INJECT_LABEL) == Some("disabled")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(value: &'static str) -> Vec<Label<'static>> {
        match value {
            "" => Vec::new(),
            value => vec![(INJECT_LABEL.into(), value.into())],
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "the table has that many rows")]
    fn a_pod_is_left_alone_for_a_reason() {
        use Exclusion::*;
        use NamespaceMode::{OptIn, OptOut};
        for (mode, ignore, namespace, its_label, pods_label, want, why) in [
            (OptOut, false, "web", "", "", None, "nothing is said"),
            (
                OptOut,
                false,
                "web",
                "enabled",
                "",
                None,
                "as much as said yes",
            ),
            (
                OptOut,
                false,
                "web",
                "disabled",
                "",
                Some(NamespaceOptedOut),
                "the namespace says no",
            ),
            (
                OptOut,
                false,
                "web",
                "Disabled",
                "",
                None,
                "in these letters alone",
            ),
            (
                OptOut,
                false,
                "web",
                "",
                "disabled",
                Some(PodOptedOut),
                "the Pod says no",
            ),
            (
                OptOut,
                false,
                "web",
                "",
                "enabled",
                None,
                "the Pod says yes",
            ),
            (
                OptOut,
                false,
                "web",
                "disabled",
                "enabled",
                Some(NamespaceOptedOut),
                "in vain",
            ),
            (
                OptOut,
                true,
                "web",
                "",
                "disabled",
                None,
                "a Pod's no is ignored",
            ),
            (
                OptOut,
                true,
                "web",
                "disabled",
                "",
                Some(NamespaceOptedOut),
                "a namespace's is not",
            ),
            (
                OptIn,
                false,
                "web",
                "",
                "",
                Some(NamespaceNotOptedIn),
                "nothing is said",
            ),
            (
                OptIn,
                false,
                "web",
                "disabled",
                "",
                Some(NamespaceNotOptedIn),
                "or no",
            ),
            (
                OptIn,
                false,
                "web",
                "",
                "enabled",
                Some(NamespaceNotOptedIn),
                "or yes by the Pod alone",
            ),
            (
                OptIn,
                false,
                "web",
                "enabled",
                "",
                None,
                "the namespace says yes",
            ),
            (
                OptIn,
                false,
                "web",
                "enabled",
                "disabled",
                Some(PodOptedOut),
                "and the Pod no",
            ),
            (
                OptIn,
                true,
                "web",
                "enabled",
                "disabled",
                None,
                "which is ignored",
            ),
            (
                OptIn,
                false,
                "kube-system",
                "enabled",
                "",
                Some(KubeSystem),
                "always",
            ),
            (
                OptOut,
                false,
                "pullpass-system",
                "",
                "",
                Some(OwnNamespace),
                "always",
            ),
            (
                OptIn,
                true,
                "legacy",
                "enabled",
                "",
                Some(ExcludedNamespace),
                "by the administrator",
            ),
            (OptOut, false, "legacy-2", "", "", None, "a name is whole"),
        ] {
            let scope = ScopeOptions {
                mode,
                ignore_opt_out: ignore,
                excluded: vec!["legacy".into()],
                ..ScopeOptions::default()
            };
            let (its, pods) = (labels(its_label), labels(pods_label));
            let got = scope.excludes(namespace, &its, &pods, false);
            assert_eq!(
                got, want,
                "{mode:?} {namespace} {its_label:?} {pods_label:?}: {why}"
            );
            let mirror = scope.excludes(namespace, &its, &pods, true);
            assert_eq!(mirror, Some(MirrorPod), "a mirror Pod is never touched");
        }
    }

    #[test]
    fn a_namespace_nobody_gave_has_its_names_label_alone() {
        let mut namespaces = Namespaces::default();
        namespaces.insert("web", vec![("team".into(), "build".into())]);
        namespaces.insert("odd", vec![(NAME_LABEL.into(), "other".into())]);
        for (name, key, want, why) in [
            ("web", "team", Some("build"), "a label that was given"),
            ("web", NAME_LABEL, Some("web"), "its name is added"),
            ("odd", NAME_LABEL, Some("other"), "unless it was given"),
            ("new", NAME_LABEL, Some("new"), "a namespace nobody gave"),
            ("new", "team", None, "has no other label"),
        ] {
            assert_eq!(
                label(&namespaces.labels(name), key),
                want,
                "{name} {key}: {why}"
            );
        }
    }

    #[test]
    fn in_a_watched_cluster_what_is_not_there_is_lacked() {
        let mut namespaces = Namespaces::new(Coverage::Whole);
        namespaces.insert("web", Vec::new());
        let mut accounts = Accounts::new(Coverage::Whole);
        accounts.insert("web", "builder", Account::default());
        assert!(!namespaces.lacks("web") && namespaces.lacks("new"));
        assert!(!Namespaces::default().lacks("new"), "manifests are partial");
        for (namespace, name, want) in [
            ("web", "builder", false),
            ("web", "default", true),
            ("new", "default", true),
        ] {
            assert_eq!(accounts.lacks(namespace, name), want, "{namespace}/{name}");
            assert!(
                !Accounts::default().lacks(namespace, name),
                "manifests are partial"
            );
        }
        let before = accounts.clone();
        accounts.remove("web", "builder");
        assert_eq!(accounts.get("web", "builder"), AccountLookup::Missing);
        assert!(
            accounts.is_empty() && before.len() == 1,
            "a clone keeps what it had"
        );
    }

    #[test]
    fn one_account_given_makes_its_namespaces_accounts_complete() {
        let mut accounts = Accounts::default();
        accounts.insert("web", "builder", Account::default());
        for (namespace, name, want, why) in [
            (
                "web",
                "builder",
                AccountLookup::Known(&Account::default()),
                "it was given",
            ),
            ("web", "default", AccountLookup::Missing, "another was"),
            ("new", "default", AccountLookup::Assumed, "none was"),
        ] {
            assert_eq!(
                accounts.get(namespace, name),
                want,
                "{namespace}/{name}: {why}"
            );
        }
    }
}
