//! How calls to clouds leave a cluster: by which proxy, trusting which authorities, waiting how long.
//!
//! It reads the environment and one file, once. `HTTP_PROXY` is left alone on purpose: what is asked over
//! plain HTTP is a node's own metadata, which a proxy must never see.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::http::Uri;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

/// One try of one call, connecting included, and the most that `connect` may take of it.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// No file of authorities is as large: a system's whole store is about 200 KiB.
const MAX_BUNDLE: u64 = 4 * 1024 * 1024;

/// How calls leave.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// `--ca-bundle`: a PEM file of authorities that are trusted beside the system's.
    pub ca_bundle: Option<PathBuf>,
    /// The proxy for HTTPS.
    pub proxy: Option<Proxy>,
    /// How long one try of one call may take. Each is tried twice.
    pub timeout: Duration,
}

impl Default for Outgoing {
    /// Directly, trusting the system's authorities.
    fn default() -> Self {
        Self {
            ca_bundle: None,
            proxy: None,
            timeout: CALL_TIMEOUT,
        }
    }
}

impl Outgoing {
    /// As the process's environment says: `HTTPS_PROXY` and `NO_PROXY`, or the same in lower case.
    pub fn from_env(ca_bundle: Option<PathBuf>) -> Result<Self, OutgoingError> {
        let proxy = Proxy::from(|name| std::env::var(name).ok())?;
        Ok(Self {
            ca_bundle,
            proxy,
            ..Self::default()
        })
    }

    /// Reads what has to be read.
    pub(super) fn way(&self) -> Result<Way, OutgoingError> {
        let authorities = self.ca_bundle.as_deref().map(read_bundle).transpose()?;
        Ok(Way {
            authorities,
            proxy: self.proxy.clone(),
            timeout: self.timeout,
        })
    }
}

/// [`Outgoing`] with its file read.
#[cfg_attr(
    not(feature = "aws"),
    expect(dead_code, reason = "the other sources make no calls yet")
)]
pub(super) struct Way {
    /// PEM, checked: certificates and nothing that is none.
    pub(super) authorities: Option<Vec<u8>>,
    pub(super) proxy: Option<Proxy>,
    pub(super) timeout: Duration,
}

/// A proxy, and who is reached without it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    url: Uri,
    except: Option<String>,
}

impl Proxy {
    /// The proxy that the variables of this environment name, if they name one. Upper case goes first, as in Go.
    fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, OutgoingError> {
        let given = |name: &'static str| {
            let value = variable(name).unwrap_or_default();
            let value = value.trim();
            (!value.is_empty()).then(|| (name, value.to_owned()))
        };
        let Some((name, url)) = given("HTTPS_PROXY").or_else(|| given("https_proxy")) else {
            return Ok(None);
        };
        let except = given("NO_PROXY").or_else(|| given("no_proxy"));
        let except = except.map(|(_, hosts)| hosts);
        let url = Self::url(&url).ok_or(OutgoingError::Proxy { variable: name })?;
        Ok(Some(Self { url, except }))
    }

    /// A proxy's URL. Without a scheme it is `http://`.
    fn url(text: &str) -> Option<Uri> {
        let url: Uri = if text.contains("://") {
            text.parse().ok()?
        } else {
            format!("http://{text}").parse().ok()?
        };
        let spoken = matches!(url.scheme_str(), Some("http" | "https"));
        (spoken && url.host().is_some_and(|host| !host.is_empty())).then_some(url)
    }

    /// The proxy's URL. It may have a password in it.
    #[cfg(feature = "aws")]
    pub(super) fn expose(&self) -> &Uri {
        &self.url
    }

    /// The hosts that are reached directly, as `NO_PROXY` has them.
    #[cfg(feature = "aws")]
    pub(super) fn except(&self) -> Option<&str> {
        self.except.as_deref()
    }
}

/// Without the user and the password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.url.scheme_str().unwrap_or_default();
        let host = self.url.host().unwrap_or_default();
        let port = self.url.port().map(|port| format!(":{port}"));
        f.debug_struct("Proxy")
            .field(
                "url",
                &format!("{scheme}://{host}{}", port.unwrap_or_default()),
            )
            .field("except", &self.except)
            .finish()
    }
}

/// Why calls cannot leave as told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutgoingError {
    /// The file cannot be read.
    #[error("cannot read the CA bundle `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no bundle.
    #[error("the CA bundle `{}` is larger than {} MiB", path.display(), MAX_BUNDLE >> 20)]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// The file's PEM is broken.
    #[error("the CA bundle `{}` is broken in its certificate {number}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Which certificate of it.
        number: usize,
        /// What the parser says.
        source: pem::Error,
    },
    /// The file holds nothing.
    #[error("the CA bundle `{}` has no certificate in PEM form", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A certificate that is none.
    #[error("the CA bundle `{}` has a certificate that cannot be used: number {number}", path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// Which certificate of it.
        number: usize,
        /// What rustls says.
        source: rustls::Error,
    },
    /// No TLS can be spoken with it.
    #[error("cannot set up TLS for outgoing calls")]
    Tls,
    /// The proxy's URL is none. It is not repeated: it may have a password in it.
    #[error("`{variable}` is not the URL of an HTTP proxy: write `http://HOST:PORT`")]
    Proxy {
        /// The variable.
        variable: &'static str,
    },
}

