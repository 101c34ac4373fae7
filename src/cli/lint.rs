//! `pullpass lint`: every finding in policies and in the ConfigMaps that hold them, or a code's page.
//!
//! Reads with the reader that the server loads with, so what passes here loads there.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::Exit;
use super::explain;
use super::input::{self, Input};
use super::output::{Io, Output, OutputParser};
use super::render::{self, Report};
use super::shared::FailOn;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::policy::{self, ParseOptions, Parsed, checks};

/// Check policies, and ConfigMaps that hold them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass lint policies/
  kubectl get configmaps -n pullpass-system -o yaml | pullpass lint -
  pullpass lint . -o github -o sarif=pullpass.sarif --fail-on warning
  pullpass lint --explain PP131

Documents of other kinds are skipped and counted. A ConfigMap counts when it is labelled
`pullpass.dev/policy: \"true\"`; in another namespace than pullpass's own it is a tenant's.")]
pub struct Args {
    /// Files, directories (their *.yaml, *.yml and *.json, by name), or `-`.
    #[arg(value_name = "PATH", required_unless_present = "explain")]
    paths: Vec<PathBuf>,
    /// The output, and the file for it; may stand several times.
    #[arg(
        short,
        long,
        value_name = "FORMAT[=FILE]",
        env = "PULLPASS_OUTPUT",
        value_parser = OutputParser::<Format>::new()
    )]
    output: Vec<Output<Format>>,
    /// The least severity that makes the exit status 1.
    #[arg(
        long,
        value_name = "SEVERITY",
        env = "PULLPASS_FAIL_ON",
        default_value = "error"
    )]
    fail_on: FailOn,
    /// pullpass's own namespace, whose ConfigMaps hold cluster-wide policies.
    #[arg(
        short,
        long,
        value_name = "NS",
        env = "PULLPASS_NAMESPACE",
        default_value = "pullpass-system"
    )]
    namespace: String,
    /// Print what a code means, why it matters, a bad and a good example.
    #[arg(
        long,
        value_name = "CODE",
        env = "PULLPASS_EXPLAIN",
        conflicts_with = "paths"
    )]
    explain: Option<String>,
}

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: each finding with the line it is about.
    Text,
    /// For scripts.
    Json,
    /// For code scanning (SARIF 2.1.0).
    Sarif,
    /// For annotations on a pull request in GitHub Actions.
    Github,
    /// For test reports: a test case a file.
    Junit,
}

/// Reads, checks, draws.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    if let Some(code) = &args.explain {
        let code: Code = code.parse()?;
        let page = explain::page(code).with_context(|| format!("`{code}` has no page"))?;
        io.print(format!("{page}\n").as_bytes())?;
        return Ok(Exit::Fine);
    }
    let inputs = input::read(&args.paths)?;
    let parsed = check(&inputs, &args.namespace);
    let files: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    let report = Report {
        diagnostics: &parsed.diagnostics,
        files: &files,
        policies: parsed.policies.len(),
        rejected: parsed.rejected,
        foreign: parsed.foreign,
        fail_on: args.fail_on,
    };
    io.write(
        &args.output,
        Format::Text,
        |format, colored, out| match format {
            Format::Text => render::text::write(&report, colored, out),
            Format::Json => render::json::write(&report, out),
            Format::Sarif => render::sarif::write(&report, out),
            Format::Github => render::github::write(&report, out),
            Format::Junit => render::junit::write(&report, out),
        },
    )?;
    if parsed.foreign > 0 {
        io.say(&format!(
            "skipped {} of other kinds",
            count(parsed.foreign, "document")
        ));
    }
    if parsed.documents() == 0 {
        let files = count(inputs.len(), "file");
        bail!("nothing to examine: no RegistryPolicy in {files}");
    }
    io.say(&summary(&parsed, inputs.len()));
    let fails = parsed
        .diagnostics
        .iter()
        .any(|finding| args.fail_on.fails(finding));
    Ok(if fails { Exit::Findings } else { Exit::Fine })
}

/// Everything that is wrong, each file's findings together and in its order.
fn check(inputs: &[Input], namespace: &str) -> Parsed {
    // A tenant's policy is checked whether or not this installation reads tenants' policies.
    let options = ParseOptions {
        own_namespace: namespace.into(),
        tenant_policies: true,
    };
    let mut all = Parsed::default();
    for input in inputs {
        match &input.text {
            Ok(source) => all.append(policy::parse(source, &options)),
            Err(finding) => {
                all.rejected += 1;
                all.diagnostics.push(Diagnostic::clone(finding));
            }
        }
    }
    // The server runs the same over what it read: taken names, sources, shadows.
    checks::run(&mut all);
    let order: HashMap<&str, usize> = inputs
        .iter()
        .enumerate()
        .map(|(i, input)| (input.name.as_str(), i))
        .collect();
    all.diagnostics.sort_by_cached_key(|finding| {
        finding.place.as_ref().map(|place| {
            let file = place.in_file();
            (
                order.get(file.source.name()).copied(),
                file.start(),
                place.start(),
            )
        })
    });
    all
}

fn summary(parsed: &Parsed, files: usize) -> String {
    let is = |severity| move |finding: &&Diagnostic| finding.severity() == severity;
    let errors = parsed
        .diagnostics
        .iter()
        .filter(is(Severity::Error))
        .count();
    let warnings = parsed
        .diagnostics
        .iter()
        .filter(is(Severity::Warning))
        .count();
    let found = match (errors, warnings) {
        (0, 0) => "nothing found".to_owned(),
        (0, _) => count(warnings, "warning"),
        (_, 0) => count(errors, "error"),
        _ => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    };
    let policies = match parsed.documents() {
        1 => "1 policy".to_owned(),
        n => format!("{n} policies"),
    };
    format!("checked {policies} in {}: {found}", count(files, "file"))
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
