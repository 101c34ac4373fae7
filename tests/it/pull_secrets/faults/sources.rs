//! A source Secret that becomes unusable in each way, and is mended: copies keep the last good value, and never hold what a
//! kubelet could not read.

use super::*;

const NAMESPACES: usize = 5;
const JSON: &str = "kubernetes.io/dockerconfigjson";

#[test]
fn a_source_that_is_no_pull_secret_changes_no_copy_until_it_is_mended() {
    let estate = Estate::on(Plane::shared(), POLICY);
    let mut namespaces = estate.namespaces(NAMESPACES);
    let ledger = Ledger::of(&estate, "quay");
    let mut values = vec!["robot:0".to_owned()];
    rotate(&estate, &values[0]);
    estate.put(POLICY);
    let controller = estate.control();
    ledger.until(NAMESPACES, &values[0]);
    let at = secret_path(estate.own(), "quay-source");
    let failures = refreshes(&estate, "quay", "failure");
    let good = json!({"auth": STANDARD.encode("robot:mixed")});
    let sources = [
        (
            JSON,
            json!({"auths": {"quay.io": {"auth": "%%%"}}}),
            "bad base64",
        ),
        (
            JSON,
            json!({"auths": {"quay.io": {"auth": STANDARD.encode("nobody")}}}),
            "no colon",
        ),
        (JSON, json!({"auths": 1}), "not of this shape"),
        (JSON, json!(null), "nothing"),
        (JSON, json!({"auths": {}}), "no entry"),
        (
            JSON,
            json!({"auths": {"quay.io": {}}}),
            "an entry without a login",
        ),
        (
            JSON,
            json!({"auths": {"*.quay.io": good}}),
            "a glob, which names no registry",
        ),
        (
            JSON,
            json!({"auths": {"quay.io": {"username": "robot", "password": ""}}}),
            "no password",
        ),
        (
            JSON,
            json!({"auths": {"quay.io": good, "ghcr.io": {"auth": "%%%"}}}),
            "one entry that fails every pull",
        ),
        (
            "Opaque",
            json!({"auths": {"quay.io": good}}),
            "another type",
        ),
    ];
    let number = sources.len();
    for (type_, content, why) in sources {
        let before = count(&controller, &failures);
        // A type cannot be changed: it is another Secret.
        estate.admin().delete(&at, None).done();
        let secret = json!({
            "metadata": {"name": "quay-source"}, "type": type_,
            "data": {".dockerconfigjson": STANDARD.encode(content.to_string())},
        });
        let all = format!("/api/v1/namespaces/{}/secrets", estate.own());
        estate.admin().post(&all, &secret).done();
        // That it was away, and that it is unusable.
        wait_until(why, || count(&controller, &failures) >= before + 2);
        // Who comes now gets the last good value.
        let last = values.last().unwrap().clone();
        namespaces.extend(estate.namespaces(1));
        ledger.until(namespaces.len(), &last);
        estate.admin().delete(&at, None).done();
        let value = format!("robot:{}", values.len());
        rotate(&estate, &value);
        values.push(value);
        ledger.until(namespaces.len(), values.last().unwrap());
    }
    let note = estate.until_event(estate.own(), "quay-source", "SecretMalformed");
    assert!(note.contains("what was written before stays"), "{note}");
    estate.until_event(estate.own(), "policies", "SourceSecretMissing");
    let (_, log) = controller.stop();
    for secret in ["robot", &STANDARD.encode("robot:mixed")] {
        assert!(!log.contains(secret), "a value in the log: {log}");
    }
    ledger.end(&Row {
        fault: "source Secret malformed, of another type, deleted",
        values: &values.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
        wanted: &namespaces,
        waited: None,
        happened: &format!("{number} ways, each mended by a new value"),
    });
}
