//! Objects as a watch brings them: their metadata, and the few fields that we read, in any shape.
//!
//! What we do not read is not kept, and what cannot be read is told, not guessed: a watch never stops
//! at an object.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::objects::{ENFORCE_ANNOTATION, is_true};
use crate::policy::config_maps::{ConfigMapName, Content};
use crate::policy::decide::Label;
use crate::snapshot::Account;

/// A Namespace.
#[derive(Clone, Debug, Deserialize)]
pub struct Namespace {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
}

/// A ServiceAccount.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceAccount {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    image_pull_secrets: Value,
    #[serde(default)]
    secrets: Value,
    #[serde(default)]
    automount_service_account_token: Value,
}

/// A ConfigMap.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ConfigMap {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    data: Value,
}

/// The metadata that we read, whatever its fields hold: one label that is no string must not keep a whole
/// list from being read. The managed fields, often the larger part of an object, are passed over.
pub(super) fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Read {
        name: Value,
        namespace: Value,
        resource_version: Value,
        labels: Value,
        annotations: Value,
    }
    let read = Read::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: string(read.name),
        namespace: string(read.namespace),
        resource_version: string(read.resource_version),
        labels: strings(read.labels),
        annotations: strings(read.annotations),
        ..ObjectMeta::default()
    })
}

