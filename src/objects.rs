//! Manifests of Namespaces and ServiceAccounts → what decisions need of a cluster, without one.
//!
//! Other kinds are counted and left alone. A manifest that cannot be read is a finding, not a guess.

use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Source};
use crate::policy::decide::Label;
use crate::snapshot::{Account, Accounts, Namespaces};
use crate::yaml::{self, Node, Value};

/// The annotation of an account that lets its Pods use only what it lists.
pub const ENFORCE_ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";

/// What manifests say of a cluster.
#[derive(Debug, Default)]
pub struct Objects {
    /// The Namespaces.
    pub namespaces: Namespaces,
    /// The ServiceAccounts.
    pub accounts: Accounts,
    /// How many objects were taken.
    pub taken: usize,
    /// How many documents were of other kinds.
    pub foreign: usize,
    /// What could not be read.
    pub diagnostics: Vec<Diagnostic>,
}

impl Objects {
    /// Reads every Namespace and ServiceAccount of a text. An account that names no namespace is of
    /// `namespace`.
    pub fn read(&mut self, source: &Arc<Source>, namespace: &str) {
        let (documents, broken) = yaml::read(source);
        for document in &documents {
            self.take(source, &document.root, namespace);
        }
        self.diagnostics.extend(broken);
    }

    fn take(&mut self, source: &Arc<Source>, root: &Node<'_>, namespace: &str) {
        let field = |name: &str| root.get(name).and_then(Node::as_str).unwrap_or_default();
        match (field("apiVersion"), field("kind")) {
            ("v1", "Namespace" | "ServiceAccount") => {}
            (_, kind) if kind.ends_with("List") => {
                if let Some(Value::List(items)) = root.get("items").map(|items| &items.value) {
                    for item in items {
                        self.take(source, item, namespace);
                    }
                }
                return;
            }
            _ => {
                self.foreign += usize::from(root.value != Value::Null);
                return;
            }
        }
        let metadata = |name: &str| root.get("metadata").and_then(|metadata| metadata.get(name));
        let given = metadata("name");
        let Some(name) = given.and_then(Node::as_str) else {
            let kind = field("kind");
            self.diagnostics.push(match given {
                None => {
                    let message = format!("a {kind} has no `metadata.name`");
                    Diagnostic::new(Code::MissingField, source, root.span, message)
                }
                // `name: off` is a boolean, for kubectl as well.
                Some(node) => {
                    let message = format!(
                        "a {kind}'s `metadata.name` is a string, and here stands {}",
                        node.kind()
                    );
                    Diagnostic::new(Code::WrongType, source, node.span, message)
                        .help("put it in quotes")
                }
            });
            return;
        };
        self.taken += 1;
        if field("kind") == "Namespace" {
            let labels = metadata("labels").map(labels).unwrap_or_default();
            self.namespaces.insert(name, labels);
            return;
        }
        let own = metadata("namespace")
            .and_then(Node::as_str)
            .unwrap_or(namespace);
        let enforcing = metadata("annotations")
            .and_then(|annotations| annotations.get(ENFORCE_ANNOTATION))
            .and_then(Node::as_str);
        let automount = root
            .get("automountServiceAccountToken")
            .map(|node| &node.value);
        let account = Account {
            image_pull_secrets: names(root.get("imagePullSecrets")),
            secrets: names(root.get("secrets")),
            automount: match automount {
                Some(Value::Bool(automount)) => Some(*automount),
                _ => None,
            },
            enforcing: enforcing.is_some_and(is_true),
        };
        self.accounts.insert(own, name, account);
    }
}

fn labels(node: &Node<'_>) -> Vec<Label<'static>> {
    let Value::Map(entries) = &node.value else {
        return Vec::new();
    };
    entries
        .iter()
        .filter_map(|entry| {
            let value = entry.value.as_str()?;
            Some((entry.key.to_string().into(), value.to_owned().into()))
        })
        .collect()
}

fn names(node: Option<&Node<'_>>) -> Vec<Box<str>> {
    let Some(Value::List(items)) = node.map(|node| &node.value) else {
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| item.get("name")?.as_str().map(Into::into))
        .collect()
}

/// `strconv.ParseBool`, by which the API server reads the annotation.
#[must_use]
pub fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::decide::label;
    use crate::snapshot::AccountLookup;

    fn read(text: &str) -> Objects {
        let mut objects = Objects::default();
        objects.read(&Source::new("cluster.yaml", text), "web");
        objects
    }

    #[test]
    fn namespaces_and_accounts_are_taken_and_others_counted() {
        let objects = read(
            "apiVersion: v1\nkind: List\nitems:\n\
             - {apiVersion: v1, kind: Namespace, metadata: {name: ci, labels: {team: build}}}\n\
             - {apiVersion: v1, kind: ServiceAccount, metadata: {name: agent, namespace: ci}, \
                imagePullSecrets: [{name: a}], automountServiceAccountToken: false}\n\
             - {apiVersion: v1, kind: Secret, metadata: {name: x}}\n---\n\
             {apiVersion: v1, kind: ServiceAccount, metadata: {name: here}}\n",
        );
        assert_eq!((objects.taken, objects.foreign), (3, 1));
        let labels = objects.namespaces.labels("ci");
        assert_eq!(label(&labels, "team"), Some("build"));
        assert_eq!(label(&labels, "kubernetes.io/metadata.name"), Some("ci"));
        let AccountLookup::Known(agent) = objects.accounts.get("ci", "agent") else {
            panic!()
        };
        assert_eq!(agent.automount, Some(false));
        assert_eq!(*agent.image_pull_secrets[0], *"a");
        assert_eq!(objects.accounts.get("ci", "nobody"), AccountLookup::Missing);
        assert_eq!(
            objects.accounts.get("other", "nobody"),
            AccountLookup::Assumed
        );
        assert!(matches!(
            objects.accounts.get("web", "here"),
            AccountLookup::Known(_)
        ));
    }

    #[test]
    fn the_enforce_annotation_is_a_go_boolean() {
        for (text, want) in [
            ("1", true),
            ("t", true),
            ("True", true),
            ("TRUE", true),
            ("yes", false),
            ("", false),
        ] {
            let objects = read(&format!(
                "{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: x, annotations: \
                 {{{ENFORCE_ANNOTATION}: '{text}'}}}}}}"
            ));
            let AccountLookup::Known(account) = objects.accounts.get("web", "x") else {
                panic!()
            };
            assert_eq!(account.enforcing, want, "{text:?}");
        }
    }

    #[test]
    fn an_object_without_a_name_is_a_finding() {
        let objects = read("{apiVersion: v1, kind: Namespace, metadata: {}}");
        assert_eq!(objects.diagnostics[0].code, Code::MissingField);
    }
}
