//! The source of the certificates, looked at again and again: a good change is taken, a bad one told.
//!
//! Files are read by content, a Secret's pairs come by a channel. What is bad, expired, early or gone
//! leaves in use what was there. Nothing here touches a connection.

use std::io::Read as _;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::sleep;

use super::load::{Loaded, PemPair, TlsError, client_ca, load};
use super::{CertificateSource, Tls};
use crate::metrics::Metrics;
use crate::server::certificate;

/// A certificate file is a few kilobytes; one that is larger is something else.
const MAX_FILE: u64 = 1024 * 1024;

/// What there is at one moment.
#[derive(Clone, PartialEq, Eq)]
struct Material {
    /// None when there is no Secret.
    pair: Option<PemPair>,
    client_ca: Option<Vec<u8>>,
}

/// Where to look.
struct Reader {
    pair: PairSource,
    client_ca: Option<PathBuf>,
}

enum PairSource {
    Files { cert: PathBuf, key: PathBuf },
    Made(PemPair),
    Published(watch::Receiver<Option<PemPair>>),
}

/// Looks at the source again and again.
pub(in crate::server) struct Watcher {
    reader: Arc<Reader>,
    /// Tells of a new pair before it is time to look.
    pairs: Option<watch::Receiver<Option<PemPair>>>,
    /// The last content that was judged for good.
    seen: Material,
    /// Whether the Secret was gone at the last look.
    is_gone: bool,
}

impl Watcher {
    /// The first look, and what it found. A Secret's pair is never looked at here: a server starts
    /// without it, so it need not be there or good.
    pub(super) fn new(
        source: &CertificateSource,
        client_ca: Option<PathBuf>,
    ) -> Result<(Self, Option<Loaded>), TlsError> {
        let mut pairs = None;
        let pair = match source {
            CertificateSource::Files { cert, key } => PairSource::Files {
                cert: cert.clone(),
                key: key.clone(),
            },
            CertificateSource::SelfSigned { names } => {
                let made = certificate::self_signed(names, SystemTime::now())?;
                PairSource::Made(PemPair {
                    certificate: made.certificate.into_bytes(),
                    key: made.key.into_bytes(),
                })
            }
            CertificateSource::Published { pairs: from, .. } => {
                let mut from = from.clone();
                // What is in the channel already is news.
                from.mark_changed();
                PairSource::Published(pairs.insert(from).clone())
            }
        };
        let reader = Reader { pair, client_ca };
        let mut seen = reader.read()?;
        if pairs.is_some() {
            seen.pair = None;
        }
        let first = reader.load(source, &seen)?;
        let watcher = Self {
            reader: Arc::new(reader),
            pairs,
            seen,
            is_gone: true,
        };
        Ok((watcher, first))
    }

    /// Whether anything may ever change.
    pub(in crate::server) fn is_needed(&self) -> bool {
        self.pairs.is_some() || self.reader.has_files()
    }

