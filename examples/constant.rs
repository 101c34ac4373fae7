//! The server without the engine: every review is allowed, its uid echoed, nothing else read.
//!
//! What is left is the cost of TLS, HTTP and the limits: the measure that the whole server is
//! held against. It takes `--listen ADDR --tls-cert FILE --tls-key FILE [--admin-listen ADDR]`.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use pullpass::admission::{Answer, Facts, ImageCounts, Operation, Outcome};
use pullpass::metrics::Metrics;
use pullpass::server::health::Health;
use pullpass::server::limits::Limits;
use pullpass::server::{self, CertificateSource, Config, Endpoint, Reply};
use pullpass::telemetry::{self, LogFormat};

fn main() -> Result<(), Box<dyn Error>> {
    let mut flags = HashMap::new();
    let mut args = std::env::args().skip(1);
    while let (Some(flag), Some(value)) = (args.next(), args.next()) {
        flags.insert(flag, value);
    }
    let flag = |name: &str| {
        flags
            .get(name)
            .ok_or_else(|| format!("`{name}` is missing"))
    };
    let admin = flags
        .get("--admin-listen")
        .map_or("127.0.0.1:0", String::as_str);
    let config = Config {
        listen: flag("--listen")?.parse()?,
        admin_listen: admin.parse()?,
        certificate: CertificateSource::Files {
            cert: PathBuf::from(flag("--tls-cert")?),
            key: PathBuf::from(flag("--tls-key")?),
        },
        client_ca: None,
        drain: std::time::Duration::ZERO,
        limits: Limits::default(),
    };
    telemetry::init(LogFormat::Text, "info", true)?;
    let metrics = Arc::new(Metrics::new());
    let serving = server::run_until_signalled(config, constant, Health::new(), metrics);
    Ok(server::runtime()?.block_on(serving)?)
}

/// The uid is the first member of the request that bears the name.
fn constant(_: Endpoint, body: &[u8]) -> Result<Reply, NoUid> {
    const MARK: &[u8] = br#""uid":""#;
    let start = body
        .windows(MARK.len())
        .position(|w| w == MARK)
        .ok_or(NoUid)?
        + MARK.len();
    let rest = body.get(start..).ok_or(NoUid)?;
    let end = rest.iter().position(|&b| b == b'"').ok_or(NoUid)?;
    let uid = rest
        .get(..end)
        .and_then(|uid| std::str::from_utf8(uid).ok())
        .ok_or(NoUid)?;
    let body = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{{"uid":"{uid}","allowed":true}}}}"#
    );
    Ok(Reply::Now(Answer {
        body: body.into_bytes(),
        lacks: Vec::new(),
        facts: Facts {
            operation: Operation::Create,
            outcome: Outcome::Unchanged,
            warnings: Vec::new(),
            images: ImageCounts::default(),
            secrets: Vec::new(),
            account: None,
            uid: uid.to_owned(),
            namespace: String::new(),
            pod: String::new(),
            rules: String::new(),
            held: String::new(),
        },
    }))
}

#[derive(Debug)]
struct NoUid;

impl fmt::Display for NoUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body has no `uid`")
    }
}

impl Error for NoUid {}
