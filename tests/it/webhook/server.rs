//! The running binary: its directory, its log, its addresses; killed when a test forgets it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use pullpass::server::certificate::{self, Pair};
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Client, Response, config, get};
use super::{SOON, until};

/// A directory with a certificate and whatever a test puts there.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) pair: Pair,
}

impl Place {
    /// With this policy.
    pub(crate) fn with(policy: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pair = certificate::self_signed(&[], SystemTime::now()).unwrap();
        certificate::write(&pair, directory.path()).unwrap();
        let place = Self { directory, pair };
        place.put("policy.yaml", policy);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces a file whole, as careful editors do.
    pub(crate) fn put(&self, name: &str, text: &str) {
        replace(&self.path(name), text);
    }

    /// The command: with free ports, the certificate and, unless it has a cluster, `--policy policy.yaml`; unless told
    /// otherwise.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pullpass"));
        command
            .args(["webhook", "--log-format", "json"])
            .args(args)
            .env_clear()
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let given = |flag: &str| args.contains(&flag);
        for port in ["--listen", "--admin-listen"] {
            if !given(port) {
                command.args([port, "127.0.0.1:0"]);
            }
        }
        if !given("--policy") && !given("--kubeconfig") {
            command.args(["--policy", "policy.yaml"]);
        }
        if !["--self-signed", "--tls-cert", "--tls-secret"]
            .into_iter()
            .any(given)
        {
            command.args(["--tls-cert", "tls.crt", "--tls-key", "tls.key"]);
        }
        command
    }

    /// Starts it and waits for both addresses.
    pub(crate) fn start(self, args: &[&str]) -> Server {
        let command = self.command(args);
        Server::start(self, command)
    }

    /// The same in a process that may have so many files and sockets open.
    pub(crate) fn start_with_descriptors(self, most: usize) -> Server {
        let plain = self.command(&[]);
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")])
            .arg(plain.get_program())
            .args(plain.get_args())
            .env_clear()
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Server::start(self, command)
    }
}

/// Writes a file beside and moves it in place.
pub(crate) fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

pub(crate) struct Server {
    pub(crate) place: Place,
    pub(crate) admission: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    fn start(place: Place, mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let reader = {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in stderr.lines() {
                    log.lock().unwrap().extend([&*line.unwrap(), "\n"]);
                }
            })
        };
        let listening = |port: &str| -> Option<SocketAddr> {
            let log = log.lock().unwrap();
            let lines = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut lines =
                lines.filter(|line| line["message"] == "listening" && line["port"] == port);
            lines.next()?["address"].as_str()?.parse().ok()
        };
        until("the server listens", || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", log.lock().unwrap());
            listening("admission").is_some() && listening("admin").is_some()
        });
        let (admission, admin) = (listening("admission").unwrap(), listening("admin").unwrap());
        Self {
            place,
            admission,
            admin,
            child,
            log,
            reader: Some(reader),
        }
    }

    /// All that it logged until now.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// A connection of a client that trusts its CA.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.admission, &config(&[&self.place.pair.ca], None)).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        get(self.admin, path).unwrap()
    }

    /// The value of a series; 0 when it is not there.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").body;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// The same for what is counted.
    pub(crate) fn count(&self, series: &str) -> u64 {
        let value = self.metric(series);
        format!("{value:.0}").parse().unwrap()
    }

    /// Waits until a count is exactly this.
    pub(crate) fn until_count(&self, series: &str, want: u64) {
        until(&format!("{series} is {want}"), || {
            self.count(series) == want
        });
    }

    pub(crate) fn until_ready(&self) {
        until("it is ready", || self.get("/readyz").status == 200);
    }

    /// The digest of the table in force.
    pub(crate) fn digest(&self) -> String {
        let text = self.get("/metrics").body;
        let digest = text
            .lines()
            .find_map(|line| line.strip_prefix("pullpass_policy_table_info{digest=\""));
        digest.unwrap().split('"').next().unwrap().to_owned()
    }

    /// Sends `TERM` or `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end; the exit status, and all that it logged.
    pub(crate) fn ended(mut self) -> (i32, String) {
        let end = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.reader.take().unwrap().join().unwrap();
                return (status.code().unwrap_or(-1), self.log());
            }
            assert!(Instant::now() < end, "it did not end: {}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
