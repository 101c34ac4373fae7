//! A client that says exactly what a test wants, byte for byte, and reads what comes back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pullpass::server::crypto_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than the longest answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// One TLS connection.
pub(super) struct Client {
    pub(super) stream: TlsStream<TcpStream>,
}

/// An HTTP answer.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    /// The head, in lower case.
    pub(super) head: String,
    pub(super) body: String,
}

impl Response {
    pub(super) fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }
}

/// What a client trusts and shows; `change` may alter anything else.
pub(super) fn config(
    cas: &[&str],
    identity: Option<(&str, &str)>,
    change: impl FnOnce(&mut ClientConfig),
) -> Arc<ClientConfig> {
    speaking(rustls::DEFAULT_VERSIONS, cas, identity, change)
}

/// The same, with these versions of TLS alone.
pub(super) fn speaking(
    versions: &[&'static SupportedProtocolVersion],
    cas: &[&str],
    identity: Option<(&str, &str)>,
    change: impl FnOnce(&mut ClientConfig),
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        roots
            .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
            .unwrap();
    }
    let builder = ClientConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    change(&mut config);
    Arc::new(config)
}

/// A POST of JSON to `/mutate`, whole.
pub(super) fn review(body: &[u8]) -> Vec<u8> {
    let mut request = review_head(body.len()).into_bytes();
    request.extend_from_slice(body);
    request
}

/// The head of a POST of JSON to `/mutate`.
pub(super) fn review_head(length: usize) -> String {
    format!(
        "POST /mutate?timeout=5s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
}

impl Client {
    pub(super) async fn connect(address: SocketAddr, ca: &str) -> io::Result<Self> {
        Self::connect_with(address, config(&[ca], None, |_| {})).await
    }

    pub(super) async fn connect_with(
        address: SocketAddr,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        Self::greet(TcpStream::connect(address).await?, config).await
    }

    pub(super) async fn greet(stream: TcpStream, config: Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Self { stream })
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    pub(super) async fn receive(&mut self) -> io::Result<Response> {
        timeout(PATIENCE, receive(&mut self.stream)).await?
    }

    /// Sends a request and reads its answer. What the server closes while we still send is told
    /// by the answer, if there is one.
    pub(super) async fn ask(&mut self, request: impl AsRef<[u8]>) -> io::Result<Response> {
        let sent = self.send(request).await;
        let received = self.receive().await;
        if received.is_err() {
            sent?;
        }
        received
    }

    /// Posts a review and wants a 200.
    pub(super) async fn is_served(&mut self) {
        let response = self.ask(review(b"{}")).await.unwrap();
        assert_eq!(response.status, 200, "{response:?}");
    }

    /// Waits until the server ends the connection; whether it said goodbye.
    pub(super) async fn ended(&mut self, within: Duration) -> bool {
        let mut rest = Vec::new();
        let end = timeout(within, self.stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
        end.expect("the server did not end the connection").is_ok()
    }
}

/// Reads one HTTP answer.
pub(super) async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Response> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(bytes).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Response {
        status,
        head,
        body: String::from_utf8(body).unwrap(),
    })
}

/// A GET without TLS.
pub(super) async fn get(address: SocketAddr, path: &str) -> Response {
    let mut stream = TcpStream::connect(address).await.unwrap();
    plain(
        &mut stream,
        format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"),
    )
    .await
}

async fn plain<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: String) -> Response {
    stream.write_all(request.as_bytes()).await.unwrap();
    timeout(PATIENCE, receive(stream)).await.unwrap().unwrap()
}
