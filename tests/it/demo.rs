//! `make demo-cluster`, run as a user runs it: it shows all that it is there to show, says no secret, and leaves nothing,
//! however it ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::plane::wait_until;

/// The demonstration of a binary, which keeps what it writes in this directory.
fn demo(binary: &str, directory: &TempDir) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo_cluster.py"))
        .arg(binary)
        .env("TMPDIR", directory.path())
        .stdin(Stdio::null());
    command
}

/// Neither a file nor a process is left. What was killed may take a moment to go.
fn assert_nothing_is_left(directory: &TempDir) {
    let files: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
    let path = directory.path().to_str().unwrap();
    wait_until("all its processes are gone", || {
        let mut processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap());
        !processes.any(|process| {
            let at = process.path();
            let line = fs::read(at.join("cmdline")).unwrap_or_default();
            let works_in = fs::read_link(at.join("cwd")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(path) || works_in.starts_with(path)
        })
    });
}

#[test]
fn the_demonstration_in_a_cluster_shows_what_it_is_there_to_show_and_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let ran = demo(env!("CARGO_BIN_EXE_pullpass"), &directory)
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    let complained = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(0), "{said}\n{complained}");
    let mut rest = &*said;
    for (sentence, why) in [
        ("Server Version: v1.", "a real API server"),
        (
            "$ pullpass render rbac --policy policy.yaml | kubectl apply --server-side -f -\n",
            "the rights as they are rendered",
        ),
        (
            "role.rbac.authorization.k8s.io/pullpass-controller serverside-applied\n",
            "and taken",
        ),
        (
            "$ kubectl create token pullpass-controller",
            "an account of its own",
        ),
        (
            "$ pullpass controller --kubeconfig controller.kubeconfig",
            "under which it runs",
        ),
        (
            "$ pullpass webhook --kubeconfig webhook.kubeconfig",
            "the webhook as well",
        ),
        (
            "00-pullpass condition met\n",
            "the controller tells the API server its authority",
        ),
        (
            "configmap/registries serverside-applied\n",
            "a policy ConfigMap",
        ),
        ("$ kubectl create namespace shop\n", "a fresh namespace"),
        (
            "$ kubectl run web --namespace shop",
            "and at once a Pod in it",
        ),
        ("SchedulingGated", "which is held"),
        ("team-creds     pullpass.dev/pull-secret\n", "as created"),
        (
            "secret/team-login serverside-applied\n",
            "what it waits for is made",
        ),
        ("secret/team-creds condition met\n", "and copied"),
        ("team-creds     <none>\n", "so the Pod is let go"),
        ("The Pod was held for ", "and it is told for how long"),
        ("== ", "next:"),
        ("With it:\n", "the registry"),
        ("\n< 200 OK\n", "takes the login of the namespace"),
        ("Without:\n", "and nobody"),
        ("\n< 401 Unauthorized\n", "without one"),
        (
            "\n< 401 Unauthorized\n",
            "nor the old one once it is rotated",
        ),
        ("The Secret in shop followed after ", "but the copy follows"),
        ("The Secret in cart followed after ", "each of them"),
        ("\n< 200 OK\n", "and its login is taken"),
        ("\n< 401 Unauthorized\n", "the old one is not"),
        ("configmap \"registries\" deleted", "the policy goes"),
        (
            "No resources found in shop namespace.\n",
            "with its Secrets",
        ),
        ("\nShown in ", "and it says what was shown"),
    ] {
        let Some((_, after)) = rest.split_once(sentence) else {
            panic!("no `{sentence}` ({why}) in what is left:\n{rest}\nof:\n{said}");
        };
        rest = after;
    }
    for login in said.split("robot:").skip(1) {
        assert!(login.starts_with("***"), "a password: {said}");
    }
    for (start, why) in [
        ("cm9ib3Q6", "a login in base64"),
        ("eyJ", "a token or an object in base64"),
        ("PRIVATE KEY", "a key"),
    ] {
        assert!(!said.contains(start), "{why}: {said}");
    }
    assert_nothing_is_left(&directory);
}

#[test]
fn a_demonstration_that_is_interrupted_or_fails_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = demo(env!("CARGO_BIN_EXE_pullpass"), &directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    // Everything runs by then.
    while !said.contains("$ kubectl wait") {
        let read = output.read_line(&mut said).unwrap();
        assert!(read > 0, "{said}");
    }
    let pid = child.id().to_string();
    let sent = Command::new("sh")
        .args(["-c", "kill -s INT \"$0\"", &pid])
        .status();
    assert!(sent.unwrap().success());
    output.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(!said.contains("Shown in "), "{said}");
    assert_nothing_is_left(&directory);

    let ran = demo("/bin/false", &directory).output().unwrap();
    let complained = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1), "{complained}");
    assert!(complained.contains("error: `pullpass "), "{complained}");
    assert_nothing_is_left(&directory);
}
