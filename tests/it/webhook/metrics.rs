//! Each metric of the request path is moved by what it counts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::client::{Client, config, request};
use super::server::{Place, Server};
use super::{policy, review, until};

const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - {name: hub, match: {images: [docker.io]}, inject: {imagePullSecrets: [hub-creds, mirror-creds]}}
    - {name: build, match: {images: [build.example.com]}, inject: {serviceAccountName: builder}}
    - {name: lost, match: {images: [lost.example.com]}, inject: {serviceAccountName: nobody}}
    - name: strict
      match: {images: [strict.example.com]}
      inject: {serviceAccountName: nobody, onMissingServiceAccount: Deny}
";
const OBJECTS: &str = "
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: shop}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: builder, namespace: shop}}
";

fn server() -> Server {
    let place = Place::with(POLICY);
    place.put("objects.yaml", OBJECTS);
    place.start(&["--objects", "objects.yaml"])
}

#[test]
fn every_answer_is_counted_with_what_became_of_it() {
    let server = server();
    let mut client = server.client();
    let outcome = |operation: &str, outcome: &str| {
        format!(
            "pullpass_admission_requests_total{{operation=\"{operation}\",outcome=\"{outcome}\"}}"
        )
    };
    let images = |result: &str| format!("pullpass_images_total{{result=\"{result}\"}}");
    let account =
        |result: &str| format!("pullpass_service_account_changes_total{{result=\"{result}\"}}");
    let warning = |code: &str| format!("pullpass_admission_warnings_total{{code=\"{code}\"}}");
    let pod = |images: &[&str]| review("shop", images);
    let mut update = pod(&["nginx"]);
    update["request"]["operation"] = "UPDATE".into();
    update["request"]["oldObject"] = json!({"metadata": {}, "spec": {"containers": []}});
    let mut service = pod(&["nginx"]);
    service["request"]["kind"]["kind"] = "Service".into();
    for (why, review, status, moved) in [
        (
            "a Pod that gets secrets",
            pod(&["nginx", "other.example.com/a", "A b"]),
            200,
            vec![
                (outcome("CREATE", "patched"), 1),
                (images("matched"), 1),
                (images("unmatched"), 1),
                (images("unreadable"), 1),
                (
                    "pullpass_injected_secrets_total{policy=\"company\"}".to_owned(),
                    2,
                ),
                (warning("PP201"), 1),
            ],
        ),
        (
            "a Pod that needs nothing",
            pod(&["other.example.com/a"]),
            200,
            vec![
                (outcome("CREATE", "unchanged"), 1),
                (images("unmatched"), 1),
            ],
        ),
        (
            "a Pod out of scope",
            super::review("kube-system", &["nginx"]),
            200,
            vec![(outcome("CREATE", "excluded"), 1), (images("matched"), 0)],
        ),
        (
            "a Pod that is switched",
            pod(&["build.example.com/a"]),
            200,
            vec![(outcome("CREATE", "patched"), 1), (account("switched"), 1)],
        ),
        (
            "a Pod whose account is missing",
            pod(&["lost.example.com/a"]),
            200,
            vec![(account("missing"), 1), (warning("PP203"), 1)],
        ),
        (
            "a Pod that is refused",
            pod(&["strict.example.com/a"]),
            200,
            vec![(outcome("CREATE", "denied"), 1), (account("missing"), 1)],
        ),
        (
            "an update that lacks a secret",
            update,
            200,
            vec![(outcome("UPDATE", "unchanged"), 1), (warning("PP206"), 2)],
        ),
        (
            "something else than a Pod",
            service,
            200,
            vec![(outcome("CREATE", "invalid"), 1), (warning("PP208"), 1)],
        ),
        (
            "no review at all",
            json!({}),
            400,
            vec![(outcome("unknown", "invalid"), 1)],
        ),
    ] {
        let count = "pullpass_admission_duration_seconds_count".to_owned();
        let moved = [moved, vec![(count, u64::from(status == 200))]].concat();
        let before: Vec<u64> = moved
            .iter()
            .map(|(series, _)| server.count(series))
            .collect();
        assert_eq!(client.post(&review).unwrap().status, status, "{why}");
        for ((series, by), before) in moved.iter().zip(before) {
            assert_eq!(server.count(series) - before, *by, "{why}: {series}");
        }
    }
}

