//! The shape of a `RegistryPolicy` as types, for the JSON Schema that editors and validators use.
//!
//! The doc comments below are what an editor shows beside a field. Nothing is read with these types:
//! the reader reports every mistake with its place, which serde cannot; a test holds the two together.

#![expect(dead_code, reason = "only the schema of these types is used")]

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::Value;

/// The address under which the schema is published.
pub const ID: &str = "https://pullpass.dev/registrypolicy_v1.json";

/// The schema, as draft-07: the newest draft that Helm and every YAML language server read.
#[must_use]
pub fn schema() -> Schema {
    let mut schema = SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<RegistryPolicy>();
    schema.insert("$id".into(), Value::from(ID));
    schema
}

/// The schema as `pullpass schema` prints it.
#[must_use]
pub fn text() -> String {
    // A map of strings and numbers always prints.
    serde_json::to_string_pretty(&schema()).unwrap_or_default() + "\n"
}

/// Which registry needs which pull secret and which service account. One document of the table.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RegistryPolicy {
    /// `pullpass.dev/v1`.
    #[schemars(extend("const" = "pullpass.dev/v1"))]
    api_version: String,
    /// `RegistryPolicy`.
    #[schemars(extend("const" = "RegistryPolicy"))]
    kind: String,
    /// The policy's name, and whatever else Kubernetes keeps there.
    metadata: Metadata,
    /// The rules, and the credentials they inject.
    spec: Spec,
}

/// The policy's name, and whatever else Kubernetes keeps there.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Metadata {
    /// The policy's name, unique in the cluster; `policy/rule` names a rule everywhere.
    name: Name,
    /// Not used: a ConfigMap's namespace says where its policies apply.
    namespace: Option<Value>,
    /// Not used.
    labels: Option<Value>,
    /// Not used.
    annotations: Option<Value>,
    /// Not used.
    uid: Option<Value>,
    /// Not used.
    resource_version: Option<Value>,
    /// Not used.
    generation: Option<Value>,
    /// Not used.
    creation_timestamp: Option<Value>,
    /// Not used.
    managed_fields: Option<Value>,
    /// Not used.
    owner_references: Option<Value>,
    /// Not used.
    finalizers: Option<Value>,
}

/// The rules, and the credentials they inject.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec {
    /// `Enforce` (the default) changes Pods. `Audit` decides, warns and counts, and changes nothing.
    mode: Option<Mode>,
    /// The rows of the table. Where several match an image, the most specific wins; equal ones apply
    /// together.
    #[schemars(length(min = 1))]
    rules: Vec<Rule>,
    /// Where the pull secrets come from. Only in cluster-wide policies.
    credentials: Option<Vec<Credential>>,
}

/// What a policy does with its decision.
#[derive(JsonSchema)]
enum Mode {
    Enforce,
    Audit,
}

/// Which images, in which namespaces and Pods, need what.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Rule {
    /// Unique in the policy.
    name: Name,
    /// Which images, in which namespaces and Pods.
    #[serde(rename = "match")]
    matching: Match,
    /// What their Pods get. `{}` is a choice too: the node authenticates, nothing is injected.
    inject: Inject,
    /// No tenant's rule may win an image that this rule matches. Default: false.
    #[serde(rename = "final")]
    is_final: Option<bool>,
}

/// Which images, in which namespaces and Pods. `images` and the classes are alternatives: one of them
/// has to match. `everyPod` stands instead of them.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(transform = one_subject)]
struct Match {
    /// Patterns: `host[:port][/path]`. A `*` stays within one label of the host or one segment of the
    /// path; a path is a prefix of whole segments; the single pattern `*` matches every image.
    #[schemars(length(min = 1))]
    images: Option<Vec<String>>,
    /// Amazon ECR's private registries, every form of their hosts.
    ecr: Option<Ecr>,
    /// Amazon ECR Public.
    ecr_public: Option<EcrPublic>,
    /// Google Artifact Registry and Container Registry.
    gcp: Option<Gcp>,
    /// Azure Container Registry.
    acr: Option<Acr>,
    /// Docker Hub, under any of its names.
    docker_hub: Option<DockerHub>,
    /// GitHub's container registry.
    ghcr: Option<Ghcr>,
    /// Quay.io.
    quay: Option<Quay>,
    /// Every Pod the selectors reach, once, whatever its images; beside the rules that its images win.
    every_pod: Option<bool>,
    /// Only in namespaces with these labels. Absent: in all.
    namespace_selector: Option<LabelSelector>,
    /// Only for Pods with these labels. Absent: for all.
    pod_selector: Option<LabelSelector>,
}

/// Images or classes, or `everyPod: true` and neither.
fn one_subject(schema: &mut Schema) {
    let images = [
        "images",
        "ecr",
        "ecrPublic",
        "gcp",
        "acr",
        "dockerHub",
        "ghcr",
        "quay",
    ];
    let every =
        serde_json::json!({"required": ["everyPod"], "properties": {"everyPod": {"const": true}}});
    let any_image = serde_json::json!({"anyOf": images.map(given)});
    schema.insert("oneOf".into(), serde_json::json!([any_image, every]));
}

