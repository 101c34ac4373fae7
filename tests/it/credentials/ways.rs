//! How calls leave: through a proxy or past it, trusting a private authority or not.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pullpass::server::{certificate, crypto_provider};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::child::Fetching;
use crate::moto::{HOME, Moto, OTHER_ROLE};
use crate::plane::RUNTIME;

/// TLS in front of moto, by an authority that nobody knows.
struct Front {
    address: SocketAddr,
    ca: NamedTempFile,
}

impl Front {
    fn start(moto: &Moto, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let pair = certificate::self_signed(&names, SystemTime::now()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let moto = moto.address;
        let address = listen(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // Who does not trust it hangs up.
                let Ok(mut inner) = acceptor.accept(stream).await else {
                    return;
                };
                let mut outer = TcpStream::connect(moto).await.unwrap();
                let _ = copy_bidirectional(&mut inner, &mut outer).await;
            }
        });
        let mut ca = NamedTempFile::new().unwrap();
        ca.write_all(pair.ca.as_bytes()).unwrap();
        Self { address, ca }
    }

    fn ca_file(&self) -> &str {
        self.ca.path().to_str().unwrap()
    }
}

/// A proxy that leads everything to one place, and notes what it was asked for.
struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn to(target: SocketAddr) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let address = listen(move |mut stream| {
            let noted = Arc::clone(&noted);
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                noted.lock().unwrap().push(String::from_utf8(head).unwrap());
                let mut outer = TcpStream::connect(target).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut outer).await;
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    RUNTIME.spawn(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// The environment of moto's user, with more; without endpoints, so that AWS's own names are asked for.
fn user(moto: &Moto, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut env = moto.env();
    env.retain(|(name, _)| !name.starts_with("AWS_ENDPOINT"));
    env.extend(
        more.iter()
            .map(|&(name, value)| (name.into(), value.into())),
    );
    env
}

#[test]
fn aws_is_asked_by_its_own_names_through_the_proxy() {
    let moto = Moto::start();
    let front = Front::start(
        &moto,
        &[
            "api.ecr.eu-west-1.amazonaws.com",
            "api.ecr.us-east-1.amazonaws.com",
            "sts.eu-west-1.amazonaws.com",
        ],
    );
    let proxy = Proxy::to(front.address);
    let url = format!("http://me:hunter2-hunter2@{}", proxy.address);
    let env = user(
        &moto,
        &[
            ("HTTPS_PROXY", &url),
            ("NO_PROXY", "10.0.0.0/8,.cluster.local"),
        ],
    );
    let mut child = Fetching::trusting(&env, front.ca_file());
    child
        .fetch_as(OTHER_ROLE, &["eu-west-1", "us-east-1"])
        .unwrap();
    let asked = proxy.asked();
    let mut hosts: Vec<_> = asked
        .iter()
        .map(|head| head.lines().next().unwrap())
        .collect();
    hosts.sort_unstable();
    assert_eq!(
        hosts,
        [
            "CONNECT api.ecr.eu-west-1.amazonaws.com:443 HTTP/1.1",
            "CONNECT api.ecr.us-east-1.amazonaws.com:443 HTTP/1.1",
            "CONNECT sts.eu-west-1.amazonaws.com:443 HTTP/1.1",
        ],
        "the STS of the region, never the global one"
    );
    let login = STANDARD.encode("me:hunter2-hunter2");
    for head in &asked {
        let head = head.to_lowercase();
        let wanted = format!("proxy-authorization: basic {login}").to_lowercase();
        assert!(head.contains(&wanted), "{head}");
    }
    assert_eq!(moto.calls("ecr").len(), 2);
    let mut secrets = moto.passwords();
    secrets.extend(["hunter2-hunter2".to_owned(), login]);
    child.end(&secrets);
}

#[test]
fn a_host_of_no_proxy_is_reached_directly_and_so_is_metadata() {
    let moto = Moto::start();
    let front = Front::start(&moto, &["localhost"]);
    let endpoint = format!("https://localhost:{}", front.address.port());
    for (no_proxy, want) in [("localhost", 0), ("localhost.example,10.0.0.0/8", 1)] {
        let proxy = Proxy::to(front.address);
        let url = format!("http://{}", proxy.address);
        let mut env = user(
            &moto,
            &[
                ("AWS_ENDPOINT_URL_ECR", &endpoint),
                // In lower case, as many images have them; plain HTTP never goes there.
                ("https_proxy", &url),
                ("HTTP_PROXY", &url),
                ("ALL_PROXY", &url),
                ("no_proxy", no_proxy),
                ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &moto.url()),
            ],
        );
        env.retain(|(name, _)| {
            ![
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_EC2_METADATA_DISABLED",
            ]
            .contains(&name.as_str())
        });
        let mut child = Fetching::trusting(&env, front.ca_file());
        child.fetch(&[HOME], &["eu-west-1"]).unwrap();
        assert_eq!(proxy.asked().len(), want, "{no_proxy}: {:?}", proxy.asked());
        child.end(&moto.passwords());
    }
}

#[test]
fn an_unknown_authority_is_refused_and_one_of_the_bundle_trusted() {
    let moto = Moto::start();
    let front = Front::start(&moto, &["localhost"]);
    let other = Front::start(&moto, &["localhost"]);
    let endpoint = format!("https://localhost:{}", front.address.port());
    let env = user(&moto, &[("AWS_ENDPOINT_URL", &endpoint)]);
    for (mut child, why) in [
        (Fetching::start(&env), "no bundle"),
        (
            Fetching::trusting(&env, other.ca_file()),
            "another authority",
        ),
    ] {
        let error = child.fetch(&[HOME], &["eu-west-1"]).unwrap_err();
        assert_eq!(error.reason, "unreachable", "{why}: {error:?}");
        for part in ["invalid peer certificate", "`--ca-bundle`"] {
            assert!(error.text.contains(part), "{why}: no {part:?} in {error:?}");
        }
        child.end(&[]);
    }
    let mut child = Fetching::trusting(&env, front.ca_file());
    child.fetch(&[HOME], &["eu-west-1"]).unwrap();
    assert_eq!(
        moto.calls("ecr").len(),
        1,
        "who is not trusted is sent nothing"
    );
    child.end(&moto.passwords());
}
