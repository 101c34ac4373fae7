//! Flags that several commands share: what makes findings fail, and what a decision is made of.
//!
//! Only words are held here; each command says what they mean to it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::input;
use super::output::Io;
use super::render::{self, Report};
use crate::diagnostic::{Diagnostic, Severity};
use crate::load::{LoadOptions, Loaded};
use crate::snapshot::{self, ScopeOptions};

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
        if several.contains(&arg.get_id().as_str()) {
            arg.num_args(1)
        } else {
            arg
        }
    })
}

/// What loading takes of the flags.
#[must_use]
pub fn load_options(scope: &ScopeArgs, namespace: &str) -> LoadOptions {
    LoadOptions {
        scope: ScopeOptions {
            mode: match scope.namespace_mode {
                NamespaceMode::OptOut => snapshot::NamespaceMode::OptOut,
                NamespaceMode::OptIn => snapshot::NamespaceMode::OptIn,
            },
            excluded: scope.exclude_namespace.clone(),
            ignore_opt_out: scope.ignore_opt_out,
            ..ScopeOptions::default()
        },
        tenant_policies: scope.tenant_policies,
        namespace: namespace.to_owned(),
    }
}

/// The table and objects of the flags. Nothing when they have errors, which are told.
pub fn load(args: &TableArgs, namespace: &str, io: &mut Io) -> anyhow::Result<Option<Loaded>> {
    let options = load_options(&args.scope, namespace);
    load_with(&args.policy, &args.scope.objects, &options, io)
}

/// The same for commands with options of their own.
pub fn load_with(
    policies: &[PathBuf],
    objects: &[PathBuf],
    options: &LoadOptions,
    io: &mut Io,
) -> anyhow::Result<Option<Loaded>> {
    if policies.is_empty() {
        anyhow::bail!("there is no policy; give `--policy PATH`");
    }
    let policies = input::read_all(policies)?;
    let objects = input::read_all(objects)?;
    let loaded = crate::load::load(&policies, &objects, options);
    let errors = |d: &&Diagnostic| d.severity() == Severity::Error;
    let errors: Vec<Diagnostic> = loaded.diagnostics.iter().filter(errors).cloned().collect();
    if !errors.is_empty() {
        show(&errors, io)?;
        io.say("error: the policies have errors");
        return Ok(None);
    }
    if loaded.foreign > 0 {
        io.say(&format!("skipped {}", others(loaded.foreign)));
    }
    if loaded.policies == 0 {
        anyhow::bail!("nothing to examine: no RegistryPolicy in the input");
    }
    Ok(Some(loaded))
}

/// `3 documents of other kinds`.
#[must_use]
pub fn others(n: usize) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} document{s} of other kinds")
}

/// Draws findings on standard error, for commands whose result is something else.
pub fn show(diagnostics: &[Diagnostic], io: &mut Io) -> anyhow::Result<()> {
    if diagnostics.is_empty() {
        return Ok(());
    }
    let report = Report {
        diagnostics,
        files: &[],
        policies: 0,
        rejected: 0,
        foreign: 0,
        fail_on: FailOn::Error,
    };
    let mut text = Vec::new();
    render::text::write(&report, false, &mut text)?;
    io.say_text(&text);
    Ok(())
}
