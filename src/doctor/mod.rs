//! What an API server tells of an installation → named checks: what is well, what is not, what to do.
//!
//! `gather` asks, once for each fact, and writes nothing: its only creation is a dry run. All else is
//! pure, the time an argument; what may not be asked is skipped, with the right that it takes.

pub mod before;
mod certificate;
mod configurations;
mod credentials;
mod deployments;
pub mod gather;
mod policies;
mod rights;
mod server;
mod settings;
pub mod trial;

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;

pub use credentials::Source;
use settings::Settings;

use crate::names::SecretName;

/// The label and value by which an installation's objects are found.
pub const PART_OF: &str = "app.kubernetes.io/part-of=pullpass";
/// The label that says which process an object is for.
const COMPONENT: &str = "app.kubernetes.io/component";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Well.
    Ok,
    /// It could not be made.
    Skipped,
    /// It works, but look at it.
    Warning,
    /// It does not work.
    Error,
}

/// One check and what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, which stays: `certificate`.
    pub name: &'static str,
    /// How it ended.
    pub state: State,
    /// What it is about.
    pub object: String,
    /// What was found.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Check {
    fn new(name: &'static str, state: State, object: &str, message: impl Into<String>) -> Self {
        Self {
            name,
            state,
            object: object.to_owned(),
            message: message.into(),
            help: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The answer to one question.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Found {
    /// The object or the list.
    Object(Value),
    /// There is none.
    #[default]
    Absent,
    /// It may not be asked; this right is missing.
    Forbidden(String),
    /// There was no answer of use.
    Failed(String),
}

impl Found {
    fn items(&self) -> &[Value] {
        let Self::Object(list) = self else {
            return &[];
        };
        let items = list.get("items").and_then(Value::as_array);
        items.map(Vec::as_slice).unwrap_or_default()
    }

    /// The check that takes the place of one whose fact is not there to be read.
    fn unread(&self, name: &'static str, object: &str) -> Option<Check> {
        match self {
            Self::Object(_) | Self::Absent => None,
            Self::Forbidden(right) => Some(
                Check::new(name, State::Skipped, object, "you may not look at it")
                    .help(format!("it takes the right to {right}")),
            ),
            Self::Failed(why) => Some(
                Check::new(name, State::Error, object, format!("cannot be read: {why}"))
                    .help("look at the API server, then try again"),
            ),
        }
    }
}

/// All that is read of a cluster.
#[derive(Clone, Debug)]
pub struct Facts {
    /// pullpass's own namespace.
    pub namespace: String,
    /// The time at which certificates are judged.
    pub now: SystemTime,
    /// `/version`.
    pub version: Found,
    /// The namespace itself.
    pub own_namespace: Found,
    /// All namespaces.
    pub namespaces: Found,
    /// The policy ConfigMaps of its own namespace.
    pub config_maps: Found,
    /// Its Deployments.
    pub deployments: Found,
    /// Its mutating configurations.
    pub mutating: Found,
    /// Its validating configurations.
    pub validating: Found,
    /// The serving certificate's Secret.
    pub certificate: Found,
    /// Its ClusterRoles.
    pub cluster_roles: Found,
    /// Their bindings.
    pub cluster_role_bindings: Found,
    /// The Roles in its own namespace.
    pub roles: Found,
    /// Their bindings.
    pub role_bindings: Found,
    /// For each credential that is copied, what it is copied from.
    pub sources: BTreeMap<SecretName, Source>,
    /// The controllers' Lease.
    pub lease: Found,
    /// The ConfigMaps in which a controller says which Secrets stand.
    pub status: Found,
    /// What became of the Pod that [`trial::plan`] asks for; nothing when it asked for none.
    pub trial: Option<trial::Outcome>,
}

impl Facts {
    /// Nothing known yet.
    #[must_use]
    pub fn new(namespace: &str, now: SystemTime) -> Self {
        Self {
            namespace: namespace.to_owned(),
            now,
            version: Found::Absent,
            own_namespace: Found::Absent,
            namespaces: Found::Absent,
            config_maps: Found::Absent,
            deployments: Found::Absent,
            mutating: Found::Absent,
            validating: Found::Absent,
            certificate: Found::Absent,
            cluster_roles: Found::Absent,
            cluster_role_bindings: Found::Absent,
            roles: Found::Absent,
            role_bindings: Found::Absent,
            sources: BTreeMap::new(),
            lease: Found::Absent,
            status: Found::Absent,
            trial: None,
        }
    }

    fn settings(&self) -> Settings {
        Settings::of(self.deployments.items())
    }

    /// For each credential that is copied the Secret that it is copied from, and its registries.
    #[must_use]
    pub fn copied(&self) -> BTreeMap<SecretName, (SecretName, Vec<Box<str>>)> {
        let compiled = policies::compile(self);
        compiled
            .as_ref()
            .map(credentials::copied)
            .unwrap_or_default()
    }

    /// The Secret in which the serving certificate is.
    #[must_use]
    pub fn certificate_name(&self) -> String {
        self.settings().tls_secret
    }
}

/// Every check of an installation, in the order in which to mend what they find.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Check> {
    let settings = facts.settings();
    let compiled = policies::compile(facts);
    let mut checks = vec![
        server::version(&facts.version),
        server::namespace(&facts.own_namespace, &facts.namespace),
    ];
    checks.extend(rights::checks(facts, &settings, compiled.as_ref()));
    checks.extend(policies::checks(facts, compiled.as_ref()));
    checks.extend(deployments::checks(facts));
    checks.extend(credentials::checks(facts, &settings, compiled.as_ref()));
    checks.extend(configurations::checks(facts, &settings));
    checks.push(certificate::check(facts, &settings));
    checks.push(trial::check(facts));
    checks
}

/// The text at a JSON pointer.
fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

fn is_of(object: &Value, component: &str) -> bool {
    let labels = object.pointer("/metadata/labels");
    labels.and_then(|labels| labels.get(COMPONENT)?.as_str()) == Some(component)
}

/// A list in a sentence, of which no more than a few are named.
fn few(all: &[String]) -> String {
    const MOST: usize = 5;
    let mut parts: Vec<String> = all.iter().take(MOST).cloned().collect();
    if all.len() > MOST {
        parts.push(format!("and {} more", all.len() - MOST));
    }
    parts.join("; ")
}
