//! `pullpass lint`, the built binary: what it finds, how it says so, what it ends with.

use std::fs;
use std::time::{Duration, Instant};

use crate::command::{Ran, command, run, run_with, transcript};

#[test]
fn ten_mistakes_are_ten_findings_with_their_lines_and_what_to_do() {
    let ran = run(&["lint", "ten-mistakes.yaml"]);
    assert_eq!(ran.status, 1);
    assert_eq!(ran.stdout.matches("error[PP").count(), 10);
    assert_eq!(ran.stdout.matches("--> ten-mistakes.yaml:").count(), 10);
    assert_eq!(ran.stdout.matches("= help: ").count(), 10);
    insta::assert_snapshot!("ten_mistakes_text", transcript(&ran));
}

#[test]
fn every_format_says_the_same() {
    for format in ["json", "sarif", "github", "junit"] {
        let ran = run(&["lint", "ten-mistakes.yaml", "-o", format]);
        assert_eq!(ran.status, 1, "{format}");
        insta::assert_snapshot!(format!("ten_mistakes_{format}"), ran.stdout);
    }
    let json: serde_json::Value =
        serde_json::from_str(&run(&["lint", "ten-mistakes.yaml", "-o", "json"]).stdout).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 10);
}

#[test]
fn a_clean_file_is_empty_in_every_format() {
    for (format, want) in [("text", ""), ("github", "")] {
        let ran = run(&["lint", "good.yaml", "-o", format]);
        assert_eq!((ran.status, &*ran.stdout), (0, want), "{format}");
        assert_eq!(
            ran.stderr, "checked 1 policy in 1 file: nothing found\n",
            "{format}"
        );
    }
    let sarif: serde_json::Value =
        serde_json::from_str(&run(&["lint", "good.yaml", "-o", "sarif"]).stdout).unwrap();
    assert_eq!(sarif["runs"][0]["results"], serde_json::json!([]));
    let junit = run(&["lint", "good.yaml", "-o", "junit"]).stdout;
    assert!(
        junit.contains("<testcase classname=\"pullpass.lint\" name=\"good.yaml\""),
        "{junit}"
    );
    assert!(!junit.contains("<failure"), "{junit}");
}

#[test]
fn the_exit_status_says_what_was_found() {
    for (args, want, why) in [
        (&["lint", "good.yaml"][..], 0, "nothing found"),
        (&["lint", "warning.yaml"], 0, "a warning is no error"),
        (
            &["lint", "warning.yaml", "--fail-on", "warning"],
            1,
            "unless it is told to be",
        ),
        (&["lint", "ten-mistakes.yaml"], 1, "errors"),
        (
            &["lint", "ten-mistakes.yaml", "--fail-on", "never"],
            0,
            "that never fail",
        ),
        (
            &["lint", "ten-mistakes.yaml", "-o", "sarif"],
            1,
            "whatever the output",
        ),
        (&["lint", "foreign.yaml"], 2, "nothing to examine"),
        (&["lint", "missing.yaml"], 2, "a missing file"),
        (
            &["lint", "good.yaml", "missing.yaml"],
            2,
            "beside a good one",
        ),
        (&["lint"], 2, "no path"),
        (&["lint", "--frobnicate", "good.yaml"], 2, "an unknown flag"),
        (&["lint", "good.yaml", "-o", "xml"], 2, "an unknown format"),
        (
            &["lint", "good.yaml", "-o", "json", "-o", "text"],
            2,
            "two outputs in one place",
        ),
        (&["lint", "-", "-"], 2, "standard input twice"),
        (
            &["lint", "--explain", "PP101", "good.yaml"],
            2,
            "a page and a path",
        ),
    ] {
        let Ran {
            status,
            stdout,
            stderr,
        } = run(args);
        assert_eq!(status, want, "{args:?}: {why}\n{stdout}{stderr}");
        if want == 2 {
            let errors: Vec<_> = stderr
                .lines()
                .filter(|line| line.starts_with("error: "))
                .collect();
            assert_eq!(errors.len(), 1, "{args:?}: {why}: one sentence\n{stderr}");
        }
    }
    let ran = run(&["lint", "missing.yaml"]);
    assert_eq!(
        ran.stderr,
        "error: cannot read `missing.yaml`: no such file or directory\n"
    );
    let ran = run(&["lint", "foreign.yaml"]);
    assert_eq!(
        ran.stderr,
        "skipped 2 documents of other kinds\n\
         error: nothing to examine: no RegistryPolicy in 1 file\n"
    );
}

