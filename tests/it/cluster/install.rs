//! An installation of pullpass in a namespace of its own: rendered rights, rendered webhook configurations, and the built
//! binary under its own account's token, never the administrator's.
//!
//! Many share a plane: what is cluster-wide carries the namespace in its name, and the configurations select the
//! namespaces that the installation made. Nothing else differs from what `pullpass render` prints, and nothing at all in a
//! plane of its own.

use std::path::Path;

use serde_json::{Value, json};

use super::pod;
use crate::command::run;
use crate::plane::{Plane, wait_until};
use crate::webhook::server::{Place, Server};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// An installation with its rights, before or without a running webhook.
pub(crate) struct Installation<'p> {
    pub(crate) plane: &'p Plane,
    /// pullpass's own namespace.
    pub(crate) own: String,
    /// Others are in the plane.
    shares: bool,
}

/// Its webhook, known to the API server until it is dropped.
pub(crate) struct Webhook<'i> {
    pub(crate) server: Server,
    installation: &'i Installation<'i>,
    configurations: Vec<String>,
}

impl<'p> Installation<'p> {
    pub(crate) fn on(plane: &'p Plane) -> Self {
        Self::with(plane, &[])
    }

    /// With these flags of `render rbac`.
    pub(crate) fn with(plane: &'p Plane, flags: &[&str]) -> Self {
        Self::new(plane, flags, true)
    }

    /// In a plane that has no other.
    pub(crate) fn alone(plane: &'p Plane) -> Self {
        Self::new(plane, &[], false)
    }

    fn new(plane: &'p Plane, flags: &[&str], shares: bool) -> Self {
        let own = plane.namespace("pullpass");
        let installation = Self { plane, own, shares };
        installation.grant(flags);
        installation
    }

    /// Applies the rights that are rendered with these flags.
    pub(crate) fn grant(&self, flags: &[&str]) {
        let Self { plane, own, .. } = self;
        // The webhook's rights do not depend on the policies.
        let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/policy.yaml");
        let mut render = vec!["render", "rbac", "-o", "json", "--namespace", own];
        render.extend(["--policy", policies]);
        for mut object in rendered(&[&render[..], flags].concat()) {
            let kind = object["kind"].as_str().unwrap().to_owned();
            if kind.starts_with("Cluster") {
                self.rename(&mut object["metadata"]["name"]);
            }
            if object["roleRef"]["kind"] == "ClusterRole" {
                self.rename(&mut object["roleRef"]["name"]);
            }
            plane.admin().apply(&place(&kind, &object), &object).done();
        }
        let account = plane.account(own, "pullpass-webhook");
        wait_until("the rights are in force", || {
            let config_maps = format!("/api/v1/namespaces/{own}/configmaps");
            let all = [
                "/api/v1/namespaces",
                "/api/v1/serviceaccounts",
                &config_maps,
            ];
            all.iter()
                .all(|at| account.get(&format!("{at}?limit=1")).status == 200)
        });
    }

    /// Makes a cluster-wide name this installation's own.
    fn rename(&self, name: &mut Value) {
        if self.shares {
            *name = json!(format!("{}-{}", name.as_str().unwrap(), self.own));
        }
    }

    /// The label of the namespaces for which its webhook is called.
    pub(crate) fn label(&self) -> String {
        format!("{}.tests.pullpass.dev/called", self.own)
    }

    /// A new namespace for which its webhook is called, unless the rendered selectors say otherwise.
    pub(crate) fn namespace(&self, prefix: &str) -> String {
        self.namespace_labelled(prefix, &json!({}))
    }

    pub(crate) fn namespace_labelled(&self, prefix: &str, labels: &Value) -> String {
        let mut labels = labels.clone();
        labels[self.label()] = json!("true");
        self.plane.namespace_labelled(prefix, &labels)
    }

    /// Has its webhook called for a namespace that was there before.
    pub(crate) fn adopt(&self, namespace: &str) {
        let labels = json!({"metadata": {"labels": {self.label(): "true"}}});
        let at = format!("/api/v1/namespaces/{namespace}");
        self.plane.admin().merge(&at, &labels).done();
    }

    /// Puts a policy ConfigMap into pullpass's own namespace, or changes it.
    pub(crate) fn put(&self, name: &str, text: &str) {
        put(self.plane, &self.own, name, text);
    }

    /// Removes it.
    pub(crate) fn remove(&self, name: &str) {
        let at = format!("/api/v1/namespaces/{}/configmaps/{name}", self.own);
        self.plane.admin().delete(&at, None).done();
    }

