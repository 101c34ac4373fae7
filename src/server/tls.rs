//! Certificate files, turned into what a handshake needs, and looked at again as they change.
//!
//! A new pair replaces the old one whole or not at all, for connections to come; those that are
//! open keep what they have. It never writes a file and never prints a key.

use std::io::{self, Read as _};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{AlertDescription, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certificate::{self, CertificateError};
use super::health::State;
use crate::metrics::{CertificateKind, HandshakeError, Metrics};

/// A certificate file is a few kilobytes; one that is larger is something else.
const MAX_FILE: u64 = 1024 * 1024;

/// Where the serving certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// PEM files, read again when they change.
    Files {
        /// The certificate and its chain.
        cert: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// Made when the server starts, for a laptop.
    SelfSigned {
        /// DNS names and IP addresses; none means `localhost` and the loopback addresses.
        names: Vec<String>,
    },
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
    /// A file is not what it should be.
    #[error("`{}` holds no {what} in PEM form", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// What the parser says.
        source: pem::Error,
    },
    /// A certificate does not parse.
    #[error("`{}` holds a certificate that cannot be read: {reason}", path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// A certificate that nobody would accept any more.
    #[error("the certificate in `{}` has expired, {} s ago", path.display(), ago.as_secs())]
    Expired {
        /// Which.
        path: PathBuf,
        /// For how long.
        ago: Duration,
    },
    /// A certificate that nobody would accept yet.
    #[error("the certificate in `{}` is not valid yet, for {} s", path.display(), left.as_secs())]
    NotYetValid {
        /// Which.
        path: PathBuf,
        /// For how long.
        left: Duration,
    },
    /// The certificate and the key do not belong together, or cannot be used.
    #[error("the certificate in `{}` and its key cannot be used together", path.display())]
    Pair {
        /// The certificate's file.
        path: PathBuf,
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

/// The one cryptography of the server: aws-lc-rs, given to each configuration by hand.
#[must_use]
pub fn crypto_provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// The files' bytes.
#[derive(Clone, PartialEq, Eq)]
struct Material {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What a handshake needs, and how long it is good for.
pub(super) struct Loaded {
    config: Arc<ServerConfig>,
    pub(super) leaf: CertificateDer<'static>,
    not_before: SystemTime,
    not_after: SystemTime,
    client_ca_not_after: Option<SystemTime>,
}

/// The certificates in use.
pub(super) struct Tls {
    source: CertificateSource,
    client_ca: Option<PathBuf>,
    current: ArcSwap<Loaded>,
}

impl Tls {
    /// The first load. A certificate that has expired is taken: the server is not ready with it,
    /// but it runs, and takes the next one.
    pub(super) fn new(
        source: CertificateSource,
        client_ca: Option<PathBuf>,
    ) -> Result<(Self, Watcher), TlsError> {
        let made = match &source {
            CertificateSource::Files { .. } => None,
            CertificateSource::SelfSigned { names } => {
                let pair = certificate::self_signed(names, SystemTime::now())?;
                Some((pair.certificate.into_bytes(), pair.key.into_bytes()))
            }
        };
        let watcher = Watcher {
            seen: read(&source, made.as_ref(), client_ca.as_deref())?,
            made,
        };
        let loaded = load(&source, client_ca.as_deref(), &watcher.seen)?;
        Ok((
            Self {
                source,
                client_ca,
                current: ArcSwap::from_pointee(loaded),
            },
            watcher,
        ))
    }

    /// Whether there are files that may change.
    pub(super) fn can_change(&self) -> bool {
        matches!(self.source, CertificateSource::Files { .. }) || self.client_ca.is_some()
    }

    /// What is in use now.
    pub(super) fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    /// The handshake on an accepted connection.
    pub(super) fn accept<Io>(&self, io: Io) -> impl Future<Output = io::Result<TlsStream<Io>>>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(Arc::clone(&self.current.load().config)).accept(io)
    }

    /// Whether an API server would accept the certificate now.
    pub(super) fn state(&self, now: SystemTime) -> State {
        let loaded = self.current.load();
        let mend = match &self.source {
            CertificateSource::Files { cert, key } => format!(
                "put a valid pair into `{}` and `{}`; it is taken by itself",
                cert.display(),
                key.display()
            ),
            CertificateSource::SelfSigned { .. } => "restart: a new one is made".to_owned(),
        };
        if now > loaded.not_after {
            return State::waiting("the certificate has expired", mend);
        }
        if now < loaded.not_before {
            return State::waiting(
                "the certificate is not valid yet; is the clock right?",
                mend,
            );
        }
        let days = loaded
            .not_after
            .duration_since(now)
            .unwrap_or_default()
            .as_secs()
            / 86_400;
        State::ready(format!("valid for {days} more days"))
    }

    pub(super) fn tell(&self, metrics: &Metrics) {
        let loaded = self.current.load();
        metrics.certificate_expires(CertificateKind::Serving, loaded.not_after);
        if let Some(at) = loaded.client_ca_not_after {
            metrics.certificate_expires(CertificateKind::ClientCa, at);
        }
    }
}

/// Looks at the files again and again.
pub(super) struct Watcher {
    /// The last content that was judged for good.
    seen: Material,
    /// The pair that was made here, in place of files.
    made: Option<(Vec<u8>, Vec<u8>)>,
}

impl Watcher {
    /// Takes each new content of the files, for ever.
    pub(super) async fn run(mut self, tls: Arc<Tls>, metrics: Arc<Metrics>, every: Duration) {
        // The last failure, so that each is told once and not at each look.
        let mut told = None;
        loop {
            tokio::time::sleep(every).await;
            // A file system may hang; the requests must not.
            let reading = tokio::task::spawn_blocking({
                let (tls, made) = (Arc::clone(&tls), self.made.clone());
                move || read(&tls.source, made.as_ref(), tls.client_ca.as_deref())
            });
            let Ok(material) = reading.await else {
                // The runtime is going down.
                return;
            };
            match material.and_then(|material| self.judge(&tls, material)) {
                Ok(false) => told = None,
                Ok(true) => {
                    told = None;
                    metrics.tls_reloaded(true);
                    tls.tell(&metrics);
                    tracing::info!("took the new certificate");
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    // Content that was judged is not judged again; these are met at each look.
                    let again = matches!(
                        error,
                        TlsError::Read { .. }
                            | TlsError::TooLarge { .. }
                            | TlsError::NotYetValid { .. }
                    );
                    let failure = again.then(|| (mem::discriminant(&error), cause.clone()));
                    if failure.is_none() || failure != told {
                        metrics.tls_reloaded(false);
                        tracing::error!(%error, cause, "kept the old certificate");
                    }
                    told = failure;
                }
            }
        }
    }

    /// Whether the content is new, and was taken.
    fn judge(&mut self, tls: &Tls, material: Material) -> Result<bool, TlsError> {
        if material == self.seen {
            return Ok(false);
        }
        let taken = take(tls, &material, SystemTime::now());
        // What is merely early is looked at again.
        if !matches!(taken, Err(TlsError::NotYetValid { .. })) {
            self.seen = material;
        }
        taken.map(|()| true)
    }
}

/// Replaces what is in use, unless the new content is bad or out of its time.
fn take(tls: &Tls, material: &Material, now: SystemTime) -> Result<(), TlsError> {
    let loaded = load(&tls.source, tls.client_ca.as_deref(), material)?;
    let path = || certificate_path(&tls.source).to_owned();
    if let Ok(ago) = now.duration_since(loaded.not_after)
        && !ago.is_zero()
    {
        return Err(TlsError::Expired { path: path(), ago });
    }
    if let Ok(left) = loaded.not_before.duration_since(now)
        && !left.is_zero()
    {
        return Err(TlsError::NotYetValid { path: path(), left });
    }
    tls.current.store(Arc::new(loaded));
    Ok(())
}

fn certificate_path(source: &CertificateSource) -> &Path {
    match source {
        CertificateSource::Files { cert, .. } => cert,
        CertificateSource::SelfSigned { .. } => Path::new("(self-signed)"),
    }
}

fn read(
    source: &CertificateSource,
    made: Option<&(Vec<u8>, Vec<u8>)>,
    client_ca: Option<&Path>,
) -> Result<Material, TlsError> {
    let once = || -> Result<Material, TlsError> {
        let (cert, key) = match (source, made) {
            (CertificateSource::Files { cert, key }, _) => (read_file(cert)?, read_file(key)?),
            (CertificateSource::SelfSigned { .. }, Some((cert, key))) => {
                (cert.clone(), key.clone())
            }
            (CertificateSource::SelfSigned { .. }, None) => (Vec::new(), Vec::new()),
        };
        Ok(Material {
            cert,
            key,
            client_ca: client_ca.map(read_file).transpose()?,
        })
    };
    // A symlink may be swapped between two of the files: two equal looks see one state.
    let mut last = once()?;
    for _ in 0..3 {
        let next = once()?;
        if next == last {
            break;
        }
        last = next;
    }
    Ok(last)
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?
            .take(MAX_FILE + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(TlsError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

fn load(
    source: &CertificateSource,
    client_ca: Option<&Path>,
    material: &Material,
) -> Result<Loaded, TlsError> {
    let cert = certificate_path(source);
    let key = match source {
        CertificateSource::Files { key, .. } => key,
        CertificateSource::SelfSigned { .. } => cert,
    };
    let chain = certificates(cert, &material.cert)?;
    let leaf = chain.first().cloned().ok_or_else(|| no_certificate(cert))?;
    let (not_before, not_after) = validity(cert, &leaf)?;
    let private = PrivateKeyDer::from_pem_slice(&material.key).map_err(|source| TlsError::Pem {
        path: key.to_owned(),
        what: "private key",
        source,
    })?;

    let provider = crypto_provider();
    let pair = |source| TlsError::Pair {
        path: cert.to_owned(),
        source,
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        // 1.3 and 1.2: rustls knows nothing older.
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let mut client_ca_not_after = None;
    let builder = match (client_ca, &material.client_ca) {
        (Some(path), Some(bytes)) => {
            let refused = |source| TlsError::ClientCa {
                path: path.to_owned(),
                source,
            };
            let mut roots = RootCertStore::empty();
            for root in certificates(path, bytes)? {
                let (_, end) = validity(path, &root)?;
                client_ca_not_after =
                    Some(client_ca_not_after.map_or(end, |other: SystemTime| other.min(end)));
                roots.add(root).map_err(|error| refused(error.into()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| refused(error.into()))?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, private).map_err(pair)?;
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

fn no_certificate(path: &Path) -> TlsError {
    TlsError::Pem {
        path: path.to_owned(),
        what: "certificate",
        source: pem::Error::NoItemsFound,
    }
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem {
            path: path.to_owned(),
            what: "certificate",
            source,
        })?;
    if all.is_empty() {
        Err(no_certificate(path))
    } else {
        Ok(all)
    }
}

fn validity(
    path: &Path,
    certificate: &CertificateDer<'_>,
) -> Result<(SystemTime, SystemTime), TlsError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| TlsError::Certificate {
            path: path.to_owned(),
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

/// Why a handshake failed, as the metric tells it.
pub(super) fn reason(error: &io::Error) -> HandshakeError {
    let Some(error) = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>())
    else {
        return HandshakeError::Closed;
    };
    match error {
        rustls::Error::AlertReceived(_) => HandshakeError::RefusedByClient,
        rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_) => {
            HandshakeError::ClientCertificate
        }
        _ => HandshakeError::Protocol,
    }
}

/// Whether the other side says that it wants a client certificate: it speaks TLS, and well.
pub(super) fn wants_client_certificate(error: &io::Error) -> bool {
    matches!(
        error
            .get_ref()
            .and_then(|e| e.downcast_ref::<rustls::Error>()),
        Some(rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure
        ))
    )
}
