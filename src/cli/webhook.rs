//! `pullpass webhook`: serves the table of policy files over HTTPS, and reads them again when they change.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use clap::ValueEnum;
use sha2::{Digest, Sha256};
use tokio::time::MissedTickBehavior;

use super::output::Io;
use super::shared::{self, TableArgs};
use super::{Exit, input};
use crate::admission::{Answer, BadReview, answer};
use crate::diagnostic::{Severity, Source};
use crate::load::{LoadOptions, Loaded, load};
use crate::metrics::{Metrics, PolicyReload};
use crate::policy::parse_duration;
use crate::server::health::{Check, Health, State, Switch};
use crate::server::limits::Limits;
use crate::server::{CertificateSource, Config, Endpoint, run_until_signalled, runtime};
use crate::snapshot::Snapshot;
use crate::telemetry::{self, LogFormat};

/// Files are looked at this often: an edit is in force within two seconds.
const POLL: Duration = Duration::from_secs(1);

/// Serve the table as a mutating admission webhook.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass certs --out certs/dev
  pullpass webhook --policy examples/policy.yaml --tls-cert certs/dev/tls.crt --tls-key certs/dev/tls.key
  pullpass webhook --policy policies/ --objects cluster.yaml --self-signed --listen 127.0.0.1:8443

Answers POST /mutate. Policies, objects and certificates are read again when they change; a policy with
an error keeps the table in force. On SIGTERM it stops being ready, serves for --drain, and ends.

Exit status: 0 after a signal, 2 when it cannot start.")]
pub struct Args {
    #[command(flatten)]
    table: TableArgs,
    /// pullpass's own namespace: never injected into, its ConfigMaps hold cluster-wide policies.
    #[arg(
        long,
        value_name = "NS",
        env = "PULLPASS_NAMESPACE",
        default_value = "pullpass-system"
    )]
    namespace: String,
    /// Where admission requests come in.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "PULLPASS_LISTEN",
        default_value = "[::]:10250"
    )]
    listen: SocketAddr,
    /// Where probes and metrics are asked for.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "PULLPASS_ADMIN_LISTEN",
        default_value = "[::]:9791"
    )]
    admin_listen: SocketAddr,
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
    /// Make a certificate for this run: for a laptop.
    #[arg(long, env = "PULLPASS_SELF_SIGNED", conflicts_with_all = ["tls_cert", "tls_key"], value_parser = clap::builder::BoolishValueParser::new())]
    self_signed: bool,
    /// Answer only clients with a certificate of these authorities, as PEM.
    #[arg(long, value_name = "FILE", env = "PULLPASS_CLIENT_CA")]
    client_ca: Option<PathBuf>,
    /// How long to go on serving after SIGTERM.
    #[arg(long, value_name = "DURATION", env = "PULLPASS_DRAIN", default_value = "10s", value_parser = duration)]
    drain: Duration,
    /// How log lines look.
    #[arg(
        long,
        value_name = "FORMAT",
        env = "PULLPASS_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: LogFormatArg,
    /// What is logged: error, warn, info, debug or trace, also by target.
    #[arg(
        long,
        value_name = "LEVEL",
        env = "PULLPASS_LOG",
        default_value = "info"
    )]
    log: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormatArg {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a number and a unit, as in `10s`".to_owned())
}

/// Serves until a signal comes.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    let certificate = match (&args.tls_cert, &args.tls_key, args.self_signed) {
        (Some(cert), Some(key), _) => CertificateSource::Files {
            cert: cert.clone(),
            key: key.clone(),
        },
        (_, _, true) => CertificateSource::SelfSigned {
            names: ["localhost", "127.0.0.1", "::1"]
                .map(ToOwned::to_owned)
                .to_vec(),
        },
        _ => {
            bail!("there is no certificate; give `--tls-cert` and `--tls-key`, or `--self-signed`")
        }
    };
    if args.table.policy.is_empty() {
        bail!("there is no policy; give `--policy PATH`");
    }
    let format = match args.log_format {
        LogFormatArg::Text => LogFormat::Text,
        LogFormatArg::Json => LogFormat::Json,
    };
    telemetry::init(format, &args.log, true)?;
    let files = Files::new(args);
    let texts = files.read()?;
    let loaded = files.load(&texts);
    if loaded.has_error() {
        shared::show(&loaded.diagnostics, io)?;
        bail!("the policies have errors");
    }
    if loaded.policies == 0 {
        bail!(
            "there is no RegistryPolicy in the input ({} other documents)",
            loaded.foreign
        );
    }
    let config = Config {
        listen: args.listen,
        admin_listen: args.admin_listen,
        certificate,
        client_ca: args.client_ca.clone(),
        drain: args.drain,
        limits: Limits::default(),
    };
    let runtime = runtime().context("cannot start the runtime")?;
    runtime.block_on(serve(files, texts.digest(), loaded, config))?;
    Ok(Exit::Fine)
}

async fn serve(
    files: Files,
    digest: [u8; 32],
    loaded: Loaded,
    config: Config,
) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    publish(&metrics, &loaded);
    let (policies, switch) = Check::switch("policies", State::ready(summary(&loaded)));
    let snapshot = Arc::new(ArcSwap::from_pointee(loaded.snapshot));
    let handler = {
        let snapshot = Arc::clone(&snapshot);
        move |_: Endpoint, body: &[u8]| -> Result<Answer, BadReview> {
            answer(body, &snapshot.load())
        }
    };
    let reloading = reload(files, digest, snapshot, Arc::clone(&metrics), switch);
    let health = Health::new().with(policies);
    tokio::select! {
        served = run_until_signalled(config, handler, health, metrics) => Ok(served?),
        () = reloading => bail!("the policy files are not watched any more; this is a bug"),
    }
}

