//! What goes wrong in a cluster while Pods are made all the time, with `failurePolicy: Fail`: every Pod carries its secret,
//! and none is refused because of pullpass. A file a fault.
//!
//! Each test ends with a row of the table that the run of all tests prints. Each has a plane of its own.

mod api_server;
mod balancer;
mod by_hand;
mod etcd;
mod leader;
mod lost;
mod policies;
mod restart;
mod rotations;
mod stream;
mod trust;

use serde_json::{Value, json};

use super::install::{Installation, Webhook};
use super::{HUB, policy};
use crate::controller::Controller;
use crate::plane::Plane;
use crate::webhook::server::Place;
use stream::Stream;

/// Of the serving certificate.
const SECRET: &str = "pullpass-webhook-tls";
/// How often the webhook took another one.
const TAKEN: &str = r#"pullpass_tls_reloads_total{result="success"}"#;
/// So many Pods at least are made during each fault.
const PODS: usize = 1000;

/// The policy that gives each Pod its secret.
fn company() -> String {
    policy("company", HUB)
}

/// An installation with that policy.
fn installed(plane: &Plane) -> Installation<'_> {
    let installation = Installation::alone(plane);
    installation.put("company", &company());
    installation
}

/// Has API servers call the webhook, which waits for them, and Pods made from then on.
fn flowing(installation: &Installation<'_>) -> Stream {
    let namespace = installation.plane.namespace("shop");
    Stream::start(installation.plane.admin(), &namespace, "hub-creds")
}

/// A webhook with the certificate in its files.
fn serving<'i>(installation: &'i Installation<'i>) -> Webhook<'i> {
    serving_as(installation, in_time)
}

/// The same with a change of the configurations.
fn serving_as<'i>(installation: &'i Installation<'i>, change: impl Fn(&mut Value)) -> Webhook<'i> {
    let webhook = installation.start(Place::with(""), &[]);
    let ca = webhook.server.place.path("ca.crt");
    webhook.configured(Some(&ca), &[], change)
}

/// As it is installed: whatever happens, an answer comes within the time that is rendered by default.
fn in_time(entry: &mut Value) {
    entry["timeoutSeconds"] = json!(5);
}

/// A controller under its account's own rights, for a webhook that listens here.
fn control(installation: &Installation<'_>, flags: &[&str]) -> Controller {
    let own = &installation.own;
    let account = installation.plane.account(own, "pullpass-controller");
    let kubeconfig = account.kubeconfig.to_str().unwrap();
    let always = [
        "--namespace",
        own,
        "--kubeconfig",
        kubeconfig,
        "--webhook-configuration",
        "00-pullpass",
        "--dns-name",
        "127.0.0.1,localhost",
    ];
    Controller::start(&[&always[..], flags].concat())
}

/// A webhook with the certificate that a controller makes, trusted as the controller has it.
fn controlled<'i>(installation: &'i Installation<'i>) -> Webhook<'i> {
    let webhook = installation.start(Place::with(""), &["--tls-secret", SECRET]);
    webhook.configured(None, &[], in_time)
}

/// Shows that what happens in the cluster still reaches the webhook: a policy edited now is soon in force.
fn follows(installation: &Installation<'_>, webhook: &Webhook<'_>, secret: &str) {
    let both = format!("{}{}", HUB, HUB.replace("hub", "other"));
    let both = both.replace("other-creds", secret);
    installation.put("company", &policy("company", &both));
    let namespace = installation.plane.namespace("later");
    webhook.until_secrets(&namespace, &json!({}), &["hub-creds", secret]);
}
