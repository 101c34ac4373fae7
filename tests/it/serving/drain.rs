//! The way down: not ready at once, serving for a while, then what is in flight, then nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::client::{Client, config, get, review, review_head};
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
    is_served_once(&mut late, &review(b"{}"), "came during the drain").await;

    // When the drain is over the idle one is asked to go, and nobody is turned away.
    is_asked_to_go(&mut idle).await;
    assert!(
        start.elapsed() >= SECOND * 19 / 10,
        "not before the drain was over"
    );
    is_served_once(&mut idle, &review(b"{}"), "had sent it already").await;
    let mut later = running.client().await;
    is_served_once(&mut later, &review(b"{}"), "came late").await;
    assert!(!running.task.is_finished(), "a request is in flight");
    let response = in_flight.ask("{}").await.unwrap();
    assert!(
        response.status == 200 && response.closes(),
        "it is answered: {response:?}"
    );
    let port = running.at.admission;
    running.ends().await;
    assert!(TcpStream::connect(port).await.is_err());
}

#[tokio::test]
async fn what_has_begun_when_the_drain_is_over_is_finished() {
    let mut running = Setup::default().start();
    let mut idle = running.client().await;
    idle.is_served().await;
    let mut head = running.client().await;
    head.is_served().await;
    let request = review(b"{}");
    let (begun, rest) = request.split_at(20);
    head.send(begun).await.unwrap();
    let mut first_head = running.client().await;
    first_head.send(begun).await.unwrap();
    let silent = TcpStream::connect(running.at.admission).await.unwrap();
    let trust = config(&[&running.pair.ca], None, |_| {});
    let (held_back, go_on) = hold_back(running.at.admission).await;
    let greeting = tokio::spawn(Client::connect_with(held_back, Arc::clone(&trust)));
    until("all are there", async || {
        running.metric("pullpass_connections") > 4.5
    })
    .await;

    running.stop();
    is_asked_to_go(&mut idle).await;
    let silent = Client::greet(silent, trust).await.unwrap();
    go_on.send(()).unwrap();
    let greeting = greeting.await.unwrap().unwrap();
    for (mut client, request, which) in [
        (head, rest, "half a head"),
        (first_head, rest, "half a head on a new connection"),
        (greeting, &request, "half a handshake"),
        (silent, &request, "no word yet"),
    ] {
        is_served_once(&mut client, request, which).await;
    }
    drop(idle);
    running.ends().await;
}

#[tokio::test]
async fn who_does_not_go_when_asked_is_closed_with_a_goodbye() {
    let mut running = Setup::limited(|limits| limits.leave_time = SECOND).start();
    let mut idle = running.client().await;
    idle.is_served().await;
    let start = Instant::now();
    running.stop();
    is_asked_to_go(&mut idle).await;
    assert!(idle.ended(5 * SECOND).await, "with a goodbye");
    assert!(start.elapsed() >= SECOND, "not before its time was over");
    running.ends().await;
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
    running.ends().await;
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

/// Waits for the server's word.
async fn is_asked_to_go(idle: &mut Client) {
    let response = idle.receive().await.unwrap();
    assert_eq!(response.status, 100, "{response:?}");
}

/// Sends what is left of a request, and has its answer and no other after it. It may be asked to go before.
async fn is_served_once(client: &mut Client, rest: &[u8], who: &str) {
    client.send(rest).await.unwrap();
    let mut response = client.receive().await.unwrap();
    if response.status == 100 {
        response = client.receive().await.unwrap();
    }
    let answered = response.status == 200 && response.closes();
    assert!(answered, "{who}: {response:?}");
    assert!(client.ended(SECOND).await, "{who}: with a goodbye");
}

/// Another address of a server, for one connection: the first bytes of it go through, and the rest when it is told to.
async fn hold_back(server: SocketAddr) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (go_on, told) = oneshot::channel();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        let mut begun = [0; 20];
        client.read_exact(&mut begun).await.unwrap();
        server.write_all(&begun).await.unwrap();
        told.await.unwrap();
        // What one side cuts off, the other side sees.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    });
    (address, go_on)
}
