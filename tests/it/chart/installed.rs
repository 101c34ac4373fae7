//! The chart on a real API server, by real helm: installed, upgraded, rolled back, uninstalled, while the built binary runs
//! with the arguments and under the accounts of the installed Deployments.
//!
//! A plane has no nodes: the Pods are accepted and stay pending, and the processes run beside it, called by a URL.

mod guard;
mod kept;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{CHART, helm, template};
use crate::command::{Ran, run_with};
use crate::plane::{Plane, User, wait_until};
use crate::webhook::client::get;

const OWN: &str = "pullpass-system";
const MUTATING: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/00-pullpass";

/// A release of the chart in a plane of its own.
struct Release {
    plane: Plane,
    /// Where the webhook is called.
    admission: SocketAddr,
}

impl Release {
    /// The namespace as deploy/kustomize makes it, and nothing in it yet.
    fn new() -> Self {
        let plane = Plane::own();
        let path = "deploy/kustomize/base/namespace.yaml";
        let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
        let ran = plane.admin().kubectl(&["apply", "-f", &path]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        Self {
            plane,
            admission: free(),
        }
    }

    fn admin(&self) -> &User {
        self.plane.admin()
    }

    /// By a URL, and so that no test overlooks a failure of ours.
    fn values(&self, more: &str) -> String {
        let url = format!("https://{}", self.admission);
        format!(
            "
webhook:
  url: {url}
  failurePolicy: Fail
policies:
  company:
    rules:
      - name: hub
        match: {{images: [docker.io]}}
        inject: {{imagePullSecrets: [hub]}}
    credentials:
      - name: hub
        from: {{secretRef: {{name: dockerhub}}}}
        holdPods: true
{more}"
        )
    }

    /// helm as a person runs it.
    #[track_caller]
    fn helm(&self, args: &[&str], values: &str) -> Ran {
        let kubeconfig = self.admin().kubeconfig.to_str().unwrap();
        let cluster = ["--namespace", OWN, "--kubeconfig", kubeconfig];
        let ran = run_with(helm(&[args, &cluster].concat()), values.as_bytes());
        assert_eq!(ran.status, 0, "{args:?}: {}", ran.stderr);
        ran
    }

    #[track_caller]
    fn install(&self, values: &str) {
        self.helm(&["install", "pullpass", CHART, "--values", "-"], values);
    }

    #[track_caller]
    fn upgrade(&self, values: &str) {
        self.helm(&["upgrade", "pullpass", CHART, "--values", "-"], values);
    }

    fn deployment(&self, component: &str) -> Value {
        let at = format!("/apis/apps/v1/namespaces/{OWN}/deployments/pullpass-{component}");
        self.admin().get(&at).done()
    }

    /// The process of a Deployment as it is installed, but for ports that are free here.
    fn process(&self, component: &str) -> Process {
        let deployment = self.deployment(component);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let args = container["args"].as_array().unwrap();
        let account = &deployment["spec"]["template"]["spec"]["serviceAccountName"];
        let user = self.plane.account(OWN, account.as_str().unwrap());
        let admin = free();
        let args = args.iter().map(|arg| {
            let arg = arg.as_str().unwrap();
            match arg.split_once('=').map_or(arg, |(flag, _)| flag) {
                "--listen" => format!("--listen={}", self.admission),
                "--admin-listen" => format!("--admin-listen={admin}"),
                _ => arg.to_owned(),
            }
        });
        let log = self.plane.directory.join(format!("{component}.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_pullpass"))
            .args(args)
            .arg("--kubeconfig")
            .arg(&user.kubeconfig)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Process { child, admin, log }
    }

    /// A Pod as its author writes it, created for real.
    fn pod(&self, namespace: &str) -> Value {
        let pod = json!({
            "metadata": {"generateName": "p-"},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]},
        });
        let at = format!("/api/v1/namespaces/{namespace}/pods");
        self.admin().post(&at, &pod).done()
    }

    fn entry(&self) -> Value {
        self.admin().get(MUTATING).done()["webhooks"][0].clone()
    }
}

/// An address that nobody listens on.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

struct Process {
    child: Child,
    admin: SocketAddr,
    log: PathBuf,
}

