//! A spanned tree → one `RegistryPolicy`, field by field, every mistake reported.

mod ecr;

use std::time::Duration;

use super::class::Class;
use super::document::{
    Credential, CredentialSource, EnvFrom, EnvFromKind, ImageMatch, Inject, InjectAccount, Mode,
    OnMissingAccount, RegistryPolicy, ReplaceAccount, Rule, Scope, Spanned, Subject,
};
use super::fields::{
    Fields, Findings, boolean, choice, list, name, string, unique_keys, wrong_type,
};
use super::parse::API_VERSION;
use super::pattern::{Noise, Pattern, without_noise};
use super::selector::{Requirement, Selector, Test, is_label_key, is_label_value};
use crate::diagnostic::{Code, Place, Span};
use crate::hosts::{self, azure, docker_hub, ghcr, google, quay};
use crate::names::{
    AccountName, CA_SECRET, ConfigMapName, PolicyName, RuleName, SecretName, TLS_SECRET,
};
use crate::yaml::{Node, Value};

type Found<'a, 's> = &'a mut Findings<'s>;

/// Reads a policy. `None` when so much is missing that there is nothing to keep.
pub(crate) fn policy(
    root: &Node<'_>,
    span: Span,
    scope: Scope,
    found: Found<'_, '_>,
) -> Option<RegistryPolicy> {
    let mut fields = Fields::of(root, "a RegistryPolicy", found)?;
    if let Some(node) = fields.required("apiVersion", found) {
        let version = string(node, "`apiVersion`", found);
        if version.is_some_and(|version| version != API_VERSION) {
            let message = format!("`{}` is not known here", version.unwrap_or_default());
            let help = format!("write `apiVersion: {API_VERSION}`, or use a newer pullpass");
            found.add_with_help::<()>(Code::UnknownVersion, node.span, message, help);
        }
    }
    let _ = fields.optional("kind");
    let name = fields
        .required("metadata", found)
        .and_then(|node| metadata(node, found));
    let spec = fields.required("spec", found);
    fields.finish(found);

    let mut fields = Fields::of(spec?, "`spec`", found)?;
    let modes = [("Enforce", Mode::Enforce), ("Audit", Mode::Audit)];
    let mode = fields
        .optional("mode")
        .and_then(|node| choice(node, "`mode`", &modes, found));
    let rules = fields
        .required("rules", found)
        .map(|node| rules(node, found));
    let credentials = fields
        .optional("credentials")
        .map(|node| credentials(node, &scope, found));
    fields.finish(found);
    Some(RegistryPolicy {
        source: found.source.clone(),
        span,
        config_map: None,
        scope,
        name: name?,
        mode: mode.unwrap_or_default(),
        rules: rules?,
        credentials: credentials.unwrap_or_default(),
    })
}

/// `metadata`: whatever Kubernetes has there is welcome; the name counts.
fn metadata(node: &Node<'_>, found: Found<'_, '_>) -> Option<Spanned<PolicyName>> {
    let mut fields = Fields::of(node, "`metadata`", found)?;
    let node = fields.required("name", found);
    for usual in [
        "namespace",
        "labels",
        "annotations",
        "uid",
        "resourceVersion",
        "generation",
    ] {
        let _ = fields.optional(usual);
    }
    for usual in [
        "creationTimestamp",
        "managedFields",
        "ownerReferences",
        "finalizers",
    ] {
        let _ = fields.optional(usual);
    }
    fields.finish(found);
    name(node?, "`metadata.name`", PolicyName::parse, found)
}

fn rules(node: &Node<'_>, found: Found<'_, '_>) -> Vec<Rule> {
    let Some(items) = list(node, "`rules`", found) else {
        return Vec::new();
    };
    if items.is_empty() {
        let help = "add a rule, or remove the policy";
        found.add_with_help::<()>(Code::EmptyField, node.span, "`rules` is empty", help);
    }
    let rules: Vec<Rule> = items.iter().filter_map(|item| rule(item, found)).collect();
    unique(
        rules
            .iter()
            .map(|rule| (rule.name.as_str(), rule.name.span)),
        "rule",
        found,
    );
    rules
}

