//! Pods that wait for a Secret, as real Pods under a real API server: who is held, who never is, and for how long.
//!
//! A hand is in the controller's place, but for the test that says otherwise. In the shared plane controllers of other tests
//! may let a Pod go as soon as it is made.

use std::time::{Duration, Instant};

use pullpass::status::{GATE, Shard};
use serde_json::{Value, json};

use super::hand::Hand;
use super::install::{Installation, Webhook, put};
use super::{pod, pods, policy, secrets};
use crate::plane::hook::{Hook, patching};
use crate::plane::{Plane, wait_until};
use crate::pull_secrets::Estate;
use crate::webhook::server::{Place, Server};
use crate::webhook::{patch, review};

/// What a controller's Lease says.
const LEASE: Duration = Duration::from_secs(15);

/// Pods are held for `slow-creds` and not for `fast-creds`.
pub(super) fn held_for() -> String {
    let rules = ["slow", "fast"].map(|name| {
        format!(
            "    - {{name: {name}, match: {{images: [{name}.io]}}, inject: {{imagePullSecrets: [{name}-creds]}}}}\n"
        )
    });
    policy("company", &rules.concat())
        + "  credentials: [{name: slow-creds, holdPods: true, from: {existing: {}}}, {name: fast-creds, from: {existing: {}}}]\n"
}

/// A Pod's spec that needs `slow-creds`, with these fields beside.
fn slow(more: &Value) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "slow.io/a"}]});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn gates(pod: &Value) -> Vec<&str> {
    let gates = pod["spec"]["schedulingGates"].as_array();
    let gates = gates.into_iter().flatten();
    gates.map(|gate| gate["name"].as_str().unwrap()).collect()
}

/// A Pod as it would be created.
fn made(plane: &Plane, namespace: &str, pod: &Value) -> Value {
    let at = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    plane.admin().post(&at, pod).done()
}

fn is_held(plane: &Plane, namespace: &str) -> bool {
    let made = made(plane, namespace, &pod("p", &slow(&json!({}))));
    assert_eq!(secrets(&made), ["slow-creds"], "held or not");
    gates(&made) == [GATE]
}

fn until_held(plane: &Plane, namespace: &str, want: bool, why: &str) {
    let what = format!("Pods in {namespace} are held: {want}, as {why}");
    wait_until(&what, || is_held(plane, namespace) == want);
}

/// Everything that a webhook takes to hold Pods of its namespaces: a Lease that is kept, and no Secret.
fn hold_all<'p>(installation: &'p Installation<'p>, webhook: &Webhook<'_>) -> Hand<'p> {
    let hand = Hand::of(installation.plane, &installation.own, LEASE);
    hand.renews();
    for shard in Shard::all() {
        hand.says(shard, &[("slow-creds", &[])]);
    }
    let known = "pullpass_cache_objects{resource=\"status\"}";
    webhook.server.until_count(known, 16);
    hand
}

#[test]
fn a_pod_is_held_as_long_as_its_secret_is_surely_missing_and_somebody_would_release_it() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    installation.put("company", &held_for());
    let _webhook = installation.serve(&[]);
    let namespace = installation.namespace("holds");
    let (here, name) = (Shard::of(&namespace), &*namespace);
    let hand = Hand::of(plane, &installation.own, LEASE);
    let renewing = hand.keeps_renewing();
    assert!(!is_held(plane, name), "nobody has said anything yet");
    let missing = || {
        hand.says(here, &[("slow-creds", &["other"])]);
        until_held(plane, name, true, "its Secret is not there");
    };
    // Each back to where it is held, so that it is seen to take effect.
    missing();
    hand.says(here, &[("slow-creds", &["other", name])]);
    until_held(plane, name, false, "its Secret stands");
    missing();
    hand.says(here, &[("fast-creds", &[])]);
    until_held(plane, name, false, "nobody keeps the credential");
    missing();
    hand.unsays(here);
    until_held(plane, name, false, "nothing is said of its namespace");
    missing();
    hand.says_text(here, "{");
    until_held(plane, name, false, "what is said cannot be read");
    missing();
    hand.says_text(here, r#"{"version":2,"ready":{"slow-creds":[]}}"#);
    until_held(plane, name, false, "it is of another version");
    missing();
    installation.put(
        "company",
        &held_for().replace("holdPods: true", "keep: true"),
    );
    until_held(plane, name, false, "the policy does not say so any more");
    installation.put("company", &held_for());
    until_held(plane, name, true, "it says so again");
    renewing.stops();
    hand.gives_back();
    until_held(plane, name, false, "the Lease was given back");
    hand.renews();
    until_held(plane, name, true, "the next controller has taken it");
    hand.deletes_the_lease();
    until_held(plane, name, false, "there is no Lease");
    hand.renews();
    until_held(plane, name, true, "it is made anew");
}