#[test]
fn gauges_say_what_is_open_and_in_flight_now() {
    let server = server();
    server.until_ready();
    let (connections, in_flight) = ("pullpass_connections", "pullpass_admission_in_flight");
    // The self-call is a connection too, for a moment.
    server.until_count(connections, 0);
    let mut clients: Vec<Client> = (0..3).map(|_| server.client()).collect();
    until("they are counted", || server.count(connections) >= 3);
    assert_eq!(server.count(in_flight), 0);
    let (head, body) = request(&review("shop", &["nginx"]));
    clients[0].send(&head).unwrap();
    server.until_count(in_flight, 1);
    clients[0].send(&body).unwrap();
    assert_eq!(clients[0].receive().unwrap().status, 200);
    server.until_count(in_flight, 0);
    drop(clients);
    server.until_count(connections, 0);
}

#[test]
fn handshakes_that_fail_are_counted_by_their_reason() {
    let server = server();
    let errors =
        |reason: &str| format!("pullpass_tls_handshake_errors_total{{reason=\"{reason}\"}}");
    let stranger = Place::with(&policy(&[("a", "b")]));
    let cases: [(&str, &dyn Fn()); 3] = [
        ("protocol", &|| {
            let mut stream = TcpStream::connect(server.admission).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let mut rest = Vec::new();
            // An alert, or nothing: whatever it is, the connection ends.
            let _ = stream.read_to_end(&mut rest);
        }),
        ("closed", &|| {
            drop(TcpStream::connect(server.admission).unwrap());
        }),
        ("refused_by_client", &|| {
            let trusts_another = config(&[&stranger.pair.ca], None);
            assert!(Client::connect(server.admission, &trusts_another).is_err());
        }),
    ];
    for (reason, fail) in cases {
        assert_eq!(server.count(&errors(reason)), 0, "{reason}");
        fail();
        server.until_count(&errors(reason), 1);
    }
}

#[test]
fn what_is_so_from_the_start_is_told_from_the_start() {
    let server = server();
    let text = server.get("/metrics").body;
    assert!(
        text.contains(&format!(
            "pullpass_build_info{{version=\"{}\"",
            env!("CARGO_PKG_VERSION")
        )),
        "{text}"
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let expires =
        server.metric("pullpass_tls_certificate_expiration_timestamp_seconds{kind=\"serving\"}");
    assert!(
        (expires - now - 365.0 * 86_400.0).abs() < 7_200.0,
        "{expires}"
    );
    let loaded = server.metric("pullpass_policy_last_reload_success_timestamp_seconds");
    assert!((loaded - now).abs() < 60.0, "{loaded}");
    for (series, want) in [
        ("pullpass_policy_rules", 4),
        ("pullpass_policy_documents{state=\"loaded\"}", 1),
        ("pullpass_policy_documents{state=\"rejected\"}", 0),
        ("pullpass_policy_last_reload_successful", 1),
    ] {
        assert_eq!(server.count(series), want, "{series}");
    }
    assert!(!server.digest().is_empty());
    for (series, why) in [
        (
            "pullpass_admission_requests_total{operation=\"CREATE\",outcome=\"denied\"} 0",
            "an alert needs the series before its first event",
        ),
        (
            "pullpass_admission_requests_total{operation=\"unknown\",outcome=\"panic\"} 0",
            "also the worst one",
        ),
        (
            "pullpass_tls_reloads_total{result=\"failure\"} 0",
            "a certificate that is refused",
        ),
    ] {
        assert!(text.contains(series), "{why}: {text}");
    }
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series <= 300, "{series} series");
}

#[test]
fn the_same_table_has_the_same_digest_in_every_replica() {
    let (one, two) = (server(), server());
    assert_eq!(one.digest(), two.digest());
    let _: Value = one.client().ask(&review("shop", &["nginx"]));
    one.place.put(
        "policy.yaml",
        &POLICY.replace("mirror-creds", "other-creds"),
    );
    until("they differ", || one.digest() != two.digest());
}