/// Reports each name that stands twice, and where it stood first.
fn unique<'a>(names: impl Iterator<Item = (&'a str, Span)>, what: &str, found: Found<'_, '_>) {
    let mut seen = std::collections::HashMap::new();
    for (name, span) in names {
        if let Some(first) = seen.get(name) {
            let message = format!("two {what}s of this policy are called `{name}`");
            let first = Place {
                source: found.source.clone(),
                span: *first,
            };
            let finding = crate::diagnostic::Diagnostic::new(
                Code::DuplicateName,
                found.source,
                span,
                message,
            )
            .help("rename one of them")
            .related(first, "the first one");
            found.push(finding);
        } else {
            seen.insert(name, span);
        }
    }
}

fn rule(node: &Node<'_>, found: Found<'_, '_>) -> Option<Rule> {
    let mut fields = Fields::of(node, "a rule", found)?;
    let named = fields.required("name", found);
    let named = named.and_then(|node| name(node, "a rule's `name`", RuleName::parse, found));
    let matching = fields
        .required("match", found)
        .and_then(|node| matching(node, found));
    let inject = fields
        .required("inject", found)
        .and_then(|node| inject(node, found));
    let is_final = fields
        .optional("final")
        .and_then(|node| boolean(node, "`final`", found));
    fields.finish(found);
    let (subject, namespace_selector, pod_selector) = matching?;
    Some(Rule {
        name: named?,
        subject,
        namespace_selector,
        pod_selector,
        inject: inject?,
        is_final: is_final.unwrap_or_default(),
    })
}

const CLASSES: [&str; 7] = [
    "ecr",
    "ecrPublic",
    "gcp",
    "acr",
    "dockerHub",
    "ghcr",
    "quay",
];

fn matching(
    node: &Node<'_>,
    found: Found<'_, '_>,
) -> Option<(Subject, Option<Selector>, Option<Selector>)> {
    let mut fields = Fields::of(node, "`match`", found)?;
    let mut images = Vec::new();
    let mut first = None;
    if let Some(node) = fields.optional("images") {
        first = Some(node.span);
        let items = list(node, "`images`", found).unwrap_or_default();
        if items.is_empty() && matches!(node.value, Value::List(_)) {
            let help = "add a pattern, or leave `images` out";
            found.add_with_help::<()>(Code::EmptyField, node.span, "`images` is empty", help);
        }
        images.extend(items.iter().filter_map(|item| pattern(item, found)));
    }
    for kind in CLASSES {
        let Some(node) = fields.optional(kind) else {
            continue;
        };
        first = first.or(Some(node.span));
        if let Some(value) = class(kind, node, found) {
            images.push(Spanned {
                value: ImageMatch::Class(Box::new(value)),
                span: node.span,
            });
        }
    }
    let every = fields.optional("everyPod");
    let every_pod = every
        .and_then(|node| boolean(node, "`everyPod`", found))
        .unwrap_or_default();
    if let (true, Some(images), Some(every)) = (every_pod, first, every) {
        let message = "`everyPod` stands beside images or classes, and means every image already";
        let help = "make two rules of it";
        let place = Place {
            source: found.source.clone(),
            span: images,
        };
        let finding = crate::diagnostic::Diagnostic::new(
            Code::EveryPodBesideImages,
            found.source,
            every.span,
            message,
        );
        found.push(finding.help(help).related(place, "these images"));
    }
    if !every_pod && first.is_none() {
        let message = "`match` says neither images, nor a class, nor `everyPod`";
        let help = "add `images: [\"registry.example.com\"]`; `images: [\"*\"]` is every image";
        found.add_with_help::<()>(Code::MissingField, fields.span(), message, help);
    }
    let namespaces = fields
        .optional("namespaceSelector")
        .and_then(|n| selector(n, found));
    let pods = fields
        .optional("podSelector")
        .and_then(|n| selector(n, found));
    fields.finish(found);
    let subject = if every_pod {
        Subject::EveryPod
    } else {
        Subject::Images(images)
    };
    Some((subject, namespaces, pods))
}

