//! A certificate that comes by a channel, as from a Secret that is watched: late, bad, renewed, gone.

use std::time::{Duration, SystemTime};

use pullpass::server::certificate::{self, LIFETIME, Pair};
use pullpass::server::limits::Limits;
use pullpass::server::{CertificateSource, PemPair};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::client::{Client, get};
use super::{Running, SOON, Setup, until};

const SUCCESS: &str = r#"pullpass_tls_reloads_total{result="success"}"#;
const FAILURE: &str = r#"pullpass_tls_reloads_total{result="failure"}"#;
const NO_CERTIFICATE: &str = r#"pullpass_tls_handshake_errors_total{reason="no_certificate"}"#;
const EXPIRY: &str = r#"pullpass_tls_certificate_expiration_timestamp_seconds{kind="serving"}"#;

fn made(at: SystemTime) -> Pair {
    certificate::self_signed(&[], at).unwrap()
}

fn pem(pair: &Pair) -> PemPair {
    PemPair {
        certificate: pair.certificate.clone().into_bytes(),
        key: pair.key.clone().into_bytes(),
    }
}

/// A server whose Secret is what is sent; it trusts the pair `known`.
fn start(known: Pair, first: Option<PemPair>) -> (Running, watch::Sender<Option<PemPair>>) {
    let (send, pairs) = watch::channel(first);
    let source = CertificateSource::Published {
        secret: "web-tls".to_owned(),
        pairs,
    };
    // Only the channel tells of a new pair in time.
    let setup = Setup::limited(|limits: &mut Limits| {
        limits.certificate_poll = Duration::from_hours(1);
        limits.self_call = Duration::from_millis(20);
    });
    let running = setup.start_with(source, known, tempfile::tempdir().unwrap());
    (running, send)
}

async fn until_ready(running: &Running) {
    until("it is ready", async || {
        get(running.at.admin, "/readyz").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_server_starts_without_its_secret_and_takes_the_first_pair() {
    let pair = made(SystemTime::now());
    let (first, ca) = (pem(&pair), pair.ca.clone());
    let (running, send) = start(pair, None);
    assert_eq!(get(running.at.admin, "/livez").await.status, 200);
    let report = get(running.at.admin, "/readyz").await;
    assert_eq!(report.status, 503);
    for part in [
        "certificate: Secret `web-tls` is not there yet",
        "`pullpass controller --tls-secret web-tls`",
    ] {
        assert!(report.body.contains(part), "{part} in {}", report.body);
    }
    assert!(
        running.metric(NO_CERTIFICATE) < 0.5,
        "we do not call ourselves"
    );

    let mut early = TcpStream::connect(running.at.admission).await.unwrap();
    let end = timeout(SOON / 4, early.read_u8()).await;
    assert!(end.expect("it is closed at once").is_err());
    running.until_metric(NO_CERTIFICATE, 1.0).await;

    send.send_replace(Some(PemPair {
        certificate: Vec::new(),
        key: Vec::new(),
    }));
    until("readiness tells what is wrong with a bad one", async || {
        let report = get(running.at.admin, "/readyz").await;
        let why = "`tls.crt` of Secret `web-tls` holds no certificate in PEM form";
        report.status == 503 && report.body.contains(why)
    })
    .await;
    assert!((running.metric(FAILURE) - 1.0).abs() < 0.1);
    send.send_replace(None);
    until("or that it is gone again", async || {
        let report = get(running.at.admin, "/readyz").await;
        report.body.contains("is not there yet")
    })
    .await;

    send.send_replace(Some(first));
    until_ready(&running).await;
    Client::connect(running.at.admission, &ca)
        .await
        .unwrap()
        .is_served()
        .await;
    assert!(running.metric(EXPIRY) > 1.0);
    drop(send);
    running.client().await.is_served().await;
}

#[tokio::test]
async fn a_new_pair_drops_no_connection_and_a_bad_one_changes_nothing() {
    let now = SystemTime::now();
    let (old, new) = (made(now), made(now + Duration::from_mins(10)));
    let (old_ca, old_pem) = (old.ca.clone(), pem(&old));
    let (running, send) = start(old, Some(old_pem.clone()));
    until_ready(&running).await;
    let mut open = running.client().await;
    let expiry = running.metric(EXPIRY);

    let mismatched = PemPair {
        key: new.key.clone().into_bytes(),
        ..old_pem.clone()
    };
    for (n, (bad, why)) in [
        (mismatched, "another's key"),
        (pem(&made(now - 2 * LIFETIME)), "an expired pair"),
        (pem(&made(now + 2 * LIFETIME)), "a pair of the future"),
    ]
    .into_iter()
    .enumerate()
    {
        send.send_replace(Some(bad));
        let failures = f64::from(u32::try_from(n + 1).unwrap());
        running.until_metric(FAILURE, failures).await;
        let client = Client::connect(running.at.admission, &old_ca).await;
        client.expect(why).is_served().await;
    }
    send.send_replace(None);
    send.send_replace(Some(old_pem));
    // The first, and the same again in the place of bad ones.
    running.until_metric(SUCCESS, 2.0).await;
    running.client().await.is_served().await;

    send.send_replace(Some(pem(&new)));
    running.until_metric(SUCCESS, 3.0).await;
    open.is_served().await;
    let client = Client::connect(running.at.admission, &new.ca).await;
    client.unwrap().is_served().await;
    assert!(
        Client::connect(running.at.admission, &old_ca)
            .await
            .is_err(),
        "the old one is gone"
    );
    assert!(running.metric(EXPIRY) > expiry + 500.0);
    send.send_replace(None);
    until_ready(&running).await;
    let client = Client::connect(running.at.admission, &new.ca).await;
    client
        .expect("a deleted Secret changes nothing")
        .is_served()
        .await;
}

#[tokio::test]
async fn a_first_pair_that_has_expired_is_served_and_is_not_ready() {
    let expired = made(SystemTime::now() - 2 * LIFETIME);
    let first = pem(&expired);
    let (running, send) = start(expired, Some(first));
    until("readiness tells of the time", async || {
        let report = get(running.at.admin, "/readyz").await;
        report.status == 503 && report.body.contains("the certificate has expired")
    })
    .await;
    send.send_replace(Some(pem(&made(SystemTime::now()))));
    until_ready(&running).await;
}
