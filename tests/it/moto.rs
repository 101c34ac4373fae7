//! moto as AWS: real signatures, real IAM policies, ECR tokens that differ and expire, faults when a test wants them.
//!
//! One for each test that asks; it ends when it is dropped, and when this process ends. `tests/moto/server.py` says what it
//! answers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Value, json};

/// The account of the user that the environment of [`Moto::env`] names.
pub(crate) const HOME: &str = "123456789012";
/// A role there, and one in another account. Both may be assumed.
pub(crate) const HOME_ROLE: &str = "arn:aws:iam::123456789012:role/puller";
pub(crate) const OTHER_ROLE: &str = "arn:aws:iam::210987654321:role/puller";

/// A running moto.
pub(crate) struct Moto {
    pub(crate) address: SocketAddr,
    /// Of the user.
    key: String,
    pub(crate) secret: String,
    /// What its Pod Identity agent wants to be shown.
    pub(crate) pod_token: String,
    process: Child,
    /// It ends with its standard input.
    input: Option<ChildStdin>,
}

impl Moto {
    /// Starts one and waits until it listens.
    pub(crate) fn start() -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/moto");
        let found = Command::new(directory.join("build.sh"))
            .arg("--where")
            .output()
            .unwrap();
        assert!(
            found.status.success(),
            "{}",
            String::from_utf8_lossy(&found.stderr)
        );
        let python = String::from_utf8(found.stdout).unwrap();
        let mut process = Command::new(python.trim_end())
            .arg(directory.join("server.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let Ok(told) = serde_json::from_str::<Value>(&line) else {
            let mut why = String::new();
            process.stderr.unwrap().read_to_string(&mut why).unwrap();
            panic!("moto does not start: {why}");
        };
        let text = |key: &str| told[key].as_str().unwrap().to_owned();
        let port = u16::try_from(told["port"].as_u64().unwrap()).unwrap();
        Self {
            address: ([127, 0, 0, 1], port).into(),
            key: text("key"),
            secret: text("secret"),
            pod_token: text("podToken"),
            input: process.stdin.take(),
            process,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The environment in which a process takes it for AWS, and is its user.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let mut env = self.endpoints();
        env.push(("AWS_ACCESS_KEY_ID".into(), self.key.clone()));
        env.push(("AWS_SECRET_ACCESS_KEY".into(), self.secret.clone()));
        env
    }

    /// The same without an identity.
    pub(crate) fn endpoints(&self) -> Vec<(String, String)> {
        let services = ["AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL_STS"];
        let mut env: Vec<_> = services.map(|name| (name.into(), self.url())).into();
        env.push(("AWS_EC2_METADATA_DISABLED".into(), "true".into()));
        env
    }

    /// What it was asked until now, oldest first, of this service: `ecr`, `sts` or `metadata`.
    pub(crate) fn calls(&self, service: &str) -> Vec<Value> {
        let calls = self.request("GET", "calls", "");
        let Ok(Value::Array(calls)) = serde_json::from_str(&calls) else {
            panic!("{calls}");
        };
        calls
            .into_iter()
            .filter(|call| call["service"] == service)
            .collect()
    }

    /// The passwords that it gave until now, oldest first.
    pub(crate) fn passwords(&self) -> Vec<String> {
        self.calls("ecr")
            .iter()
            .filter_map(|call| Some(call["password"].as_str()?.to_owned()))
            .collect()
    }

    /// Changes how it answers from now on.
    pub(crate) fn set(&self, wanted: &Value) {
        self.request("POST", "set", &wanted.to_string());
    }

    /// From now on this fault alone, whenever the service is asked.
    pub(crate) fn fail(&self, service: &str, kind: &str) {
        self.set(&json!({"faults": [{"service": service, "kind": kind}]}));
    }

    /// From now on no fault.
    pub(crate) fn heal(&self) {
        self.set(&json!({"faults": []}));
    }

    fn request(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} /pullpass/{path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        assert!(status.starts_with('2'), "{answer}");
        body.to_owned()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.wait();
    }
}