fn string(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Those entries of a map that are strings.
fn strings(value: Value) -> Option<BTreeMap<String, String>> {
    let Value::Object(map) = value else {
        return None;
    };
    let entries = map.into_iter();
    Some(
        entries
            .filter_map(|(key, value)| Some((key, string(value)?)))
            .collect(),
    )
}

/// What a client asks for to get these.
macro_rules! resource {
    ($view:ident, $kind:literal, $plural:literal) => {
        resource!($view, $kind, $plural, kube::core::NamespaceResourceScope);
    };
    ($view:ident, $kind:literal, $plural:literal, $scope:ty) => {
        impl kube::Resource for $view {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                "".into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(
                &mut self,
            ) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(crate) use resource;

resource!(
    Namespace,
    "Namespace",
    "namespaces",
    kube::core::ClusterResourceScope
);
resource!(ServiceAccount, "ServiceAccount", "serviceaccounts");
resource!(ConfigMap, "ConfigMap", "configmaps");

impl ServiceAccount {
    /// What decisions need of it.
    pub(super) fn account(&self) -> Account {
        let annotations = self.metadata.annotations.as_ref();
        let enforcing = annotations.and_then(|annotations| annotations.get(ENFORCE_ANNOTATION));
        Account {
            image_pull_secrets: names(&self.image_pull_secrets),
            secrets: names(&self.secrets),
            automount: self.automount_service_account_token.as_bool(),
            enforcing: enforcing.is_some_and(|value| is_true(value)),
        }
    }
}

/// The names in a list of references. Entries without one are legal, and stand for nothing.
fn names(list: &Value) -> Vec<Box<str>> {
    let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| entry.get("name")?.as_str().map(Into::into))
        .collect()
}

impl ConfigMap {
    pub(super) fn name(&self) -> ConfigMapName {
        ConfigMapName {
            namespace: self
                .metadata
                .namespace
                .as_deref()
                .unwrap_or_default()
                .into(),
            name: self.metadata.name.as_deref().unwrap_or_default().into(),
        }
    }

    /// What a key holds, if that is a text.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.data.get(key)?.as_str()
    }

    /// Its policies' texts.
    pub(super) fn content(&self) -> Content {
        let name = self.name();
        let data = match &self.data {
            Value::Null => return Content::new(&name, []),
            Value::Object(data) => data,
            _ => return Content::unreadable(&name, "its `data` is no map"),
        };
        let mut texts = Vec::with_capacity(data.len());
        for (key, value) in data {
            let Some(text) = value.as_str() else {
                return Content::unreadable(&name, format!("its key `{key}` is no string"));
            };
            texts.push((key.as_str(), text));
        }
        Content::new(&name, texts)
    }
}

/// A namespace's labels.
pub(super) fn labels(metadata: &ObjectMeta) -> Vec<Label<'static>> {
    let labels = metadata.labels.iter().flatten();
    labels
        .map(|(key, value)| (key.clone().into(), value.clone().into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::document::Scope;
    use serde_json::json;

    #[test]
    fn an_account_is_read_whatever_its_fields_hold() {
        let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect::<Vec<_>>();
        let rows = [
            (json!({}), Account::default(), "nothing but a name"),
            (
                json!({"imagePullSecrets": [{"name": "a"}, {}, {"name": ""}], "secrets": [{"name": "s"}], "automountServiceAccountToken": false}),
                Account {
                    image_pull_secrets: names(&["a", ""]),
                    secrets: names(&["s"]),
                    automount: Some(false),
                    enforcing: false,
                },
                "all of it",
            ),
            (
                json!({"imagePullSecrets": "a", "secrets": {"name": "s"}, "automountServiceAccountToken": "no"}),
                Account::default(),
                "shapes that no API server would send",
            ),
        ];
        for (mut object, want, why) in rows {
            object["metadata"] = json!({"name": "x", "namespace": "web"});
            let account: ServiceAccount = serde_json::from_value(object).unwrap();
            assert_eq!(account.account(), want, "{why}");
        }
        let enforcing =
            json!({"metadata": {"name": "x", "annotations": {ENFORCE_ANNOTATION: "T"}}});
        let account: ServiceAccount = serde_json::from_value(enforcing).unwrap();
        assert!(account.account().enforcing);
    }

    #[test]
    fn metadata_is_read_whatever_its_fields_hold() {
        let labels = |all: &[(&str, &str)]| {
            let owned = all.iter().map(|(k, v)| (k.to_string(), v.to_string()));
            owned.collect::<BTreeMap<_, _>>()
        };
        for (fields, want, why) in [
            (
                json!({"labels": {"a": "b"}}),
                Some(labels(&[("a", "b")])),
                "as it should be",
            ),
            (
                json!({"labels": {"a": 3, "b": "c"}}),
                Some(labels(&[("b", "c")])),
                "a label that is no string",
            ),
            (json!({"labels": 3}), None, "no map"),
            (
                json!({"managedFields": 3, "creationTimestamp": "?", "ownerReferences": "me"}),
                None,
                "what we do not read",
            ),
        ] {
            let mut metadata = fields;
            metadata["name"] = json!("web");
            metadata["resourceVersion"] = json!("7");
            let read: Namespace = serde_json::from_value(json!({"metadata": metadata})).unwrap();
            assert_eq!(read.metadata.labels, want, "{why}");
            assert_eq!(read.metadata.name.as_deref(), Some("web"), "{why}");
            let version = read.metadata.resource_version.as_deref();
            assert_eq!(version, Some("7"), "a watch goes on from it: {why}");
        }
    }

    #[test]
    fn a_configmap_is_read_or_told_to_be_unreadable() {
        for (data, want, why) in [
            (
                json!({"p.yaml": "a: ["}),
                "PP101",
                "a key that holds policies",
            ),
            (json!(null), "PP135", "no data"),
            (json!({"x": "a: ["}), "PP135", "no key that holds policies"),
            (json!(["a"]), "PP103", "data of another shape"),
            (json!({"p.yaml": 3}), "PP103", "a key of another shape"),
        ] {
            let object = json!({"metadata": {"name": "x", "namespace": "web"}, "data": data});
            let map: ConfigMap = serde_json::from_value(object).unwrap();
            let parsed = map.content().parse(&Scope::Cluster);
            let codes: Vec<_> = parsed.diagnostics.iter().map(|d| d.code.as_str()).collect();
            assert_eq!(codes, [want], "{why}");
            assert!(parsed.diagnostics[0].to_string().contains("web/x"), "{why}");
        }
    }
}
