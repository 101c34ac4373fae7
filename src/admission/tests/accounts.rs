//! Switches of the service account, held against a model of the plugin that runs around us.

use serde_json::{Value, json};

use super::plugin::{self, Account, TOKEN_PATH, token_volume};
use super::{ask, cluster, mutate_review, pod, policy, pulls, review};
use crate::admission::AccountChange;
use crate::snapshot::Snapshot;

/// A Pod as its author wrote it: one container, one init container.
fn authored(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = pod("nginx");
    pod["spec"]["initContainers"] = json!([{"name": "i", "image": "busybox"}]);
    change(&mut pod["spec"]);
    pod
}

/// Every sort of Pod that a switch has to get right, with why.
fn pods() -> Vec<(Value, &'static str)> {
    let own_mount = |volume: &str| json!([{"name": volume, "mountPath": TOKEN_PATH}]);
    vec![
        (authored(|_| ()), "nothing special"),
        (
            authored(|s| s["serviceAccountName"] = json!("default")),
            "default, written",
        ),
        (
            authored(|s| s["serviceAccount"] = json!("default")),
            "default, in the old field",
        ),
        (
            authored(|s| s["serviceAccountName"] = json!("other")),
            "another account",
        ),
        (
            authored(|s| s["serviceAccountName"] = json!("x")),
            "the account itself",
        ),
        (
            authored(|s| s["automountServiceAccountToken"] = json!(true)),
            "wants a token",
        ),
        (
            authored(|s| s["automountServiceAccountToken"] = json!(false)),
            "wants no token",
        ),
        (
            authored(|s| {
                s["volumes"] = json!([{"name": "mine", "emptyDir": {}}]);
                s["containers"][0]["volumeMounts"] = own_mount("mine");
            }),
            "a mount of its own at the token's path",
        ),
        (
            authored(|s| s["volumes"] = json!([{"name": "kube-api-access-mine", "emptyDir": {}}])),
            "a volume called as the plugin's",
        ),
        (
            authored(|s| s["volumes"] = json!([token_volume("kube-api-access-mine", 3600)])),
            "a token volume called as the plugin's",
        ),
        (
            authored(|s| {
                s["volumes"] = json!([{"name": "a", "emptyDir": {}}, token_volume("kube-api-access-mine", 3607)]);
                s["containers"][0]["volumeMounts"] =
                    json!([{"name": "a", "mountPath": "/a"}, own_mount("kube-api-access-mine")[0]]);
            }),
            "a copy of an exported Pod",
        ),
        (
            authored(|s| s["imagePullSecrets"] = json!([{"name": "own"}])),
            "a pull secret of its own",
        ),
        (
            authored(|s| s["imagePullSecrets"] = json!([{"name": "x-pull"}])),
            "the account's pull secret",
        ),
        (
            authored(|s| s["volumes"] = json!([{"name": "s", "secret": {"secretName": "mine"}}])),
            "a secret volume",
        ),
        (
            authored(
                |s| s["containers"][0]["env"] = json!([{"name": "A", "value": "b"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "k", "optional": true}}}]),
            ),
            "a variable of a secret",
        ),
        (
            authored(|s| {
                s["initContainers"][0]["envFrom"] =
                    json!([{"configMapRef": {"name": "m"}}, {"secretRef": {"name": "mine"}}])
            }),
            "an environment of a secret",
        ),
        (
            authored(|s| {
                s["volumes"] =
                    json!([{"name": "p", "projected": {"sources": [{"secret": {"name": "mine"}}]}}])
            }),
            "a projected secret, which is not checked",
        ),
    ]
}

/// Every sort of account to switch to.
fn targets() -> Vec<Account> {
    let x = Account::named("x");
    vec![
        x.clone(),
        Account {
            pulls: &["x-pull", "hub-creds"],
            ..x.clone()
        },
        Account {
            automount: Some(false),
            ..x.clone()
        },
        Account {
            automount: Some(true),
            pulls: &["x-pull"],
            ..x.clone()
        },
        Account {
            enforcing: true,
            ..x.clone()
        },
        Account {
            enforcing: true,
            automount: Some(false),
            pulls: &["x-pull"],
            ..x.clone()
        },
        Account {
            enforcing: true,
            pulls: &["x-pull", "hub-creds", "own"],
            secrets: &["mine"],
            ..x.clone()
        },
        Account {
            enforcing: true,
            pulls: &["x-pull", "default-pull"],
            secrets: &["env-creds"],
            ..x
        },
    ]
}

/// Every sort of account that a Pod has before.
fn defaults() -> Vec<Account> {
    let default = Account::named("default");
    vec![
        default.clone(),
        Account {
            pulls: &["default-pull"],
            ..default.clone()
        },
        Account {
            pulls: &["default-pull", "x-pull", "hub-creds"],
            automount: Some(false),
            ..default.clone()
        },
        Account {
            enforcing: true,
            pulls: &["default-pull"],
            secrets: &["mine"],
            ..default
        },
    ]
}

