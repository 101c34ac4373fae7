//! `pullpass webhook`: serves the table of the cluster, or of policy files, over HTTPS.
//!
//! Here flags become a server; `live` follows the cluster, `reload` the files. It decides nothing and
//! opens no port itself.

mod live;
mod reload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;

use super::Exit;
use super::output::Io;
use super::server_args::ServerArgs;
use super::shared::{self, TableArgs};
use crate::admission::{BadReview, answer, validate};
use crate::cluster::client::connect;
use crate::cluster::feed::FeedOptions;
use crate::cluster::secret::SecretFeed;
use crate::load::{LoadOptions, Loaded};
use crate::metrics::Metrics;
use crate::policy::parse_duration;
use crate::server::health::{Check, Health, State};
use crate::server::limits::Limits;
use crate::server::{CertificateSource, Config, Endpoint, Reply, run_until_signalled, runtime};
use reload::{Files, InForce, Seen, summary, tell};

/// Serve the table as a mutating admission webhook.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass certs --out certs/dev
  pullpass webhook --policy examples/policy.yaml --tls-cert certs/dev/tls.crt --tls-key certs/dev/tls.key
  pullpass webhook --policy policies/ --objects cluster.yaml --self-signed --listen 127.0.0.1:8443
  pullpass webhook --tls-secret pullpass-webhook-tls
  pullpass webhook --kubeconfig ~/.kube/config --tls-cert certs/dev/tls.crt --tls-key certs/dev/tls.key

Answers POST /mutate (Pods) and POST /validate (ConfigMaps that hold policies). With --policy the table
comes from files, otherwise from the cluster: from ConfigMaps labelled `pullpass.dev/policy: \"true\"`.
Policies, objects and certificates are taken as they change; a policy with an error keeps what was in
force.
On SIGTERM it stops being ready, serves for --drain, and ends.

Exit status: 0 after a signal, 2 when it cannot start.")]
pub struct Args {
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    server: ServerArgs,
    /// Where admission requests come in.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "PULLPASS_LISTEN",
        default_value = "[::]:10250"
    )]
    listen: SocketAddr,
    /// The serving certificate with its chain, as PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "PULLPASS_TLS_CERT",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,
    /// Its private key, as PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "PULLPASS_TLS_KEY",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,
    /// The Secret in pullpass's own namespace that holds both, as `tls.crt` and `tls.key`: the
    /// controller or cert-manager makes it.
    #[arg(long, value_name = "NAME", env = "PULLPASS_TLS_SECRET", conflicts_with_all = ["tls_cert", "tls_key", "self_signed"])]
    tls_secret: Option<String>,
    /// Make a certificate for this run: for a laptop.
    #[arg(long, env = "PULLPASS_SELF_SIGNED", conflicts_with_all = ["tls_cert", "tls_key"], value_parser = clap::builder::BoolishValueParser::new())]
    self_signed: bool,
    /// Answer only clients with a certificate of these authorities, as PEM.
    #[arg(long, value_name = "FILE", env = "PULLPASS_CLIENT_CA")]
    client_ca: Option<PathBuf>,
    /// How long to go on serving after SIGTERM.
    #[arg(long, value_name = "DURATION", env = "PULLPASS_DRAIN", default_value = "10s", value_parser = duration)]
    drain: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a number and a unit, as in `10s`".to_owned())
}

/// What loading and watching take of the flags.
fn options(args: &Args) -> LoadOptions {
    let own = args.server.own_namespace();
    let mut options = shared::load_options(&args.table.scope, &own);
    options.scope.own_namespace = own.into();
    options
}

/// Serves until a signal comes.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    let certificate = certificate(args)?;
    let is_from_files = !args.table.policy.is_empty();
    if !is_from_files && !args.table.scope.objects.is_empty() {
        bail!("`--objects` goes with `--policy`: without it both come from the cluster");
    }
    let mut paths = args.table.policy.iter().chain(&args.table.scope.objects);
    if paths.any(|path| path.as_os_str() == "-") {
        bail!("`-` is no file that could be read again when it changes; give `webhook` a path");
    }
    args.server.init_log()?;
    let loaded = if is_from_files {
        Some(read(args, io)?)
    } else {
        None
    };
    let runtime = runtime().context("cannot start the runtime")?;
    runtime.block_on(serve(args, certificate, loaded))?;
    Ok(Exit::Fine)
}

