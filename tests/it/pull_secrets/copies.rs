//! Copies of a Secret: made, rotated, healed, removed; those of others left alone; nothing written at rest.

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

#[test]
fn a_secret_is_copied_rotated_healed_and_removed_with_its_row() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let (web, api) = (estate.namespace(), estate.namespace());
    let other = estate.installation.plane.namespace("other");
    estate.source("quay-source", &[("quay.io", "robot:first-password")]);
    estate.put(POLICY);
    let controller = estate.control();
    for namespace in [&web, &api] {
        estate.until_logins(namespace, "quay", &["quay.io robot:first-password"]);
    }
    controller.until_ready();
    let copy = estate.secret(&web, &estate.name("quay")).unwrap();
    assert_eq!(copy["type"], "kubernetes.io/dockerconfigjson");
    assert_eq!(
        copy["metadata"]["labels"],
        json!({OURS: "pullpass"}),
        "it inherits no label"
    );
    let annotations = &copy["metadata"]["annotations"];
    assert_eq!(annotations["pullpass.dev/policy"], "company");
    assert_eq!(annotations["pullpass.dev/source"], "secretRef quay-source");
    assert_eq!(
        estate.secret(&other, &estate.name("quay")),
        None,
        "no rule needs it there"
    );
    assert_eq!(
        estate.secret(estate.own(), &estate.name("quay")),
        None,
        "nor in our own"
    );

    // A new namespace, at once.
    let late = estate.namespace();
    estate.until_logins(&late, "quay", &["quay.io robot:first-password"]);

    // A rotation.
    estate.source("quay-source", &[("quay.io", "robot:second-password")]);
    for namespace in [&web, &api, &late] {
        estate.until_logins(namespace, "quay", &["quay.io robot:second-password"]);
    }

    // By hand: deleted, edited, its label of another namespace's copy.
    let at = secret_path(&web, &estate.name("quay"));
    estate.admin().delete(&at, None).done();
    estate.until_logins(&web, "quay", &["quay.io robot:second-password"]);
    let edited = json!({"data": {".dockerconfigjson": STANDARD.encode("{\"auths\":{}}")}});
    estate.admin().merge(&at, &edited).done();
    estate.until_logins(&web, "quay", &["quay.io robot:second-password"]);
    let edited = json!({"metadata": {"annotations": {"pullpass.dev/policy": "else"}}});
    estate.admin().merge(&at, &edited).done();
    wait_until("the annotation is mended", || {
        let copy = estate.secret(&web, &estate.name("quay")).unwrap();
        copy["metadata"]["annotations"]["pullpass.dev/policy"] == "company"
    });

    // A namespace that leaves the rule's reach.
    let labels = json!({"metadata": {"labels": {"tests.pullpass.dev/estate": null}}});
    let namespace = format!("/api/v1/namespaces/{api}");
    estate.admin().merge(&namespace, &labels).done();
    estate.until_gone(&api, "quay");

    // The row goes, and everything with it; nobody remembers the name then.
    estate.installation.remove("policies");
    estate.until_gone(&web, "quay");
    estate.until_gone(&late, "quay");
    wait_until("the name is forgotten", || {
        estate.status()["names"] == json!([])
    });
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    for secret in ["robot", "cm9ib3Q"] {
        assert!(!log.contains(secret), "a value in the log: {log}");
    }
}

