//! Every row of the table of answers, and what a client may do with HTTP/1.1.

use std::time::Duration;

use super::client::{Client, Response, review, review_head};
use super::{Running, Setup};

const MIB: usize = 1024 * 1024;

fn request(line: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!("{line} HTTP/1.1\r\nhost: x\r\n{content_type}content-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "the table has that many rows")]
async fn every_request_gets_its_answer() {
    let json = "content-type: application/json\r\n";
    let running = Setup::default().start();
    for (line, content_type, body, want, says, why) in [
        ("POST /mutate", json, "{}", 200, r#""Mutate""#, "a review"),
        (
            "POST /mutate?timeout=5s",
            json,
            "{}",
            200,
            r#""Mutate""#,
            "as the API server calls",
        ),
        (
            "POST /validate",
            json,
            "{}",
            200,
            r#""Validate""#,
            "a policy",
        ),
        (
            "POST /mutate",
            "Content-Type: Application/JSON; charset=utf-8\r\n",
            "{}",
            200,
            "",
            "case and parameters do not matter",
        ),
        (
            "POST /mutate",
            json,
            "bad",
            400,
            "the body is no review\n",
            "not a review",
        ),
        (
            "POST /mutate",
            json,
            "",
            200,
            "",
            "empty is the engine's to refuse",
        ),
        (
            "GET /mutate",
            "",
            "",
            405,
            "the method must be POST\n",
            "the wrong method",
        ),
        (
            "PUT /validate",
            json,
            "{}",
            405,
            "the method must be POST\n",
            "the wrong method",
        ),
        ("HEAD /mutate", "", "", 405, "", "a HEAD"),
        ("POST /", json, "{}", 404, "no such path", "the wrong path"),
        (
            "POST /mutate/",
            json,
            "{}",
            404,
            "no such path",
            "a slash too many",
        ),
        (
            "GET /readyz",
            "",
            "",
            404,
            "no such path",
            "the admin port's",
        ),
        (
            "POST /mutate",
            "",
            "{}",
            415,
            "`application/json`",
            "no content type",
        ),
        (
            "POST /mutate",
            "content-type: text/yaml\r\n",
            "{}",
            415,
            "`application/json`",
            "the wrong content type",
        ),
        (
            "POST /mutate",
            json,
            "panic",
            500,
            "its log says where",
            "a panic",
        ),
        (
            "POST /mutate",
            json,
            "{}",
            200,
            "",
            "a review after all that",
        ),
    ] {
        // On one connection each, and the connection goes on.
        let mut client = running.client().await;
        client
            .send(request(line, content_type, body))
            .await
            .unwrap();
        if line.starts_with("HEAD") {
            continue;
        }
        let response = client.receive().await.unwrap();
        assert_eq!(response.status, want, "{why}: {response:?}");
        assert!(response.body.contains(says), "{why}: {response:?}");
        if want >= 400 {
            assert!(
                response.head.contains("content-type: text/plain"),
                "{why}: {response:?}"
            );
            assert_eq!(
                response.body.matches('\n').count(),
                1,
                "{why}: one sentence"
            );
        } else {
            assert!(
                response.head.contains("content-type: application/json\r\n"),
                "{why}"
            );
        }
        assert_eq!(
            response.head.matches("\r\nallow: post\r\n").count(),
            usize::from(want == 405)
        );
        client.is_served().await;
    }
    for (series, want) in [
        (
            r#"pullpass_admission_requests_total{operation="unknown",outcome="panic"}"#,
            1.0,
        ),
        (
            r#"pullpass_admission_requests_total{operation="unknown",outcome="invalid"}"#,
            1.0,
        ),
        ("pullpass_admission_in_flight", 0.0),
    ] {
        assert!(
            (running.metric(series) - want).abs() < 0.1,
            "{series}: {}",
            running.metric(series)
        );
    }
}

#[tokio::test]
async fn what_is_not_http_gets_a_400_or_nothing() {
    let running = Setup::default().start();
    for (bytes, want, why) in [
        ("hello\r\n\r\n", Some(400), "no request line"),
        (
            "POST /mutate HTTP/1.1\r\ncontent-length: x\r\n\r\n",
            Some(400),
            "no length",
        ),
        (
            "POST /mutate HTTP/1.1\r\nx: \0\r\n\r\n",
            Some(400),
            "no header",
        ),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            None,
            "HTTP/2, which was not offered",
        ),
    ] {
        let mut client = running.client().await;
        let status = client.ask(bytes).await.ok().map(|response| response.status);
        assert_eq!(status, want, "{bytes:?}: {why}");
        client.ended(Duration::from_secs(5)).await;
    }
    let long = format!(
        "POST /mutate HTTP/1.1\r\nx: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    let response = running.client().await.ask(long).await.unwrap();
    assert_eq!(response.status, 431, "a head without end");
    running.client().await.is_served().await;
}

fn head_with(field: &str) -> String {
    format!("POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{field}\r\n\r\n")
}

async fn post(running: &Running, head: &str, body: &[u8]) -> Response {
    let mut client = running.client().await;
    client.ask([head.as_bytes(), body].concat()).await.unwrap()
}

#[tokio::test]
async fn a_body_of_20_mib_is_read_and_a_byte_more_is_not() {
    let running = Setup::default().start();
    let body = vec![b' '; 20 * MIB + 1];
    for (length, want, why) in [
        (20 * MIB, 200, "the largest"),
        (
            20 * MIB + 1,
            413,
            "a byte more, sent whole before the answer is read",
        ),
    ] {
        let announced = post(&running, &review_head(length), &body[..length]).await;
        assert_eq!(announced.status, want, "{why}: {announced:?}");
        let size = format!("{length:x}\r\n");
        let chunked = [size.as_bytes(), &body[..length], b"\r\n0\r\n\r\n"].concat();
        let chunked = post(&running, &head_with("transfer-encoding: chunked"), &chunked).await;
        assert_eq!(chunked.status, want, "{why}, in chunks: {chunked:?}");
    }
    let waiting = format!("content-length: {}\r\nexpect: 100-continue", 30 * MIB);
    let waiting = post(&running, &head_with(&waiting), b"").await;
    assert_eq!(
        waiting.status, 413,
        "a client that asks first is told before it sends"
    );
    assert!(waiting.closes(), "what it sends nevertheless is no request");
    running.client().await.is_served().await;
}

#[tokio::test]
async fn large_bodies_in_flight_are_bounded_and_small_ones_do_not_mind() {
    let running = Setup::default().start();
    let body = vec![b' '; 20 * MIB];
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = running.client().await;
        client.send(review_head(body.len())).await.unwrap();
        client.send(&body[1..]).await.unwrap();
        held.push(client);
    }
    running
        .until_metric("pullpass_admission_in_flight", 3.0)
        .await;
    let fourth = post(&running, &review_head(5 * MIB), &body[..5 * MIB]).await;
    assert_eq!(
        fourth.status, 503,
        "60 MiB are in flight, and 5 do not fit: {fourth:?}"
    );
    running.client().await.is_served().await;
    let fits = post(&running, &review_head(2 * MIB), &body[..2 * MIB]).await;
    assert_eq!(fits.status, 200, "2 MiB fit");
    for client in &mut held {
        let response = client.ask(b" ").await.unwrap();
        assert_eq!(response.status, 200, "what was in flight is answered");
    }
    let fourth = post(&running, &review_head(5 * MIB), &body[..5 * MIB]).await;
    assert_eq!(fourth.status, 200, "there is room again");
}

#[tokio::test]
async fn requests_may_come_in_one_piece_or_in_any() {
    // With one place awake a connection falls asleep whenever it has nothing to do.
    for setup in [Setup::default(), Setup::limited(|limits| limits.awake = 1)] {
        let running = setup.start();
        let mut client = running.client().await;
        let one = review(b"{}");
        let two_and_a_half = [&one[..], &one, &one[..20]].concat();
        client.send(two_and_a_half).await.unwrap();
        for _ in 0..2 {
            assert_eq!(client.receive().await.unwrap().status, 200, "pipelined");
        }
        client.send(&one[20..]).await.unwrap();
        assert_eq!(
            client.receive().await.unwrap().status,
            200,
            "the rest of the third"
        );
        for byte in &one {
            client.send([*byte]).await.unwrap();
        }
        assert_eq!(client.receive().await.unwrap().status, 200, "byte by byte");
    }
}

#[tokio::test]
async fn a_connection_sleeps_and_wakes_between_requests() {
    // Nobody may linger: each request finds its connection asleep.
    let running = Setup::limited(|limits| limits.awake = 1).start();
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(running.client().await);
    }
    for _ in 0..5 {
        for client in &mut clients {
            client.is_served().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_closes_early_harms_nobody() {
    let running = Setup::default().start();
    for bytes in [
        &b""[..],
        b"POST /mut",
        &review_head(100).into_bytes(),
        &review(b"{}"),
    ] {
        let mut client = running.client().await;
        client.send(bytes).await.unwrap();
        drop::<Client>(client);
    }
    running.client().await.is_served().await;
    super::until("all are gone", async || {
        running.metric("pullpass_connections") < 1.5
    })
    .await;
}