    /// Takes each new content, for ever.
    pub(in crate::server) async fn run(
        mut self,
        tls: Arc<Tls>,
        metrics: Arc<Metrics>,
        every: Duration,
    ) {
        // The last failure, so that each is told once and not at each look.
        let mut told = None;
        loop {
            // Either can be dropped: the time begins anew, the channel keeps its news.
            tokio::select! {
                () = sleep(every) => {}
                () = changed(&mut self.pairs) => {}
            }
            let reading = if self.reader.has_files() {
                let reader = Arc::clone(&self.reader);
                // A file system may hang; the requests must not.
                let Ok(reading) = tokio::task::spawn_blocking(move || reader.read()).await else {
                    // The runtime is going down.
                    return;
                };
                reading
            } else {
                self.reader.read()
            };
            match reading.and_then(|material| self.judge(&tls, material)) {
                Ok(false) => told = None,
                Ok(true) => {
                    told = None;
                    tls.trouble.store(None);
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
                        if tls.current().is_some() {
                            tracing::error!(%error, cause, "kept the old certificate");
                        } else {
                            tracing::error!(%error, cause, "there is still no certificate");
                        }
                        tls.trouble.store(Some(Arc::new(error.to_string())));
                    }
                    told = failure;
                }
            }
        }
    }

    /// Whether the content is new, and was taken.
    fn judge(&mut self, tls: &Tls, mut material: Material) -> Result<bool, TlsError> {
        let is_gone = material.pair.is_none();
        if is_gone {
            if !mem::replace(&mut self.is_gone, true) {
                tracing::warn!("the certificate's Secret is gone; a certificate in use stays");
            }
            if tls.current().is_none() {
                // What was no good is gone as well, and is news when it comes again.
                self.seen.pair = None;
                tls.trouble.store(None);
            }
            material.pair.clone_from(&self.seen.pair);
        }
        self.is_gone = is_gone;
        if material == self.seen {
            return Ok(false);
        }
        let taken = take(tls, &self.reader, &material, SystemTime::now());
        // What is merely early is looked at again.
        if !matches!(taken, Err(TlsError::NotYetValid { .. })) {
            self.seen = material;
        }
        taken
    }
}

async fn changed(pairs: &mut Option<watch::Receiver<Option<PemPair>>>) {
    if let Some(pairs) = pairs
        && pairs.changed().await.is_ok()
    {
        return;
    }
    // Nobody sends any more, or nobody ever did.
    std::future::pending::<()>().await;
}

/// Replaces what is in use, unless the new content is bad or out of its time. The first pair is taken
/// whatever its time: nothing is lost by it, and readiness tells what is wrong with it.
fn take(
    tls: &Tls,
    reader: &Reader,
    material: &Material,
    now: SystemTime,
) -> Result<bool, TlsError> {
    let Some(loaded) = reader.load(&tls.source, material)? else {
        return Ok(false);
    };
    if tls.current().is_some() {
        let place = || tls.source.places().certificate;
        if let Ok(ago) = now.duration_since(loaded.not_after)
            && !ago.is_zero()
        {
            let place = place();
            return Err(TlsError::Expired { place, ago });
        }
        if let Ok(left) = loaded.not_before.duration_since(now)
            && !left.is_zero()
        {
            let place = place();
            return Err(TlsError::NotYetValid { place, left });
        }
    }
    tls.current.store(Some(Arc::new(loaded)));
    Ok(true)
}

impl Reader {
    fn has_files(&self) -> bool {
        matches!(self.pair, PairSource::Files { .. }) || self.client_ca.is_some()
    }

    fn read(&self) -> Result<Material, TlsError> {
        // A symlink may be swapped between two of the files: two equal looks see one state.
        let mut last = self.read_once()?;
        if self.has_files() {
            for _ in 0..3 {
                let next = self.read_once()?;
                if next == last {
                    break;
                }
                last = next;
            }
        }
        Ok(last)
    }

    fn read_once(&self) -> Result<Material, TlsError> {
        let pair = match &self.pair {
            PairSource::Files { cert, key } => Some(PemPair {
                certificate: read_file(cert)?,
                key: read_file(key)?,
            }),
            PairSource::Made(pair) => Some(pair.clone()),
            PairSource::Published(pairs) => pairs.borrow().clone(),
        };
        Ok(Material {
            pair,
            client_ca: self.client_ca.as_deref().map(read_file).transpose()?,
        })
    }

    /// What the content makes; nothing as long as it has no pair. The client CA has to be good anyway.
    fn load(
        &self,
        source: &CertificateSource,
        material: &Material,
    ) -> Result<Option<Loaded>, TlsError> {
        let ca = match (&self.client_ca, &material.client_ca) {
            (Some(path), Some(bytes)) => Some(client_ca(path, bytes)?),
            _ => None,
        };
        let loaded = |pair| load(&source.places(), pair, ca);
        material.pair.as_ref().map(loaded).transpose()
    }
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