#[test]
fn a_flag_can_come_from_the_environment() {
    let mut command = command(&["lint", "warning.yaml"]);
    command
        .env("PULLPASS_FAIL_ON", "warning")
        .env("PULLPASS_OUTPUT", "github");
    let ran = run_with(command, b"");
    assert_eq!(ran.status, 1);
    assert!(
        ran.stdout.starts_with("::warning file=warning.yaml,line="),
        "{}",
        ran.stdout
    );
}

#[test]
fn colour_is_for_terminals_unless_it_is_asked_for() {
    for (args, env, want, why) in [
        (
            &["lint", "warning.yaml"][..],
            None,
            false,
            "a pipe is no terminal",
        ),
        (
            &["lint", "warning.yaml", "--color", "always"],
            None,
            true,
            "asked for",
        ),
        (
            &["lint", "warning.yaml"],
            Some("CLICOLOR_FORCE"),
            true,
            "asked for by the environment",
        ),
        (
            &["lint", "warning.yaml", "--color", "never"],
            Some("CLICOLOR_FORCE"),
            false,
            "a flag wins",
        ),
        (
            &["lint", "warning.yaml", "--color", "always"],
            Some("NO_COLOR"),
            true,
            "here too",
        ),
    ] {
        let mut command = command(args);
        command.envs(env.map(|name| (name, "1")));
        let ran = run_with(command, b"");
        assert_eq!(
            ran.stdout.contains('\u{1b}'),
            want,
            "{args:?} {env:?}: {why}"
        );
    }
}

#[test]
fn outputs_go_to_files_and_one_to_standard_output() {
    let directory = tempfile::tempdir().unwrap();
    let sarif = directory.path().join("out.sarif");
    let junit = directory.path().join("out.xml");
    let sarif_arg = format!("sarif={}", sarif.display());
    let junit_arg = format!("junit={}", junit.display());
    let args = [
        "lint",
        "warning.yaml",
        "-o",
        "json",
        "-o",
        &sarif_arg,
        "-o",
        &junit_arg,
    ];
    let ran = run(&args);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap();
    let log: serde_json::Value = serde_json::from_slice(&fs::read(sarif).unwrap()).unwrap();
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "PP131");
    assert!(fs::read_to_string(junit).unwrap().contains("<system-out>"));

    let ran = run(&[
        "lint",
        "warning.yaml",
        "-o",
        "json=no/such/directory/x.json",
    ]);
    assert_eq!(ran.status, 2);
    let want = "error: cannot write `no/such/directory/x.json`: No such file or directory";
    assert!(ran.stderr.contains(want), "{}", ran.stderr);
}

/// A policy in a ConfigMap, in the forms that people and tools write it in.
#[test]
fn a_policy_in_a_config_map_is_found_where_it_stands() {
    let ran = run(&["lint", "config-maps.yaml"]);
    insta::assert_snapshot!("config_maps", transcript(&ran));
    let ran = run(&["lint", "config-maps.yaml", "-o", "github"]);
    let places: Vec<_> = ran
        .stdout
        .lines()
        .map(|line| line.split("::").nth(1).unwrap())
        .collect();
    let file = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/data/config-maps.yaml"
    ))
    .unwrap();
    // Each mistake says on its line, or on the line that holds it, which number it is.
    for (i, place) in places.iter().enumerate() {
        let line = place
            .split("line=")
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap();
        let line = file
            .lines()
            .nth(line.parse::<usize>().unwrap() - 1)
            .unwrap();
        assert!(
            line.contains(&format!("mistake {}", i + 1)),
            "{place}: {line}"
        );
    }
    assert_eq!(places.len(), file.matches("mistake ").count());
}

