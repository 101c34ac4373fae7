//! Clients that are slow, or gone without a word: cut off in time, while others are served.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::Setup;
use super::client::{Client, review, review_head};

const SECOND: Duration = Duration::from_secs(1);

/// How long the server bears each kind of slowness, in the contract's own times.
#[tokio::test]
async fn slow_clients_are_cut_off_after_ten_seconds_and_others_are_served() {
    let running = Setup::default().start();
    let (address, ca) = (running.at.admission, running.pair.ca.clone());
    let mut slow = JoinSet::new();
    for n in 0..100 {
        let ca = ca.clone();
        slow.spawn(async move {
            let start;
            let mut rest = Vec::new();
            let kind = match n % 5 {
                0 => {
                    let mut silent = TcpStream::connect(address).await.unwrap();
                    start = Instant::now();
                    let _ = silent.read_to_end(&mut rest).await;
                    "a connection without a word"
                }
                1 => {
                    let mut half = TcpStream::connect(address).await.unwrap();
                    start = Instant::now();
                    // A record of 512 bytes, of which two come.
                    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00")
                        .await
                        .unwrap();
                    let _ = half.read_to_end(&mut rest).await;
                    "half a hello"
                }
                2 => {
                    let mut head = Client::connect(address, &ca).await.unwrap();
                    start = Instant::now();
                    head.send("POST /mutate HTTP/1.1\r\n").await.unwrap();
                    let _ = head.stream.read_to_end(&mut rest).await;
                    "half a head"
                }
                3 => {
                    let head = Client::connect(address, &ca).await.unwrap();
                    start = Instant::now();
                    let (mut reads, mut writes) = tokio::io::split(head.stream);
                    let trickle = async {
                        loop {
                            if writes.write_all(b"P").await.is_err()
                                || writes.flush().await.is_err()
                            {
                                break;
                            }
                            sleep(SECOND / 2).await;
                        }
                        std::future::pending::<()>().await;
                    };
                    tokio::select! {
                        _ = reads.read_to_end(&mut rest) => {}
                        () = trickle => {}
                    }
                    "a head that trickles"
                }
                _ => {
                    let mut body = Client::connect(address, &ca).await.unwrap();
                    start = Instant::now();
                    body.send(review_head(100)).await.unwrap();
                    let _ = body.stream.read_to_end(&mut rest).await;
                    assert!(rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
                    "a body that does not come"
                }
            };
            (kind, start.elapsed())
        });
    }
    let mut served = 0;
    let mut slowest = Duration::ZERO;
    while !slow.is_empty() {
        while let Some(ended) = slow.try_join_next() {
            let (kind, after) = ended.unwrap();
            assert!(
                (9 * SECOND..13 * SECOND).contains(&after),
                "{kind} was cut off after {after:?}"
            );
        }
        let start = Instant::now();
        running.client().await.is_served().await;
        slowest = slowest.max(start.elapsed());
        served += 1;
    }
    assert!(
        served > 20 && slowest < 2 * SECOND,
        "{served} served, the slowest in {slowest:?}"
    );
    let timeouts = running.metric(r#"pullpass_tls_handshake_errors_total{reason="timeout"}"#);
    assert!(
        (timeouts - 40.0).abs() < 0.1,
        "{timeouts} handshakes are counted"
    );
}

#[tokio::test]
async fn a_connection_idle_for_100_seconds_is_still_good() {
    let running = Setup::default().start();
    let mut fresh = running.client().await;
    let mut used = running.client().await;
    used.is_served().await;
    sleep(100 * SECOND).await;
    used.is_served().await;
    fresh.is_served().await;
}

#[tokio::test]
async fn the_time_of_a_head_starts_at_its_first_byte() {
    let running = Setup::limited(|limits| limits.head_time = SECOND).start();
    let mut client = running.client().await;
    for _ in 0..2 {
        sleep(2 * SECOND).await;
        client.is_served().await;
    }
    sleep(2 * SECOND).await;
    let start = Instant::now();
    client.send("POST").await.unwrap();
    client.ended(5 * SECOND).await;
    let after = start.elapsed();
    assert!(
        (SECOND * 9 / 10..SECOND * 3).contains(&after),
        "cut off after {after:?}"
    );
}

#[tokio::test]
async fn an_idle_connection_is_closed_with_a_goodbye_when_its_time_is_over() {
    let running = Setup::limited(|limits| limits.idle_time = 2 * SECOND).start();
    let mut client = running.client().await;
    client.is_served().await;
    let start = Instant::now();
    assert!(client.ended(10 * SECOND).await, "with a goodbye");
    let after = start.elapsed();
    assert!(
        (SECOND * 19 / 10..SECOND * 4).contains(&after),
        "closed after {after:?}"
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut_off() {
    let running = Setup::limited(|limits| limits.response_time = SECOND).start();
    let mut client = running.client().await;
    // Requests without end, until the answers fill every buffer between us.
    let request = review(b"{}").repeat(1000);
    let flooded = timeout(30 * SECOND, async {
        while client.send(&request).await.is_ok() {}
    });
    flooded
        .await
        .expect("the server did not end the connection");
    running.client().await.is_served().await;
}

#[tokio::test]
async fn those_that_are_awake_and_slow_give_way_when_others_wait() {
    let running = Setup::limited(|limits| limits.awake = 4).start();
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut client = TcpStream::connect(running.at.admission).await.unwrap();
        client.write_all(b"\x16\x03\x01\x02\x00").await.unwrap();
        slow.push(client);
    }
    // Eight stand before us, four at a time, and none may hold its place for long.
    timeout(8 * SECOND, async {
        running.client().await.is_served().await;
    })
    .await
    .unwrap();
}
