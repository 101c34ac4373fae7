//! Whatever comes: no panic, a patch that applies to what came, and nothing left for a second call.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{ask, ask_bytes, assert_legal, cluster, holds, mutate_review, policy, pulls, review};
use crate::snapshot::Snapshot;
use crate::status::{GATE, Presence};

/// Rules of every sort, accounts of every sort, and Secrets that Pods are held for.
static EVERYTHING: LazyLock<Snapshot> = LazyLock::new(|| {
    let rules = policy(
        "- {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub-creds, shared]}}\n\
             - {name: quay, match: {quay: {}}, inject: {imagePullSecrets: [quay-creds, shared], serviceAccountName: x, replaceServiceAccount: Always}}\n\
             - {name: env, match: {images: [ghcr.io]}, inject: {envFrom: [{secretRef: {name: s}}, {configMapRef: {name: m}, prefix: P_}]}}\n\
             - {name: enforced, match: {images: [ghcr.io/e]}, inject: {serviceAccountName: enforcing, imagePullSecrets: [listed, unlisted]}}\n\
             - {name: every, match: {everyPod: true, podSelector: {matchLabels: {every: pod}}}, inject: {envFrom: [{secretRef: {name: t}}]}}",
    );
    let held = ["hub-creds", "quay-creds", "unlisted"]
        .map(|name| format!("{{name: {name}, from: {{existing: {{}}}}, holdPods: true}}"))
        .join(", ");
    cluster(
        &format!("{rules}  credentials: [{held}]\n"),
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default}, imagePullSecrets: [{name: inherited}]}\n---\n\
         {apiVersion: v1, kind: ServiceAccount, metadata: {name: x}, automountServiceAccountToken: false, imagePullSecrets: [{name: x-pull}]}\n---\n\
         {apiVersion: v1, kind: ServiceAccount, metadata: {name: enforcing, annotations: {kubernetes.io/enforce-mountable-secrets: 't'}}, imagePullSecrets: [{name: listed}]}",
    )
});

/// Words that mean something to us, so that arbitrary JSON comes near.
const KEYS: &[&str] = &[
    "metadata",
    "spec",
    "name",
    "generateName",
    "labels",
    "annotations",
    "managedFields",
    "fieldsV1",
    "f:spec",
    "f:serviceAccountName",
    "f:imagePullSecrets",
    "f:volumes",
    "k:{\"name\":\"kube-api-access-a\"}",
    "k:{",
    ".",
    "containers",
    "initContainers",
    "ephemeralContainers",
    "volumes",
    "image",
    "reference",
    "imagePullSecrets",
    "serviceAccountName",
    "serviceAccount",
    "automountServiceAccountToken",
    "env",
    "envFrom",
    "secretRef",
    "configMapRef",
    "valueFrom",
    "secretKeyRef",
    "volumeMounts",
    "mountPath",
    "projected",
    "sources",
    "serviceAccountToken",
    "expirationSeconds",
    "secret",
    "secretName",
    "prefix",
    "optional",
    "every",
    "nodeName",
    "priorityClassName",
    "schedulingGates",
    "pullpass.dev/rules",
    "pullpass.dev/inject",
    "kubernetes.io/config.mirror",
    "x~/",
];
const WORDS: &[&str] = &[
    "nginx",
    "quay.io/a/b:c",
    "ghcr.io/e/x",
    "ghcr.io/o/x",
    "Not A Reference",
    "",
    "default",
    "x",
    "enforcing",
    "hub-creds",
    "shared",
    "inherited",
    "listed",
    "kube-api-access-a",
    "disabled",
    "pod",
    "p/hub",
    "a\nb\0",
    "/var/run/secrets/kubernetes.io/serviceaccount",
    "s",
    "m",
    "P_",
    GATE,
    "system-node-critical",
];

/// What damaged bytes are replaced by.
const DAMAGE: &[&[u8]] = &[
    b"", b"null", b"{}", b"[]", b"5", b"\"", b"\\u0000", b",", b"\xff",
];

fn word() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => prop::sample::select(WORDS).prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![9 => prop::sample::select(KEYS).prop_map(str::to_owned), 1 => any::<String>()]
}

fn json_value() -> impl Strategy<Value = Value> {
    word().prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..6)
                .prop_map(|map| Value::Object(Map::from_iter(map))),
        ]
    })
}

