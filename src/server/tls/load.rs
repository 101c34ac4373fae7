//! PEM → what a handshake needs, or why it cannot be used.
//!
//! Knows no source but by how messages call it, and no clock: when a certificate is good is for others
//! to judge.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::crypto_provider;
use crate::server::certificate::CertificateError;

/// A certificate with its chain, and its private key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct PemPair {
    /// The certificate and its chain.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

impl fmt::Debug for PemPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemPair")
            .field("certificate", &String::from_utf8_lossy(&self.certificate))
            .field("key", &"[redacted]")
            .finish()
    }
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is far too large.
    #[error("`{}` is larger than 1 MiB, so it is no certificate or key", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// A text is not what it should be.
    #[error("{place} holds no {what} in PEM form")]
    Pem {
        /// Which: a file, or a key of a Secret.
        place: String,
        /// `certificate` or `private key`.
        what: &'static str,
        /// What the parser says.
        source: pem::Error,
    },
    /// A certificate does not parse.
    #[error("{place} holds a certificate that cannot be read: {reason}")]
    Certificate {
        /// Which.
        place: String,
        /// What the parser says.
        reason: String,
    },
    /// A certificate that nobody would accept any more.
    #[error("the certificate in {place} has expired, {} s ago", ago.as_secs())]
    Expired {
        /// Which.
        place: String,
        /// For how long.
        ago: Duration,
    },
    /// A certificate that nobody would accept yet.
    #[error("the certificate in {place} is not valid yet, for {} s", left.as_secs())]
    NotYetValid {
        /// Which.
        place: String,
        /// For how long.
        left: Duration,
    },
    /// The certificate and the key do not belong together, or cannot be used.
    #[error("the certificate in {place} and its key cannot be used together")]
    Pair {
        /// Where the certificate is.
        place: String,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The client CA cannot be used.
    #[error("`{}` cannot be used to check client certificates", path.display())]
    ClientCa {
        /// Which.
        path: PathBuf,
        /// What rustls says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No certificate could be made.
    #[error(transparent)]
    SelfSigned(#[from] CertificateError),
}

/// How messages call a certificate and its key.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// What a handshake needs, and how long it is good for.
pub(in crate::server) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    pub(in crate::server) leaf: CertificateDer<'static>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) client_ca_not_after: Option<SystemTime>,
}

/// What checks clients, and when the first of its certificates expires.
pub(super) struct ClientCa {
    verifier: Arc<dyn ClientCertVerifier>,
    not_after: Option<SystemTime>,
}

/// Joins a pair with what checks clients.
pub(super) fn load(
    places: &Places,
    pair: &PemPair,
    client_ca: Option<ClientCa>,
) -> Result<Loaded, TlsError> {
    let cert = &places.certificate;
    let chain = certificates(cert, &pair.certificate)?;
    let leaf = chain.first().cloned().ok_or_else(|| no_certificate(cert))?;
    let (not_before, not_after) = validity(cert, &leaf)?;
    let private = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|source| TlsError::Pem {
        place: places.key.clone(),
        what: "private key",
        source,
    })?;
    let refused = |source| TlsError::Pair {
        place: cert.clone(),
        source,
    };
    let builder = ServerConfig::builder_with_provider(crypto_provider())
        // 1.3 and 1.2: rustls knows nothing older.
        .with_safe_default_protocol_versions()
        .map_err(refused)?;
    let (builder, client_ca_not_after) = match client_ca {
        Some(ca) => (builder.with_client_cert_verifier(ca.verifier), ca.not_after),
        None => (builder.with_no_client_auth(), None),
    };
    let mut config = builder.with_single_cert(chain, private).map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // The API server keeps its connections and resumes none: tickets would be work for nothing,
    // and a resumed session would outlive the client CA that let it in.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Loaded {
        config: Arc::new(config),
        leaf,
        not_before,
        not_after,
        client_ca_not_after,
    })
}

/// Reads what checks clients.
pub(super) fn client_ca(path: &Path, bytes: &[u8]) -> Result<ClientCa, TlsError> {
    let refused = |source| TlsError::ClientCa {
        path: path.to_owned(),
        source,
    };
    let place = format!("`{}`", path.display());
    let mut not_after = None;
    let mut roots = RootCertStore::empty();
    for root in certificates(&place, bytes)? {
        let (_, end) = validity(&place, &root)?;
        not_after = Some(not_after.map_or(end, |other: SystemTime| other.min(end)));
        roots.add(root).map_err(|error| refused(error.into()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto_provider())
        .build()
        .map_err(|error| refused(error.into()))?;
    Ok(ClientCa {
        verifier,
        not_after,
    })
}

fn no_certificate(place: &str) -> TlsError {
    TlsError::Pem {
        place: place.to_owned(),
        what: "certificate",
        source: pem::Error::NoItemsFound,
    }
}

fn certificates(place: &str, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem {
            place: place.to_owned(),
            what: "certificate",
            source,
        })?;
    if all.is_empty() {
        Err(no_certificate(place))
    } else {
        Ok(all)
    }
}

fn validity(
    place: &str,
    certificate: &CertificateDer<'_>,
) -> Result<(SystemTime, SystemTime), TlsError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| TlsError::Certificate {
            place: place.to_owned(),
            reason: error.to_string(),
        })?;
    let time = |seconds: i64| {
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    };
    let validity = parsed.validity();
    Ok((
        time(validity.not_before.timestamp()),
        time(validity.not_after.timestamp()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_shown_without_its_key() {
        let pair = PemPair {
            certificate: b"open".to_vec(),
            key: b"hidden".to_vec(),
        };
        let shown = format!("{pair:?}");
        assert!(
            shown.contains("open") && !shown.contains("hidden"),
            "{shown}"
        );
        assert!(!shown.contains("104"), "nor as bytes: {shown}");
    }
}
