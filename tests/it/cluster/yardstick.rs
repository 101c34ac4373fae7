//! A switched account, held field by field against a Pod that asked for the account itself: every sort of Pod, of
//! `default` account and of account to switch to, against each other.

use serde_json::{Map, Value, json};

use super::install::Installation;
use super::{pod, policy, secrets};
use crate::plane::{Plane, wait_until};

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What an account says, and what sort of account that makes it.
type Sort = (Value, &'static str);

fn named(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name})).collect()
}

fn enforcing(value: &str, pulls: &[&str], secrets: &[&str]) -> Value {
    json!({
        "metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": value}},
        "imagePullSecrets": named(pulls), "secrets": named(secrets),
    })
}

fn defaults() -> Vec<Sort> {
    vec![
        (json!({}), "plain"),
        (
            json!({"imagePullSecrets": named(&["d-pull"])}),
            "with a list",
        ),
        (
            json!({"automountServiceAccountToken": false}),
            "without a token",
        ),
        (
            json!({"automountServiceAccountToken": false, "imagePullSecrets": named(&["d-pull", "x-pull"])}),
            "without a token, with a list",
        ),
        (enforcing("true", &["d-pull"], &["mine"]), "enforcing"),
    ]
}

fn targets() -> Vec<Sort> {
    vec![
        (json!({}), "plain"),
        (
            json!({"imagePullSecrets": named(&["x-pull", "hub-creds"])}),
            "with a list",
        ),
        (
            json!({"automountServiceAccountToken": false}),
            "without a token",
        ),
        (
            json!({"automountServiceAccountToken": true, "imagePullSecrets": named(&["x-pull"])}),
            "with a token, with a list",
        ),
        (
            enforcing("true", &["x-pull", "hub-creds"], &["mine"]),
            "enforcing",
        ),
        (enforcing("T", &[], &[]), "enforcing, listing nothing"),
        (
            enforcing("1", &["x-pull"], &["other"]),
            "enforcing, listing others",
        ),
        (
            enforcing("yes", &["x-pull"], &[]),
            "enforcing in no way that counts",
        ),
    ]
}

/// The account of a Pod that is not switched, since it has one.
const OTHER: &str = "other";

fn sorts_of_pods() -> Vec<Sort> {
    let mounts = |volume: &str| json!([{"name": "c", "image": "x.example.com/c", "volumeMounts": [{"name": volume, "mountPath": TOKEN_PATH}]}]);
    let token = |seconds: u32| json!({"name": "kube-api-access-mine", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": seconds}}]}});
    let init = |fields: Value| {
        let mut container = json!({"name": "i", "image": "x.example.com/i"});
        let fields = fields.as_object().unwrap().clone();
        container.as_object_mut().unwrap().extend(fields);
        json!([container])
    };
    let own = json!([{"name": "kube-api-access-mine", "emptyDir": {}}]);
    vec![
        (json!({}), "nothing special"),
        (
            json!({"initContainers": init(json!({}))}),
            "an init container",
        ),
        (json!({"serviceAccountName": "default"}), "default, written"),
        (
            json!({"serviceAccount": "default"}),
            "default, in the old field",
        ),
        (json!({"serviceAccountName": OTHER}), "another account"),
        (json!({"serviceAccountName": "x"}), "the account itself"),
        (
            json!({"automountServiceAccountToken": true}),
            "wants a token",
        ),
        (
            json!({"automountServiceAccountToken": false}),
            "wants no token",
        ),
        (
            json!({"volumes": [{"name": "mine", "emptyDir": {}}], "containers": mounts("mine"), "initContainers": init(json!({}))}),
            "a mount of its own at the token's path",
        ),
        (json!({"volumes": own}), "a volume called as the plugin's"),
        (
            json!({"volumes": own, "containers": mounts("kube-api-access-mine")}),
            "a volume called as the plugin's, mounted as the plugin does",
        ),
        (
            json!({"volumes": [token(3600)]}),
            "a token volume called as the plugin's",
        ),
        (
            json!({"volumes": [{"name": "a", "emptyDir": {}}, token(3607)], "containers": mounts("kube-api-access-mine")}),
            "a copy of an exported Pod",
        ),
        (
            json!({"imagePullSecrets": named(&["own"])}),
            "a pull secret of its own",
        ),
        (
            json!({"imagePullSecrets": named(&["x-pull"])}),
            "the account's pull secret",
        ),
        (
            json!({"imagePullSecrets": [{}]}),
            "a pull secret without a name",
        ),
        (json!({"imagePullSecrets": []}), "an empty list"),
        (
            json!({"volumes": [{"name": "s", "secret": {"secretName": "mine"}}]}),
            "a secret volume",
        ),
        (
            json!({"initContainers": init(json!({"env": [{"name": "B", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "k", "optional": true}}}]}))}),
            "a variable of a secret",
        ),
        (
            json!({"initContainers": init(json!({"envFrom": [{"configMapRef": {"name": "m"}}, {"secretRef": {"name": "mine"}}]}))}),
            "an environment of a secret",
        ),
        (
            json!({"volumes": [{"name": "p", "projected": {"sources": [{"secret": {"name": "mine"}}]}}]}),
            "a projected secret, which is not checked",
        ),
    ]
}

