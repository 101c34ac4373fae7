//! Secrets from standard input → the server-side applies of them, by the controller's client, and nothing else.
//!
//! What is left is the cost of the API server and of calling it: the measure that the controller is held against. It
//! takes `--kubeconfig FILE`; each line is `{"atOnce": N, "secrets": [SECRET…]}`, answered by `{"seconds": S}`.

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use pullpass::cluster::client::{ClientOptions, connect};
use pullpass::controller::apply::FIELD_MANAGER;
use pullpass::server;
use serde_json::Value;
use tokio::task::JoinSet;

type AnyError = Box<dyn Error + Send + Sync>;

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    at_once: usize,
    secrets: Vec<Value>,
}

fn main() -> Result<(), AnyError> {
    let mut flags = HashMap::new();
    let mut args = std::env::args().skip(1);
    while let (Some(flag), Some(value)) = (args.next(), args.next()) {
        flags.insert(flag, value);
    }
    let kubeconfig = flags.get("--kubeconfig").map(PathBuf::from);
    let options = ClientOptions {
        kubeconfig: Some(kubeconfig.ok_or("`--kubeconfig` is missing")?),
        context: None,
    };
    let runtime = server::runtime()?;
    let client = runtime.block_on(connect(&options))?;
    for line in std::io::stdin().lock().lines() {
        let order = serde_json::from_str(&line?)?;
        let took = runtime.block_on(apply_all(&client, order))?;
        let mut output = std::io::stdout().lock();
        writeln!(output, r#"{{"seconds": {}}}"#, took.as_secs_f64())?;
        output.flush()?;
    }
    Ok(())
}

/// Applies them in their order. The first that is refused ends it.
async fn apply_all(client: &Client, order: Order) -> Result<Duration, AnyError> {
    let start = Instant::now();
    let mut calls = JoinSet::new();
    for secret in order.secrets {
        if calls.len() >= order.at_once.max(1) {
            calls.join_next().await.transpose()?.transpose()?;
        }
        calls.spawn(apply(client.clone(), secret));
    }
    while let Some(done) = calls.join_next().await {
        done??;
    }
    Ok(start.elapsed())
}

async fn apply(client: Client, body: Value) -> Result<(), AnyError> {
    let part = |key: &str| body.pointer(key).and_then(Value::as_str).ok_or("no Secret");
    let api = Api::<Secret>::namespaced(client, part("/metadata/namespace")?);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let name = part("/metadata/name")?;
    api.patch(name, &params, &Patch::Apply(&body)).await?;
    Ok(())
}
