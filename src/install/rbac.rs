//! Credentials and options → the two accounts and exactly the rights that their processes use.
//!
//! A right to Secrets always carries names: a rule without `resourceNames` means every object, so one
//! that would have no name is left out. No wildcard, no `update`, and nothing that writes for the webhook.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    CA_SECRET, CONTROLLER, EPHEMERAL_CONFIGURATION, POLICIES_CONFIGURATION, WEBHOOK, labels,
};
use crate::policy::document::{Credential, CredentialSource};

const GROUP: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const READ: [&str; 3] = ["get", "list", "watch"];
/// What a server-side apply of an object needs that was read by name before.
const KEEP: [&str; 3] = ["get", "create", "patch"];

/// What the rights depend on beside the credentials.
#[derive(Clone, Debug)]
pub struct Options {
    /// pullpass's own namespace.
    pub namespace: String,
    /// The Secret with the serving certificate.
    pub tls_secret: String,
    /// Who makes the certificates.
    pub certificates: Certificates,
    /// Policies are read from every namespace.
    pub tenant_policies: bool,
    /// What happens to Pods that fail to pull.
    pub sweep: Sweep,
}

/// Who makes certificates and keeps caBundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// The controller, in the two validating configurations and this mutating one.
    Controller {
        /// Its name.
        configuration: String,
    },
    /// cert-manager: the controller touches neither certificate nor configuration.
    CertManager,
}

/// What the controller does with Pods that fail to pull although the table covers them. Closed: the
/// contract has these three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sweep {
    /// Nothing.
    Off,
    /// Tells of them.
    #[default]
    Report,
    /// Deletes those that an owner makes again.
    Recreate,
}

/// The accounts and their rights, in the order in which they can be applied.
#[must_use]
pub fn objects(credentials: &[&Credential], options: &Options) -> Vec<Value> {
    let needs = Needs::of(credentials);
    let webhook = [webhook_cluster(options), webhook_own(options)];
    let controller = [
        controller_cluster(&needs, options),
        controller_own(&needs, options),
    ];
    let parts = [
        ("webhook", WEBHOOK, webhook),
        ("controller", CONTROLLER, controller),
    ];
    parts
        .into_iter()
        .flat_map(|(component, name, [cluster, own])| {
            account(component, name, &options.namespace, &cluster, &own)
        })
        .collect()
}

/// What the credentials take.
#[derive(Debug, Default)]
struct Needs {
    /// Secrets that the controller makes in many namespaces.
    written: BTreeSet<String>,
    /// Secrets that somebody else makes: their presence is watched.
    watched: BTreeSet<String>,
    /// Secrets in its own namespace that are copied.
    sources: BTreeSet<String>,
    /// Whether Pods wait for any.
    holds: bool,
}

impl Needs {
    fn of(credentials: &[&Credential]) -> Self {
        let mut needs = Self::default();
        for credential in credentials {
            let name = credential.name.to_string();
            if credential.from == CredentialSource::Existing {
                needs.watched.insert(name);
            } else {
                needs.written.insert(name);
            }
            if let CredentialSource::SecretRef { name } = &credential.from {
                needs.sources.insert(name.to_string());
            }
            needs.holds |= credential.hold_pods;
        }
        needs
    }
}

fn webhook_cluster(options: &Options) -> Vec<Value> {
    let mut rules = vec![every("", &["namespaces", "serviceaccounts"], &READ)];
    if options.tenant_policies {
        rules.push(every("", &["configmaps"], &READ));
    }
    rules
}

fn webhook_own(options: &Options) -> Vec<Value> {
    let own = [
        named("", "secrets", [options.tls_secret.as_str()], &READ),
        named("coordination.k8s.io", "leases", [CONTROLLER], &READ),
    ];
    let mut rules = vec![every("", &["configmaps"], &READ)];
    rules.extend(own.into_iter().flatten());
    rules
}

