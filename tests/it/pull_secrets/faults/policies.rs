//! Policies that break, go and come back, change their sources and names: no Secret is removed by mistake, and none is left.

use std::time::Duration;

use super::*;

/// Two credentials, whose rules are elsewhere.
const CREDENTIALS: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - name: quay
      match: {images: [quay.io], SELECTED}
      inject: {imagePullSecrets: [quay@]}
    - name: hub
      match: {images: [docker.io], SELECTED}
      inject: {imagePullSecrets: [hub@]}
  credentials:
    - {name: quay@, from: {secretRef: {name: quay-source}}}
    - {name: hub@, from: {secretRef: {name: other-source}}}
";

/// A rule of another ConfigMap, for namespaces that the first does not select.
const RULES: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: more}
spec:
  rules:
    - name: more
      match: {images: [quay.io], namespaceSelector: {matchLabels: {tests.pullpass.dev/more: MORE}}}
      inject: {imagePullSecrets: [quay@]}
";

const BROKEN: &str =
    "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {name: more}\nspec: [";

/// Longer than Secrets stay that have to go. What is waited for is that nothing happens.
const WHILE: Duration = Duration::from_secs(8);

#[test]
fn a_policy_that_is_broken_or_away_for_a_moment_moves_no_secret() {
    let estate = Estate::on(Plane::shared(), CREDENTIALS);
    let rules = estate.text(RULES).replace("MORE", &estate.name("more"));
    let label = json!({"tests.pullpass.dev/more": estate.name("more")});
    let more = estate.installation.plane.namespace_labelled("more", &label);
    let namespaces = estate.namespaces(3);
    let (quay, hub) = (Ledger::of(&estate, "quay"), Ledger::of(&estate, "hub"));
    rotate(&estate, "robot:one");
    estate.source("other-source", &[("docker.io", "hub:one")]);
    estate.put(CREDENTIALS);
    estate.installation.put("rules", &rules);
    let controller = estate.control();
    quay.until(4, "robot:one");
    hub.until(3, "hub:one");

    // Edited badly: what it said before is in force, for new namespaces too.
    estate.installation.put("policies", BROKEN);
    estate.installation.put("rules", BROKEN);
    estate.until_event(estate.own(), "policies", "PolicyRejected");
    let late = estate.namespaces(1);
    quay.until(5, "robot:one");
    estate.put(CREDENTIALS);
    estate.installation.put("rules", &rules);
    // Deleted and made again within moments.
    for _ in 0..3 {
        estate.installation.remove("policies");
        estate.installation.remove("rules");
        std::thread::sleep(Duration::from_millis(700));
        estate.put(CREDENTIALS);
        estate.installation.put("rules", &rules);
    }
    let (_, log) = controller.stop();
    assert!(log.contains("policies loaded"), "{log}");

    // Broken when a controller begins: nothing says what it meant.
    for broken in ["rules", "policies"] {
        estate.installation.put(broken, BROKEN);
        let controller = estate.control();
        controller.until_ready();
        wait_until("it leads", || controller.leads());
        std::thread::sleep(WHILE);
        assert_eq!(deletions(&estate), [""; 0], "{broken} is broken");
        estate.put(CREDENTIALS);
        estate.installation.put("rules", &rules);
        controller.stop();
    }
    let controller = estate.control();
    rotate(&estate, "robot:two");
    quay.until(5, "robot:two");
    assert_eq!(deletions(&estate), [""; 0]);

    // One of two rows goes for good.
    let only = CREDENTIALS.replace(
        "    - {name: hub@, from: {secretRef: {name: other-source}}}\n",
        "",
    );
    for namespace in namespaces.iter().chain(&late) {
        hub.excuse(namespace);
    }
    estate.put(&only);
    for namespace in &namespaces {
        estate.until_gone(namespace, "hub");
    }
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    quay.end(&Row {
        fault: "policy broken, deleted and made again, broken at start",
        values: &["robot:one", "robot:two"],
        wanted: &[namespaces, late, vec![more]].concat(),
        waited: None,
        happened: "2 broken edits, 3 times away for 0.7 s, 2 starts with a broken ConfigMap",
    });
    hub.end(&Row {
        fault: "one of two credentials of a policy removed",
        values: &["hub:one"],
        wanted: &[],
        waited: None,
        happened: "its Secrets went, the other's stayed",
    });
}

#[test]
fn a_credential_with_another_source_or_name_moves_whole() {
    let renamed = POLICY.replace("quay@", "renamed@");
    let moved = POLICY.replace("quay-source", "other-source");
    let all = CREDENTIALS.replace("hub@", "renamed@")
        + "    - {name: late@, from: {secretRef: {name: late-source}}}\n";
    let estate = Estate::on(Plane::shared(), &all);
    let namespaces = estate.namespaces(5);
    let (old, new) = (Ledger::of(&estate, "quay"), Ledger::of(&estate, "renamed"));
    rotate(&estate, "robot:one");
    estate.source("other-source", &[("quay.io", "robot:other")]);
    estate.put(POLICY);
    let controller = estate.control();
    old.until(5, "robot:one");
    estate.put(&moved);
    old.until(5, "robot:other");
    // To one that is not there, and that comes later.
    estate.put(&moved.replace("other-source", "late-source"));
    estate.until_event(estate.own(), "policies", "SourceSecretMissing");
    assert_eq!(old.count("robot:other"), 5, "what was written before stays");
    estate.put(&moved);
    for namespace in &namespaces {
        old.excuse(namespace);
    }
    estate.put(&renamed);
    new.until(5, "robot:one");
    for namespace in &namespaces {
        estate.until_gone(namespace, "quay");
    }
    wait_until("the name is forgotten", || {
        estate.status()["names"] == json!([estate.name("renamed")])
    });
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    old.end(&Row {
        fault: "credential's source changed",
        values: &["robot:one", "robot:other"],
        wanted: &[],
        waited: None,
        happened: "to another Secret, and to one that is not there",
    });
    new.end(&Row {
        fault: "credential renamed",
        values: &["robot:one"],
        wanted: &namespaces,
        waited: None,
        happened: "the new Secrets came, the old ones went",
    });
}