/// A Pod that the rule matches; `touched` or left alone by pullpass.
fn subject(spec: &Value, touched: bool) -> Value {
    let mut with_image = json!({"containers": [{"name": "c", "image": "x.example.com/c"}]});
    let spec = spec.as_object().unwrap().clone();
    with_image.as_object_mut().unwrap().extend(spec);
    let mut pod = pod("p", &with_image);
    if !touched {
        pod["metadata"]["labels"] = json!({"pullpass.dev/inject": "disabled"});
    }
    pod
}

/// What a switch has to get right: account, token, volumes and mounts. The plugin's volume has a random name.
fn outcome(pod: &Value) -> Value {
    let spec = &pod["spec"];
    let text = |value: &Value| {
        let mut text = value.to_string();
        for volume in spec["volumes"].as_array().into_iter().flatten() {
            let name = volume["name"].as_str().unwrap();
            let random = name.strip_prefix("kube-api-access-");
            if random.is_some_and(|random| random != "mine") {
                text = text.replace(name, "kube-api-access-RANDOM");
            }
        }
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let containers = ["containers", "initContainers"].map(|key| {
        let all = spec[key].as_array().into_iter().flatten();
        all.map(|c| text(&c["volumeMounts"])).collect::<Value>()
    });
    json!({
        "account": [spec["serviceAccountName"], spec["serviceAccount"]],
        "automount": spec["automountServiceAccountToken"],
        "volumes": text(&spec["volumes"]),
        "mounts": containers,
    })
}

#[test]
fn a_switched_pod_is_as_one_that_asked_for_the_account_itself() {
    let plane = Plane::shared();
    let admin = plane.admin();
    let installation = Installation::on(plane);
    let rule = "    - {name: x, match: {images: [x.example.com]}, inject: {serviceAccountName: x, imagePullSecrets: [hub-creds]}}\n";
    installation.put("company", &policy("company", rule));
    let mut rows = Vec::new();
    for (default, of_default) in defaults() {
        for (target, of_target) in targets() {
            let namespace = installation.namespace("yardstick");
            let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
            admin.merge(&format!("{accounts}/default"), &default).done();
            for (name, fields) in [("x", &target), (OTHER, &json!({}))] {
                let mut account: Map<String, Value> = fields.as_object().unwrap().clone();
                let metadata = account.entry("metadata").or_insert(json!({}));
                metadata["name"] = json!(name);
                admin.post(&accounts, &Value::Object(account)).done();
            }
            let why = format!("default: {of_default}; x: {of_target}");
            rows.push((namespace, default.clone(), why));
        }
    }
    // The plugin follows the accounts by a watch of its own.
    let at = |namespace: &str| format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    for (namespace, default, why) in &rows {
        wait_until(&format!("the plugin has seen: {why}"), || {
            let made = admin
                .post(&at(namespace), &subject(&json!({}), false))
                .done();
            let token = made["spec"]["volumes"].is_array();
            let wanted = json!(default["automountServiceAccountToken"] != false);
            let list = |list: &Value| list.as_array().cloned().unwrap_or_default();
            json!(token) == wanted
                && list(&made["spec"]["imagePullSecrets"]) == list(&default["imagePullSecrets"])
        });
    }
    let _webhook = installation.serve(&[]);
    let (mut switched, mut kept) = (0, 0);
    for (namespace, _, accounts) in &rows {
        for (spec, sort) in sorts_of_pods() {
            let why = format!("{sort}; {accounts}");
            let alone = admin.post(&at(namespace), &subject(&spec, false));
            let touched = admin.post(&at(namespace), &subject(&spec, true));
            assert_eq!(
                touched.status, alone.status,
                "what is refused is so without us: {why}: {touched:?}"
            );
            if alone.status != 201 {
                continue;
            }
            let mut asking = spec.clone();
            asking["serviceAccountName"] = json!("x");
            asking.as_object_mut().unwrap().remove("serviceAccount");
            let asked = admin.post(&at(namespace), &subject(&asking, false));
            let is_ours = spec["serviceAccountName"] != OTHER && spec["serviceAccountName"] != "x";
            if is_ours && asked.status == 201 {
                switched += 1;
                assert_eq!(outcome(&touched.body), outcome(&asked.body), "{why}");
                for name in secrets(&asked.body) {
                    assert!(
                        secrets(&touched.body).contains(&name),
                        "{name} is missing: {why}: {}",
                        touched.body["spec"]
                    );
                }
            } else {
                kept += 1;
                assert_eq!(outcome(&touched.body), outcome(&alone.body), "{why}");
                if is_ours {
                    assert_eq!(asked.status, 403, "{why}: {asked:?}");
                    let said = "asks for service account `x`, which enforces mountable secrets";
                    assert!(
                        touched.warnings.iter().any(|text| text.contains(said)),
                        "{why}: {:?}",
                        touched.warnings
                    );
                }
            }
            for name in secrets(&alone.body) {
                let theirs = spec["imagePullSecrets"].as_array().into_iter().flatten();
                let mut theirs = theirs.map(|entry| entry["name"].as_str().unwrap_or("(nameless)"));
                if theirs.any(|own| own == name) {
                    assert!(
                        secrets(&touched.body).contains(&name),
                        "{name} was the author's: {why}"
                    );
                }
            }
        }
    }
    println!("{switched} switched, {kept} kept");
    assert!(switched > 300 && kept > 100, "{switched}, {kept}");
}
