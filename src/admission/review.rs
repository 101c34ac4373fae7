//! Bytes of an AdmissionReview → a borrowed view of what a decision needs, and nothing else.
//!
//! Robust to every legal shape: `null` counts as absent, unknown fields are skipped without being
//! kept, a key that stands twice has its last value, escaped strings are unescaped. What few reviews
//! need (`managedFields`, mounts, env) is kept as raw text and parsed when it is asked for.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::policy::decide::{ImageUse, Label, Slot};

/// A string, borrowed unless it has escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for TextVisitor<'a> {
            type Value = Text<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

/// A list whose `null` entries are empty ones.
#[derive(Clone, Debug, PartialEq)]
pub struct List<T>(pub Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> std::ops::Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<Option<T>>()? {
                    items.push(item.unwrap_or_default());
                }
                Ok(List(items))
            }
        }
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

/// Declares a view: a struct that reads the named fields of a JSON object and skips all others.
macro_rules! view {
    ($(#[$doc:meta])* $name:ident { $( $(#[$field_doc:meta])* $field:ident: $type:ty = $key:literal, )+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $name<'a> {
            $( $(#[$field_doc])* pub $field: $type, )+
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ViewVisitor<'a>(PhantomData<&'a ()>);
                impl<'de: 'a, 'a> Visitor<'de> for ViewVisitor<'a> {
                    type Value = $name<'a>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("an object (", stringify!($name), ")"))
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name<'a>, A::Error> {
                        let mut view = $name::default();
                        while let Some(key) = map.next_key::<Text<'_>>()? {
                            match &*key {
                                $( $key => {
                                    view.$field = map.next_value::<Option<_>>()?.unwrap_or_default();
                                } )+
                                _ => { map.next_value::<IgnoredAny>()?; }
                            }
                        }
                        Ok(view)
                    }
                }
                deserializer.deserialize_map(ViewVisitor(PhantomData))
            }
        }
    };
}

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
        /// Its environment sources; absent and empty differ for a patch.
        env_from: Option<List<EnvFromView<'a>>> = "envFrom",
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
    /// A reference by name. Legal without one.
    LocalReference {
        /// The object's name, or nothing.
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
        /// Several sources in one.
        projected: Option<Projected<'a>> = "projected",
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
    /// A projected token.
    Token {
        /// Its file.
        path: Text<'a> = "path",
    }
}

/// Labels, in the order written.
#[derive(Clone, Debug, Default)]
pub struct Labels<'a>(pub Vec<Label<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelsVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for LabelsVisitor<'a> {
            type Value = Labels<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings (labels)")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels<'a>, A::Error> {
                let mut labels = Vec::new();
                while let Some(key) = map.next_key::<Text<'a>>()? {
                    let value = map.next_value::<Option<Text<'a>>>()?.unwrap_or_default();
                    labels.push((key.0, value.0));
                }
                Ok(Labels(labels))
            }
        }
        deserializer.deserialize_map(LabelsVisitor(PhantomData))
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

impl Spec<'_> {
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

/// Reads raw JSON that was kept unread; what cannot be read is as good as absent.
pub(crate) fn read_raw<'a, T: Deserialize<'a> + Default>(raw: Option<&'a RawValue>) -> T {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}
