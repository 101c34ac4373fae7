//! A webhook that does what a test says: it stands for those of others, and shows what the API server sends.
//!
//! It is called for the Pods of chosen namespaces alone, so that tests do not meet in one plane.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pullpass::server::certificate;
use pullpass::server::crypto_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::{Plane, wait_until};

/// A mutating webhook; it leaves the plane when it is dropped.
pub(crate) struct Hook<'p> {
    plane: &'p Plane,
    name: String,
    calls: Arc<Mutex<Vec<Value>>>,
}

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

impl<'p> Hook<'p> {
    /// Calls `answer` with each request for a Pod or a debug container in the namespace; it gives the response, without
    /// `uid`. The failure policy is `Ignore`: what fails nevertheless, fails whatever the policy.
    /// `name` has its place in the order of webhooks.
    pub(crate) fn start(
        plane: &'p Plane,
        name: &str,
        namespace: &str,
        answer: impl Fn(&Value) -> Value + Send + Sync + 'static,
    ) -> Self {
        let pair = certificate::self_signed(&[], SystemTime::now()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        let calls = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        // Its threads live as long as the API server keeps a connection, at most as long as the test binary.
        std::thread::spawn({
            let calls = Arc::clone(&calls);
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let (config, calls) = (Arc::clone(&config), Arc::clone(&calls));
                    let answer = Arc::clone(&answer);
                    std::thread::spawn(move || serve(stream, config, &calls, &*answer));
                }
            }
        });
        let name = format!("{name}-{namespace}");
        let configuration = json!({
            "metadata": {"name": name},
            "webhooks": [{
                "name": "pods.hook.example.com",
                "rules": [
                    {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "Namespaced"},
                    {"operations": ["UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/ephemeralcontainers"], "scope": "Namespaced"},
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "clientConfig": {"url": format!("https://{address}/"), "caBundle": STANDARD.encode(&pair.ca)},
                "failurePolicy": "Ignore", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "reinvocationPolicy": "IfNeeded", "timeoutSeconds": 10,
            }],
        });
        plane.admin().post(CONFIGURATIONS, &configuration).done();
        let hook = Self { plane, name, calls };
        let probe = json!({"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "c", "image": "probe.example.com/c"}]}});
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        wait_until("the webhook is called", || {
            plane.admin().post(&path, &probe);
            !hook.calls.lock().unwrap().is_empty()
        });
        hook.calls.lock().unwrap().clear();
        hook
    }

    /// The requests since the last look.
    pub(crate) fn calls(&self) -> Vec<Value> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Drop for Hook<'_> {
    fn drop(&mut self) {
        let path = format!("{CONFIGURATIONS}/{}", self.name);
        let answer = self.plane.admin().delete(&path, None);
        if !std::thread::panicking() {
            answer.done();
        }
    }
}

/// A response with this patch.
pub(crate) fn patching(operations: &Value) -> Value {
    let patch = STANDARD.encode(operations.to_string());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})
}

type Answers = dyn Fn(&Value) -> Value + Send + Sync;

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    calls: &Mutex<Vec<Value>>,
    answer: &Answers,
) -> io::Result<()> {
    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(tls, stream));
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().map_err(io::Error::other)?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let review: Value = serde_json::from_slice(&body)?;
        let request = &review["request"];
        let mut response = answer(request);
        response["uid"] = request["uid"].clone();
        calls.lock().unwrap().push(request.clone());
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let out = stream.get_mut();
        out.write_all(head.as_bytes())?;
        out.write_all(body.as_bytes())?;
        out.flush()?;
    }
}