fn controller_cluster(needs: &Needs, options: &Options) -> Vec<Value> {
    let mut pods = READ.to_vec();
    if needs.holds {
        pods.push("patch");
    }
    if options.sweep == Sweep::Recreate {
        pods.push("delete");
    }
    let mut rules = vec![
        every("", &["namespaces"], &READ),
        every("", &["pods"], &pods),
    ];
    let all = ["get", "list", "watch", "create", "patch", "delete"];
    rules.extend(named("", "secrets", &needs.written, &all));
    rules.extend(named("", "secrets", &needs.watched, &READ));
    if let Certificates::Controller { configuration } = &options.certificates {
        let keep = ["get", "list", "watch", "patch"];
        let mutating = "mutatingwebhookconfigurations";
        rules.extend(named(ADMISSION, mutating, [configuration.as_str()], &keep));
        let validating = "validatingwebhookconfigurations";
        let names = [POLICIES_CONFIGURATION, EPHEMERAL_CONFIGURATION];
        rules.extend(named(ADMISSION, validating, names, &keep));
    }
    rules.push(every("events.k8s.io", &["events"], &["create", "patch"]));
    if options.tenant_policies {
        rules.push(every("", &["configmaps"], &READ));
    }
    rules
}

fn controller_own(needs: &Needs, options: &Options) -> Vec<Value> {
    let mut rules = vec![every("", &["configmaps"], &READ)];
    let status: Vec<String> = (0..16).map(|i| format!("pullpass-status-{i:x}")).collect();
    rules.extend(named("", "configmaps", &status, &KEEP));
    if matches!(options.certificates, Certificates::Controller { .. }) {
        let names = [options.tls_secret.as_str(), CA_SECRET];
        let verbs = ["get", "list", "watch", "create", "patch"];
        rules.extend(named("", "secrets", names, &verbs));
    }
    rules.extend(named("", "secrets", &needs.sources, &READ));
    rules.extend(named("coordination.k8s.io", "leases", [CONTROLLER], &KEEP));
    rules
}

