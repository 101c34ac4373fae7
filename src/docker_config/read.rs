//! The bytes of a pull secret → its entries, or why a kubelet refuses all of them.
//!
//! One malformed entry fails the whole, as for the kubelet, which then pulls no image of the Pod. An
//! error names the entry and the reason, never a value.
//!
//! Sources: `config.go` and `secrets/secrets.go` in k8s.io/kubernetes/pkg/credentialprovider.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::json::{self, Value, is_field};
use super::{Entry, Format, Login, MAX_LENGTH, shown};

/// Why a kubelet reads nothing of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No Secret is as large.
    #[error("it has {length} bytes, and {MAX_LENGTH} are the most")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// No JSON, or nested too deep.
    #[error("it is no JSON from byte {at} on")]
    Syntax {
        /// Where it stops being JSON.
        at: usize,
    },
    /// A part that has to be an object is something else.
    #[error("{part} is {found}, not an object")]
    NotAnObject {
        /// The part.
        part: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A header that is no string.
    #[error("a value in `HttpHeaders` is {found}, not a string")]
    Header {
        /// What it is.
        found: &'static str,
    },
    /// One entry is malformed.
    #[error("the entry `{key}`: {fault}")]
    Entry {
        /// Its key, escaped and shortened.
        key: String,
        /// What is wrong with it.
        fault: EntryFault,
    },
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFault {
    /// It is something else than an object.
    #[error("it is {found}, not an object")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// A field that is no string.
    #[error("`{field}` is {found}, not a string")]
    NotAString {
        /// The field.
        field: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// `auth` does not decode.
    #[error("`auth` is no base64")]
    Base64,
    /// `auth` decodes to one word.
    #[error("`auth` is not the base64 of `user:password`: it has no colon")]
    NoColon,
    /// `auth` decodes to bytes that no registry client can send on. A kubelet takes them, and then
    /// cannot ask its runtime for an image with them.
    #[error("`auth` is the base64 of something that is no UTF-8")]
    NotUtf8,
}

/// Reads the value under [`Format::key`] as a kubelet does.
///
/// Entries are in the order of the text; of equal keys the last one counts. A Secret without the key
/// or with nothing under it is none to a kubelet, so that nothing has no entries.
///
/// ```
/// use pullpass::docker_config::{Format, read};
///
/// // The base64 of `me:secret`.
/// let text = br#"{"auths": {"https://quay.io": {"auth": "bWU6c2VjcmV0"}}}"#;
/// let entries = read(Format::DockerConfigJson, text)?;
/// assert_eq!(entries[0].key, "https://quay.io");
/// assert_eq!(entries[0].login.username, "me");
///
/// let error = read(Format::DockerConfigJson, br#"{"auths": {"quay.io": {"auth": "?"}}}"#).unwrap_err();
/// assert_eq!(error.to_string(), "the entry `quay.io`: `auth` is no base64");
/// # Ok::<(), pullpass::docker_config::ReadError>(())
/// ```
///
/// # Errors
/// Says which entry a kubelet fails on and why, never a value.
pub fn read(format: Format, bytes: &[u8]) -> Result<Vec<Entry>, ReadError> {
    if bytes.len() > MAX_LENGTH {
        let length = bytes.len();
        return Err(ReadError::TooLong { length });
    }
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    json::check(bytes).map_err(|at| ReadError::Syntax { at })?;
    let document = Value::of(bytes);
    let mut entries = Entries::default();
    match format {
        Format::DockerCfg => entries.add("the document", document)?,
        Format::DockerConfigJson => match document {
            Value::Null => {}
            Value::Object(object) => {
                for (key, value) in object.members() {
                    if is_field(&key, "auths") {
                        entries.add("`auths`", value)?;
                    } else if is_field(&key, "HttpHeaders") {
                        headers(value)?;
                    }
                }
            }
            other => {
                let (part, found) = ("the document", other.kind());
                return Err(ReadError::NotAnObject { part, found });
            }
        },
    }
    Ok(entries.list)
}

/// The entries so far, and where each key is among them.
#[derive(Default)]
struct Entries {
    list: Vec<Entry>,
    places: BTreeMap<String, usize>,
}

impl Entries {
    /// Takes in a map of entries. A second one adds to the first, `null` takes all away.
    fn add(&mut self, part: &'static str, map: Value<'_>) -> Result<(), ReadError> {
        match map {
            Value::Null => {
                *self = Self::default();
                Ok(())
            }
            Value::Object(object) => {
                for (key, value) in object.members() {
                    let login = login(value).map_err(|fault| ReadError::Entry {
                        key: shown(&key),
                        fault,
                    })?;
                    let place = self.places.get(&key);
                    if let Some(entry) = place.and_then(|place| self.list.get_mut(*place)) {
                        entry.login = login;
                    } else {
                        self.places.insert(key.clone(), self.list.len());
                        self.list.push(Entry { key, login });
                    }
                }
                Ok(())
            }
            other => {
                let found = other.kind();
                Err(ReadError::NotAnObject { part, found })
            }
        }
    }
}

/// A kubelet uses no header, and refuses one that is no string.
fn headers(value: Value<'_>) -> Result<(), ReadError> {
    match value {
        Value::Null => Ok(()),
        Value::Object(object) => {
            let wrong = object
                .members()
                .find(|(_, value)| !matches!(value, Value::Null | Value::Text(_)));
            wrong.map_or(Ok(()), |(_, value)| {
                let found = value.kind();
                Err(ReadError::Header { found })
            })
        }
        other => {
            let (part, found) = ("`HttpHeaders`", other.kind());
            Err(ReadError::NotAnObject { part, found })
        }
    }
}

/// One entry. `null` is an entry without user and password.
fn login(entry: Value<'_>) -> Result<Login, EntryFault> {
    const FIELDS: [&str; 4] = ["username", "password", "email", "auth"];
    let object = match entry {
        Value::Null => return Ok(Login::default()),
        Value::Object(object) => object,
        other => {
            let found = other.kind();
            return Err(EntryFault::NotAnObject { found });
        }
    };
    let [mut username, mut password, mut email, mut auth] = [const { String::new() }; 4];
    for (key, value) in object.members() {
        let fields = [&mut username, &mut password, &mut email, &mut auth];
        let known = FIELDS.into_iter().zip(fields);
        for (field, text) in known.filter(|(field, _)| is_field(&key, field)) {
            match value {
                // Leaves what an earlier field of the name said.
                Value::Null => {}
                Value::Text(value) => *text = value.unquoted(),
                other => {
                    let found = other.kind();
                    return Err(EntryFault::NotAString { field, found });
                }
            }
        }
    }
    if auth.is_empty() {
        let password = password.into();
        return Ok(Login { username, password });
    }
    decode(&auth)
}

/// Line breaks are passed over, the unused bits of the last digit may be anything.
const fn lenient(padding: DecodePaddingMode) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(padding);
    GeneralPurpose::new(&STANDARD, config)
}

const PADDED: GeneralPurpose = lenient(DecodePaddingMode::RequireCanonical);
const UNPADDED: GeneralPurpose = lenient(DecodePaddingMode::RequireNone);

/// `auth`: the base64 of `user:password`, padded if and only if it ends in `=`.
fn decode(auth: &str) -> Result<Login, EntryFault> {
    let engine = if auth.trim().ends_with('=') {
        PADDED
    } else {
        UNPADDED
    };
    let digits = auth.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n'));
    let bytes = engine
        .decode(digits.collect::<Vec<u8>>())
        .map_err(|_| EntryFault::Base64)?;
    if !bytes.contains(&b':') {
        return Err(EntryFault::NoColon);
    }
    let text = String::from_utf8(bytes).map_err(|_| EntryFault::NotUtf8)?;
    let (username, password) = text.split_once(':').ok_or(EntryFault::NoColon)?;
    Ok(Login {
        username: username.to_owned(),
        password: password.to_owned().into(),
    })
}