fn snapshot(accounts: &[Account], replace: &str, on_missing: &str) -> Snapshot {
    let objects: String = accounts.iter().map(Account::manifest).collect();
    let rule = format!(
        "- {{name: r, match: {{images: [docker.io]}}, inject: {{imagePullSecrets: [hub-creds], serviceAccountName: x, replaceServiceAccount: {replace}, onMissingServiceAccount: {on_missing}, envFrom: [{{secretRef: {{name: env-creds}}}}]}}}}"
    );
    cluster(&policy(&rule), &objects)
}

/// The whole way of a Pod through the API server; the review that we get, and the Pod at the end.
fn way(
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
fn a_switch_ends_where_a_pod_that_asked_for_the_account_itself_would_be() {
    let (mut switched, mut kept) = (0, 0);
    for (authored, what) in pods() {
        for x in targets() {
            for default in defaults() {
                let other = Account {
                    pulls: &["other-pull"],
                    ..Account::named("other")
                };
                let accounts = [x.clone(), default.clone(), other];
                for replace in ["IfUnset", "IfDefault", "Always"] {
                    let snapshot = snapshot(&accounts, replace, "Skip");
                    let context = format!("{what}: {replace} of {default:?} by {x:?}");
                    let Some((arrived, after)) = way(&authored, &accounts, &snapshot, true) else {
                        continue;
                    };
                    let mut asked = authored.clone();
                    asked["spec"]["serviceAccountName"] = json!("x");
                    asked["spec"]
                        .as_object_mut()
                        .unwrap()
                        .remove("serviceAccount");
                    let asked = plugin::run(&plugin::with_managed_fields(&asked), &accounts);

                    let own = authored["spec"]["serviceAccountName"]
                        .as_str()
                        .or(authored["spec"]["serviceAccount"].as_str());
                    let is_due = match replace {
                        "IfUnset" => own.is_none(),
                        "IfDefault" => own.is_none_or(|own| own == "default"),
                        _ => true,
                    };
                    let account = after["spec"]["serviceAccountName"].as_str().unwrap();
                    match asked {
                        Ok(asked) if is_due || own == Some("x") => {
                            switched += 1;
                            assert_eq!(
                                plugin::identity(&after),
                                plugin::identity(&asked),
                                "{context}"
                            );
                            let has = pulls(&after);
                            assert!(
                                pulls(&asked).iter().all(|name| has.contains(name)),
                                "{context}: {has:?}"
                            );
                            let allowed = |name: &str| !x.enforcing || x.pulls.contains(&name);
                            assert_eq!(
                                has.contains(&"hub-creds"),
                                allowed("hub-creds"),
                                "{context}: {has:?}"
                            );
                            assert!(has.iter().all(|name| allowed(name)), "{context}: {has:?}");
                        }
                        _ => {
                            kept += 1;
                            assert_eq!(
                                plugin::identity(&after),
                                plugin::identity(&arrived),
                                "{context}"
                            );
                            assert_ne!(account, "x", "{context}");
                        }
                    }
                    // What the author wrote stays in front, as it was.
                    let own: Vec<Value> = authored["spec"]["imagePullSecrets"]
                        .as_array()
                        .cloned()
                        .unwrap_or_default();
                    let list = after["spec"]["imagePullSecrets"]
                        .as_array()
                        .cloned()
                        .unwrap_or_default();
                    assert!(list.starts_with(&own), "{context}: {list:?}");
                }
            }
        }
    }
    assert!(
        switched > 1000 && kept > 200,
        "{switched} switched, {kept} kept"
    );
}

/// Without managedFields less can be known; what must hold is that the API server takes the Pod.
#[test]
fn without_managed_fields_no_pod_is_led_into_a_refusal() {
    for (authored, what) in pods() {
        for x in targets() {
            for default in defaults() {
                let accounts = [x.clone(), default.clone(), Account::named("other")];
                for replace in ["IfUnset", "IfDefault", "Always"] {
                    let snapshot = snapshot(&accounts, replace, "Skip");
                    let Some((_, after)) = way(&authored, &accounts, &snapshot, false) else {
                        continue;
                    };
                    if what == "nothing special" {
                        let why = format!("{replace} of {default:?} by {x:?}");
                        assert_eq!(after["spec"]["serviceAccountName"], "x", "{why}");
                        let has_token = after["spec"]["volumes"]
                            .as_array()
                            .is_some_and(|v| !v.is_empty());
                        assert_eq!(has_token, x.automount != Some(false), "{why}");
                    }
                }
            }
        }
    }
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
                    json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "mi\nne"}}}])
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
            null, {"name": volume, "mountPath": "/token"}, {"name": volume, "mountPath": TOKEN_PATH}]});
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
