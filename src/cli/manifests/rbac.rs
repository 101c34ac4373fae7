//! `pullpass render rbac`: policies → the two accounts with the rights that these policies need.

use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::BoolishValueParser;

use super::{OutputArgs, label, object_name, print};
use crate::cli::output::Io;
use crate::cli::{Exit, shared};
use crate::install::rbac::{Certificates, Options, Sweep, objects};
use crate::install::{MUTATING_CONFIGURATION, TLS_SECRET};
use crate::load::LoadOptions;
use crate::snapshot::ScopeOptions;

/// Print the accounts `pullpass-webhook` and `pullpass-controller` with their rights.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass render rbac --policy policies/ | kubectl apply --server-side -f -
  pullpass render rbac --policy policies/ --namespace registry --tenant-policies
  kubectl get configmaps -n pullpass-system -o yaml | pullpass render rbac --policy -

The rights to Secrets carry the names of the policies' credentials: render again when one is added.
With one that is removed the right to its Secrets goes; let the controller remove them first.

Neither the namespace is printed nor the guard, a ValidatingAdmissionPolicy that bounds what RBAC
cannot.

Exit status: 0 fine, 2 bad input or arguments.")]
pub struct Args {
    /// Policies: files, directories, or `-`.
    #[arg(long, value_name = "PATH", num_args = 1.., env = "PULLPASS_POLICY")]
    policy: Vec<PathBuf>,
    /// pullpass's own namespace, where the accounts live.
    #[arg(
        short,
        long,
        value_name = "NS",
        env = "PULLPASS_NAMESPACE",
        default_value = "pullpass-system",
        value_parser = label
    )]
    namespace: String,
    /// Read policies of other namespaces too: ConfigMaps everywhere.
    #[arg(long, env = "PULLPASS_TENANT_POLICIES", value_parser = BoolishValueParser::new())]
    tenant_policies: bool,
    /// What the controller does with Pods that fail to pull although the table covers them.
    #[arg(
        long,
        value_name = "MODE",
        env = "PULLPASS_SWEEP",
        default_value = "report",
        ignore_case = true
    )]
    sweep: SweepArg,
    /// The Secret with the serving certificate.
    #[arg(
        long,
        value_name = "NAME",
        env = "PULLPASS_TLS_SECRET",
        default_value = TLS_SECRET,
        value_parser = object_name
    )]
    tls_secret: String,
    /// The mutating configuration whose caBundle the controller keeps.
    #[arg(
        long,
        value_name = "NAME",
        env = "PULLPASS_WEBHOOK_CONFIGURATION",
        default_value = MUTATING_CONFIGURATION,
        value_parser = object_name
    )]
    webhook_configuration: String,
    /// cert-manager makes the certificates: the controller has no right to them.
    #[arg(
        long,
        env = "PULLPASS_CERT_MANAGER",
        conflicts_with = "webhook_configuration",
        value_parser = BoolishValueParser::new()
    )]
    cert_manager: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SweepArg {
    /// Nothing.
    Off,
    /// Tell of them.
    Report,
    /// Delete those that their owner makes again.
    Recreate,
}

/// Prints the accounts.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    let load = LoadOptions {
        scope: ScopeOptions {
            own_namespace: args.namespace.as_str().into(),
            ..ScopeOptions::default()
        },
        tenant_policies: args.tenant_policies,
        namespace: args.namespace.clone(),
    };
    let Some(loaded) = shared::load_with(&args.policy, &[], &load, io)? else {
        return Ok(Exit::Unusable);
    };
    let options = Options {
        namespace: args.namespace.clone(),
        tls_secret: args.tls_secret.clone(),
        certificates: if args.cert_manager {
            Certificates::CertManager
        } else {
            Certificates::Controller {
                configuration: args.webhook_configuration.clone(),
            }
        },
        tenant_policies: args.tenant_policies,
        sweep: match args.sweep {
            SweepArg::Off => Sweep::Off,
            SweepArg::Report => Sweep::Report,
            SweepArg::Recreate => Sweep::Recreate,
        },
    };
    let credentials = loaded.snapshot.table.credentials();
    print(&objects(&credentials, &options), &args.output, io)?;
    Ok(Exit::Fine)
}
