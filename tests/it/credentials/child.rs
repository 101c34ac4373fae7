//! A process that fetches: this test binary once more, told to run nothing but the test below.
//!
//! It reads a credential a line and answers with a line. It logs all that a server could be told to log, and whoever
//! asked it looks for secrets there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pullpass::credentials::{Fetcher, Outgoing};
use pullpass::diagnostic::Source;
use pullpass::policy::document::Credential;
use pullpass::policy::{ParseOptions, parse};
use pullpass::telemetry::{self, LogFormat};
use serde_json::{Value, json};

const IS_CHILD: &str = "PULLPASS_TEST_CHILD";
const CA_BUNDLE: &str = "PULLPASS_TEST_CA_BUNDLE";
const TIMEOUT: &str = "PULLPASS_TEST_TIMEOUT_MS";
/// Before each answer: a test's harness prints lines of its own.
const MARK: &str = "answer: ";

#[test]
fn what_cannot_be_fetched_yet_is_said_plainly() {
    if std::env::var_os(IS_CHILD).is_some() {
        return serve();
    }
    let mut child = Fetching::start(&[]);
    for (from, reason, why) in [
        ("gcp", "not-yet", "`gcp` yet"),
        ("acr", "not-yet", "`acr` yet"),
        ("existing", "not-fetched", "from `existing`"),
    ] {
        let error = child.ask(&json!({ from: {} }), &[]).unwrap_err();
        assert_eq!(error.reason, reason, "{error:?}");
        assert!(error.text.contains(why), "{error:?}");
    }
    child.end(&[]);
}

