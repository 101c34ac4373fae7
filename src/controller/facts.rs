//! Bytes of Secrets and caBundles → the facts that a plan is made of.
//!
//! Certificates are parsed as API servers do it: a broken block beside a good one is passed over.
//! Whether one signed the other is tried with the signature itself, not read off a name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::plan::certificates::{Authority, Ca, Fingerprint, Flaw, Serving, Validity};
use crate::server::crypto_provider;

/// In both Secrets: the certificate.
pub const CERTIFICATE: &str = "tls.crt";
/// In both Secrets: its private key.
pub const KEY: &str = "tls.key";
/// In the serving certificate's Secret: what vouches for it.
pub const VOUCHER: &str = "ca.crt";
/// In the CA's Secret: the CAs before it, while a rotation is under way.
pub const PREVIOUS: &str = "previous.crt";
/// On the CA's Secret: since when every caBundle was seen to hold the CA.
pub const COMPLETE_SINCE: &str = "pullpass.dev/bundle-complete-since";

/// A caBundle or a Secret is bounded by the API server; this bounds what is parsed of one.
const MOST_BLOCKS: usize = 64;

type Data = BTreeMap<String, ByteString>;

/// The CA's Secret, if its content is of use.
pub fn ca(data: &Data, annotations: &BTreeMap<String, String>) -> Result<Ca, Flaw> {
    let chain = pair(data)?;
    let der = chain.first().ok_or(Flaw::Malformed)?;
    let authority = authority(der).ok_or(Flaw::NotAnAuthority)?;
    let previous = data.get(PREVIOUS).map(|pem| authorities(&pem.0));
    Ok(Ca {
        authority,
        previous: previous.unwrap_or_default(),
        complete_since: annotations
            .get(COMPLETE_SINCE)
            .and_then(|text| text.parse::<Timestamp>().ok())
            .map(SystemTime::from),
    })
}

/// The serving certificate's Secret, if its content is of use, and the certificate's fingerprint.
pub fn serving(
    data: &Data,
    candidates: &[&Authority],
    seen_since: impl FnOnce(Fingerprint) -> SystemTime,
) -> Result<Serving, Flaw> {
    let chain = pair(data)?;
    let der = chain.first().ok_or(Flaw::Malformed)?;
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| Flaw::Malformed)?;
    let signed_by = candidates.iter().filter(|a| has_signed(a, &chain));
    Ok(Serving {
        validity: validity(&parsed),
        names: names(&parsed),
        signed_by: signed_by.map(|a| a.fingerprint).collect(),
        seen_since: seen_since(Fingerprint::of(der)),
    })
}

/// The certificate chain of a pair whose key is the certificate's.
fn pair(data: &Data) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    let get = |key| data.get(key).map(|bytes| &bytes.0).ok_or(Flaw::Malformed);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(get(CERTIFICATE)?)
        .collect::<Result<_, _>>()
        .map_err(|_| Flaw::Malformed)?;
    let key = PrivateKeyDer::from_pem_slice(get(KEY)?).map_err(|_| Flaw::Malformed)?;
    let leaf = chain.first().ok_or(Flaw::Malformed)?;
    X509Certificate::from_der(leaf).map_err(|_| Flaw::Malformed)?;
    match CertifiedKey::from_der(chain.clone(), key, &crypto_provider()) {
        Ok(_) => Ok(chain),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Flaw::KeyMismatch),
        Err(_) => Err(Flaw::Malformed),
    }
}

/// The authorities that an API server finds in a caBundle.
#[must_use]
pub fn authorities(pem: &[u8]) -> Vec<Authority> {
    CertificateDer::pem_slice_iter(pem)
        .take(MOST_BLOCKS)
        .filter_map(Result::ok)
        .filter_map(|der| authority(&der))
        .collect()
}

/// A certificate that may sign others.
fn authority(der: &CertificateDer<'_>) -> Option<Authority> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    parsed.is_ca().then(|| Authority {
        fingerprint: Fingerprint::of(der),
        pem: pem(der),
        validity: validity(&parsed),
    })
}

/// One block, so that equal certificates are equal text.
fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so every place is a boundary.
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

fn validity(parsed: &X509Certificate<'_>) -> Validity {
    let time = |seconds: i64| {
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    };
    let validity = parsed.validity();
    Validity {
        not_before: time(validity.not_before.timestamp()),
        not_after: time(validity.not_after.timestamp()),
    }
}

fn names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
            .ok()
            .map(|address| address.to_string()),
        // A name of a kind that we never write: the certificate is not the one that is wanted.
        other => Some(format!("{other:?}")),
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(name)
        .collect()
}

/// Whether a client that trusts this authority alone would accept the chain in its own time.
fn has_signed(authority: &Authority, chain: &[CertificateDer<'static>]) -> bool {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return false;
    };
    let mut roots = RootCertStore::empty();
    let added = CertificateDer::from_pem_slice(authority.pem.as_bytes())
        .is_ok_and(|der| roots.add(der).is_ok());
    let Ok(parsed) = ParsedCertificate::try_from(leaf) else {
        return false;
    };
    let Ok((_, x509)) = X509Certificate::from_der(leaf) else {
        return false;
    };
    let begin = validity(&x509).not_before;
    let begin = begin.duration_since(UNIX_EPOCH).unwrap_or_default();
    let provider = crypto_provider();
    added
        && verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &roots,
            intermediates,
            UnixTime::since_unix_epoch(begin),
            provider.signature_verification_algorithms.all,
        )
        .is_ok()
}

/// A time as an annotation holds it.
#[must_use]
pub fn annotation(at: SystemTime) -> Option<String> {
    Timestamp::try_from(at).ok().map(|at| at.to_string())
}