fn image() -> impl Strategy<Value = Value> {
    prop::sample::select(WORDS).prop_map(Value::from)
}

/// An entry that may be null or empty, as the API server stores some.
fn entries(entry: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    let entry = prop_oneof![8 => entry, 1 => Just(Value::Null), 1 => Just(json!({}))];
    prop_oneof![
        6 => prop::collection::vec(entry, 0..4).prop_map(Value::from),
        1 => Just(Value::Null),
    ]
}

fn named() -> impl Strategy<Value = Value> {
    prop::sample::select(WORDS).prop_map(|name| json!({"name": name}))
}

/// An object of those fields, each there or not.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> impl Strategy<Value = Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(key, value)| {
            prop::option::weighted(0.7, value).prop_map(move |v| v.map(|v| (key.to_owned(), v)))
        })
        .collect();
    fields.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect()))
}

fn container() -> impl Strategy<Value = Value> {
    let source = object(vec![
        ("secretRef", named().boxed()),
        ("configMapRef", named().boxed()),
        ("prefix", image().boxed()),
    ]);
    let mount = object(vec![
        ("name", image().boxed()),
        ("mountPath", image().boxed()),
    ]);
    object(vec![
        ("name", image().boxed()),
        ("image", image().boxed()),
        ("envFrom", entries(source).boxed()),
        ("volumeMounts", entries(mount).boxed()),
        ("env", entries(json_value()).boxed()),
    ])
}

/// A text, where there mostly is none.
fn rarely(text: &'static str) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(json!(text)), 4 => Just(json!("")), 4 => Just(json!(null))].boxed()
}

/// What may be known of the Secrets that Pods are held for.
fn presence() -> impl Strategy<Value = Presence> {
    let one = |name: &'static str| {
        prop_oneof![
            1 => Just(None),
            2 => Just(Some((name, &["web"][..]))),
            4 => Just(Some((name, &[][..]))),
        ]
    };
    let all = (one("hub-creds"), one("quay-creds"), one("unlisted"));
    let known = all.prop_map(|(a, b, c)| {
        let ready: Vec<_> = [a, b, c].into_iter().flatten().collect();
        holds::says("web", &ready)
    });
    let unattended = known.clone().prop_map(|mut presence| {
        presence.attended(false);
        presence
    });
    prop_oneof![8 => known, 1 => unattended, 1 => Just(Presence::default())]
}

/// The names of a Pod's scheduling gates.
fn gates(pod: &Value) -> Vec<&str> {
    let gates = pod["spec"]["schedulingGates"].as_array();
    let gates = gates.into_iter().flatten();
    gates
        .map(|gate| gate["name"].as_str().unwrap_or(""))
        .collect()
}

