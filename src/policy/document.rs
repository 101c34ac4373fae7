//! What a person wrote, checked: a `RegistryPolicy` with the place of everything a finding may point at.
//!
//! `parse` makes it from text, `table` compiles it into what the engine uses. Nothing here decides.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::class::Class;
use super::config_maps::ConfigMapName;
use super::pattern::Pattern;
use super::selector::Selector;
use crate::diagnostic::{Source, Span};
use crate::names::{AccountName, PolicyName, RuleName, SecretName};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// One `RegistryPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistryPolicy {
    /// The text it was read from.
    pub source: Arc<Source>,
    /// The part of the text that is this document.
    pub span: Span,
    /// The ConfigMap that holds it, if one does.
    pub config_map: Option<ConfigMapName>,
    /// Where it applies.
    pub scope: Scope,
    /// `metadata.name`.
    pub name: Spanned<PolicyName>,
    /// Whether it changes Pods or only says what it would change.
    pub mode: Mode,
    /// Its rules, in the order written.
    pub rules: Vec<Rule>,
    /// The credentials it declares.
    pub credentials: Vec<Credential>,
}

/// Where a policy applies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// In every namespace.
    Cluster,
    /// In its own namespace alone: a tenant's policy.
    Namespace(Arc<str>),
}

/// What a policy does with its decision. Closed: these are all there are in `pullpass.dev/v1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Changes Pods.
    #[default]
    Enforce,
    /// Decides, warns and counts, and changes nothing.
    Audit,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique in the policy.
    pub name: Spanned<RuleName>,
    /// Which images, or every Pod.
    pub subject: Subject,
    /// Which namespaces; all when absent.
    pub namespace_selector: Option<Selector>,
    /// Which Pods; all when absent.
    pub pod_selector: Option<Selector>,
    /// What it injects.
    pub inject: Inject,
    /// No tenant's rule may win an image that this rule matches.
    pub is_final: bool,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// Every Pod its selectors reach, once.
    EveryPod,
    /// The images that any of these matches.
    Images(Vec<Spanned<ImageMatch>>),
}

/// One way for an image to match a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageMatch {
    /// An entry of `images`.
    Pattern(Pattern),
    /// A registry class.
    Class(Box<Class>),
}

/// What a rule injects. Nothing at all is a choice: the node authenticates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inject {
    /// Pull secrets, in order.
    pub secrets: Vec<Spanned<SecretName>>,
    /// The service account to run under.
    pub account: Option<InjectAccount>,
    /// Environment sources for the containers whose image the rule wins.
    pub env_from: Vec<EnvFrom>,
}

impl Inject {
    /// Whether there is nothing to inject.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.account.is_none() && self.env_from.is_empty()
    }
}

/// The service account that a rule switches Pods to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectAccount {
    /// Its name.
    pub name: AccountName,
    /// Which accounts of a Pod it replaces.
    pub replace: ReplaceAccount,
    /// What happens when it does not exist.
    pub on_missing: OnMissingAccount,
}

/// Which account of a Pod is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReplaceAccount {
    /// Only one that the Pod's author did not write.
    IfUnset,
    /// `default`, however it came.
    #[default]
    IfDefault,
    /// Any.
    Always,
}

/// What happens to a Pod when the account to switch to does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnMissingAccount {
    /// It keeps its account, with a warning.
    #[default]
    Skip,
    /// It is refused.
    Deny,
}

/// A core/v1 EnvFromSource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvFrom {
    /// Put in front of each variable's name; empty when there is none.
    pub prefix: Box<str>,
    /// Where the variables come from.
    pub from: EnvFromKind,
    /// The Secret's or ConfigMap's name.
    pub name: Box<str>,
    /// Whether it may be absent.
    pub optional: Option<bool>,
}

/// The kind of object an [`EnvFrom`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnvFromKind {
    /// `secretRef`.
    Secret,
    /// `configMapRef`.
    ConfigMap,
}

/// A pull secret that a policy declares, with the source it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    /// The Secret's name in every namespace it goes to.
    pub name: Spanned<SecretName>,
    /// Where its content comes from.
    pub from: CredentialSource,
    /// Whether Pods wait until it is there.
    pub hold_pods: bool,
    /// How long they wait at most.
    pub hold_timeout: Duration,
    /// Whether its Secrets stay when the credential goes.
    pub keep: bool,
    /// Only entries for these hosts are written; all when empty.
    pub registries: Vec<Box<str>>,
}

/// Where a credential comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialSource {
    /// A Secret in the controller's own namespace.
    SecretRef {
        /// Its name.
        name: SecretName,
    },
    /// Amazon ECR's GetAuthorizationToken.
    Ecr {
        /// Accounts.
        account_ids: Vec<Box<str>>,
        /// Regions.
        regions: Vec<Box<str>>,
        /// A role to assume.
        role_arn: Option<Box<str>>,
    },
    /// A Google OAuth token.
    Gcp,
    /// An Azure AD token.
    Acr {
        /// Registries.
        registries: Vec<Box<str>>,
    },
    /// A kubelet credential provider plugin.
    Exec {
        /// Its file name.
        command: Box<str>,
        /// Its arguments.
        args: Vec<Box<str>>,
        /// Its environment: name and value.
        env: Vec<(Box<str>, Box<str>)>,
        /// The API version it speaks.
        api_version: Box<str>,
    },
    /// Somebody else makes it.
    Existing,
}
