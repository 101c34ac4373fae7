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
mod tests;
