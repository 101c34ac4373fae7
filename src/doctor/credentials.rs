//! Credentials of the policies → whether their sources are of use, somebody keeps them, and Pods can wait for them.
//!
//! Of a source it is known whether a pull secret can be made of it, and nothing of what it holds. Copies are not
//! looked at: who runs this need not be able to read Secrets everywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::settings::Settings;
use super::{Check, Facts, Found, State, few, name};
use crate::cluster::lease;
use crate::credentials::secret_ref::read_source;
use crate::names::SecretName;
use crate::policy::config_maps::Compiled;
use crate::policy::document::{Credential, CredentialSource};
use crate::status::{STATUS_KEY, Shard, Status};

const NAME: &str = "credential";
/// A leader renews each five seconds; so long clocks may differ.
const STALE: Duration = Duration::from_mins(1);

/// What a credential is copied from, without what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A pull secret can be made of it.
    Good,
    /// None can, and why.
    Bad(String),
    /// It is not there.
    Absent,
    /// It may not be looked at; this right is missing.
    Forbidden(String),
    /// There was no answer of use.
    Failed(String),
}

impl Source {
    /// What an answer says of it. The Secret goes no further.
    pub(super) fn of(found: Found, registries: &[Box<str>]) -> Self {
        let secret = match found {
            Found::Object(secret) => secret,
            Found::Absent => return Self::Absent,
            Found::Forbidden(right) => return Self::Forbidden(right),
            Found::Failed(why) => return Self::Failed(why),
        };
        match serde_json::from_value::<Secret>(secret) {
            Ok(secret) => match read_source(&secret, registries) {
                Ok(_) => Self::Good,
                Err(error) => Self::Bad(error.to_string()),
            },
            // The words of such an error could quote a value.
            Err(_) => Self::Failed("it is no Secret".to_owned()),
        }
    }
}

/// The credentials that are copied, with the Secrets that they are copied from.
pub(super) fn copied(compiled: &Compiled) -> BTreeMap<SecretName, (SecretName, Vec<Box<str>>)> {
    let credentials = compiled.table.credentials();
    let copied = credentials
        .into_iter()
        .filter_map(|credential| match &credential.from {
            CredentialSource::SecretRef { name } => Some((
                credential.name.value.clone(),
                (name.clone(), credential.registries.clone()),
            )),
            _ => None,
        });
    copied.collect()
}

pub(super) fn checks(
    facts: &Facts,
    settings: &Settings,
    compiled: Option<&Compiled>,
) -> Vec<Check> {
    let Some(compiled) = compiled else {
        return Vec::new();
    };
    let mut checks: Vec<Check> = facts.sources.iter().map(|(c, s)| source(c, s)).collect();
    let credentials = compiled.table.credentials();
    let is_made = |credential: &&Credential| credential.from != CredentialSource::Existing;
    // Without a Deployment one may run elsewhere, or none is wanted.
    if settings.has_controller {
        if credentials.iter().any(|c| is_made(c) || c.hold_pods) {
            checks.push(leader(facts));
        }
        let held = credentials.iter().filter(|c| c.hold_pods);
        let held: Vec<&SecretName> = held.map(|c| &c.name.value).collect();
        if !held.is_empty() {
            checks.push(status(facts, &held));
        }
    }
    checks
}

fn source(credential: &SecretName, source: &Source) -> Check {
    let object = format!("source of `{credential}`");
    let error = |message: String| Check::new(NAME, State::Error, &object, message);
    match source {
        Source::Good => Check::new(NAME, State::Ok, &object, "is a pull secret"),
        Source::Bad(why) => error(why.clone()).help("copies stay as they are until it is mended"),
        Source::Absent => error("is not there".to_owned())
            .help("make the Secret that its `secretRef` names, in pullpass's own namespace"),
        Source::Forbidden(right) => {
            let message = "you may not look at it";
            Check::new(NAME, State::Skipped, &object, message)
                .help(format!("it takes the right to {right}"))
        }
        Source::Failed(why) => error(format!("cannot be read: {why}")),
    }
}

