//! Certificates as they change under a running server, and those that clients show.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use pullpass::server::CertificateSource;
use pullpass::server::certificate::{self, LIFETIME, Pair};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::ProtocolVersion;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::client::{Client, config, get, review, speaking};
use super::{Setup, until};

const SUCCESS: &str = r#"pullpass_tls_reloads_total{result="success"}"#;
const FAILURE: &str = r#"pullpass_tls_reloads_total{result="failure"}"#;

fn new_pair() -> Pair {
    certificate::self_signed(&[], SystemTime::now()).unwrap()
}

fn quick() -> Setup {
    Setup::limited(|limits| {
        limits.certificate_poll = Duration::from_millis(20);
        limits.self_call = Duration::from_millis(20);
    })
}

/// Makes `link` point to `target`, in one step, as the kubelet does.
fn point(link: &Path, target: &Path) {
    let beside = link.with_file_name("..data_tmp");
    std::os::unix::fs::symlink(target, &beside).unwrap();
    fs::rename(beside, link).unwrap();
}

#[tokio::test]
async fn a_symlink_swap_replaces_the_certificate_and_fails_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (new_pair(), new_pair());
    for (name, pair) in [("1", &old), ("2", &new)] {
        certificate::write(pair, &directory.path().join(name)).unwrap();
    }
    let data = directory.path().join("..data");
    point(&data, &directory.path().join("1"));
    let files = CertificateSource::Files {
        cert: data.join("tls.crt"),
        key: data.join("tls.key"),
    };
    let (old_ca, new_ca) = (old.ca.clone(), new.ca.clone());
    let running = quick().start_with(files, old, directory);
    let address = running.at.admission;

    // Three keep their connection, three open one for each request; all trust both authorities.
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let both = config(&[&old_ca, &new_ca], None, |_| {});
    let mut traffic = JoinSet::new();
    for n in 0..6 {
        let (stop, served, both) = (Arc::clone(&stop), Arc::clone(&served), Arc::clone(&both));
        traffic.spawn(async move {
            let mut client = Client::connect_with(address, Arc::clone(&both))
                .await
                .unwrap();
            while !stop.load(Ordering::Relaxed) {
                client.is_served().await;
                served.fetch_add(1, Ordering::Relaxed);
                if n % 2 == 0 {
                    client = Client::connect_with(address, Arc::clone(&both))
                        .await
                        .unwrap();
                }
            }
        });
    }
    let mut before = running.client().await;
    until("requests flow", async || {
        served.load(Ordering::Relaxed) > 50
    })
    .await;
    point(&data, &running.directory.path().join("2"));
    running.until_metric(SUCCESS, 1.0).await;
    let seen = served.load(Ordering::Relaxed);
    until("requests flow on", async || {
        served.load(Ordering::Relaxed) > seen + 50
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = traffic.join_next().await {
        ended.unwrap();
    }
    before.is_served().await;
    Client::connect(address, &new_ca)
        .await
        .unwrap()
        .is_served()
        .await;
    assert!(
        Client::connect(address, &old_ca).await.is_err(),
        "the old one is gone"
    );
    until("still ready", async || {
        get(running.at.admin, "/readyz").await.status == 200
    })
    .await;
    assert!(running.metric(FAILURE) < 0.5, "no half swap was seen");
}

#[tokio::test]
async fn a_bad_pair_leaves_the_old_one_in_use() {
    let running = quick().start();
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| running.directory.path().join(name));
    let good_key = running.pair.key.clone();
    let other = new_pair();
    let expired = certificate::self_signed(&[], SystemTime::now() - 2 * LIFETIME).unwrap();
    let future = certificate::self_signed(&[], SystemTime::now() + 2 * LIFETIME).unwrap();
    // The certificate is replaced before the key: no row makes a good pair on the way.
    let mut failures = 0.0;
    for (certificate, private, why) in [
        ("", good_key.as_str(), "an empty file"),
        ("not PEM", &good_key, "no certificate in it"),
        (&good_key, &good_key, "a key in the certificate's place"),
        (
            &other.certificate,
            &other.certificate,
            "a certificate in the key's place",
        ),
        (
            &other.certificate,
            &good_key,
            "a certificate and another's key",
        ),
        (&expired.certificate, &expired.key, "an expired pair"),
        (&future.certificate, &future.key, "a pair of the future"),
    ] {
        let replace = |path: &Path, text: &str| {
            let beside = path.with_extension("new");
            fs::write(&beside, text).unwrap();
            fs::rename(beside, path).unwrap();
        };
        replace(&cert, certificate);
        replace(&key, private);
        failures += 1.0;
        running.until_metric(FAILURE, failures).await;
        failures = running.metric(FAILURE);
        let mut client = Client::connect(running.at.admission, &running.pair.ca)
            .await
            .expect(why);
        client.is_served().await;
    }
    fs::remove_file(&cert).unwrap();
    running.until_metric(FAILURE, failures + 1.0).await;
    running.client().await.is_served().await;
    assert!(running.metric(SUCCESS) < 0.5, "none of them was taken");

    certificate::write(&other, running.directory.path()).unwrap();
    running.until_metric(SUCCESS, 1.0).await;
    Client::connect(running.at.admission, &other.ca)
        .await
        .unwrap()
        .is_served()
        .await;
}