#[test]
fn standard_input_is_a_file_called_dash() {
    let policy =
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {name: a}\nspec: {}\n";
    let ran = run_with(command(&["lint", "-", "-o", "github"]), policy.as_bytes());
    assert_eq!(ran.status, 1);
    let want =
        "::error file=-,line=4,col=7,title=PP104::`spec` has no `rules`%0Ahelp: add `rules:`\n";
    assert_eq!(ran.stdout, want);
}

#[test]
fn hostile_input_is_one_finding_soon() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let line = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb.extend([format!("a{i}: &a{i} [{line}]\n")]);
    }
    let deep: String = (0..2000).map(|i| " ".repeat(i) + "a:\n").collect();
    for (text, code, why) in [
        (vec![b'x'; 50 << 20], "PP116", "50 MB"),
        (bomb.into_bytes(), "PP116", "an alias bomb"),
        (deep.into_bytes(), "PP116", "2,000 levels of blocks"),
        (vec![b'['; 1_000_000], "PP116", "a million levels of lists"),
        (b"a: \xff\xfe".to_vec(), "PP101", "not UTF-8"),
        (b"\xff\xfea\0:\0".to_vec(), "PP101", "UTF-16"),
        (b"a: [1".to_vec(), "PP101", "an open list"),
        (b"\0\x01\x02".to_vec(), "PP101", "no text at all"),
    ] {
        let started = Instant::now();
        let ran = run_with(command(&["lint", "-"]), &text);
        assert_eq!(ran.status, 1, "{why}: {}", ran.stderr);
        assert_eq!(
            ran.stdout.matches("error[").count(),
            1,
            "{why}: {}",
            ran.stdout
        );
        assert!(
            ran.stdout.contains(&format!("error[{code}]: ")),
            "{why}: {}",
            ran.stdout
        );
        assert!(ran.stdout.len() < 1000, "{why}: {}", ran.stdout);
        // Generous: a debug build on a busy machine. Unbounded work would take minutes.
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{why}: {:?}",
            started.elapsed()
        );
    }
    for (text, why) in [
        ("", "nothing"),
        ("\n# only a comment\n---\n", "no document"),
    ] {
        let ran = run_with(command(&["lint", "-"]), text.as_bytes());
        let want = "error: nothing to examine: no RegistryPolicy in 1 file\n";
        assert_eq!((ran.status, &*ran.stderr), (2, want), "{why}");
    }
}

/// An endless file proves that no more is read than a policy may have.
#[cfg(unix)]
#[test]
fn an_endless_file_ends() {
    let ran = run(&["lint", "/dev/zero"]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.stdout
            .contains("error[PP116]: `/dev/zero` is larger than 16 MiB"),
        "{}",
        ran.stdout
    );
}

#[test]
fn what_users_write_never_reaches_the_terminal_raw() {
    let policy = "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {name: \"a\\e[31m\\u009b\"}\n\
                  spec: {\"\\e]0;x\\a\": 1, rules: [{name: \"\\u202e\", match: {images: [\"\\e\"]}, inject: {}}]}\n\
                  # \u{9b}31m \u{202e}\n";
    for format in ["text", "json", "sarif", "github", "junit"] {
        let ran = run_with(command(&["lint", "-", "-o", format]), policy.as_bytes());
        assert_eq!(ran.status, 1, "{format}: {}", ran.stderr);
        let raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!ran.stdout.contains(raw), "{format}: {:?}", ran.stdout);
        assert!(!ran.stderr.contains(raw), "{format}: {:?}", ran.stderr);
    }
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_failure() {
    use std::process::Stdio;
    let mut child = command(&["lint", "ten-mistakes.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !stderr.contains("panicked") && !stderr.contains("error:"),
        "{stderr}"
    );
}
