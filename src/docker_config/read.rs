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
use super::{Entry, Format, Login, MAX_LENGTH, keyring_key, shown};

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
    entries.finish()
}

/// The entries so far, and where each key is among them.
#[derive(Default)]
struct Entries {
    list: Vec<(String, Auth)>,
    places: BTreeMap<String, usize>,
}

/// What is known of an entry's login.
enum Auth {
    Login(Login),
    /// It is no text: a fault, unless nobody ever has it.
    NoText,
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
                    let auth = login(value).map_err(|fault| fault.of(&key))?;
                    let place = self.places.get(&key);
                    if let Some((_, old)) = place.and_then(|place| self.list.get_mut(*place)) {
                        *old = auth;
                    } else {
                        self.places.insert(key.clone(), self.list.len());
                        self.list.push((key, auth));
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

    fn finish(self) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::with_capacity(self.list.len());
        for (key, auth) in self.list {
            match auth {
                Auth::Login(login) => entries.push(Entry { key, login }),
                Auth::NoText if keyring_key(&key).is_none() => {}
                Auth::NoText => return Err(EntryFault::NotUtf8.of(&key)),
            }
        }
        Ok(entries)
    }
}

impl EntryFault {
    fn of(self, key: &str) -> ReadError {
        let key = shown(key);
        ReadError::Entry { key, fault: self }
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
fn login(entry: Value<'_>) -> Result<Auth, EntryFault> {
    const FIELDS: [&str; 4] = ["username", "password", "email", "auth"];
    let object = match entry {
        Value::Null => return Ok(Auth::Login(Login::default())),
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
        return Ok(Auth::Login(Login { username, password }));
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
fn decode(auth: &str) -> Result<Auth, EntryFault> {
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
    let text = String::from_utf8(bytes).ok();
    let login = text.as_deref().and_then(|text| text.split_once(':'));
    Ok(login.map_or(Auth::NoText, |(username, password)| {
        Auth::Login(Login {
            username: username.to_owned(),
            password: password.to_owned().into(),
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read, as `key user password`, or the message.
    fn reading(format: Format, text: &str) -> Result<Vec<String>, String> {
        let entries = read(format, text.as_bytes()).map_err(|error| error.to_string())?;
        let line = |Entry { key, login }: Entry| {
            format!("{key} {} {}", login.username, login.password.expose())
        };
        Ok(entries.into_iter().map(line).collect())
    }

    #[test]
    fn a_document_is_read_as_a_kubelet_reads_it_or_refused_with_a_reason() {
        #[rustfmt::skip]
        #[expect(clippy::type_complexity, reason = "a table of a test")]
        let rows: &[(&str, Result<&[&str], &str>, &str)] = &[
            (r#"{"auths":{"quay.io":{"username":"u","password":"p","email":"e"}}}"#, Ok(&["quay.io u p"]), "the plain fields"),
            (r#"{"auths":{"quay.io":{"auth":"dTpwOnE=","username":"x","password":"y"}}}"#, Ok(&["quay.io u p:q"]), "`auth` is before them, and is split once"),
            (r#"{"auths":{"quay.io":{"auth":"","username":"x","password":"y"}}}"#, Ok(&["quay.io x y"]), "unless it is empty"),
            (r#"{"auths":{"b":{},"a":null}}"#, Ok(&["b  ", "a  "]), "an entry may have nothing, and order stays"),
            (r#"{"Auths":{"a":{"USERNAME":"u"}}}"#, Ok(&["a u "]), "field names have no case"),
            (r#"{"auths":{"a":{"username":"u"},"b":{},"a":{"password":"p"}}}"#, Ok(&["a  p", "b  "]), "of equal keys the last one counts, whole"),
            (r#"{"auths":{"a":{"username":"u","username":null,"Username":"v"}}}"#, Ok(&["a v "]), "of equal fields too, null aside"),
            (r#"{"auths":{"a":{}},"auths":{"b":{}}}"#, Ok(&["a  ", "b  "]), "a second map adds"),
            (r#"{"auths":{"a":{}},"auths":null}"#, Ok(&[]), "null takes all away"),
            ("null", Ok(&[]), "a document may be null"),
            ("", Ok(&[]), "nothing is no pull secret, and no error"),
            (r#"{"credsStore":"desktop","x":[{}]}"#, Ok(&[]), "other fields say nothing"),
            (r#"{"auths":{"a":{"x":1},"auth":{"y":[]},"b":{}}}"#, Ok(&["a  ", "auth  ", "b  "]), "an entry ends where its brace is"),
            (r#"{"HttpHeaders":{"a":"b","c":null}}"#, Ok(&[]), "headers are strings"),
            (r#"{"HttpHeaders":{"a":["b"]}}"#, Err("a value in `HttpHeaders` is an array, not a string"), "or fail everything"),
            (r#"{"HttpHeaders":"a"}"#, Err("`HttpHeaders` is a string, not an object"), "so does this"),
            (r#"{"auths":[]}"#, Err("`auths` is an array, not an object"), "what an API server takes, a kubelet does not"),
            (r#"{"auths":1,"auths":{}}"#, Err("`auths` is a number, not an object"), "also where a later one would do"),
            ("[]", Err("the document is an array, not an object"), "nor this"),
            ("{", Err("it is no JSON from byte 1 on"), "nor that"),
            (r#"{"auths":{"a":"dTpw"}}"#, Err("the entry `a`: it is a string, not an object"), "an entry is an object"),
            (r#"{"auths":{"a":{"password":7}}}"#, Err("the entry `a`: `password` is a number, not a string"), "a password is a string"),
            (r#"{"auths":{"a":{"email":{}}}}"#, Err("the entry `a`: `email` is an object, not a string"), "and what nobody reads is one too"),
            (r#"{"auths":{"a":{"auth":"u:p"}}}"#, Err("the entry `a`: `auth` is no base64"), "the plain text where base64 belongs"),
            (r#"{"auths":{"a":{"auth":"dTpw="}}}"#, Err("the entry `a`: `auth` is no base64"), "padding that has nothing to fill"),
            (r#"{"auths":{"a":{"auth":"dTpwcQ=="}}}"#, Ok(&["a u pq"]), "padded"),
            (r#"{"auths":{"a":{"auth":"dTpwcQ"}}}"#, Ok(&["a u pq"]), "unpadded"),
            (r#"{"auths":{"a":{"auth":"dTpwcQ="}}}"#, Err("the entry `a`: `auth` is no base64"), "half padded"),
            (r#"{"auths":{"a":{"auth":"dTp\r\nwcR==\n"}}}"#, Ok(&["a u pq"]), "line breaks and unused bits say nothing"),
            (r#"{"auths":{"a":{"auth":"dTpwcQ== "}}}"#, Err("the entry `a`: `auth` is no base64"), "other space is none of it"),
            (r#"{"auths":{"a":{"auth":"dQ=="}}}"#, Err("the entry `a`: `auth` is not the base64 of `user:password`: it has no colon"), "a user alone"),
            (r#"{"auths":{"a":{"auth":"dTr/"}}}"#, Err("the entry `a`: `auth` is the base64 of something that is no UTF-8"), "no client can send it"),
            (r#"{"auths":{"a":{"auth":"dTr/"},"a":{}}}"#, Ok(&["a  "]), "nor has to, when it is replaced"),
            (r#"{"auths":{"a b":{"auth":"dTr/"}}}"#, Ok(&[]), "or passed over"),
            (r#"{"auths":{"https://u:hunter2@a\n":{"auth":"!"}}}"#, Err(r"the entry `…@a\n`: `auth` is no base64"), "a password in a key is not shown"),
        ];
        for (text, want, why) in rows {
            let got = reading(Format::DockerConfigJson, text);
            let got = got.as_ref().map(Vec::as_slice).map_err(String::as_str);
            let want = want.map(|lines| lines.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(
                got,
                want.as_deref().map_err(|error| *error),
                "{text}: {why}"
            );
        }
    }

    #[test]
    fn the_legacy_format_is_the_map_alone() {
        for (text, want, why) in [
            (
                r#"{"a":{"auth":"dTpw"}}"#,
                Ok(vec!["a u p".into()]),
                "the entries",
            ),
            ("null", Ok(vec![]), "or none"),
            (
                r#"{"auths":{"a":{"auth":"dTpw"}}}"#,
                Ok(vec!["auths  ".into()]),
                "the other format is one entry without a login",
            ),
            (
                r#"{"auths":{},"credsStore":"x"}"#,
                Err("the entry `credsStore`: it is a string, not an object".into()),
                "or none at all",
            ),
        ] {
            assert_eq!(reading(Format::DockerCfg, text), want, "{text}: {why}");
        }
    }

    #[test]
    fn more_than_a_secret_holds_is_not_read() {
        let text = " ".repeat(MAX_LENGTH - 2) + "{}";
        assert_eq!(read(Format::DockerCfg, text.as_bytes()), Ok(vec![]));
        let error = read(Format::DockerCfg, (text + " ").as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it has 1048577 bytes, and 1048576 are the most"
        );
    }
}
