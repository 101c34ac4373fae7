//! Switches of the service account one by one: what is warned of, refused, kept.

use json_patch::PatchOperation;
use serde_json::{Value, json};

use super::plugin::{self, Account, TOKEN_PATH, token_volume};
use super::{ask, cluster, mutate_review, pod, policy, pulls, review};
use crate::admission::AccountChange;
use crate::snapshot::Snapshot;

/// A Pod as its author wrote it: one container, one init container.
pub(super) fn authored(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = pod("nginx");
    pod["spec"]["initContainers"] = json!([{"name": "i", "image": "busybox"}]);
    change(&mut pod["spec"]);
    pod
}

pub(super) fn snapshot(accounts: &[Account], replace: &str, on_missing: &str) -> Snapshot {
    let objects: String = accounts.iter().map(Account::manifest).collect();
    let rule = format!(
        "- {{name: r, match: {{images: [docker.io]}}, inject: {{imagePullSecrets: [hub-creds], serviceAccountName: x, replaceServiceAccount: {replace}, onMissingServiceAccount: {on_missing}, envFrom: [{{secretRef: {{name: env-creds}}}}]}}}}"
    );
    cluster(&policy(&rule), &objects)
}

/// The whole way of a Pod through the API server; the review that we get, and the Pod at the end.
pub(super) fn way(
    authored: &Value,
    accounts: &[Account],
    snapshot: &Snapshot,
    managed: bool,
) -> Option<(Value, Value)> {
    let sent = if managed {
        plugin::with_managed_fields(authored)
    } else {
        authored.clone()
    };
    // A Pod that the plugin refuses by itself never comes to us.
    let arrived = plugin::run(&sent, accounts).ok()?;
    let (patched, _) = mutate_review(&review(&arrived), snapshot);
    // The plugin runs again because of our patch, and we because of what it may add.
    let rerun = plugin::run(&patched, accounts).unwrap_or_else(|why| {
        panic!("we led the API server to refuse a Pod: {why}\n{arrived}\n{patched}")
    });
    let again = ask(&review(&rerun), snapshot);
    assert!(again.patch.is_empty(), "{}\n{rerun}", again.patch);
    Some((arrived, rerun))
}

#[test]
fn an_account_that_is_missing_is_skipped_with_a_warning_or_refused() {
    let accounts = [Account::named("default")];
    for (on_missing, allowed, codes) in [("Skip", true, vec!["PP203"]), ("Deny", false, vec![])] {
        let snapshot = snapshot(&accounts, "IfDefault", on_missing);
        let arrived = plugin::run(&plugin::with_managed_fields(&pod("nginx")), &accounts).unwrap();
        let response = ask(&review(&arrived), &snapshot);
        assert_eq!(response.body["allowed"], allowed, "{on_missing}");
        assert_eq!(response.codes(), codes, "{on_missing}");
        assert_eq!(response.facts.account, Some(AccountChange::Missing));
        assert_eq!(
            response.patch.is_empty(),
            !allowed,
            "the pull secrets come all the same"
        );
    }
}

#[test]
fn an_account_of_a_namespace_of_which_nothing_is_known_is_taken_to_exist() {
    let (after, response) =
        mutate_review(&review(&pod("nginx")), &snapshot(&[], "IfDefault", "Deny"));
    assert_eq!(after["spec"]["serviceAccountName"], "x");
    assert_eq!(
        after["spec"].get("serviceAccount"),
        None,
        "a field that is absent stays absent"
    );
    assert_eq!(response.facts.account, Some(AccountChange::Switched));
    assert_eq!(response.audit["service-account"], "x");
}

