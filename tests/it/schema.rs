//! The JSON Schema against the reader: what an editor underlines is what does not load.

use std::collections::BTreeSet;

use jsonschema::Validator;
use pullpass::diagnostic::{Code, Severity, Source};
use pullpass::policy::{ParseOptions, parse, schema};
use pullpass::yaml;
use serde_json::{Value, json};

use crate::diagnostics::example;

fn validator() -> Validator {
    jsonschema::validator_for(&schema::schema().to_value()).unwrap()
}

/// The codes of the errors that the reader finds in one document; each says where and what to do.
fn errors(document: &Value) -> Vec<Code> {
    let source = Source::new("document.json", document.to_string());
    let parsed = parse(&source, &ParseOptions::default());
    for finding in &parsed.diagnostics {
        assert!(finding.help.is_some(), "no help: {finding}");
        assert!(finding.place.is_some(), "no place: {finding}");
    }
    let errors = parsed
        .diagnostics
        .iter()
        .filter(|finding| finding.severity() == Severity::Error);
    errors.map(|finding| finding.code).collect()
}

fn documents(text: &str) -> Vec<Value> {
    let source = Source::new("text.yaml", text);
    let (documents, error) = yaml::read(&source);
    assert!(error.is_none(), "{error:?}");
    let values = documents.iter().map(|document| document.root.to_json());
    values
        .filter(|value| value["kind"] == "RegistryPolicy")
        .collect()
}

/// A policy with every field.
fn everything() -> Value {
    let text = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata:
  name: company
  namespace: pullpass-system
  labels: {a: b}
  annotations: {a: b}
  uid: x
  resourceVersion: '1'
  generation: 1
  creationTimestamp: x
  managedFields: []
  ownerReferences: []
  finalizers: []
spec:
  mode: Audit
  rules:
    - name: classes
      final: true
      match:
        images: [docker.io, '*']
        ecr: {accountIds: ['123456789012'], regions: [us-east-1]}
        ecrPublic: {}
        gcp: {projects: [acme]}
        acr: {registries: [acmeteam]}
        dockerHub: {organizations: [acme]}
        ghcr: {owners: [acme]}
        quay: {organizations: [acme]}
        namespaceSelector: {matchLabels: {team: build}}
        podSelector:
          matchExpressions:
            - {key: app, operator: In, values: [a]}
            - {key: app, operator: Exists}
      inject:
        imagePullSecrets: [one, {name: two}]
        serviceAccountName: agent
        replaceServiceAccount: Always
        onMissingServiceAccount: Deny
        envFrom:
          - {prefix: A_, secretRef: {name: a, optional: true}}
          - {configMapRef: {name: b}}
    - name: every
      match: {everyPod: true}
      inject: {}
  credentials:
    - name: one
      from: {secretRef: {name: source}}
      holdPods: true
      holdTimeout: 30s
      keep: true
      registries: [docker.io]
    - name: two
      from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1], roleArn: 'arn:aws:iam::123456789012:role/puller'}}
    - name: three
      from: {gcp: {}}
    - name: four
      from: {acr: {registries: [acmeteam]}}
    - name: five
      from:
        exec:
          command: plugin
          args: [a]
          env: [{name: A, value: b}]
          apiVersion: credentialprovider.kubelet.k8s.io/v1
      registries: [registry.example.com]
    - name: six
      from: {existing: {}}
";
    documents(text).remove(0)
}

/// Every place in a value: the value itself, its members, theirs.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pointers(
                    value,
                    &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                    all,
                );
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                pointers(value, &format!("{at}/{i}"), all);
            }
        }
        _ => {}
    }
}

#[test]
fn the_committed_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/registrypolicy_v1.json");
    let committed = std::fs::read_to_string(path).unwrap();
    let hint = "run `pullpass schema > docs/registrypolicy_v1.json`";
    assert!(committed == schema::text(), "{hint}");
    assert_eq!(crate::command::run(&["schema"]).stdout, committed);
}

#[test]
fn every_object_is_closed_and_every_field_described() {
    let schema = schema::schema().to_value();
    let definitions = schema["definitions"].as_object().unwrap();
    for (name, object) in definitions
        .iter()
        .chain([(&"RegistryPolicy".to_owned(), &schema)])
    {
        assert!(object["description"].is_string(), "{name}");
        if object["type"] == "object" {
            assert_eq!(object["additionalProperties"], json!(false), "{name}");
            for (field, schema) in object["properties"].as_object().into_iter().flatten() {
                assert!(schema["description"].is_string(), "{name}.{field}");
            }
        }
    }
}