/// Whether somebody renews the Lease. Two clocks are compared, so it has to be long ago.
fn leader(facts: &Facts) -> Check {
    let object = "Lease `pullpass-controller`";
    if let Some(check) = facts.lease.unread(NAME, object) {
        return check;
    }
    let found = match &facts.lease {
        Found::Object(lease) => serde_json::from_value::<Lease>(lease.clone()).ok(),
        _ => None,
    };
    let read = lease::Read::of(found.as_ref());
    let age = read
        .renewed
        .and_then(|at| facts.now.duration_since(at).ok());
    match read.holder {
        Some(holder) if age.unwrap_or_default() < STALE => {
            let message = format!("`{holder}` leads");
            Check::new(NAME, State::Ok, object, message)
        }
        _ => Check::new(
            NAME,
            State::Error,
            object,
            "no controller leads: nobody makes or renews Secrets",
        )
        .help("`kubectl get pods` and the controllers' logs tell why"),
    }
}

/// Whether the controller says of each of these in which namespaces it stands: otherwise no Pod is held.
fn status(facts: &Facts, held: &[&SecretName]) -> Check {
    let object = "ConfigMaps `pullpass-status-0` to `-f`";
    if let Some(check) = facts.status.unread(NAME, object) {
        return check;
    }
    let mut said: BTreeMap<Shard, Status> = BTreeMap::new();
    for map in facts.status.items() {
        let data = map.get("data").and_then(|data| data.get(STATUS_KEY));
        let status = Status::parse(data.and_then(Value::as_str).unwrap_or_default());
        if let (Some(shard), Ok(status)) = (Shard::parse(name(map)), status) {
            said.insert(shard, status);
        }
    }
    let is_told = |credential: &SecretName| {
        Shard::all().all(|shard| {
            let status = said.get(&shard);
            status.is_some_and(|status| status.ready.contains_key(credential))
        })
    };
    let untold: Vec<String> = held
        .iter()
        .filter(|credential| !is_told(credential))
        .map(|credential| format!("`{credential}`"))
        .collect();
    if untold.is_empty() {
        let message = "say where Pods need not wait";
        return Check::new(NAME, State::Ok, object, message);
    }
    let message = format!("no Pod is held for {}", few(&untold));
    Check::new(NAME, State::Warning, object, message).help(
        "the controller says nothing of them: it may lack the right to patch Pods, or to read their Secrets; \
         `rights` above and its log tell",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::policies::compile;
    use serde_json::json;
    use std::time::{SystemTime, UNIX_EPOCH};

    const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: a}
spec:
  rules: [{name: r, match: {images: ['*']}, inject: {imagePullSecrets: [hub, vault]}}]
  credentials:
    - {name: hub, holdPods: true, from: {secretRef: {name: source}}}
    - {name: vault, from: {existing: {}}}
";

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn facts(has_controller: bool) -> Facts {
        let mut facts = Facts::new("own", at(30));
        let map = json!({"metadata": {"name": "m"}, "data": {"p.yaml": POLICY}});
        facts.config_maps = Found::Object(json!({"items": [map]}));
        let deployment = json!({
            "metadata": {"name": "c", "labels": {"app.kubernetes.io/component": "controller"}},
        });
        if has_controller {
            facts.deployments = Found::Object(json!({"items": [deployment]}));
        }
        facts
    }

    fn states(facts: &Facts) -> Vec<State> {
        let compiled = compile(facts);
        let checks = checks(facts, &facts.settings(), compiled.as_ref());
        checks.iter().map(|check| check.state).collect()
    }

    #[test]
    fn a_source_is_good_or_told_without_what_it_holds() {
        let secret = |kind: &str, data: &Value| Found::Object(json!({"type": kind, "data": data}));
        let typed = "kubernetes.io/dockerconfigjson";
        // {"auths":{"quay.io":{"auth":"cm9ib3Q6b25l"}}}, then with an `auth` that is none.
        let good = "eyJhdXRocyI6eyJxdWF5LmlvIjp7ImF1dGgiOiJjbTlpYjNRNmIyNWwifX19";
        let bad = "eyJhdXRocyI6eyJxdWF5LmlvIjp7ImF1dGgiOiJib21iIn19fQ==";
        for (found, registries, want, why) in [
            (
                secret(typed, &json!({".dockerconfigjson": good})),
                None,
                State::Ok,
                "a pull secret",
            ),
            (
                secret(typed, &json!({".dockerconfigjson": good})),
                Some("ghcr.io"),
                State::Error,
                "no entry for its registries",
            ),
            (
                secret(typed, &json!({".dockerconfigjson": bad})),
                None,
                State::Error,
                "no kubelet reads it",
            ),
            (
                secret("Opaque", &json!({"a": "Ym9tYg=="})),
                None,
                State::Error,
                "another type",
            ),
            (
                secret(typed, &json!({".dockerconfigjson": 7})),
                None,
                State::Error,
                "no Secret",
            ),
            (Found::Absent, None, State::Error, "not there"),
            (
                Found::Forbidden("get secrets".to_owned()),
                None,
                State::Skipped,
                "not to be seen",
            ),
            (
                Found::Failed("timeout".to_owned()),
                None,
                State::Error,
                "no answer",
            ),
        ] {
            let registries: Vec<Box<str>> = registries.into_iter().map(Box::from).collect();
            let found = Source::of(found, &registries);
            let check = source(&SecretName::parse("hub").unwrap(), &found);
            assert_eq!(check.state, want, "{why}: {check:?}");
            let told = format!("{found:?} {check:?}");
            for value in ["cm9ib3Q", "robot", "bomb", "Ym9tYg"] {
                assert!(!told.contains(value), "{why}: {told}");
            }
        }
    }

    #[test]
    fn somebody_leads_or_it_is_told() {
        let lease = |holder: &str, renewed: u64| {
            let renewed = crate::doctor::certificate::time(at(renewed));
            Found::Object(json!({"spec": {"holderIdentity": holder, "renewTime": renewed}}))
        };
        for (found, want, why) in [
            (lease("a", 28), State::Ok, "just renewed"),
            (lease("a", 40), State::Ok, "its clock is ahead"),
            (lease("", 28), State::Error, "given back"),
            (Found::Absent, State::Error, "nobody ever led"),
            (
                Found::Forbidden("get leases".to_owned()),
                State::Skipped,
                "not to be seen",
            ),
        ] {
            let mut facts = facts(true);
            facts.lease = found;
            assert_eq!(states(&facts)[0], want, "{why}");
        }
        let mut late = facts(true);
        late.lease = lease("a", 28);
        late.now = at(300);
        assert_eq!(states(&late)[0], State::Error, "long ago");
        assert!(states(&facts(false)).is_empty(), "it runs elsewhere");
    }

    #[test]
    fn pods_can_wait_for_what_is_told_of_in_every_config_map() {
        let told = |count: usize| {
            let map = |shard: Shard| {
                let text = r#"{"version":1,"ready":{"hub":[]}}"#;
                json!({"metadata": {"name": shard.to_string()}, "data": {STATUS_KEY: text}})
            };
            Found::Object(json!({"items": Shard::all().take(count).map(map).collect::<Vec<_>>()}))
        };
        for (found, want, why) in [
            (told(16), State::Ok, "all say so"),
            (told(15), State::Warning, "one does not"),
            (told(0), State::Warning, "none is there"),
            (
                Found::Forbidden("list configmaps".to_owned()),
                State::Skipped,
                "not to be seen",
            ),
        ] {
            let mut facts = facts(true);
            facts.status = found;
            assert_eq!(states(&facts)[1], want, "{why}");
        }
    }
}
