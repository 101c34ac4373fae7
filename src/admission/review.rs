//! Bytes of an AdmissionReview → a borrowed view of what a decision needs, and nothing else.
//!
//! Robust to every legal shape, see [`super::json`]. What few reviews need (`managedFields`, mounts,
//! environments, projected volumes, the old object) is kept as raw text and read when it is asked for.

use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::json::{Entries, List, Present, Text, view};
use crate::policy::decide::{ImageUse, Label, Slot};

view! {
    /// The review around the request.
    Review {
        /// `admission.k8s.io/v1`.
        api_version: Text<'a> = "apiVersion",
        /// `AdmissionReview`.
        kind: Text<'a> = "kind",
        /// What is asked.
        request: Option<Request<'a>> = "request",
    }
}

view! {
    /// `request` of a review.
    Request {
        /// Echoed in the answer.
        uid: Text<'a> = "uid",
        /// What `object` is.
        kind: GroupVersionKind<'a> = "kind",
        /// As `ephemeralcontainers`.
        sub_resource: Text<'a> = "subResource",
        /// The object's namespace.
        namespace: Text<'a> = "namespace",
        /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
        operation: Text<'a> = "operation",
        /// The Pod as it comes.
        object: Option<Pod<'a>> = "object",
        /// The Pod as it was: read only for an `UPDATE`.
        old_object: Option<&'a RawValue> = "oldObject",
    }
}

view! {
    /// The same request with its object unread, for when the object is no Pod that can be read.
    BareReview {
        /// `admission.k8s.io/v1`.
        api_version: Text<'a> = "apiVersion",
        /// `AdmissionReview`.
        kind: Text<'a> = "kind",
        /// What is asked.
        request: Option<BareRequest<'a>> = "request",
    }
}

view! {
    /// `request` of a [`BareReview`].
    BareRequest {
        /// Echoed in the answer.
        uid: Text<'a> = "uid",
        /// What `object` is.
        kind: GroupVersionKind<'a> = "kind",
        /// The object's namespace.
        namespace: Text<'a> = "namespace",
        /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
        operation: Text<'a> = "operation",
    }
}

view! {
    /// A kind with its group.
    GroupVersionKind {
        /// Empty for core kinds.
        group: Text<'a> = "group",
        /// `v1`.
        version: Text<'a> = "version",
        /// `Pod`.
        kind: Text<'a> = "kind",
    }
}

view! {
    /// A Pod.
    Pod {
        /// Name, labels, annotations.
        metadata: Option<Metadata<'a>> = "metadata",
        /// What it runs.
        spec: Option<Spec<'a>> = "spec",
    }
}

view! {
    /// `metadata` of a Pod.
    Metadata {
        /// Absent with `generateName`.
        name: Text<'a> = "name",
        /// The prefix of a name to be made.
        generate_name: Text<'a> = "generateName",
        /// May be absent; the request has it.
        namespace: Text<'a> = "namespace",
        /// Labels.
        labels: Labels<'a> = "labels",
        /// Annotations, when there are any.
        annotations: Option<Annotations<'a>> = "annotations",
        /// Who wrote which field.
        managed_fields: Option<&'a RawValue> = "managedFields",
    }
}

view! {
    /// The annotations that matter.
    Annotations {
        /// There on a mirror Pod.
        mirror: Option<Text<'a>> = "kubernetes.io/config.mirror",
        /// The rules that applied when we saw it before.
        rules: Option<Text<'a>> = "pullpass.dev/rules",
    }
}

view! {
    /// `spec` of a Pod.
    Spec {
        /// Containers.
        containers: List<Container<'a>> = "containers",
        /// Init containers.
        init_containers: List<Container<'a>> = "initContainers",
        /// Ephemeral containers.
        ephemeral_containers: List<Container<'a>> = "ephemeralContainers",
        /// Volumes.
        volumes: List<Volume<'a>> = "volumes",
        /// Pull secrets; absent and empty differ for a patch.
        image_pull_secrets: Option<List<LocalReference<'a>>> = "imagePullSecrets",
        /// The account.
        service_account_name: Text<'a> = "serviceAccountName",
        /// Its deprecated twin.
        service_account: Option<Text<'a>> = "serviceAccount",
        /// What the Pod itself says of its token.
        automount: Option<bool> = "automountServiceAccountToken",
        /// Set: the Pod is bound already.
        node_name: Text<'a> = "nodeName",
        /// Its priority class.
        priority_class_name: Text<'a> = "priorityClassName",
        /// What keeps it from being scheduled; absent and empty differ for a patch.
        scheduling_gates: Option<List<LocalReference<'a>>> = "schedulingGates",
    }
}

