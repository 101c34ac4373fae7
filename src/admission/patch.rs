//! Decision + account plan + the Pod as received → an RFC 6902 patch.
//!
//! No `test` operation, and every parent path is one seen in the object: a patch that does not apply
//! is a 500 under any failurePolicy.

use std::collections::HashSet;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::{Value, json};

use super::json::{List, read_raw};
use super::review::{Container, EnvFromView, Pod, Spec};
use super::service_account::AccountPlan;
use super::token::ContainerKind;
use crate::policy::decide::{EnvNeed, SecretNeed};
use crate::policy::document::{EnvFrom, EnvFromKind};
use crate::status::GATE;

/// The annotation that names the rules that applied. It informs; no decision reads it.
pub const RULES_ANNOTATION: &str = "pullpass.dev/rules";

/// What a patch is made of.
pub(crate) struct Changes<'c> {
    /// Pull secrets in order; those that the Pod has are left out of the patch.
    pub secrets: &'c [SecretNeed<'c>],
    /// The account.
    pub account: &'c AccountPlan<'c, 'c>,
    /// Environment sources: of images in their order, then those for all containers.
    pub env_from: &'c [EnvNeed<'c>],
    /// Whether the Pod waits for one of the secrets.
    pub held: bool,
    /// The value of the annotation; empty when no rule applied.
    pub rules: &'c str,
}

/// Builds the patch; empty when the Pod has everything.
pub(crate) fn build(pod: &Pod<'_>, spec: &Spec<'_>, changes: &Changes<'_>) -> Patch {
    let mut patch = Vec::new();
    pull_secrets(spec, changes, &mut patch);
    account(spec, changes.account, &mut patch);
    env_from(spec, changes.env_from, &mut patch);
    gate(spec, changes.held, &mut patch);
    annotation(pod, changes.rules, &mut patch);
    Patch(patch)
}

fn pointer(tokens: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(tokens.iter().copied())
}

fn add(tokens: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation {
        path: pointer(tokens),
        value,
    })
}

fn replace(tokens: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Replace(ReplaceOperation {
        path: pointer(tokens),
        value,
    })
}

fn remove(tokens: &[&str]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation {
        path: pointer(tokens),
    })
}

/// Removals run from the end, so that the positions in front of them stay true; additions go behind.
fn pull_secrets(spec: &Spec<'_>, changes: &Changes<'_>, patch: &mut Vec<PatchOperation>) {
    let forbidden = &changes.account.forbidden;
    for position in forbidden.iter().rev() {
        patch.push(remove(&["spec", "imagePullSecrets", &position.to_string()]));
    }
    let stays = |at: &usize| forbidden.binary_search(at).is_err();
    let present: HashSet<&str> = spec
        .pull_secrets()
        .enumerate()
        .filter_map(|(at, name)| stays(&at).then_some(name))
        .collect();
    let of_account = changes.account.pull_secrets.iter().map(AsRef::as_ref);
    let of_rules = changes.secrets.iter().map(|need| need.name.as_str());
    let mut names: Vec<&str> = Vec::new();
    for name in of_account.chain(of_rules) {
        if !present.contains(name) && !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return;
    }
    if spec.image_pull_secrets.is_none() {
        let list = names.iter().map(|name| json!({ "name": name })).collect();
        patch.push(add(&["spec", "imagePullSecrets"], list));
        return;
    }
    for name in names {
        patch.push(add(
            &["spec", "imagePullSecrets", "-"],
            json!({ "name": name }),
        ));
    }
}

fn account(spec: &Spec<'_>, plan: &AccountPlan<'_, '_>, patch: &mut Vec<PatchOperation>) {
    let Some(name) = plan.switch_to else { return };
    // An empty name may be absent or there; `add` is right for both.
    patch.push(if spec.service_account_name.is_empty() {
        add(&["spec", "serviceAccountName"], name.into())
    } else {
        replace(&["spec", "serviceAccountName"], name.into())
    });
    if spec.service_account.is_some() {
        patch.push(replace(&["spec", "serviceAccount"], name.into()));
    }
    let Some(token) = &plan.token else { return };
    for (kind, container, mount) in token.mounts.iter().rev() {
        let (container, mount) = (container.to_string(), mount.to_string());
        patch.push(remove(&[
            "spec",
            kind.field(),
            &container,
            "volumeMounts",
            &mount,
        ]));
    }
    if let Some(volume) = token.volume {
        patch.push(remove(&["spec", "volumes", &volume.to_string()]));
    }
}

