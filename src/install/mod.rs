//! What an installation is made of: names, rights and webhook configurations as plain objects.
//!
//! A function of options and credentials; it talks to no cluster and reads no file. The same objects
//! come from `pullpass render` and are what the servers expect to find.

pub mod rbac;
pub mod webhook_configuration;

use serde_json::{Value, json};

pub use crate::names::{CA_SECRET, TLS_SECRET};

/// The name of the webhook's ServiceAccount and roles.
pub const WEBHOOK: &str = "pullpass-webhook";
/// The name of the controller's ServiceAccount and roles, and of its Lease.
pub const CONTROLLER: &str = "pullpass-controller";
/// The mutating configuration, when no other is named. API servers call in the order of names: this is
/// before the webhooks that inject cloud identities.
pub const MUTATING_CONFIGURATION: &str = "00-pullpass";
/// The validating configuration that lints policies as they are applied.
pub const POLICIES_CONFIGURATION: &str = "pullpass-policies";
/// The validating configuration that warns of debug containers.
pub const EPHEMERAL_CONFIGURATION: &str = "pullpass-ephemeralcontainers";

/// `part-of` is what an installation is found by. None of these says `managed-by: pullpass`: that
/// label marks the Secrets that the controller makes, and nothing else.
fn labels(component: &str) -> Value {
    json!({
        "app.kubernetes.io/name": "pullpass",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "pullpass",
    })
}