    /// Starts the webhook with these flags of scope, has the API server call it, and waits until it does.
    pub(crate) fn serve(&'p self, scope: &[&str]) -> Webhook<'p> {
        self.serve_as(scope, |_| {})
    }

    /// The same with a change of the configurations.
    pub(crate) fn serve_as(&'p self, scope: &[&str], change: impl Fn(&mut Value)) -> Webhook<'p> {
        let webhook = self.start(Place::with(""), scope);
        let ca = webhook.server.place.path("ca.crt");
        webhook.configured(Some(&ca), scope, change)
    }

    /// Starts a webhook with these flags, and waits until it is ready; no API server knows it.
    pub(crate) fn start(&'p self, place: Place, flags: &[&str]) -> Webhook<'p> {
        Webhook {
            server: self.process(place, flags),
            installation: self,
            configurations: Vec::new(),
        }
    }

    /// The same, as a process alone.
    pub(crate) fn process(&self, place: Place, flags: &[&str]) -> Server {
        let account = self.plane.account(&self.own, "pullpass-webhook");
        let kubeconfig = account.kubeconfig.to_str().unwrap();
        let always = ["--namespace", &self.own, "--kubeconfig", kubeconfig];
        let server = place.start(&[&always[..], flags].concat());
        server.until_ready();
        server
    }
}

impl Webhook<'_> {
    /// Has the API server call it, and waits until it does. Without a CA somebody else sets the caBundle.
    pub(crate) fn configured(
        mut self,
        ca: Option<&Path>,
        scope: &[&str],
        change: impl Fn(&mut Value),
    ) -> Self {
        let Installation { plane, own, shares } = self.installation;
        let url = format!("https://{}", self.server.admission);
        let mut render = vec!["render", "webhook-configuration", "-o", "json"];
        render.extend(["--namespace", own, "--url", &url]);
        if let Some(ca) = ca {
            render.extend(["--ca-file", ca.to_str().unwrap()]);
        }
        // A failure of ours fails the Pod, so that no test overlooks it.
        render.extend(["--failure-policy", "Fail", "--timeout-seconds", "30"]);
        render.extend(scope.iter().filter(|&&flag| flag != "--tenant-policies"));
        let label = self.installation.label();
        for mut object in rendered(&render) {
            self.installation.rename(&mut object["metadata"]["name"]);
            let entry = &mut object["webhooks"][0];
            change(entry);
            if *shares {
                let called = json!({"key": label, "operator": "Exists"});
                match entry["namespaceSelector"]["matchExpressions"].as_array_mut() {
                    Some(all) => all.push(called),
                    None => entry["namespaceSelector"]["matchExpressions"] = json!([called]),
                }
            }
            let at = place(object["kind"].as_str().unwrap(), &object);
            plane.admin().apply(&at, &object).done();
            let (at, _) = at.split_once('?').unwrap();
            self.configurations.push(at.to_owned());
        }
        // In scope in each mode.
        let labels = json!({"pullpass.dev/inject": "enabled"});
        let probe = self.installation.namespace_labelled("probe", &labels);
        let at = format!("/api/v1/namespaces/{probe}/pods?dryRun=All");
        wait_until("the webhook is called", || {
            plane.admin().post(&at, &pod("probe", &json!({})));
            self.calls() > 0
        });
        self
    }

    /// How many requests it has answered.
    pub(crate) fn calls(&self) -> u64 {
        let metrics = self.server.get("/metrics").body;
        let series = metrics
            .lines()
            .filter(|line| line.starts_with("pullpass_admission_requests_total{"));
        series
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Waits until a Pod as it would be created has these pull secrets.
    pub(crate) fn until_secrets(&self, namespace: &str, spec: &Value, want: &[&str]) {
        let at = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        wait_until(&format!("{spec} has {want:?}"), || {
            let made = self
                .installation
                .plane
                .admin()
                .post(&at, &pod("p", spec))
                .done();
            super::secrets(&made) == want
        });
    }
}

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        for at in &self.configurations {
            let answer = self.installation.plane.admin().delete(at, None);
            if !std::thread::panicking() {
                answer.done();
            }
        }
    }
}

/// Puts a policy ConfigMap into a namespace, or changes it, past our own check.
pub(crate) fn put(plane: &Plane, namespace: &str, name: &str, text: &str) {
    let object = config_map(name, text);
    let at =
        format!("/api/v1/namespaces/{namespace}/configmaps/{name}?fieldManager=test&force=true");
    plane.admin().apply(&at, &object).done();
}

/// A ConfigMap that holds a policy.
pub(crate) fn config_map(name: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"pullpass.dev/policy": "true"}},
        "data": {"policy.yaml": text},
    })
}

fn rendered(args: &[&str]) -> Vec<Value> {
    let ran = run(args);
    assert_eq!(ran.status, 0, "{args:?}: {ran:?}");
    let list: Value = serde_json::from_str(&ran.stdout).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Where an object is applied.
fn place(kind: &str, object: &Value) -> String {
    let (group, resource) = match kind {
        "ServiceAccount" => ("/api/v1", "serviceaccounts"),
        "ClusterRole" => ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
        "ClusterRoleBinding" => ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
        "Role" => ("/apis/rbac.authorization.k8s.io/v1", "roles"),
        "RoleBinding" => ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
        "MutatingWebhookConfiguration" => (ADMISSION, "mutatingwebhookconfigurations"),
        "ValidatingWebhookConfiguration" => (ADMISSION, "validatingwebhookconfigurations"),
        other => panic!("no place for a {other}"),
    };
    let name = object["metadata"]["name"].as_str().unwrap();
    let namespace = object["metadata"]["namespace"].as_str();
    let namespace = namespace.map_or(String::new(), |name| format!("/namespaces/{name}"));
    format!("{group}{namespace}/{resource}/{name}?fieldManager=install")
}
