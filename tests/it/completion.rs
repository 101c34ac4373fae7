//! The completion scripts: each shell reads its own.

use crate::command::run;

#[test]
fn each_shell_has_its_script() {
    for (shell, mark) in [
        ("bash", "complete -F _pullpass"),
        ("zsh", "#compdef pullpass"),
        ("fish", "complete -c pullpass"),
        (
            "powershell",
            "Register-ArgumentCompleter -Native -CommandName 'pullpass'",
        ),
        ("kubectl", "exec kubectl-pullpass __complete \"$@\""),
    ] {
        let ran = run(&["completion", shell]);
        assert_eq!(ran.status, 0, "{shell}");
        assert!(ran.stdout.contains(mark), "{shell}: {}", ran.stdout);
        assert!(ran.stdout.contains("lint") || shell == "kubectl", "{shell}");
    }
    assert_eq!(run(&["completion", "tcsh"]).status, 2);
}

#[test]
fn kubectl_gets_candidates_and_a_directive() {
    let ran = run(&["__complete", "lint", "--fail-on", ""]);
    assert_eq!(ran.status, 0);
    let words: Vec<_> = ran
        .stdout
        .lines()
        .map(|l| l.split('\t').next().unwrap())
        .collect();
    assert_eq!(words, ["error", "warning", "never", ":4"]);
}