/// The child's side.
fn serve() {
    telemetry::init(LogFormat::Text, "trace", false).unwrap();
    let mut outgoing = Outgoing::from_env(std::env::var_os(CA_BUNDLE).map(Into::into)).unwrap();
    if let Ok(milliseconds) = std::env::var(TIMEOUT) {
        outgoing.timeout = Duration::from_millis(milliseconds.parse().unwrap());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fetcher = Fetcher::new(&outgoing).unwrap();
    tracing::info!(?outgoing, ?fetcher, "fetches");
    for line in std::io::stdin().lines() {
        let credential = credential(&line.unwrap());
        let answer = match runtime.block_on(fetcher.fetch(&credential)) {
            Ok(fetched) => {
                tracing::info!(?fetched, "fetched");
                let logins = fetched.config.keys().map(|key| {
                    let login = fetched.config.get(key).unwrap();
                    let login = [login.username.as_str(), login.password.expose()];
                    (key.to_string(), login.map(str::to_owned))
                });
                let logins: BTreeMap<_, _> = logins.collect();
                json!({
                    "issued": seconds(fetched.issued),
                    "expires": fetched.expires.map(seconds),
                    "logins": logins,
                })
            }
            Err(error) => {
                tracing::warn!(?error, "not fetched: {error}");
                json!({"error": error.to_string(), "reason": error.reason()})
            }
        };
        println!("{MARK}{answer}");
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The one credential of a policy.
fn credential(line: &str) -> Credential {
    let policy = json!({
        "apiVersion": "pullpass.dev/v1",
        "kind": "RegistryPolicy",
        "metadata": {"name": "p"},
        "spec": {
            "rules": [{"name": "r", "match": {"images": ["*"]}, "inject": {"imagePullSecrets": ["c"]}}],
            "credentials": [serde_json::from_str::<Value>(line).unwrap()],
        },
    });
    let source = Source::new("policy.yaml", policy.to_string());
    let parsed = parse(&source, &ParseOptions::default());
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    parsed.policies[0].credentials[0].clone()
}

/// A fetch that went well.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) issued: f64,
    pub(super) expires: Option<f64>,
    /// By key: user and password.
    pub(super) logins: BTreeMap<String, [String; 2]>,
}

/// A fetch that did not.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) text: String,
    pub(super) reason: String,
    pub(super) took: Duration,
}

/// A running child.
pub(super) struct Fetching {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    log: Option<JoinHandle<String>>,
    texts: String,
}

impl Fetching {
    /// A child with this environment and no other. A try of a call takes a second at most.
    pub(super) fn start(env: &[(String, String)]) -> Self {
        Self::start_with(env, &[(TIMEOUT, "1000")])
    }

    /// One that trusts the authorities of a file, too.
    pub(super) fn trusting(env: &[(String, String)], ca_bundle: &str) -> Self {
        Self::start_with(env, &[(TIMEOUT, "5000"), (CA_BUNDLE, ca_bundle)])
    }

    /// One with the timeouts that a server has.
    pub(super) fn patient(env: &[(String, String)]) -> Self {
        Self::start_with(env, &[])
    }

    fn start_with(env: &[(String, String)], more: &[(&str, &str)]) -> Self {
        let here = concat!(
            module_path!(),
            "::what_cannot_be_fetched_yet_is_said_plainly"
        );
        let (_, test) = here.split_once("::").unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env_clear()
            .envs(env.iter().map(|(name, value)| (name, value)))
            .envs(more.iter().copied())
            .env(IS_CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = process.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        Self {
            input: process.stdin.take(),
            output: BufReader::new(process.stdout.take().unwrap()),
            process,
            log: Some(log),
            texts: String::new(),
        }
    }

    /// A credential from ECR for these accounts and regions.
    pub(super) fn fetch(&mut self, accounts: &[&str], regions: &[&str]) -> Result<Got, Refusal> {
        self.ask(
            &json!({"ecr": {"accountIds": accounts, "regions": regions}}),
            &[],
        )
    }

    /// The same by a role.
    pub(super) fn fetch_as(&mut self, role: &str, regions: &[&str]) -> Result<Got, Refusal> {
        let accounts = ["123456789012"];
        self.ask(
            &json!({"ecr": {"accountIds": accounts, "regions": regions, "roleArn": role}}),
            &[],
        )
    }

    /// A credential from this source, of which these registries are wanted.
    pub(super) fn ask(&mut self, from: &Value, registries: &[&str]) -> Result<Got, Refusal> {
        let mut credential = json!({"name": "c", "from": from});
        if !registries.is_empty() {
            credential["registries"] = json!(registries);
        }
        let start = Instant::now();
        writeln!(self.input.as_mut().unwrap(), "{credential}").unwrap();
        let answer = loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            if read == 0 {
                let log = self.log.take().unwrap().join().unwrap();
                panic!("the child ended: {log}");
            }
            // The harness ends no line before the test's first.
            if let Some((_, answer)) = line.split_once(MARK) {
                break serde_json::from_str::<Value>(answer).unwrap();
            }
        };
        let Some(text) = answer["error"].as_str() else {
            return Ok(Got {
                issued: answer["issued"].as_f64().unwrap(),
                expires: answer["expires"].as_f64(),
                logins: serde_json::from_value(answer["logins"].clone()).unwrap(),
            });
        };
        self.texts.push_str(text);
        Err(Refusal {
            text: text.to_owned(),
            reason: answer["reason"].as_str().unwrap().to_owned(),
            took: start.elapsed(),
        })
    }

    /// Ends it and looks at all that it said: nothing of these secrets is in it.
    pub(super) fn end(mut self, secrets: &[String]) {
        self.input = None;
        let status = self.process.wait().unwrap();
        let log = self.log.take().unwrap().join().unwrap();
        assert!(status.success(), "{log}");
        assert!(log.contains("fetches"), "it logs: {log}");
        for secret in secrets {
            assert!(secret.len() > 8, "{secret:?} is no secret");
            for (what, said) in [("log", &log), ("errors", &self.texts)] {
                assert!(!said.contains(secret), "a secret is in the {what}:\n{said}");
            }
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.wait();
    }
}
