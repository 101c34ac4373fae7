//! Arguments that no command takes: each is one line that names it, and exit status 2.

use pullpass::cli;

use crate::command::run;

#[test]
fn a_flag_that_is_unknown_or_lacks_its_value_is_one_line() {
    let mut flags = 0;
    for command in cli::command().get_subcommands() {
        let name = command.get_name();
        one_line(&[name, "--no-such-flag"], "--no-such-flag");
        for arg in command
            .get_arguments()
            .filter(|arg| arg.get_action().takes_values())
        {
            let Some(long) = arg.get_long() else { continue };
            flags += 1;
            let flag = format!("--{long}");
            one_line(&[name, &flag], &flag);
        }
    }
    assert!(flags > 30, "only {flags} flags were tried");
    one_line(&["no-such-command"], "no-such-command");
}

#[test]
fn a_value_that_a_flag_does_not_take_is_one_line() {
    for args in [
        &["match", "x", "--namespace-mode", "sometimes"][..],
        &["mutate", "-f", "x", "-o", "xml"],
        &["mutate", "-f", "x", "-o", "json="],
        &["test", "x", "-o", "sarif"],
        &["lint", "x", "--fail-on", "always"],
        &["lint", "x", "--color", "sometimes"],
        &["webhook", "--listen", "nowhere"],
        &["webhook", "--listen", "127.0.0.1"],
        &["webhook", "--admin-listen", ":1"],
        &["webhook", "--drain", "10"],
        &["webhook", "--drain", "soon"],
        &["webhook", "--drain=-1s"],
        &["webhook", "--log-format", "xml"],
        &["completion", "csh"],
    ] {
        one_line(args, args.last().unwrap());
    }
}

#[test]
fn flags_that_need_or_exclude_each_other_say_so() {
    for (args, named) in [
        (&["webhook", "--tls-cert", "x"][..], "--tls-key"),
        (&["webhook", "--tls-key", "x"], "--tls-cert"),
        (
            &[
                "webhook",
                "--self-signed",
                "--tls-cert",
                "x",
                "--tls-key",
                "y",
            ],
            "--self-signed",
        ),
        (&["webhook", "--policy", "x"], "--self-signed"),
        (&["webhook", "--self-signed"], "--policy"),
    ] {
        one_line(args, named);
    }
}

/// The command ends with 2 and one line that names what is wrong.
fn one_line(args: &[&str], named: &str) {
    let ran = run(args);
    assert_eq!(
        (ran.status, &*ran.stdout),
        (2, ""),
        "{args:?}: {}",
        ran.stderr
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {}", ran.stderr);
    assert!(
        ran.stderr.starts_with("error: "),
        "{args:?}: {}",
        ran.stderr
    );
    let named = named.strip_prefix("--drain=").unwrap_or(named);
    assert!(
        ran.stderr.contains(named),
        "{args:?} does not name {named}: {}",
        ran.stderr
    );
}
