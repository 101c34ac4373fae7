//! Text → policies and findings. One code for the server and `lint`: what lint accepts loads.
//!
//! Reads `RegistryPolicy` documents, alone or under the `*.yaml`, `*.yml` and `*.json` keys of ConfigMaps
//! labelled `pullpass.dev/policy: "true"`; other documents are counted and left alone. Never panics.

use std::sync::Arc;

use super::config_maps::ConfigMapName;
use super::decode;
use super::document::{RegistryPolicy, Scope};
use super::fields::{Findings, MAX_FINDINGS, wrong_type};
use crate::diagnostic::{Code, Diagnostic, Place, Severity, Source, Span};
use crate::yaml::{self, Entry, Node, Value};

/// The label that makes a ConfigMap hold policies.
pub const POLICY_LABEL: &str = "pullpass.dev/policy";
/// The API group of pullpass's documents.
pub const API_GROUP: &str = "pullpass.dev";
/// The one version of it.
pub const API_VERSION: &str = "pullpass.dev/v1";

/// What a text held.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The policies without an error, in order.
    pub policies: Vec<RegistryPolicy>,
    /// Policies that an error keeps out.
    pub rejected: usize,
    /// Documents of other kinds.
    pub foreign: usize,
    /// Everything found, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// How many policies stood in the text, good and bad.
    #[must_use]
    pub fn documents(&self) -> usize {
        self.policies.len() + self.rejected
    }

    /// Adds findings while there is room, and the first error in any case.
    fn add(&mut self, found: Vec<Diagnostic>) {
        let room = MAX_FINDINGS.saturating_sub(self.diagnostics.len());
        let no_error = found.len() > room && !crate::diagnostic::any_error(&self.diagnostics);
        for (i, finding) in found.into_iter().enumerate() {
            let first_error = no_error && finding.severity() == Severity::Error;
            if i < room || first_error {
                self.diagnostics.push(finding);
            }
            if first_error {
                break;
            }
        }
    }

    /// The same, as what a ConfigMap holds.
    #[must_use]
    pub(super) fn held_by(mut self, config_map: &ConfigMapName) -> Self {
        for policy in &mut self.policies {
            policy.config_map = Some(config_map.clone());
        }
        self
    }

    /// Adds what another text held.
    pub fn append(&mut self, mut other: Self) {
        self.policies.append(&mut other.policies);
        self.rejected += other.rejected;
        self.foreign += other.foreign;
        self.diagnostics.append(&mut other.diagnostics);
    }
}

/// Which ConfigMaps are the cluster's and which a tenant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// pullpass's own namespace: its ConfigMaps hold cluster-wide policies, as do those that name none.
    pub own_namespace: Arc<str>,
    /// Whether ConfigMaps of other namespaces are read, as tenants' policies.
    pub tenant_policies: bool,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self {
            own_namespace: "pullpass-system".into(),
            tenant_policies: false,
        }
    }
}

/// Reads every policy of a text.
///
/// ```
/// use pullpass::{diagnostic::Source, policy};
///
/// let source = Source::new("policy.yaml", "
/// apiVersion: pullpass.dev/v1
/// kind: RegistryPolicy
/// metadata: {name: company}
/// spec:
///   rules:
///     - name: hub
///       match: {images: [docker.io]}
///       inject: {imagePullSecrets: [hub-creds]}
/// ");
/// let parsed = policy::parse(&source, &policy::ParseOptions::default());
/// assert_eq!(parsed.policies.len(), 1);
/// assert!(parsed.diagnostics.is_empty());
/// ```
#[must_use]
pub fn parse(source: &Arc<Source>, options: &ParseOptions) -> Parsed {
    let (documents, broken) = yaml::read(source);
    let mut parsed = Parsed::default();
    for document in &documents {
        read_document(source, &document.root, document.span, options, &mut parsed);
    }
    if let Some(broken) = broken {
        parsed.rejected += 1;
        parsed.diagnostics.push(broken);
    }
    parsed
}

fn read_document(
    source: &Arc<Source>,
    root: &Node<'_>,
    span: Span,
    options: &ParseOptions,
    parsed: &mut Parsed,
) {
    let field = |name: &str| root.get(name).and_then(Node::as_str).unwrap_or_default();
    match field("kind") {
        "ConfigMap" if field("apiVersion") == "v1" => {
            read_config_map(source, root, options, parsed);
        }
        "List" | "ConfigMapList" => match root.get("items").map(|items| &items.value) {
            Some(Value::List(items)) => {
                for item in items {
                    read_document(source, item, span, options, parsed);
                }
            }
            _ => parsed.foreign += 1,
        },
        _ => read_policy(source, root, span, &Scope::Cluster, parsed),
    }
}

