//! What we read of pull secrets, held against the kubelet's own packages: the same verdict, the same
//! logins under the same keys.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pullpass::docker_config::{
    Entry, EntryFault, Format, MAX_LENGTH, ReadError, keyring_key, read,
};
use serde::{Deserialize, Serialize};

use super::secret_generator::{Generated, PRODUCTIONS, SecretGenerator};
use super::{KUBELET, ask};

mod copies;

/// Where we differ from the kubelet, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// A kubelet takes an `auth` that decodes to bytes which are no UTF-8, and cannot pull with it:
    /// its runtime takes text alone. We refuse the Secret, as we could not write it either.
    AuthThatIsNoText,
    /// No API server stores a Secret of over 1 MiB; a kubelet does not ask.
    TooLong,
}

#[derive(Clone, Serialize)]
struct Secret {
    r#type: String,
    /// In base64, as Go reads bytes from JSON.
    data: BTreeMap<String, String>,
}

impl Secret {
    fn of(format: Format, bytes: &[u8]) -> Self {
        let data = (format.key().to_owned(), STANDARD.encode(bytes));
        Self {
            r#type: format.secret_type().to_owned(),
            data: BTreeMap::from([data]),
        }
    }
}

/// The answer of `kubelet secret` and `kubelet lookup`.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Answer {
    Found { entries: Vec<Found> },
    Refused { error: String },
}

#[derive(Debug, Deserialize)]
struct Found {
    key: String,
    username: String,
    password: String,
}

/// Key, user and password.
type Known = (Vec<u8>, Vec<u8>, Vec<u8>);

impl Found {
    fn known(&self) -> Known {
        let bytes = |text: &str| STANDARD.decode(text).unwrap();
        (
            bytes(&self.key),
            bytes(&self.username),
            bytes(&self.password),
        )
    }
}

/// What the kubelet's keyring has to have when it reads the same.
fn known(entries: &[Entry]) -> Vec<Known> {
    let mut known: Vec<Known> = entries
        .iter()
        .filter_map(|Entry { key, login }| {
            let password = login.password.expose();
            Some((
                keyring_key(key)?,
                login.username.clone().into(),
                password.into(),
            ))
        })
        .collect();
    known.sort();
    known
}

/// Ours and the kubelet's reading of one Secret: `Ok` with a difference made on purpose, if any.
fn same(
    ours: &Result<Vec<Entry>, ReadError>,
    answer: &Answer,
) -> Result<Option<Difference>, String> {
    match (ours, answer) {
        (Err(ReadError::TooLong { .. }), _) => Ok(Some(Difference::TooLong)),
        (Err(_), Answer::Refused { .. }) => Ok(None),
        (
            Err(ReadError::Entry {
                fault: EntryFault::NotUtf8,
                ..
            }),
            Answer::Found { entries },
        ) => {
            let text = |bytes: &[u8]| str::from_utf8(bytes).is_ok();
            let mut known = entries.iter().map(Found::known);
            if known.any(|(_, user, password)| !text(&user) || !text(&password)) {
                Ok(Some(Difference::AuthThatIsNoText))
            } else {
                Err("refused for bytes that the kubelet does not have".into())
            }
        }
        (Err(error), Answer::Found { .. }) => Err(format!("refused ({error}), but read by Go")),
        (Ok(_), Answer::Refused { error }) => Err(format!("read, but refused by Go ({error})")),
        (Ok(entries), Answer::Found { entries: theirs }) => {
            let mut theirs: Vec<Known> = theirs.iter().map(Found::known).collect();
            theirs.sort();
            let ours = known(entries);
            if ours == theirs {
                Ok(None)
            } else {
                Err(format!(
                    "other logins\n  rust: {ours:?}\n  go:   {theirs:?}"
                ))
            }
        }
    }
}

/// Reads a Secret as a kubelet would: by its type, then by the key of that type.
fn read_secret(secret_type: &str, data: &BTreeMap<&str, Vec<u8>>) -> Result<Vec<Entry>, ReadError> {
    let Some(format) = Format::of_type(secret_type) else {
        return Ok(Vec::new());
    };
    read(format, data.get(format.key()).map_or(&[], Vec::as_slice))
}

