//! `pullpass completion SHELL`, and the words that kubectl asks a plugin for.
//!
//! kubectl runs `kubectl_complete-pullpass` with the words typed so far and reads one candidate a line,
//! `word` or `word<tab>description`, and last a directive: `:0` to go on with file names, `:4` not to.

use std::ffi::OsString;
use std::fmt::Write;

use clap::{Arg, Command, ValueEnum};

use super::Exit;
use super::output::Io;

/// The first argument with which the kubectl script asks for candidates.
pub(crate) const COMPLETE: &str = "__complete";

/// Print a completion script for a shell, or for kubectl.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  source <(pullpass completion bash)
  pullpass completion zsh > \"${fpath[1]}/_pullpass\"

For `kubectl pullpass`, with the binary installed as kubectl-pullpass:
  pullpass completion kubectl > ~/bin/kubectl_complete-pullpass
  chmod +x ~/bin/kubectl_complete-pullpass")]
pub struct Args {
    /// The shell.
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    /// A script for the PATH, named `kubectl_complete-pullpass`.
    Kubectl,
}

const KUBECTL_SCRIPT: &str = "\
#!/bin/sh
# kubectl runs this file, kubectl_complete-pullpass on the PATH, with the words after `kubectl pullpass`.
exec kubectl-pullpass __complete \"$@\"
";

/// Prints the script.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    use clap_complete::Shell as Known;
    let shell = match args.shell {
        Shell::Bash => Known::Bash,
        Shell::Zsh => Known::Zsh,
        Shell::Fish => Known::Fish,
        Shell::Powershell => Known::PowerShell,
        Shell::Kubectl => {
            io.print(KUBECTL_SCRIPT.as_bytes())?;
            return Ok(Exit::Fine);
        }
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "pullpass", &mut script);
    io.print(&script)?;
    Ok(Exit::Fine)
}

/// Answers kubectl: what may follow the words typed so far, the last of which is unfinished.
pub(crate) fn candidates(words: &[OsString], io: &mut Io) -> anyhow::Result<Exit> {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    io.print(answer(super::command(), &words).as_bytes())?;
    Ok(Exit::Fine)
}

fn answer(mut root: Command, words: &[&str]) -> String {
    root.build();
    let (last, before) = words.split_last().unwrap_or((&"", &[]));
    let mut command = &root;
    let mut awaiting = None;
    for word in before {
        if awaiting.take().is_some() {
            continue;
        }
        match command.find_subcommand(word) {
            Some(sub) => command = sub,
            None => awaiting = flag(command, word),
        }
    }
    let mut found = Vec::new();
    let mut files = false;
    if let Some(arg) = awaiting {
        values(arg, "", &mut found);
        files = found.is_empty();
    } else if let Some((name, _)) = last.split_once('=').filter(|_| last.starts_with("--")) {
        if let Some(arg) = flag(command, name) {
            values(arg, &format!("{name}="), &mut found);
        }
        files = found.is_empty();
    } else if last.starts_with('-') {
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            if let Some(long) = arg.get_long() {
                found.push((format!("--{long}"), first_line(arg.get_help())));
            }
        }
    } else if command.has_subcommands() {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            found.push((sub.get_name().to_owned(), first_line(sub.get_about())));
        }
    } else {
        command
            .get_positionals()
            .for_each(|arg| values(arg, "", &mut found));
        files = found.is_empty();
    }
    let mut text = String::new();
    for (word, about) in found.iter().filter(|(word, _)| word.starts_with(last)) {
        let tab = if about.is_empty() { "" } else { "\t" };
        let _ = writeln!(text, "{word}{tab}{about}");
    }
    let _ = writeln!(text, ":{}", if files { 0 } else { 4 });
    text
}

/// The flag that a word is, when it takes a value.
fn flag<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    command
        .get_arguments()
        .filter(|arg| arg.get_action().takes_values())
        .find(|arg| {
            let long = word
                .strip_prefix("--")
                .is_some_and(|name| arg.get_long() == Some(name));
            let short = word.strip_prefix('-').is_some_and(|name| {
                arg.get_short()
                    .is_some_and(|short| name.strip_prefix(short) == Some(""))
            });
            long || short
        })
}

fn values(arg: &Arg, prefix: &str, found: &mut Vec<(String, String)>) {
    for value in arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
    {
        found.push((
            format!("{prefix}{}", value.get_name()),
            first_line(value.get_help()),
        ));
    }
}

fn first_line(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_is_told_what_may_follow() {
        for (words, want, directive, why) in [
            (&["li"][..], &["lint"][..], ":4", "a command begun"),
            (&["lint", "--fail"], &["--fail-on"], ":4", "a flag begun"),
            (
                &["lint", "--fail-on", ""],
                &["error", "warning", "never"],
                ":4",
                "a flag's values",
            ),
            (
                &["lint", "--fail-on=w"],
                &["--fail-on=warning"],
                ":4",
                "the same in one word",
            ),
            (
                &["lint", "-o", "sa"],
                &["sarif"],
                ":4",
                "a short flag's values",
            ),
            (&["lint", "--fail-on", "never", "x"], &[], ":0", "files"),
            (
                &["lint", "--color", "a"],
                &["auto", "always"],
                ":4",
                "a flag of all commands",
            ),
            (
                &["completion", "k"],
                &["kubectl"],
                ":4",
                "an argument's values",
            ),
            (
                &[],
                &["lint", "schema", "completion"],
                ":4",
                "nothing typed",
            ),
        ] {
            let text = answer(super::super::command(), words);
            let mut lines: Vec<_> = text
                .lines()
                .map(|line| line.split('\t').next().unwrap())
                .collect();
            assert_eq!(lines.pop(), Some(directive), "{words:?}: {why}");
            assert!(
                want.iter().all(|word| lines.contains(word)),
                "{words:?}: {why}: {lines:?}"
            );
            if !words.is_empty() {
                assert_eq!(lines.len(), want.len(), "{words:?}: {why}: {lines:?}");
            }
        }
    }
}