fn pattern(node: &Node<'_>, found: Found<'_, '_>) -> Option<Spanned<ImageMatch>> {
    let text = string(node, "an image pattern", found)?;
    let pattern = match Pattern::parse(text) {
        Ok(pattern) => pattern,
        Err(error) => {
            let message = format!("`{}` is no pattern: {error}", text.escape_debug());
            let help = "write `host[:port][/path]`, as in `quay.io/org`";
            return found.add_with_help(Code::BadPattern, node.span, message, help);
        }
    };
    let (bare, noise) = without_noise(text);
    for noise in noise {
        let what = match noise {
            Noise::Scheme => "a scheme",
            Noise::ApiVersion => "the version of a registry's API",
        };
        let message = format!("`{text}` has {what}, which no image reference has");
        let help = format!("write `{bare}`");
        found.add_with_help::<()>(Code::PatternNoise, node.span, message, help);
    }
    if let Some((why, help)) = pattern.never_matches() {
        let message = format!("`{text}` matches no image: {why}");
        found.add_with_help::<()>(Code::NeverMatches, node.span, message, help);
    }
    Some(Spanned {
        value: ImageMatch::Pattern(pattern),
        span: node.span,
    })
}

fn class(kind: &'static str, node: &Node<'_>, found: Found<'_, '_>) -> Option<Class> {
    let mut fields = Fields::of(node, "a registry class", found)?;
    let lower = |ok: fn(&str) -> bool| {
        move |text: &str| {
            let text = text.to_ascii_lowercase();
            ok(&text).then(|| text.into_boxed_str())
        }
    };
    let class = match kind {
        "ecr" => Class::Ecr {
            account_ids: parameters(
                &mut fields,
                "accountIds",
                ACCOUNT,
                lower(hosts::ecr::is_account_id),
                found,
            ),
            regions: parameters(
                &mut fields,
                "regions",
                REGION,
                lower(hosts::ecr::is_region),
                found,
            ),
        },
        "ecrPublic" => Class::EcrPublic,
        "gcp" => Class::Gcp {
            projects: parameters(
                &mut fields,
                "projects",
                "a project id, as `acme` or `example.com:acme`",
                |text| google::project_path(text).map(String::into_boxed_str),
                found,
            ),
        },
        "acr" => Class::Acr {
            registries: parameters(
                &mut fields,
                "registries",
                "a registry's name without its domain, as `acme`",
                lower(azure::is_registry_name),
                found,
            ),
        },
        "ghcr" => Class::Ghcr {
            owners: parameters(
                &mut fields,
                "owners",
                "a user or organization",
                lower(ghcr::is_owner),
                found,
            ),
        },
        other => {
            let ok = if other == "quay" {
                quay::is_organization
            } else {
                docker_hub::is_organization
            };
            let organizations = parameters(
                &mut fields,
                "organizations",
                "an organization",
                lower(ok),
                found,
            );
            match other {
                "quay" => Class::Quay { organizations },
                _ => Class::DockerHub { organizations },
            }
        }
    };
    fields.finish(found);
    Some(class)
}

const ACCOUNT: &str = "an AWS account id of 12 digits";
const REGION: &str = "a region, as `us-east-1`";

/// A class parameter: absent means any, an empty list is an error.
fn parameters(
    fields: &mut Fields<'_, '_>,
    name: &'static str,
    what: &str,
    parse: impl Fn(&str) -> Option<Box<str>>,
    found: Found<'_, '_>,
) -> Option<Box<[Box<str>]>> {
    let node = fields.optional(name)?;
    let items = list(node, &format!("`{name}`"), found)?;
    if items.is_empty() {
        let message = format!("`{name}` is an empty list, which would match nothing");
        let help = format!("leave `{name}` out to mean any");
        return found.add_with_help(Code::EmptyParameter, node.span, message, help);
    }
    let values = items.iter().filter_map(|item| {
        let text = string(item, &format!("an entry of `{name}`"), found)?;
        let parsed = parse(text);
        if parsed.is_none() {
            let message = format!("`{}` is not {what}", text.escape_debug());
            let help = format!("correct it, or leave `{name}` out to mean any");
            found.add_with_help::<()>(Code::BadValue, item.span, message, help);
        }
        parsed
    });
    Some(values.collect())
}