/// A name as a certificate would hold it: addresses in one spelling.
#[must_use]
pub fn spelled(name: &str) -> String {
    name.parse::<IpAddr>()
        .map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
}

/// Candidates, each once.
#[must_use]
pub fn each_once<'a>(all: impl Iterator<Item = &'a Authority>) -> Vec<&'a Authority> {
    let mut once: Vec<&Authority> = Vec::new();
    for authority in all {
        if !once.iter().any(|a| a.fingerprint == authority.fingerprint) {
            once.push(authority);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::certificates::BACKDATED;
    use crate::server::certificate::{self, Keyed};

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(500_000)
    }

    fn hour() -> Validity {
        Validity::starting(now(), Duration::from_hours(1))
    }

    fn data(pairs: &[(&str, &str)]) -> Data {
        let owned = pairs.iter();
        owned
            .map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec())))
            .collect()
    }

    fn secret(keyed: &Keyed) -> Data {
        data(&[(CERTIFICATE, &keyed.certificate), (KEY, &keyed.key)])
    }

    #[test]
    fn a_ca_is_read_with_what_was_before_it_and_since_when_it_is_known() {
        let (new, old) = (
            certificate::authority(hour()).unwrap(),
            certificate::authority(hour()).unwrap(),
        );
        let mut held = secret(&new);
        let nothing = BTreeMap::new();
        let ca = super::ca(&held, &nothing).unwrap();
        assert_eq!(ca.authority.validity.not_before, now() - BACKDATED);
        assert_eq!(ca.bundle().trim(), new.certificate.replace('\r', "").trim());
        assert_eq!((ca.previous.len(), ca.complete_since), (0, None));

        held.extend(data(&[(PREVIOUS, &old.certificate)]));
        for (text, want, why) in [
            (annotation(now()).unwrap(), Some(now()), "as we write it"),
            ("yesterday".to_owned(), None, "what is no time says nothing"),
        ] {
            let notes = BTreeMap::from([(COMPLETE_SINCE.to_owned(), text)]);
            let ca = super::ca(&held, &notes).unwrap();
            assert_eq!(ca.complete_since, want, "{why}");
            assert_eq!(
                ca.previous,
                authorities(old.certificate.as_bytes()),
                "{why}"
            );
        }
    }

    #[test]
    fn a_secret_of_no_use_says_why() {
        let ca = certificate::authority(hour()).unwrap();
        let other = certificate::authority(hour()).unwrap();
        let leaf = certificate::serving(&ca, &["a.example".to_owned()], hour()).unwrap();
        let broken = ca.certificate.replace("MII", "!!!");
        for (held, want, why) in [
            (data(&[]), Flaw::Malformed, "nothing in it"),
            (
                data(&[(CERTIFICATE, &ca.certificate)]),
                Flaw::Malformed,
                "no key",
            ),
            (
                data(&[(CERTIFICATE, "x"), (KEY, &ca.key)]),
                Flaw::Malformed,
                "no certificate",
            ),
            (
                data(&[(CERTIFICATE, &broken), (KEY, &ca.key)]),
                Flaw::Malformed,
                "a broken certificate",
            ),
            (
                data(&[(CERTIFICATE, &ca.certificate), (KEY, "x")]),
                Flaw::Malformed,
                "a broken key",
            ),
            (
                data(&[(CERTIFICATE, &ca.certificate), (KEY, &other.key)]),
                Flaw::KeyMismatch,
                "another one's key",
            ),
            (secret(&leaf), Flaw::NotAnAuthority, "a serving certificate"),
        ] {
            assert_eq!(super::ca(&held, &BTreeMap::new()), Err(want), "{why}");
        }
    }

    #[test]
    fn a_serving_certificate_is_known_by_its_signer_its_names_and_its_time() {
        let cas = [
            certificate::authority(hour()).unwrap(),
            certificate::authority(hour()).unwrap(),
        ];
        let names = ["a.example", "10.0.0.1", "::1"].map(str::to_owned);
        let leaf = certificate::serving(&cas[1], &names, hour()).unwrap();
        let [a, b] = cas.map(|ca| authorities(ca.certificate.as_bytes()).remove(0));
        let got = serving(&secret(&leaf), &[&a, &b], |_| now()).unwrap();
        assert_eq!(got.names, names);
        assert_eq!(got.signed_by, [b.fingerprint], "both have the same name");
        assert_eq!(got.validity.not_after, now() + Duration::from_hours(1));
    }

    #[test]
    fn a_bundle_is_read_past_what_is_broken_in_it() {
        let good = certificate::authority(hour()).unwrap();
        let leaf = certificate::serving(&good, &["a".to_owned()], hour()).unwrap();
        let pem = &good.certificate;
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, want, why) in [
            (String::new(), 0, "nothing"),
            ("garbage".to_owned(), 0, "garbage"),
            (pem.clone(), 1, "one"),
            (format!("garbage\n{pem}"), 1, "behind garbage"),
            (format!("{broken}{pem}"), 1, "behind a broken block"),
            (format!("{pem}{broken}"), 1, "before one"),
            (
                format!("{pem}{}", leaf.certificate),
                1,
                "what may not sign is no authority",
            ),
            (pem.repeat(2000), MOST_BLOCKS, "without end"),
        ] {
            assert_eq!(authorities(text.as_bytes()).len(), want, "{why}");
        }
    }

    #[test]
    fn names_have_one_spelling() {
        for (name, want) in [
            ("A.Example", "a.example"),
            ("0:0::1", "::1"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(spelled(name), want);
        }
    }
}
