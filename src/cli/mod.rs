//! The command line: arguments → one command → exit status. One file a command.
//!
//! The result goes to standard output and parses whole; words about it go to standard error. A
//! command decides nothing of its own: it reads files, calls the core and draws what came back.

pub mod certs;
pub mod cleanup;
pub mod cluster_args;
pub mod completion;
pub mod controller;
pub mod doctor;
pub mod explain;
pub mod input;
pub mod lint;
pub mod manifests;
pub mod match_image;
pub mod mutate;
pub mod output;
pub mod render;
pub mod schema;
pub mod server_args;
pub mod shared;
pub mod test;
pub mod webhook;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use output::{Color, Io};

/// What a command ended with: the one source of 0, 1 and 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nothing to complain about.
    Fine,
    /// Findings at or above `--fail-on`.
    Findings,
    /// Arguments or input that nothing can be done with, or nothing to examine.
    Unusable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Findings => 1,
            Exit::Unusable => 2,
        })
    }
}

/// Every image pull authenticated: one table of registries, kept as code, for a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(
    name = "pullpass",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_long_help = AFTER_HELP,
    max_term_width = 100
)]
struct Cli {
    /// Whether text is coloured; `auto` asks the terminal, `NO_COLOR` and `CLICOLOR_FORCE`.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        env = "PULLPASS_COLOR",
        default_value = "auto"
    )]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit status: 0 fine; 1 findings at or above `--fail-on`; 2 bad input or arguments, or nothing to \
examine.

Every flag is an environment variable too: `--fail-on` is `PULLPASS_FAIL_ON`.

Installed as `kubectl-pullpass` on the PATH, this binary is a kubectl plugin: `kubectl pullpass lint .`";

#[derive(Debug, Subcommand)]
enum Command {
    Webhook(webhook::Args),
    Controller(controller::Args),

    Match(match_image::Args),
    Mutate(mutate::Args),
    Lint(lint::Args),

    Test(test::Args),
    Doctor(doctor::Args),
    Cleanup(cleanup::Args),
    Render(manifests::Args),
    Certs(certs::Args),
    Schema(schema::Args),
    Completion(completion::Args),
}

/// The whole command, as `--help` and the completions show it.
#[must_use]
pub fn command() -> clap::Command {
    // What the environment holds is nobody's business, and would make help texts differ.
    let command = hide_values(Cli::command());
    ["match", "test"]
        .into_iter()
        .fold(command, |command, name| {
            command.mut_subcommand(name, shared::one_value_a_flag)
        })
}

fn hide_values(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| arg.hide_env_values(true))
        .mut_subcommands(hide_values)
}

/// Runs one command. The first argument is the program's own name.
#[must_use]
pub fn run(args: Vec<OsString>) -> Exit {
    if args.get(1).is_some_and(|arg| arg == completion::COMPLETE) {
        let words = args.get(2..).unwrap_or_default();
        return finish(completion::candidates(words, &mut Io::new(Color::Never)));
    }
    let plugin = args
        .first()
        .is_some_and(|name| is_kubectl_plugin(Path::new(name)));
    let command = command().bin_name(if plugin {
        "kubectl pullpass"
    } else {
        "pullpass"
    });
    let parsed = command
        .try_get_matches_from(args)
        .and_then(|m| Cli::from_arg_matches(&m));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let mut io = Io::new(cli.color);
    finish(match cli.command {
        Command::Webhook(args) => webhook::run(&args, &mut io),
        Command::Controller(args) => controller::run(&args, &mut io),
        Command::Match(args) => match_image::run(&args, &mut io),
        Command::Mutate(args) => mutate::run(&args, &mut io),
        Command::Lint(args) => lint::run(&args, &mut io),
        Command::Test(args) => test::run(&args, &mut io),
        Command::Doctor(args) => doctor::run(&args, &mut io),
        Command::Cleanup(args) => cleanup::run(&args, &mut io),
        Command::Render(args) => manifests::run(&args, &mut io),
        Command::Certs(args) => certs::run(&args, &mut io),
        Command::Schema(args) => schema::run(&args, &mut io),
        Command::Completion(args) => completion::run(&args, &mut io),
    })
}

/// Whether the program was installed so that kubectl finds it: `kubectl-pullpass`.
fn is_kubectl_plugin(program: &Path) -> bool {
    program
        .file_stem()
        .is_some_and(|stem| stem == "kubectl-pullpass")
}

fn finish(result: anyhow::Result<Exit>) -> Exit {
    match result {
        Ok(exit) => exit,
        // `pullpass … | head` has what it wanted.
        Err(error) if is_broken_pipe(&error) => Exit::Fine,
        Err(error) => complain(&format!("{error:#}")),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// One `error:` line. That standard error is closed is nothing that could be told to anybody.
fn complain(message: &str) -> Exit {
    let _ = writeln!(io::stderr(), "error: {}", render::visible(message));
    Exit::Unusable
}

/// Help and version as clap prints them; every mistake in the arguments as one line.
fn refuse(error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            Exit::Fine
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Exit::Unusable
        }
        _ => complain(&one_line(&error.render().to_string())),
    }
}

/// clap's paragraphs in one line, without the usage: `…; tip: …; try \`--help\``.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    let paragraphs = text.strip_prefix("error: ").unwrap_or(text).split("\n\n");
    for paragraph in paragraphs {
        if paragraph.starts_with("Usage:") || paragraph.starts_with("For more information") {
            continue;
        }
        if !line.is_empty() {
            line.push_str("; ");
        }
        line.push_str(&paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    line + "; `--help` tells more"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command below `command`, itself included, with its path.
    fn walk(command: &clap::Command, path: &str, visit: &mut impl FnMut(&str, &clap::Command)) {
        visit(path, command);
        for sub in command.get_subcommands() {
            walk(sub, &format!("{path} {}", sub.get_name()), visit);
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_is_an_environment_variable_of_its_name() {
        walk(&command(), "pullpass", &mut |path, command| {
            for arg in command.get_arguments() {
                let Some(long) = arg
                    .get_long()
                    .filter(|long| *long != "help" && *long != "version")
                else {
                    continue;
                };
                let want = format!("PULLPASS_{}", long.to_uppercase().replace('-', "_"));
                let got = arg.get_env().map(|env| env.to_string_lossy().into_owned());
                assert_eq!(got, Some(want), "{path} --{long}");
            }
        });
    }

    #[test]
    fn every_command_has_a_long_help_with_an_example() {
        walk(&command(), "pullpass", &mut |path, command| {
            let help = command
                .get_after_long_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.contains("pullpass "), "{path} has no example");
        });
    }

    #[test]
    fn a_mistake_in_the_arguments_is_one_line() {
        for (args, want) in [
            (
                &["lint", "--fial-on", "x"][..],
                "unexpected argument '--fial-on' found; tip: a similar argument exists: \
                 '--fail-on'; `--help` tells more",
            ),
            (
                &["lint"],
                "the following required arguments were not provided: <PATH>...; `--help` tells more",
            ),
            (
                &["frobnicate"],
                "unrecognized subcommand 'frobnicate'; `--help` tells more",
            ),
        ] {
            let args = [&["pullpass"], args].concat();
            let error = command().try_get_matches_from(args).unwrap_err();
            assert_eq!(one_line(&error.render().to_string()), want);
        }
    }

    #[test]
    fn a_plugin_is_known_by_its_name() {
        for (name, want) in [
            ("/usr/bin/kubectl-pullpass", true),
            ("kubectl-pullpass.exe", true),
            ("pullpass", false),
        ] {
            assert_eq!(is_kubectl_plugin(Path::new(name)), want, "{name}");
        }
    }
}
