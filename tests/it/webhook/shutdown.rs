//! How it ends: a drain on the first signal, at once on the second.

use std::time::{Duration, Instant};

use super::client::request;
use super::server::Place;
use super::{policy, review, secrets, until};

fn place() -> Place {
    Place::with(&policy(&[("docker.io", "one")]))
}

#[test]
fn a_signal_ends_readiness_at_once_and_no_request() {
    for signal in ["TERM", "INT"] {
        let server = place().start(&["--drain", "1s"]);
        server.until_ready();
        let pod = review("shop", &["nginx"]);
        let mut kept = server.client();
        assert!(
            !kept.post(&pod).unwrap().closes(),
            "usually a connection is kept"
        );
        let (head, body) = request(&pod);
        let (first, rest) = body.split_at(body.len() / 2);
        let mut half = server.client();
        half.send(&[&head, first].concat()).unwrap();
        server.until_count("pullpass_admission_in_flight", 1);

        let start = Instant::now();
        server.signal(signal);
        until("readiness fails", || server.get("/readyz").status == 503);
        assert!(
            start.elapsed() < Duration::from_millis(900),
            "before the drain is over"
        );
        assert!(server.get("/readyz").body.contains("[-] shutdown: "));
        assert_eq!(server.get("/livez").status, 200, "it lives");
        let during = kept.post(&pod).unwrap();
        assert!(during.closes(), "{during:?}");
        assert_eq!(secrets(&during.json()), ["one"]);
        let new = server.client().post(&pod).unwrap();
        assert!(new.closes(), "a new connection is served, once: {new:?}");
        half.send(rest).unwrap();
        let last = half.receive().unwrap();
        assert!(last.closes(), "{last:?}");
        assert_eq!(secrets(&last.json()), ["one"]);
        let (status, log) = server.ended();
        assert_eq!(status, 0, "{log}");
        assert!(
            log.contains("\"message\":\"draining\"") && log.contains("\"message\":\"finished\""),
            "{log}"
        );
        assert!(start.elapsed() >= Duration::from_secs(1), "it drained");
    }
}

#[test]
fn a_request_that_outlasts_the_drain_is_finished() {
    let server = place().start(&["--drain", "0s"]);
    let pod = review("shop", &["nginx"]);
    let mut idle = server.client();
    assert!(!idle.post(&pod).unwrap().closes());
    let (head, body) = request(&pod);
    let mut client = server.client();
    client.send(&head).unwrap();
    server.until_count("pullpass_admission_in_flight", 1);
    server.signal("TERM");
    let word = idle.receive().unwrap();
    assert_eq!(word.status, 100, "the drain is over: {word:?}");
    client.send(&body).unwrap();
    drop(idle);
    assert_eq!(secrets(&client.receive().unwrap().json()), ["one"]);
    let (status, log) = server.ended();
    assert_eq!(status, 0, "{log}");
}

#[test]
fn idle_clients_are_asked_to_go_and_hold_nothing_up() {
    let server = place().start(&["--drain", "1s"]);
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    for client in clients.iter_mut().take(10) {
        assert_eq!(
            client.post(&review("shop", &["nginx"])).unwrap().status,
            200
        );
    }
    let start = Instant::now();
    server.signal("TERM");
    for mut client in clients {
        let word = client.receive().unwrap();
        assert!(
            word.head
                .starts_with("http/1.1 100 pullpass shuts down\r\n"),
            "{word:?}"
        );
    }
    let (status, log) = server.ended();
    assert_eq!(status, 0, "{log}");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "all went: {:?}: {log}",
        start.elapsed()
    );
}

#[test]
fn a_second_signal_stops_it_where_it_is() {
    let server = place().start(&["--drain", "10m"]);
    let mut half = server.client();
    half.send(&request(&review("shop", &["nginx"])).0).unwrap();
    server.until_count("pullpass_admission_in_flight", 1);
    server.signal("TERM");
    until("it drains", || server.get("/readyz").status == 503);
    server.signal("TERM");
    let (status, log) = server.ended();
    assert_eq!(status, 2, "{log}");
    assert!(
        log.ends_with("error: stopped by a second signal, with requests possibly unanswered\n"),
        "{log}"
    );
    assert!(half.receive().is_err(), "the request was cut off");
}