view! {
    /// A container of any kind.
    Container {
        /// Its name.
        name: Text<'a> = "name",
        /// Its image; may be absent, which the API server refuses later.
        image: Option<Text<'a>> = "image",
        /// Its variables, unread.
        env: Option<&'a RawValue> = "env",
        /// Its environment sources, unread; absent and empty differ for a patch.
        env_from: Option<&'a RawValue> = "envFrom",
        /// Its mounts, unread.
        volume_mounts: Option<&'a RawValue> = "volumeMounts",
    }
}

view! {
    /// An entry of `envFrom`.
    EnvFromView {
        /// Put in front of each name.
        prefix: Text<'a> = "prefix",
        /// A Secret.
        secret: Option<OptionalReference<'a>> = "secretRef",
        /// A ConfigMap.
        config_map: Option<OptionalReference<'a>> = "configMapRef",
    }
}

view! {
    /// A reference that may say that its object may be absent.
    OptionalReference {
        /// The object's name.
        name: Text<'a> = "name",
        /// Whether it may be absent.
        optional: Option<bool> = "optional",
    }
}

view! {
    /// A reference by name, or what has nothing but a name. Legal without one.
    LocalReference {
        /// The name, or nothing.
        name: Text<'a> = "name",
    }
}

view! {
    /// An entry of `env`, as far as it names a Secret.
    Variable {
        /// Where its value comes from.
        value_from: Option<ValueFrom<'a>> = "valueFrom",
    }
}

view! {
    /// Where a variable's value comes from.
    ValueFrom {
        /// A Secret.
        secret: Option<OptionalReference<'a>> = "secretKeyRef",
    }
}

view! {
    /// An entry of `volumeMounts`.
    Mount {
        /// The volume.
        name: Text<'a> = "name",
        /// Where it stands.
        path: Text<'a> = "mountPath",
    }
}

view! {
    /// A volume.
    Volume {
        /// Its name.
        name: Text<'a> = "name",
        /// An image volume.
        image: Option<ImageVolume<'a>> = "image",
        /// A Secret's content.
        secret: Option<SecretVolume<'a>> = "secret",
        /// Several sources in one, unread.
        projected: Option<&'a RawValue> = "projected",
    }
}

view! {
    /// `volumes[].image`.
    ImageVolume {
        /// The image.
        reference: Option<Text<'a>> = "reference",
    }
}

view! {
    /// `volumes[].secret`.
    SecretVolume {
        /// The Secret.
        name: Text<'a> = "secretName",
    }
}

view! {
    /// `volumes[].projected`.
    Projected {
        /// Its sources.
        sources: List<ProjectedSource<'a>> = "sources",
    }
}

view! {
    /// A source of a projected volume, as far as it is a token.
    ProjectedSource {
        /// A service account's token.
        token: Option<Token<'a>> = "serviceAccountToken",
    }
}

view! {
    /// A projected token. The seconds are raw: a number that is none must not make a Pod unreadable.
    Token {
        /// For how long it is asked.
        expiration_seconds: Option<&'a RawValue> = "expirationSeconds",
    }
}

view! {
    /// An entry of `managedFields`.
    Managed {
        /// What its manager wrote.
        fields: Option<ManagedObject<'a>> = "fieldsV1",
    }
}

view! {
    /// The fields of an object that somebody wrote.
    ManagedObject {
        /// Those of its `spec`.
        spec: ManagedSpec<'a> = "f:spec",
    }
}

view! {
    /// The fields of a Pod's `spec` that somebody wrote. Entries of lists have keys as `k:{"name":"x"}`.
    ManagedSpec {
        /// The account.
        service_account_name: Present = "f:serviceAccountName",
        /// Its deprecated twin.
        service_account: Present = "f:serviceAccount",
        /// Pull secrets.
        image_pull_secrets: Entries<'a, Present> = "f:imagePullSecrets",
        /// Volumes.
        volumes: Entries<'a, Present> = "f:volumes",
        /// Containers.
        containers: Entries<'a, ManagedContainer<'a>> = "f:containers",
        /// Init containers.
        init_containers: Entries<'a, ManagedContainer<'a>> = "f:initContainers",
    }
}

