//! A Pod that runs already + what it was → what its new containers lack, as warnings.
//!
//! Pull secrets of a running Pod cannot be changed, so nothing here is ever a patch.

use std::collections::HashSet;

use super::admit::{count_images, excluded, unreadable_images};
use super::line::quoted;
use super::review::{Container, Pod, Spec};
use super::{Admission, Outcome, Warning, lack};
use crate::diagnostic::Code;
use crate::policy::decide::{Counting, ImageUse, PodFacts, Slot, decide};
use crate::snapshot::Snapshot;

/// Warns of containers that the old Pod has not and whose pull secrets the Pod lacks.
pub(super) fn warn(
    pod: &Pod<'_>,
    old: &Pod<'_>,
    namespace: &str,
    snapshot: &Snapshot,
) -> Admission {
    let namespace_labels = snapshot.namespaces.labels(namespace);
    if let Some(excluded) = excluded(pod, namespace, &namespace_labels, snapshot) {
        return excluded;
    }
    let Some(spec) = &pod.spec else {
        return Admission::invalid("the Pod has no `spec`");
    };
    let known: HashSet<&str> = old.spec.iter().flat_map(container_names).collect();
    let is_new = |image: &ImageUse<'_>| {
        container(spec, image.slot).is_some_and(|container| !known.contains(&*container.name))
    };
    let images: Vec<ImageUse<'_>> = spec.images().into_iter().filter(is_new).collect();
    let facts = PodFacts {
        namespace,
        namespace_labels: &namespace_labels,
        labels: pod.labels(),
        images: &images,
    };
    let decision = decide(&snapshot.table, &facts, Counting::Enforced);
    let present: HashSet<&str> = spec.pull_secrets().collect();
    let mut admission = Admission {
        images: count_images(&decision),
        warnings: unreadable_images(&decision),
        lacks: lack::namespace(namespace, None, false, snapshot),
        ..Admission::unchanged(Outcome::Unchanged)
    };
    for image in &decision.images {
        for rule in image.winners().map(|won| won.rule) {
            for secret in rule
                .secrets()
                .iter()
                .filter(|secret| !present.contains(secret.as_str()))
            {
                let message = format!(
                    "image {} needs pull secret `{secret}` of rule `{rule}`, which the Pod lacks and which \
                     cannot be added to a running Pod",
                    quoted(image.image.text),
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
    [
        &spec.containers,
        &spec.init_containers,
        &spec.ephemeral_containers,
    ]
    .into_iter()
    .flat_map(|list| list.iter())
    .map(|container| &*container.name)
}

/// The container that an image belongs to; none for a volume.
fn container<'s, 'a>(spec: &'s Spec<'a>, slot: Slot) -> Option<&'s Container<'a>> {
    match slot {
        Slot::Container(i) => spec.containers.get(i),
        Slot::InitContainer(i) => spec.init_containers.get(i),
        Slot::EphemeralContainer(i) => spec.ephemeral_containers.get(i),
        Slot::Volume(_) => None,
    }
}
