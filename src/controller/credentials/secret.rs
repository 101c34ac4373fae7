//! A Secret as the API server has it ↔ a copy as the plans know it.
//!
//! Whose a Secret is, what it says and the digest of what it holds; its value goes no further than to be
//! taken over by a controller that was restarted.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;

use super::super::apply::{FIELD_MANAGER, OURS};
use crate::docker_config::{Digest, Format};
use crate::plan::secrets::{Copy, Marks, Owner};

/// The policy that declares the credential.
const POLICY: &str = "pullpass.dev/policy";
/// Where the value comes from, in words.
const SOURCE: &str = "pullpass.dev/source";
/// Until when the value is good, as RFC 3339.
const EXPIRES: &str = "pullpass.dev/expires";
/// For which namespace it was made: what a tool copied elsewhere, label and all, is not ours.
const NAMESPACE: &str = "pullpass.dev/namespace";

/// What our one key of a Secret holds.
pub(super) fn content(secret: &Secret) -> Option<&ByteString> {
    secret.data.as_ref()?.get(Format::DockerConfigJson.key())
}

/// A Secret as the plans know it. None when it has no uid, as no API server sends it.
pub(super) fn copy(secret: &Secret) -> Option<Copy> {
    let metadata = &secret.metadata;
    let nothing = BTreeMap::new();
    let annotations = metadata.annotations.as_ref().unwrap_or(&nothing);
    let said = |key: &str| annotations.get(key).map(String::as_str);
    let labels = metadata.labels.as_ref();
    let labelled = labels
        .and_then(|labels| labels.get(OURS.0))
        .map(String::as_str)
        == Some(OURS.1);
    let typed = secret.type_.as_deref() == Some(Format::DockerConfigJson.secret_type());
    let here = match said(NAMESPACE) {
        Some(namespace) => Some(namespace) == metadata.namespace.as_deref(),
        None => is_applied(secret),
    };
    let owner = if labelled && typed && here {
        let marks = Marks {
            policy: said(POLICY).unwrap_or_default().to_owned(),
            source: said(SOURCE).unwrap_or_default().to_owned(),
            expires: said(EXPIRES).and_then(time),
        };
        let digest = Digest::of(content(secret).map_or(&[], |content| &content.0));
        Owner::Us { digest, marks }
    } else {
        Owner::Others
    };
    Some(Copy {
        uid: metadata.uid.clone()?,
        version: metadata.resource_version.clone()?,
        owner,
    })
}

/// Whether we have applied it, by the API server's own word: labels are copied by many a tool.
fn is_applied(secret: &Secret) -> bool {
    let mut entries = secret.metadata.managed_fields.iter().flatten();
    entries.any(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
    })
}

/// What a copy for this namespace says beside its value.
pub(super) fn annotations(marks: &Marks, namespace: &str) -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::from([
        (POLICY, marks.policy.clone()),
        (SOURCE, marks.source.clone()),
        (NAMESPACE, namespace.to_owned()),
    ]);
    let expires = marks.expires.and_then(|at| Timestamp::try_from(at).ok());
    annotations.extend(expires.map(|at| (EXPIRES, at.to_string())));
    annotations
}

fn time(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use serde_json::{Value, json};

    fn secret(change: impl FnOnce(&mut Value)) -> Secret {
        let marks = Marks {
            policy: "company".to_owned(),
            source: "ecr us-east-1".to_owned(),
            expires: Some(UNIX_EPOCH + Duration::from_hours(500_000)),
        };
        let mut object = json!({
            "metadata": {
                "name": "ecr", "namespace": "web", "uid": "u", "resourceVersion": "7",
                "labels": {OURS.0: OURS.1},
                "annotations": annotations(&marks, "web"),
                "managedFields": [{"manager": FIELD_MANAGER, "operation": "Apply"}],
            },
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": "e30="},
        });
        change(&mut object);
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_copy_is_ours_by_label_type_and_the_namespace_it_was_made_for() {
        for (change, want, why) in [
            (json!({}), true, "as we write it"),
            (
                json!({"metadata": {"labels": {OURS.0: "helm"}}}),
                false,
                "another manager's",
            ),
            (
                json!({"metadata": {"labels": null}}),
                false,
                "the label is gone",
            ),
            (
                json!({"type": "Opaque"}),
                false,
                "a type that we do not write",
            ),
            (
                json!({"metadata": {"namespace": "api"}}),
                false,
                "a tool copied it there",
            ),
            (
                json!({"metadata": {"annotations": null}}),
                true,
                "its annotations were removed by hand",
            ),
            (
                json!({"metadata": {"annotations": null, "managedFields": [
                    {"manager": "copier", "operation": "Update"},
                    {"manager": FIELD_MANAGER, "operation": "Update"},
                ]}}),
                false,
                "a tool copied the label alone",
            ),
            (json!({"data": null}), true, "its value was removed by hand"),
        ] {
            let secret = secret(|object| json_patch::merge(object, &change));
            let copy = copy(&secret).unwrap();
            assert_eq!(copy.owner != Owner::Others, want, "{why}");
        }
    }

    #[test]
    fn what_a_copy_says_is_read_back_and_its_value_is_a_digest() {
        let copy = copy(&secret(|_| {})).unwrap();
        assert_eq!((&*copy.uid, &*copy.version), ("u", "7"));
        let Owner::Us { digest, marks } = copy.owner else {
            panic!("it is ours");
        };
        assert_eq!(digest, Digest::of(b"{}"));
        assert_eq!(
            (&*marks.policy, &*marks.source),
            ("company", "ecr us-east-1")
        );
        assert_eq!(
            marks.expires,
            Some(UNIX_EPOCH + Duration::from_hours(500_000))
        );
    }
}
