//! A certificate and its CA replaced by hand, in the order that the documentation tells: first the trust, then the pair.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pullpass::server::certificate::{self, Pair};
use serde_json::json;

use super::super::install::Installation;
use super::trust::{CONFIGURATION, Visits};
use super::{SECRET, TAKEN, flowing, in_time, installed};
use crate::plane::Plane;
use crate::webhook::server::Place;

#[test]
fn a_certificate_that_is_replaced_by_hand_with_its_ca_fails_no_pod() {
    let plane = Plane::own();
    let installation = installed(&plane);
    let place = Place::with("");
    put(&installation, &place.pair);
    let webhook = installation.start(place, &["--tls-secret", SECRET]);
    let ca = webhook.server.place.path("ca.crt");
    let webhook = webhook.configured(Some(&ca), &[], in_time);
    let stream = flowing(&installation);
    let visits = Visits::start(plane.admin(), &webhook);
    let mut old = webhook.server.place.pair.ca.clone();
    let swaps = 5;
    for _ in 0..swaps {
        let new = certificate::self_signed(&[], SystemTime::now()).unwrap();
        let both = format!("{old}{}", new.ca);
        trust(&plane, &both);
        // API servers cannot be asked what they have seen: they are given a second.
        stream.goes_on(60);
        let taken = webhook.server.count(TAKEN);
        put(&installation, &new);
        webhook.server.until_count(TAKEN, taken + 1);
        // Another text of the same meaning: the API server drops its connections and makes new ones.
        trust(&plane, &format!("{both}# the same\n"));
        stream.goes_on(60);
        trust(&plane, &new.ca);
        stream.goes_on(60);
        old = new.ca;
    }
    let visited = visits.end();
    stream.end(
        &plane,
        "certificate and CA replaced by hand",
        &format!("{swaps} rotations, {visited}"),
    );
    visited.went_well();
}

/// Puts the pair into the webhook's Secret.
fn put(installation: &Installation<'_>, pair: &Pair) {
    let at = format!(
        "/api/v1/namespaces/{}/secrets/{SECRET}?fieldManager=test",
        installation.own
    );
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": SECRET},
        "data": {"tls.crt": STANDARD.encode(&pair.certificate), "tls.key": STANDARD.encode(&pair.key)},
    });
    installation.plane.admin().apply(&at, &secret).done();
}

/// Has API servers trust these.
fn trust(plane: &Plane, bundle: &str) {
    let patch = json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": STANDARD.encode(bundle)}]);
    plane.admin().json_patch(CONFIGURATION, &patch).done();
}
