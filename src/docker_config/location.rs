//! The key of an entry → the host and path under which a kubelet keeps it.
//!
//! A kubelet puts a key through Go's `url.Parse`, whose rules these are, and passes over one that is no
//! URL. Whether an image can have such a host is not asked here.
//!
//! Sources: `keyring.go` (`Add`) in k8s.io/kubernetes/pkg/credentialprovider; `url.go` in net/url of Go 1.26.

use std::net::Ipv6Addr;

/// Host and path of a key, percent escapes resolved: bytes, as those can stand for any.
pub(super) struct Location {
    pub(super) host: Vec<u8>,
    /// Empty, or from its slash on. Never the slash alone.
    pub(super) path: Vec<u8>,
}

/// The key that a kubelet's keyring has for the key of an entry. `None` when it passes over the entry.
#[must_use]
pub fn keyring_key(key: &str) -> Option<Vec<u8>> {
    let Location { mut host, path } = Location::of(key)?;
    host.extend(path);
    Some(host)
}

impl Location {
    pub(super) fn of(key: &str) -> Option<Self> {
        let (url, fragment) = key.split_once('#').unwrap_or((key, ""));
        if url.bytes().any(|byte| byte.is_ascii_control()) {
            return None;
        }
        unescape(fragment, Part::Other)?;
        let url = ["https://", "http://"]
            .into_iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .unwrap_or(url);
        let (url, _query) = url.split_once('?').unwrap_or((url, ""));
        let (authority, path) = url.split_at(url.find('/').unwrap_or(url.len()));
        let host = match authority.rsplit_once('@') {
            None => authority,
            Some((user, host)) => {
                check_user(user)?;
                host
            }
        };
        let host = parse_host(host)?;
        let mut path = unescape(path, Part::Other)?;
        if path.starts_with(b"/v1/") || path.starts_with(b"/v2/") {
            path.drain(..3);
        }
        if path == b"/" {
            path.clear();
        }
        Some(Self { host, path })
    }
}

fn check_user(user: &str) -> Option<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !user.bytes().all(fits) {
        return None;
    }
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    unescape(name, Part::Other)?;
    unescape(password, Part::Other)?;
    Some(())
}

fn parse_host(host: &str) -> Option<Vec<u8>> {
    match host.rfind('[') {
        Some(0) => {
            let (address, port) = host.strip_prefix('[')?.rsplit_once(']')?;
            check_port(port)?;
            let address = match address.find("%25") {
                None => unescape(address, Part::Host)?,
                Some(zone) => {
                    let (address, zone) = address.split_at(zone);
                    let mut bytes = unescape(address, Part::Host)?;
                    bytes.extend(unescape(zone, Part::Zone)?);
                    bytes
                }
            };
            check_address(&address)?;
            Some([b"[", address.as_slice(), b"]", port.as_bytes()].concat())
        }
        Some(_) => None,
        None => {
            check_port(
                host.find(':')
                    .and_then(|colon| host.get(colon..))
                    .unwrap_or(""),
            )?;
            unescape(host, Part::Host)
        }
    }
}

/// Nothing, or a colon and digits, also none.
fn check_port(port: &str) -> Option<()> {
    let digits = port.strip_prefix(':').unwrap_or(port);
    let fits = port.is_empty() || port != digits && digits.bytes().all(|b| b.is_ascii_digit());
    fits.then_some(())
}

/// `netip.ParseAddr`, less IPv4, which takes no brackets.
fn check_address(address: &[u8]) -> Option<()> {
    let address = str::from_utf8(address).ok();
    let (address, zone) = match address?.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (address?, None),
    };
    address.parse::<Ipv6Addr>().ok()?;
    (zone != Some("")).then_some(())
}

/// The part of a URL that escapes stand in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Host,
    Zone,
    Other,
}

/// Resolves percent escapes, and checks what a host may have written plainly.
fn unescape(text: &str, part: Part) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first == b'%' {
            let ([high, low], tail) = tail.split_first_chunk()?;
            let byte = digit(*high)? << 4 | digit(*low)?;
            let fits = match part {
                Part::Host => !byte.is_ascii() || byte == b'%',
                Part::Zone => byte == b'%' || byte == b' ' || fits_host(byte),
                Part::Other => true,
            };
            if !fits {
                return None;
            }
            bytes.push(byte);
            rest = tail;
        } else {
            if part != Part::Other && first.is_ascii() && !fits_host(first) {
                return None;
            }
            bytes.push(first);
        }
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// Whether a byte may stand unescaped in a host.
fn fits_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_has_the_host_and_path_of_a_url() {
        #[rustfmt::skip]
        let rows: &[(&str, Option<&str>, &str)] = &[
            ("quay.io", Some("quay.io"), "a host"),
            ("Quay.io:0443", Some("Quay.io:0443"), "stays in its letters and digits"),
            ("https://quay.io/", Some("quay.io"), "without scheme and last slash"),
            ("http://quay.io/org/", Some("quay.io/org/"), "unless the path is more"),
            ("HTTP://quay.io", Some("HTTP://quay.io"), "a scheme is lower-case, or a host with an empty port"),
            ("https://index.docker.io/v1/", Some("index.docker.io"), "the version is dropped"),
            ("quay.io/v2/org", Some("quay.io/org"), "in front of a path too"),
            ("quay.io/v1/v2/org", Some("quay.io/v2/org"), "once"),
            ("quay.io/v1", Some("quay.io/v1"), "and only with its slash"),
            ("https://me:secret@quay.io/a@b", Some("quay.io/a@b"), "a user is dropped"),
            ("quay.io/org?a=b#c", Some("quay.io/org"), "as are query and fragment"),
            ("*.pkg.dev", Some("*.pkg.dev"), "a glob is a host"),
            ("a.%c3%a9/%2F", Some("a.é//"), "escapes are resolved"),
            ("[::1]:5000/a", Some("[::1]:5000/a"), "an address has brackets"),
            ("[fe80::1%25en0]", Some("[fe80::1%en0]"), "and perhaps a zone"),
            ("", Some(""), "nothing is a URL"),
            ("quay.io:", Some("quay.io:"), "so is an empty port"),
            ("quay.io:x", None, "a port has digits"),
            ("::1", None, "an address without brackets is none"),
            ("[::1", None, "one bracket is none"),
            ("[a-z].io", None, "brackets are for addresses"),
            ("qu[a]y.io", None, "wherever they are"),
            ("[1.2.3.4]", None, "of IPv6"),
            ("[fe80::1%25]", None, "with a zone that is something"),
            ("quay%2eio", None, "an ASCII letter of a host is not escaped"),
            ("quay.io/%zz", None, "an escape has two digits"),
            ("quay.io/%+1", None, "of base 16"),
            ("quay.io/%1", None, "both"),
            ("quay.io#%", None, "also where nobody looks"),
            ("a b", None, "a host has no space"),
            ("a b@quay.io", None, "nor has a user"),
            ("quay.io/\n", None, "and nothing has a control character"),
        ];
        for (key, want, why) in rows {
            let got = keyring_key(key).map(|key| String::from_utf8(key).unwrap());
            assert_eq!(got.as_deref(), *want, "{key:?}: {why}");
        }
    }
}