#[test]
fn pods_that_could_not_wait_and_pods_of_nobodys_concern_are_never_held() {
    let plane = Plane::shared();
    let installation = Installation::with(plane, &["--tenant-policies"]);
    installation.put("company", &held_for());
    let excluded = installation.namespace("never-held-excluded");
    let scope = ["--tenant-policies", "--exclude-namespace", &excluded];
    let webhook = installation.serve_as(&scope, |entry| {
        // The webhook decides alone: the API server calls it for whatever comes.
        entry["objectSelector"] = json!({});
        entry["matchConditions"] = json!([]);
        entry["namespaceSelector"]["matchExpressions"] = json!([]);
    });
    let namespace = installation.namespace("never-held");
    let out = json!({"pullpass.dev/inject": "disabled"});
    let opted_out = installation.namespace_labelled("never-held-out", &out);
    let tenant =
        "    - {name: t, match: {images: [tenant.io]}, inject: {imagePullSecrets: [slow-creds]}}\n";
    put(plane, &namespace, "tenant", &policy("tenant", tenant));
    let tenants = json!({"containers": [{"name": "c", "image": "tenant.io/a"}]});
    webhook.until_secrets(&namespace, &tenants, &["slow-creds"]);
    let hand = hold_all(&installation, &webhook);
    let _renewing = hand.keeps_renewing();
    until_held(plane, &namespace, true, "nothing is in the way");

    let image = |image: &str| json!({"containers": [{"name": "c", "image": image}]});
    let debug = json!({
        "nodeName": "n", "hostNetwork": true, "hostPID": true, "hostIPC": true, "restartPolicy": "Never",
        "tolerations": [{"operator": "Exists"}],
        "volumes": [{"name": "host-root", "hostPath": {"path": "/"}}],
    });
    let class = |name: &str| slow(&json!({"priorityClassName": name}));
    let plain = json!({});
    let labelled = json!({"labels": {"pullpass.dev/inject": "disabled"}});
    for (namespace, spec, metadata, want, why) in [
        (&namespace, slow(&plain), &plain, true, "any Pod"),
        (
            &namespace,
            slow(&json!({"schedulerName": "other"})),
            &plain,
            true,
            "whoever schedules it",
        ),
        (
            &namespace,
            slow(&json!({"nodeName": "n"})),
            &plain,
            false,
            "one that has a node",
        ),
        (
            &namespace,
            slow(&debug),
            &plain,
            false,
            "one of kubectl debug node/n",
        ),
        (
            &namespace,
            class("system-cluster-critical"),
            &plain,
            false,
            "a critical one",
        ),
        (
            &namespace,
            class("system-node-critical"),
            &plain,
            false,
            "a critical one",
        ),
        (
            &namespace,
            image("fast.io/a"),
            &plain,
            false,
            "its credential holds nobody",
        ),
        (&namespace, image("other.io/a"), &plain, false, "no rule"),
        (
            &namespace,
            tenants.clone(),
            &plain,
            false,
            "only a tenant's rule needs it",
        ),
        (&namespace, slow(&plain), &labelled, false, "it opts out"),
        (
            &opted_out,
            slow(&plain),
            &plain,
            false,
            "its namespace opts out",
        ),
        (&excluded, slow(&plain), &plain, false, "it is excluded"),
    ] {
        let mut subject = pod("p", &spec);
        for (key, value) in metadata.as_object().unwrap() {
            subject["metadata"][key] = value.clone();
        }
        let made = made(plane, namespace, &subject);
        let want = if want { &[GATE][..] } else { &[] };
        assert_eq!(gates(&made), want, "{why}: {made}");
    }
}