fn selector(node: &Node<'_>, found: Found<'_, '_>) -> Option<Selector> {
    let mut fields = Fields::of(node, "a label selector", found)?;
    let mut requirements = Vec::new();
    if let Some(labels) = fields.optional("matchLabels") {
        let Value::Map(entries) = &labels.value else {
            return wrong_type(labels, "`matchLabels`", "a mapping", found);
        };
        unique_keys(entries, "`matchLabels`", found);
        for entry in entries {
            label_key(&entry.key, entry.span, found);
            if let Some(value) = label_value(&entry.value, found) {
                let test = Test::In([value].into());
                requirements.push(Requirement {
                    key: entry.key.as_ref().into(),
                    test,
                });
            }
        }
    }
    if let Some(node) = fields.optional("matchExpressions") {
        let items = list(node, "`matchExpressions`", found).unwrap_or_default();
        requirements.extend(items.iter().filter_map(|item| expression(item, found)));
    }
    fields.finish(found);
    Some(Selector {
        requirements: requirements.into(),
    })
}

fn label_key(key: &str, span: Span, found: Found<'_, '_>) {
    if !is_label_key(key) {
        let message = format!("`{}` is no label's key", key.escape_debug());
        let help = "a key is `name` or `domain/name`, as in `app.kubernetes.io/name`";
        found.add_with_help::<()>(Code::BadSelector, span, message, help);
    }
}

fn label_value(node: &Node<'_>, found: Found<'_, '_>) -> Option<Box<str>> {
    let text = string(node, "a label's value", found)?;
    if !is_label_value(text) {
        let message = format!("`{}` is no label's value", text.escape_debug());
        let help = "a value has at most 63 letters, digits, `-`, `_` and `.`";
        return found.add_with_help(Code::BadSelector, node.span, message, help);
    }
    Some(text.into())
}

#[derive(Clone, Copy)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

fn expression(node: &Node<'_>, found: Found<'_, '_>) -> Option<Requirement> {
    let mut fields = Fields::of(node, "a match expression", found)?;
    let key = fields.required("key", found);
    let key = key.and_then(|node| {
        let text = string(node, "`key`", found)?;
        label_key(text, node.span, found);
        Some(text)
    });
    let operators = [
        ("In", Operator::In),
        ("NotIn", Operator::NotIn),
        ("Exists", Operator::Exists),
        ("DoesNotExist", Operator::DoesNotExist),
    ];
    let operator = fields.required("operator", found);
    let operator = operator.and_then(|node| choice(node, "`operator`", &operators, found));
    let values = fields.optional("values");
    let words: Option<Box<[Box<str>]>> = values.and_then(|node| {
        let items = list(node, "`values`", found)?;
        Some(
            items
                .iter()
                .filter_map(|item| label_value(item, found))
                .collect(),
        )
    });
    fields.finish(found);
    let empty = values.is_none() || words.as_ref().is_some_and(|words| words.is_empty());
    let test = match operator? {
        Operator::In | Operator::NotIn if empty => {
            let help = "add `values: [...]`";
            let message = "`In` and `NotIn` need at least one value";
            return found.add_with_help(Code::BadSelector, node.span, message, help);
        }
        Operator::In => Test::In(words?),
        Operator::NotIn => Test::NotIn(words?),
        Operator::Exists | Operator::DoesNotExist if !empty => {
            let message = "`Exists` and `DoesNotExist` take no values";
            return found.add_with_help(Code::BadSelector, node.span, message, "remove `values`");
        }
        Operator::Exists => Test::Exists,
        Operator::DoesNotExist => Test::DoesNotExist,
    };
    Some(Requirement {
        key: key?.into(),
        test,
    })
}

