//! `pullpass controller` in a real cluster: the built binary under its own account's token, and what it leaves in Secrets,
//! webhook configurations, the Lease and Events. A file a subject.
//!
//! The validating configurations have one name in a cluster, so only a test with a plane of its own makes them.

mod certificates;
mod faults;
mod leader;
mod rotation;
mod start;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pullpass::plan::certificates::Validity;
use pullpass::server::certificate::{self, Keyed};
use pullpass::server::crypto_provider;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};

use crate::cluster::install::Installation;
use crate::plane::{Plane, User, wait_for, wait_until};
use crate::seeded::assert_silent;
use crate::webhook::client::{Response, get};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
/// Rotations within seconds: at two thirds of 20 s, with waits of 2 s.
const SHORT: [&str; 4] = ["--ca-lifetime", "20s", "--certificate-lifetime", "20s"];
const NAME: &str = "webhook.tests.example";

/// An installation with a mutating configuration, and controllers for it.
struct Site<'p> {
    installation: Installation<'p>,
    configuration: String,
}

impl<'p> Site<'p> {
    fn on(plane: &'p Plane) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let configuration = format!("00-site-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self::named(plane, &configuration)
    }

    fn named(plane: &'p Plane, configuration: &str) -> Self {
        let flags = ["--webhook-configuration", configuration];
        Self {
            installation: Installation::with(plane, &flags),
            configuration: configuration.to_owned(),
        }
    }

    fn admin(&self) -> &User {
        self.installation.plane.admin()
    }

    /// The mutating configuration as a chart would apply it: for a namespace that does not exist, without `caBundle`.
    fn configure(&self) {
        configure(
            self.admin(),
            "mutating",
            &self.configuration,
            &["a.tests.example", "b.tests.example"],
        );
    }

    /// A controller under its account's own rights.
    fn control(&self, flags: &[&str]) -> Controller {
        let own = &self.installation.own;
        let account = self.installation.plane.account(own, "pullpass-controller");
        let kubeconfig = account.kubeconfig.to_str().unwrap();
        let mut all = vec!["--namespace", own, "--kubeconfig", kubeconfig];
        all.extend([
            "--webhook-configuration",
            &self.configuration,
            "--dns-name",
            NAME,
        ]);
        Controller::start(&[&all[..], flags].concat())
    }

    fn secret_path(&self, name: &str) -> String {
        format!(
            "/api/v1/namespaces/{}/secrets/{name}",
            self.installation.own
        )
    }

    fn secret(&self, name: &str) -> Option<Value> {
        let answer = self.admin().get(&self.secret_path(name));
        (answer.status == 200).then_some(answer.body)
    }

    fn delete_secret(&self, name: &str) {
        self.admin().delete(&self.secret_path(name), None).done();
    }

    /// Puts a Secret there as the controller would have written it at another time.
    fn plant(&self, name: &str, pair: &Keyed, more: &Value) {
        let mut data = json!({
            "tls.crt": STANDARD.encode(&pair.certificate),
            "tls.key": STANDARD.encode(&pair.key),
        });
        for (key, text) in more.as_object().unwrap() {
            data[key] = json!(STANDARD.encode(text.as_str().unwrap()));
        }
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": data,
            "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "pullpass"}},
        });
        let at = format!("{}?fieldManager=test&force=true", self.secret_path(name));
        self.admin().apply(&at, &object).done();
    }

    /// The caBundles of the mutating configuration's entries, as PEM.
    fn bundles(&self) -> Vec<String> {
        bundles(self.admin(), "mutating", &self.configuration)
    }

    fn set_bundle(&self, pem: &str) {
        let at = configuration_path("mutating", &self.configuration);
        let bundle = STANDARD.encode(pem);
        let entry = json!({"name": "a.tests.example", "clientConfig": {"caBundle": bundle}});
        let patch = json!({"webhooks": [entry]});
        self.admin().strategic_merge(&at, &patch).done();
    }

    /// The serving certificate that is there, as PEM.
    fn served(&self) -> Option<String> {
        text(&self.secret("pullpass-webhook-tls")?, "tls.crt")
    }

    fn ca(&self) -> Option<String> {
        text(&self.secret("pullpass-ca")?, "tls.crt")
    }

    /// Everything is there, nothing is under way, and a client that trusts any of the caBundles accepts the certificate.
    fn is_at_rest(&self) -> bool {
        let (Some(ca), Some(served)) = (self.secret("pullpass-ca"), self.served()) else {
            return false;
        };
        let Some(authority) = text(&ca, "tls.crt") else {
            return false;
        };
        let rotating = text(&ca, "previous.crt").is_some();
        let bundles = self.bundles();
        let same = |bundle: &String| certificates_of(bundle) == certificates_of(&authority);
        !rotating
            && bundles.iter().all(same)
            && bundles
                .iter()
                .all(|bundle| accepts(bundle, &served).is_ok())
    }

    /// Reasons of the Events about an object, oldest first, with their notes.
    fn events(&self, namespace: &str, name: &str) -> Vec<(String, String)> {
        events_about(self.admin(), namespace, name)
    }
}