/// Compares both readings of all Secrets; the differences made on purpose, by Secret.
fn compare(secrets: &[(Format, Vec<u8>)]) -> Vec<(bool, Option<Difference>)> {
    let questions: Vec<Secret> = secrets
        .iter()
        .map(|(format, bytes)| Secret::of(*format, bytes))
        .collect();
    let answers: Vec<Answer> = ask(&KUBELET, "secret", &questions);
    let mut wrong = Vec::new();
    let verdicts = secrets
        .iter()
        .zip(&answers)
        .map(|((format, bytes), answer)| {
            let verdict = same(&read(*format, bytes), answer).unwrap_or_else(|why| {
                wrong.push(format!("{format:?} {}: {why}", bytes.escape_ascii()));
                None
            });
            (matches!(answer, Answer::Found { .. }), verdict)
        })
        .collect();
    assert_none(&wrong, secrets.len());
    verdicts
}

fn assert_none(wrong: &[String], of: usize) {
    let first = wrong
        .iter()
        .take(10)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        wrong.is_empty(),
        "{} of {of} differ, first:\n{first}",
        wrong.len()
    );
}

#[test]
fn generated_secrets_get_the_kubelets_verdict_and_logins() {
    const WANTED: usize = 40_000;
    let mut generator = SecretGenerator::new(0x0064_6f63_6b65_7263);
    let secrets: Vec<Generated> = (0..WANTED).map(|_| generator.secret()).collect();
    let questions: Vec<Secret> = secrets
        .iter()
        .map(
            |Generated {
                 secret_type, data, ..
             }| Secret {
                r#type: (*secret_type).to_owned(),
                data: data
                    .iter()
                    .map(|(key, bytes)| ((*key).to_owned(), STANDARD.encode(bytes)))
                    .collect(),
            },
        )
        .collect();
    let answers: Vec<Answer> = ask(&KUBELET, "secret", &questions);

    let mut productions: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut differences: BTreeMap<Difference, usize> = BTreeMap::new();
    let (mut logins, mut refused, mut wrong) = (0, 0, Vec::new());
    for (secret, answer) in secrets.iter().zip(&answers) {
        let Generated {
            secret_type, data, ..
        } = secret;
        match same(&read_secret(secret_type, data), answer) {
            Ok(None) => {}
            Ok(Some(difference)) => *differences.entry(difference).or_default() += 1,
            Err(why) => {
                let data = data
                    .iter()
                    .map(|(k, v)| format!("{k}: {}", v.escape_ascii()));
                let data = data.collect::<Vec<_>>().join(", ");
                wrong.push(format!("{secret_type} {data}: {why}"));
            }
        }
        let is_refused = match answer {
            Answer::Found { entries } => {
                logins += entries.len();
                false
            }
            Answer::Refused { .. } => true,
        };
        refused += usize::from(is_refused);
        for production in &secret.productions {
            let counts = productions.entry(production).or_default();
            counts.0 += 1;
            counts.1 += usize::from(is_refused);
        }
    }
    println!(
        "{WANTED} Secrets, {refused} refused by Go, {logins} logins; on purpose: {differences:?}"
    );
    println!(
        "{:<32}{:>8}{:>10}{:>10}",
        "production", "all", "read", "refused"
    );
    for (production, (all, refused)) in &productions {
        println!("{production:<32}{all:>8}{:>10}{refused:>10}", all - refused);
    }
    assert_none(&wrong, WANTED);
    assert!(refused * 10 >= WANTED * 2, "{refused} refusals are too few");
    assert!(
        refused * 10 <= WANTED * 6,
        "{refused} refusals leave too few that are read"
    );
    for production in PRODUCTIONS {
        assert!(
            productions.contains_key(production),
            "no Secret has {production}"
        );
    }
    assert!(
        differences.keys().eq([&Difference::AuthThatIsNoText]),
        "some difference never or newly occurs: {differences:?}"
    );
}

