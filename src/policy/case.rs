//! A `PolicyTest` as a person wrote it: cases of Pods and what the table is to make of them.
//!
//! Read with the same readers as policies, so that every mistake is told at once. Runs nothing.

use std::sync::Arc;

use super::decide::Label;
use super::document::Spanned;
use super::fields::{Fields, Findings, boolean, list, string, wrong_type};
use super::parse::{API_GROUP, API_VERSION};
use crate::diagnostic::{Code, Diagnostic, Source};
use crate::yaml::{self, Node, Value};

/// One `PolicyTest`.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyTest {
    /// The text it was read from.
    pub source: Arc<Source>,
    /// `metadata.name`.
    pub name: String,
    /// Policies, relative to the file.
    pub policies: Vec<Spanned<String>>,
    /// Manifests of Namespaces and ServiceAccounts, relative to the file.
    pub objects: Vec<Spanned<String>>,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: Spanned<String>,
    /// The namespace, when one is given.
    pub namespace: Option<CaseNamespace>,
    /// The Pod.
    pub subject: Subject,
    /// What is to come of it.
    pub expect: Expect,
}

/// The namespace of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseNamespace {
    /// Its name.
    pub name: String,
    /// Its labels; those of the `objects` when absent.
    pub labels: Option<Vec<Label<'static>>>,
}

/// The Pod of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// In short.
    Pod {
        /// Its labels.
        labels: Vec<Label<'static>>,
        /// One container for each.
        images: Vec<String>,
        /// Its account.
        service_account_name: Option<String>,
    },
    /// Any workload, in a file relative to the test's.
    File(Spanned<String>),
}

/// What is to come of a Pod. What is absent is not compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// Whether it is admitted.
    pub allowed: Option<bool>,
    /// The rules that apply.
    pub rules: Option<Vec<String>>,
    /// The pull secrets that the Pod has in the end.
    pub image_pull_secrets: Option<Vec<String>>,
    /// The account that it has in the end.
    pub service_account_name: Option<String>,
    /// The Secrets and ConfigMaps of `envFrom` in the end, over all containers.
    pub env_from: Option<Vec<String>>,
    /// The Secrets for which it waits while they are not there.
    pub held: Option<Vec<String>>,
    /// The codes of the warnings.
    pub warnings: Option<Vec<String>>,
}

/// The tests of a text, how many documents were others, and what is wrong.
#[must_use]
pub fn read(source: &Arc<Source>) -> (Vec<PolicyTest>, usize, Vec<Diagnostic>) {
    let (documents, broken) = yaml::read(source);
    let mut tests = Vec::new();
    let mut foreign = 0;
    let mut findings = Findings::new(source);
    for document in &documents {
        let field = |name: &str| document.root.get(name).and_then(Node::as_str);
        let version = field("apiVersion").unwrap_or(API_VERSION);
        let ours = version.split('/').next() == Some(API_GROUP);
        if !ours || field("kind") != Some("PolicyTest") {
            foreign += usize::from(document.root.value != Value::Null);
            continue;
        }
        tests.extend(policy_test(&document.root, &mut findings));
    }
    findings.list.extend(broken);
    (tests, foreign, findings.list)
}

type Found<'a, 's> = &'a mut Findings<'s>;

fn policy_test(root: &Node<'_>, found: Found<'_, '_>) -> Option<PolicyTest> {
    let mut fields = Fields::of(root, "a PolicyTest", found)?;
    if let Some(node) = fields.required("apiVersion", found)
        && string(node, "`apiVersion`", found).is_some_and(|version| version != API_VERSION)
    {
        let help = format!("write `apiVersion: {API_VERSION}`");
        let message = "this version of PolicyTest is not known here";
        found.add_with_help::<()>(Code::UnknownVersion, node.span, message, help);
    }
    let _ = fields.optional("kind");
    let name = fields
        .required("metadata", found)
        .and_then(|node| metadata(node, found));
    let spec = fields.required("spec", found);
    fields.finish(found);

    let mut fields = Fields::of(spec?, "`spec`", found)?;
    let policies = fields.required("policies", found).and_then(|node| {
        let paths = paths(node, "`policies`", found)?;
        if paths.is_empty() {
            found.add::<()>(Code::EmptyField, node.span, "`policies` is empty");
        }
        Some(paths)
    });
    let objects = fields
        .optional("objects")
        .and_then(|node| paths(node, "`objects`", found));
    let cases = fields.required("cases", found).and_then(|node| {
        let items = list(node, "`cases`", found)?;
        if items.is_empty() {
            found.add::<()>(Code::EmptyField, node.span, "`cases` is empty");
        }
        Some(items.iter().filter_map(|item| case(item, found)).collect())
    });
    fields.finish(found);
    Some(PolicyTest {
        source: found.source.clone(),
        name: name?,
        policies: policies?,
        objects: objects.unwrap_or_default(),
        cases: cases?,
    })
}

fn metadata(node: &Node<'_>, found: Found<'_, '_>) -> Option<String> {
    let mut fields = Fields::of(node, "`metadata`", found)?;
    let name = fields.required("name", found);
    for usual in ["namespace", "labels", "annotations"] {
        let _ = fields.optional(usual);
    }
    fields.finish(found);
    string(name?, "`metadata.name`", found).map(ToOwned::to_owned)
}

