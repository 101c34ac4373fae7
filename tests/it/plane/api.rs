//! One user's way to the API server: requests as they are on the wire, and real kubectl.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use hyper::header::HeaderValue;
use hyper::http::Request;
use kube::client::Body;
use kube::config::AuthInfo;
use serde_json::Value;
use tokio::runtime::{Builder, Handle};

use crate::command::Ran;

/// What tests call themselves in their requests.
pub(crate) const USER_AGENT: &str = "pullpass-tests";

/// Drives all connections to API servers, on one thread.
pub(crate) static RUNTIME: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
});

/// Who talks to the API server.
#[derive(Clone)]
pub(crate) struct User {
    /// For streams, and for what runs beside others.
    pub(crate) client: kube::Client,
    pub(crate) kubeconfig: PathBuf,
    kubectl: PathBuf,
}

/// An answer of the API server.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// The texts of the `Warning` headers.
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    /// What it says when the request went well, and it must have.
    #[track_caller]
    pub(crate) fn done(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }

    /// The status and message of a refusal.
    #[track_caller]
    pub(crate) fn refused(&self) -> (u16, &str) {
        assert!(self.status >= 400, "{self:?}");
        (self.status, self.body["message"].as_str().unwrap_or(""))
    }
}

impl User {
    pub(super) fn new(
        url: &str,
        ca: &[u8],
        binaries: &Path,
        directory: &Path,
        title: &str,
        token: &str,
    ) -> Self {
        let mut config = configured(url, ca);
        config.auth_info = AuthInfo {
            token: Some(token.to_owned().into()),
            ..AuthInfo::default()
        };
        let kubeconfig = directory.join(format!("{title}-{}.kubeconfig", unique()));
        let text = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "plane",
            "clusters": [{"name": "plane", "cluster": {"server": url, "certificate-authority": directory.join("ca.crt")}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "user"}}],
        });
        fs::write(&kubeconfig, text.to_string()).unwrap();
        let _runtime = RUNTIME.enter();
        Self {
            client: kube::Client::try_from(config).unwrap(),
            kubeconfig,
            kubectl: binaries.join("kubectl"),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "application/json", None)
    }

    pub(crate) fn post(&self, path: &str, object: &Value) -> Answer {
        self.request("POST", path, "application/json", Some(object))
    }

    pub(crate) fn put(&self, path: &str, object: &Value) -> Answer {
        self.request("PUT", path, "application/json", Some(object))
    }

    /// With options, such as preconditions.
    pub(crate) fn delete(&self, path: &str, options: Option<&Value>) -> Answer {
        self.request("DELETE", path, "application/json", options)
    }

    /// A server-side apply; `path` ends with `?fieldManager=…`.
    pub(crate) fn apply(&self, path: &str, object: &Value) -> Answer {
        self.request("PATCH", path, "application/apply-patch+yaml", Some(object))
    }

    pub(crate) fn merge(&self, path: &str, patch: &Value) -> Answer {
        self.request("PATCH", path, "application/merge-patch+json", Some(patch))
    }

    pub(crate) fn json_patch(&self, path: &str, patch: &Value) -> Answer {
        self.request("PATCH", path, "application/json-patch+json", Some(patch))
    }

    pub(crate) fn strategic_merge(&self, path: &str, patch: &Value) -> Answer {
        let kind = "application/strategic-merge-patch+json";
        self.request("PATCH", path, kind, Some(patch))
    }

    fn request(&self, method: &str, path: &str, kind: &str, object: Option<&Value>) -> Answer {
        RUNTIME.block_on(request(&self.client, method, path, kind, object))
    }

    /// Runs kubectl as this user.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Ran {
        self.kubectl_with(args, "")
    }

    /// Runs kubectl with this on its standard input.
    pub(crate) fn kubectl_with(&self, args: &[&str], stdin: &str) -> Ran {
        let mut child = Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            // What it learns of the API server is kept there for its next run.
            .arg("--cache-dir")
            .arg(self.kubeconfig.with_file_name("kubectl-cache"))
            .args(args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that does not read its input is no failure of the test.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ran {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// One request; for those that send many at once.
pub(crate) async fn request(
    client: &kube::Client,
    method: &str,
    path: &str,
    kind: &str,
    object: Option<&Value>,
) -> Answer {
    try_request(client, method, path, kind, object)
        .await
        .unwrap()
}

/// The same where the API server may be down.
pub(crate) async fn try_request(
    client: &kube::Client,
    method: &str,
    path: &str,
    kind: &str,
    object: Option<&Value>,
) -> Result<Answer, kube::Error> {
    let body = object.map(Value::to_string).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(Body::from(body.into_bytes()))
        .unwrap();
    let (head, body) = client.send(request).await?.into_parts();
    let body = body.collect_bytes().await?;
    let warnings = head
        .headers
        .get_all("warning")
        .iter()
        .map(|value| warning(&String::from_utf8_lossy(value.as_bytes())))
        .collect();
    Ok(Answer {
        status: head.status.as_u16(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        warnings,
    })
}

/// The text in `299 - "text"`.
fn warning(header: &str) -> String {
    let text = header.split_once('"').map_or(header, |(_, text)| text);
    let text = text.strip_suffix('"').unwrap_or(text);
    text.replace("\\\"", "\"").replace("\\\\", "\\")
}

/// A client that has no identity of its own: its requests carry what they carry.
pub(super) fn stranger(url: &str, ca: &[u8]) -> kube::Client {
    let _runtime = RUNTIME.enter();
    kube::Client::try_from(configured(url, ca)).unwrap()
}

fn configured(url: &str, ca: &[u8]) -> kube::Config {
    let mut config = kube::Config::new(url.parse().unwrap());
    config.root_cert = Some(vec![der(ca)]);
    // A test sees what the API server says, not what it says the second time.
    config.default_retry = false;
    // So that the audit log tells a test's requests from those of what it tests.
    let agent = HeaderValue::from_static(USER_AGENT);
    config.headers = vec![(hyper::header::USER_AGENT, agent)];
    config
}

/// A CA as the client takes it.
fn der(ca: &[u8]) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(ca).unwrap().to_vec()
}

fn unique() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}