/// The certificate, as the flags say it.
enum Certificate {
    Source(CertificateSource),
    Secret(String),
}

fn certificate(args: &Args) -> anyhow::Result<Certificate> {
    if let Some(name) = &args.tls_secret {
        return Ok(Certificate::Secret(name.clone()));
    }
    Ok(Certificate::Source(
        match (&args.tls_cert, &args.tls_key, args.self_signed) {
            (Some(cert), Some(key), _) => CertificateSource::Files {
                cert: cert.clone(),
                key: key.clone(),
            },
            (_, _, true) => CertificateSource::SelfSigned {
                names: ["localhost", "127.0.0.1", "::1"]
                    .map(ToOwned::to_owned)
                    .to_vec(),
            },
            _ => bail!(
                "there is no certificate; give `--tls-secret`, or `--tls-cert` and `--tls-key`, or \
                 `--self-signed`"
            ),
        },
    ))
}

/// The table of the files, and what was seen of them.
fn read(args: &Args, io: &mut Io) -> anyhow::Result<(Files, Seen, Loaded)> {
    let files = Files {
        policies: args.table.policy.clone(),
        objects: args.table.scope.objects.clone(),
        options: options(args),
    };
    let texts = files.read()?;
    let loaded = files.load(&texts);
    if loaded.has_error() {
        shared::show(&loaded.diagnostics, io)?;
        bail!("the policies have errors");
    }
    if loaded.policies == 0 {
        bail!("nothing to examine: no RegistryPolicy in the input");
    }
    let seen = Seen::first(&texts);
    Ok((files, seen, loaded))
}

async fn serve(
    args: &Args,
    certificate: Certificate,
    loaded: Option<(Files, Seen, Loaded)>,
) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let client = async || connect(&args.server.client()).await;
    let mut health = Health::new();
    let (certificate, secret) = match certificate {
        Certificate::Source(source) => (source, None),
        Certificate::Secret(name) => {
            let (feed, check, pairs) = SecretFeed::new(
                client().await?,
                &args.server.own_namespace(),
                &name,
                Arc::clone(&metrics),
            );
            health = health.with(check);
            let source = CertificateSource::Published {
                secret: name,
                pairs,
            };
            (source, Some(feed))
        }
    };
    let config = Config {
        listen: args.listen,
        admin_listen: args.server.admin_listen,
        certificate,
        client_ca: args.client_ca.clone(),
        drain: args.drain,
        limits: Limits::default(),
    };
    let served = async {
        if let Some((files, seen, loaded)) = loaded {
            return from_files(files, seen, loaded, config, health, metrics).await;
        }
        let client = client()
            .await
            .context("without `--policy` the table comes from the cluster")?;
        let LoadOptions {
            scope,
            tenant_policies,
            ..
        } = options(args);
        let options = FeedOptions {
            scope,
            tenant_policies,
        };
        live::serve(client, options, config, health, metrics).await
    };
    let followed = async {
        match secret {
            Some(feed) => feed.run().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        served = served => served,
        () = followed => bail!("the certificate's Secret is not watched any more; this is a bug"),
    }
}

async fn from_files(
    files: Files,
    seen: Seen,
    loaded: Loaded,
    config: Config,
    health: Health,
    metrics: Arc<Metrics>,
) -> anyhow::Result<()> {
    let table = &loaded.snapshot.table;
    tell(&metrics, table, loaded.foreign, &loaded.diagnostics);
    let (policies, readiness) = Check::switch("policies", State::ready(summary(table)));
    let snapshot = Arc::new(ArcSwap::from_pointee(loaded.snapshot));
    let handler = {
        let snapshot = Arc::clone(&snapshot);
        let parse_options = files.options.parse_options();
        move |endpoint: Endpoint, body: &[u8]| -> Result<Reply, BadReview> {
            let snapshot = snapshot.load();
            // Files are all there is: nothing that they lack could come by waiting.
            match endpoint {
                Endpoint::Mutate => answer(body, &snapshot),
                Endpoint::Validate => validate(body, &snapshot.table, &parse_options),
            }
            .map(Reply::Now)
        }
    };
    let in_force = InForce {
        snapshot,
        metrics: Arc::clone(&metrics),
        readiness,
    };
    let health = health.with(policies);
    tokio::select! {
        served = run_until_signalled(config, handler, health, metrics) => Ok(served?),
        () = in_force.follow(files, seen) => bail!("the policy files are not watched any more; this is a bug"),
    }
}