impl Process {
    fn until_ready(&mut self) {
        wait_until("it is ready", || {
            let ended = self.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(&self.log).unwrap();
            assert!(ended.is_none(), "{}", log());
            get(self.admin, "/readyz").is_ok_and(|answer| answer.status == 200)
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn installed_upgraded_rolled_back_and_gone_without_a_trace() {
    let release = Release::new();
    let shop = release.plane.namespace("shop");
    release.takes_every_variant();
    release.install(&release.values(""));
    release.pods_are_accepted();

    let mut controller = release.process("controller");
    let mut webhook = release.process("webhook");
    controller.until_ready();
    webhook.until_ready();
    wait_until("API servers trust the webhook", || {
        release.entry()["clientConfig"]["caBundle"].is_string()
    });
    let secrets = || release.pod(&shop)["spec"]["imagePullSecrets"].clone();
    assert_eq!(secrets(), json!([{"name": "hub"}]));
    release.policies_are_checked();
    let bundle = release.entry()["clientConfig"]["caBundle"].clone();

    release.goes_up_and_back();
    assert_eq!(
        release.entry()["clientConfig"]["caBundle"],
        bundle,
        "an upgrade and a rollback leave it alone"
    );
    assert_eq!(secrets(), json!([{"name": "hub"}]));

    release.is_applied_by_others();
    assert_eq!(
        release.entry()["clientConfig"]["caBundle"],
        bundle,
        "nobody took it"
    );

    // Before it is uninstalled: nothing of it may be needed to leave.
    drop(webhook);
    drop(controller);
    release.goes_without_a_trace(&shop);
}

/// What is off by default and what both processes take; without objects of kinds that a plane does not know.
const VARIANTS: [&str; 3] = [
    "
webhook:
  autoscaling: {enabled: true}
  service: {type: LoadBalancer, annotations: {a: b}, ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4]}
  clientCA: {configMapName: callers}
  annotations: {a: b}
  namespaceSelector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}]}
  objectSelector: {matchLabels: {a: b}}
  matchConditions: [{name: mine, expression: 'has(object.metadata.labels)'}]
  extraArgs: [--context=x]
  extraEnv: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
  extraVolumes: [{name: tmp, emptyDir: {}}]
  extraVolumeMounts: [{name: tmp, mountPath: /tmp}]
  podLabels: {a: b}
  podAnnotations: {a: b}
  affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}
  tolerations: [{key: a, operator: Exists, effect: NoSchedule}]
  nodeSelector: {a: b}
controller:
  credentialNames: [a]
  retiredCredentialNames: [b]
  sourceSecretNames: [c]
  holdPods: true
  caBundle: '-----BEGIN CERTIFICATE-----'
proxy: {https: 'http://proxy.example:3128', noProxy: .svc}
global: {imagePullSecrets: [{name: a}]}
commonLabels: {a: b}
commonAnnotations: {a: b}
namespaceMode: opt-in
excludedNamespaces: [a]
tenantPolicies: {enabled: true}
networkPolicy:
  enabled: true
  apiServerCIDRs: [192.0.2.0/28]
  metricsFrom: [{namespaceSelector: {matchLabels: {a: b}}, podSelector: {}}]
  egressCIDRs: [169.254.0.0/16]
",
    "
webhook: {tls: {existingSecret: mine}, replicaCount: 1}
policies: {'1': {rules: [{name: a, match: {images: ['*']}, inject: {}}]}}
allowOptOut: false
",
    "{webhook: {tls: {existingSecret: mine}}, controller: {enabled: false}}",
];

impl Release {
    /// Without a warning: no field that the API server does not know, no Pod that is not restricted.
    fn takes_every_variant(&self) {
        for values in VARIANTS {
            let ran = template(values);
            assert_eq!(ran.status, 0, "{}", ran.stderr);
            let apply = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
            let ran = self.admin().kubectl_with(&apply, &ran.stdout);
            assert_eq!((ran.status, &*ran.stderr), (0, ""), "{values}");
        }
    }

