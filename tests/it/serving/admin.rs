//! The admin port: alive, ready or why not, and the metrics.

use std::sync::Arc;

use pullpass::metrics::Metrics;
use pullpass::server::health::{Check, Health, State};
use pullpass::server::limits::Limits;
use pullpass::server::{CertificateSource, Config, Server};

use super::client::get;
use super::{Setup, until};

#[tokio::test]
async fn readiness_follows_its_checks_and_says_what_is_missing() {
    let (policies, switch) = Check::switch(
        "policies",
        State::waiting("none loaded", "look into the log"),
    );
    let health = Health::new().with(policies);
    let running = Setup {
        health,
        ..Setup::default()
    }
    .start();
    let admin = running.at.admin;

    let report = get(admin, "/readyz").await;
    assert_eq!(report.status, 503);
    assert!(
        report.body.contains("[-] policies: none loaded\n"),
        "{report:?}"
    );
    until("the self-call was answered", async || {
        get(admin, "/readyz?verbose")
            .await
            .body
            .contains("[+] self-call: ")
    })
    .await;
    let report = get(admin, "/readyz?verbose").await;
    for line in [
        "[-] policies: none loaded",
        "to mend it: look into the log",
        "[+] certificate: valid",
        "[+] shutdown",
    ] {
        assert!(report.body.contains(line), "{line}: {report:?}");
    }
    assert!(
        report.status == 503 && report.body.ends_with("not ready\n"),
        "{report:?}"
    );
    assert_eq!(
        get(admin, "/livez").await.status,
        200,
        "alive, ready or not"
    );

    switch.set(State::ready("10 rules"));
    let report = get(admin, "/readyz").await;
    assert_eq!((report.status, report.body.as_str()), (200, "ready\n"));
    let report = get(admin, "/readyz?verbose").await;
    assert!(
        report.body.contains("[+] policies: 10 rules\n"),
        "{report:?}"
    );
}

#[tokio::test]
async fn metrics_are_open_metrics_and_move() {
    let running = Setup::default().start();
    let mut client = running.client().await;
    client.is_served().await;
    let response = get(running.at.admin, "/metrics").await;
    assert_eq!(response.status, 200);
    assert!(
        response.head.contains(
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
        ),
        "{}",
        response.head
    );
    assert!(response.body.ends_with("# EOF\n"));
    for series in [
        r#"pullpass_admission_requests_total{operation="CREATE",outcome="unchanged"} 1"#,
        "pullpass_admission_duration_seconds_count 1",
        "pullpass_build_info{",
        r#"pullpass_tls_certificate_expiration_timestamp_seconds{kind="serving"} "#,
    ] {
        assert!(
            response.body.contains(series),
            "{series} is not in {}",
            response.body
        );
    }
    assert!(running.metric("pullpass_connections") >= 1.0);
}

#[tokio::test]
async fn the_admin_port_has_nothing_else() {
    let running = Setup::default().start();
    for path in ["/", "/mutate", "/readyz/", "/debug/pprof"] {
        assert_eq!(get(running.at.admin, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let running = Setup::default().start();
    let good = CertificateSource::SelfSigned { names: Vec::new() };
    let missing = CertificateSource::Files {
        cert: "/nowhere/tls.crt".into(),
        key: "k".into(),
    };
    let nameless = CertificateSource::SelfSigned {
        names: vec!["a b".to_owned()],
    };
    let free = "127.0.0.1:0".parse().unwrap();
    for (listen, admin_listen, certificate, says) in [
        (
            running.at.admission,
            free,
            good.clone(),
            "for admission requests",
        ),
        (free, running.at.admin, good, "for admin requests"),
        (free, free, missing, "cannot read `/nowhere/tls.crt`"),
        (free, free, nameless, "`a b`"),
    ] {
        let config = Config {
            listen,
            admin_listen,
            certificate,
            client_ca: None,
            drain: std::time::Duration::ZERO,
            limits: Limits::default(),
        };
        let error = Server::bind(config, Health::new(), Arc::new(Metrics::new()))
            .err()
            .unwrap();
        assert!(error.to_string().contains(says), "{error}");
    }
}
