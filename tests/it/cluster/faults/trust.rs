//! Fresh connections to a webhook as an API server would make them: trusting what the caBundle in force says.
//!
//! An API server keeps its connections, so that most Pods of a stream see no handshake. Whoever connects during a
//! rotation must be served too.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::install::Webhook;
use crate::plane::User;
use crate::webhook::client::{Client, config};

/// Where the caBundle is.
pub(super) const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/00-pullpass";

/// Connects again and again, until it is asked how that went.
pub(super) struct Visits<'w> {
    webhook: &'w Webhook<'w>,
    /// What it had counted before: API servers may have called before there was a caBundle.
    errors: Vec<String>,
    ends: Arc<AtomicBool>,
    visitor: JoinHandle<(usize, Vec<String>)>,
}

impl<'w> Visits<'w> {
    pub(super) fn start(user: &User, webhook: &'w Webhook<'w>) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let errors = errors(webhook);
        let address = webhook.server.admission;
        let visitor = {
            let (ends, user) = (Arc::clone(&ends), user.clone());
            std::thread::spawn(move || {
                let (mut count, mut failed) = (0, Vec::new());
                while !ends.load(Ordering::Relaxed) {
                    let bundle = bundle(&user.get(CONFIGURATION).done());
                    let connected = Client::connect(address, &config(&certificates(&bundle), None));
                    if let Err(error) = connected {
                        failed.push(format!("{error}, trusting {bundle}"));
                    }
                    count += 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
                (count, failed)
            })
        };
        Self {
            webhook,
            errors,
            ends,
            visitor,
        }
    }

    /// Ends them.
    pub(super) fn end(self) -> Visited {
        self.ends.store(true, Ordering::Relaxed);
        let (count, mut failed) = self.visitor.join().unwrap();
        let after = errors(self.webhook);
        if after != self.errors {
            failed.push(format!("{after:?}, {}", self.webhook.server.log()));
        }
        Visited { count, failed }
    }
}

/// How that went.
pub(super) struct Visited {
    count: usize,
    failed: Vec<String>,
}

impl Visited {
    /// None may have failed, nor one of an API server's.
    pub(super) fn went_well(&self) {
        assert_eq!(self.failed, [""; 0], "of {} handshakes", self.count);
    }
}

impl fmt::Display for Visited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, failed } = self;
        write!(
            f,
            "{count} fresh handshakes beside ({} failed)",
            failed.len()
        )
    }
}

/// The handshakes that failed, as the webhook counts them.
fn errors(webhook: &Webhook<'_>) -> Vec<String> {
    let metrics = webhook.server.get("/metrics").body;
    let lines = metrics.lines().map(ToOwned::to_owned);
    lines
        .filter(|line| line.starts_with("pullpass_tls_handshake_errors_total"))
        .collect()
}

/// The caBundle of a configuration.
pub(super) fn bundle(configuration: &Value) -> String {
    let text = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str();
    String::from_utf8(STANDARD.decode(text.unwrap_or_default()).unwrap()).unwrap()
}

/// The certificates in PEM, each for itself.
pub(super) fn certificates(bundle: &str) -> Vec<&str> {
    let blocks = bundle.split_inclusive("-----END CERTIFICATE-----\n");
    blocks.filter(|block| block.contains("BEGIN")).collect()
}
