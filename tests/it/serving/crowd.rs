//! As many connections as there may be, and one more.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Setup;
use super::client::review_head;

const MOMENT: Duration = Duration::from_millis(20);
const SOON: Duration = Duration::from_secs(10);

/// A server for so many, without its own calls, which would take a place.
fn server_for(connections: usize) -> Setup {
    Setup::limited(|limits| {
        limits.connections = connections;
        limits.self_call = Duration::from_hours(1);
    })
}

#[tokio::test]
async fn at_the_limit_the_longest_idle_connection_gives_way() {
    let running = server_for(3).start();
    running.until_self_called().await;
    let mut first = running.client().await;
    let mut second = running.client().await;
    let mut third = running.client().await;
    // The order in which they fall idle: second, third, first.
    for client in [&mut second, &mut third, &mut first] {
        client.is_served().await;
        sleep(MOMENT).await;
    }
    let mut fourth = running.client().await;
    fourth.is_served().await;
    assert!(
        second.ended(SOON).await,
        "the longest idle one, with a goodbye"
    );
    for client in [&mut first, &mut third, &mut fourth] {
        client.is_served().await;
    }
    assert!(running.metric("pullpass_connections") < 3.5);
}

#[tokio::test]
async fn a_request_in_flight_never_gives_way() {
    let running = server_for(2).start();
    running.until_self_called().await;
    let mut busy = running.client().await;
    busy.send(review_head(2)).await.unwrap();
    running
        .until_metric("pullpass_admission_in_flight", 1.0)
        .await;
    for _ in 0..5 {
        running.client().await.is_served().await;
    }
    assert_eq!(busy.ask("{}").await.unwrap().status, 200);
}

#[tokio::test]
async fn half_open_connections_cannot_keep_others_out() {
    let running = server_for(4).start();
    running.until_self_called().await;
    let mut half = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(running.at.admission).await.unwrap();
        let _ = stream.write_all(b"\x16\x03\x01").await;
        half.push(stream);
    }
    for _ in 0..3 {
        running.client().await.is_served().await;
    }
}

#[tokio::test]
async fn hundreds_of_connections_are_served_side_by_side() {
    let running = Setup::default().start();
    let mut clients = Vec::new();
    for _ in 0..400 {
        clients.push(running.client().await);
    }
    for _ in 0..2 {
        for client in &mut clients {
            client.is_served().await;
        }
    }
}
