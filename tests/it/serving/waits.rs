//! A handler that asks to be called again: its request waits, the others do not.

use tokio::time::Instant;

use super::client::review;
use super::{Setup, WAIT};

#[tokio::test]
async fn a_request_that_waits_is_answered_after_two_waits_at_most() {
    let running = Setup::default().start();
    let mut client = running.client().await;
    let start = Instant::now();
    let response = client.ask(review(b"wait")).await.unwrap();
    let took = start.elapsed();
    assert_eq!(response.status, 200, "{response:?}");
    assert!(
        took >= 2 * WAIT,
        "the handler never said `Now`, so it was asked three times: {took:?}"
    );
    client.is_served().await;
}

#[tokio::test]
async fn a_waiting_request_is_in_flight_and_holds_up_nobody() {
    let running = Setup::default().start();
    let mut waiting = running.client().await;
    waiting.send(review(b"wait for ever")).await.unwrap();
    running
        .until_metric("pullpass_admission_in_flight", 1.0)
        .await;
    running.client().await.is_served().await;
    assert!(running.metric("pullpass_admission_in_flight") > 0.5);

    drop(waiting);
    super::until("a client that went away waits no more", async || {
        running.metric("pullpass_admission_in_flight") < 0.5
    })
    .await;
}

#[tokio::test]
async fn a_panic_in_a_wait_costs_its_request_alone() {
    let running = Setup::default().start();
    let mut client = running.client().await;
    let response = client.ask(review(b"wait and panic")).await.unwrap();
    assert_eq!(response.status, 500, "{response:?}");
    client.is_served().await;
    let panics = r#"pullpass_admission_requests_total{operation="unknown",outcome="panic"}"#;
    assert!(running.metric(panics) > 0.5);
}

#[tokio::test]
async fn a_drain_finishes_what_waits() {
    let mut running = Setup::default().start();
    let mut client = running.client().await;
    client.send(review(b"wait")).await.unwrap();
    running
        .until_metric("pullpass_admission_in_flight", 1.0)
        .await;
    running.stop();
    let response = client.receive().await.unwrap();
    assert_eq!(response.status, 200, "{response:?}");
    running.task.await.unwrap().unwrap();
}