/// A field is there: `null` counts as absent.
fn given(name: &str) -> Value {
    serde_json::json!({"required": [name], "properties": {name: {"not": {"type": "null"}}}})
}

/// Amazon ECR's private registries.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Ecr {
    /// AWS account ids of twelve digits, quoted. Absent: any.
    #[schemars(length(min = 1), inner(regex(pattern = "^[0-9]{12}$")))]
    account_ids: Option<Vec<String>>,
    /// Regions, as `us-east-1`. Absent: any.
    #[schemars(length(min = 1))]
    regions: Option<Vec<String>>,
}

/// Amazon ECR Public; it has no parameters.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EcrPublic {}

/// Google Artifact Registry and Container Registry.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Gcp {
    /// Project ids, as `acme` or `example.com:acme`. Absent: any.
    #[schemars(length(min = 1))]
    projects: Option<Vec<String>>,
}

/// Azure Container Registry.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Acr {
    /// Registries' names, without their domain. Absent: any.
    #[schemars(length(min = 1))]
    registries: Option<Vec<String>>,
}

/// Docker Hub.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DockerHub {
    /// Organizations or users; `library` has the official images. Absent: any.
    #[schemars(length(min = 1))]
    organizations: Option<Vec<String>>,
}

/// GitHub's container registry.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Ghcr {
    /// Users or organizations. Absent: any.
    #[schemars(length(min = 1))]
    owners: Option<Vec<String>>,
}

/// Quay.io.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Quay {
    /// Organizations or users. Absent: any.
    #[schemars(length(min = 1))]
    organizations: Option<Vec<String>>,
}

/// A label selector as everywhere in Kubernetes: all of it has to hold.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LabelSelector {
    /// Labels with exactly these values.
    match_labels: Option<BTreeMap<String, LabelValue>>,
    /// Requirements on labels.
    match_expressions: Option<Vec<Expression>>,
}

/// A requirement on one label.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(transform = values_by_operator)]
struct Expression {
    /// The label's key.
    key: String,
    /// `In` and `NotIn` compare with `values`; `NotIn` holds without the label too.
    operator: Operator,
    /// At least one with `In` and `NotIn`; none with `Exists` and `DoesNotExist`.
    values: Option<Vec<LabelValue>>,
}

fn values_by_operator(schema: &mut Schema) {
    let comparing = serde_json::json!({"properties": {"operator": {"enum": ["In", "NotIn"]}}});
    let some = serde_json::json!({
        "required": ["values"],
        "properties": {"values": {"type": "array", "minItems": 1}}
    });
    let none = serde_json::json!({"properties": {"values": {"maxItems": 0}}});
    schema.insert("if".into(), comparing);
    schema.insert("then".into(), some);
    schema.insert("else".into(), none);
}

/// How a label is compared.
#[derive(JsonSchema)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// What a Pod gets. Nothing it has is ever replaced, but for its service account.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(transform = account_by_name)]
struct Inject {
    /// Names of pull secrets in the Pod's namespace, in the order the kubelet is to try them.
    image_pull_secrets: Option<Vec<PullSecret>>,
    /// The service account to run under.
    service_account_name: Option<Name>,
    /// Which account of a Pod is replaced: `IfUnset`, only one its author did not write; `IfDefault`
    /// (the default), `default` however it came; `Always`, any.
    replace_service_account: Option<ReplaceServiceAccount>,
    /// What happens where the account does not exist: `Skip` (the default) keeps the Pod's own, with a
    /// warning; `Deny` refuses the Pod.
    on_missing_service_account: Option<OnMissingServiceAccount>,
    /// Environment for the containers whose image this rule wins, as in a Pod.
    env_from: Option<Vec<EnvFrom>>,
}

fn account_by_name(schema: &mut Schema) {
    let about_it = ["replaceServiceAccount", "onMissingServiceAccount"].map(given);
    let named = serde_json::json!({
        "required": ["serviceAccountName"],
        "properties": {"serviceAccountName": {"type": "string"}}
    });
    schema.insert("if".into(), serde_json::json!({"anyOf": about_it}));
    schema.insert("then".into(), named);
}

/// Which account of a Pod is replaced.
#[derive(JsonSchema)]
enum ReplaceServiceAccount {
    IfUnset,
    IfDefault,
    Always,
}

/// What happens where the account does not exist.
#[derive(JsonSchema)]
enum OnMissingServiceAccount {
    Skip,
    Deny,
}

/// A Secret's name, or `name: …` as pasted from a Pod.
#[derive(JsonSchema)]
#[serde(untagged)]
enum PullSecret {
    Name(Name),
    Reference(SecretName),
}

/// A Secret by its name.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SecretName {
    /// The Secret's name.
    name: Name,
}