/// Reads a document that may be a policy.
fn read_policy(
    source: &Arc<Source>,
    root: &Node<'_>,
    span: Span,
    scope: &Scope,
    parsed: &mut Parsed,
) {
    if root.value == Value::Null {
        return;
    }
    let mut findings = Findings::new(source);
    match kind_of(root, &mut findings) {
        Kind::Policy => {
            let policy = decode::policy(root, span, scope.clone(), &mut findings);
            finish(policy, findings, parsed);
        }
        Kind::Foreign => parsed.foreign += 1,
        Kind::Unknown => finish(None, findings, parsed),
    }
}

enum Kind {
    Policy,
    Foreign,
    /// Of pullpass's API group, but no kind that there is.
    Unknown,
}

fn kind_of(root: &Node<'_>, findings: &mut Findings<'_>) -> Kind {
    let version = root.get("apiVersion").and_then(Node::as_str);
    let ours = version.map(|version| version.split('/').next() == Some(API_GROUP));
    let kind = root.get("kind");
    match (kind.and_then(Node::as_str), ours) {
        // Without a readable apiVersion it is taken for a policy, which is then told so.
        (Some("RegistryPolicy"), Some(true) | None) => Kind::Policy,
        (Some("PolicyTest"), Some(true)) | (_, Some(false) | None) => Kind::Foreign,
        (Some(other), Some(true)) => {
            let message = format!("`{API_GROUP}` has no kind `{}`", other.escape_debug());
            let help = "write `kind: RegistryPolicy`";
            let span = kind.map_or(root.span, |kind| kind.span);
            findings.add_with_help::<()>(Code::BadValue, span, message, help);
            Kind::Unknown
        }
        (None, Some(true)) => {
            let message = format!("a document of `{API_GROUP}` has no `kind`");
            let help = "add `kind: RegistryPolicy`";
            findings.add_with_help::<()>(Code::MissingField, root.span, message, help);
            Kind::Unknown
        }
    }
}

fn finish(policy: Option<RegistryPolicy>, findings: Findings<'_>, parsed: &mut Parsed) {
    let bad = crate::diagnostic::any_error(&findings.list);
    match policy {
        Some(policy) if !bad => parsed.policies.push(policy),
        _ => parsed.rejected += 1,
    }
    parsed.add(findings.list);
}

fn read_config_map(
    source: &Arc<Source>,
    root: &Node<'_>,
    options: &ParseOptions,
    parsed: &mut Parsed,
) {
    let metadata = |name: &str| root.get("metadata").and_then(|m| m.get(name));
    let label = metadata("labels")
        .and_then(|l| l.get(POLICY_LABEL))
        .and_then(Node::as_str);
    if label != Some("true") {
        parsed.foreign += 1;
        return;
    }
    let namespace = metadata("namespace").and_then(Node::as_str);
    let scope = match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) if *namespace != *options.own_namespace => {
            if !options.tenant_policies {
                parsed.foreign += 1;
                return;
            }
            Scope::Namespace(namespace.into())
        }
        _ => Scope::Cluster,
    };
    let mut keys: Vec<&Entry<'_>> = match root.get("data").map(|data| &data.value) {
        Some(Value::Map(entries)) => entries.iter().filter(|e| holds_policies(&e.key)).collect(),
        _ => Vec::new(),
    };
    keys.sort_by(|a, b| a.key.cmp(&b.key));
    let named = ConfigMapName {
        namespace: match &scope {
            Scope::Cluster => Arc::clone(&options.own_namespace),
            Scope::Namespace(namespace) => Arc::clone(namespace),
        },
        name: metadata("name")
            .and_then(Node::as_str)
            .unwrap_or_default()
            .into(),
    };
    let has_key = !keys.is_empty();
    let mut held = Parsed::default();
    for entry in keys {
        read_key(source, entry, &scope, &mut held);
    }
    if held.documents() == 0 {
        let span = metadata("name").map_or(root.span, |name| name.span);
        held.diagnostics.push(no_policy(source, span, has_key));
    }
    let held = held.held_by(&named);
    parsed.policies.extend(held.policies);
    parsed.rejected += held.rejected;
    parsed.foreign += held.foreign;
    parsed.add(held.diagnostics);
}

