//! `pullpass doctor`: what is well in an installation, what is not, and what to do about it.
//!
//! `doctor` asks and judges; here its checks are drawn, and the exit status comes of them. Nothing in the
//! cluster is changed.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

use super::Exit;
use super::cluster_args::ClusterArgs;
use super::output::{Io, Output, OutputParser};
use super::render::visible;
use super::shared::FailOn;
use crate::cluster::ask::Unreachable;
use crate::cluster::client::own_namespace;
use crate::doctor::gather::Asking;
use crate::doctor::{Check, State, before, examine};
use crate::policy::parse_duration;
use crate::server::runtime;

/// Between two looks while it waits.
const PAUSE: Duration = Duration::from_secs(2);

/// Nobody waits longer, and every clock can count so far.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// Say what is wrong with the installation in a cluster, and what to do.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass doctor
  pullpass doctor --wait 60s -n pullpass-system
  pullpass doctor --pre --context staging
  pullpass doctor -o json | jq '.checks[] | select(.state == \"error\")'

Nothing in the cluster is changed; a Pod is created in a dry run. A check that you may not make is \
skipped.

Exit status: 0 fine, 1 findings at or above `--fail-on`, 2 when there is no cluster to ask.")]
pub struct Args {
    /// Only what can be known before an installation: the version, your rights, what is in the way.
    #[arg(
        long,
        env = "PULLPASS_PRE",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pre: bool,
    /// Look again until all is well, for so long at most.
    #[arg(long, value_name = "DURATION", env = "PULLPASS_WAIT", value_parser = duration)]
    wait: Option<Duration>,
    /// pullpass's own namespace [default: the Pod's, then `pullpass-system`].
    #[arg(short, long, value_name = "NS", env = "PULLPASS_NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// From which state on a check makes the command fail.
    #[arg(
        long,
        value_name = "SEVERITY",
        env = "PULLPASS_FAIL_ON",
        default_value = "error"
    )]
    fail_on: FailOn,
    /// The format, and a file for it.
    #[arg(short, long, value_name = "FORMAT[=FILE]", env = "PULLPASS_OUTPUT", value_parser = OutputParser::<Format>::new())]
    output: Vec<Output<Format>>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One object.
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a number and a unit, as in `60s`".to_owned())
}

/// Asks, judges and draws.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    let namespace = own_namespace(args.namespace.as_deref());
    let runtime = runtime().context("cannot start the runtime")?;
    let checks = runtime.block_on(async {
        let asking = Asking::new(args.cluster.asker().await?);
        anyhow::Ok(until_well(args, &asking, &namespace).await?)
    })?;
    io.write(&args.output, Format::Text, |format, _, out| match format {
        Format::Text => write_text(&checks, out),
        Format::Json => write_json(&namespace, &checks, out),
    })?;
    let of = |state| checks.iter().filter(|check| check.state == state).count();
    io.say(&format!(
        "{} ok, {} warnings, {} errors, {} skipped",
        of(State::Ok),
        of(State::Warning),
        of(State::Error),
        of(State::Skipped)
    ));
    if is_well(&checks, args.fail_on) {
        Ok(Exit::Fine)
    } else {
        Ok(Exit::Findings)
    }
}

async fn until_well(
    args: &Args,
    asking: &Asking,
    namespace: &str,
) -> Result<Vec<Check>, Unreachable> {
    let end = args
        .wait
        .map(|wait| tokio::time::Instant::now() + wait.min(LONGEST));
    loop {
        let looked = if args.pre {
            asking
                .before(namespace)
                .await
                .map(|facts| before::examine(&facts))
        } else {
            asking.facts(namespace).await.map(|facts| examine(&facts))
        };
        let well = looked
            .as_ref()
            .is_ok_and(|checks| is_well(checks, args.fail_on));
        let over = end.is_none_or(|end| tokio::time::Instant::now() + PAUSE > end);
        if well || over {
            return looked;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_well(checks: &[Check], fail_on: FailOn) -> bool {
    let worst = checks.iter().map(|check| check.state).max();
    match fail_on {
        FailOn::Error => worst < Some(State::Error),
        FailOn::Warning => worst < Some(State::Warning),
        FailOn::Never => true,
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Skipped => "skipped",
        State::Warning => "warning",
        State::Error => "error",
    }
}

fn write_text(checks: &[Check], out: &mut dyn Write) -> io::Result<()> {
    for check in checks {
        let state = word(check.state);
        let line = format!(
            "{state:<8}{:<14} {}: {}",
            check.name, check.object, check.message
        );
        writeln!(out, "{}", visible(&line))?;
        if let Some(help) = &check.help {
            writeln!(out, "        help: {}", visible(help))?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Report<'c> {
    namespace: &'c str,
    checks: Vec<Line<'c>>,
}

#[derive(Serialize)]
struct Line<'c> {
    check: &'c str,
    state: &'c str,
    object: &'c str,
    message: &'c str,
    help: Option<&'c str>,
}

impl<'c> Line<'c> {
    fn of(check: &'c Check) -> Self {
        Self {
            check: check.name,
            state: word(check.state),
            object: &check.object,
            message: &check.message,
            help: check.help.as_deref(),
        }
    }
}

fn write_json(namespace: &str, checks: &[Check], out: &mut dyn Write) -> io::Result<()> {
    let report = Report {
        namespace,
        checks: checks.iter().map(Line::of).collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}