#[test]
fn nothing_is_written_at_rest_and_nothing_after_a_restart() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let namespaces = [estate.namespace(), estate.namespace(), estate.namespace()];
    estate.source("quay-source", &[("quay.io", "robot:first-password")]);
    estate.put(POLICY);
    let controller = estate.control();
    for namespace in &namespaces {
        estate.until_logins(namespace, "quay", &["quay.io robot:first-password"]);
    }
    wait_until("it is told", || {
        controller.get("/metrics").body.contains(&format!(
            "pullpass_credential_secrets{{credential=\"{}\",state=\"fresh\"}} 3",
            estate.name("quay")
        ))
    });
    let before = estate.writes();
    let made = before
        .iter()
        .filter(|line| line.contains(" secrets "))
        .count();
    assert_eq!(made, 3, "{before:?}");
    assert!(
        before
            .iter()
            .all(|line| line.ends_with(" 201") || line.ends_with(" 200")),
        "{before:?}"
    );
    controller.stop();

    let controller = estate.control();
    controller.until_ready();
    wait_until("it leads", || controller.leads());
    // Something that it has to do shows that it is at work.
    let late = estate.namespace();
    estate.until_logins(&late, "quay", &["quay.io robot:first-password"]);
    let after = estate.writes();
    let new: Vec<_> = after.iter().skip(before.len()).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    controller.stop();
}

#[test]
fn a_secret_of_somebody_else_is_neither_changed_nor_adopted_nor_removed() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let (web, equal, labelled) = (estate.namespace(), estate.namespace(), estate.namespace());
    estate.source("quay-source", &[("quay.io", "robot:first-password")]);
    let name = estate.name("quay");
    let plant = |namespace: &str, secret: &Value| {
        let at = format!("{}?fieldManager=test", secret_path(namespace, &name));
        estate.admin().apply(&at, secret).done();
        estate.secret(namespace, &name).unwrap()["metadata"].clone()
    };
    let different = plant(
        &web,
        &pull_secret(&name, &[("quay.io", "mine:own-password")]),
    );
    // Equal to the byte: an apply would be taken as a second owner.
    let same = plant(
        &equal,
        &pull_secret(&name, &[("quay.io", "robot:first-password")]),
    );
    let mut copied = pull_secret(&name, &[("quay.io", "robot:first-password")]);
    copied["metadata"] = json!({
        "name": name, "labels": {OURS: "pullpass"}, "annotations": {"pullpass.dev/namespace": "elsewhere"},
    });
    let copied = plant(&labelled, &copied);
    estate.put(POLICY);
    let controller = estate.control();
    let note = estate.until_event(estate.own(), "policies", "SecretNotOurs");
    assert!(note.contains(&web) && note.contains(&equal), "{note}");
    let late = estate.namespace();
    estate.until_logins(&late, "quay", &["quay.io robot:first-password"]);
    let metrics = controller.get("/metrics").body;
    let foreign = format!("credential_secrets{{credential=\"{name}\",state=\"foreign\"}} 3");
    assert!(metrics.contains(&foreign), "{metrics}");
    estate.installation.remove("policies");
    estate.until_gone(&late, "quay");
    for (namespace, before) in [(&web, different), (&equal, same), (&labelled, copied)] {
        let now = estate.secret(namespace, &name).unwrap();
        assert_eq!(now["metadata"], before, "it was touched");
    }
    controller.stop();
}

#[test]
fn a_restarted_controller_removes_what_another_has_written_and_keeps_what_says_keep() {
    let kept = POLICY.replace(
        "from: {secretRef: {name: quay-source}}",
        "keep: true, from: {secretRef: {name: quay-source}}",
    );
    for (policy, stays) in [(POLICY, false), (&*kept, true)] {
        let estate = Estate::on(Plane::shared(), policy);
        let web = estate.namespace();
        estate.source("quay-source", &[("quay.io", "robot:first-password")]);
        estate.put(policy);
        let controller = estate.control();
        estate.until_logins(&web, "quay", &["quay.io robot:first-password"]);
        controller.stop();
        estate.installation.remove("policies");
        let controller = estate.control();
        if stays {
            controller.until_ready();
            wait_until("it leads", || controller.leads());
            wait_until("the status is written", || {
                estate.status()["names"] == json!([])
            });
            assert!(estate.logins(&web, "quay").is_some(), "it says keep");
        } else {
            estate.until_gone(&web, "quay");
        }
        controller.stop();
    }
}
