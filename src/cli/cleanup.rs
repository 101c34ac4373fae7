//! `pullpass cleanup`: what an uninstall has left in a cluster, listed, or with `--yes` removed.
//!
//! `cleanup` looks and removes; here it is refused while a controller would make it all again, and drawn.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Serialize;

use super::Exit;
use super::cluster_args::ClusterArgs;
use super::output::{Io, Output, OutputParser};
use super::render::visible;
use super::shared::FailOn;
use crate::cleanup::work::{Controller, Found, Outcome, Work};
use crate::cleanup::{Kind, Left};
use crate::server::runtime;
use crate::status::GATE;

/// List what an uninstall has left in a cluster, or remove it: Secrets, and Pods that wait for one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass cleanup
  pullpass cleanup --yes
  pullpass cleanup -n shop -o json | jq -r '.items[].name'

What counts has pullpass's mark on it: Secrets and the controller's notes by the label \
`app.kubernetes.io/managed-by: pullpass`, Pods by the scheduling gate `pullpass.dev/pull-secret`, the \
controller's Lease by who applied it. Nothing else is touched, and nothing that has changed since it was listed. Pods that \
still name a Secret need it whenever they pull; the list says how many do.

Exit status: 0 nothing is left, 1 something is, 2 when it cannot be said, or a controller is still \
running that would make it all again.")]
pub struct Args {
    /// Take the gates off the Pods and remove the rest.
    #[arg(
        long,
        env = "PULLPASS_YES",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    yes: bool,
    /// Remove even though a controller is running, or may be.
    #[arg(
        long,
        env = "PULLPASS_FORCE",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    force: bool,
    /// Look in this namespace alone.
    #[arg(short, long, value_name = "NS", env = "PULLPASS_NAMESPACE")]
    namespace: Option<String>,
    /// Look in all namespaces, whatever else is said; so it is without `--namespace`.
    #[arg(
        short = 'A',
        long,
        env = "PULLPASS_ALL_NAMESPACES",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    all_namespaces: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Whether what is left makes the command fail; all of it counts as an error.
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

/// Looks, removes if it is told to, and draws.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    let scope = args.namespace.as_deref().filter(|_| !args.all_namespaces);
    let runtime = runtime().context("cannot start the runtime")?;
    let words = RefCell::new(&mut *io);
    let tell = |line: &str| words.borrow_mut().say(line);
    let (found, outcomes) = runtime.block_on(async {
        let work = Work::new(args.cluster.asker().await?, &tell);
        let found = work.look(scope).await?;
        warn(&found, &tell);
        let outcomes = if args.yes && !found.left.is_empty() {
            if !args.force {
                refuse(&found.controller)?;
            }
            work.remove(&found.left).await
        } else {
            vec![Outcome::Left; found.left.len()]
        };
        anyhow::Ok((found, outcomes))
    })?;
    let items: Vec<_> = found.left.iter().zip(&outcomes).collect();
    io.write(&args.output, Format::Text, |format, _, out| match format {
        Format::Text => write_text(&items, out),
        Format::Json => write_json(&found.controller, &items, out),
    })?;
    let (remains, sentence) = sum_up(&items, scope, args.yes);
    io.say(&sentence);
    Ok(if remains && args.fail_on != FailOn::Never {
        Exit::Findings
    } else {
        Exit::Fine
    })
}

/// What one should know before anything is removed.
fn warn(found: &Found, tell: &dyn Fn(&str)) {
    for what in &found.unseen {
        tell(&format!("warning: not looked at: {what}"));
    }
    if let Controller::Running {
        namespace,
        identity,
    } = &found.controller
    {
        tell(&format!(
            "warning: the controller `{identity}` in `{namespace}` is running: this is in use, not left"
        ));
    }
    let pods: usize = found.left.iter().map(|left| left.named_by).sum();
    if pods > 0 {
        tell(&format!(
            "warning: Pods name these Secrets in {pods} places, and need them whenever they pull"
        ));
    }
}

/// What is removed under a running controller is there again a moment later.
fn refuse(controller: &Controller) -> anyhow::Result<()> {
    match controller {
        Controller::Gone => Ok(()),
        Controller::Running {
            namespace,
            identity,
        } => bail!(
            "the controller `{identity}` in `{namespace}` is running and would make all of this again; \
             uninstall pullpass first, or give `--force`"
        ),
        Controller::Unknown { why } => bail!(
            "it cannot be told whether a controller is running that would make all of this again: {why}; \
             give `--force` if none is"
        ),
    }
}

