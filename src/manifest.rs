//! A manifest → the Pods in it, and the manifest with the table applied to each.
//!
//! Pods, the workloads that hold a Pod template, Lists of them, AdmissionReviews. Everything else is
//! none of ours and passes through. Works on JSON values; the edges read and write YAML.

use json_patch::jsonptr::{Pointer, PointerBuf};
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Value, json};

use crate::admission::{Admission, Answer, BadReview, admit, answer, review::Pod};
use crate::snapshot::{AccountLookup, Snapshot};

/// A Pod of a manifest, or the template of Pods.
#[derive(Debug)]
pub struct Found {
    /// The kind of the object that holds it.
    pub kind: String,
    /// That object's name, or its prefix.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Where the Pod stands in the document.
    pub path: PointerBuf,
    /// What becomes of it; the error says why it cannot be read as a Pod.
    pub admission: Result<Admission, String>,
}

impl Found {
    /// `Deployment shop/web`, as messages name it.
    #[must_use]
    pub fn title(&self) -> String {
        let name = if self.name.is_empty() {
            "(no name)"
        } else {
            &self.name
        };
        format!("{} {}/{name}", self.kind, self.namespace)
    }

    /// The patch of the whole document; empty when there is nothing to change.
    #[must_use]
    pub fn patch(&self) -> Patch {
        let operations = self
            .admission
            .iter()
            .flat_map(|admission| admission.patch.iter());
        Patch(
            operations
                .map(|operation| below(&self.path, operation))
                .collect(),
        )
    }

    /// Whether the table changes it.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.admission
            .as_ref()
            .is_ok_and(|admission| !admission.patch.is_empty())
    }
}

/// A Pod of a document, not looked at yet.
#[derive(Debug)]
pub struct Located<'v> {
    /// The kind of the object that holds it.
    pub kind: &'v str,
    /// That object's name, or its prefix.
    pub name: &'v str,
    /// Its namespace, when it says one.
    pub namespace: Option<&'v str>,
    /// Where the Pod stands in the document.
    pub path: PointerBuf,
    /// The Pod.
    pub pod: &'v Value,
}

/// Every Pod of a document, in order.
#[must_use]
pub fn pods(document: &Value) -> Vec<Located<'_>> {
    let mut located = Vec::new();
    walk(document, Pointer::root(), None, &mut located);
    located
}

/// Applies the table to every Pod of a document, in order. Nothing is changed yet: see
/// [`Found::patch`].
#[must_use]
pub fn examine(document: &Value, namespace: &str, snapshot: &Snapshot) -> Vec<Found> {
    let located = pods(document).into_iter().map(|located| {
        let namespace = located.namespace.unwrap_or(namespace);
        Found {
            kind: located.kind.to_owned(),
            name: located.name.to_owned(),
            namespace: namespace.to_owned(),
            path: located.path,
            admission: admit_value(located.pod, namespace, snapshot),
        }
    });
    located.collect()
}

/// The document with the patches of what was found in it.
#[must_use]
pub fn apply(document: &Value, found: &[Found]) -> Value {
    let mut after = document.clone();
    for found in found {
        // Built against this very document: a patch that does not apply leaves it as it was.
        let _ = json_patch::patch(&mut after, &found.patch());
    }
    after
}

/// The webhook's own answer to an AdmissionReview.
pub fn answer_review(review: &Value, snapshot: &Snapshot) -> Result<Answer, BadReview> {
    answer(review.to_string().as_bytes(), snapshot)
}

/// Whether a document is an AdmissionReview.
#[must_use]
pub fn is_review(document: &Value) -> bool {
    text(document, "kind") == "AdmissionReview"
}

