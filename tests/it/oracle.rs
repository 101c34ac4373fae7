//! Holds the Rust code against the Go packages it follows, on generated input.
//!
//! `tests/oracle` and `tests/oracle/kubelet` are run once per test, with all questions in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use pullpass::image::{ImageError, ImageRef};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::go::built;
use generator::{Generated, Generator, PRODUCTIONS};

mod generator;
mod random;
mod secret_generator;
mod secrets;

/// Go's refusals, all of which must occur. `ErrNameEmpty` is missing: `ParseNormalizedNamed` puts a
/// registry before every text, so no name it parses is ever empty.
const REFUSALS: [&str; 8] = [
    "digest-format",
    "digest-length",
    "digest-unsupported",
    "format",
    "identifier",
    "name-contains-uppercase",
    "name-too-long",
    "repository-uppercase",
];

/// The answer of `oracle reference`.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Answer {
    Parsed {
        normalized: String,
        registry: String,
        repository: String,
        tag: String,
        digest: String,
    },
    Refused {
        error: String,
        kind: String,
    },
}

#[test]
fn generated_references_get_gos_verdict_and_normal_form() {
    const WANTED: usize = 30_000;
    let mut generator = Generator::new(0x0070_756c_6c70_6173);
    let mut seen = BTreeSet::new();
    let mut references: Vec<Generated> = Vec::with_capacity(WANTED);
    while references.len() < WANTED {
        let reference = generator.reference();
        if seen.insert(reference.text.clone()) {
            references.push(reference);
        }
    }
    let texts: Vec<&str> = references
        .iter()
        .map(|reference| reference.text.as_str())
        .collect();
    let answers = compare(&texts);

    let mut productions: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut refusals: BTreeMap<&str, usize> = BTreeMap::new();
    for (reference, answer) in references.iter().zip(&answers) {
        let refused = matches!(answer, Answer::Refused { .. });
        for production in &reference.productions {
            let counts = productions.entry(production).or_default();
            counts.0 += 1;
            counts.1 += usize::from(refused);
        }
        if let Answer::Refused { kind, .. } = answer {
            *refusals.entry(kind).or_default() += 1;
        }
    }
    let refused: usize = refusals.values().sum();
    println!(
        "{} distinct references, {refused} refused by Go",
        texts.len()
    );
    println!(
        "{:<36}{:>8}{:>10}{:>10}",
        "production", "all", "accepted", "refused"
    );
    for (production, (all, refused)) in &productions {
        println!("{production:<36}{all:>8}{:>10}{refused:>10}", all - refused);
    }
    println!("{:<36}{:>8}", "refusal", "all");
    for (kind, count) in &refusals {
        println!("{kind:<36}{count:>8}");
    }

    assert!(
        texts.len() >= 10_000,
        "{} references are too few",
        texts.len()
    );
    assert!(
        refused * 10 >= texts.len() * 3,
        "{refused} refusals are less than 30%"
    );
    assert!(
        refused * 10 <= texts.len() * 7,
        "{refused} refusals leave too few that parse"
    );
    for production in PRODUCTIONS {
        assert!(
            productions.contains_key(production),
            "no reference has {production}"
        );
    }
    assert!(
        refusals.keys().copied().eq(REFUSALS),
        "some refusal never or newly occurs"
    );
}

#[test]
fn every_short_row_of_tokens_gets_gos_verdict_and_normal_form() {
    let digest = format!("@sha256:{}", "0".repeat(64));
    let tokens = [
        "a",
        "A",
        "0",
        ".",
        "_",
        "-",
        "/",
        ":",
        "@",
        "[",
        "]",
        " ",
        "localhost",
        "docker.io",
        "index.docker.io",
        &digest,
    ];
    let mut rows = vec![String::new()];
    let mut last = 0..1;
    for _ in 0..4 {
        let end = rows.len();
        for row in last {
            rows.extend(tokens.map(|token| format!("{}{token}", rows[row])));
        }
        last = end..rows.len();
    }
    let texts: Vec<&str> = rows.iter().map(String::as_str).collect();
    let answers = compare(&texts);
    let refused = answers
        .iter()
        .filter(|answer| matches!(answer, Answer::Refused { .. }))
        .count();
    println!(
        "{} rows of up to 4 tokens, {refused} refused by Go",
        texts.len()
    );
    assert_eq!(
        texts.len(),
        1 + 16 + 16 * 16 + 16 * 16 * 16 + 16 * 16 * 16 * 16
    );
}

