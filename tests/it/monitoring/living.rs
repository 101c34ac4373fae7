//! A webhook and a controller in a cluster to whom everything has happened that their metrics can tell.

use serde_json::{Value, json};

use crate::cluster::install::{Installation, Webhook};
use crate::controller::Controller;
use crate::moto::Moto;
use crate::plane::{Plane, wait_until};
use crate::pull_secrets::{Estate, create_pod};
use crate::webhook::review;
use crate::webhook::server::Place;

/// `hub` is well, `ecr` expires, `gone` has no source and a Pod waits for it.
const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: monitored}
spec:
  rules:
    - name: hub
      match: {images: [docker.io], SELECTED}
      inject: {imagePullSecrets: [hub@]}
    - name: ecr
      match: {ecr: {}, SELECTED}
      inject: {imagePullSecrets: [ecr@]}
    - name: gone
      match: {images: [quay.io], SELECTED}
      inject: {imagePullSecrets: [gone@], serviceAccountName: nobody}
  credentials:
    - {name: hub@, from: {secretRef: {name: hub-source}}}
    - {name: ecr@, from: {ecr: {accountIds: ['123456789012'], regions: [eu-west-1]}}}
    - {name: gone@, holdPods: true, holdTimeout: 1h, from: {secretRef: {name: gone-source}}}
";

/// What API servers call by the names of pullpass's own entries, and nobody answers.
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// Both processes, and what they live in.
pub(super) struct Living<'p> {
    pub(super) estate: &'p Estate<'p>,
    pub(super) webhook: Webhook<'p>,
    pub(super) controller: Controller,
    namespace: String,
    _moto: Moto,
}

/// With the rights for its policy.
pub(super) fn estate(plane: &Plane) -> Estate<'_> {
    Estate::on(plane, POLICY)
}

impl<'p> Living<'p> {
    /// Starts both, and waits until all has happened.
    pub(super) fn start(estate: &'p Estate<'p>) -> Self {
        let moto = Moto::start();
        let namespace = estate.namespace();
        estate.source("hub-source", &[("docker.io", "robot:one")]);
        estate.put(POLICY);
        let webhook = estate.installation.start(Place::with(""), &[]);
        let env = moto.env();
        let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let flags = ["--tls-secret", "pullpass-webhook-tls"];
        let controller = estate.control_with(&flags, &env);
        let living = Self {
            estate,
            webhook,
            controller,
            namespace,
            _moto: moto,
        };
        living.happen();
        living
    }

    fn happen(&self) {
        let server = &self.webhook.server;
        wait_until("the policy is in force", || {
            server.count("pullpass_policy_rules") == 3
        });
        self.ask();
        let pod = json!({
            "metadata": {"name": "held"},
            "spec": {
                "schedulingGates": [{"name": "pullpass.dev/pull-secret"}],
                "imagePullSecrets": [{"name": self.estate.name("gone")}],
                "containers": [{"name": "c", "image": "quay.io/org/app:1"}],
            },
        });
        create_pod(self.estate.admin(), &self.namespace, &pod).done();
        for (what, part) in [
            ("it leads", "pullpass_leader{} 1"),
            ("it has made a CA", "seconds{kind=\"ca\"}"),
            ("a Pod is held", "pullpass_held_pods{} 1"),
            (
                "a value expires",
                "pullpass_credential_expiration_timestamp_seconds{",
            ),
            ("a copy was made", "result=\"created\"} 1"),
            ("a source is no good", "result=\"failure\"}"),
        ] {
            wait_until(what, || self.controller.get("/metrics").body.contains(part));
        }
    }

    /// Asks the webhook about a Pod of three images, one of which is none.
    pub(super) fn ask(&self) {
        let images = ["nginx", "quay.io/org/app:1", "A b"];
        let review = review(&self.namespace, &images);
        let _: Value = self.webhook.server.client().ask(&review);
    }

    /// Has the API server call somebody in vain, by entries of our own names.
    pub(super) fn fail_calls(&self) {
        let installation: &Installation<'_> = &self.estate.installation;
        let admin = installation.plane.admin();
        let namespace = installation.plane.namespace("unanswered");
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        for policy in ["Ignore", "Fail"] {
            let name = format!("{namespace}-{}", policy.to_lowercase());
            let configuration = json!({
                "metadata": {"name": name},
                "webhooks": [{
                    "name": "pods.pullpass.dev", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                    "clientConfig": {"url": "https://127.0.0.1:1/"}, "failurePolicy": policy, "timeoutSeconds": 1,
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                }],
            });
            admin.post(CONFIGURATIONS, &configuration).done();
            let metric = if policy == "Fail" {
                "apiserver_admission_webhook_rejection_count{"
            } else {
                "apiserver_admission_webhook_fail_open_count{"
            };
            wait_until(metric, || {
                let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
                admin.post(&path, &pod);
                self.api_server().contains(metric)
            });
            admin
                .delete(&format!("{CONFIGURATIONS}/{name}"), None)
                .done();
        }
    }

    /// The metrics of the API server.
    pub(super) fn api_server(&self) -> String {
        let admin = self.estate.installation.plane.admin();
        admin.kubectl(&["get", "--raw", "/metrics"]).stdout
    }
}
