//! The first Pods of new namespaces, made at once with them, through a real webhook under `failurePolicy: Fail` and a real
//! controller: none could have been bound to a node before its Secret stood.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::holds::plane;
use super::*;

const NAMESPACES: usize = 50;
const PODS: usize = 4;

#[test]
fn no_pod_of_a_new_namespace_starts_before_its_secret_stands() {
    let plane = plane();
    let policy = POLICY.replace("from:", "holdPods: true, holdTimeout: 30s, from:");
    let estate = Estate::on(&plane, &policy);
    rotate(&estate, "robot:one");
    estate.put(&policy);
    let controller = estate.control();
    controller.until_ready();
    let webhook = estate.installation.serve(&[]);
    wait_until("the webhook is told", || {
        let known = webhook.server.get("/metrics").body;
        let mut lines = known.lines();
        let status = lines
            .find_map(|line| line.strip_prefix("pullpass_cache_objects{resource=\"status\"} "));
        estate.status()["ready"][estate.name("quay")].is_array()
            && status.is_some_and(|n| n.trim() == "16")
    });
    let ledger = Ledger::of(&estate, "quay");
    let waiting = Waiting::on(&plane);
    let mut labels = estate.labels();
    labels[estate.installation.label()] = json!("true");
    let names: Vec<_> = (0..NAMESPACES).map(|n| format!("fresh-{n}")).collect();
    std::thread::scope(|scope| {
        for some in names.chunks(NAMESPACES / 10) {
            let (estate, labels) = (&estate, &labels);
            scope.spawn(move || {
                for name in some {
                    make(estate, name, labels);
                }
            });
        }
    });
    ledger.until(NAMESPACES, "robot:one");
    wait_until("each was seen", || waiting.seen() == NAMESPACES * PODS);
    let waited = waiting.end(Duration::from_secs(30), None);
    let stood: BTreeMap<_, _> = names
        .iter()
        .map(|name| {
            let secret = estate.secret(name, &estate.name("quay")).unwrap();
            let version = secret["metadata"]["resourceVersion"].as_str().unwrap();
            (name.clone(), version.parse::<u64>().unwrap())
        })
        .collect();
    for (namespace, version) in &waited.free {
        let stood = stood[namespace];
        assert!(
            stood < *version,
            "in {namespace} a Pod was free in version {version}, its Secret stood in {stood}"
        );
    }
    let log = controller.log();
    assert!(!log.contains("it was held as long as it may be"), "{log}");
    let at = |part: usize| {
        waited
            .times
            .get((waited.times.len() * part / 100).min(waited.times.len() - 1))
    };
    let told = [50, 99].map(|part| at(part).unwrap().as_millis());
    let happened = format!(
        "{} Pods made with their {NAMESPACES} namespaces, {} held: p50 {} ms, p99 {} ms; none was free before its Secret stood",
        NAMESPACES * PODS,
        waited.held,
        told[0],
        told[1]
    );
    ledger.end(&Row {
        fault: "200 Pods made at once with 50 namespaces",
        values: &["robot:one"],
        wanted: &names,
        waited: Some(waited),
        happened: &happened,
    });
    controller.stop();
}

/// A namespace and its Pods, as fast as they can be made.
fn make(estate: &Estate<'_>, name: &str, labels: &Value) {
    let object = json!({"metadata": {"name": name, "labels": labels}});
    estate.admin().post("/api/v1/namespaces", &object).done();
    for n in 0..PODS {
        let pod = json!({
            "metadata": {"name": format!("pod-{n}")},
            "spec": {"containers": [{"name": "c", "image": "quay.io/org/app:1"}]},
        });
        // Its default account may not be there yet, which is the API server's to say.
        wait_until("it is made", || {
            let answer = create_pod(estate.admin(), name, &pod);
            let said = answer.body["message"].as_str().unwrap_or_default();
            assert!(!said.contains("webhook"), "{said}");
            answer.status == 201
        });
    }
}
