//! What is told when something is in the way: by Events, each about the object to look at, and by metrics that alerts read.

use super::*;

const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - name: quay
      match: {images: [quay.io], SELECTED}
      inject: {imagePullSecrets: [quay@]}
  credentials:
    - {name: quay@, from: {secretRef: {name: quay-source}}}
";

/// A series' value. Labels are written in the order of their names.
fn sample(controller: &Controller, series: &str) -> Option<f64> {
    let text = controller.get("/metrics").body;
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// The series of the test's one credential; `more` are further labels.
fn of(estate: &Estate<'_>, metric: &str, more: &str) -> String {
    let name = estate.name("quay");
    format!("pullpass_{metric}{{credential=\"{name}\"{more}}}")
}

fn count_events(estate: &Estate<'_>, name: &str, reason: &str) -> usize {
    let events = estate.events(estate.own(), name);
    events.iter().filter(|(said, _)| said == reason).count()
}

#[test]
fn a_source_that_is_no_good_leaves_the_copies_and_is_told_until_it_is_mended() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let web = estate.namespace();
    let path = secret_path(estate.own(), "quay-source");
    estate.source("quay-source", &[("quay.io", "robot:one")]);
    estate.put(POLICY);
    let controller = estate.control();
    estate.until_logins(&web, "quay", &["quay.io robot:one"]);
    let note = estate.until_event(estate.own(), "policies", "CredentialRefreshed");
    assert!(note.contains("from secretRef quay-source"), "{note}");
    let due = of(&estate, "credential_renewal_timestamp_seconds", "");
    assert_eq!(sample(&controller, &due), None, "nothing is due");

    let broken = json!({"data": {".dockerconfigjson": STANDARD.encode("{\"auths\":{\"quay.io\":{\"auth\":\"bm8=\"}}}")}});
    estate.admin().merge(&path, &broken).done();
    let note = estate.until_event(estate.own(), "quay-source", "SecretMalformed");
    assert!(!note.contains("bm8"), "a value in an Event: {note}");
    wait_until("it is due", || sample(&controller, &due).is_some());
    let since = sample(&controller, &due).unwrap();
    estate.admin().delete(&path, None).done();
    let note = estate.until_event(estate.own(), "policies", "SourceSecretMissing");
    assert!(
        note.ends_with("what was written before stays"),
        "the copies: {note}"
    );
    assert_eq!(
        sample(&controller, &due),
        Some(since),
        "since it was first no good"
    );
    let failures = of(&estate, "credential_refreshes_total", ",result=\"failure\"");
    assert!(sample(&controller, &failures) >= Some(2.0));
    assert_eq!(
        estate.logins(&web, "quay").unwrap(),
        ["quay.io robot:one"],
        "the copy stays"
    );

    estate.source("quay-source", &[("quay.io", "robot:two")]);
    estate.until_logins(&web, "quay", &["quay.io robot:two"]);
    wait_until("nothing is due any more", || {
        sample(&controller, &due).is_none()
    });
    controller.stop();
}

#[test]
fn a_new_leader_tells_again_what_is_wrong_and_the_old_one_shows_nothing_any_more() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let _web = estate.namespace();
    estate.put(POLICY);
    let first = estate.control();
    estate.until_event(estate.own(), "policies", "SourceSecretMissing");
    let missing = of(&estate, "credential_secrets", ",state=\"missing\"");
    wait_until("it shows", || sample(&first, &missing) == Some(1.0));
    let second = estate.control();
    second.until_ready();
    assert_eq!(sample(&second, &missing), None, "it stands by");

    let own = estate.own();
    let at = format!("/apis/coordination.k8s.io/v1/namespaces/{own}/leases/pullpass-controller");
    let stolen = json!({"spec": {"holderIdentity": "somebody-else"}});
    estate.admin().merge(&at, &stolen).done();
    wait_until("it does not lead any more", || !first.leads());
    wait_until("it shows nothing", || {
        let text = first.get("/metrics").body;
        !text.contains("pullpass_credential_secrets{") && !text.contains("pullpass_held_pods{")
    });
    // Of both, whichever takes the Lease: the one that led tells it a second time as well.
    wait_until("one leads", || first.leads() || second.leads());
    wait_until("it is told again", || {
        count_events(&estate, "policies", "SourceSecretMissing") >= 2
    });
    first.stop();
    second.stop();
}

