//! What a controller says, from an API server that misbehaves: a webhook serves without it, and nothing that comes stops
//! its watches.

use pullpass::status::Shard;
use serde_json::{Value, json};

use super::fake::{Fake, Mood, OWN};
use super::hand::held_lease;
use super::holds::{held_for, holds};
use crate::plane::wait_until;
use crate::webhook::server::Server;
use crate::webhook::{patch, review};

/// A webhook of this API server, and whether it holds a Pod in `web`.
fn asked(fake: &Fake) -> (Server, impl Fn(&Server) -> bool) {
    let namespace =
        json!({"metadata": {"name": "web", "labels": {"kubernetes.io/metadata.name": "web"}}});
    fake.holds("namespaces", &[namespace]);
    let account = json!({"metadata": {"name": "default", "namespace": "web"}});
    fake.holds("serviceaccounts", &[account]);
    let metadata =
        json!({"name": "company", "namespace": OWN, "labels": {"pullpass.dev/policy": "true"}});
    let map = json!({"metadata": metadata, "data": {"policy.yaml": held_for()}});
    fake.holds("configmaps", &[map]);
    let server = fake.webhook();
    server.until_ready();
    (server, |server| {
        holds(&patch(&server.client().ask(&review("web", &["slow.io/a"]))))
    })
}

fn status(name: &str, text: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": OWN}, "data": {"status.json": text}})
}

const LACKING: &str = r#"{"version":1,"ready":{"slow-creds":[]}}"#;

#[test]
fn without_the_right_to_read_what_a_controller_says_a_webhook_serves_and_holds_nobody() {
    let fake = Fake::start();
    for resource in ["status", "leases"] {
        fake.becomes(resource, Mood::Refuses(403));
    }
    let shard = Shard::of("web").to_string();
    fake.holds("status", &[status(&shard, &json!(LACKING))]);
    fake.holds("leases", &[held_lease()]);
    let (server, is_held) = asked(&fake);
    for resource in ["status", "leases"] {
        let of = |metric: &str| server.count(&format!("{metric}{{resource=\"{resource}\"}}"));
        wait_until("it is counted", || of("pullpass_watch_errors_total") > 0);
        assert_eq!(of("pullpass_cache_synced"), 0, "{resource}");
    }
    for what in [
        "the status ConfigMaps in `pullpass-system` may not be read",
        "the Lease `pullpass-controller` may not be read",
    ] {
        wait_until("it is told", || server.log().contains(what));
    }
    assert!(!is_held(&server));
    assert_eq!(server.get("/readyz").status, 200);
    for resource in ["status", "leases"] {
        fake.becomes(resource, Mood::Answers);
    }
    wait_until("both are read", || {
        ["status", "leases"].iter().all(|resource| {
            server.count(&format!("pullpass_cache_synced{{resource=\"{resource}\"}}")) == 1
        })
    });
    // The Lease may have run out by now; its next renewal counts.
    let mut renewed = held_lease();
    renewed["spec"]["leaseTransitions"] = json!(2);
    fake.sends("leases", "MODIFIED", &renewed);
    wait_until("it holds Pods", || is_held(&server));
}

#[test]
fn a_status_or_lease_of_a_wrong_shape_stops_no_watch_and_holds_nobody() {
    let fake = Fake::start();
    let shard = Shard::of("web").to_string();
    let other = Shard::all().map(|shard| shard.to_string());
    let other = other.into_iter().find(|name| *name != shard).unwrap();
    let odd = [
        json!({"metadata": {"name": "any", "namespace": OWN}, "data": {"status.json": LACKING}}),
        json!({"metadata": {"name": other, "namespace": OWN}, "data": [3]}),
        json!({"metadata": {"name": shard, "namespace": OWN}, "data": {"status.json": 3}}),
    ];
    fake.holds("status", &odd);
    fake.holds("leases", &[held_lease()]);
    let (server, is_held) = asked(&fake);
    wait_until("both are read", || {
        ["status", "leases"].iter().all(|resource| {
            server.count(&format!("pullpass_cache_synced{{resource=\"{resource}\"}}")) == 1
        })
    });
    assert!(!is_held(&server), "none can be read");
    for object in &odd {
        fake.sends("status", "MODIFIED", object);
    }
    fake.sends("status", "MODIFIED", &status(&shard, &json!(LACKING)));
    wait_until("what can be read counts", || {
        let mut renewed = held_lease();
        renewed["spec"]["leaseTransitions"] = json!(2);
        fake.sends("leases", "MODIFIED", &renewed);
        is_held(&server)
    });
    fake.sends(
        "leases",
        "MODIFIED",
        &json!({"metadata": {"name": "pullpass-controller"}, "spec": 3}),
    );
    let errors = "pullpass_watch_errors_total{resource=\"leases\"}";
    wait_until("it is counted", || server.count(errors) > 0);
    fake.sends("status", "DELETED", &status(&shard, &json!(3)));
    wait_until("it leaves by its name", || !is_held(&server));
    assert_eq!(server.get("/readyz").status, 200);
}
