//! The chart on a real API server, by real helm: installed, upgraded, rolled back, uninstalled, while the built binary runs
//! with the arguments and under the accounts of the installed Deployments.
//!
//! A plane has no nodes: the Pods are accepted and stay pending, and the processes run beside it, called by a URL.

mod guard;

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

    /// A Pod as an author writes it, with these images' containers; created for real.
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
    let admin = release.admin();
    let shop = release.plane.namespace("shop");
    release.install(&release.values(""));

    // What the Deployments say is let into a restricted namespace, with its priority class.
    let pods = format!("/api/v1/namespaces/{OWN}/pods");
    wait_until("the Pods are accepted", || {
        let list = admin.get(&pods).done();
        let pods = list["items"].as_array().unwrap();
        let critical = |pod: &Value| pod["spec"]["priorityClassName"] == "system-cluster-critical";
        pods.len() == 4 && pods.iter().all(critical)
    });

    let mut controller = release.process("controller");
    let mut webhook = release.process("webhook");
    controller.until_ready();
    webhook.until_ready();
    wait_until("API servers trust the webhook", || {
        release.entry()["clientConfig"]["caBundle"].is_string()
    });
    assert_eq!(
        release.pod(&shop)["spec"]["imagePullSecrets"],
        json!([{"name": "hub"}])
    );
    let bundle = release.entry()["clientConfig"]["caBundle"].clone();

    // A policy of the chart is checked as any other is.
    let broken = json!({
        "metadata": {"name": "broken", "labels": {"pullpass.dev/policy": "true"}},
        "data": {"policy.yaml": "kind: RegistryPolicy"},
    });
    let at = format!("/api/v1/namespaces/{OWN}/configmaps");
    let answer = admin.post(&at, &broken);
    let (status, message) = answer.refused();
    assert!(status == 422 && message.contains("PP"), "{message}");

    let generations = || {
        ["webhook", "controller"]
            .map(|component| release.deployment(component)["metadata"]["generation"].clone())
    };
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
    let values = release
        .values(more)
        .replace("failurePolicy: Fail", "timeoutSeconds: 9");
    release.upgrade(&values);
    let entry = release.entry();
    assert_eq!(entry["timeoutSeconds"], 9);
    assert_eq!(entry["failurePolicy"], "Ignore");
    assert_eq!(
        entry["clientConfig"]["caBundle"], bundle,
        "an upgrade leaves it alone"
    );
    assert_eq!(generations(), before, "a policy restarts nothing");

    release.helm(&["rollback", "pullpass", "1"], "");
    let entry = release.entry();
    assert_eq!(entry["timeoutSeconds"], 5);
    assert_eq!(entry["failurePolicy"], "Fail");
    assert_eq!(
        entry["clientConfig"]["caBundle"], bundle,
        "and so does a rollback"
    );
    assert_eq!(
        admin.get(&format!("{at}/pullpass-policy-other")).status,
        404
    );
    assert_eq!(
        release.pod(&shop)["spec"]["imagePullSecrets"],
        json!([{"name": "hub"}])
    );

    // As a GitOps controller does: the same objects under another manager's name, again and again.
    let manifest = template(&release.values("")).stdout;
    let apply = [
        "apply",
        "--server-side",
        "--field-manager=gitops",
        "-f",
        "-",
    ];
    let versions = || {
        let all = admin.kubectl_with(
            &[
                "get",
                "-f",
                "-",
                "-o",
                "jsonpath={.items[*].metadata.resourceVersion}",
            ],
            &manifest,
        );
        assert_eq!(all.status, 0, "{}", all.stderr);
        all.stdout
    };
    let mut seen = Vec::new();
    for _ in 0..2 {
        let ran = admin.kubectl_with(&apply, &manifest);
        assert_eq!((ran.status, &*ran.stderr), (0, ""));
        seen.push(versions());
    }
    assert_eq!(
        release.entry()["clientConfig"]["caBundle"],
        bundle,
        "nobody took it"
    );

    // The webhook is killed before: nothing of it may be needed to leave.
    drop(webhook);
    drop(controller);
    release.helm(&["uninstall", "pullpass", "--wait"], "");
    let pod = release.pod(&shop);
    assert!(pod["spec"].get("imagePullSecrets").is_none(), "{pod}");
    assert!(pod["metadata"].get("annotations").is_none(), "{pod}");
    let kinds = "deployments,services,serviceaccounts,configmaps,resourcequotas,poddisruptionbudgets,roles,\
                 rolebindings,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,\
                 validatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings";
    let left = admin.kubectl(&[
        "get",
        kinds,
        "-A",
        "-l",
        "app.kubernetes.io/part-of=pullpass",
        "-o",
        "name",
    ]);
    assert_eq!((left.status, &*left.stdout), (0, ""), "{}", left.stderr);
    // The controller's own: `docs/install.md` says how to remove them.
    let secrets = admin.kubectl(&[
        "get",
        "secrets",
        "-n",
        OWN,
        "-l",
        "app.kubernetes.io/managed-by=pullpass",
        "-o",
        "name",
    ]);
    assert_eq!(
        secrets.stdout,
        "secret/pullpass-ca\nsecret/pullpass-webhook-tls\n"
    );
}
