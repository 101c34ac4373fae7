//! What ships beside the code is right: the examples, and every policy that the documentation shows.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{command, run, run_with};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn lint_finds_nothing_in_the_examples() {
    let ran = run(&[
        "lint",
        root().join("examples").to_str().unwrap(),
        "--fail-on",
        "warning",
    ]);
    assert_eq!((ran.status, &*ran.stdout), (0, ""), "{}", ran.stderr);
}

#[test]
fn the_examples_pass_their_own_test() {
    let ran = run(&["test", root().join("examples").to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(
        ran.stdout.ends_with(" passed, 0 failed\n"),
        "{}",
        ran.stdout
    );
}

#[test]
fn every_policy_in_the_documentation_has_no_error() {
    let mut policies = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (line, block) in yaml_blocks(&text) {
            if !block.contains("kind: RegistryPolicy\n") {
                continue;
            }
            policies += 1;
            let ran = run_with(command(&["lint", "-"]), block.as_bytes());
            assert_eq!(
                ran.status,
                0,
                "{}:{line}: {}{}",
                page.display(),
                ran.stdout,
                ran.stderr
            );
        }
    }
    assert!(policies > 0, "the documentation shows no policy");
}

/// The README and the pages below `docs/`, but for the one whose examples are wrong on purpose and
/// have tests of their own.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    let mut directories = vec![root().join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "md")
                && path
                    .file_name()
                    .is_some_and(|name| name != "diagnostics.md")
            {
                pages.push(path);
            }
        }
    }
    pages
}

/// The fenced blocks of YAML, with the lines they start at.
fn yaml_blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (n, line) in page.lines().enumerate() {
        match (&mut open, line.trim_start()) {
            (None, fence) if fence.starts_with("```yaml") => open = Some((n + 2, String::new())),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, block)), _) => block.extend([line, "\n"]),
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}