/// Reasons of the Events about an object, oldest first, with their notes.
pub(crate) fn events_about(admin: &User, namespace: &str, name: &str) -> Vec<(String, String)> {
    let at = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let list = admin.get(&at).done();
    let mut events = list["items"].as_array().unwrap().clone();
    events.retain(|event| event["regarding"]["name"] == name);
    events.sort_by_key(|event| event["eventTime"].to_string());
    let part = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    let both = |event: &Value| (part(event, "reason"), part(event, "note"));
    events.iter().map(both).collect()
}

fn configuration_path(kind: &str, name: &str) -> String {
    format!("{ADMISSION}/{kind}webhookconfigurations/{name}")
}

fn configure(admin: &User, kind: &str, name: &str, entries: &[&str]) {
    let title = if kind == "mutating" {
        "Mutating"
    } else {
        "Validating"
    };
    let entry = |entry: &&str| {
        json!({
            "name": entry, "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
            "clientConfig": {"url": "https://127.0.0.1:1/mutate"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "no-such-namespace"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced"}],
        })
    };
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{title}WebhookConfiguration"),
        "metadata": {"name": name}, "webhooks": entries.iter().map(entry).collect::<Vec<_>>(),
    });
    let at = format!("{}?fieldManager=chart", configuration_path(kind, name));
    admin.apply(&at, &object).done();
}

fn bundles(admin: &User, kind: &str, name: &str) -> Vec<String> {
    let object = admin.get(&configuration_path(kind, name)).done();
    let webhooks = object["webhooks"].as_array().unwrap();
    let bundle = |webhook: &Value| {
        let text = webhook["clientConfig"]["caBundle"]
            .as_str()
            .unwrap_or_default();
        String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
    };
    webhooks.iter().map(bundle).collect()
}

/// A key of a Secret.
fn text(secret: &Value, key: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret["data"][key].as_str()?).unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

fn certificates_of(pem: &str) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes());
    all.filter_map(Result::ok).collect()
}

/// What a client says that trusts this bundle, now.
fn accepts(bundle: &str, served: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates_of(bundle));
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), crypto_provider());
    let verifier = verifier.build().map_err(|error| error.to_string())?;
    let chain = certificates_of(served);
    let leaf = chain.first().ok_or("no certificate")?;
    let name = ServerName::try_from(NAME).unwrap();
    let verified = verifier.verify_server_cert(leaf, &[], &name, &[], UnixTime::now());
    verified.map(|_| ()).map_err(|error| error.to_string())
}

/// A pair of a CA and what it signed, made at another time.
fn made(at: SystemTime, lifetime: Duration) -> (Keyed, Keyed) {
    let validity = Validity::starting(at, lifetime);
    let ca = certificate::authority(validity).unwrap();
    let serving = certificate::serving(&ca, &[NAME.to_owned()], validity).unwrap();
    (ca, serving)
}

/// A running controller; killed when a test forgets it.
pub(crate) struct Controller {
    child: Child,
    admin: SocketAddr,
    log: Arc<Mutex<String>>,
    /// Ends when the log is whole.
    reader: Option<JoinHandle<()>>,
}

impl Controller {
    fn command(flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pullpass"));
        command
            .args([
                "controller",
                "--log-format",
                "json",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .args(flags)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_in(flags, &[])
    }

    /// With these variables, and no others.
    pub(crate) fn start_in(flags: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Self::command(flags);
        command.envs(env.iter().copied());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap());
        let shared = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.lines() {
                shared.lock().unwrap().extend([&*line.unwrap(), "\n"]);
            }
        });
        let admin = wait_for("the controller listens", || {
            let log = log.lock().unwrap();
            let mut lines = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let line = lines.find(|line| line["message"] == "listening")?;
            line["address"].as_str()?.parse().ok()
        });
        Self {
            child,
            admin,
            log,
            reader: Some(reader),
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Where it is looked at.
    pub(crate) fn address(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        // A machine with other work may be late to accept.
        wait_for("an answer", || get(self.admin, path).ok())
    }

    pub(crate) fn leads(&self) -> bool {
        self.get("/metrics").body.contains("pullpass_leader{} 1")
    }

    pub(crate) fn until_ready(&self) {
        let ready = || {
            let answer = self.get("/readyz?verbose");
            (answer.status == 200, answer.body)
        };
        let mut last = String::new();
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until("the controller is ready", || {
                let (is, said) = ready();
                last = said;
                is
            });
        }));
        assert!(waited.is_ok(), "{last}\n{}", self.log());
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; its exit status and log.
    pub(crate) fn stop(mut self) -> (i32, String) {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s TERM \"$0\"", &pid])
            .status();
        assert!(sent.unwrap().success());
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        (status.code().unwrap_or(-1), self.log())
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the controller's log:\n{}", self.log());
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        // Whatever a test is about.
        if !std::thread::panicking() {
            assert_silent("the log of a controller", &self.log());
        }
    }
}
