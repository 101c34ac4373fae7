//! `--wait`: an installation that becomes well while it is looked at, one that never does, an API server that comes late.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{doctor, says, secret};
use crate::cluster::install::Installation;
use crate::cluster::put;
use crate::command::{Ran, command, run};
use crate::plane::{PATIENCE, Plane};
use crate::pull_secrets::pull_secret;

/// A doctor at work.
struct Waiting {
    child: Child,
    words: Receiver<String>,
    told: Vec<String>,
}

impl Waiting {
    fn start(plane: &Plane, own: &str, flags: &[&str]) -> Self {
        let kubeconfig = plane.admin().kubeconfig.to_str().unwrap();
        let always = ["doctor", "--namespace", own, "--kubeconfig", kubeconfig];
        let mut child = command(&[&always[..], flags].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, words) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let told = Vec::new();
        Self { child, words, told }
    }

    /// Waits until it says this.
    fn until(&mut self, part: &str) {
        loop {
            let line = self.words.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no `{part}` in {:?}", self.told));
            self.told.push(line);
            if self.told.last().is_some_and(|line| line.contains(part)) {
                return;
            }
        }
    }

    fn end(mut self) -> Ran {
        let output = self.child.wait_with_output().unwrap();
        self.told.extend(self.words.iter());
        Ran {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: self.told.join("\n"),
        }
    }
}

#[test]
fn what_becomes_well_while_it_waits_is_well_and_what_does_not_is_told_in_time() {
    let plane = Plane::own();
    let installation = Installation::alone(&plane);
    let own = &*installation.own;
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/policy.yaml"));
    put(&plane, own, "company", text);
    let secrets = format!("/api/v1/namespaces/{own}/secrets");
    for name in ["dockerhub", "acme-hub"] {
        let source = pull_secret(name, &[("docker.io", "robot:one")]);
        plane.admin().post(&secrets, &source).done();
    }

    // Nothing changes: it ends by itself, after the time and not much later.
    let start = Instant::now();
    let never = doctor(&plane, own, &["--wait", "5s"]);
    let took = start.elapsed();
    says(
        &never,
        1,
        &[("error", "no Pod gets a secret")],
        "never well",
    );
    assert!((5..25).contains(&took.as_secs()), "{took:?}");
    let progress = |ran: &Ran| {
        let lines = ran.stderr.lines();
        lines
            .filter(|line| line.starts_with("not well yet, "))
            .count()
    };
    assert_eq!(
        progress(&never),
        1,
        "told once while nothing changes: {never:#?}"
    );
    let at_once = doctor(&plane, own, &["--wait", "0s"]);
    says(
        &at_once,
        1,
        &[("error", "no Pod gets a secret")],
        "a look at least",
    );
    assert_eq!(progress(&at_once), 0, "{at_once:#?}");

    // Nobody answers, then somebody does, and bit by bit all comes.
    plane.order("stop-apiserver");
    let mut waiting = Waiting::start(&plane, own, &["--wait", "300s"]);
    waiting.until("the cluster cannot be asked");
    plane.order("start-apiserver");
    waiting.until("no Pod gets a secret");
    let webhook = installation.serve(&[]);
    waiting.until("pullpass-webhook-tls`: is not there");
    let file = |name: &str| std::fs::read(webhook.server.place.path(name)).unwrap();
    let certificate = secret(own, &file("tls.crt"), &file("tls.key"));
    plane.admin().post(&secrets, &certificate).done();
    let well = waiting.end();
    let lines = [("ok", "certificate"), ("ok", "trial-pod")];
    says(&well, 0, &lines, "it became well");
    assert!(progress(&well) >= 3, "{well:#?}");

    // What only warns is waited for if that is asked for.
    let more = json!({"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]});
    let role = plane.admin().get(super::CONTROLLER).done();
    let mut rules = role["rules"].clone();
    rules.as_array_mut().unwrap().push(more);
    let rules = json!({"rules": rules});
    plane.admin().merge(super::CONTROLLER, &rules).done();
    let mut waiting = Waiting::start(&plane, own, &["--wait", "300s", "--fail-on", "warning"]);
    waiting.until("more than the policies need");
    let rules = json!({"rules": role["rules"]});
    plane.admin().merge(super::CONTROLLER, &rules).done();
    let well = waiting.end();
    says(&well, 0, &[("ok", "rights")], "nothing warns any more");
}

#[test]
fn a_cluster_that_never_answers_is_given_up_after_the_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    let nobody = "{current-context: a, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], \
                  users: [], contexts: [{name: a, context: {cluster: c}}]}";
    std::fs::write(&path, nobody).unwrap();
    let start = Instant::now();
    let ran = run(&[
        "doctor",
        "--wait",
        "3s",
        "--kubeconfig",
        path.to_str().unwrap(),
    ]);
    assert!(start.elapsed() >= Duration::from_secs(3), "{ran:?}");
    assert_eq!((ran.status, &*ran.stdout), (2, ""), "{ran:?}");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(
        lines[0].starts_with("not well yet, ") && lines[0].contains("cannot be asked"),
        "{ran:?}"
    );
    assert!(
        lines[1].starts_with("error: the cluster cannot be asked"),
        "{ran:?}"
    );
    assert_eq!(lines.len(), 2, "{ran:?}");
}
