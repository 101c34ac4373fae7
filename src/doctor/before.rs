//! What can be known before there is an installation: the version, the caller's rights, what is in the way.

use super::{Check, Found, PART_OF, State, few, name, server};

/// One right that an installation takes: group, resource, verb, and whether in the namespace.
pub const RIGHTS: [(&str, &str, bool); 11] = [
    ("", "serviceaccounts", true),
    ("", "services", true),
    ("", "configmaps", true),
    ("", "secrets", true),
    ("apps", "deployments", true),
    ("policy", "poddisruptionbudgets", true),
    ("rbac.authorization.k8s.io", "roles", true),
    ("rbac.authorization.k8s.io", "rolebindings", true),
    ("rbac.authorization.k8s.io", "clusterroles", false),
    ("rbac.authorization.k8s.io", "clusterrolebindings", false),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        false,
    ),
];

/// What is read before an installation.
#[derive(Clone, Debug)]
pub struct Facts {
    /// pullpass's own namespace to be.
    pub namespace: String,
    /// `/version`.
    pub version: Found,
    /// The namespace itself.
    pub own_namespace: Found,
    /// A mutating configuration of our name.
    pub configuration: Found,
    /// The resources that the caller may not create; nothing when the API server does not say.
    pub refused: Result<Vec<String>, String>,
}

/// Every check before an installation.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Check> {
    vec![
        server::version(&facts.version),
        namespace(facts),
        rights(facts),
        conflict(facts),
    ]
}

fn namespace(facts: &Facts) -> Check {
    if facts.own_namespace == Found::Absent {
        let object = format!("Namespace `{}`", facts.namespace);
        let message = "is not there yet; `helm install --create-namespace` makes it";
        return Check::new("namespace", State::Ok, &object, message);
    }
    server::namespace(&facts.own_namespace, &facts.namespace)
}

fn rights(facts: &Facts) -> Check {
    const NAME: &str = "rights";
    let object = "you";
    match &facts.refused {
        Ok(refused) if refused.is_empty() => Check::new(
            NAME,
            State::Ok,
            object,
            "may create all that an installation has",
        ),
        Ok(refused) => {
            let message = format!("may not create {}", few(refused));
            Check::new(NAME, State::Error, object, message)
                .help("install as a cluster administrator")
        }
        Err(why) => {
            let message = format!("the API server does not tell your rights: {why}");
            Check::new(NAME, State::Skipped, object, message)
        }
    }
}

fn conflict(facts: &Facts) -> Check {
    const NAME: &str = "conflict";
    let object = "MutatingWebhookConfiguration";
    if let Some(check) = facts.configuration.unread(NAME, object) {
        return check;
    }
    let Found::Object(found) = &facts.configuration else {
        return Check::new(
            NAME,
            State::Ok,
            object,
            "none has the name that ours will have",
        );
    };
    let object = format!("{object} `{}`", name(found));
    let (key, value) = PART_OF.split_once('=').unwrap_or_default();
    let labels = found.pointer("/metadata/labels");
    let ours = labels.and_then(|labels| labels.get(key)?.as_str()) == Some(value);
    if ours {
        return Check::new(
            NAME,
            State::Warning,
            &object,
            "pullpass is installed already",
        )
        .help("upgrade that one, or run `pullpass doctor` without `--pre`");
    }
    Check::new(NAME, State::Error, &object, "is there, and not pullpass's")
        .help("give ours another name with the chart's `webhook.configurationName`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_installation_finds_room_or_is_told_what_is_in_its_way() {
        let facts = Facts {
            namespace: "own".into(),
            version: Found::Object(json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0"})),
            own_namespace: Found::Absent,
            configuration: Found::Absent,
            refused: Ok(Vec::new()),
        };
        let states = |facts: &Facts| {
            examine(facts)
                .into_iter()
                .map(|c| c.state)
                .collect::<Vec<_>>()
        };
        assert_eq!(states(&facts), [State::Ok; 4]);
        let configuration =
            |labels| Found::Object(json!({"metadata": {"name": "00-pullpass", "labels": labels}}));
        let ours = json!({"app.kubernetes.io/part-of": "pullpass"});
        for (configuration, refused, want, why) in [
            (
                configuration(ours),
                Ok(vec![]),
                [State::Ok, State::Warning],
                "installed already",
            ),
            (
                configuration(json!({})),
                Ok(vec![]),
                [State::Ok, State::Error],
                "somebody else's",
            ),
            (
                Found::Absent,
                Ok(vec!["roles".to_owned()]),
                [State::Error, State::Ok],
                "no right",
            ),
            (
                Found::Absent,
                Err("no".to_owned()),
                [State::Skipped, State::Ok],
                "no answer",
            ),
        ] {
            let facts = Facts {
                configuration,
                refused,
                ..facts.clone()
            };
            assert_eq!(states(&facts)[2..], want, "{why}");
        }
    }
}
