//! No value of a credential is said anywhere but in the Secrets that hold it: not in a log at its most talkative, an Event,
//! a metric, an annotation, a status or an error.

use super::*;
use crate::moto::Moto;
use crate::seeded::{assert_silent, seed};

const POLICY: &str = "
apiVersion: pullpass.dev/v1
kind: RegistryPolicy
metadata: {name: company}
spec:
  rules:
    - name: all
      match: {images: ['*'], SELECTED}
      inject: {imagePullSecrets: [good@, cloud@, broken@, foreign@, absent@]}
  credentials:
    - {name: good@, holdPods: true, from: {secretRef: {name: good-source}}}
    - {name: cloud@, from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1]}}}
    - {name: broken@, from: {secretRef: {name: broken-source}}}
    - {name: foreign@, from: {secretRef: {name: good-source}}}
    - {name: absent@, from: {secretRef: {name: absent-source}}}
";

#[test]
fn what_a_secret_holds_is_said_nowhere_else() {
    let plane = Plane::own();
    let moto = Moto::start();
    moto.set(&json!({"lifetimes": {"us-east-1": 6}}));
    let estate = Estate::on(&plane, POLICY);
    let web = estate.namespace();
    estate.source("good-source", &[("quay.io", "robot:correct-horse-battery")]);
    // What cannot be read as a pull secret holds something all the same.
    let broken = "not-json-but-staple-secret";
    seed(broken);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "broken-source"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": STANDARD.encode(format!("{{\"auths\":{{\"quay.io\":{{\"auth\":\"{broken}\"}}}}}}"))},
    });
    let at = secret_path(estate.own(), "broken-source");
    estate
        .admin()
        .apply(&format!("{at}?fieldManager=test"), &secret)
        .done();
    let mine = pull_secret(
        &estate.name("foreign"),
        &[("quay.io", "me:hunter-number-two")],
    );
    let at = format!("/api/v1/namespaces/{web}/secrets");
    estate.admin().post(&at, &mine).done();
    estate.put(POLICY);
    let env = moto.env();
    let env: Vec<_> = env.iter().map(|(key, value)| (&**key, &**value)).collect();
    seed(&moto.secret);
    let controller = estate.control_with(&["--log", "trace"], &env);
    estate.until_logins(&web, "good", &["quay.io robot:correct-horse-battery"]);
    for (reason, about, namespace) in [
        ("SecretMalformed", "broken-source", estate.own()),
        ("SourceSecretMissing", "policies", estate.own()),
        ("SecretNotOurs", "policies", estate.own()),
        ("CredentialRefreshed", "policies", estate.own()),
    ] {
        estate.until_event(namespace, about, reason);
    }
    wait_until("tokens were fetched twice", || moto.passwords().len() > 1);
    // Values that are refused, and a source that fails, say why and nothing else.
    moto.fail("ecr", "malformed");
    estate.until_event(estate.own(), "policies", "CredentialRefreshFailed");
    moto.heal();
    estate.source(
        "good-source",
        &[("quay.io", "robot:incorrect-horse-battery")],
    );
    estate.until_logins(&web, "good", &["quay.io robot:incorrect-horse-battery"]);

    for password in moto.passwords() {
        seed(&password);
    }
    assert!(
        estate
            .logins(&web, "cloud")
            .is_some_and(|all| all.len() == 4)
    );
    let metrics = controller.get("/metrics").body + &controller.get("/readyz?verbose").body;
    let (status, log) = controller.stop();
    assert_eq!(status, 0, "{log}");
    assert!(
        log.contains("TRACE") || log.contains("\"level\":\"DEBUG\""),
        "it is talkative: {log}"
    );
    assert_silent("the log", &log);
    assert_silent("a metric", &metrics);
    // All objects but what Secrets hold.
    for (at, what) in [
        ("/apis/events.k8s.io/v1/events", "an Event"),
        ("/api/v1/configmaps", "a ConfigMap"),
        ("/apis/coordination.k8s.io/v1/leases", "a Lease"),
        ("/api/v1/namespaces", "a Namespace"),
    ] {
        let list = estate.admin().get(at).done();
        assert!(!list["items"].as_array().unwrap().is_empty(), "{what}");
        assert_silent(what, &list.to_string());
    }
    let secrets = estate.admin().get("/api/v1/secrets").done();
    let whole = secrets.to_string();
    let found = std::panic::catch_unwind(|| assert_silent("a Secret", &whole));
    assert!(found.is_err(), "it is found where it is");
    for secret in secrets["items"].as_array().unwrap() {
        assert_silent("a Secret's metadata", &secret["metadata"].to_string());
    }
}
