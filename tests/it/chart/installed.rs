//! The chart on a real API server, by real helm and the commands of the guide: installed, tested, upgraded, rolled back,
//! uninstalled, while the built binary runs with the arguments and under the accounts of the installed Deployments.
//!
//! A plane has no nodes: the Pods are admitted, and the processes run beside it, called by a URL.

mod guard;
mod kept;
mod kubelet;
mod service;
mod shell;
mod variants;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use self::shell::Shell;
use super::{CHART, guide, helm, template};
use crate::command::{Ran, run_with};
use crate::plane::{Plane, User, wait_until};
use crate::webhook::client::get;

const OWN: &str = "pullpass-system";
const MUTATING: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/00-pullpass";

/// A release of the chart in a plane of its own.
struct Release {
    plane: Plane,
    /// Where the webhook listens.
    admission: SocketAddr,
    /// How it is called: values of `webhook`.
    called: String,
}

impl Release {
    /// Called by a URL.
    fn new() -> Self {
        let admission = free("127.0.0.1");
        Self::called(admission, format!("url: https://{admission}"))
    }

    fn called(admission: SocketAddr, called: String) -> Self {
        let plane = Plane::own();
        let path = "deploy/kustomize/base/namespace.yaml";
        let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
        let ran = plane.admin().kubectl(&["apply", "-f", &path]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        Self {
            plane,
            admission,
            called,
        }
    }

    fn admin(&self) -> &User {
        self.plane.admin()
    }

    /// So that no test overlooks a failure of ours.
    fn values(&self, more: &str) -> String {
        let Self { called, .. } = self;
        format!(
            "
webhook:
  {called}
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

    /// The guide's own, called as this release is.
    fn values_of_the_guide(&self) -> String {
        let values = guide::examples(&guide::page("install.md")).remove(0);
        format!(
            "webhook: {{{}, failurePolicy: Fail}}\n{values}\n",
            self.called
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
        let admin = free("127.0.0.1");
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
    fn pod(&self, namespace: &str, image: &str) -> Value {
        let at = format!("/api/v1/namespaces/{namespace}/pods");
        self.admin().post(&at, &pod(image)).done()
    }

    /// The pull secrets of such a Pod.
    fn secrets(&self, namespace: &str, image: &str) -> Value {
        self.pod(namespace, image)["spec"]["imagePullSecrets"].clone()
    }

    fn entry(&self) -> Value {
        self.admin().get(MUTATING).done()["webhooks"][0].clone()
    }
}

fn pod(image: &str) -> Value {
    json!({
        "metadata": {"generateName": "p-"},
        "spec": {"containers": [{"name": "c", "image": image}]},
    })
}

/// An address of this host that nobody listens on.
fn free(host: &str) -> SocketAddr {
    let listener = TcpListener::bind((host, 0)).unwrap();
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
fn installed_tested_upgraded_rolled_back_and_gone_without_a_trace() {
    let release = Release::new();
    let shell = Shell::new(release.admin());
    let shop = release.plane.namespace("shop");
    let untouched = shape(&release.pod(&shop, "nginx"));
    variants::are_taken(&release);

    let done = |beginning: &str| {
        let ran = shell.documented(beginning);
        assert_eq!(ran.status, 0, "{ran:#?}");
        ran.stdout
    };
    done("pullpass doctor --pre");
    done("kubectl apply -f deploy/kustomize/base/namespace.yaml");
    done("kubectl --namespace pullpass-system create secret docker-registry ");
    let values = release.values_of_the_guide();
    shell.values(&values);
    let processes = release.is_installed(&shell);
    let ours = json!([{"name": "dockerhub-creds"}]);
    assert_eq!(release.secrets(&shop, "nginx"), ours);
    assert_eq!(done("kubectl run test "), ours.to_string());
    let copy = format!("/api/v1/namespaces/{shop}/secrets/dockerhub-creds");
    wait_until("the Pod's Secret is there", || {
        release.admin().get(&copy).status == 200
    });
    release.policies_are_checked();
    release.is_tested(&shell);
    let bundle = release.entry()["clientConfig"]["caBundle"].clone();

    release.is_taken_out_and_comes_back(&shell, &shop);
    release.goes_up_and_back(&shell, &values, &shop);
    assert_eq!(
        release.entry()["clientConfig"]["caBundle"],
        bundle,
        "an upgrade and a rollback leave it alone"
    );
    assert_eq!(release.secrets(&shop, "nginx"), ours);

    release.is_applied_by_others(&values);
    assert_eq!(
        release.entry()["clientConfig"]["caBundle"],
        bundle,
        "nobody took it"
    );

    // Before it is uninstalled: nothing of it may be needed to leave.
    drop(processes);
    release.is_uninstalled(&shell);
    let after = shape(&release.pod(&shop, "nginx"));
    assert_eq!(after, untouched, "as if pullpass had never been there");
    is_cleaned_up(&shell, &shop);
}

/// A Pod without what is different in each: its name and times, the plugin's name for the token's volume.
fn shape(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| {
        ![
            "name",
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "managedFields",
        ]
        .contains(&&**key)
    });
    let text = pod.to_string();
    let (_, rest) = text.split_once("kube-api-access-").unwrap();
    let suffix = rest.get(..5).unwrap();
    let same = text.replace(&format!("kube-api-access-{suffix}"), "kube-api-access");
    serde_json::from_str(&same).unwrap()
}

impl Release {
    /// By the documented command, which returns when everything is ready. The processes run from then on.
    fn is_installed(&self, shell: &Shell) -> [Process; 2] {
        std::thread::scope(|scope| {
            let helm = scope.spawn(|| shell.documented("helm install "));
            let both = format!("/apis/apps/v1/namespaces/{OWN}/deployments");
            wait_until("both Deployments are there", || {
                self.admin().get(&both).done()["items"]
                    .as_array()
                    .unwrap()
                    .len()
                    == 2
            });
            let mut processes = ["controller", "webhook"].map(|component| self.process(component));
            assert!(!helm.is_finished(), "nothing is ready yet");
            for (process, component) in processes.iter_mut().zip(["controller", "webhook"]) {
                process.until_ready();
                kubelet::is_ready(self, component);
            }
            let ran = helm.join().unwrap();
            assert_eq!(ran.status, 0, "{}", ran.stderr);
            assert!(ran.stdout.contains("STATUS: deployed"), "{ran:#?}");
            wait_until("API servers trust the webhook", || {
                self.entry()["clientConfig"]["caBundle"].is_string()
            });
            processes
        })
    }

    /// By `helm test`: well, then with something amiss. Nothing of it stays but a Pod that failed.
    fn is_tested(&self, shell: &Shell) {
        let test = |wait: &str| {
            std::thread::scope(|scope| {
                let helm = scope.spawn(|| shell.documented("helm test "));
                let doctor = kubelet::runs_the_test(self, wait);
                (helm.join().unwrap(), doctor)
            })
        };
        let left = || {
            let kinds = "pods,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings";
            let label = "app.kubernetes.io/component=test";
            let ran = self
                .admin()
                .kubectl(&["get", kinds, "-A", "-l", label, "-o", "name"]);
            assert_eq!(ran.status, 0, "{}", ran.stderr);
            ran.stdout
        };
        let (helm, doctor) = test("--wait=60s");
        assert_eq!(
            (helm.status, doctor.status),
            (0, 0),
            "{helm:#?} {doctor:#?}"
        );
        assert!(
            helm.stdout.contains("Phase:          Succeeded"),
            "{helm:#?}"
        );
        let not_ok: Vec<&str> = doctor
            .stdout
            .lines()
            .filter(|line| !line.starts_with("ok") && !line.trim_start().starts_with("help"))
            .collect();
        assert!(
            matches!(not_ok[..], [line] if line.starts_with("skipped trial-pod")),
            "it may look at all but that: {doctor:#?}"
        );
        assert_eq!(left(), "");

        let binding = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/pullpass-webhook";
        self.admin().delete(binding, None).done();
        let (helm, doctor) = test("--wait=1s");
        assert_eq!(doctor.status, 1, "{doctor:#?}");
        assert!(helm.status != 0, "{helm:#?}");
        assert_eq!(left(), "pod/pullpass-test\n");
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

    /// As the guide says for an emergency.
    fn is_taken_out_and_comes_back(&self, shell: &Shell, namespace: &str) {
        let command = "kubectl delete mutatingwebhookconfiguration 00-pullpass";
        assert!(guide::page("install.md").contains(command));
        assert_eq!(shell.run(command).status, 0);
        wait_until("it is out", || {
            self.secrets(namespace, "nginx") == Value::Null
        });
        let ran = shell.documented("helm upgrade ");
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        wait_until("the controller has set its caBundle again", || {
            self.entry()["clientConfig"]["caBundle"].is_string()
        });
        wait_until("it is back", || {
            let answer = self.admin().post(
                &format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"),
                &pod("nginx"),
            );
            answer.status == 201 && answer.body["spec"].get("imagePullSecrets").is_some()
        });
    }

    fn goes_up_and_back(&self, shell: &Shell, values: &str, namespace: &str) {
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
        let values = values.replace("failurePolicy: Fail", "timeoutSeconds: 9");
        shell.values(&format!("{values}{more}"));
        let ran = shell.documented("helm upgrade ");
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let entry = self.entry();
        assert_eq!(entry["timeoutSeconds"], 9);
        assert_eq!(entry["failurePolicy"], "Ignore");
        assert!(entry["clientConfig"]["caBundle"].is_string(), "{entry}");
        let quay = || self.secrets(namespace, "quay.io/a/b");
        wait_until("the new policy is in force", || {
            quay() == json!([{"name": "quay"}])
        });
        assert_eq!(generations(), before, "a policy restarts nothing");

        let ran = shell.documented("helm rollback ");
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let entry = self.entry();
        assert_eq!(entry["timeoutSeconds"], 5);
        assert_eq!(entry["failurePolicy"], "Fail");
        wait_until("it is in force no more", || quay() == Value::Null);
    }

    /// As a GitOps controller does: the same objects under another manager's name, again and again.
    fn is_applied_by_others(&self, values: &str) {
        let manifest = template(values).stdout;
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

    fn is_uninstalled(&self, shell: &Shell) {
        let ran = shell.documented("helm uninstall ");
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let kinds = "deployments,services,serviceaccounts,configmaps,resourcequotas,\
                     poddisruptionbudgets,roles,rolebindings,clusterroles,clusterrolebindings,\
                     mutatingwebhookconfigurations,validatingwebhookconfigurations,\
                     validatingadmissionpolicies,validatingadmissionpolicybindings";
        let label = "app.kubernetes.io/part-of=pullpass";
        let ran = self
            .admin()
            .kubectl(&["get", kinds, "-A", "-l", label, "-o", "name"]);
        assert_eq!((ran.status, &*ran.stdout), (0, ""), "{ran:?}");
    }
}

/// What it leaves on purpose goes by the documented commands.
fn is_cleaned_up(shell: &Shell, namespace: &str) {
    let list = shell.documented("pullpass cleanup #");
    assert_eq!(list.status, 1, "{list:#?}");
    let listed = |kind: &str, place: &str, note: &str| {
        let mut lines = list.stdout.lines().map(|line| line.split_whitespace());
        let found = lines.find(|words| words.clone().take(3).eq(["left", kind, place]));
        let found = found.unwrap_or_else(|| panic!("no {kind} {place} in {list:#?}"));
        let rest: Vec<&str> = found.skip(3).collect();
        assert!(rest.join(" ").contains(note), "{place}: {rest:?}");
    };
    listed(
        "Secret",
        &format!("{namespace}/dockerhub-creds"),
        "Pods name it",
    );
    listed("Secret", "default/dockerhub-creds", "no Pod names it");
    for name in ["pullpass-ca", "pullpass-webhook-tls"] {
        listed("Secret", &format!("{OWN}/{name}"), "certificate");
    }
    listed("ConfigMap", &format!("{OWN}/pullpass-status-0"), "notes");
    listed("Lease", &format!("{OWN}/pullpass-controller"), "");
    assert!(
        !list.stdout.contains(&format!("{OWN}/dockerhub ")),
        "its author's: {list:#?}"
    );
    let removed = shell.documented("pullpass cleanup --yes");
    assert_eq!(removed.status, 0, "{removed:#?}");
    let nothing = shell.run("pullpass cleanup");
    assert_eq!((nothing.status, &*nothing.stdout), (0, ""), "{nothing:#?}");
    let gone = shell.documented("kubectl delete namespace ");
    assert_eq!(gone.status, 0, "{gone:#?}");
}
