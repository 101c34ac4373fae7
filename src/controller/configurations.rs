//! Webhook configurations as a watch brings them: their entries' names and caBundles, no more.
//!
//! Selectors, rules and policies are their owner's; they are not kept, so they cannot be written.

use std::borrow::Cow;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::ClusterResourceScope;
use serde::Deserialize;

use super::facts;
use crate::plan::certificates::Entry;

/// What both kinds have in common.
pub(super) trait Configured {
    /// Its webhooks.
    fn entries(&self) -> Vec<Entry>;
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Webhook {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "clientConfig")]
    client_config: ClientConfig,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ClientConfig {
    #[serde(default, rename = "caBundle")]
    ca_bundle: Option<ByteString>,
}

macro_rules! configuration {
    ($view:ident, $doc:literal, $plural:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug, Deserialize)]
        pub(super) struct $view {
            metadata: ObjectMeta,
            #[serde(default)]
            webhooks: Vec<Webhook>,
        }

        impl Configured for $view {
            fn entries(&self) -> Vec<Entry> {
                entries(&self.webhooks)
            }
        }

        impl Resource for $view {
            type DynamicType = ();
            type Scope = ClusterResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($view).into()
            }

            fn group((): &()) -> Cow<'_, str> {
                "admissionregistration.k8s.io".into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

configuration!(
    MutatingWebhookConfiguration,
    "A configuration of webhooks that may change objects.",
    "mutatingwebhookconfigurations"
);
configuration!(
    ValidatingWebhookConfiguration,
    "A configuration of webhooks that may refuse objects.",
    "validatingwebhookconfigurations"
);

fn entries(webhooks: &[Webhook]) -> Vec<Entry> {
    let entry = |webhook: &Webhook| {
        let bundle = webhook.client_config.ca_bundle.clone();
        let bundle = bundle.unwrap_or_default().0;
        Entry {
            name: webhook.name.clone(),
            authorities: facts::authorities(&bundle),
            bundle,
        }
    };
    webhooks.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_are_their_names_and_ca_bundles() {
        let object = json!({
            "metadata": {"name": "00-pullpass"},
            "webhooks": [
                {"name": "a", "clientConfig": {"url": "https://x", "caBundle": "Z2FyYmFnZQ=="}},
                {"name": "b", "clientConfig": {}, "rules": [{"operations": ["*"]}]},
                {"name": "c"},
            ],
        });
        let object: MutatingWebhookConfiguration = serde_json::from_value(object).unwrap();
        let entries: Vec<_> = object
            .entries()
            .into_iter()
            .map(|e| (e.name, e.bundle))
            .collect();
        let want = [("a", &b"garbage"[..]), ("b", b""), ("c", b"")];
        assert_eq!(
            entries,
            want.map(|(name, bundle)| (name.to_owned(), bundle.to_vec()))
        );
    }
}