/// The file's bytes, after each certificate in it was taken once.
fn read_bundle(path: &Path) -> Result<Vec<u8>, OutgoingError> {
    let place = || path.to_owned();
    let failed = |source| OutgoingError::Read {
        path: place(),
        source,
    };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > MAX_BUNDLE {
        return Err(OutgoingError::TooLarge { path: place() });
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let mut store = RootCertStore::empty();
    for (certificate, number) in CertificateDer::pem_slice_iter(&bytes).zip(1..) {
        let certificate = certificate.map_err(|source| OutgoingError::Pem {
            path: place(),
            number,
            source,
        })?;
        store
            .add(certificate)
            .map_err(|source| OutgoingError::Certificate {
                path: place(),
                number,
                source,
            })?;
    }
    if store.is_empty() {
        return Err(OutgoingError::Empty { path: place() });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_as_others_read_it_and_never_shown_with_its_password() {
        for (environment, want, why) in [
            (&[][..], Ok(None), "none"),
            (&[("HTTPS_PROXY", "")], Ok(None), "an empty one is none"),
            (
                &[("HTTP_PROXY", "http://p:1")],
                Ok(None),
                "nor is that for plain HTTP",
            ),
            (&[("ALL_PROXY", "http://p:1")], Ok(None), "nor that of curl"),
            (&[("NO_PROXY", "x")], Ok(None), "nor an exception alone"),
            (
                &[("HTTPS_PROXY", "http://p:1")],
                Ok(Some(r#"Proxy { url: "http://p:1", except: None }"#)),
                "one",
            ),
            (
                &[("https_proxy", "https://p"), ("no_proxy", " a, .b ")],
                Ok(Some(r#"Proxy { url: "https://p", except: Some("a, .b") }"#)),
                "in lower case, itself behind TLS",
            ),
            (
                &[("HTTPS_PROXY", "p:3128"), ("https_proxy", "http://other:1")],
                Ok(Some(r#"Proxy { url: "http://p:3128", except: None }"#)),
                "upper case first; a scheme is not needed",
            ),
            (
                &[("HTTPS_PROXY", "http://me:hunter2@p:1/x?hunter2")],
                Ok(Some(r#"Proxy { url: "http://p:1", except: None }"#)),
                "a password is for the proxy alone",
            ),
            (
                &[("HTTPS_PROXY", "http://[fd00::1]:3128")],
                Ok(Some(
                    r#"Proxy { url: "http://[fd00::1]:3128", except: None }"#,
                )),
                "an address",
            ),
            (&[("HTTPS_PROXY", "socks5://p:1")], Err(()), "no HTTP proxy"),
            (&[("HTTPS_PROXY", "http://")], Err(()), "no host"),
            (&[("https_proxy", "hunter2 @p:1")], Err(()), "no URL"),
        ] {
            let environment: &[(&str, &str)] = environment;
            let got = Proxy::from(|name| {
                let found = environment.iter().find(|(key, _)| *key == name)?;
                Some(found.1.to_owned())
            });
            let shown = format!("{got:?}");
            assert!(!shown.contains("hunter2"), "{why}: {shown}");
            match (got, want) {
                (Ok(got), Ok(want)) => {
                    let got = got.map(|proxy| format!("{proxy:?}"));
                    assert_eq!(got.as_deref(), want, "{why}");
                }
                (Err(error), Err(())) => {
                    let text = error.to_string();
                    assert!(text.contains(environment[0].0), "{why}: {text}");
                }
                (got, want) => panic!("{why}: {got:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn a_bundle_is_certificates_that_can_be_used() {
        let pair = crate::server::certificate::self_signed(&[], std::time::SystemTime::now());
        let pair = pair.unwrap();
        let (ca, key) = (pair.ca.as_str(), pair.key.as_str());
        let cut = ca.replace("-----END", "----END");
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        for (pem, want, why) in [
            (Some(ca.to_owned()), None, "one"),
            (Some(format!("words\n{ca}{ca}")), None, "two, and words"),
            (
                Some(format!("{ca}{key}")),
                None,
                "what is no certificate is passed over",
            ),
            (Some(String::new()), Some("no certificate"), "nothing"),
            (Some(key.to_owned()), Some("no certificate"), "a key alone"),
            (
                Some(format!("{ca}{cut}")),
                Some("broken in its certificate 2"),
                "half of one",
            ),
            (Some(junk.to_owned()), Some("number 1"), "other bytes"),
            (None, Some("cannot read"), "no file"),
        ] {
            match pem {
                Some(pem) => std::fs::write(&path, pem).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let outgoing = Outgoing {
                ca_bundle: Some(path.clone()),
                ..Outgoing::default()
            };
            let got = outgoing
                .way()
                .map(|way| way.authorities.map(|pem| pem.len()));
            match (got, want) {
                (Ok(Some(length)), None) => assert!(length > 0, "{why}"),
                (Err(error), Some(want)) => {
                    let text = error.to_string();
                    assert!(
                        text.contains(want) && text.contains("ca.pem"),
                        "{why}: {text}"
                    );
                }
                (got, want) => panic!("{why}: {got:?}, not {want:?}"),
            }
        }
    }
}
