//! A real registry behind TLS that lets in one login, which a test may change while it runs: it takes the right password
//! and refuses every other one.
//!
//! Debian's docker-registry; it ends when it is dropped. It holds no images: who may log in is what tests ask.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pullpass::server::{certificate, crypto_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::plane::wait_for;

/// The least that bcrypt takes: nothing here is worth guessing.
const COST: u32 = 4;

/// A running registry.
pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    directory: TempDir,
    tls: Arc<ClientConfig>,
    process: Child,
}

impl Registry {
    /// Starts one that lets nobody in yet, and waits until it answers.
    pub(crate) fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/registry/build.sh");
        let found = Command::new(script).arg("--where").output().unwrap();
        assert!(
            found.status.success(),
            "{}",
            String::from_utf8_lossy(&found.stderr)
        );
        let binary = String::from_utf8(found.stdout).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let pair = certificate::self_signed(&[], SystemTime::now()).unwrap();
        for (name, text) in [
            ("ca.crt", &pair.ca),
            ("tls.crt", &pair.certificate),
            ("tls.key", &pair.key),
        ] {
            std::fs::write(path(name), text).unwrap();
        }
        write_login(directory.path(), "nobody", "nobody-knows-it");
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(pair.ca.as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let tls = ClientConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = free_address();
        let configuration = format!(
            "version: 0.1\n\
             log: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {root}}}}}\n\
             auth: {{htpasswd: {{realm: tests, path: {logins}}}}}\n\
             http: {{addr: '{address}', tls: {{certificate: {certificate}, key: {key}}}}}\n",
            root = path("images").display(),
            logins = path("htpasswd").display(),
            certificate = path("tls.crt").display(),
            key = path("tls.key").display(),
        );
        std::fs::write(path("config.yml"), configuration).unwrap();
        let mut process = Command::new(binary.trim_end())
            .arg("serve")
            .arg(path("config.yml"))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for("the registry listens", || {
            if process.try_wait().unwrap().is_some() {
                let mut why = String::new();
                let mut stderr = process.stderr.take().unwrap();
                stderr.read_to_string(&mut why).unwrap();
                panic!("the registry does not start: {why}");
            }
            TcpStream::connect(address).ok()
        });
        Self {
            address,
            directory,
            tls: Arc::new(tls),
            process,
        }
    }

    /// Its host as an image reference and a pull secret name it.
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// The authority that signed its certificate.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    /// From now on this login alone is good, as after a rotation.
    pub(crate) fn set_login(&self, user: &str, password: &str) {
        write_login(self.directory.path(), user, password);
    }

    /// What it answers on `/v2/`, where clients log in: 200 or 401.
    pub(crate) fn get_v2(&self, user: &str, password: &str) -> u16 {
        let login = STANDARD.encode(format!("{user}:{password}"));
        self.get(&format!("Authorization: Basic {login}\r\n"))
    }

    fn get(&self, headers: &str) -> u16 {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.tls), name).unwrap();
        let stream = TcpStream::connect(self.address).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        write!(
            stream,
            "GET /v2/ HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        // It may close without saying so.
        let _ = stream.read_to_string(&mut answer);
        let status = answer.split(' ').nth(1);
        status
            .and_then(|status| status.parse().ok())
            .expect("an answer")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Replaces the file whole; the registry reads it again when it is newer than it was.
fn write_login(directory: &Path, user: &str, password: &str) {
    let hash = bcrypt::hash(password, COST).unwrap();
    let beside = directory.join("htpasswd.new");
    std::fs::write(&beside, format!("{user}:{hash}\n")).unwrap();
    std::fs::rename(beside, directory.join("htpasswd")).unwrap();
}

/// An address that is free now: the registry cannot say which one it took.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn a_registry_takes_the_password_of_the_day_and_no_other() {
    let registry = Registry::start();
    assert_eq!(registry.get(""), 401, "who says nothing");
    registry.set_login("robot", "first-password");
    for (user, password, want, why) in [
        ("robot", "first-password", 200, "the login"),
        ("robot", "first-passwore", 401, "another password"),
        ("rabot", "first-password", 401, "another user"),
        ("robot", "", 401, "no password"),
    ] {
        assert_eq!(registry.get_v2(user, password), want, "{why}");
    }
    registry.set_login("robot", "second-password");
    assert_eq!(registry.get_v2("robot", "second-password"), 200, "rotated");
    assert_eq!(registry.get_v2("robot", "first-password"), 401, "for good");
    assert!(registry.ca_file().is_file());
    assert_eq!(
        registry.host(),
        format!("localhost:{}", registry.address.port())
    );
}
