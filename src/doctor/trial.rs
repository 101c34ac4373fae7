//! A Pod made by a dry run: whether it comes out with the secrets that the policies say.
//!
//! The engine picks namespace and image, and says what must come out; the same engine serves. Nothing is
//! created.

use serde_json::{Value, json};
use std::sync::Arc;

use super::{Check, Facts, State, few, policies, text};
use crate::admission::admit;
use crate::admission::review::Pod;
use crate::policy::document::{RegistryPolicy, Subject};
use crate::snapshot::{Accounts, Coverage, Namespaces, Snapshot};
use crate::status::Presence;

const NAME: &str = "trial-pod";
/// So many namespaces and images are tried in thought at most.
const MOST: usize = 64;

/// Images of the registry classes, which have no pattern to make one of.
const OF_CLASSES: [&str; 9] = [
    "docker.io/library/doctor",
    "ghcr.io/pullpass/doctor",
    "quay.io/pullpass/doctor",
    "gcr.io/pullpass/doctor",
    "us-docker.pkg.dev/pullpass/doctor/doctor",
    "pullpass.azurecr.io/doctor",
    "public.ecr.aws/pullpass/doctor",
    "123456789012.dkr.ecr.us-east-1.amazonaws.com/doctor",
    "doctor.example.com/doctor",
];

/// A Pod to create in a dry run, and what it must come out with.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Where.
    pub namespace: String,
    /// The Pod.
    pub pod: Value,
    /// The names of the pull secrets that it gets.
    pub secrets: Vec<String>,
}

/// What became of a trial.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The Pod as it came out.
    Made(Trial, Value),
    /// The right is missing.
    Forbidden(Trial),
    /// The API server refused, or did not answer.
    Refused(Trial, String),
}

/// The trial to make, if any policy in force injects into any namespace.
#[must_use]
pub fn plan(facts: &Facts) -> Option<Trial> {
    let compiled = policies::compile(facts)?;
    let mut namespaces = Namespaces::new(Coverage::Partial);
    let mut names = Vec::new();
    for object in facts.namespaces.items() {
        let labels = object
            .pointer("/metadata/labels")
            .and_then(Value::as_object);
        let labels = labels.into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| {
            Some((key.clone().into(), value.as_str()?.to_owned().into()))
        });
        namespaces.insert(super::name(object), labels.collect());
        if text(object, "/status/phase") != "Terminating" {
            names.push(super::name(object));
        }
    }
    // A namespace that everybody has comes first.
    names.sort_by_key(|name| (*name != "default", *name));
    let snapshot = Snapshot {
        table: Arc::new(compiled.table),
        namespaces: Arc::new(namespaces),
        accounts: Arc::new(Accounts::default()),
        scope: facts.settings().scope(&facts.namespace),
        presence: Presence::default(),
    };
    let images = images(&policies::documents(facts));
    names.iter().take(MOST).find_map(|namespace| {
        let mut images = images.iter().take(MOST);
        images.find_map(|image| attempt(&snapshot, namespace, image))
    })
}

/// Images that the rules' patterns and classes may match.
fn images(documents: &[RegistryPolicy]) -> Vec<String> {
    let mut images = Vec::new();
    for rule in documents.iter().flat_map(|document| &document.rules) {
        if let Subject::Images(tests) = &rule.subject {
            for test in tests {
                let text = test.value.to_string().replace("**", "x").replace('*', "x");
                images.push(format!("{text}/doctor"));
                images.push(text);
            }
        }
    }
    images.extend(OF_CLASSES.map(ToOwned::to_owned));
    images
}

fn attempt(snapshot: &Snapshot, namespace: &str, image: &str) -> Option<Trial> {
    let mut pod = pod(image);
    let bytes = serde_json::to_vec(&pod).ok()?;
    let admission = admit(&Pod::from_json(&bytes).ok()?, namespace, snapshot);
    let made = pod.clone();
    json_patch::patch(&mut pod, &admission.patch).ok()?;
    let secrets = secrets(&pod);
    (admission.denial.is_none() && !secrets.is_empty()).then(|| Trial {
        namespace: namespace.to_owned(),
        pod: made,
        secrets,
    })
}

/// A Pod that strict namespaces take too.
fn pod(image: &str) -> Value {
    let resources = json!({"cpu": "1m", "memory": "1Mi"});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pullpass-doctor"},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "doctor",
                "image": image,
                "resources": {"requests": resources, "limits": resources},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}

fn secrets(pod: &Value) -> Vec<String> {
    let list = pod
        .pointer("/spec/imagePullSecrets")
        .and_then(Value::as_array);
    let list = list.into_iter().flatten();
    list.map(|entry| text(entry, "/name").to_owned()).collect()
}

