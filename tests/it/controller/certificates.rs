//! What a controller makes of nothing, of certificates of another time, and of Secrets that are not its own.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::*;

const YEAR: Duration = Duration::from_hours(365 * 24);

#[test]
fn a_first_start_makes_everything_and_nothing_more_is_written_at_rest() {
    let plane = Plane::shared();
    let site = Site::on(plane);
    site.configure();
    let controller = site.control(&[]);
    wait_until("all is made", || site.is_at_rest());
    controller.until_ready();

    for (name, keys) in [
        ("pullpass-ca", &["tls.crt", "tls.key"][..]),
        ("pullpass-webhook-tls", &["ca.crt", "tls.crt", "tls.key"]),
    ] {
        let secret = site.secret(name).unwrap();
        assert_eq!(secret["type"], "kubernetes.io/tls", "{name}");
        assert_eq!(
            secret["metadata"]["labels"],
            json!({"app.kubernetes.io/managed-by": "pullpass"}),
            "{name}"
        );
        let data = secret["data"].as_object().unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), keys, "{name}");
    }
    let own = site.installation.own.clone();
    let told = [
        (own.as_str(), "pullpass-ca"),
        (own.as_str(), "pullpass-webhook-tls"),
        ("default", site.configuration.as_str()),
    ];
    for (namespace, name) in told {
        let (reason, note) = wait_for(name, || site.events(namespace, name).pop());
        assert_eq!(reason, "CertificateRotated", "{name}: {note}");
    }

    // Two renewals of the Lease later: nothing but these was written.
    let user = format!(
        "system:serviceaccount:{}:pullpass-controller",
        site.installation.own
    );
    let writes = || {
        let written = plane.audited(|event| {
            let verb = event["verb"].as_str().unwrap_or_default();
            event["user"]["username"] == *user
                && event["stage"] == "ResponseComplete"
                && ["create", "patch", "update", "delete"].contains(&verb)
                && event["objectRef"]["resource"] != "leases"
        });
        written.len()
    };
    let before = writes();
    assert!(before >= 4, "the audit log knows them: {before}");
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(writes(), before, "{}", controller.log());
}

#[test]
fn certificates_of_another_time_are_replaced_at_the_start() {
    let plane = Plane::shared();
    let now = SystemTime::now();
    let day = Duration::from_hours(24);
    for (at, lifetime, why) in [
        (now - YEAR, 364 * day, "expired yesterday"),
        (now + 30 * day, YEAR, "made by a clock a month ahead"),
        (now - 200 * day, 210 * day, "due"),
    ] {
        let site = Site::on(plane);
        site.configure();
        let (ca, serving) = made(at, lifetime);
        site.plant("pullpass-ca", &ca, &json!({}));
        site.plant(
            "pullpass-webhook-tls",
            &serving,
            &json!({"ca.crt": ca.certificate}),
        );
        site.set_bundle(&ca.certificate);
        let _controller = site.control(&SHORT);
        wait_until(why, || site.is_at_rest());
        assert_ne!(site.ca().unwrap(), ca.certificate, "{why}");
        assert_ne!(site.served().unwrap(), serving.certificate, "{why}");
    }
}

#[test]
fn a_key_of_another_certificate_or_broken_pem_is_replaced() {
    let plane = Plane::shared();
    for break_ in ["ca", "serving"] {
        let site = Site::on(plane);
        site.configure();
        let (ca, serving) = made(SystemTime::now(), YEAR);
        let (other, _) = made(SystemTime::now(), YEAR);
        let mixed = |pair: &Keyed| Keyed {
            certificate: pair.certificate.clone(),
            key: other.key.clone(),
        };
        if break_ == "ca" {
            site.plant("pullpass-ca", &mixed(&ca), &json!({}));
            site.plant("pullpass-webhook-tls", &serving, &json!({}));
        } else {
            site.plant("pullpass-ca", &ca, &json!({}));
            site.plant("pullpass-webhook-tls", &mixed(&serving), &json!({}));
        }
        site.set_bundle(&ca.certificate);
        let _controller = site.control(&SHORT);
        wait_until(break_, || site.is_at_rest());
    }
}

#[test]
fn a_secret_of_somebody_else_is_never_touched_and_told() {
    let plane = Plane::shared();
    for name in ["pullpass-ca", "pullpass-webhook-tls"] {
        let site = Site::on(plane);
        site.configure();
        let (ca, _) = made(SystemTime::now(), YEAR);
        site.plant(name, &ca, &json!({}));
        let labels = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}});
        let foreign = site.admin().merge(&site.secret_path(name), &labels).done();
        let controller = site.control(&[]);
        let own = site.installation.own.clone();
        let (reason, note) = wait_for("an Event", || site.events(&own, name).pop());
        assert_eq!(reason, "CertificateRotationFailed");
        assert!(
            note.contains("is not pullpass's") && note.contains("delete or rename it"),
            "{note}"
        );
        let answer = controller.get("/readyz");
        assert_eq!(answer.status, 503);
        assert!(
            answer
                .body
                .contains(&format!("the Secret `{name}` is not pullpass's")),
            "{}",
            answer.body
        );
        let now = site.secret(name).unwrap();
        assert_eq!(
            now["metadata"]["resourceVersion"],
            foreign["metadata"]["resourceVersion"]
        );

        site.delete_secret(name);
        wait_until("it heals when the Secret is gone", || site.is_at_rest());
        controller.until_ready();
    }
}

#[test]
fn all_three_configurations_are_kept_and_an_absent_one_is_waited_for() {
    let plane = Plane::own();
    let site = Site::named(&plane, "00-pullpass");
    let controller = site.control(&[]);
    controller.until_ready();
    let admin = plane.admin();
    // One after the other, behind a running controller.
    for (kind, name) in [
        ("validating", "pullpass-policies"),
        ("mutating", "00-pullpass"),
        ("validating", "pullpass-ephemeralcontainers"),
        ("validating", "somebody-elses"),
    ] {
        configure(admin, kind, name, &["a.tests.example", "b.tests.example"]);
        let kept = |name: &str| {
            bundles(admin, kind, name)
                .iter()
                .all(|bundle| bundle.contains("BEGIN"))
        };
        if name == "somebody-elses" {
            assert!(!kept(name));
        } else {
            wait_until(name, || kept(name));
        }
    }
    wait_until("all is well", || site.is_at_rest());
}

#[test]
fn other_names_make_another_certificate_of_the_same_ca() {
    let plane = Plane::shared();
    let site = Site::on(plane);
    site.configure();
    let (ca, _) = made(SystemTime::now(), YEAR);
    let names = ["old.tests.example".to_owned()];
    let validity = Validity::starting(SystemTime::now(), YEAR / 4);
    let serving = certificate::serving(&ca, &names, validity).unwrap();
    site.plant("pullpass-ca", &ca, &json!({}));
    site.plant("pullpass-webhook-tls", &serving, &json!({}));
    site.set_bundle(&ca.certificate);
    let _controller = site.control(&[]);
    wait_until("it is for the name that is asked for", || site.is_at_rest());
    assert_eq!(site.ca().unwrap(), ca.certificate);
}
