//! Certificate authorities and the serving pairs that they sign, made from names and a lifetime.
//!
//! For a laptop both are made at once and the authority's key is dropped: what it made cannot be
//! extended, and no file of it can leak. In a cluster a controller keeps the key and calls the same
//! functions. Nothing here talks to a cluster.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::plan::certificates::Validity;

/// How long both certificates are good for.
pub const LIFETIME: Duration = Duration::from_hours(365 * 24);
/// What a laptop's server is called when nobody says.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// An authority's certificate and the pair it signed, all as PEM.
pub struct Pair {
    /// For clients, and for a webhook configuration's `caBundle`.
    pub ca: String,
    /// For the server.
    pub certificate: String,
    /// The server's private key.
    pub key: String,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("ca", &self.ca)
            .field("certificate", &self.certificate)
            .field("key", &"[redacted]")
            .finish()
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A name that no certificate can hold.
    #[error("cannot make a certificate for `{name}`: give a DNS name or an IP address")]
    Name {
        /// Which.
        name: String,
    },
    /// The library refused.
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A certificate and its private key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed")
            .field("certificate", &self.certificate)
            .field("key", &"[redacted]")
            .finish()
    }
}

/// A fresh authority, and a pair signed by it for `names`: DNS names and IP addresses. No name
/// means `localhost` and the loopback addresses.
pub fn self_signed(names: &[String], now: SystemTime) -> Result<Pair, CertificateError> {
    let validity = Validity::starting(now, LIFETIME);
    let loopback = LOOPBACK.map(str::to_owned);
    let names = if names.is_empty() { &loopback } else { names };
    let ca = authority(validity)?;
    let Keyed { certificate, key } = serving(&ca, names, validity)?;
    Ok(Pair {
        ca: ca.certificate,
        certificate,
        key,
    })
}

/// A fresh authority, which may sign serving certificates and no other authority.
pub fn authority(validity: Validity) -> Result<Keyed, CertificateError> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = new_key()?;
    let certificate = dated(params, "pullpass CA", validity)
        .self_signed(&key)
        .map_err(CertificateError::Make)?;
    Ok(Keyed {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// A fresh pair for `names`, signed by an authority.
pub fn serving(
    authority: &Keyed,
    names: &[String],
    validity: Validity,
) -> Result<Keyed, CertificateError> {
    for name in names {
        check(name)?;
    }
    let signing_key = KeyPair::from_pem(&authority.key).map_err(CertificateError::Make)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signing_key)
        .map_err(CertificateError::Make)?;
    let mut params = CertificateParams::new(names).map_err(CertificateError::Make)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = new_key()?;
    let certificate = dated(params, "pullpass webhook", validity)
        .signed_by(&key, &issuer)
        .map_err(CertificateError::Make)?;
    Ok(Keyed {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn new_key() -> Result<KeyPair, CertificateError> {
    // P-256: every client knows it, and a signature costs a tenth of RSA's.
    KeyPair::generate().map_err(CertificateError::Make)
}

fn dated(mut params: CertificateParams, name: &str, validity: Validity) -> CertificateParams {
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    params
}

/// A DNS name (a wildcard in front is one) or an IP address, nothing that merely looks like it.
pub fn check(name: &str) -> Result<(), CertificateError> {
    let host = name.strip_prefix("*.").unwrap_or(name);
    rustls::pki_types::ServerName::try_from(host)
        .map(|_| ())
        .map_err(|_| CertificateError::Name {
            name: name.to_owned(),
        })
}

/// Writes `ca.crt`, `tls.crt` and `tls.key` (for its owner alone) into `directory`, which is made
/// if it is not there. Each file is replaced whole: a server that polls them never sees half.
pub fn write(pair: &Pair, directory: &Path) -> Result<[PathBuf; 3], CertificateError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::Write { path, source }
    };
    fs::create_dir_all(directory).map_err(failed(directory))?;
    let files = [
        (directory.join("ca.crt"), &pair.ca, 0o644),
        (directory.join("tls.key"), &pair.key, 0o600),
        (directory.join("tls.crt"), &pair.certificate, 0o644),
    ];
    for (path, text, mode) in &files {
        replace(path, text, *mode).map_err(failed(path))?;
    }
    let [(ca, ..), (key, ..), (certificate, ..)] = files;
    Ok([ca, certificate, key])
}

#[cfg_attr(not(unix), expect(unused_variables, reason = "no modes there"))]
fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    // Left over from a run that was killed; `create_new` then makes sure of the mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = options.open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    #[test]
    fn a_client_that_trusts_the_authority_accepts_the_names_and_no_other() {
        let given = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        for (names, asked, want, why) in [
            (given(&[]), "localhost", true, "the default for a laptop"),
            (given(&[]), "127.0.0.1", true, "its address"),
            (given(&[]), "::1", true, "its other address"),
            (given(&[]), "example.com", false, "not asked for"),
            (given(&["a.example"]), "a.example", true, "a name given"),
            (
                given(&["a.example"]),
                "localhost",
                false,
                "given names replace the default",
            ),
            (given(&["*.a.example"]), "x.a.example", true, "a wildcard"),
        ] {
            let pair = self_signed(&names, SystemTime::now()).unwrap();
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(pair.ca.as_bytes()).unwrap())
                .unwrap();
            let verifier = WebPkiServerVerifier::builder_with_provider(
                roots.into(),
                crate::server::crypto_provider(),
            )
            .build()
            .unwrap();
            let leaf = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
            let name = ServerName::try_from(asked).unwrap();
            let got = verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::now());
            assert_eq!(got.is_ok(), want, "{asked} of {names:?}: {why}: {got:?}");
        }
    }

    #[test]
    fn names_that_no_certificate_can_hold_are_refused() {
        for name in [
            "",
            "a b",
            "exa\nmple",
            "-a",
            "a..b",
            "*",
            "*.*.a",
            "ä.example",
        ] {
            let error = self_signed(&[name.to_owned()], SystemTime::now()).unwrap_err();
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn files_are_replaced_and_the_key_is_for_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("new/certs");
        let first = self_signed(&[], SystemTime::now()).unwrap();
        write(&first, &inner).unwrap();
        let second = self_signed(&[], SystemTime::now()).unwrap();
        let [ca, certificate, key] = write(&second, &inner).unwrap();
        assert_eq!(fs::read_to_string(ca).unwrap(), second.ca);
        assert_eq!(fs::read_to_string(certificate).unwrap(), second.certificate);
        assert_eq!(fs::read_to_string(&key).unwrap(), second.key);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(
                fs::metadata(key).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        assert_eq!(
            fs::read_dir(inner).unwrap().count(),
            3,
            "nothing is left over"
        );
        assert!(
            !format!("{second:?}").contains("PRIVATE"),
            "the key is never printed"
        );
    }
}
