//! Credentials in a real cluster: sources, copies in their namespaces, held Pods, status. The built binary under its own
//! account's token, which has the rights that `pullpass render rbac` prints for the policy of the test and no others.
//!
//! In the shared plane each test's credentials go only to the namespaces that it made, and have names of their own.

mod copies;
mod faults;
mod fetched;
mod guides;
mod holds;
mod silence;
mod told;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cluster::install::Installation;
use crate::controller::Controller;
use crate::plane::{Answer, Plane, RUNTIME, User, try_request, wait_until};
use crate::seeded::seed;

const OURS: &str = "app.kubernetes.io/managed-by";

/// An installation whose policy declares credentials, and namespaces for them.
pub(crate) struct Estate<'p> {
    pub(crate) installation: Installation<'p>,
    /// Put behind each credential's name: names are cluster-wide.
    mark: String,
    directory: tempfile::TempDir,
}

impl<'p> Estate<'p> {
    /// With the rights for this policy, which is not applied yet. `@` stands for the mark behind names, and `SELECTED` for a
    /// `namespaceSelector` of the test's namespaces.
    pub(crate) fn on(plane: &'p Plane, policy: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mark = format!("-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.yaml");
        std::fs::write(&path, marked(policy, &mark)).unwrap();
        let installation = Installation::with(plane, &["--policy", path.to_str().unwrap()]);
        Self {
            installation,
            mark,
            directory,
        }
    }

    /// Grants what another policy takes, in place of what was granted.
    pub(crate) fn grant(&self, policy: &str) {
        let path = self.directory.path().join("other.yaml");
        std::fs::write(&path, self.text(policy)).unwrap();
        self.installation
            .grant(&["--policy", path.to_str().unwrap()]);
    }

    pub(crate) fn own(&self) -> &str {
        &self.installation.own
    }

    pub(crate) fn admin(&self) -> &User {
        self.installation.plane.admin()
    }

    fn text(&self, policy: &str) -> String {
        marked(policy, &self.mark)
    }

    /// A credential's name in the cluster.
    pub(crate) fn name(&self, credential: &str) -> String {
        format!("{credential}{}", self.mark)
    }

    /// Puts the policy in force, or changes it.
    pub(crate) fn put(&self, policy: &str) {
        self.installation.put("policies", &self.text(policy));
    }

    /// Of the namespaces that the rules select.
    pub(crate) fn labels(&self) -> Value {
        json!({ "tests.pullpass.dev/estate": self.mark.replace('-', "e") })
    }

    /// A new namespace that the rules select.
    pub(crate) fn namespace(&self) -> String {
        let plane = self.installation.plane;
        plane.namespace_labelled("estate", &self.labels())
    }

