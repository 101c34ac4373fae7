//! Rights that are missing: what they are needed for is told, nothing else stands still, and all goes on when they are granted,
//! without a restart.

use std::time::Duration;

use super::super::holds::{held, plane};
use super::*;

/// A second credential beside that of [`POLICY`].
fn two() -> String {
    let rule = "    - name: hub\n      match: {images: [docker.io], SELECTED}\n      inject: {imagePullSecrets: [hub@]}\n";
    let credential = "    - {name: hub@, from: {secretRef: {name: hub-source}}}\n";
    let with_rule = POLICY.replace("  credentials:", &format!("{rule}  credentials:"));
    format!("{with_rule}{credential}")
}

/// The controller's rights in the whole cluster, changed by hand.
fn change_rights(estate: &Estate<'_>, change: impl Fn(&mut Value)) {
    let name = format!("pullpass-controller-{}", estate.own());
    let at = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}");
    let mut role = estate.admin().get(&at).done();
    for rule in role["rules"].as_array_mut().unwrap() {
        change(rule);
    }
    // As whoever has granted them, and can grant them again.
    role["metadata"] = json!({"name": name, "labels": role["metadata"]["labels"]});
    let at = format!("{at}?fieldManager=install");
    estate.admin().apply(&at, &role).done();
}

fn without(verb: &str, resource: &str) -> impl Fn(&mut Value) {
    let (verb, resource) = (json!(verb), json!([resource]));
    move |rule| {
        if rule["resources"] == resource {
            rule["verbs"]
                .as_array_mut()
                .unwrap()
                .retain(|granted| *granted != verb);
        }
    }
}

#[test]
fn a_credential_without_rights_is_told_and_the_others_go_on() {
    // Rights for one of two credentials.
    let estate = Estate::on(Plane::shared(), POLICY);
    let mut namespaces = estate.namespaces(4);
    let (quay, hub) = (Ledger::of(&estate, "quay"), Ledger::of(&estate, "hub"));
    rotate(&estate, "robot:one");
    estate.source("hub-source", &[("docker.io", "hub:one")]);
    let controller = estate.control();
    estate.put(&two());
    let failures = refreshes(&estate, "hub", "failure");
    let note = estate.until_event(estate.own(), "policies", "CredentialRefreshFailed");
    assert!(
        note.contains(&estate.name("hub")) && note.contains("may not be read"),
        "{note}"
    );
    assert!(count(&controller, &failures) > 0);
    quay.until(4, "robot:one");
    rotate(&estate, "robot:two");
    quay.until(4, "robot:two");
    assert_eq!(hub.count("hub:one"), 0);
    estate.grant(&two());
    hub.until(4, "hub:one");

    // No new Secret may be made.
    change_rights(&estate, without("create", "secrets"));
    let late = estate.namespaces(1);
    let refused = writes(&estate, "quay", "forbidden");
    wait_until("it is told", || count(&controller, &refused) > 0);
    rotate(&estate, "robot:three");
    quay.until(4, "robot:three");
    let tries = count(&controller, &refused);
    estate.grant(&two());
    namespaces.extend(late);
    quay.until(5, "robot:three");
    hub.until(5, "hub:one");
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("\"obstacle\":\"forbidden\""), "{log}");
    quay.end(&Row {
        fault: "right to make Secrets missing, then granted",
        values: &["robot:one", "robot:two", "robot:three"],
        wanted: &namespaces,
        waited: None,
        happened: &format!("{tries} refusals, rotations went on"),
    });
    hub.end(&Row {
        fault: "right to a credential's Secrets missing, then granted",
        values: &["hub:one"],
        wanted: &namespaces,
        waited: None,
        happened: "told by an Event; the other credential was not held up",
    });
}

#[test]
fn a_source_that_may_not_be_read_is_told_and_read_once_it_may_be() {
    let elsewhere = POLICY.replace("quay-source", "somewhere");
    let estate = Estate::on(Plane::shared(), &elsewhere);
    let namespaces = estate.namespaces(3);
    let ledger = Ledger::of(&estate, "quay");
    rotate(&estate, "robot:one");
    estate.put(POLICY);
    let controller = estate.control();
    let note = estate.until_event(estate.own(), "policies", "CredentialRefreshFailed");
    assert!(
        note.contains("`quay-source`") && note.contains("may not be read"),
        "{note}"
    );
    controller.until_ready();
    estate.grant(POLICY);
    ledger.until(3, "robot:one");
    controller.stop();
    ledger.end(&Row {
        fault: "right to the source Secret missing, then granted",
        values: &["robot:one"],
        wanted: &namespaces,
        waited: None,
        happened: "told by an Event; copied without a restart",
    });
}

#[test]
fn nobody_is_held_who_could_not_be_let_go() {
    let plane = plane();
    let policy = POLICY.replace("from:", "holdPods: true, holdTimeout: 4s, from:");
    let estate = Estate::on(&plane, &policy);
    change_rights(&estate, without("patch", "pods"));
    let mut namespaces = vec![estate.namespace()];
    let ledger = Ledger::of(&estate, "quay");
    let waiting = Waiting::on(&plane);
    rotate(&estate, "robot:one");
    estate.put(&policy);
    let controller = estate.control();
    ledger.until(1, "robot:one");
    controller.until_ready();
    wait_until("it is told", || {
        controller.log().contains("Pods may not be let go")
    });
    assert_eq!(
        estate.status()["ready"],
        json!({}),
        "no webhook holds a Pod"
    );
    estate.grant(&policy);
    let name = estate.name("quay");
    let announced = |namespaces: &[String]| {
        let mut sorted = namespaces.to_vec();
        sorted.sort();
        let status = estate.status();
        let ready = status["ready"][&name].as_array().cloned();
        ready.is_some_and(|mut ready| {
            ready.sort_by_key(ToString::to_string);
            ready == sorted
        })
    };
    wait_until("webhooks are told", || announced(&namespaces));

    // The right goes while a Pod is held; and comes again.
    change_rights(&estate, without("patch", "pods"));
    let forbidden = estate.account();
    wait_until("it is gone", || {
        let review = json!({"spec": {"resourceAttributes": {"verb": "patch", "resource": "pods"}}});
        let at = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        forbidden.post(at, &review).done()["status"]["allowed"] != true
    });
    create_pod(estate.admin(), &namespaces[0], &held("waits", &[&name])).done();
    wait_until("nothing is announced any more", || {
        estate.status()["ready"] == json!({})
    });
    assert_eq!(waiting.now(), 1, "nobody may let it go");
    // Copies do not need that right.
    namespaces.extend(estate.namespaces(1));
    ledger.until(2, "robot:one");
    let back = std::time::Instant::now();
    estate.grant(&policy);
    wait_until("webhooks are told again", || announced(&namespaces));
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    let refusals = log.matches("cannot let a Pod go").count();
    assert!(refusals <= 3, "{refusals} tries in vain");
    let soon = back + Duration::from_secs(8);
    ledger.end(&Row {
        fault: "right to let Pods go missing, granted, taken, granted",
        values: &["robot:one"],
        wanted: &namespaces,
        waited: Some(waiting.end(Duration::from_secs(4), Some(soon))),
        happened: &format!("nothing announced meanwhile, {refusals} tries in vain"),
    });
}