fn inject(node: &Node<'_>, found: Found<'_, '_>) -> Option<Inject> {
    let mut fields = Fields::of(node, "`inject`", found)?;
    let secrets = fields.optional("imagePullSecrets").and_then(|node| {
        let items = list(node, "`imagePullSecrets`", found)?;
        Some(
            items
                .iter()
                .filter_map(|item| secret(item, found))
                .collect(),
        )
    });
    let account = fields.optional("serviceAccountName");
    let account = account.and_then(|n| name(n, "`serviceAccountName`", AccountName::parse, found));
    let replaces = [
        ("IfUnset", ReplaceAccount::IfUnset),
        ("IfDefault", ReplaceAccount::IfDefault),
        ("Always", ReplaceAccount::Always),
    ];
    let replace = fields.optional("replaceServiceAccount");
    let missing = fields.optional("onMissingServiceAccount");
    for (node, field) in [
        (replace, "replaceServiceAccount"),
        (missing, "onMissingServiceAccount"),
    ] {
        if let (Some(node), None) = (node, &account) {
            let message = format!("`{field}` stands without `serviceAccountName`");
            let help = "add `serviceAccountName:`, or remove it";
            found.add_with_help::<()>(Code::MissingField, node.span, message, help);
        }
    }
    let replace =
        replace.and_then(|node| choice(node, "`replaceServiceAccount`", &replaces, found));
    let choices = [
        ("Skip", OnMissingAccount::Skip),
        ("Deny", OnMissingAccount::Deny),
    ];
    let missing =
        missing.and_then(|node| choice(node, "`onMissingServiceAccount`", &choices, found));
    let env_from = fields.optional("envFrom").and_then(|node| {
        let items = list(node, "`envFrom`", found)?;
        Some(
            items
                .iter()
                .filter_map(|item| env_from(item, found))
                .collect(),
        )
    });
    fields.finish(found);
    Some(Inject {
        secrets: secrets.unwrap_or_default(),
        account: account.map(|name| InjectAccount {
            name: name.value,
            replace: replace.unwrap_or_default(),
            on_missing: missing.unwrap_or_default(),
        }),
        env_from: env_from.unwrap_or_default(),
    })
}

/// A Secret's name, or `- name: x` as pasted from a Pod.
fn secret(node: &Node<'_>, found: Found<'_, '_>) -> Option<Spanned<SecretName>> {
    if let Value::Map(_) = node.value {
        let mut fields = Fields::of(node, "an entry of `imagePullSecrets`", found)?;
        let node = fields.required("name", found);
        fields.finish(found);
        return name(node?, "a pull secret's `name`", SecretName::parse, found);
    }
    name(
        node,
        "an entry of `imagePullSecrets`",
        SecretName::parse,
        found,
    )
}

fn env_from(node: &Node<'_>, found: Found<'_, '_>) -> Option<EnvFrom> {
    let mut fields = Fields::of(node, "an entry of `envFrom`", found)?;
    let prefix = fields
        .optional("prefix")
        .and_then(|node| string(node, "`prefix`", found));
    let secret = fields.optional("secretRef");
    let config_map = fields.optional("configMapRef");
    fields.finish(found);
    let (from, reference) = match (secret, config_map) {
        (Some(node), None) => (EnvFromKind::Secret, node),
        (None, Some(node)) => (EnvFromKind::ConfigMap, node),
        (Some(_), Some(second)) => {
            let message = "an entry of `envFrom` has either a `secretRef` or a `configMapRef`";
            let help = "make two entries of it";
            return found.add_with_help(Code::BadValue, second.span, message, help);
        }
        (None, None) => {
            let message = "an entry of `envFrom` has neither a `secretRef` nor a `configMapRef`";
            let help = "add `secretRef: {name: …}`";
            return found.add_with_help(Code::MissingField, node.span, message, help);
        }
    };
    let mut fields = Fields::of(reference, "a reference of `envFrom`", found)?;
    let named = fields.required("name", found);
    let optional = fields
        .optional("optional")
        .and_then(|n| boolean(n, "`optional`", found));
    fields.finish(found);
    let named: Box<str> = match from {
        EnvFromKind::Secret => name(named?, "`secretRef.name`", SecretName::parse, found)?
            .as_str()
            .into(),
        EnvFromKind::ConfigMap => name(named?, "`configMapRef.name`", ConfigMapName::parse, found)?
            .as_str()
            .into(),
    };
    Some(EnvFrom {
        prefix: prefix.unwrap_or_default().into(),
        from,
        name: named,
        optional,
    })
}