    /// So many of them at once, without waiting for their accounts.
    pub(crate) fn namespaces(&self, number: usize) -> Vec<String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let client = &self.admin().client;
        let labels = self.labels();
        let names: Vec<_> = (0..number)
            .map(|_| format!("many-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
            .collect();
        let objects = names
            .iter()
            .map(|name| json!({"metadata": {"name": name, "labels": labels}}));
        let objects: Vec<_> = objects.collect();
        for some in objects.chunks(16) {
            let made = some.iter().map(|object| {
                let at = "/api/v1/namespaces";
                try_request(client, "POST", at, "application/json", Some(object))
            });
            for answer in RUNTIME.block_on(futures_util::future::join_all(made)) {
                answer.unwrap().done();
            }
        }
        names
    }

    /// The controller's account.
    pub(crate) fn account(&self) -> User {
        self.installation
            .plane
            .account(self.own(), "pullpass-controller")
    }

    /// A controller without certificates.
    pub(crate) fn control(&self) -> Controller {
        self.control_with(&[], &[])
    }

    pub(crate) fn control_with(&self, flags: &[&str], env: &[(&str, &str)]) -> Controller {
        self.control_at(&self.account().kubeconfig, flags, env)
    }

    /// The same, by another way to the API server.
    pub(crate) fn control_at(
        &self,
        kubeconfig: &Path,
        flags: &[&str],
        env: &[(&str, &str)],
    ) -> Controller {
        let kubeconfig = kubeconfig.to_str().unwrap();
        let all = ["--namespace", self.own(), "--kubeconfig", kubeconfig];
        Controller::start_in(&[&all[..], flags].concat(), env)
    }

    /// A Secret of whatever type.
    pub(crate) fn secret(&self, namespace: &str, name: &str) -> Option<Value> {
        let answer = self.admin().get(&secret_path(namespace, name));
        (answer.status == 200).then_some(answer.body)
    }

    /// The logins of a copy, as `registry user:password`, if a Secret stands there.
    pub(crate) fn logins(&self, namespace: &str, credential: &str) -> Option<Vec<String>> {
        logins(&self.secret(namespace, &self.name(credential))?)
    }

    pub(crate) fn until_logins(&self, namespace: &str, credential: &str, want: &[&str]) {
        wait_until(&format!("{credential} in {namespace} is {want:?}"), || {
            self.logins(namespace, credential)
                .is_some_and(|logins| logins == want)
        });
    }

    pub(crate) fn until_gone(&self, namespace: &str, credential: &str) {
        wait_until(&format!("{credential} in {namespace} is gone"), || {
            self.secret(namespace, &self.name(credential)).is_none()
        });
    }

    /// Sets a Secret in pullpass's own namespace from which a credential is copied.
    pub(crate) fn source(&self, name: &str, auths: &[(&str, &str)]) {
        let secret = pull_secret(name, auths);
        let at = secret_path(self.own(), name);
        let at = format!("{at}?fieldManager=test&force=true");
        self.admin().apply(&at, &secret).done();
    }

    /// What the status ConfigMaps say together.
    pub(crate) fn status(&self) -> Value {
        let at = format!(
            "/api/v1/namespaces/{}/configmaps?labelSelector=pullpass.dev/status%3Dtrue",
            self.own()
        );
        let list = self.admin().get(&at).done();
        let mut ready = json!({});
        let mut names = json!([]);
        for map in list["items"].as_array().unwrap() {
            let text = map["data"]["status.json"].as_str().unwrap();
            let status: Value = serde_json::from_str(text).unwrap();
            for (credential, namespaces) in status["ready"].as_object().unwrap() {
                let all = &mut ready[credential];
                if all.is_null() {
                    *all = json!([]);
                }
                let all = all.as_array_mut().unwrap();
                all.extend(namespaces.as_array().unwrap().iter().cloned());
            }
            if status["names"].is_array() {
                names = status["names"].clone();
            }
        }
        json!({"ready": ready, "names": names, "maps": list["items"].as_array().unwrap().len()})
    }

    /// Writes of the controller that the audit log has, without its Lease and Events.
    pub(crate) fn writes(&self) -> Vec<String> {
        let user = format!("system:serviceaccount:{}:pullpass-controller", self.own());
        let events = self.installation.plane.audited(|event| {
            let verb = event["verb"].as_str().unwrap_or_default();
            let resource = event["objectRef"]["resource"].as_str().unwrap_or_default();
            event["user"]["username"] == json!(user)
                && event["stage"] == "ResponseComplete"
                && ["create", "update", "patch", "delete"].contains(&verb)
                && !["leases", "events", "selfsubjectaccessreviews"].contains(&resource)
        });
        let told = events.iter().map(|event| {
            let object = &event["objectRef"];
            let part = |key: &str| object[key].as_str().unwrap_or_default();
            let verb = event["verb"].as_str().unwrap();
            let code = &event["responseStatus"]["code"];
            format!(
                "{verb} {} {}/{} {code}",
                part("resource"),
                part("namespace"),
                part("name")
            )
        });
        told.collect()
    }

    /// Reasons of the Events about an object, oldest first, with their notes.
    pub(crate) fn events(&self, namespace: &str, name: &str) -> Vec<(String, String)> {
        crate::controller::events_about(self.admin(), namespace, name)
    }

    pub(crate) fn until_event(&self, namespace: &str, name: &str, reason: &str) -> String {
        let mut note = String::new();
        wait_until(&format!("the Event {reason} about {name}"), || {
            let events = self.events(namespace, name);
            let found = events.into_iter().find(|(r, _)| r == reason);
            found.map(|(_, said)| note = said).is_some()
        });
        note
    }
}

fn marked(policy: &str, mark: &str) -> String {
    let select = format!(
        "namespaceSelector: {{matchLabels: {{tests.pullpass.dev/estate: {}}}}}",
        mark.replace('-', "e")
    );
    policy.replace('@', mark).replace("SELECTED", &select)
}

pub(crate) fn secret_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{name}")
}

/// A dockerconfigjson Secret; a login is `user:password`.
pub(crate) fn pull_secret(name: &str, auths: &[(&str, &str)]) -> Value {
    let entry = |(registry, login): &(&str, &str)| {
        let password = login
            .split_once(':')
            .map_or(*login, |(_, password)| password);
        seed(password);
        let auth = json!({"auth": STANDARD.encode(login)});
        ((*registry).to_owned(), auth)
    };
    let auths: serde_json::Map<_, _> = auths.iter().map(entry).collect();
    let text = json!({ "auths": auths }).to_string();
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": STANDARD.encode(text)},
    })
}

/// The logins of a dockerconfigjson Secret.
pub(crate) fn logins(secret: &Value) -> Option<Vec<String>> {
    let text = secret["data"][".dockerconfigjson"].as_str()?;
    let config: Value = serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()?;
    let auths = config["auths"].as_object()?.iter();
    let line = |(registry, entry): (&String, &Value)| {
        let auth = STANDARD.decode(entry["auth"].as_str()?).ok()?;
        Some(format!("{registry} {}", String::from_utf8(auth).ok()?))
    };
    auths.map(line).collect()
}

/// A Pod that was refused or made, as far as tests look.
pub(crate) fn create_pod(admin: &User, namespace: &str, pod: &Value) -> Answer {
    admin.post(&format!("/api/v1/namespaces/{namespace}/pods"), pod)
}