/// Whether anything remains, and how much of what.
fn sum_up(items: &[(&Left, &Outcome)], scope: Option<&str>, yes: bool) -> (bool, String) {
    let place = scope.map_or_else(|| "in any namespace".to_owned(), |ns| format!("in `{ns}`"));
    if items.is_empty() {
        return (false, format!("nothing of pullpass is left {place}"));
    }
    let mut parts = Vec::new();
    for state in STATES {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (left, _) in items.iter().filter(|item| state_of(item) == state) {
            *counts.entry(left.kind.name()).or_default() += 1;
        }
        let counts = counts.into_iter();
        let counts = counts.map(|(kind, n)| format!("{n} {kind}{}", if n == 1 { "" } else { "s" }));
        let counts = counts.collect::<Vec<_>>().join(", ");
        if !counts.is_empty() {
            parts.push(format!("{counts} {state}"));
        }
    }
    if !yes {
        parts.push("`--yes` takes the gates off Pods and removes the rest".to_owned());
    }
    let remains = |outcome: &Outcome| matches!(outcome, Outcome::Left | Outcome::Failed(_));
    let remain = items.iter().any(|(_, outcome)| remains(outcome));
    (remain, parts.join("; "))
}

/// The words for what became of them, in the order in which they are summed up.
const STATES: [&str; 5] = ["released", "removed", "gone", "failed", "left"];

fn state_of((left, outcome): &(&Left, &Outcome)) -> &'static str {
    match outcome {
        Outcome::Left => "left",
        // The Pod stays.
        Outcome::Removed if left.kind == Kind::Pod => "released",
        Outcome::Removed => "removed",
        Outcome::Gone => "gone",
        Outcome::Failed(_) => "failed",
    }
}

/// What to know of one of them.
fn note(left: &Left) -> String {
    match left.kind {
        Kind::Pod => format!("the scheduling gate `{GATE}`"),
        Kind::Secret => match left.named_by {
            0 => "no Pod names it".to_owned(),
            1 => "1 Pod names it".to_owned(),
            n => format!("{n} Pods name it"),
        },
        Kind::Certificate => "of the webhook's certificate".to_owned(),
        Kind::ConfigMap => "the controller's notes".to_owned(),
        Kind::Lease => "the controller's".to_owned(),
    }
}

fn write_text(items: &[(&Left, &Outcome)], out: &mut dyn Write) -> io::Result<()> {
    let width = items.iter().map(|(left, _)| left.place().len()).max();
    let width = width.unwrap_or(0);
    for item in items {
        let (left, outcome) = item;
        let (state, kind, place, note) =
            (state_of(item), left.kind.name(), left.place(), note(left));
        let line = format!("{state:<8} {kind:<9}  {place:<width$}  {note}");
        writeln!(out, "{}", visible(&line))?;
        if let Outcome::Failed(why) = outcome {
            writeln!(out, "         {}", visible(why))?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Report<'c> {
    controller: Process<'c>,
    items: Vec<Item<'c>>,
}

#[derive(Serialize)]
struct Process<'c> {
    state: &'static str,
    namespace: Option<&'c str>,
    identity: Option<&'c str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'c> {
    kind: &'static str,
    namespace: &'c str,
    name: &'c str,
    state: &'static str,
    named_by: usize,
    message: Option<&'c str>,
}

fn write_json(
    controller: &Controller,
    items: &[(&Left, &Outcome)],
    out: &mut dyn Write,
) -> io::Result<()> {
    let process = |state, namespace, identity| Process {
        state,
        namespace,
        identity,
    };
    let report = Report {
        controller: match controller {
            Controller::Gone => process("gone", None, None),
            Controller::Unknown { .. } => process("unknown", None, None),
            Controller::Running {
                namespace,
                identity,
            } => process("running", Some(namespace), Some(identity)),
        },
        items: items
            .iter()
            .map(|item| Item {
                kind: item.0.kind.name(),
                namespace: &item.0.namespace,
                name: &item.0.name,
                state: state_of(item),
                named_by: item.0.named_by,
                message: match item.1 {
                    Outcome::Failed(why) => Some(why),
                    _ => None,
                },
            })
            .collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}
