//! When an account is switched to, and accounts that come later than the policy that names them.

use serde_json::json;

use super::install::Installation;
use super::{pod, policy};
use crate::plane::{Plane, wait_until};

fn make(plane: &Plane, namespace: &str, account: &str) {
    let at = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    let object = json!({"metadata": {"name": account}});
    plane.admin().post(&at, &object).done();
}

#[test]
fn a_rule_replaces_the_accounts_it_says_it_replaces() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    let rule = |mode: &str, account: &str, more: &str| {
        format!(
            "    - {{name: {mode}-{account}, match: {{images: ['{mode}-{account}.example.com']}}, inject: {{serviceAccountName: {account}, {more}}}}}\n"
        )
    };
    let rules = [
        rule("default", "x", "replaceServiceAccount: IfDefault"),
        rule("unset", "x", "replaceServiceAccount: IfUnset"),
        rule("always", "x", "replaceServiceAccount: Always"),
        rule("skip", "nobody", "onMissingServiceAccount: Skip"),
        rule("deny", "nobody", "onMissingServiceAccount: Deny"),
    ];
    installation.put("company", &policy("company", &rules.concat()));
    let namespace = installation.namespace("accounts");
    for account in ["x", "other"] {
        make(plane, &namespace, account);
    }
    let _webhook = installation.serve(&[]);
    let unset = json!({});
    let written = json!({"serviceAccountName": "default"});
    let other = json!({"serviceAccountName": "other"});
    for (image, spec, want, why) in [
        ("default-x", &unset, Ok("x"), "the default came by itself"),
        ("default-x", &written, Ok("x"), "or was written"),
        ("default-x", &other, Ok("other"), "another stays"),
        ("unset-x", &unset, Ok("x"), "nothing was written"),
        ("unset-x", &written, Ok("default"), "the author wants it"),
        ("unset-x", &other, Ok("other"), "another stays"),
        ("always-x", &unset, Ok("x"), "always"),
        ("always-x", &written, Ok("x"), "always"),
        ("always-x", &other, Ok("x"), "always"),
        ("skip-nobody", &unset, Ok("default"), "skipped"),
        ("deny-nobody", &unset, Err(403), "denied"),
        ("deny-nobody", &other, Ok("other"), "nothing to replace"),
    ] {
        let mut subject = pod("p", spec);
        subject["spec"]["containers"][0]["image"] = json!(format!("{image}.example.com/c"));
        let at = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        let answer = plane.admin().post(&at, &subject);
        match want {
            Ok(account) => {
                let spec = &answer.body["spec"];
                assert_eq!(spec["serviceAccountName"], account, "{why}: {answer:?}");
                assert_eq!(spec["serviceAccount"], account, "{why}");
            }
            Err(status) => assert_eq!(answer.status, status, "{why}: {answer:?}"),
        }
        let missing = "which does not exist in `accounts-";
        match image {
            "skip-nobody" => assert!(
                answer.warnings.iter().any(|text| text.contains(missing)),
                "{:?}",
                answer.warnings
            ),
            "deny-nobody" if want.is_err() => {
                assert_eq!(answer.body["reason"], "Forbidden");
                let (_, message) = answer.refused();
                assert!(message.contains(missing), "{message}");
            }
            _ => assert_eq!(answer.warnings, [""; 0], "{why}"),
        }
    }
}

#[test]
fn an_account_made_after_the_policy_is_found_also_by_the_very_next_pod() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    let rule =
        "    - {name: x, match: {images: [docker.io]}, inject: {serviceAccountName: late}}\n";
    installation.put("company", &policy("company", rule));
    let _webhook = installation.serve(&[]);
    let answer = |namespace: &str| {
        let at = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        plane.admin().post(&at, &pod("p", &json!({})))
    };
    let create = |namespace: &str| answer(namespace).done()["spec"]["serviceAccountName"].clone();
    let namespace = installation.namespace("late");
    assert_eq!(create(&namespace), "default", "there is no such account");
    make(plane, &namespace, "late");
    wait_until("the account is known", || create(&namespace) == "late");
    let mut missed = 0;
    let mut last = String::new();
    for _ in 0..25 {
        // Neither the namespace nor its account was ever heard of before.
        last = installation.namespace("late");
        make(plane, &last, "late");
        missed += u32::from(create(&last) != "late");
    }
    // Only a machine under load is later than the wait for it is long.
    assert!(missed <= 2, "{missed} of 25 did not find it at once");
    let at = format!("/api/v1/namespaces/{last}/serviceaccounts/late");
    plane.admin().delete(&at, None).done();
    wait_until("it is gone", || {
        let answer = answer(&last);
        // Until we hear of it, the API server refuses the account that we still know.
        let stale = answer.status == 403 && answer.refused().1.contains("not found");
        assert!(stale || answer.status == 201, "{answer:?}");
        answer.body["spec"]["serviceAccountName"] == "default"
    });
}

#[test]
fn an_account_made_right_before_its_pod_is_found_each_time() {
    let plane = Plane::shared();
    let installation = Installation::on(plane);
    let rule = |n| {
        format!(
            "    - {{name: r-{n}, match: {{images: [r-{n}.example.com]}}, inject: {{serviceAccountName: a-{n}}}}}\n"
        )
    };
    let rules: String = (0..100).map(rule).collect();
    installation.put("company", &policy("company", &rules));
    let _webhook = installation.serve(&[]);
    let namespace = installation.namespace("hurried");
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    for n in 0..100 {
        make(plane, &namespace, &format!("a-{n}"));
        let image = format!("r-{n}.example.com/c");
        let spec = json!({"containers": [{"name": "c", "image": image}]});
        let made = plane.admin().post(&pods, &pod(&format!("p-{n}"), &spec));
        let account = &made.done()["spec"]["serviceAccountName"];
        assert_eq!(*account, format!("a-{n}"));
    }
}