fn credentials(node: &Node<'_>, scope: &Scope, found: Found<'_, '_>) -> Vec<Credential> {
    let Some(items) = list(node, "`credentials`", found) else {
        return Vec::new();
    };
    if let (Scope::Namespace(namespace), false) = (scope, items.is_empty()) {
        let message = format!("a tenant's policy (namespace `{namespace}`) declares credentials");
        let help = format!(
            "a tenant can only name Secrets that its namespace has: remove `credentials`; where pullpass \
             itself runs in `{namespace}`, say so by `--namespace {namespace}`"
        );
        found.add_with_help::<()>(Code::TenantCredential, node.span, message, help);
    }
    let credentials: Vec<Credential> = items
        .iter()
        .filter_map(|item| credential(item, found))
        .collect();
    unique(
        credentials.iter().map(|c| (c.name.as_str(), c.name.span)),
        "credential",
        found,
    );
    credentials
}

const HOLD_TIMEOUT: Duration = Duration::from_mins(1);

fn credential(node: &Node<'_>, found: Found<'_, '_>) -> Option<Credential> {
    let mut fields = Fields::of(node, "a credential", found)?;
    let named = fields.required("name", found);
    let named = named.and_then(|n| name(n, "a credential's `name`", SecretName::parse, found));
    let named = named.and_then(|name| not_ours(name, "a credential's `name`", found));
    let from = fields
        .required("from", found)
        .and_then(|node| credential_source(node, found));
    let hold = fields
        .optional("holdPods")
        .and_then(|node| boolean(node, "`holdPods`", found));
    let timeout = fields
        .optional("holdTimeout")
        .and_then(|node| duration(node, found));
    let keep = fields
        .optional("keep")
        .and_then(|node| boolean(node, "`keep`", found));
    let registries = fields.optional("registries").and_then(|node| {
        let items = list(node, "`registries`", found)?;
        if items.is_empty() {
            let help = "leave `registries` out to write every entry";
            found.add_with_help::<()>(Code::EmptyField, node.span, "`registries` is empty", help);
        }
        Some(
            items
                .iter()
                .filter_map(|item| registry(item, found))
                .collect::<Vec<_>>(),
        )
    });
    fields.finish(found);
    if let (Some(CredentialSource::Exec { .. }), None) = (&from, &registries) {
        let message = "a credential from `exec` has no `registries`";
        let help = "add `registries: [host…]`: the plugin is asked once for each";
        found.add_with_help::<()>(Code::MissingField, node.span, message, help);
    }
    Some(Credential {
        name: named?,
        from: from?,
        hold_pods: hold.unwrap_or_default(),
        hold_timeout: timeout.unwrap_or(HOLD_TIMEOUT),
        keep: keep.unwrap_or_default(),
        registries: registries.unwrap_or_default(),
    })
}

/// Whoever may edit policies must not have the keys of pullpass's certificates copied, nor replaced.
fn not_ours(
    name: Spanned<SecretName>,
    what: &str,
    found: Found<'_, '_>,
) -> Option<Spanned<SecretName>> {
    if ![CA_SECRET, TLS_SECRET].contains(&name.as_str()) {
        return Some(name);
    }
    let message = format!(
        "{what} is `{}`, a Secret of pullpass's own certificates",
        name.value
    );
    let help = "give the pull secret another name";
    found.add_with_help(Code::ReservedName, name.span, message, help)
}

/// An exact registry host: what a dockerconfigjson may have as a key.
fn registry(node: &Node<'_>, found: Found<'_, '_>) -> Option<Box<str>> {
    let text = string(node, "an entry of `registries`", found)?;
    let host = text.to_ascii_lowercase();
    let parsed = crate::image::ImageRef::parse(&format!("{host}/x"))
        .ok()
        .is_some_and(|image| {
            image.registry() == docker_hub::canonical(&host) && host.contains('.')
                || image.registry() == host
        });
    if !parsed {
        let message = format!("`{}` is no registry host", text.escape_debug());
        let help = "write `host` or `host:port`, as in `registry.example.com`";
        return found.add_with_help(Code::BadValue, node.span, message, help);
    }
    Some(host.into())
}