pub(super) fn check(facts: &Facts) -> Check {
    let Some(outcome) = &facts.trial else {
        if let Some(check) = facts.namespaces.unread(NAME, "Namespaces") {
            return check;
        }
        let message = "no image was found that a policy gives a secret in a namespace in scope";
        return Check::new(NAME, State::Skipped, "dry run of a Pod", message);
    };
    let (Outcome::Made(trial, _) | Outcome::Forbidden(trial) | Outcome::Refused(trial, _)) =
        outcome;
    let image = text(&trial.pod, "/spec/containers/0/image");
    let object = format!("dry run of a Pod of `{image}` in `{}`", trial.namespace);
    match outcome {
        Outcome::Forbidden(_) => Check::new(NAME, State::Skipped, &object, "you may not make one")
            .help(format!(
                "it takes the right to create pods in `{}`",
                trial.namespace
            )),
        Outcome::Refused(_, why) if why.contains("failed calling webhook") => Check::new(
            NAME,
            State::Error,
            &object,
            format!("the webhook cannot be called: {why}"),
        )
        .help(UNCALLED),
        Outcome::Refused(_, why) => {
            let message = format!("the API server refuses it, so nothing is known: {why}");
            Check::new(NAME, State::Skipped, &object, message)
        }
        Outcome::Made(_, pod) => {
            let got = secrets(pod);
            let lost: Vec<String> = trial
                .secrets
                .iter()
                .filter(|s| !got.contains(s))
                .cloned()
                .collect();
            if lost.is_empty() {
                let message = format!("gets {}", few(&trial.secrets));
                return Check::new(NAME, State::Ok, &object, message);
            }
            let message = format!(
                "comes out without {}, which the policies give it",
                few(&lost)
            );
            Check::new(NAME, State::Error, &object, message).help(UNCALLED)
        }
    }
}

const UNCALLED: &str = "is the webhook ready, and reachable from the API server (firewall, NetworkPolicy, port)? \
                        `apiserver_admission_webhook_fail_open_count` of the API server counts calls that failed";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Found;
    use std::time::SystemTime;

    fn facts(rule: &str, namespaces: &[&str]) -> Facts {
        let text = format!(
            "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: a}}\nspec:\n  rules:\n  - {rule}\n"
        );
        let mut facts = Facts::new("own", SystemTime::UNIX_EPOCH);
        facts.config_maps = Found::Object(json!({"items": [
            {"metadata": {"name": "m"}, "data": {"p.yaml": text}},
        ]}));
        let items: Vec<Value> = namespaces
            .iter()
            .map(|name| json!({"metadata": {"name": name}}))
            .collect();
        facts.namespaces = Found::Object(json!({"items": items}));
        facts
    }

    #[test]
    fn a_trial_is_an_image_and_a_namespace_that_the_policies_reach() {
        for (rule, namespaces, want, why) in [
            (
                "{name: r, match: {images: [docker.io]}, inject: {imagePullSecrets: [s]}}",
                &["web", "default"][..],
                Some(("default", "s")),
                "what everybody has comes first",
            ),
            (
                "{name: r, match: {images: [\"*.example.test/team\"]}, inject: {imagePullSecrets: [s]}}",
                &["web"],
                Some(("web", "s")),
                "a glob",
            ),
            (
                "{name: r, match: {images: [docker.io]}, inject: {imagePullSecrets: [s]}}",
                &["kube-system", "own"],
                None,
                "no namespace in scope",
            ),
            (
                "{name: r, match: {images: [docker.io]}, inject: {imagePullSecrets: [s]}, \
                 namespaceSelector: {matchLabels: {team: a}}}",
                &["web"],
                None,
                "no namespace that the rule selects",
            ),
        ] {
            let trial = plan(&facts(rule, namespaces));
            let got = trial.as_ref().map(|t| (&*t.namespace, &*t.secrets[0]));
            assert_eq!(got, want, "{why}: {trial:?}");
        }
    }

    #[test]
    fn a_pod_comes_out_with_its_secrets_or_that_is_told() {
        let rule = "{name: r, match: {images: [docker.io]}, inject: {imagePullSecrets: [s]}}";
        let mut facts = facts(rule, &["web"]);
        assert_eq!(check(&facts).state, State::Skipped, "nothing was tried");
        let trial = plan(&facts).unwrap();
        let with = json!({"spec": {"imagePullSecrets": [{"name": "other"}, {"name": "s"}]}});
        let rows = [
            (Outcome::Made(trial.clone(), with), State::Ok),
            (
                Outcome::Made(trial.clone(), json!({"spec": {}})),
                State::Error,
            ),
            (Outcome::Forbidden(trial.clone()), State::Skipped),
            (
                Outcome::Refused(trial.clone(), "failed calling webhook".into()),
                State::Error,
            ),
            (
                Outcome::Refused(trial, "exceeded quota".into()),
                State::Skipped,
            ),
        ];
        for (outcome, want) in rows {
            facts.trial = Some(outcome);
            assert_eq!(check(&facts).state, want, "{:?}", facts.trial);
        }
    }
}