/// A ConfigMap that is labelled for policies and holds none: a template that came out empty looks so.
pub(super) fn no_policy(source: &Arc<Source>, span: Span, has_key: bool) -> Diagnostic {
    let labelled = format!("a ConfigMap labelled `{POLICY_LABEL}: \"true\"`");
    let (message, help) = if has_key {
        (
            format!("{labelled} holds no RegistryPolicy"),
            "add one, or remove the label",
        )
    } else {
        (
            format!("{labelled} has no `*.yaml`, `*.yml` or `*.json` key in `data`"),
            "add such a key, or remove the label; `binaryData` is not read",
        )
    };
    Diagnostic::new(Code::NoPolicyKey, source, span, message).help(help)
}

/// Whether a ConfigMap's key holds policies by its name.
#[must_use]
pub fn holds_policies(key: &str) -> bool {
    [".yaml", ".yml", ".json"]
        .iter()
        .any(|suffix| key.ends_with(suffix))
}

fn read_key(source: &Arc<Source>, entry: &Entry<'_>, scope: &Scope, parsed: &mut Parsed) {
    let Some(text) = entry.value.as_str() else {
        let mut findings = Findings::new(source);
        let what = format!("the ConfigMap's key `{}`", entry.key);
        if let Value::Map(_) | Value::List(_) = entry.value.value {
            let message = format!("{what} is a string, and here stands {}", entry.value.kind());
            let help = format!("write `{}: |`, and the policy indented below it", entry.key);
            findings.add_with_help::<()>(Code::WrongType, entry.span, message, help);
        } else {
            wrong_type::<()>(&entry.value, &what, "a string", &mut findings);
        }
        return finish(None, findings, parsed);
    };
    let inner = parse_key(&embedded(source, entry, text), scope);
    parsed.policies.extend(inner.policies);
    parsed.rejected += inner.rejected;
    parsed.foreign += inner.foreign;
    parsed.add(inner.diagnostics);
}

/// Reads the policies of one ConfigMap key, whose scope the ConfigMap's namespace says.
#[must_use]
pub fn parse_key(source: &Arc<Source>, scope: &Scope) -> Parsed {
    let (documents, broken) = yaml::read(source);
    let mut parsed = Parsed::default();
    for document in &documents {
        read_policy(source, &document.root, document.span, scope, &mut parsed);
    }
    if let Some(broken) = broken {
        parsed.rejected += 1;
        parsed.diagnostics.push(broken);
    }
    parsed
}

/// The text of a ConfigMap key as a source of its own. The lines of a literal block are the file's
/// lines; of any other string only the key's name can tell the place.
fn embedded(source: &Arc<Source>, entry: &Entry<'_>, text: &str) -> Arc<Source> {
    let literal = matches!(entry.value.value, Value::Literal(_));
    // The lines of a text that is a string itself are no file's, and need not be looked for.
    if literal
        && source.origin().is_none()
        && let Some((line, indent)) = block_origin(source, entry.value.span, text)
    {
        return Source::embedded(source.name(), text, line, source.indent() + indent);
    }
    let holder = Place {
        source: Arc::clone(source),
        span: entry.span,
    };
    let name = format!("{} key {}", source.name(), entry.key);
    Source::within(holder, name, text)
}

/// Line (of the file) and indentation of a literal block's first line with content, less the lines in
/// front of it.
fn block_origin(source: &Source, span: Span, text: &str) -> Option<(usize, usize)> {
    let file = source.text();
    let (empty, first) = text
        .lines()
        .enumerate()
        .find(|(_, l)| !l.trim().is_empty())?;
    let start = file
        .get(..span.start as usize)?
        .rfind('\n')
        .map_or(0, |at| at + 1);
    let (offset, line) = file
        .get(start..)?
        .lines()
        .enumerate()
        .take(empty + 3)
        .find(|(_, line)| line.ends_with(first) && line.trim_start() == first.trim_start())?;
    let indent = line.len() - first.len();
    let before = source.locate(u32::try_from(start).ok()?).line;
    Some(((before + offset).saturating_sub(empty).max(1), indent))
}

#[cfg(test)]
mod tests;