#[test]
fn a_held_pod_is_not_scheduled_and_keeps_the_gates_of_others() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    installation.put("company", &held_for());
    let webhook = installation.serve(&[]);
    let namespace = installation.namespace("gated");
    let hand = hold_all(&installation, &webhook);
    let _renewing = hand.keeps_renewing();
    until_held(plane, &namespace, true, "its Secret is not there");
    let at = format!("/api/v1/namespaces/{namespace}/pods");
    let other = "other.example.com/gate";
    for (name, has, want) in [
        ("plain", json!([]), &[GATE][..]),
        ("others", json!([{"name": other}]), &[other, GATE]),
        (
            "ours",
            json!([{"name": GATE}, {"name": other}]),
            &[GATE, other],
        ),
    ] {
        let subject = pod(name, &slow(&json!({"schedulingGates": has})));
        let made = plane.admin().post(&at, &subject).done();
        assert_eq!(gates(&made), want, "{name}");
        let condition = &made["status"]["conditions"][0];
        assert_eq!(condition["reason"], "SchedulingGated", "{name}: {made}");
        assert_eq!(secrets(&made), ["slow-creds"], "which cannot come later");
        // By hand, as docs/troubleshooting.md tells.
        let released = json!({"spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]}});
        let args = ["-n", &namespace, "patch", "pod", name, "-p"];
        let ran = plane
            .admin()
            .kubectl(&[&args[..], &[&released.to_string()]].concat());
        assert_eq!(ran.status, 0, "{ran:?}");
        let released = plane.admin().get(&format!("{at}/{name}")).done();
        let left: Vec<_> = want.iter().filter(|&&gate| gate != GATE).collect();
        assert_eq!(gates(&released).iter().collect::<Vec<_>>(), left, "{name}");
    }
    // Another webhook behind ours has the API server call us again.
    let sidecar = |request: &Value| {
        let containers = request["object"]["spec"]["containers"].as_array().unwrap();
        if containers.len() > 1 {
            return json!({"allowed": true});
        }
        let container = json!({"name": "sidecar", "image": "slow.io/sidecar"});
        patching(&json!([{"op": "add", "path": "/spec/containers/-", "value": container}]))
    };
    let _mesh = Hook::start(plane, "mesh-holds", &namespace, sidecar);
    let before = webhook.calls();
    let made = made(plane, &namespace, &pod("again", &slow(&json!({}))));
    assert_eq!(gates(&made), [GATE], "once, though we were asked twice");
    assert!(webhook.calls() - before >= 2);
}

/// Of a registry whose credential is copied from a Secret in pullpass's own namespace.
const COPIED: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - {name: slow, match: {images: [slow.io], SELECTED}, inject: {imagePullSecrets: [slow@]}}
  credentials:
    - {name: slow@, holdPods: true, holdTimeout: 10m, from: {secretRef: {name: source}}}
";

/// With the real controller, in a plane of its own: a controller lets every Pod go that has nothing to wait for by its own
/// policies.
#[test]
fn pods_of_a_deployment_wait_for_the_secret_that_the_controller_makes() {
    let plane = Plane::own();
    let estate = Estate::on(&plane, COPIED);
    estate.put(COPIED);
    let webhook = estate.installation.serve(&[]);
    let namespace = estate.namespace();
    estate.installation.adopt(&namespace);
    let controller = estate.control();
    let secret = estate.name("slow");
    wait_until("a Pod would be held", || {
        let made = made(&plane, &namespace, &pod("p", &slow(&json!({}))));
        assert_eq!(secrets(&made), [&*secret], "{}", webhook.server.log());
        gates(&made) == [GATE]
    });
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": slow(&json!({}))});
    let deployment = json!({"metadata": {"name": "a"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "a"}}, "template": template,
    }});
    let at = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    plane.admin().post(&at, &deployment).done();
    wait_until("it has its Pods", || pods(&plane, &namespace).len() == 2);
    for pod in pods(&plane, &namespace) {
        assert_eq!(gates(&pod), [GATE], "its Secret has no source yet: {pod}");
        assert_eq!(secrets(&pod), [&*secret]);
    }
    estate.source("source", &[("slow.io", "robot:one")]);
    wait_until("they go", || {
        let mut pods = pods(&plane, &namespace).into_iter();
        pods.all(|pod| gates(&pod).is_empty())
    });
    assert!(estate.logins(&namespace, "slow").is_some(), "it stands");
    wait_until("the next Pod need not wait", || {
        let made = made(&plane, &namespace, &pod("p", &slow(&json!({}))));
        gates(&made).is_empty()
    });
    controller.kill();
    let killed = Instant::now();
    // Its Secret will never stand, and nobody would let its Pods go.
    let late = estate.namespace();
    estate.installation.adopt(&late);
    wait_until("no Pod is held any more", || {
        let made = made(&plane, &late, &pod("p", &slow(&json!({}))));
        secrets(&made) == [&*secret] && gates(&made).is_empty()
    });
    let took = killed.elapsed();
    assert!(took <= LEASE + Duration::from_secs(2), "{took:?}");
}

