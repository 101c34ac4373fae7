//! A real control plane for tests: kube-apiserver, etcd, kube-controller-manager, and kubectl to talk to them.
//!
//! One is started by the first test that asks and ends with the test binary, however that ends; each test makes
//! namespaces of its own in it. A test that disturbs the whole plane starts its own. A plane has no nodes: no Pod runs.

mod api;
mod facts;
pub(crate) mod hook;

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) use api::{Answer, RUNTIME, USER_AGENT, User, try_request};

/// Longer than anything takes that a test waits for, on a machine that has other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until something is there, within bounds.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it did not come: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until something holds, within bounds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// A running control plane; dropping it ends it, and whatever ends this process does too.
pub(crate) struct Plane {
    pub(crate) url: String,
    pub(crate) ca: Vec<u8>,
    /// Of etcd, kube-apiserver, kube-controller-manager and kubectl.
    binaries: PathBuf,
    /// For whatever a test needs as a file; removed with the plane.
    pub(crate) directory: PathBuf,
    audit_log: PathBuf,
    /// As they were started: etcd first.
    processes: Vec<u64>,
    admin: User,
    launcher: Mutex<Launcher>,
}

struct Launcher {
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Plane {
    /// The plane of all tests that leave it as it is.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Plane> = LazyLock::new(Plane::own);
        &SHARED
    }

    /// A plane for one test alone.
    pub(crate) fn own() -> Self {
        let [binaries, launcher] = built();
        let mut process = Command::new(launcher)
            .arg("--binaries")
            .arg(&binaries)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let Ok(told) = serde_json::from_str::<Value>(&line) else {
            let mut why = String::new();
            process.stderr.unwrap().read_to_string(&mut why).unwrap();
            panic!("the control plane does not start: {why}");
        };
        let text = |key: &str| told[key].as_str().unwrap().to_owned();
        let ca = std::fs::read(text("caFile")).unwrap();
        let url = text("url");
        let directory = PathBuf::from(text("directory"));
        let admin = User::new(&url, &ca, &binaries, &directory, "admin", &text("token"));
        Self {
            url,
            ca,
            binaries,
            directory,
            audit_log: text("auditLog").into(),
            processes: ["etcd", "kube-apiserver", "kube-controller-manager"]
                .iter()
                .map(|name| told["processIds"][name].as_u64().unwrap())
                .collect(),
            admin,
            launcher: Mutex::new(Launcher {
                orders: process.stdin.take(),
                process,
                answers,
            }),
        }
    }

    /// Who may do everything.
    pub(crate) fn admin(&self) -> &User {
        &self.admin
    }

    /// For requests that carry somebody's token already.
    pub(crate) fn stranger(&self) -> kube::Client {
        api::stranger(&self.url, &self.ca)
    }

    /// A service account, by a token of its own.
    pub(crate) fn account(&self, namespace: &str, name: &str) -> User {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}});
        let answer = self.admin.post(&path, &request).done();
        let token = answer["status"]["token"].as_str().unwrap();
        let title = format!("{namespace}-{name}");
        User::new(
            &self.url,
            &self.ca,
            &self.binaries,
            &self.directory,
            &title,
            token,
        )
    }

    /// A new namespace whose `default` account is there.
    pub(crate) fn namespace(&self, prefix: &str) -> String {
        self.namespace_labelled(prefix, &json!({}))
    }

    /// The same with labels.
    pub(crate) fn namespace_labelled(&self, prefix: &str, labels: &Value) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{prefix}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let namespace = json!({"metadata": {"name": name, "labels": labels}});
        self.admin.post("/api/v1/namespaces", &namespace).done();
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        wait_until("the default account", || {
            self.admin.get(&account).status == 200
        });
        name
    }

    /// What the API server's audit log says of the requests for which this holds, oldest first.
    pub(crate) fn audited(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let log = std::fs::read_to_string(&self.audit_log).unwrap();
        let events = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        events.filter(|event| wanted(event)).collect()
    }

    /// Gives the launcher an order: `stop-apiserver`, `kill-apiserver`, `start-apiserver`, `pause-etcd` or `resume-etcd`.
    /// For planes of one test alone.
    pub(crate) fn order(&self, order: &str) {
        let mut launcher = self.launcher.lock().unwrap();
        let orders = launcher.orders.as_mut().unwrap();
        writeln!(orders, "{order}").unwrap();
        let mut line = String::new();
        launcher.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer, json!({"done": order}));
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let Ok(launcher) = self.launcher.get_mut() else {
            return; // It ends with this process.
        };
        // The end of its input makes the launcher end everything.
        launcher.orders = None;
        let _ = launcher.process.wait();
    }
}

#[test]
fn a_plane_of_ones_own_obeys_and_leaves_nothing_behind() {
    let plane = Plane::own();
    let admin = plane.admin().clone();
    let ready = || RUNTIME.block_on(api::try_request(&admin.client, "GET", "/readyz", "", None));
    let pids: Vec<u64> = plane.processes.clone();
    assert_eq!(pids.len(), 3);
    for stop in ["stop-apiserver", "kill-apiserver"] {
        plane.order(stop);
        assert!(ready().is_err(), "{stop}: nobody is there");
        plane.order("start-apiserver");
        assert_eq!(ready().unwrap().status, 200, "on the same port");
    }
    plane.order("pause-etcd");
    wait_until("etcd is stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pids[0])).unwrap();
        stat.contains(") T ")
    });
    let directory = plane.directory.clone();
    drop(plane);
    assert!(!directory.exists());
    let left = |pid: &u64| Path::new(&format!("/proc/{pid}")).exists();
    assert!(!pids.iter().any(left), "also when it was paused");
}

/// kubectl, for what needs no plane.
pub(crate) fn kubectl() -> PathBuf {
    let [binaries, _] = built();
    binaries.join("kubectl")
}

/// Where the binaries and the launcher are.
fn built() -> [PathBuf; 2] {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/controlplane/build.sh");
    let output = Command::new(script).arg("--where").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().map(PathBuf::from);
    let (Some(binaries), Some(launcher)) = (lines.next(), lines.next()) else {
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    };
    [binaries, launcher]
}
