//! `pullpass doctor`: what is well in an installation, what is not, and what to do about it.
//!
//! `doctor` asks and judges; here its checks are drawn, and the exit status comes of them. Nothing in the
//! cluster is changed.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout_at};

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

/// Whoever waits is told again after this that it goes on.
const REMINDER: Duration = Duration::from_secs(15);

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
        anyhow::Ok(until_well(args, &asking, &namespace, io).await?)
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

/// Looks, and with `--wait` again until all is well or the time is over. The first look takes as long as it takes; a later one
/// that does not end in time leaves what the one before it found.
async fn until_well(
    args: &Args,
    asking: &Asking,
    namespace: &str,
    io: &mut Io,
) -> Result<Vec<Check>, Unreachable> {
    let mut looked = look(args, asking, namespace).await;
    let Some(wait) = args.wait else {
        return looked;
    };
    let start = Instant::now();
    let end = start + wait.min(LONGEST);
    let mut told: Option<(String, Instant)> = None;
    loop {
        let Some(obstacle) = obstacle(&looked, args.fail_on) else {
            return looked;
        };
        let now = Instant::now();
        if now >= end {
            return looked;
        }
        let is_news = told
            .as_ref()
            .is_none_or(|(last, at)| *last != obstacle || now - *at >= REMINDER);
        if is_news {
            let left = (end - now).as_secs();
            io.say(&format!("not well yet, {left} s left: {obstacle}"));
            told = Some((obstacle, now));
        }
        sleep(PAUSE.min(end - now)).await;
        if let Ok(again) = timeout_at(end + PAUSE, look(args, asking, namespace)).await {
            looked = again;
        }
    }
}

async fn look(args: &Args, asking: &Asking, namespace: &str) -> Result<Vec<Check>, Unreachable> {
    if args.pre {
        let facts = asking.before(namespace).await?;
        Ok(before::examine(&facts))
    } else {
        let facts = asking.facts(namespace).await?;
        Ok(examine(&facts))
    }
}

/// What there is to wait for, in a line. Nothing when all is well.
fn obstacle(looked: &Result<Vec<Check>, Unreachable>, fail_on: FailOn) -> Option<String> {
    let checks = match looked {
        Err(unreachable) => return Some(unreachable.to_string()),
        Ok(checks) => checks,
    };
    let mut failing = checks
        .iter()
        .filter(|check| !is_well(std::slice::from_ref(*check), fail_on));
    let first = failing.next()?;
    let more = match failing.count() {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    Some(format!("{}: {}{more}", first.object, first.message))
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
