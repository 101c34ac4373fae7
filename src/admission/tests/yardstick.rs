//! Every sort of Pod, account and rule against each other, held against a model of the plugin that runs
//! around us. The yardstick of a switch is a Pod that asked for the account itself.

use serde_json::{Value, json};

use super::accounts::{authored, snapshot, way};
use super::plugin::{self, Account, TOKEN_PATH, token_volume};
use super::pulls;

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
            authored(|s| {
                s["volumes"] = json!([{"name": "kube-api-access-mine", "emptyDir": {}}]);
                s["initContainers"][0]["volumeMounts"] = own_mount("kube-api-access-mine");
            }),
            "such a mount in an init container",
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
                    json!([{"configMapRef": {"name": "m"}}, {"secretRef": {"name": "mine"}}]);
            }),
            "an environment of a secret",
        ),
        (
            authored(|s| {
                s["volumes"] = json!([{"name": "p", "projected": {"sources": [{"secret": {"name": "mine"}}]}}]);
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
