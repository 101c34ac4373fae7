//! Deployments → the flags of their processes that checks depend on.
//!
//! Without a Deployment the defaults hold. What comes by an environment variable is not seen.

use std::sync::Arc;

use serde_json::Value;

use super::is_of;
use crate::install::TLS_SECRET;
use crate::snapshot::{NamespaceMode, ScopeOptions};

/// What the processes were told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) tls_secret: String,
    pub(super) tenants: bool,
    /// The mutating configuration that the controller keeps; none when somebody else does.
    pub(super) kept: Option<String>,
    /// Nothing when there is no Deployment of the webhook.
    mode: Option<NamespaceMode>,
    excluded: Vec<String>,
    ignore_opt_out: bool,
    /// Whether there is a Deployment of the controller.
    pub(super) has_controller: bool,
}

impl Settings {
    pub(super) fn of(deployments: &[Value]) -> Self {
        let of = |component: &str| deployments.iter().find(|d| is_of(d, component));
        let (webhook, controller) = (of("webhook"), of("controller"));
        let flag = |deployment: Option<&Value>, name| deployment.and_then(|d| flag(d, name));
        let mode = webhook.map(|_| match flag(webhook, "--namespace-mode").as_deref() {
            Some("opt-in") => NamespaceMode::OptIn,
            _ => NamespaceMode::OptOut,
        });
        let excluded = flag(webhook, "--exclude-namespace").unwrap_or_default();
        Self {
            tls_secret: flag(webhook, "--tls-secret").unwrap_or_else(|| TLS_SECRET.to_owned()),
            tenants: flag(webhook, "--tenant-policies").is_some(),
            kept: flag(controller, "--webhook-configuration"),
            mode,
            excluded: excluded
                .split(',')
                .filter(|name| !name.is_empty())
                .map(ToOwned::to_owned)
                .collect(),
            ignore_opt_out: flag(webhook, "--ignore-opt-out").is_some(),
            has_controller: controller.is_some(),
        }
    }

    pub(super) fn mode(&self) -> Option<NamespaceMode> {
        self.mode
    }

    pub(super) fn scope(&self, own: &str) -> ScopeOptions {
        ScopeOptions {
            mode: self.mode.unwrap_or_default(),
            own_namespace: Arc::from(own),
            excluded: self.excluded.clone(),
            ignore_opt_out: self.ignore_opt_out,
        }
    }
}

/// The value of a flag of the first container, as `--name=value` or in two words; empty for a switch.
fn flag(deployment: &Value, name: &str) -> Option<String> {
    let args = deployment.pointer("/spec/template/spec/containers/0/args")?;
    let args: Vec<&str> = args.as_array()?.iter().filter_map(Value::as_str).collect();
    args.iter().enumerate().find_map(|(i, arg)| {
        let rest = arg.strip_prefix(name)?;
        if let Some(value) = rest.strip_prefix('=') {
            return Some(value.to_owned());
        }
        let next = args.get(i + 1).filter(|next| !next.starts_with("--"));
        rest.is_empty()
            .then(|| next.copied().unwrap_or_default().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn flags_are_read_in_both_spellings() {
        let webhook = |args: Value| {
            json!({
                "metadata": {"name": "w", "labels": {"app.kubernetes.io/component": "webhook"}},
                "spec": {"template": {"spec": {"containers": [{"args": args}]}}},
            })
        };
        let defaults = Settings::of(&[]);
        assert_eq!(defaults.tls_secret, TLS_SECRET);
        assert_eq!(defaults.mode(), None, "nobody said");
        for (args, why) in [
            (
                json!([
                    "webhook",
                    "--tls-secret=mine",
                    "--namespace-mode=opt-in",
                    "--tenant-policies"
                ]),
                "one word",
            ),
            (
                json!([
                    "webhook",
                    "--tenant-policies",
                    "--tls-secret",
                    "mine",
                    "--namespace-mode",
                    "opt-in"
                ]),
                "two words",
            ),
        ] {
            let settings = Settings::of(&[webhook(args)]);
            assert_eq!(settings.tls_secret, "mine", "{why}");
            assert_eq!(settings.mode(), Some(NamespaceMode::OptIn), "{why}");
            assert!(settings.tenants, "{why}");
        }
        let other = Settings::of(&[webhook(json!(["webhook", "--tls-secrets=mine"]))]);
        assert_eq!(other.tls_secret, TLS_SECRET, "another flag's beginning");
    }
}
