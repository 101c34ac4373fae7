//! `pullpass controller`: keeps the webhook's certificates and the pull secrets that policies declare.
//!
//! Here flags become a controller. It decides nothing and writes nothing itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use super::Exit;
use super::output::Io;
use super::server_args::ServerArgs;
use super::shared::{self, ScopeArgs};
use crate::cluster::client::connect;
use crate::controller::lease::Terms;
use crate::controller::{Config, certificates, credentials, facts};
use crate::credentials::{Fetcher, Outgoing};
use crate::install::{
    CA_SECRET, EPHEMERAL_CONFIGURATION, POLICIES_CONFIGURATION, TLS_SECRET, WEBHOOK,
};
use crate::metrics::Metrics;
use crate::plan::certificates::{SHORTEST_LIFETIME, Wanted};
use crate::policy::parse_duration;
use crate::server::{certificate, runtime};

/// The longest life that every client's arithmetic takes.
const LONGEST_LIFETIME: Duration = Duration::from_hours(24 * 365 * 100);

/// Keep in a cluster the pull secrets that policies declare, and the webhook's certificates.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass controller --webhook-configuration 00-pullpass
  pullpass controller --webhook-configuration 00-pullpass --dns-name pullpass.example.com --kubeconfig ~/.kube/config
  pullpass controller

Makes the Secret of each declared credential in the namespaces whose Pods need it, renews it before it
expires, removes it when it is needed no more, and lets Pods go that wait for it.

Makes a CA and a serving certificate, renews both at two thirds of their life, and keeps the caBundle of
the webhook configurations. Without --tls-secret and --webhook-configuration somebody else does all that,
such as cert-manager. Of several replicas one writes, the others stand by.

Exit status: 0 after a signal, 2 when it cannot start.")]
pub struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// The Secret of the serving certificate that is kept [default with `--webhook-configuration`:
    /// `pullpass-webhook-tls`]. Neither given: no certificate is made.
    #[arg(long, value_name = "NAME", env = "PULLPASS_TLS_SECRET")]
    tls_secret: Option<String>,
    /// The mutating configuration whose caBundle is kept, and with it those of the validating ones.
    /// Not given: no caBundle is touched.
    #[arg(long, value_name = "NAME", env = "PULLPASS_WEBHOOK_CONFIGURATION")]
    webhook_configuration: Option<String>,
    /// Names of the serving certificate, IP addresses too [default: `pullpass-webhook.NS.svc`].
    #[arg(
        long,
        value_name = "NAME",
        num_args = 1..,
        value_delimiter = ',',
        env = "PULLPASS_DNS_NAME"
    )]
    dns_name: Vec<String>,
    /// How long a CA is good for.
    #[arg(
        long,
        value_name = "DURATION",
        env = "PULLPASS_CA_LIFETIME",
        default_value = "365d",
        value_parser = lifetime
    )]
    ca_lifetime: Duration,
    /// How long a serving certificate is good for.
    #[arg(
        long,
        value_name = "DURATION",
        env = "PULLPASS_CERTIFICATE_LIFETIME",
        default_value = "90d",
        value_parser = lifetime
    )]
    certificate_lifetime: Duration,
    /// Authorities in PEM form that calls to clouds trust beside the system's. Their proxy is that of
    /// `HTTPS_PROXY` and `NO_PROXY`.
    #[arg(long, value_name = "FILE", env = "PULLPASS_CA_BUNDLE")]
    ca_bundle: Option<PathBuf>,
    #[command(flatten)]
    scope: ScopeArgs,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let Some(duration) = parse_duration(text) else {
        return Err("write a number and a unit, as in `90d`".to_owned());
    };
    if duration < SHORTEST_LIFETIME {
        return Err("a rotation needs time: write `10s` or more".to_owned());
    }
    if duration > LONGEST_LIFETIME {
        return Err("write 100 years (`36500d`) or less".to_owned());
    }
    Ok(duration)
}

/// Runs until a signal comes.
pub fn run(args: &Args, _io: &mut Io) -> anyhow::Result<Exit> {
    let config = config(args)?;
    args.server.init_log()?;
    let runtime = runtime().context("cannot start the runtime")?;
    runtime.block_on(async {
        let client = connect(&args.server.client()).await?;
        let metrics = Arc::new(Metrics::new());
        crate::controller::run(client, config, metrics).await?;
        anyhow::Ok(())
    })?;
    Ok(Exit::Fine)
}