fn walk<'v>(
    value: &'v Value,
    path: &Pointer,
    namespace: Option<&'v str>,
    located: &mut Vec<Located<'v>>,
) {
    let kind = text(value, "kind");
    if let Some(listed) = kind.strip_suffix("List") {
        let items = value.get("items").and_then(Value::as_array);
        for (i, item) in items.into_iter().flatten().enumerate() {
            let path = join(path, &["items", &i.to_string()]);
            if text(item, "kind").is_empty() {
                // The API server's own lists say once, above, what their items are.
                locate(
                    item,
                    (text(value, "apiVersion"), listed),
                    &path,
                    namespace,
                    located,
                );
            } else {
                walk(item, &path, namespace, located);
            }
        }
        return;
    }
    if is_review(value) {
        let request = |pointer: &str| value.pointer(pointer).filter(|value| !value.is_null());
        let Some(object) = request("/request/object") else {
            return;
        };
        // Only a Pod that is to be created gets a patch.
        if request("/request/operation").is_some_and(|operation| operation != "CREATE") {
            return;
        }
        let own = request("/request/namespace").and_then(Value::as_str);
        return walk(
            object,
            &join(path, &["request", "object"]),
            own.or(namespace),
            located,
        );
    }
    locate(
        value,
        (text(value, "apiVersion"), kind),
        path,
        namespace,
        located,
    );
}

fn locate<'v>(
    value: &'v Value,
    (version, kind): (&str, &'v str),
    path: &Pointer,
    namespace: Option<&'v str>,
    located: &mut Vec<Located<'v>>,
) {
    let Some(template) = template(version, kind) else {
        return;
    };
    let pod = template
        .iter()
        .try_fold(value, |value, key| value.get(*key));
    let Some(pod) = pod else {
        return;
    };
    let metadata = |key: &str| {
        let text = value
            .get("metadata")
            .map_or("", |metadata| text(metadata, key));
        Some(text).filter(|text| !text.is_empty())
    };
    located.push(Located {
        kind,
        name: metadata("name")
            .or(metadata("generateName"))
            .unwrap_or_default(),
        namespace: metadata("namespace").or(namespace),
        path: join(path, template),
        pod,
    });
}

/// Where a kind holds its Pod.
fn template(version: &str, kind: &str) -> Option<&'static [&'static str]> {
    let (group, _) = version.split_once('/').unwrap_or_default();
    Some(match (group, kind) {
        ("", "Pod") => &[],
        ("", "PodTemplate") => &["template"],
        ("", "ReplicationController" | "DeploymentConfig")
        | ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job")
        | ("apps.openshift.io", "DeploymentConfig") => &["spec", "template"],
        ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template"],
        _ => return None,
    })
}

/// What becomes of a Pod from a manifest, which no admission plugin has seen yet.
///
/// A list that we add keeps the API server from copying the account's pull secrets, so they are put
/// in front of ours when the account is known.
pub fn admit_value(pod: &Value, namespace: &str, snapshot: &Snapshot) -> Result<Admission, String> {
    let bytes = pod.to_string();
    let view = Pod::from_json(bytes.as_bytes()).map_err(|error| error.to_string())?;
    let mut admission = admit(&view, namespace, snapshot);
    let account = view
        .spec
        .as_ref()
        .map_or("", |spec| &*spec.service_account_name);
    let account = if account.is_empty() {
        "default"
    } else {
        account
    };
    let switched = admission
        .patch
        .iter()
        .any(|op| op.path() == "/spec/serviceAccountName");
    if let (false, AccountLookup::Known(account)) =
        (switched, snapshot.accounts.get(namespace, account))
    {
        let list = admission
            .patch
            .0
            .iter_mut()
            .find_map(|operation| match operation {
                PatchOperation::Add(add) if add.path.as_str() == "/spec/imagePullSecrets" => {
                    add.value.as_array_mut()
                }
                _ => None,
            });
        if let Some(list) = list {
            let own = account
                .image_pull_secrets
                .iter()
                .map(|name| json!({ "name": name }));
            let own: Vec<Value> = own.filter(|entry| !list.contains(entry)).collect();
            list.splice(0..0, own);
        }
    }
    Ok(admission)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn join(path: &Pointer, tokens: &[&str]) -> PointerBuf {
    let mut path = path.to_buf();
    for token in tokens {
        path.push_back(*token);
    }
    path
}

/// The same operation below a path.
fn below(path: &Pointer, operation: &PatchOperation) -> PatchOperation {
    let mut moved = operation.clone();
    let place = match &mut moved {
        PatchOperation::Add(AddOperation { path, .. }) => path,
        PatchOperation::Remove(remove) => &mut remove.path,
        PatchOperation::Replace(replace) => &mut replace.path,
        PatchOperation::Move(_) | PatchOperation::Copy(_) | PatchOperation::Test(_) => {
            return moved;
        }
    };
    let mut whole = path.to_buf();
    whole.append(&*place);
    *place = whole;
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::load::{LoadOptions, load};

    fn snapshot() -> Snapshot {
        let policy = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: p}
spec:
  rules:
    - {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub-creds]}}