#[test]
fn secrets_that_no_right_covers_any_more_are_told_to_be_orphaned() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let web = estate.namespace();
    estate.source("quay-source", &[("quay.io", "robot:one")]);
    estate.put(POLICY);
    let controller = estate.control();
    estate.until_logins(&web, "quay", &["quay.io robot:one"]);
    controller.stop();

    // The rights follow the policy before anybody has removed the copies.
    estate.installation.remove("policies");
    estate.grant(&POLICY.replace("quay@", "other@"));
    let account = estate.account();
    let all = format!(
        "/api/v1/secrets?fieldSelector=metadata.name%3D{}",
        estate.name("quay")
    );
    wait_until("the right is gone", || account.get(&all).status == 403);
    let controller = estate.control();
    let orphaned = of(&estate, "credential_secrets", ",state=\"orphaned\"");
    wait_until("it shows", || sample(&controller, &orphaned) == Some(1.0));
    let mut note = String::new();
    wait_until("it is told", || {
        let told = crate::controller::events_about(estate.admin(), "default", estate.own());
        let found = told
            .into_iter()
            .find(|(reason, _)| reason == "SecretOrphaned");
        found.map(|(_, said)| note = said).is_some()
    });
    assert!(
        note.contains("controller.retiredCredentialNames") && note.contains(&estate.name("quay")),
        "{note}"
    );
    assert!(estate.logins(&web, "quay").is_some(), "they are left");

    estate.grant(POLICY);
    estate.until_gone(&web, "quay");
    wait_until("nothing is left", || {
        sample(&controller, &orphaned).is_none()
    });
    controller.stop();
}

#[test]
fn a_credential_without_a_right_says_which_and_comes_with_it() {
    let estate = Estate::on(Plane::shared(), &POLICY.replace("quay@", "other@"));
    let web = estate.namespace();
    estate.source("quay-source", &[("quay.io", "robot:one")]);
    estate.put(POLICY);
    let controller = estate.control();
    let note = estate.until_event(estate.own(), "policies", "CredentialRefreshFailed");
    assert!(note.contains("controller.credentialNames"), "{note}");
    assert_eq!(estate.logins(&web, "quay"), None);
    estate.grant(POLICY);
    estate.until_logins(&web, "quay", &["quay.io robot:one"]);
    controller.stop();
}

#[test]
fn what_is_in_the_way_in_one_namespace_holds_up_no_other() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let (full, fixed, web) = (estate.namespace(), estate.namespace(), estate.namespace());
    let admin = estate.admin();
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/secrets": "0"}}});
    let at = format!("/api/v1/namespaces/{full}/resourcequotas");
    admin.post(&at, &quota).done();
    wait_until("the quota is known", || {
        let answer = admin.get(&format!("{at}/none")).done();
        answer["status"]["hard"]["count/secrets"] == "0"
    });
    let name = estate.name("quay");
    let mut immutable = pull_secret(&name, &[("quay.io", "robot:old")]);
    immutable["metadata"]["labels"] = json!({OURS: "pullpass"});
    immutable["metadata"]["annotations"] = json!({"pullpass.dev/namespace": fixed});
    immutable["immutable"] = json!(true);
    let at = format!("{}?fieldManager=test", secret_path(&fixed, &name));
    admin.apply(&at, &immutable).done();
    estate.source("quay-source", &[("quay.io", "robot:one")]);
    estate.put(POLICY);
    let controller = estate.control();
    estate.until_logins(&web, "quay", &["quay.io robot:one"]);
    for obstacle in ["quota", "immutable"] {
        let labels = format!(",result=\"{obstacle}\"");
        let series = of(&estate, "secret_writes_total", &labels);
        wait_until(obstacle, || sample(&controller, &series) >= Some(1.0));
    }
    for (state, want) in [("fresh", 1.0), ("stale", 1.0), ("missing", 1.0)] {
        let labels = format!(",state=\"{state}\"");
        let series = of(&estate, "credential_secrets", &labels);
        wait_until(state, || sample(&controller, &series) == Some(want));
    }
    let errors = "pullpass_reconcile_errors_total{kind=\"credentials\"}";
    assert!(sample(&controller, errors) >= Some(2.0), "an alert sees it");

    // What was in the way is gone: nobody has to do anything else.
    let quota = format!("/api/v1/namespaces/{full}/resourcequotas/none");
    admin.delete(&quota, None).done();
    admin.delete(&secret_path(&fixed, &name), None).done();
    for namespace in [&full, &fixed] {
        estate.until_logins(namespace, "quay", &["quay.io robot:one"]);
    }
    controller.stop();
}