fn config(args: &Args) -> anyhow::Result<Config> {
    let namespace = args.server.own_namespace();
    if args.tls_secret.as_deref() == Some(CA_SECRET) {
        bail!("`--tls-secret {CA_SECRET}` is the CA's own Secret; give another name");
    }
    for name in [POLICIES_CONFIGURATION, EPHEMERAL_CONFIGURATION] {
        if args.webhook_configuration.as_deref() == Some(name) {
            bail!(
                "`--webhook-configuration {name}` is a validating configuration, which is kept \
                 anyway; give the name of the mutating one"
            );
        }
    }
    let mut names = args.dns_name.clone();
    if names.is_empty() {
        names.push(format!("{WEBHOOK}.{namespace}.svc"));
    }
    for name in &mut names {
        certificate::check(name)?;
        *name = facts::spelled(name);
    }
    if !args.scope.objects.is_empty() {
        bail!("`--objects` stands for a cluster, and a controller has one; leave it out");
    }
    let mut scope = shared::load_options(&args.scope, &namespace).scope;
    scope.own_namespace = namespace.as_str().into();
    let outgoing = Outgoing::from_env(args.ca_bundle.clone())?;
    let kept = args.tls_secret.is_some() || args.webhook_configuration.is_some();
    let tls_secret = args.tls_secret.as_deref().unwrap_or(TLS_SECRET);
    let certificates = kept.then(|| certificates::Options {
        namespace: namespace.clone(),
        tls_secret: tls_secret.to_owned(),
        configuration: args.webhook_configuration.clone(),
        wanted: Wanted {
            ca_lifetime: args.ca_lifetime,
            certificate_lifetime: args.certificate_lifetime,
            names,
        },
    });
    Ok(Config {
        namespace: namespace.clone(),
        admin_listen: args.server.admin_listen,
        certificates,
        credentials: credentials::Options {
            namespace,
            scope,
            fetcher: Fetcher::new(&outgoing)?,
        },
        tenant_policies: args.scope.tenant_policies,
        terms: Terms::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn flags_become_a_configuration_or_one_sentence() {
        for (flags, want, why) in [
            (
                &["--tls-secret", "s", "--namespace", "here"][..],
                Ok("s: pullpass-webhook.here.svc"),
                "the default name",
            ),
            (
                &[
                    "--webhook-configuration",
                    "c",
                    "--dns-name",
                    "A.example,10.0.0.1",
                    "0:0::1",
                ],
                Ok("pullpass-webhook-tls: a.example 10.0.0.1 ::1"),
                "names and addresses",
            ),
            (&[], Ok(""), "somebody else makes the certificates"),
            (&["--dns-name", "a b"], Err("`a b`"), "no name"),
            (
                &["--tls-secret", "pullpass-ca"],
                Err("the CA's own"),
                "it would hold the key",
            ),
            (
                &["--webhook-configuration", "pullpass-policies"],
                Err("validating"),
                "not the mutating one",
            ),
        ] {
            let flags = [&["x"], flags].concat();
            let args = Only::try_parse_from(flags)
                .unwrap_or_else(|e| panic!("{why}: {e}"))
                .args;
            match (config(&args), want) {
                (Ok(config), Ok(want)) => {
                    let kept = config.certificates.map(|kept| {
                        format!("{}: {}", kept.tls_secret, kept.wanted.names.join(" "))
                    });
                    assert_eq!(kept.unwrap_or_default(), want, "{why}");
                }
                (Err(error), Err(want)) => {
                    assert!(error.to_string().contains(want), "{why}: {error}");
                }
                (got, want) => panic!("{why}: want {want:?}, got {:?}", got.is_ok()),
            }
        }
    }

    #[test]
    fn a_lifetime_leaves_time_for_a_rotation() {
        for (text, want, why) in [
            ("90d", true, "days"),
            ("10s", true, "the shortest"),
            ("9s", false, "too short"),
            ("90", false, "no unit"),
            ("36501d", false, "longer than a century"),
        ] {
            assert_eq!(lifetime(text).is_ok(), want, "{why}");
        }
    }
}
