//! The way down: not ready at once, serving for a while, then what is in flight, then nothing.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::client::{get, review, review_head};
use super::{Setup, until};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_drain_serves_on_then_finishes_what_is_in_flight() {
    let mut running = Setup {
        drain: 2 * SECOND,
        ..Setup::default()
    }
    .start();
    until("it is ready", async || {
        get(running.at.admin, "/readyz").await.status == 200
    })
    .await;
    let mut idle = running.client().await;
    idle.is_served().await;
    let mut in_flight = running.client().await;
    in_flight.send(review_head(2)).await.unwrap();
    running
        .until_metric("pullpass_admission_in_flight", 1.0)
        .await;

    let start = Instant::now();
    running.stop();
    until("it is not ready", async || {
        get(running.at.admin, "/readyz").await.status == 503
    })
    .await;
    assert!(start.elapsed() < SECOND, "readiness fails at once");
    let report = get(running.at.admin, "/readyz").await.body;
    assert!(report.contains("shutting down"), "{report}");
    let mut late = running.client().await;
    let response = late.ask(review(b"{}")).await.unwrap();
    assert!(
        response.status == 200 && response.closes(),
        "still served, once: {response:?}"
    );
    assert!(late.ended(SECOND).await, "and then closed");

    // The idle one goes when the drain is over, and so does the port.
    assert!(idle.ended(10 * SECOND).await, "closed with a goodbye");
    assert!(
        start.elapsed() >= SECOND * 19 / 10,
        "not before the drain was over"
    );
    until("nobody is let in any more", async || {
        TcpStream::connect(running.at.admission).await.is_err()
    })
    .await;
    assert!(!running.task.is_finished(), "a request is in flight");
    let response = in_flight.ask("{}").await.unwrap();
    assert!(
        response.status == 200 && response.closes(),
        "it is answered: {response:?}"
    );
    timeout(10 * SECOND, running.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn what_never_finishes_is_cut_off() {
    let mut running = Setup::limited(|limits| limits.finish_time = SECOND).start();
    let mut in_flight = running.client().await;
    in_flight.send(review_head(2)).await.unwrap();
    running
        .until_metric("pullpass_admission_in_flight", 1.0)
        .await;
    running.stop();
    timeout(5 * SECOND, running.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    in_flight.ended(SECOND).await;
}

#[tokio::test]
async fn dropping_the_server_ends_everything() {
    let running = Setup::default().start();
    let mut idle = running.client().await;
    idle.is_served().await;
    running.task.abort();
    idle.ended(5 * SECOND).await;
    until("both ports are gone", async || {
        TcpStream::connect(running.at.admission).await.is_err()
            && TcpStream::connect(running.at.admin).await.is_err()
    })
    .await;
}