#[test]
fn when_the_lease_runs_out_nobody_is_held_any_more_nor_by_a_webhook_started_anew() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    installation.put("company", &held_for());
    let webhook = installation.serve(&[]);
    let namespace = installation.namespace("runs-out");
    let lasts = Duration::from_secs(8);
    let hand = Hand::of(plane, &installation.own, lasts);
    let here = Shard::of(&namespace);
    hand.says(here, &[("slow-creds", &[])]);
    let renewing = hand.keeps_renewing();
    until_held(plane, &namespace, true, "its Secret is not there");
    // Longer than it lasts: what counts is that it is renewed.
    let end = Instant::now() + lasts + lasts / 4;
    while Instant::now() < end {
        assert!(is_held(plane, &namespace), "{}", webhook.server.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let stopped = renewing.stops();
    until_held(plane, &namespace, false, "the Lease has run out");
    let took = stopped.elapsed();
    assert!(took <= lasts + Duration::from_secs(2), "{took:?}");
    // The last renewal was a tenth of the time before it stopped, and its way took some time as well.
    assert!(took >= lasts / 5 * 4, "not before: {took:?}");

    let second = installation.process(Place::with(""), &[]);
    let knows = |resource: &str| second.count(&format!("pullpass_cache_objects{{{resource}}}"));
    wait_until("it has read both", || {
        knows("resource=\"status\"") == 1 && knows("resource=\"leases\"") == 1
    });
    wait_until("it knows the policy", || {
        second.count("pullpass_policy_rules") == 2
    });
    let asks = |server: &Server| {
        holds(&patch(
            &server.client().ask(&review(&namespace, &["slow.io/a"])),
        ))
    };
    assert!(!asks(&second), "it never saw anybody renew it");
    let _renewing = hand.keeps_renewing();
    until_held(plane, &namespace, true, "it is renewed again");
    wait_until("the second holds as well", || asks(&second));
}

/// Whether a patch has our gate.
pub(super) fn holds(patch: &Value) -> bool {
    let operations = patch.as_array().unwrap();
    operations
        .iter()
        .any(|operation| operation["path"] == "/spec/schedulingGates")
}
