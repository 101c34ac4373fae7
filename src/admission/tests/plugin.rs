//! What the API server does around us, as a model: managedFields, then the ServiceAccount admission plugin.
//!
//! Written after `plugin/pkg/admission/serviceaccount` of Kubernetes 1.36 and what a real API server was
//! seen to do. The yardstick of a switch is a Pod that asked for the account itself.

use serde_json::{Map, Value, json};

pub(super) const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PLUGINS_VOLUME: &str = "kube-api-access-abcde";

/// A service account.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub name: &'static str,
    pub pulls: &'static [&'static str],
    pub secrets: &'static [&'static str],
    pub automount: Option<bool>,
    pub enforcing: bool,
}

impl Account {
    pub(super) const fn named(name: &'static str) -> Self {
        Self {
            name,
            pulls: &[],
            secrets: &[],
            automount: None,
            enforcing: false,
        }
    }

    /// As a manifest.
    pub(super) fn manifest(&self) -> String {
        let names =
            |names: &[&str]| -> Vec<Value> { names.iter().map(|n| json!({"name": n})).collect() };
        let mut account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": self.name},
            "imagePullSecrets": names(self.pulls), "secrets": names(self.secrets),
        });
        if self.enforcing {
            account["metadata"]["annotations"] =
                json!({"kubernetes.io/enforce-mountable-secrets": "true"});
        }
        if let Some(automount) = self.automount {
            account["automountServiceAccountToken"] = json!(automount);
        }
        format!("---\n{account}\n")
    }
}

/// The Pod with the `managedFields` that the API server computes of what the author wrote.
pub(super) fn with_managed_fields(authored: &Value) -> Value {
    let spec = &authored["spec"];
    let mut fields = Map::new();
    for field in ["serviceAccountName", "serviceAccount"] {
        if spec
            .get("serviceAccountName")
            .or(spec.get("serviceAccount"))
            .is_some()
        {
            fields.insert(format!("f:{field}"), json!({}));
        }
    }
    for field in [
        "imagePullSecrets",
        "volumes",
        "containers",
        "initContainers",
    ] {
        let Some(entries) = spec[field].as_array() else {
            continue;
        };
        let mut keyed = Map::from_iter([(".".to_owned(), json!({}))]);
        for entry in entries {
            let mut of_entry = json!({".": {}, "f:name": {}});
            for mount in entry["volumeMounts"].as_array().into_iter().flatten() {
                let key = format!("k:{}", json!({"mountPath": mount["mountPath"]}));
                of_entry["f:volumeMounts"][key] = json!({".": {}, "f:mountPath": {}, "f:name": {}});
            }
            keyed.insert(format!("k:{}", json!({"name": entry["name"]})), of_entry);
        }
        fields.insert(format!("f:{field}"), Value::Object(keyed));
    }
    let mut pod = authored.clone();
    pod["metadata"]["managedFields"] = json!([
        {"manager": "kubectl", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:name": {}}, "f:spec": fields}},
    ]);
    pod
}

/// One run of the plugin: the Pod as it goes on, or why it is refused.
pub(super) fn run(pod: &Value, accounts: &[Account]) -> Result<Value, String> {
    let mut pod = pod.clone();
    let spec = pod["spec"].as_object_mut().unwrap();
    let text = |spec: &Map<String, Value>, field: &str| {
        spec.get(field)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let name = text(spec, "serviceAccountName").or(text(spec, "serviceAccount"));
    let name = name.unwrap_or_else(|| "default".to_owned());
    spec.insert("serviceAccountName".into(), json!(name));
    spec.insert("serviceAccount".into(), json!(name));
    let account = accounts.iter().find(|account| account.name == name);
    let account = account.ok_or_else(|| format!("serviceaccount {name:?} not found"))?;

    let own = spec
        .get("automountServiceAccountToken")
        .and_then(Value::as_bool);
    if own.or(account.automount).unwrap_or(true) {
        mount_token(spec);
    }
    let pulls = spec.get("imagePullSecrets").and_then(Value::as_array);
    if pulls.is_none_or(Vec::is_empty) {
        let copied: Vec<Value> = account
            .pulls
            .iter()
            .map(|name| json!({"name": name}))
            .collect();
        if !copied.is_empty() {
            spec.insert("imagePullSecrets".into(), json!(copied));
        }
    }
    if account.enforcing {
        limit_secret_references(&pod["spec"], account)?;
    }
    Ok(pod)
}

fn mount_token(spec: &mut Map<String, Value>) {
    let volumes = spec
        .get("volumes")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let names = volumes.iter().filter_map(|volume| volume["name"].as_str());
    let taken = names
        .into_iter()
        .find(|name| name.starts_with("kube-api-access-"))
        .map(str::to_owned);
    let volume = taken.clone().unwrap_or_else(|| PLUGINS_VOLUME.to_owned());
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let mounts = container["volumeMounts"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            if mounts.iter().any(|mount| mount["mountPath"] == TOKEN_PATH) {
                continue;
            }
            let mount = json!({"name": volume, "readOnly": true, "mountPath": TOKEN_PATH});
            container["volumeMounts"] = json!([mounts, vec![mount]].concat());
            needed = true;
        }
    }
    if taken.is_none() && needed {
        spec.insert(
            "volumes".into(),
            json!([volumes, vec![token_volume(PLUGINS_VOLUME, 3607)]].concat()),
        );
    }
}

/// A projected volume with a token.
pub(super) fn token_volume(name: &str, seconds: u32) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": seconds, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt"}},
    ]}})
}

fn limit_secret_references(spec: &Value, account: &Account) -> Result<(), String> {
    let mut secrets: Vec<&str> = Vec::new();
    let list = |value: &'static str| spec[value].as_array().into_iter().flatten();
    secrets.extend(list("volumes").filter_map(|volume| volume["secret"]["secretName"].as_str()));
    for container in list("initContainers").chain(list("containers")) {
        let env = container["env"].as_array().into_iter().flatten();
        secrets.extend(env.filter_map(|env| env["valueFrom"]["secretKeyRef"]["name"].as_str()));
        let from = container["envFrom"].as_array().into_iter().flatten();
        secrets.extend(from.filter_map(|from| from["secretRef"]["name"].as_str()));
    }
    if let Some(secret) = secrets
        .iter()
        .find(|secret| !account.secrets.contains(secret))
    {
        return Err(format!(
            "secret {secret:?} is not referenced by {}",
            account.name
        ));
    }
    let mut pulls = list("imagePullSecrets").map(|entry| entry["name"].as_str().unwrap_or(""));
    match pulls.find(|name| !account.pulls.contains(name)) {
        Some(name) => Err(format!(
            "imagePullSecret {name:?} is not referenced by {}",
            account.name
        )),
        None => Ok(()),
    }
}

/// What of a Pod makes out its account: the name, the volumes, the mounts of each container.
pub(super) fn identity(pod: &Value) -> Value {
    let spec = &pod["spec"];
    let list = |field: &str| spec[field].as_array().cloned().unwrap_or_default();
    let mounts: Vec<Value> = [list("initContainers"), list("containers")]
        .concat()
        .into_iter()
        .map(|mut container| {
            // Nobody cares whether a list is empty or absent.
            let mounts = container["volumeMounts"].take();
            json!([
                container["name"],
                mounts.as_array().cloned().unwrap_or_default()
            ])
        })
        .collect();
    json!([
        spec["serviceAccountName"],
        spec["serviceAccount"],
        list("volumes"),
        mounts
    ])
}
