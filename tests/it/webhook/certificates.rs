//! Certificates that change while it runs, and clients that have to show one.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use pullpass::server::certificate::{self, Pair};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use super::client::{Client, config};
use super::server::Place;
use super::{Load, policy, review, secrets, until};

fn new_pair() -> Pair {
    certificate::self_signed(&[], SystemTime::now()).unwrap()
}

#[test]
fn a_certificate_swapped_by_its_link_fails_no_request() {
    let place = Place::with(&policy(&[("docker.io", "one")]));
    let pairs: Vec<Pair> = (0..3).map(|_| new_pair()).collect();
    for (n, pair) in pairs.iter().enumerate() {
        certificate::write(pair, &place.path(&format!("v{n}"))).unwrap();
    }
    let link = |n: usize| {
        symlink(format!("v{n}"), place.path("next")).unwrap();
        fs::rename(place.path("next"), place.path("current")).unwrap();
    };
    link(0);
    let (at, command) = (
        place.path(""),
        [
            "--tls-cert",
            "current/tls.crt",
            "--tls-key",
            "current/tls.key",
        ],
    );
    let server = place.start(&command);
    let link = |n: usize| {
        symlink(format!("v{n}"), at.join("next")).unwrap();
        fs::rename(at.join("next"), at.join("current")).unwrap();
    };
    let all = config(&[&pairs[0].ca, &pairs[1].ca, &pairs[2].ca], None);
    let shows =
        |n: usize| Client::connect(server.admission, &config(&[&pairs[n].ca], None)).is_ok();
    assert!(shows(0) && !shows(1));
    let pod = review("shop", &["nginx"]);
    let (load, asked, connected) = (Load::default(), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|threads| {
        let _load = load.until_dropped();
        for _ in 0..3 {
            threads.spawn(|| {
                let mut client = Client::connect(server.admission, &all).unwrap();
                while load.goes_on() {
                    assert_eq!(secrets(&client.ask(&pod)), ["one"]);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        threads.spawn(|| {
            while load.goes_on() {
                let mut client = Client::connect(server.admission, &all).unwrap();
                assert_eq!(secrets(&client.ask(&pod)), ["one"]);
                connected.fetch_add(1, Ordering::Relaxed);
            }
        });
        for n in 1..3 {
            link(n);
            until("the new certificate is shown", || shows(n));
            assert!(!shows(n - 1), "and the old one no more");
        }
    });
    assert!(asked.into_inner() > 100 && connected.into_inner() > 10);
    server.until_count("pullpass_tls_reloads_total{result=\"success\"}", 2);
    assert_eq!(
        server.count("pullpass_tls_reloads_total{result=\"failure\"}"),
        0
    );
    server.until_ready();
}

#[test]
fn a_bad_pair_keeps_the_old_one_is_counted_and_can_be_mended() {
    let server = Place::with(&policy(&[("docker.io", "one")])).start(&[]);
    let mut failures = 0;
    let other = new_pair();
    for (file, text, why) in [
        ("tls.crt", "no certificate", "a file that is no certificate"),
        (
            "tls.crt",
            &*other.certificate,
            "a certificate of another key",
        ),
        ("tls.key", "", "an empty key"),
    ] {
        failures += 1;
        let good = fs::read_to_string(server.place.path(file)).unwrap();
        server.place.put(file, text);
        server.until_count("pullpass_tls_reloads_total{result=\"failure\"}", failures);
        assert_eq!(
            secrets(&server.client().ask(&review("shop", &["nginx"]))),
            ["one"],
            "{why}"
        );
        assert!(
            server.log().contains("kept the old certificate"),
            "{why}: {}",
            server.log()
        );
        let taken = server.count("pullpass_tls_reloads_total{result=\"success\"}");
        server.place.put(file, &good);
        server.until_count("pullpass_tls_reloads_total{result=\"success\"}", taken + 1);
    }
}

#[test]
fn with_a_client_ca_only_clients_with_its_certificate_are_answered() {
    let place = Place::with(&policy(&[("docker.io", "one")]));
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["api-server".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &ca).unwrap();
    place.put("client-ca.crt", &ca.pem());
    let server = place.start(&["--client-ca", "client-ca.crt"]);
    let trusted = &*server.place.pair.ca;
    let pod = review("shop", &["nginx"]);
    let refused = "pullpass_tls_handshake_errors_total{reason=\"client_certificate\"}";
    // With TLS 1.3 the client learns of it when it reads.
    let before = server.count(refused);
    let answer = Client::connect(server.admission, &config(&[trusted], None))
        .and_then(|mut client| client.post(&pod));
    assert!(answer.is_err(), "without a certificate: {answer:?}");
    until("it is counted", || server.count(refused) > before);

    let stranger = new_pair();
    let identity = Some((&*stranger.certificate, &*stranger.key));
    let answer = Client::connect(server.admission, &config(&[trusted], identity))
        .and_then(|mut client| client.post(&pod));
    assert!(answer.is_err(), "with a stranger's certificate: {answer:?}");

    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    let mut client = Client::connect(
        server.admission,
        &config(&[trusted], Some((&certificate, &key))),
    )
    .unwrap();
    assert_eq!(secrets(&client.ask(&pod)), ["one"]);
    server.until_ready();
    assert!(
        server.metric("pullpass_tls_certificate_expiration_timestamp_seconds{kind=\"client_ca\"}")
            > 1e9
    );
}
