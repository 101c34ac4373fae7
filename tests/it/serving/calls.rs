//! Calls of Go's own HTTP client across the end of a server whose place another takes: none is lost.
//!
//! `tests/caller` is many clients with the connections that kube-apiserver keeps. Each uses its idle ones within a few
//! milliseconds of the end of the drain, before it and after it: where a server could close a connection on which a request
//! is on its way.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::Setup;
use crate::go::built;

/// Ends of a server.
const ROUNDS: usize = 5;
/// In each there are so many clients with so many idle connections.
const CLIENTS: usize = 50;
const CONNECTIONS: usize = 4;
const DRAIN: Duration = Duration::from_millis(300);

/// What became of the calls.
#[derive(Debug, Deserialize)]
struct Report {
    /// Answered by the server that ended.
    first: usize,
    /// Answered by the other.
    second: usize,
    /// Not answered, by why.
    lost: BTreeMap<String, usize>,
    /// Connections whose clients were asked to go, and went.
    asked: usize,
}

#[tokio::test]
async fn no_call_is_lost_when_a_server_ends() {
    let (mut first, mut second, mut asked) = (0, 0, 0);
    let mut lost = Vec::new();
    for _ in 0..ROUNDS {
        let report = round().await;
        println!("{report:?}");
        first += report.first;
        second += report.second;
        asked += report.asked;
        lost.extend(report.lost);
    }
    assert_eq!(lost, [], "of {} calls", ROUNDS * CLIENTS * CONNECTIONS);
    let why = "calls were made on both sides of the end";
    assert!(first > 50 && second > 50, "{first}, {second}: {why}");
    assert!(asked > 50, "{asked}: idle connections were left at the end");
}

/// One end.
async fn round() -> Report {
    let mut ends = Setup {
        drain: DRAIN,
        ..Setup::default()
    }
    .start();
    let stays = Setup::default().start();
    let authorities = ends.directory.path().join("authorities.crt");
    fs::write(&authorities, [&*ends.pair.ca, &*stays.pair.ca].concat()).unwrap();
    let (first, second) = (ends.at.admission, stays.at.admission);
    let start = move || {
        let mut command = Command::new(built("caller"));
        command
            .args([format!("-first={first}"), format!("-second={second}")])
            .arg(format!("-ca={}", authorities.display()))
            .args([
                format!("-clients={CLIENTS}"),
                format!("-connections={CONNECTIONS}"),
            ]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    // The servers run in this thread: whatever else waits does so in another.
    let mut caller = spawn_blocking(start).await.unwrap();
    let mut words = BufReader::new(caller.stdout.take().unwrap());
    let (line, mut words) = spawn_blocking(move || {
        let mut line = String::new();
        words.read_line(&mut line).unwrap();
        (line, words)
    })
    .await
    .unwrap();
    assert_eq!(line, "idle\n", "it says why on standard error");
    let open = ends.metric("pullpass_connections");
    assert!(open >= 150.0, "{open} of 200 connections are there");

    ends.stop();
    let mut orders = caller.stdin.take().unwrap();
    writeln!(orders, "{}ms", DRAIN.as_millis()).unwrap();
    let report = spawn_blocking(move || {
        let mut text = String::new();
        words.read_to_string(&mut text).unwrap();
        assert!(caller.wait().unwrap().success());
        serde_json::from_str(&text).unwrap()
    });
    let report = report.await.unwrap();
    ends.ends().await;
    report
}
