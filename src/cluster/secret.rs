//! One Secret with a certificate, watched by its name → the pair that a server is to show.
//!
//! The one Secret that a webhook may read. What it holds goes to the server and nowhere else; whether it
//! can be used is the server's to judge.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use super::objects::{metadata, resource};
use super::watch::{self as watching, Watched};
use crate::metrics::{Metrics, Resource};
use crate::server::PemPair;
use crate::server::health::Check;

/// A Secret of which two keys are read.
#[derive(Clone, Deserialize)]
struct Secret {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    data: Value,
}

resource!(Secret, "Secret", "secrets");

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secret").field(&self.metadata.name).finish()
    }
}

impl Secret {
    /// Its pair. What is absent or no base64 is empty, which no server takes for a certificate.
    fn pair(&self) -> PemPair {
        let bytes = |key: &str| {
            let text = self.data.get(key).and_then(Value::as_str);
            text.and_then(|text| STANDARD.decode(text).ok())
                .unwrap_or_default()
        };
        PemPair {
            certificate: bytes("tls.crt"),
            key: bytes("tls.key"),
        }
    }
}

/// Follows one Secret.
pub struct SecretFeed {
    api: Api<Secret>,
    name: String,
    watched: Watched,
    pairs: watch::Sender<Option<PemPair>>,
}

impl SecretFeed {
    /// A feed, the condition of readiness that it fulfils, and where the pairs come out.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        metrics: Arc<Metrics>,
    ) -> (Self, Check, watch::Receiver<Option<PemPair>>) {
        let what = format!("the Secret `{name}` in `{namespace}`");
        let (watched, check) = Watched::new("certificate-secret", what, Resource::Secrets, metrics);
        let (pairs, seen) = watch::channel(None);
        let feed = Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            watched,
            pairs,
        };
        (feed, check, seen)
    }

    /// Follows it, for ever.
    pub async fn run(self) {
        let Self {
            api,
            name,
            mut watched,
            pairs,
        } = self;
        // The right to read it is a right to its name alone.
        let config = Config::default().fields(&format!("metadata.name={name}"));
        let mut events = std::pin::pin!(watching::watch(api, config));
        let mut listed = None;
        while let Some(event) = events.next().await {
            match event {
                // Nothing is known before the list is whole.
                Ok(Event::Init) => {
                    listed = None;
                    continue;
                }
                Ok(Event::InitApply(secret)) => {
                    listed = Some(secret.pair());
                    continue;
                }
                Ok(Event::InitDone) => send(&pairs, listed.take()),
                Ok(Event::Apply(secret)) => send(&pairs, Some(secret.pair())),
                Ok(Event::Delete(_)) => send(&pairs, None),
                Err(error) => {
                    watched.failed(&error);
                    continue;
                }
            }
            let held = usize::from(pairs.borrow().is_some());
            watched.synced(held, "is watched");
        }
    }
}

/// A pair that is there already is no news.
fn send(pairs: &watch::Sender<Option<PemPair>>, pair: Option<PemPair>) {
    pairs.send_if_modified(|known| {
        let is_new = *known != pair;
        *known = pair;
        is_new
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_gives_its_pair_and_prints_nothing_of_it() {
        for (data, certificate, key, why) in [
            (
                json!({"tls.crt": "YQ==", "tls.key": "Yg==", "ca.crt": "Yw=="}),
                "a",
                "b",
                "both",
            ),
            (json!({"tls.crt": "YQ=="}), "a", "", "no key"),
            (
                json!({"tls.crt": "%", "tls.key": 3}),
                "",
                "",
                "no base64, no string",
            ),
            (json!(null), "", "", "no data"),
            (json!([]), "", "", "data of another shape"),
        ] {
            let object = json!({"metadata": {"name": "x"}, "data": data});
            let secret: Secret = serde_json::from_value(object).unwrap();
            let pair = secret.pair();
            assert_eq!(pair.certificate, certificate.as_bytes(), "{why}");
            assert_eq!(pair.key, key.as_bytes(), "{why}");
            assert_eq!(format!("{secret:?}"), "Secret(Some(\"x\"))");
        }
    }
}