    /// What the Deployments say is let into a restricted namespace, with its priority class.
    fn pods_are_accepted(&self) {
        let at = format!("/api/v1/namespaces/{OWN}/pods");
        wait_until("the Pods are accepted", || {
            let list = self.admin().get(&at).done();
            let pods = list["items"].as_array().unwrap();
            let class = |pod: &Value| pod["spec"]["priorityClassName"] == "system-cluster-critical";
            pods.len() == 4 && pods.iter().all(class)
        });
    }

    fn policies_are_checked(&self) {
        let broken = json!({
            "metadata": {"name": "broken", "labels": {"pullpass.dev/policy": "true"}},
            "data": {"policy.yaml": "kind: RegistryPolicy"},
        });
        let at = format!("/api/v1/namespaces/{OWN}/configmaps");
        let answer = self.admin().post(&at, &broken);
        let (status, message) = answer.refused();
        assert!(status == 422 && message.contains("PP"), "{message}");
    }

    fn goes_up_and_back(&self) {
        let deployments = || ["webhook", "controller"].map(|name| self.deployment(name));
        let generations = || deployments().map(|object| object["metadata"]["generation"].clone());
        let before = generations();
        let more = "
  other:
    rules:
      - name: quay
        match: {images: [quay.io]}
        inject: {imagePullSecrets: [quay]}
    credentials:
      - name: quay
        from: {existing: {}}
";
        let values = self.values(more);
        self.upgrade(&values.replace("failurePolicy: Fail", "timeoutSeconds: 9"));
        let entry = self.entry();
        assert_eq!(entry["timeoutSeconds"], 9);
        assert_eq!(entry["failurePolicy"], "Ignore");
        assert!(entry["clientConfig"]["caBundle"].is_string(), "{entry}");
        let policy = format!("/api/v1/namespaces/{OWN}/configmaps/pullpass-policy-other");
        self.admin().get(&policy).done();
        assert_eq!(generations(), before, "a policy restarts nothing");

        self.helm(&["rollback", "pullpass", "1"], "");
        let entry = self.entry();
        assert_eq!(entry["timeoutSeconds"], 5);
        assert_eq!(entry["failurePolicy"], "Fail");
        assert_eq!(self.admin().get(&policy).status, 404);
    }

    /// As a GitOps controller does: the same objects under another manager's name, again and again.
    fn is_applied_by_others(&self) {
        let manifest = template(&self.values("")).stdout;
        let versions = || {
            let path = "jsonpath={.items[*].metadata.resourceVersion}";
            let ran = self
                .admin()
                .kubectl_with(&["get", "-f", "-", "-o", path], &manifest);
            assert_eq!(ran.status, 0, "{}", ran.stderr);
            ran.stdout
        };
        wait_until("an apply changes nothing", || {
            let before = versions();
            let apply = [
                "apply",
                "--server-side",
                "--field-manager=gitops",
                "-f",
                "-",
            ];
            let ran = self.admin().kubectl_with(&apply, &manifest);
            assert_eq!((ran.status, &*ran.stderr), (0, ""));
            versions() == before
        });
    }

    fn goes_without_a_trace(&self, namespace: &str) {
        self.helm(&["uninstall", "pullpass", "--wait"], "");
        let pod = self.pod(namespace);
        assert!(pod["spec"].get("imagePullSecrets").is_none(), "{pod}");
        assert!(pod["metadata"].get("annotations").is_none(), "{pod}");
        let kinds = "deployments,services,serviceaccounts,configmaps,resourcequotas,\
                     poddisruptionbudgets,roles,rolebindings,clusterroles,clusterrolebindings,\
                     mutatingwebhookconfigurations,validatingwebhookconfigurations,\
                     validatingadmissionpolicies,validatingadmissionpolicybindings";
        let left = |kinds: &str, label: &str| {
            let ran = self
                .admin()
                .kubectl(&["get", kinds, "-A", "-l", label, "-o", "name"]);
            assert_eq!(ran.status, 0, "{}", ran.stderr);
            ran.stdout
        };
        assert_eq!(left(kinds, "app.kubernetes.io/part-of=pullpass"), "");
        // The controller's own: the guide says how to remove them.
        assert_eq!(
            left("secrets", "app.kubernetes.io/managed-by=pullpass"),
            "secret/pullpass-ca\nsecret/pullpass-webhook-tls\n"
        );
    }
}
