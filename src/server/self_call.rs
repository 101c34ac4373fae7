//! A call to our own admission port, again and again: the only check that sees what clients see.
//!
//! It opens a connection of its own each time, wants the certificate that is in use and any HTTP
//! answer. It asks for a path that does not exist, so no request is counted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::health::{State, Switch};
use super::tls::{Tls, crypto_provider, wants_client_certificate};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: pullpass\r\nconnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 404";
/// As long as an API server waits by our default.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a failure, which at the start may be a matter of moments.
const AGAIN: Duration = Duration::from_millis(100);
/// One failure may be a certificate replaced at that very moment.
const FAILURES: u32 = 2;

/// What the check says before the first call.
pub(super) fn first() -> State {
    State::waiting("the port was not called yet", "wait a moment")
}

/// Calls `address` for ever and sets the switch.
pub(super) async fn run(address: SocketAddr, tls: Arc<Tls>, every: Duration, switch: Switch) {
    let mut failures = 0;
    loop {
        if tls.current().is_none() {
            // A call would fail, and be counted as somebody's. The first pair is met at once.
            switch.set(State::waiting(
                "there is no certificate to call the port with yet",
                "see the check `certificate`",
            ));
            sleep(AGAIN).await;
            continue;
        }
        let failure = match timeout(PATIENCE, call(address, &tls)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        if let Some(why) = failure {
            failures += 1;
            if failures >= FAILURES {
                let why = format!("a call to {address} failed: {why}");
                tracing::debug!(why, "the self-call failed");
                switch.set(State::waiting(
                    why,
                    "look into the log; restart the process",
                ));
            }
            sleep(if failures > FAILURES { every } else { AGAIN }).await;
        } else {
            failures = 0;
            switch.set(State::ready(format!("{address} answers")));
            sleep(every).await;
        }
    }
}

async fn call(address: SocketAddr, tls: &Tls) -> io::Result<()> {
    let leaf = tls.current().as_ref().map(|loaded| loaded.leaf.clone());
    let leaf = leaf.ok_or_else(|| io::Error::other("there is no certificate"))?;
    let config = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Same {
            leaf,
            provider: crypto_provider(),
        }))
        .with_no_client_auth();
    let stream = TcpStream::connect(reachable(address)).await?;
    let name = ServerName::IpAddress(address.ip().into());
    let answered = async {
        let mut stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        stream.write_all(REQUEST).await?;
        let mut answer = [0; ANSWER.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    match answered.await {
        Ok(answer) if answer == *ANSWER => Ok(()),
        Ok(_) => Err(io::Error::other("something else answers on this port")),
        // With a client CA this is as far as we get, and all that is to be seen.
        Err(error) if wants_client_certificate(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where to call a socket that listens on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Accepts the one certificate that is in use, whatever its names, issuer and time.
#[derive(Debug)]
struct Same {
    leaf: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Same {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.leaf {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General(
                "the port shows another certificate".to_owned(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