/// A Pod of the right shape with hardly a legal value.
fn any_pod() -> impl Strategy<Value = Value> {
    let token = json!({"sources": [{"serviceAccountToken": {"expirationSeconds": 3607}}]});
    let volume = object(vec![
        ("name", Just(json!("kube-api-access-a")).boxed()),
        ("projected", Just(token).boxed()),
        (
            "image",
            image()
                .prop_map(|image| json!({"reference": image}))
                .boxed(),
        ),
    ]);
    let managed = object(vec![
        ("f:serviceAccountName", Just(json!({})).boxed()),
        (
            "f:volumes",
            Just(json!({"k:{\"name\":\"kube-api-access-a\"}": {}})).boxed(),
        ),
        (
            "f:imagePullSecrets",
            Just(json!({"k:{\"name\":\"shared\"}": {}, ".": {}})).boxed(),
        ),
    ]);
    let metadata = object(vec![
        (
            "labels",
            prop_oneof![
                Just(json!({"every": "pod"})),
                Just(json!({})),
                Just(json!(null))
            ]
            .boxed(),
        ),
        (
            "annotations",
            prop_oneof![
                Just(json!({"pullpass.dev/rules": "p/hub"})),
                Just(json!({})),
                Just(json!(null))
            ]
            .boxed(),
        ),
        (
            "managedFields",
            managed
                .prop_map(|spec| json!([{"fieldsV1": {"f:spec": spec}}]))
                .boxed(),
        ),
    ]);
    let spec = object(vec![
        ("containers", entries(container()).boxed()),
        ("initContainers", entries(container()).boxed()),
        ("ephemeralContainers", entries(container()).boxed()),
        ("volumes", entries(volume).boxed()),
        ("imagePullSecrets", entries(named()).boxed()),
        ("serviceAccountName", image().boxed()),
        ("serviceAccount", image().boxed()),
        (
            "automountServiceAccountToken",
            any::<bool>().prop_map(Value::from).boxed(),
        ),
        ("schedulingGates", entries(named()).boxed()),
        ("nodeName", rarely("x")),
        ("priorityClassName", rarely("system-node-critical")),
    ]);
    object(vec![("metadata", metadata.boxed()), ("spec", spec.boxed())])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// `mutate_review` holds the rest: the patch is legal, applies, and a second call has none.
    #[test]
    fn a_patch_applies_to_the_pod_as_received(pod in any_pod(), presence in presence(), later in presence()) {
        let snapshot = Snapshot { presence, ..EVERYTHING.clone() };
        let (after, response) = mutate_review(&review(&pod), &snapshot);
        let (before, now) = (gates(&pod), gates(&after));
        prop_assert!(now.starts_with(&before), "others' gates stay where they are");
        let added = &now[before.len()..];
        prop_assert!(added.is_empty() || added == [GATE] && !before.contains(&GATE), "{added:?}");
        let can_wait = |key: &str| pod["spec"][key].as_str().unwrap_or_default().is_empty();
        let can_wait = can_wait("nodeName") && can_wait("priorityClassName");
        prop_assert!(added.is_empty() || can_wait, "{pod}");
        prop_assert!(response.facts.held.is_empty() || now.contains(&GATE), "{after}");
        // What is known may change between two calls: then there is a gate more, and nothing else.
        let snapshot = Snapshot { presence: later, ..snapshot };
        let second = ask(&review(&after), &snapshot);
        assert_legal(&second.patch);
        for operation in second.patch.iter() {
            prop_assert!(operation.path().to_string().starts_with("/spec/schedulingGates"), "{operation}");
            prop_assert!(!now.contains(&GATE), "{}", after);
        }
        prop_assert_eq!(second.audit, response.audit);
        let gone = response.patch.iter().filter(|operation| {
            operation.path().to_string().starts_with("/spec/imagePullSecrets/")
                && matches!(operation, json_patch::PatchOperation::Remove(_))
        });
        if gone.count() == 0 {
            prop_assert!(pulls(&after).starts_with(&pulls(&pod)), "order and duplicates stay");
        }
        for warning in &response.warnings {
            prop_assert!(warning.len() <= 256 && !warning.chars().any(char::is_control), "{warning:?}");
        }
    }

    #[test]
    fn an_object_that_is_any_json_is_answered(object in json_value(), operation in prop::sample::select(&["CREATE", "UPDATE", "DELETE"][..])) {
        let mut review = review(&object);
        review["request"]["operation"] = json!(operation);
        review["request"]["oldObject"] = object;
        let (_, response) = mutate_review(&review, &EVERYTHING);
        prop_assert_eq!(&response.body["allowed"], true);
    }

    #[test]
    fn a_body_that_is_any_json_is_answered_or_refused(body in json_value()) {
        let _ = ask_bytes(body.to_string().as_bytes(), &EVERYTHING);
    }

    #[test]
    fn a_body_of_any_bytes_is_answered_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ask_bytes(&body, &EVERYTHING);
    }

    /// A real review with some bytes replaced, left out or doubled.
    #[test]
    fn a_damaged_review_is_answered_or_refused(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, prop::sample::select(DAMAGE)), 1..4),
    ) {
        let mut body = include_bytes!("../../../benches/review.json").to_vec();
        for (at, length, instead) in cuts {
            let start = at.index(body.len());
            let end = (start + length).min(body.len());
            body.splice(start..end, instead.iter().copied());
        }
        if let Ok(response) = ask_bytes(&body, &EVERYTHING) {
            let review: Result<Value, _> = serde_json::from_slice(&body);
            // What is skipped is not validated to the last byte; what can be read whole has to take the patch.
            if let Ok(mut review) = review {
                prop_assert!(json_patch::patch(&mut review["request"]["object"], &response.patch).is_ok());
            }
        }
    }
}