#[tokio::test]
async fn an_expired_certificate_is_served_but_is_not_ready() {
    let directory = tempfile::tempdir().unwrap();
    let expired = certificate::self_signed(&[], SystemTime::now() - 2 * LIFETIME).unwrap();
    certificate::write(&expired, directory.path()).unwrap();
    let files = CertificateSource::Files {
        cert: directory.path().join("tls.crt"),
        key: directory.path().join("tls.key"),
    };
    let running = quick().start_with(files, expired, directory);
    let report = get(running.at.admin, "/readyz").await;
    assert!(
        report.status == 503 && report.body.contains("has expired"),
        "{report:?}"
    );
    certificate::write(&new_pair(), running.directory.path()).unwrap();
    until("it is ready with a new one", async || {
        get(running.at.admin, "/readyz").await.status == 200
    })
    .await;
}

/// An authority, and a client's certificate and key that it signed.
fn client_identity() -> (String, String, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    (authority.pem(), certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn with_a_client_ca_only_its_clients_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, certificate, key) = client_identity();
    let (other_ca, other_certificate, other_key) = client_identity();
    let client_ca = directory.path().join("client-ca.crt");
    fs::write(&client_ca, &ca).unwrap();
    let running = Setup {
        client_ca: Some(client_ca.clone()),
        ..quick()
    }
    .start();
    let trusted = running.pair.ca.clone();
    let served = async |identity| {
        let config = config(&[&trusted], identity, |_| {});
        // In TLS 1.3 a client hears of the refusal only when it reads.
        match Client::connect_with(running.at.admission, config).await {
            Ok(mut client) => client
                .ask(review(b"{}"))
                .await
                .is_ok_and(|r| r.status == 200),
            Err(_) => false,
        }
    };
    assert!(served(Some((&certificate, &key))).await, "its client");
    assert!(!served(None).await, "one without a certificate");
    assert!(
        !served(Some((&other_certificate, &other_key))).await,
        "another authority's"
    );
    let refused = r#"pullpass_tls_handshake_errors_total{reason="client_certificate"}"#;
    assert!(running.metric(refused) >= 2.0, "they are counted");
    until("the self-call counts as answered", async || {
        get(running.at.admin, "/readyz").await.status == 200
    })
    .await;

    fs::write(&client_ca, &other_ca).unwrap();
    running.until_metric(SUCCESS, 1.0).await;
    assert!(
        served(Some((&other_certificate, &other_key))).await,
        "the new authority's"
    );
    assert!(!served(Some((&certificate, &key))).await, "no longer");
}

#[tokio::test]
async fn only_http_1_1_over_tls_1_2_or_1_3_is_spoken() {
    let running = Setup::default().start();
    let ca = running.pair.ca.as_str();
    let alpn = |names: &[&str]| {
        let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        config(&[ca], None, |config| config.alpn_protocols = names)
    };
    for (offered, want, why) in [
        (
            &["h2", "http/1.1"][..],
            Some(&b"http/1.1"[..]),
            "as the API server offers",
        ),
        (&[], Some(&[][..]), "no offer"),
        (&["h2"], None, "HTTP/2 alone"),
    ] {
        let client = Client::connect_with(running.at.admission, alpn(offered)).await;
        let got = client
            .as_ref()
            .ok()
            .map(|c| c.stream.get_ref().1.alpn_protocol().unwrap_or(b""));
        assert_eq!(got, want, "{why}");
    }
    for (version, want) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let config = speaking(&[version], &[ca], None, |_| {});
        let mut client = Client::connect_with(running.at.admission, config)
            .await
            .unwrap();
        assert_eq!(client.stream.get_ref().1.protocol_version(), Some(want));
        client.is_served().await;
    }

    let mut plain = TcpStream::connect(running.at.admission).await.unwrap();
    plain
        .write_all(b"POST /mutate HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP"), "nothing is served without TLS");
    running
        .until_metric(
            r#"pullpass_tls_handshake_errors_total{reason="protocol"}"#,
            1.0,
        )
        .await;

    // A TCP health check.
    drop(TcpStream::connect(running.at.admission).await.unwrap());
    running
        .until_metric(
            r#"pullpass_tls_handshake_errors_total{reason="closed"}"#,
            1.0,
        )
        .await;
}