/// All rows of up to `most` tokens.
fn rows(tokens: &[&str], most: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut last = 0..1;
    for _ in 0..most {
        let end = rows.len();
        for row in last {
            for token in tokens {
                rows.push(format!("{}{token}", rows[row]));
            }
        }
        last = end..rows.len();
    }
    rows
}

#[test]
fn every_short_row_of_json_gets_the_kubelets_verdict() {
    let tokens = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        " ",
        "\"auths\"",
        "\"\"",
        "null",
        "1",
        "-",
        "0",
        ".",
        "e",
        "\"",
        "\\",
    ];
    let mut secrets: Vec<(Format, Vec<u8>)> = rows(&tokens, 4)
        .into_iter()
        .map(|row| (Format::DockerConfigJson, row.into_bytes()))
        .collect();
    // Inside an entry, where an error can only be a syntax error.
    secrets.extend(rows(&tokens, 3).into_iter().flat_map(|row| {
        let entry = format!("{{\"quay.io\": {{\"x\": {row}}}}}");
        let entries = format!("{{\"quay.io\": {row}}}");
        [entry, entries].map(|text| (Format::DockerCfg, text.into_bytes()))
    }));
    let read = compare(&secrets).iter().filter(|(read, _)| *read).count();
    println!("{} rows, {read} read by Go", secrets.len());
    assert!(read > 100, "{read} rows that are read are too few");
}

#[test]
fn every_short_row_of_base64_gets_the_kubelets_verdict_and_login() {
    let tokens = [
        "Y", "Q", "Og", "YTpi", "=", "\\n", "\\r", " ", "-", "/", "\\u00a0",
    ];
    let secrets: Vec<(Format, Vec<u8>)> = rows(&tokens, 4)
        .into_iter()
        .map(|row| format!("{{\"quay.io\": {{\"auth\": \"{row}\", \"username\": \"u\"}}}}"))
        .map(|text| (Format::DockerCfg, text.into_bytes()))
        .collect();
    let read = compare(&secrets).iter().filter(|(read, _)| *read).count();
    println!("{} rows, {read} read by Go", secrets.len());
    assert!(read > 100, "{read} rows that are read are too few");
}

#[test]
fn every_short_row_of_a_url_has_the_kubelets_key() {
    let tokens = [
        "https://", "http://", "/v1/", "/", ":", "@", "%", "25", "c3", "[", "]", "::1", "?", "#",
        "*", "a", "A", ".", "1", " ", "\u{7f}", "é", "\\", "<",
    ];
    let keys = rows(&tokens, 4);
    // One Secret has many keys, whose users say which they are.
    let secrets: Vec<(Format, Vec<u8>)> = keys
        .chunks(2_000)
        .enumerate()
        .map(|(chunk, keys)| {
            let entries: BTreeMap<&str, BTreeMap<&str, String>> = keys
                .iter()
                .enumerate()
                .map(|(index, key)| {
                    let user = BTreeMap::from([("username", format!("{chunk}/{index}"))]);
                    (key.as_str(), user)
                })
                .collect();
            (Format::DockerCfg, serde_json::to_vec(&entries).unwrap())
        })
        .collect();
    compare(&secrets);
    let passed_over = keys.iter().filter(|key| keyring_key(key).is_none()).count();
    println!("{} keys, {passed_over} passed over by Go", keys.len());
}

#[test]
fn nesting_and_length_end_where_they_should() {
    let nested = |depth: usize| {
        let text = format!("{{\"x\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
        (Format::DockerConfigJson, text.into_bytes())
    };
    let long = |length: usize| {
        let text = format!("{{\"quay.io\": {{}}}}{}", " ".repeat(length - 15));
        assert_eq!(text.len(), length);
        (Format::DockerCfg, text.into_bytes())
    };
    let secrets = [
        nested(9_999),
        nested(10_000),
        long(MAX_LENGTH),
        long(MAX_LENGTH + 1),
    ];
    assert_eq!(
        compare(&secrets),
        [
            (true, None),
            (false, None),
            (true, None),
            (true, Some(Difference::TooLong)),
        ]
    );
}