/// A right to every object of these resources.
fn every(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

/// A right to the objects of these names. Without a name there is no right: an empty list would mean
/// every object.
fn named<N: AsRef<str>>(
    group: &str,
    resource: &str,
    names: impl IntoIterator<Item = N>,
    verbs: &[&str],
) -> Option<Value> {
    let names: BTreeSet<String> = names.into_iter().map(|n| n.as_ref().to_owned()).collect();
    (!names.is_empty()).then(|| {
        json!({
            "apiGroups": [group],
            "resources": [resource],
            "resourceNames": names,
            "verbs": verbs,
        })
    })
}

/// An account with its cluster-wide rights and those in its own namespace.
fn account(
    component: &str,
    name: &str,
    namespace: &str,
    cluster: &[Value],
    own: &[Value],
) -> [Value; 5] {
    let wide = json!({"name": name, "labels": labels(component)});
    let here = json!({"name": name, "namespace": namespace, "labels": labels(component)});
    let version = format!("{GROUP}/v1");
    let role = |kind: &str, metadata: &Value, rules: &[Value]| {
        json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": metadata,
            "rules": rules,
        })
    };
    let binding = |kind: &str, role: &str, metadata: &Value| {
        json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": metadata,
            "roleRef": {"apiGroup": GROUP, "kind": role, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        })
    };
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": here}),
        role("ClusterRole", &wide, cluster),
        binding("ClusterRoleBinding", "ClusterRole", &wide),
        role("Role", &here, own),
        binding("RoleBinding", "Role", &here),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::diagnostic::Source;
    use crate::load::{LoadOptions, load};

    /// `account, where, resource, name` → verbs. No name in the list is every object.
    type Rights = BTreeMap<(String, String, String, String), BTreeSet<String>>;

    const NONE: &str = "";
    const COPIED: &str = "{name: hub, from: {secretRef: {name: hub-source}}}";
    const FETCHED: &str =
        "{name: ecr, from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1]}}}";
    const HELD: &str = "{name: ecr, from: {ecr: {accountIds: ['123456789012'], regions: [us-east-1]}}, holdPods: true}";
    const FOREIGN: &str = "{name: vault, from: {existing: {}}}";
    const FOREIGN_HELD: &str = "{name: vault, from: {existing: {}}, holdPods: true}";

    fn usual() -> Options {
        Options {
            namespace: "own".to_owned(),
            tls_secret: "pullpass-webhook-tls".to_owned(),
            certificates: Certificates::Controller {
                configuration: "00-pullpass".to_owned(),
            },
            tenant_policies: false,
            sweep: Sweep::Report,
        }
    }

    fn rendered(credentials: &[&str], options: &Options) -> Vec<Value> {
        let policy = format!(
            "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: p}}\nspec:\n  \
             rules: [{{name: r, match: {{images: ['*']}}, inject: {{imagePullSecrets: [x]}}}}]\n  \
             credentials: [{}]\n",
            credentials.join(", ")
        );
        let policy = policy.replace("  credentials: []\n", "");
        let loaded = load(&[Source::new("p", policy)], &[], &LoadOptions::default());
        assert!(!loaded.has_error(), "{:?}", loaded.diagnostics);
        objects(&loaded.snapshot.table.credentials(), options)
    }

    /// Every right of both accounts, through their bindings as an API server would follow them.
    fn rights(objects: &[Value]) -> Rights {
        let mut rights = Rights::new();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let texts =
            |value: &Value| -> Vec<String> { value.as_array().unwrap().iter().map(text).collect() };
        for binding in objects {
            let Some(role) = binding.get("roleRef") else {
                continue;
            };
            let place = binding["metadata"].get("namespace");
            let found: Vec<&Value> = objects
                .iter()
                .filter(|o| o["kind"] == role["kind"] && o["metadata"]["name"] == role["name"])
                .filter(|o| o["metadata"].get("namespace") == place)
                .collect();
            let [role] = found[..] else {
                panic!("{binding} binds {found:?}")
            };
            let [subject] = &binding["subjects"].as_array().unwrap()[..] else {
                panic!("{binding}")
            };
            let exists = objects.iter().any(|o| {
                o["kind"] == "ServiceAccount"
                    && o["metadata"]["name"] == subject["name"]
                    && o["metadata"]["namespace"] == subject["namespace"]
            });
            assert!(exists, "{subject} is no account");
            for rule in role["rules"].as_array().unwrap() {
                let names = rule
                    .get("resourceNames")
                    .map_or(vec!["*".to_owned()], texts);
                assert!(!names.is_empty(), "{rule}");
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        for name in &names {
                            let resource = format!("{resource}.{group}");
                            let key = (
                                text(&subject["name"]),
                                place.map_or("cluster".to_owned(), text),
                                resource.trim_end_matches('.').to_owned(),
                                name.clone(),
                            );
                            rights.entry(key).or_default().extend(texts(&rule["verbs"]));
                        }
                    }
                }
            }
        }
        rights
    }

    /// Rows of `account | where | resource | names | verbs`; `read` is get, list, watch.
    fn table(rows: &[&str]) -> Rights {
        let mut rights = Rights::new();
        for row in rows {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let [who, place, resource, names, verbs] = cells[..] else {
                panic!("{row}")
            };
            for name in names.split_whitespace() {
                let key = [&format!("pullpass-{who}"), place, resource, name];
                let [who, place, resource, name] = key.map(ToOwned::to_owned);
                let row = rights.entry((who, place, resource, name)).or_default();
                for verb in verbs.replace("read", "get list watch").split_whitespace() {
                    row.insert(verb.to_owned());
                }
            }
        }
        rights
    }

    const ALWAYS: [&str; 11] = [
        "webhook    | cluster | namespaces                  | *                    | read",
        "webhook    | cluster | serviceaccounts             | *                    | read",
        "webhook    | own     | configmaps                  | *                    | read",
        "webhook    | own     | secrets                     | pullpass-webhook-tls | read",
        "webhook    | own     | leases.coordination.k8s.io  | pullpass-controller  | read",
        "controller | cluster | namespaces                  | *                    | read",
        "controller | cluster | pods                        | *                    | read",
        "controller | cluster | events.events.k8s.io        | *                    | create patch",
        "controller | own     | configmaps                  | *                    | read",
        "controller | own     | configmaps | pullpass-status-0 pullpass-status-1 pullpass-status-2 \
         pullpass-status-3 pullpass-status-4 pullpass-status-5 pullpass-status-6 pullpass-status-7 \
         pullpass-status-8 pullpass-status-9 pullpass-status-a pullpass-status-b pullpass-status-c \
         pullpass-status-d pullpass-status-e pullpass-status-f                    | get create patch",
        "controller | own     | leases.coordination.k8s.io  | pullpass-controller  | get create patch",
    ];
    const CERTIFICATES: [&str; 3] = [
        "controller | own     | secrets | pullpass-webhook-tls pullpass-ca | read create patch",
        "controller | cluster | mutatingwebhookconfigurations.admissionregistration.k8s.io | \
         00-pullpass | read patch",
        "controller | cluster | validatingwebhookconfigurations.admissionregistration.k8s.io | \
         pullpass-policies pullpass-ephemeralcontainers | read patch",
    ];

    #[test]
    fn each_account_has_the_rights_of_its_process_and_no_other() {
        let cert_manager = Options {
            certificates: Certificates::CertManager,
            ..usual()
        };
        let tenants = Options {
            tenant_policies: true,
            ..usual()
        };
        let swept = |sweep| Options { sweep, ..usual() };
        let everything = [&ALWAYS[..], &CERTIFICATES[..]].concat();
        for (credentials, options, base, more, why) in [
            (&[NONE][..], usual(), &everything, &[][..], "no credential"),
            (
                &[COPIED],
                usual(),
                &everything,
                &[
                    "controller | cluster | secrets | hub        | read create patch delete",
                    "controller | own     | secrets | hub-source | read",
                ],
                "a copied credential: its Secret anywhere, its source here",
            ),
            (
                &[FETCHED, COPIED],
                usual(),
                &everything,
                &[
                    "controller | cluster | secrets | hub ecr    | read create patch delete",
                    "controller | own     | secrets | hub-source | read",
                ],
                "two",
            ),
            (
                &[FOREIGN],
                usual(),
                &everything,
                &["controller | cluster | secrets | vault | read"],
                "what others make is never written",
            ),
            (
                &[HELD],
                usual(),
                &everything,
                &[
                    "controller | cluster | secrets | ecr | read create patch delete",
                    "controller | cluster | pods    | *   | patch",
                ],
                "a Pod that waits is released by a patch",
            ),
            (
                &[FOREIGN_HELD],
                usual(),
                &everything,
                &[
                    "controller | cluster | secrets | vault | read",
                    "controller | cluster | pods    | *     | patch",
                ],
                "also one that waits for what others make",
            ),
            (&[NONE], swept(Sweep::Off), &everything, &[], "no sweep"),
            (
                &[NONE],
                swept(Sweep::Recreate),
                &everything,
                &["controller | cluster | pods | * | delete"],
                "a sweep that recreates deletes",
            ),
            (
                &[NONE],
                tenants,
                &everything,
                &[
                    "webhook    | cluster | configmaps | * | read",
                    "controller | cluster | configmaps | * | read",
                ],
                "tenants' policies are read everywhere",
            ),
            (
                &[NONE],
                cert_manager,
                &ALWAYS.to_vec(),
                &[],
                "cert-manager has the certificates",
            ),
        ] {
            let credentials: Vec<&str> = credentials
                .iter()
                .copied()
                .filter(|c| !c.is_empty())
                .collect();
            let got = rights(&rendered(&credentials, &options));
            let want = table(&[&base[..], more].concat());
            assert_eq!(got, want, "{why}");
        }
    }

    #[test]
    fn names_given_are_the_names_granted() {
        let options = Options {
            tls_secret: "other-tls".to_owned(),
            certificates: Certificates::Controller {
                configuration: "10-other".to_owned(),
            },
            ..usual()
        };
        let got = rights(&rendered(&[], &options));
        let names: BTreeSet<&str> = got.keys().map(|(_, _, _, name)| name.as_str()).collect();
        assert!(
            names.contains("other-tls") && names.contains("10-other"),
            "{names:?}"
        );
        assert!(!names.contains("pullpass-webhook-tls") && !names.contains("00-pullpass"));
    }

    #[test]
    fn no_rule_is_a_wildcard_or_an_update_or_a_secret_without_a_name() {
        let options = Options {
            tenant_policies: true,
            sweep: Sweep::Recreate,
            ..usual()
        };
        for credentials in [&[][..], &[HELD, COPIED, FOREIGN]] {
            for object in rendered(credentials, &options) {
                for rule in object["rules"].as_array().into_iter().flatten() {
                    let text = rule.to_string();
                    for never in [
                        "\"*\"",
                        "\"update\"",
                        "\"deletecollection\"",
                        "\"escalate\"",
                        "[]",
                    ] {
                        assert!(!text.contains(never), "{text}");
                    }
                    let is_secret = text.contains("\"secrets\"");
                    assert!(!is_secret || rule.get("resourceNames").is_some(), "{text}");
                    let writes = ["create", "patch", "delete"]
                        .iter()
                        .any(|verb| text.contains(verb));
                    let role = object["metadata"]["name"].as_str().unwrap();
                    assert!(!writes || role == CONTROLLER, "the webhook writes: {text}");
                }
            }
        }
    }
}