";
        let objects = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: own}, \
                       imagePullSecrets: [{name: mine}]}";
        let sources = (Source::new("p", policy), Source::new("o", objects));
        load(&[sources.0], &[sources.1], &LoadOptions::default()).snapshot
    }

    fn pod() -> Value {
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
    }

    #[test]
    fn every_workload_is_changed_in_its_template() {
        let template = |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": {"template": pod()}});
        let mut bare = pod();
        bare["apiVersion"] = "v1".into();
        bare["kind"] = "Pod".into();
        for (document, path) in [
            (bare.clone(), ""),
            (template("apps/v1", "Deployment"), "/spec/template"),
            (template("apps/v1", "StatefulSet"), "/spec/template"),
            (template("apps/v1", "DaemonSet"), "/spec/template"),
            (template("apps/v1", "ReplicaSet"), "/spec/template"),
            (template("v1", "ReplicationController"), "/spec/template"),
            (template("batch/v1", "Job"), "/spec/template"),
            (
                template("apps.openshift.io/v1", "DeploymentConfig"),
                "/spec/template",
            ),
            (
                json!({"apiVersion": "batch/v1", "kind": "CronJob",
                    "spec": {"jobTemplate": {"spec": {"template": pod()}}}}),
                "/spec/jobTemplate/spec/template",
            ),
            (
                json!({"apiVersion": "v1", "kind": "List", "items": [{}, bare]}),
                "/items/1",
            ),
            (
                json!({"apiVersion": "v1", "kind": "PodList", "items": [pod()]}),
                "/items/0",
            ),
            (
                json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [{"spec": {"template": pod()}}]}),
                "/items/0/spec/template",
            ),
            (
                json!({"kind": "AdmissionReview", "request": {"object": bare}}),
                "/request/object",
            ),
            (
                json!({"kind": "AdmissionReview", "request": {"operation": "CREATE", "object": bare}}),
                "/request/object",
            ),
        ] {
            let found = examine(&document, "web", &snapshot());
            let after = apply(&document, &found);
            let secrets = after.pointer(&format!("{path}/spec/imagePullSecrets"));
            assert_eq!(secrets, Some(&json!([{"name": "hub-creds"}])), "{document}");
            assert!(
                !examine(&after, "web", &snapshot())[0].changes(),
                "a second time: {document}"
            );
        }
    }

    #[test]
    fn other_kinds_are_none_of_ours() {
        for document in [
            template_of("example.com/v1", "Deployment"),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"spec": "x"}}),
            json!({"apiVersion": "v1", "kind": "ConfigMapList", "items": [pod()]}),
            json!({"kind": "AdmissionReview", "request": {"operation": "UPDATE",
                "object": {"apiVersion": "v1", "kind": "Pod", "spec": {}}}}),
            json!({"kind": "AdmissionReview", "request": {"object": null}}),
            json!([1, 2]),
            json!(null),
        ] {
            assert!(
                examine(&document, "web", &snapshot()).is_empty(),
                "{document}"
            );
        }
    }

    fn template_of(version: &str, kind: &str) -> Value {
        json!({"apiVersion": version, "kind": kind, "spec": {"template": pod()}})
    }

    #[test]
    fn a_list_that_we_add_keeps_the_account_s_own_pull_secrets() {
        let document = template_of("apps/v1", "Deployment");
        let after = apply(&document, &examine(&document, "own", &snapshot()));
        assert_eq!(
            after.pointer("/spec/template/spec/imagePullSecrets"),
            Some(&json!([{"name": "mine"}, {"name": "hub-creds"}]))
        );
    }

    #[test]
    fn a_pod_that_cannot_be_read_says_why() {
        let document = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": "none"}});
        let found = examine(&document, "web", &snapshot());
        assert!(found[0].admission.as_ref().unwrap_err().contains("a list"));
    }
}