fn env_from(spec: &Spec<'_>, needs: &[EnvNeed<'_>], patch: &mut Vec<PatchOperation>) {
    if needs.is_empty() {
        return;
    }
    let (of_images, of_all) = needs.split_at(needs.partition_point(|need| need.slot.is_some()));
    let mut of_images = of_images.iter().peekable();
    let lists = [
        (ContainerKind::Container, &spec.containers),
        (ContainerKind::Init, &spec.init_containers),
    ];
    for (kind, containers) in lists {
        for (i, container) in containers.iter().enumerate() {
            let mut wanted: Vec<&EnvFrom> = Vec::new();
            while let Some(need) = of_images.next_if(|need| need.slot == Some(kind.slot(i))) {
                wanted.push(need.source);
            }
            wanted.extend(of_all.iter().map(|need| need.source));
            if !wanted.is_empty() && !container.is_nothing() {
                add_sources(kind, i, container, &wanted, patch);
            }
        }
    }
}

fn add_sources(
    kind: ContainerKind,
    position: usize,
    container: &Container<'_>,
    wanted: &[&EnvFrom],
    patch: &mut Vec<PatchOperation>,
) {
    // What is no list cannot be added to; the API server refuses such a Pod anyway.
    let Ok(present) = read_raw::<Option<List<EnvFromView<'_>>>>(container.env_from) else {
        return;
    };
    let mut lacking: Vec<&EnvFrom> = Vec::new();
    for source in wanted.iter().copied() {
        let mut entries = present.iter().flat_map(|list| list.iter());
        if !entries.any(|entry| is_same(entry, source)) && !lacking.contains(&source) {
            lacking.push(source);
        }
    }
    let position = position.to_string();
    let field = ["spec", kind.field(), &position, "envFrom"];
    if present.is_some() {
        let end = [field.as_slice(), &["-"]].concat();
        patch.extend(lacking.into_iter().map(|source| add(&end, to_json(source))));
    } else if !lacking.is_empty() {
        patch.push(add(&field, lacking.into_iter().map(to_json).collect()));
    }
}

fn is_same(view: &EnvFromView<'_>, source: &EnvFrom) -> bool {
    let (reference, other) = match source.from {
        EnvFromKind::Secret => (&view.secret, &view.config_map),
        EnvFromKind::ConfigMap => (&view.config_map, &view.secret),
    };
    *view.prefix == *source.prefix
        && other.is_none()
        && reference.as_ref().is_some_and(|reference| {
            *reference.name == *source.name
                && reference.optional.unwrap_or_default() == source.optional.unwrap_or_default()
        })
}

fn to_json(source: &EnvFrom) -> Value {
    let mut reference = json!({ "name": source.name });
    if let (Some(optional), Value::Object(map)) = (source.optional, &mut reference) {
        map.insert("optional".into(), optional.into());
    }
    let field = match source.from {
        EnvFromKind::Secret => "secretRef",
        EnvFromKind::ConfigMap => "configMapRef",
    };
    let mut entry = serde_json::Map::new();
    if !source.prefix.is_empty() {
        entry.insert("prefix".into(), Value::String(source.prefix.to_string()));
    }
    entry.insert(field.into(), reference);
    Value::Object(entry)
}

/// Put on once: a reinvocation sees our own, and whoever takes it off takes off all of that name.
fn gate(spec: &Spec<'_>, held: bool, patch: &mut Vec<PatchOperation>) {
    if !held || spec.has_gate(GATE) {
        return;
    }
    let gate = json!({ "name": GATE });
    patch.push(if spec.scheduling_gates.is_some() {
        add(&["spec", "schedulingGates", "-"], gate)
    } else {
        add(&["spec", "schedulingGates"], json!([gate]))
    });
}

fn annotation(pod: &Pod<'_>, rules: &str, patch: &mut Vec<PatchOperation>) {
    if rules.is_empty() {
        return;
    }
    match (&pod.metadata, pod.annotations()) {
        (None, _) => {
            let annotations = json!({ "annotations": { RULES_ANNOTATION: rules } });
            patch.push(add(&["metadata"], annotations));
        }
        (_, None) => {
            patch.push(add(
                &["metadata", "annotations"],
                json!({ RULES_ANNOTATION: rules }),
            ));
        }
        (_, Some(annotations)) if annotations.rules.as_deref() == Some(rules) => {}
        _ => patch.push(add(
            &["metadata", "annotations", RULES_ANNOTATION],
            rules.into(),
        )),
    }
}