view! {
    /// The fields of a container that somebody wrote.
    ManagedContainer {
        /// Its mounts.
        volume_mounts: Entries<'a, Present> = "f:volumeMounts",
    }
}

view! {
    /// The key of a list's entry, behind its `k:`.
    EntryKey {
        /// Of a container, a volume, a pull secret.
        name: Text<'a> = "name",
        /// Of a mount.
        mount_path: Text<'a> = "mountPath",
    }
}

/// Labels, in the order written.
#[derive(Clone, Debug, Default)]
pub struct Labels<'a>(pub Vec<Label<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Entries::<Text<'a>>::deserialize(deserializer)?.0;
        Ok(Self(
            entries
                .into_iter()
                .map(|(key, value)| (key, value.0))
                .collect(),
        ))
    }
}

impl<'a> Pod<'a> {
    /// Reads a Pod from JSON.
    pub fn from_json(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> &[Label<'a>] {
        self.metadata
            .as_ref()
            .map_or(&[], |metadata| &metadata.labels.0)
    }

    /// Its annotations, when it has any.
    #[must_use]
    pub fn annotations(&self) -> Option<&Annotations<'a>> {
        self.metadata.as_ref()?.annotations.as_ref()
    }

    /// Whether the kubelet made it for a static Pod.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.annotations()
            .is_some_and(|annotations| annotations.mirror.is_some())
    }

    /// Its name, or the prefix of the name that it will get.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.metadata {
            Some(metadata) if metadata.name.is_empty() => &metadata.generate_name,
            Some(metadata) => &metadata.name,
            None => "",
        }
    }
}

impl GroupVersionKind<'_> {
    /// Whether it is the one kind that is looked at.
    #[must_use]
    pub fn is_pod(&self) -> bool {
        &*self.kind == "Pod" && self.group.is_empty() && &*self.version == "v1"
    }
}

impl Container<'_> {
    /// Whether it is `null` or empty: the API server refuses the Pod, and nothing can be added to `null`.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.name.is_empty() && self.image.is_none()
    }
}

impl Spec<'_> {
    /// The account that the Pod runs under. The API server fills in both fields; in a manifest the
    /// deprecated one may stand alone.
    #[must_use]
    pub fn account(&self) -> &str {
        let twin = self.service_account.as_deref().unwrap_or_default();
        [&*self.service_account_name, twin]
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or("default")
    }

    /// The names of its pull secrets; empty ones for entries without a name.
    #[must_use]
    pub fn pull_secrets(&self) -> impl ExactSizeIterator<Item = &str> {
        let entries = self.image_pull_secrets.as_deref().unwrap_or_default();
        entries.iter().map(|entry| &*entry.name)
    }

    /// Whether it has a scheduling gate of this name.
    #[must_use]
    pub fn has_gate(&self, name: &str) -> bool {
        let gates = self.scheduling_gates.as_deref().unwrap_or_default();
        gates.iter().any(|gate| &*gate.name == name)
    }

    /// Its images in the order in which they are decided.
    #[must_use]
    pub fn images(&self) -> Vec<ImageUse<'_>> {
        fn of<'s>(
            containers: &'s [Container<'_>],
            slot: fn(usize) -> Slot,
        ) -> impl Iterator<Item = ImageUse<'s>> {
            containers
                .iter()
                .enumerate()
                .filter_map(move |(i, container)| {
                    Some(ImageUse {
                        slot: slot(i),
                        text: container.image.as_deref()?,
                    })
                })
        }
        let volumes = self.volumes.iter().enumerate().filter_map(|(i, volume)| {
            let text = volume.image.as_ref()?.reference.as_deref()?;
            Some(ImageUse {
                slot: Slot::Volume(i),
                text,
            })
        });
        of(&self.containers, Slot::Container)
            .chain(of(&self.init_containers, Slot::InitContainer))
            .chain(of(&self.ephemeral_containers, Slot::EphemeralContainer))
            .chain(volumes)
            .collect()
    }
}