/// Asks Go about each text and fails unless the Rust parser says the same of all of them.
fn compare(texts: &[&str]) -> Vec<Answer> {
    let answers: Vec<Answer> = ask(&ORACLE, "reference", texts);
    let differences: Vec<String> = texts
        .iter()
        .zip(&answers)
        .filter_map(|(text, answer)| {
            let ours = ImageRef::parse(text);
            let why = difference(&ours, answer)?;
            Some(format!(
                "{text:?}: {why}\n  rust: {ours:?}\n  go:   {answer:?}"
            ))
        })
        .collect();
    let count = differences.len();
    let first = differences
        .into_iter()
        .take(20)
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(
        count,
        0,
        "of {} references these differ first:\n{first}",
        texts.len()
    );
    answers
}

/// What the two disagree about, if anything.
fn difference(ours: &Result<ImageRef<'_>, ImageError>, answer: &Answer) -> Option<String> {
    match (ours, answer) {
        (
            Ok(image),
            Answer::Parsed {
                normalized,
                registry,
                repository,
                tag,
                digest,
            },
        ) => {
            let printed = image.to_string();
            let segments: Vec<&str> = image.segments().collect();
            [
                ("normal form", printed.as_str(), normalized.as_str()),
                ("registry", image.registry(), registry),
                ("repository", &image.repository(), repository),
                ("segments", &segments.join("/"), repository),
                ("tag", image.tag().unwrap_or_default(), tag),
                ("digest", image.digest().unwrap_or_default(), digest),
            ]
            .iter()
            .find(|(_, ours, theirs)| ours != theirs)
            .map(|(part, ours, theirs)| format!("{part} `{ours}`, not `{theirs}`"))
            .or_else(|| {
                (ImageRef::parse(&printed) != Ok(*image)).then(|| "does not parse again".into())
            })
        }
        (
            Err(error),
            Answer::Refused {
                kind,
                error: theirs,
            },
        ) => {
            let kinds = kinds(error);
            let known = kinds.contains(&kind.as_str());
            (!known).then(|| format!("refused as {kinds:?}, not `{kind}` ({theirs})"))
        }
        (Ok(_), Answer::Refused { .. }) => Some("accepted, but Go refuses".into()),
        (Err(_), Answer::Parsed { .. }) => Some("refused, but Go accepts".into()),
    }
}

/// The refusals of Go that a variant stands for.
fn kinds(error: &ImageError) -> &'static [&'static str] {
    use ImageError as E;
    match error {
        // Go folds case by Unicode before it looks, so its reason depends on the letter.
        E::NotAscii(_) => &["format", "name-contains-uppercase", "repository-uppercase"],
        E::Empty | E::Registry(_) | E::Repository(_) | E::Tag(_) | E::Digest(_) => &["format"],
        E::Identifier => &["identifier"],
        E::Uppercase(_) => &["repository-uppercase", "name-contains-uppercase"],
        E::RepositoryTooLong { .. } => &["name-too-long"],
        E::DigestAlgorithm(_) => &["digest-unsupported"],
        E::DigestLength { .. } => &["digest-length"],
        E::DigestUppercase(_) => &["digest-format"],
        other => panic!("`{other:?}` has no counterpart here yet"),
    }
}

/// Runs one subcommand of an oracle on all questions, in one process.
fn ask<A: DeserializeOwned>(
    oracle: &Path,
    subcommand: &str,
    questions: &[impl Serialize + Sync],
) -> Vec<A> {
    let mut child = Command::new(oracle)
        .arg(subcommand)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle was built a moment ago");
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    // Written and read at once: either pipe would fill up while the other waits.
    let answers: Vec<A> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stdin = BufWriter::new(stdin);
            for question in questions {
                serde_json::to_writer(&mut stdin, question).unwrap();
                stdin.write_all(b"\n").unwrap();
            }
            stdin.flush().unwrap();
        });
        let lines = BufReader::new(stdout).lines();
        lines
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect()
    });
    assert!(
        child.wait().unwrap().success(),
        "the oracle says why on standard error"
    );
    assert_eq!(answers.len(), questions.len(), "one answer a question");
    answers
}

/// The built oracles.
static ORACLE: LazyLock<PathBuf> = LazyLock::new(|| built("oracle"));
static KUBELET: LazyLock<PathBuf> = LazyLock::new(|| built("oracle/kubelet"));