#[test]
fn an_account_that_would_refuse_the_pod_is_not_taken() {
    let x = Account {
        enforcing: true,
        pulls: &["hub-creds"],
        ..Account::named("x")
    };
    let accounts = [x, Account::named("default")];
    for (authored, what) in [
        (
            authored(|s| s["imagePullSecrets"] = json!([{"name": "own"}])),
            "the Pod's pull secret `own`",
        ),
        (
            authored(|s| s["imagePullSecrets"] = json!([{}])),
            "the Pod's pull secret ``",
        ),
        (
            authored(|s| s["volumes"] = json!([{"name": "v", "secret": {"secretName": "mine"}}])),
            "the Secret `mine` of a volume",
        ),
        (
            authored(|s| {
                s["containers"][0]["env"] =
                    json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "mi\nne"}}}]);
            }),
            "the Secret `mi\\nne` of a variable",
        ),
        (
            authored(|s| s["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "mine"}}])),
            "the Secret `mine` of an `envFrom`",
        ),
    ] {
        let mut managed = plugin::with_managed_fields(&authored);
        if authored["spec"]["imagePullSecrets"] == json!([{}]) {
            managed["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:imagePullSecrets"] =
                json!({r#"k:{"name":""}"#: {}});
        }
        let arrived = plugin::run(&managed, &accounts).unwrap();
        let (after, response) =
            mutate_review(&review(&arrived), &snapshot(&accounts, "IfDefault", "Skip"));
        assert_eq!(after["spec"]["serviceAccountName"], "default", "{what}");
        assert_eq!(
            response.warnings,
            [format!(
                "pullpass PP204: rule `p/r` asks for service account `x`, which enforces mountable secrets and does not list {what}; the Pod keeps `default`"
            )]
        );
        assert_eq!(response.facts.account, Some(AccountChange::Refused));
        let denied = ask(&review(&arrived), &snapshot(&accounts, "IfDefault", "Deny"));
        assert_eq!(denied.body["allowed"], false, "{what}");
    }
}

#[test]
fn an_enforcing_account_keeps_from_the_pod_what_it_does_not_list() {
    let x = Account {
        enforcing: true,
        pulls: &["x-pull"],
        ..Account::named("x")
    };
    let default = Account {
        pulls: &["default-pull", "x-pull"],
        ..Account::named("default")
    };
    let accounts = [x, default];
    let arrived = plugin::run(&plugin::with_managed_fields(&authored(|_| ())), &accounts).unwrap();
    assert_eq!(pulls(&arrived), ["default-pull", "x-pull"]);
    let (after, response) =
        mutate_review(&review(&arrived), &snapshot(&accounts, "IfDefault", "Skip"));
    assert_eq!(pulls(&after), ["x-pull"]);
    assert_eq!(after["spec"]["containers"][0].get("envFrom"), None);
    assert_eq!(response.codes(), ["PP205", "PP205", "PP205"]);
    for (warning, part) in response.warnings.iter().zip([
        "pull secret `default-pull` of service account `default` is taken away",
        "pull secret `hub-creds` of rule `p/r` is not injected",
        "`envFrom` Secret `env-creds` of rule `p/r` is not injected",
    ]) {
        assert!(warning.contains(part), "{warning}");
    }
    assert_eq!(
        response.audit.get("secrets"),
        None,
        "none of ours is injected"
    );
    assert_eq!(response.facts.secrets, []);
}

#[test]
fn a_pod_under_an_enforcing_account_gets_only_what_that_lists() {
    let ci = Account {
        enforcing: true,
        pulls: &["hub-creds"],
        secrets: &[],
        ..Account::named("ci")
    };
    let accounts = [ci, Account::named("x")];
    let own = authored(|s| s["serviceAccountName"] = json!("ci"));
    let (_, after) = way(
        &own,
        &accounts,
        &snapshot(&accounts, "IfDefault", "Skip"),
        true,
    )
    .unwrap();
    assert_eq!(pulls(&after), ["hub-creds"]);
    assert_eq!(after["spec"]["containers"][0].get("envFrom"), None);
    assert_eq!(after["spec"]["serviceAccountName"], "ci");
}

/// Another webhook's sidecar may use the plugin's volume: it must not lose it.
#[test]
fn a_token_volume_that_a_sidecar_mounts_elsewhere_stays() {
    let x = Account {
        automount: Some(false),
        ..Account::named("x")
    };
    let accounts = [x, Account::named("default")];
    for managed in [true, false] {
        let sent = authored(|_| ());
        let sent = if managed {
            plugin::with_managed_fields(&sent)
        } else {
            sent
        };
        let mut arrived = plugin::run(&sent, &accounts).unwrap();
        let volume = arrived["spec"]["volumes"][0]["name"].clone();
        let sidecar = json!({"name": "s", "image": "quay.io/s", "volumeMounts": [
            null, {"name": volume, "mountPath": TOKEN_PATH}, {"name": volume, "mountPath": "/token"}, {"name": volume, "mountPath": TOKEN_PATH}]});
        arrived["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(sidecar);
        let (after, _) =
            mutate_review(&review(&arrived), &snapshot(&accounts, "IfDefault", "Skip"));
        let spec = &after["spec"];
        assert_eq!(
            spec["volumes"], arrived["spec"]["volumes"],
            "the volume stays"
        );
        assert_eq!(
            spec["containers"][0]["volumeMounts"],
            json!([]),
            "the plugin's mounts go"
        );
        assert_eq!(spec["initContainers"][0]["volumeMounts"], json!([]));
        assert_eq!(
            spec["containers"][1]["volumeMounts"],
            json!([null, {"name": volume, "mountPath": "/token"}])
        );
    }
}

#[test]
fn a_pod_that_says_itself_whether_it_wants_a_token_is_not_asked_again() {
    let x = Account {
        automount: Some(false),
        ..Account::named("x")
    };
    let accounts = [x, Account::named("default")];
    for (own, removed) in [
        (json!(null), true),
        (json!(true), false),
        (json!(false), false),
    ] {
        let sent = authored(|spec| spec["automountServiceAccountToken"] = own.clone());
        let arrived = plugin::run(&plugin::with_managed_fields(&sent), &accounts).unwrap();
        let response = ask(&review(&arrived), &snapshot(&accounts, "IfDefault", "Skip"));
        let mut operations = response.patch.iter();
        let removes = operations.any(|operation| matches!(operation, PatchOperation::Remove(_)));
        assert_eq!(removes, removed, "{own}");
    }
}

#[test]
fn without_managed_fields_what_the_old_account_lists_counts_as_inherited() {
    let x = Account {
        enforcing: true,
        ..Account::named("x")
    };
    let default = Account {
        pulls: &["default-pull"],
        ..Account::named("default")
    };
    let accounts = [x, default];
    for (list, account, why) in [
        (json!([{"name": "default-pull"}]), "x", "it can go"),
        (
            json!([{"name": "default-pull"}, {"name": "own"}]),
            "default",
            "the author's must stay",
        ),
    ] {
        let mut arrived = pod("nginx");
        arrived["spec"]["imagePullSecrets"] = list.clone();
        arrived["spec"]["serviceAccountName"] = json!("default");
        let snapshot = snapshot(&accounts, "IfDefault", "Skip");
        let (after, _) = mutate_review(&review(&arrived), &snapshot);
        assert_eq!(
            after["spec"]["serviceAccountName"], account,
            "{list}: {why}"
        );
        assert_eq!(pulls(&after).is_empty(), account == "x", "{list}: {why}");
    }
}

/// The plugin asks for 3607 seconds, and for a person who writes none 3600 are filled in.
#[test]
fn without_managed_fields_a_token_volume_of_another_life_is_the_authors() {
    let x = Account {
        automount: Some(false),
        ..Account::named("x")
    };
    let accounts = [x, Account::named("default")];
    for (seconds, stays) in [(3600, true), (3607, false)] {
        let mut arrived = pod("nginx");
        arrived["spec"]["volumes"] = json!([token_volume("kube-api-access-mine", seconds)]);
        let snapshot = snapshot(&accounts, "IfDefault", "Skip");
        let (after, _) = mutate_review(&review(&arrived), &snapshot);
        let volumes = after["spec"]["volumes"].as_array().unwrap();
        assert_eq!(!volumes.is_empty(), stays, "{seconds}");
    }
}

#[test]
fn a_debug_container_that_mounts_the_token_keeps_the_volume() {
    let x = Account {
        automount: Some(false),
        ..Account::named("x")
    };
    let accounts = [x, Account::named("default")];
    let mut arrived = plugin::run(&pod("nginx"), &accounts).unwrap();
    let volume = arrived["spec"]["volumes"][0]["name"].clone();
    arrived["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "busybox", "volumeMounts": [{"name": volume, "mountPath": TOKEN_PATH}]}]);
    let (after, _) = mutate_review(&review(&arrived), &snapshot(&accounts, "IfDefault", "Skip"));
    assert_eq!(after["spec"]["volumes"], arrived["spec"]["volumes"]);
}

#[test]
fn rules_that_disagree_about_the_account_are_told_and_the_first_wins() {
    let rules = cluster(
        &policy(
            "- {name: first, match: {images: [quay.io]}, inject: {serviceAccountName: a}}\n\
             - {name: second, match: {images: [docker.io]}, inject: {serviceAccountName: b}}\n\
             - {name: third, match: {images: [ghcr.io]}, inject: {serviceAccountName: a}}",
        ),
        "",
    );
    let mut pod = pod("nginx");
    pod["spec"]["initContainers"] =
        json!([{"name": "d", "image": "quay.io/x"}, {"name": "e", "image": "ghcr.io/x"}]);
    let (after, response) = mutate_review(&review(&pod), &rules);
    assert_eq!(
        after["spec"]["serviceAccountName"], "a",
        "table order, not the order of images"
    );
    assert_eq!(
        response.warnings,
        [
            "pullpass PP202: rule `p/first` asks for service account `a`, and `p/second` for `b`: the first in table order wins"
        ]
    );
}

/// In a manifest nothing is filled in yet.
#[test]
fn a_manifest_says_default_only_if_its_author_wrote_it() {
    for (account, replace, want, why) in [
        (json!({}), "IfUnset", "x", "unset"),
        (
            json!({"serviceAccountName": ""}),
            "IfUnset",
            "x",
            "empty is unset",
        ),
        (
            json!({"serviceAccountName": "default"}),
            "IfUnset",
            "default",
            "written",
        ),
        (
            json!({"serviceAccountName": "default"}),
            "IfDefault",
            "x",
            "however it came",
        ),
        (
            json!({"serviceAccount": "ci"}),
            "IfDefault",
            "",
            "the old field alone names the account",
        ),
        (
            json!({"serviceAccount": "ci"}),
            "Always",
            "x",
            "and is replaced with it",
        ),
        (
            json!({"serviceAccountName": "ci", "serviceAccount": "other"}),
            "IfDefault",
            "ci",
            "the new field decides",
        ),
    ] {
        let mut pod = pod("nginx");
        pod["spec"]
            .as_object_mut()
            .unwrap()
            .extend(account.as_object().unwrap().clone());
        let (after, _) = mutate_review(&review(&pod), &snapshot(&[], replace, "Skip"));
        assert_eq!(
            after["spec"]["serviceAccountName"].as_str().unwrap_or(""),
            want,
            "{account}: {why}"
        );
        if want == "x" && account.get("serviceAccount").is_some() {
            assert_eq!(after["spec"]["serviceAccount"], "x", "{why}");
        }
    }
}