/// A core/v1 EnvFromSource: a Secret or a ConfigMap whose keys become variables.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(transform = one_reference)]
struct EnvFrom {
    /// Put in front of each variable's name.
    prefix: Option<String>,
    /// The Secret.
    secret_ref: Option<EnvFromReference>,
    /// The ConfigMap.
    config_map_ref: Option<EnvFromReference>,
}

fn one_reference(schema: &mut Schema) {
    one_of_these(schema, &["secretRef", "configMapRef"]);
}

/// A Secret or ConfigMap by its name.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EnvFromReference {
    /// Its name.
    name: Name,
    /// Whether a container starts without it.
    optional: Option<bool>,
}

/// A pull secret with the source it comes from; the controller keeps it where its rules apply.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(transform = registries_for_exec)]
struct Credential {
    /// The Secret's name in every namespace it goes to.
    name: Name,
    /// Where its content comes from: one source.
    from: CredentialSource,
    /// Pods that need it wait, gated, until it is there. Default: false.
    hold_pods: Option<bool>,
    /// How long they wait at most, as `60s` (the default) or `1m30s`.
    hold_timeout: Option<String>,
    /// Its Secrets stay when this entry goes. Default: false.
    keep: Option<bool>,
    /// Only entries for these hosts are written. Required for `exec`.
    #[schemars(length(min = 1))]
    registries: Option<Vec<String>>,
}

fn registries_for_exec(schema: &mut Schema) {
    let exec = serde_json::json!({
        "properties": {"from": {"required": ["exec"], "properties": {"exec": {"type": "object"}}}}
    });
    let needed = serde_json::json!({
        "required": ["registries"],
        "properties": {"registries": {"type": "array"}}
    });
    schema.insert("if".into(), exec);
    schema.insert("then".into(), needed);
}

/// Where a credential's content comes from: one of these.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(transform = one_source)]
struct CredentialSource {
    /// Copied from a Secret in the controller's own namespace, and kept equal to it.
    secret_ref: Option<SecretName>,
    /// Amazon ECR tokens, by the AWS credentials of the controller.
    ecr: Option<EcrSource>,
    /// A Google OAuth token, by the identity of the controller.
    gcp: Option<GcpSource>,
    /// An Azure token, by the identity of the controller.
    acr: Option<AcrSource>,
    /// A kubelet credential provider plugin.
    exec: Option<ExecSource>,
    /// Somebody else makes it: known and watched, never written.
    existing: Option<ExistingSource>,
}

fn one_source(schema: &mut Schema) {
    one_of_these(
        schema,
        &["secretRef", "ecr", "gcp", "acr", "exec", "existing"],
    );
}

fn one_of_these(schema: &mut Schema, names: &[&str]) {
    let given = |name: &&str| serde_json::json!({"required": [name], "properties": {*name: {"type": "object"}}});
    let choices: Vec<Value> = names.iter().map(given).collect();
    schema.insert("oneOf".into(), Value::from(choices));
}

/// Amazon ECR tokens.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EcrSource {
    /// AWS account ids of twelve digits, quoted.
    #[schemars(length(min = 1), inner(regex(pattern = "^[0-9]{12}$")))]
    account_ids: Vec<String>,
    /// Regions of one AWS partition, as `us-east-1`. The first one's STS is asked for a role.
    #[schemars(length(min = 1), inner(regex(pattern = "^[a-z]+(-[a-z]+)+-[0-9]+$")))]
    regions: Vec<String>,
    /// A role to assume first, by its ARN.
    #[schemars(regex(pattern = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$"))]
    role_arn: Option<String>,
}

/// A Google OAuth token.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GcpSource {}

/// An Azure token.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AcrSource {
    /// Registries' names, without their domain.
    #[schemars(length(min = 1))]
    registries: Option<Vec<String>>,
}

/// A kubelet credential provider plugin.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ExecSource {
    /// Its bare file name in the controller's `--credential-provider-bin-dir`.
    #[schemars(regex(pattern = r"^[^/\\]+$"))]
    command: String,
    /// Its arguments.
    args: Option<Vec<String>>,
    /// Its environment.
    env: Option<Vec<Variable>>,
    /// The version of the protocol it speaks.
    #[schemars(transform = provider_version)]
    api_version: Option<String>,
}

fn provider_version(schema: &mut Schema) {
    let versions = serde_json::json!(["credentialprovider.kubelet.k8s.io/v1", null]);
    schema.insert("enum".into(), versions);
}

/// An environment variable.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Variable {
    /// Its name.
    name: String,
    /// Its value.
    value: String,
}

/// Somebody else makes it.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ExistingSource {}

/// A name as an API server takes it.
struct Name(String);

impl JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Lower-case letters, digits, `-` and `.`; begins and ends with a letter or digit.",
            "type": "string",
            "minLength": 1,
            "maxLength": 253,
            "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        })
    }
}

/// A label's value.
struct LabelValue(String);

impl JsonSchema for LabelValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LabelValue".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
        json_schema!({
            "description": "At most 63 letters, digits, `-`, `_` and `.`; may be empty.",
            "type": "string",
            "maxLength": 63,
            "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        })
    }
}