/// What `/readyz?verbose` says of the table.
fn summary(loaded: &Loaded) -> String {
    let table = &loaded.snapshot.table;
    format!(
        "{} policies, {} rules, digest {}",
        loaded.policies,
        table.rules(),
        table.digest()
    )
}

fn publish(metrics: &Metrics, loaded: &Loaded) {
    let table = &loaded.snapshot.table;
    metrics.policy_reloaded(PolicyReload {
        digest: table.digest(),
        loaded: loaded.policies,
        rejected: loaded.rejected,
        rules: table.rules(),
        at: SystemTime::now(),
    });
    for warning in &loaded.diagnostics {
        tracing::warn!(%warning, "policy");
    }
    tracing::info!(
        policies = loaded.policies,
        rules = table.rules(),
        digest = table.digest(),
        foreign = loaded.foreign,
        "policies loaded"
    );
}

/// Where the table comes from.
struct Files {
    policies: Vec<PathBuf>,
    objects: Vec<PathBuf>,
    options: LoadOptions,
}

/// The texts of the files at one moment.
struct Texts {
    policies: Vec<Arc<Source>>,
    objects: Vec<Arc<Source>>,
}

impl Texts {
    /// Equal for equal names and texts in equal order.
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for sources in [&self.policies, &self.objects] {
            digest.update((sources.len() as u64).to_le_bytes());
            for part in sources
                .iter()
                .flat_map(|source| [source.name(), source.text()])
            {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        }
        digest.finalize().into()
    }
}

impl Files {
    fn new(args: &Args) -> Self {
        let mut options = shared::load_options(&args.table.scope, &args.namespace);
        options.scope.own_namespace = args.namespace.as_str().into();
        Self {
            policies: args.table.policy.clone(),
            objects: args.table.scope.objects.clone(),
            options,
        }
    }

    fn read(&self) -> Result<Texts, input::InputError> {
        let policies = input::read_all(&self.policies)?;
        let objects = input::read_all(&self.objects)?;
        Ok(Texts { policies, objects })
    }

    fn load(&self, texts: &Texts) -> Loaded {
        load(&texts.policies, &texts.objects, &self.options)
    }

    /// Sizes, times and identities of the files: cheap to compare, other after every edit.
    fn stamp(&self) -> Vec<input::Stamp> {
        let mut stamp = input::stamp(&self.policies);
        stamp.extend(input::stamp(&self.objects));
        stamp
    }

    /// The table of the files, when their texts are others than those of `digest`.
    fn reread(&self, digest: &mut [u8; 32]) -> Result<Option<Loaded>, input::InputError> {
        let texts = self.read()?;
        let now = texts.digest();
        if now == *digest {
            return Ok(None);
        }
        *digest = now;
        Ok(Some(self.load(&texts)))
    }
}

/// Publishes a new table whenever the files change to good ones. Never ends.
async fn reload(
    files: Files,
    mut digest: [u8; 32],
    snapshot: Arc<ArcSwap<Snapshot>>,
    metrics: Arc<Metrics>,
    readiness: Switch,
) {
    let files = Arc::new(files);
    let mut stamp = files.stamp();
    let mut interval = tokio::time::interval(POLL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let now = files.stamp();
        if now == stamp {
            continue;
        }
        stamp = now;
        let (reader, known) = (Arc::clone(&files), digest);
        // Reading and compiling a large table takes a while; requests are answered meanwhile.
        let read = tokio::task::spawn_blocking(move || {
            let mut digest = known;
            let loaded = reader.reread(&mut digest);
            (loaded, digest)
        });
        let Ok((loaded, seen)) = read.await else {
            metrics.policy_reload_failed();
            tracing::error!("reading the policies panicked; the table in force stays");
            continue;
        };
        digest = seen;
        match loaded {
            Ok(None) => {}
            Ok(Some(loaded)) if loaded.has_error() || loaded.policies == 0 => {
                keep(&snapshot.load(), &loaded, &metrics);
            }
            Ok(Some(loaded)) => {
                publish(&metrics, &loaded);
                readiness.set(State::ready(summary(&loaded)));
                snapshot.store(Arc::new(loaded.snapshot));
            }
            Err(error) => {
                metrics.policy_reload_failed();
                tracing::error!(%error, "the policies cannot be read; the table in force stays");
            }
        }
    }
}

/// Tells why new files are not taken; the table in force stays.
fn keep(in_force: &Snapshot, refused: &Loaded, metrics: &Metrics) {
    let table = &in_force.table;
    metrics.policy_reloaded(PolicyReload {
        digest: table.digest(),
        loaded: table.policies().len(),
        rejected: refused.rejected.max(1),
        rules: table.rules(),
        at: SystemTime::now(),
    });
    for error in refused
        .diagnostics
        .iter()
        .filter(|d| d.severity() == Severity::Error)
    {
        tracing::error!(%error, "policy");
    }
    tracing::error!(
        rejected = refused.rejected,
        digest = table.digest(),
        "the new policies are not taken; the table in force stays"
    );
}
