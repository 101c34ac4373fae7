//! Flags that several commands share: what makes findings fail, and what a decision is made of.
//!
//! Only words are held here; each command says what they mean to it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::diagnostic::{Diagnostic, Severity};

/// `--fail-on`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Errors fail, warnings do not.
    #[default]
    Error,
    /// Both fail.
    Warning,
    /// Nothing fails.
    Never,
}

impl FailOn {
    /// Whether a finding makes the command fail.
    #[must_use]
    pub fn fails(self, diagnostic: &Diagnostic) -> bool {
        match self {
            Self::Error => diagnostic.severity() >= Severity::Error,
            Self::Warning => diagnostic.severity() >= Severity::Warning,
            Self::Never => false,
        }
    }
}

/// `--namespace-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NamespaceMode {
    /// Every namespace but those labelled `pullpass.dev/inject: disabled`.
    #[default]
    OptOut,
    /// Only namespaces labelled `pullpass.dev/inject: enabled`.
    OptIn,
}

/// The table and the cluster it decides for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Table")]
pub struct TableArgs {
    /// Policies: files, directories, or `-`.
    #[arg(long, value_name = "PATH", num_args = 1.., env = "PULLPASS_POLICY")]
    pub policy: Vec<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields have their own")]
    pub scope: ScopeArgs,
}

/// What a decision knows besides the policies.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Scope")]
pub struct ScopeArgs {
    /// Namespaces and ServiceAccounts as manifests, in place of a cluster.
    #[arg(long, value_name = "PATH", num_args = 1.., env = "PULLPASS_OBJECTS")]
    pub objects: Vec<PathBuf>,
    /// Which namespaces are in scope.
    #[arg(
        long,
        value_name = "MODE",
        env = "PULLPASS_NAMESPACE_MODE",
        default_value = "opt-out"
    )]
    pub namespace_mode: NamespaceMode,
    /// Namespaces that are never in scope, besides `kube-system` and pullpass's own.
    #[arg(
        long,
        value_name = "NS",
        num_args = 1..,
        value_delimiter = ',',
        env = "PULLPASS_EXCLUDE_NAMESPACE"
    )]
    pub exclude_namespace: Vec<String>,
    /// Read policies of other namespaces too, each for its own namespace alone.
    #[arg(
        long,
        env = "PULLPASS_TENANT_POLICIES",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub tenant_policies: bool,
    /// Inject also into Pods that are labelled `pullpass.dev/inject: disabled`.
    #[arg(
        long,
        env = "PULLPASS_IGNORE_OPT_OUT",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub ignore_opt_out: bool,
}

/// For commands without a cluster.
#[derive(Clone, Debug, Args)]
pub struct OfflineArgs {
    /// The namespace of objects that name none.
    #[arg(
        short,
        long,
        value_name = "NS",
        env = "PULLPASS_NAMESPACE",
        default_value = "default"
    )]
    pub namespace: String,
}

/// The same flags where positional arguments follow: each value behind a flag of its own, so that
/// `match --policy p.yaml nginx` does not take `nginx` for a policy.
#[must_use]
pub fn one_value_a_flag(command: clap::Command) -> clap::Command {
    let several = ["policy", "objects", "exclude_namespace"];
    command.mut_args(|arg| {
        if several.contains(&arg.get_id().as_str()) { arg.num_args(1) } else { arg }
    })
}