/// The reader names the fields of a mapping when it meets one that is none of them.
#[test]
fn each_property_is_a_field_of_the_reader_and_the_other_way_round() {
    let schema = schema::schema().to_value();
    let mut covered = BTreeSet::new();
    for (definition, pointer) in [
        ("", ""),
        ("Metadata", "/metadata"),
        ("Spec", "/spec"),
        ("Rule", "/spec/rules/0"),
        ("Match", "/spec/rules/0/match"),
        ("Ecr", "/spec/rules/0/match/ecr"),
        ("EcrPublic", "/spec/rules/0/match/ecrPublic"),
        ("Gcp", "/spec/rules/0/match/gcp"),
        ("Acr", "/spec/rules/0/match/acr"),
        ("DockerHub", "/spec/rules/0/match/dockerHub"),
        ("Ghcr", "/spec/rules/0/match/ghcr"),
        ("Quay", "/spec/rules/0/match/quay"),
        ("LabelSelector", "/spec/rules/0/match/podSelector"),
        (
            "Expression",
            "/spec/rules/0/match/podSelector/matchExpressions/0",
        ),
        ("Inject", "/spec/rules/0/inject"),
        ("SecretName", "/spec/rules/0/inject/imagePullSecrets/1"),
        ("EnvFrom", "/spec/rules/0/inject/envFrom/0"),
        (
            "EnvFromReference",
            "/spec/rules/0/inject/envFrom/0/secretRef",
        ),
        ("Credential", "/spec/credentials/0"),
        ("CredentialSource", "/spec/credentials/0/from"),
        ("SecretName", "/spec/credentials/0/from/secretRef"),
        ("EcrSource", "/spec/credentials/1/from/ecr"),
        ("GcpSource", "/spec/credentials/2/from/gcp"),
        ("AcrSource", "/spec/credentials/3/from/acr"),
        ("ExecSource", "/spec/credentials/4/from/exec"),
        ("Variable", "/spec/credentials/4/from/exec/env/0"),
        ("ExistingSource", "/spec/credentials/5/from/existing"),
    ] {
        covered.insert(definition);
        let object = if definition.is_empty() {
            &schema
        } else {
            &schema["definitions"][definition]
        };
        let want: BTreeSet<&str> = object["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, _)| k.as_str())
            .collect();
        let mut document = everything();
        document.pointer_mut(pointer).unwrap()["zzzzzzzzzzzzzz"] = json!(1);
        let source = Source::new("document.json", document.to_string());
        let parsed = parse(&source, &ParseOptions::default());
        let unknown: Vec<_> = parsed
            .diagnostics
            .iter()
            .filter(|d| d.code == Code::UnknownField)
            .collect();
        let [finding] = unknown.as_slice() else {
            panic!("{definition}: {:?}", parsed.diagnostics)
        };
        let help = finding.help.as_deref().unwrap();
        // Every second piece between backticks is a name.
        let got: BTreeSet<&str> = if help.contains("takes no fields") {
            BTreeSet::new()
        } else {
            help.split('`').skip(1).step_by(2).collect()
        };
        assert_eq!(got, want, "{definition} at {pointer}");
    }
    for (name, object) in schema["definitions"].as_object().unwrap() {
        assert!(
            object["type"] != "object" || covered.contains(&**name),
            "{name} is not covered"
        );
    }
}

#[test]
fn good_examples_validate_and_structural_bad_ones_do_not() {
    let validator = validator();
    let mut good = vec![everything()];
    for &code in Code::ALL {
        good.extend(
            example(code, "Good")
                .iter()
                .flat_map(|text| documents(text)),
        );
    }
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/policy.yaml");
    good.extend(documents(&std::fs::read_to_string(examples).unwrap()));
    for document in good {
        let error = validator
            .validate(&document)
            .err()
            .map(|error| error.to_string());
        assert_eq!(error, None, "{document}");
    }
    for code in [
        Code::UnknownField,
        Code::WrongType,
        Code::MissingField,
        Code::EmptyField,
        Code::EmptyParameter,
        Code::BadSelector,
        Code::EveryPodBesideImages,
        Code::BadName,
        Code::BadValue,
        Code::UnknownVersion,
    ] {
        for document in documents(&example(code, "Bad").unwrap()) {
            assert!(!validator.is_valid(&document), "{code}: {document}");
        }
    }
}

/// A full policy, damaged in every place in every way: the schema never refuses what loads, and never
/// takes what the reader refuses for its shape.
#[test]
fn the_schema_and_the_reader_agree_on_a_policy_damaged_anywhere() {
    let validator = validator();
    let whole = everything();
    assert_eq!(errors(&whole), []);
    let mut places = Vec::new();
    pointers(&whole, "", &mut places);
    let structural = [
        Code::UnknownField,
        Code::WrongType,
        Code::MissingField,
        Code::EmptyField,
        Code::EmptyParameter,
        Code::EveryPodBesideImages,
    ];
    let mut refused = 0;
    let mut judge = |document: &Value, what: &str| {
        // Another kind, or another group, is no policy at all.
        let group = document["apiVersion"].as_str().unwrap_or("pullpass.dev/");
        if document["kind"] != "RegistryPolicy" || !group.starts_with("pullpass.dev/") {
            return;
        }
        let (errors, valid) = (errors(document), validator.is_valid(document));
        refused += usize::from(!errors.is_empty());
        assert!(
            valid || !errors.is_empty(),
            "{what}: loads, and the schema refuses it"
        );
        let structural = errors.iter().find(|code| structural.contains(code));
        assert!(
            !valid || structural.is_none(),
            "{what}: {errors:?}, and the schema takes it"
        );
    };
    for place in places {
        let wrong = [
            json!(null),
            json!(7),
            json!(true),
            json!([]),
            json!({}),
            json!(""),
            json!({"zz": 1}),
        ];
        for value in wrong {
            let mut document = whole.clone();
            let what = format!("{value} at {place}");
            *document.pointer_mut(&place).unwrap() = value;
            if document.is_object() {
                judge(&document, &what);
            }
        }
        if let Some((parent, key)) = place.rsplit_once('/') {
            let mut document = whole.clone();
            if let Some(map) = document.pointer_mut(parent).unwrap().as_object_mut() {
                map.remove(key);
                judge(&document, &format!("{place} removed"));
            }
        }
    }
    assert!(
        refused > 500,
        "only {refused} damaged policies were refused"
    );
}
