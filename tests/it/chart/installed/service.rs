//! The way most clusters call the webhook: Service, EndpointSlice, Pod. The EndpointSlice is kube-controller-manager's; the API server
//! looks it up and dials the Pod's address, which is this machine's.

use std::net::UdpSocket;

use serde_json::json;

use super::{OWN, Release, free, kubelet, pod};
use crate::plane::{wait_for, wait_until};

/// An address of this machine that may stand in an EndpointSlice: none of the loopback's.
fn own_address() -> String {
    // Nothing is sent: it is asked which address would be the sender's.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("198.51.100.1:9").unwrap_or_else(|error| {
        panic!("this machine has no address but the loopback's: {error}; `ip address add 198.51.100.2/24 dev lo` gives it one")
    });
    socket.local_addr().unwrap().ip().to_string()
}

#[test]
fn a_pod_gets_its_secret_through_service_and_endpoints() {
    let host = own_address();
    let admission = free(&host);
    let port = admission.port();
    let called = format!("port: {port}\n  replicaCount: 1");
    let release = Release::called(admission, called);
    let admin = release.admin();
    let shop = release.plane.namespace("shop");
    release.install(&release.values(""));
    let service = &release.entry()["clientConfig"]["service"];
    assert_eq!(service["name"], "pullpass-webhook", "by no URL: {service}");

    let mut processes = ["controller", "webhook"].map(|component| release.process(component));
    for process in &mut processes {
        process.until_ready();
    }
    wait_until("API servers are told whom to trust", || {
        release.entry()["clientConfig"]["caBundle"].is_string()
    });
    let create = || admin.post(&format!("/api/v1/namespaces/{shop}/pods"), &pod("nginx"));
    let refused = create();
    let (_, why) = refused.refused();
    assert!(
        why.contains("no endpoints available for service \"pullpass-webhook\""),
        "{why}"
    );

    let running = kubelet::runs_at(&release, "webhook", &host);
    let slice = wait_for("its address is known", || {
        let selector = "labelSelector=kubernetes.io/service-name%3Dpullpass-webhook";
        let at = format!("/apis/discovery.k8s.io/v1/namespaces/{OWN}/endpointslices?{selector}");
        let slices = admin.get(&at).done();
        let slice = slices["items"][0].clone();
        (slice["endpoints"][0]["conditions"]["ready"] == true).then_some(slice)
    });
    assert_eq!(slice["endpoints"][0]["addresses"], json!([host]));
    let ports = &slice["ports"][0];
    assert_eq!(
        (&ports["name"], &ports["port"]),
        (&json!("https"), &json!(port))
    );
    let made = wait_for("the webhook is called", || {
        let answer = create();
        (answer.status == 201).then_some(answer.body)
    });
    assert_eq!(made["spec"]["imagePullSecrets"], json!([{"name": "hub"}]));

    // A connection that is open is used on, whatever readiness says; only a new one goes by the EndpointSlice.
    kubelet::tell(&release, &running, "Running", false);
    drop(processes);
    wait_until("nobody is there", || {
        let answer = create();
        answer.status == 500 && answer.refused().1.contains("no endpoints available")
    });
}