fn credential_source(node: &Node<'_>, found: Found<'_, '_>) -> Option<CredentialSource> {
    let mut fields = Fields::of(node, "`from`", found)?;
    let sources = ["secretRef", "ecr", "gcp", "acr", "exec", "existing"];
    let given: Vec<_> = sources
        .into_iter()
        .filter_map(|n| fields.optional(n).map(|node| (n, node)))
        .collect();
    fields.finish(found);
    let (kind, body) = match given.as_slice() {
        [one] => *one,
        [] => {
            let help = format!("add one of `{}`", sources.join("`, `"));
            let message = "`from` names no source";
            return found.add_with_help(Code::MissingField, node.span, message, help);
        }
        [_, (second, node), ..] => {
            let message = format!("`from` has `{second}` beside another source");
            let help = "a credential has one source; make two credentials of it";
            return found.add_with_help(Code::BadValue, node.span, message, help);
        }
    };
    let mut fields = Fields::of(body, "a credential's source", found)?;
    let source = match kind {
        "secretRef" => {
            let node = fields.required("name", found);
            let named = node.and_then(|n| name(n, "`secretRef.name`", SecretName::parse, found));
            let named = named.and_then(|name| not_ours(name, "`secretRef.name`", found));
            named.map(|name| CredentialSource::SecretRef { name: name.value })
        }
        "ecr" => ecr::source(&mut fields, found),
        "gcp" => Some(CredentialSource::Gcp),
        "acr" => {
            let named = |text: &str| azure::is_registry_name(text).then(|| text.into());
            let registries =
                parameters(&mut fields, "registries", "a registry's name", named, found);
            let registries = registries.map(<[_]>::into_vec).unwrap_or_default();
            Some(CredentialSource::Acr { registries })
        }
        "exec" => exec(&mut fields, found),
        _ => Some(CredentialSource::Existing),
    };
    fields.finish(found);
    source
}

const PROVIDER_API: &str = "credentialprovider.kubelet.k8s.io/v1";

fn exec(fields: &mut Fields<'_, '_>, found: Found<'_, '_>) -> Option<CredentialSource> {
    let command = fields.required("command", found).and_then(|node| {
        let text = string(node, "`command`", found)?;
        if text.is_empty() || text.contains(['/', '\\', '\0']) || text == "." || text == ".." {
            let message = format!("`{}` is no bare file name", text.escape_debug());
            let help = "name a file in the directory of `--credential-provider-bin-dir`";
            return found.add_with_help(Code::BadValue, node.span, message, help);
        }
        Some(text)
    });
    let args = fields.optional("args").and_then(|node| {
        let items = list(node, "`args`", found)?;
        Some(
            items
                .iter()
                .filter_map(|i| string(i, "an argument", found).map(Into::into))
                .collect(),
        )
    });
    let env = fields.optional("env").and_then(|node| {
        let items = list(node, "`env`", found)?;
        Some(
            items
                .iter()
                .filter_map(|item| variable(item, found))
                .collect(),
        )
    });
    let versions = [(PROVIDER_API, PROVIDER_API)];
    let api = fields.optional("apiVersion");
    let api = api.and_then(|node| choice(node, "`apiVersion`", &versions, found));
    Some(CredentialSource::Exec {
        command: command?.into(),
        args: args.unwrap_or_default(),
        env: env.unwrap_or_default(),
        api_version: api.unwrap_or(PROVIDER_API).into(),
    })
}

fn variable(node: &Node<'_>, found: Found<'_, '_>) -> Option<(Box<str>, Box<str>)> {
    let mut fields = Fields::of(node, "an entry of `env`", found)?;
    let name = fields
        .required("name", found)
        .and_then(|n| string(n, "`name`", found));
    let value = fields
        .required("value", found)
        .and_then(|n| string(n, "`value`", found));
    fields.finish(found);
    Some((name?.into(), value?.into()))
}

/// A duration as Go prints it: `60s`, `1m30s`, `500ms`.
fn duration(node: &Node<'_>, found: Found<'_, '_>) -> Option<Duration> {
    let text = string(node, "a duration", found)?;
    match parse_duration(text) {
        Some(duration) if !duration.is_zero() => Some(duration),
        _ => {
            let message = format!("`{}` is no duration above zero", text.escape_debug());
            let help = "write a number and a unit, as in `60s` or `1m30s`";
            found.add_with_help(Code::BadValue, node.span, message, help)
        }
    }
}

/// Reads `1h2m3s4ms`; each number may have a fraction.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let value = number.parse::<f64>().ok()? * seconds;
        total = total.checked_add(Duration::try_from_secs_f64(value).ok()?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests;