fn paths(node: &Node<'_>, what: &str, found: Found<'_, '_>) -> Option<Vec<Spanned<String>>> {
    let items = list(node, what, found)?;
    let path = |item: &Node<'_>, found: Found<'_, '_>| {
        let value = string(item, "a path", found)?.to_owned();
        Some(Spanned {
            value,
            span: item.span,
        })
    };
    Some(items.iter().filter_map(|item| path(item, found)).collect())
}

fn case(node: &Node<'_>, found: Found<'_, '_>) -> Option<Case> {
    let mut fields = Fields::of(node, "a case", found)?;
    let name = fields.required("name", found).and_then(|node| {
        let value = string(node, "a case's `name`", found)?.to_owned();
        Some(Spanned {
            value,
            span: node.span,
        })
    });
    let namespace = fields
        .optional("namespace")
        .and_then(|node| namespace(node, found));
    let pod = fields.optional("pod");
    let file = fields.optional("file");
    let subject = match (pod, file) {
        (Some(node), None) => pod_in_short(node, found),
        (None, Some(node)) => string(node, "`file`", found).map(|path| {
            Subject::File(Spanned {
                value: path.to_owned(),
                span: node.span,
            })
        }),
        (Some(_), Some(node)) => {
            let help = "make two cases of it";
            let message = "a case has either a `pod` or a `file`";
            found.add_with_help(Code::BadValue, node.span, message, help)
        }
        (None, None) => {
            let help = "add `pod: {images: […]}` or `file: pod.yaml`";
            let message = "a case has no Pod";
            found.add_with_help(Code::MissingField, node.span, message, help)
        }
    };
    let expect = fields
        .required("expect", found)
        .and_then(|node| expect(node, found));
    fields.finish(found);
    Some(Case {
        name: name?,
        namespace,
        subject: subject?,
        expect: expect?,
    })
}

fn namespace(node: &Node<'_>, found: Found<'_, '_>) -> Option<CaseNamespace> {
    let mut fields = Fields::of(node, "`namespace`", found)?;
    let name = fields
        .required("name", found)
        .and_then(|n| string(n, "`name`", found));
    let labels = fields
        .optional("labels")
        .and_then(|node| labels(node, found));
    fields.finish(found);
    Some(CaseNamespace {
        name: name?.to_owned(),
        labels,
    })
}

fn labels(node: &Node<'_>, found: Found<'_, '_>) -> Option<Vec<Label<'static>>> {
    let Value::Map(entries) = &node.value else {
        return wrong_type(node, "`labels`", "a mapping", found);
    };
    let label = entries.iter().filter_map(|entry| {
        let value = string(&entry.value, "a label's value", found)?;
        Some((entry.key.to_string().into(), value.to_owned().into()))
    });
    Some(label.collect())
}

fn pod_in_short(node: &Node<'_>, found: Found<'_, '_>) -> Option<Subject> {
    let mut fields = Fields::of(node, "`pod`", found)?;
    let labels = fields
        .optional("labels")
        .and_then(|node| labels(node, found));
    let images = fields
        .required("images", found)
        .and_then(|node| words(node, "`images`", found));
    let account = fields.optional("serviceAccountName");
    let account = account.and_then(|node| string(node, "`serviceAccountName`", found));
    fields.finish(found);
    Some(Subject::Pod {
        labels: labels.unwrap_or_default(),
        images: images?,
        service_account_name: account.map(ToOwned::to_owned),
    })
}

fn words(node: &Node<'_>, what: &str, found: Found<'_, '_>) -> Option<Vec<String>> {
    let items = list(node, what, found)?;
    let word = |item: &Node<'_>, found: Found<'_, '_>| {
        string(item, &format!("an entry of {what}"), found).map(ToOwned::to_owned)
    };
    Some(items.iter().filter_map(|item| word(item, found)).collect())
}

fn expect(node: &Node<'_>, found: Found<'_, '_>) -> Option<Expect> {
    let mut fields = Fields::of(node, "`expect`", found)?;
    let allowed = fields
        .optional("allowed")
        .and_then(|node| boolean(node, "`allowed`", found));
    let mut list_of = |name: &'static str, found: Found<'_, '_>| {
        fields
            .optional(name)
            .and_then(|node| words(node, &format!("`{name}`"), found))
    };
    let rules = list_of("rules", found);
    let image_pull_secrets = list_of("imagePullSecrets", found);
    let env_from = list_of("envFrom", found);
    let held = list_of("held", found);
    let warnings = fields
        .optional("warnings")
        .and_then(|node| codes(node, found));
    let account = fields.optional("serviceAccountName");
    let account = account.and_then(|node| string(node, "`serviceAccountName`", found));
    fields.finish(found);
    let expect = Expect {
        allowed,
        rules,
        image_pull_secrets,
        service_account_name: account.map(ToOwned::to_owned),
        env_from,
        held,
        warnings,
    };
    // With a mistake in it, it is not empty: that one was told.
    if matches!(&node.value, Value::Map(entries) if entries.is_empty()) {
        let help = "add what is to come of the Pod, as `imagePullSecrets: […]`";
        return found.add_with_help(Code::EmptyField, node.span, "`expect` is empty", help);
    }
    Some(expect)
}

fn codes(node: &Node<'_>, found: Found<'_, '_>) -> Option<Vec<String>> {
    let items = list(node, "`warnings`", found)?;
    let mut codes = Vec::new();
    for item in items {
        let Some(text) = string(item, "a warning's code", found) else {
            continue;
        };
        match text.parse::<Code>() {
            Ok(code) => codes.push(code.to_string()),
            Err(error) => {
                found.add::<()>(Code::BadValue, item.span, error.to_string());
            }
        }
    }
    Some(codes)
}
