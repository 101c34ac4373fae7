//! The certificates in use: what a handshake takes, how long they are good for, where they come from.
//!
//! `load` makes them from PEM, `follow` replaces them as their source changes. A new pair replaces the
//! old one whole or not at all, for connections to come; those that are open keep what they have. It
//! never writes a file and never prints a key.

mod follow;
mod load;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwapOption, Guard};
use rustls::AlertDescription;
use rustls::crypto::CryptoProvider;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::health::State;
use crate::metrics::{CertificateKind, HandshakeError, Metrics};

pub use self::load::{PemPair, TlsError};

pub(super) use self::follow::Watcher;
use self::load::{Loaded, Places};

/// Where the serving certificate comes from.
#[derive(Clone, Debug)]
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
    /// A Secret that somebody watches. The server starts without it, and closes connections until
    /// the first pair comes.
    Published {
        /// The Secret's name, for messages.
        secret: String,
        /// What is in it; `None` while there is no Secret. A key that it lacks is empty.
        pairs: watch::Receiver<Option<PemPair>>,
    },
}

impl CertificateSource {
    /// How messages call the certificate and its key.
    fn places(&self) -> Places {
        match self {
            Self::Files { cert, key } => Places {
                certificate: format!("`{}`", cert.display()),
                key: format!("`{}`", key.display()),
            },
            Self::SelfSigned { .. } => Places {
                certificate: "`(self-signed)`".to_owned(),
                key: "`(self-signed)`".to_owned(),
            },
            Self::Published { secret, .. } => Places {
                certificate: format!("`tls.crt` of Secret `{secret}`"),
                key: format!("`tls.key` of Secret `{secret}`"),
            },
        }
    }

    /// What to do about a certificate that is no good.
    fn mend(&self) -> String {
        match self {
            Self::Files { cert, key } => format!(
                "put a valid pair into `{}` and `{}`; it is taken by itself",
                cert.display(),
                key.display()
            ),
            Self::SelfSigned { .. } => "restart: a new one is made".to_owned(),
            Self::Published { secret, .. } => format!(
                "`pullpass controller --tls-secret {secret}` makes and renews it: is it running, what does \
                 its log say? A valid pair that comes into the Secret is taken by itself"
            ),
        }
    }
}

/// The one cryptography of the server: aws-lc-rs, given to each configuration by hand.
#[must_use]
pub fn crypto_provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

/// The certificates in use.
pub(super) struct Tls {
    source: CertificateSource,
    /// Nothing until the first pair; from then on always something.
    current: ArcSwapOption<Loaded>,
    /// Why the newest pair is not in use.
    trouble: ArcSwapOption<String>,
}

impl Tls {
    /// The first load. A certificate that has expired is taken: the server is not ready with it,
    /// but it runs, and takes the next one.
    pub(super) fn new(
        source: CertificateSource,
        client_ca: Option<PathBuf>,
    ) -> Result<(Self, Watcher), TlsError> {
        let (watcher, first) = Watcher::new(&source, client_ca)?;
        let tls = Self {
            source,
            current: ArcSwapOption::from_pointee(first),
            trouble: ArcSwapOption::empty(),
        };
        Ok((tls, watcher))
    }

    /// What is in use now, if anything is.
    pub(super) fn current(&self) -> Guard<Option<Arc<Loaded>>> {
        self.current.load()
    }

    /// The handshake on an accepted connection, unless there is no certificate yet.
    pub(super) fn accept<Io>(
        &self,
        io: Io,
    ) -> Option<impl Future<Output = io::Result<TlsStream<Io>>>>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let current = self.current.load();
        let config = Arc::clone(&current.as_ref()?.config);
        Some(TlsAcceptor::from(config).accept(io))
    }

    /// Whether an API server would accept the certificate now.
    pub(super) fn state(&self, now: SystemTime) -> State {
        let mend = self.source.mend();
        let current = self.current.load();
        let Some(loaded) = current.as_ref() else {
            return State::waiting(self.why_none(), mend);
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
        let left = loaded.not_after.duration_since(now).unwrap_or_default();
        State::ready(format!("valid for {}", rounded(left)))
    }

    fn why_none(&self) -> String {
        match (&self.source, self.trouble.load().as_deref()) {
            (_, Some(trouble)) => trouble.clone(),
            (CertificateSource::Published { secret, .. }, None) => {
                format!("Secret `{secret}` is not there yet")
            }
            (_, None) => "there is no certificate yet".to_owned(),
        }
    }

    pub(super) fn tell(&self, metrics: &Metrics) {
        let current = self.current.load();
        let Some(loaded) = current.as_ref() else {
            return;
        };
        metrics.certificate_expires(CertificateKind::Serving, loaded.not_after);
        if let Some(at) = loaded.client_ca_not_after {
            metrics.certificate_expires(CertificateKind::ClientCa, at);
        }
    }
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

/// `89 days`, `3 hours`, `40 seconds`: whole units, and at least two of them where there are.
fn rounded(time: Duration) -> String {
    let seconds = time.as_secs();
    let (unit, name) = [(86_400, "days"), (3_600, "hours"), (60, "minutes")]
        .into_iter()
        .find(|(unit, _)| seconds >= 2 * unit)
        .unwrap_or((1, "seconds"));
    format!("{} {name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_whole_units() {
        for (seconds, want) in [
            (0, "0 seconds"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_199, "119 minutes"),
            (7_200, "2 hours"),
            (172_799, "47 hours"),
            (172_800, "2 days"),
            (90 * 86_400 - 1, "89 days"),
        ] {
            assert_eq!(rounded(Duration::from_secs(seconds)), want);
        }
    }
}
