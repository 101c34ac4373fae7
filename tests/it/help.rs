//! What `--help` says, word for word: a change of the command line is seen in a diff.

use crate::command::{command, run, run_with};

#[test]
fn help_is_what_it_was() {
    for command in [
        "",
        "webhook",
        "controller",
        "match",
        "mutate",
        "test",
        "doctor",
        "cleanup",
        "render",
        "render rbac",
        "render webhook-configuration",
        "certs",
        "lint",
        "schema",
        "completion",
    ] {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let ran = run(&args);
        assert_eq!(ran.status, 0, "{command}");
        assert_eq!(ran.stderr, "", "{command}");
        let name = if command.is_empty() {
            "pullpass"
        } else {
            &command.replace(' ', "_")
        };
        insta::assert_snapshot!(format!("help_{name}"), ran.stdout);
    }
}

#[test]
fn help_does_not_show_what_the_environment_holds() {
    let mut command = command(&["lint", "--help"]);
    command.env("PULLPASS_FAIL_ON", "warning");
    assert_eq!(
        run_with(command, b"").stdout,
        run(&["lint", "--help"]).stdout
    );
}

#[test]
fn without_arguments_the_help_is_an_error() {
    let ran = run(&[]);
    assert_eq!(ran.status, 2);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("Usage: pullpass"), "{}", ran.stderr);
}

#[test]
fn the_version_is_one_line() {
    let ran = run(&["--version"]);
    assert_eq!(
        (ran.status, &*ran.stdout),
        (0, concat!("pullpass ", env!("CARGO_PKG_VERSION"), "\n"))
    );
}

#[cfg(unix)]
#[test]
fn installed_as_a_kubectl_plugin_it_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("kubectl-pullpass");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_pullpass"), &plugin).unwrap();
    let mut command = std::process::Command::new(plugin);
    command.args(["lint", "--help"]).env_clear();
    let ran = run_with(command, b"");
    assert!(
        ran.stdout.contains("Usage: kubectl pullpass lint"),
        "{}",
        ran.stdout
    );
}
