//! The commands of docs/install.md, run by a shell as they stand there, with what they said.
//!
//! What the documented ones say is kept for whoever reads the tests' output.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::super::{HELM, HOME};
use crate::command::{Ran, run_with};
use crate::plane::{User, kubectl};

/// Where it is collected; the run of all tests begins with none, and prints it at its end.
const LOG: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/installation.txt");

/// A directory with `values.yaml` and `deploy`, and an administrator in front of it.
pub(super) struct Shell {
    directory: tempfile::TempDir,
    path: String,
    kubeconfig: String,
}

impl Shell {
    pub(super) fn new(admin: &User) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        std::os::unix::fs::symlink(deploy, directory.path().join("deploy")).unwrap();
        let beside = |program: &Path| program.parent().unwrap().display().to_string();
        let pullpass = Path::new(env!("CARGO_BIN_EXE_pullpass"));
        let programs = [beside(&HELM), beside(&kubectl()), beside(pullpass)];
        Self {
            directory,
            path: format!("{}:/usr/bin:/bin", programs.join(":")),
            kubeconfig: admin.kubeconfig.display().to_string(),
        }
    }

    pub(super) fn values(&self, text: &str) {
        fs::write(self.directory.path().join("values.yaml"), text).unwrap();
    }

    /// Runs the one line of the guide that begins with this, and keeps what it said.
    pub(super) fn documented(&self, beginning: &str) -> Ran {
        let guide = super::super::guide::page("install.md");
        let lines = guide.lines().map(str::trim);
        let lines: Vec<&str> = lines.filter(|line| line.starts_with(beginning)).collect();
        let [line] = lines[..] else {
            panic!("not one line begins with `{beginning}`: {lines:?}");
        };
        let ran = self.run(line);
        let log = format!("$ {line}\n{}{}", ran.stdout, ran.stderr);
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(LOG)
            .unwrap();
        file.write_all(log.trim_end().as_bytes()).unwrap();
        writeln!(file, "\n(exit status {})\n", ran.status).unwrap();
        ran
    }

    pub(super) fn run(&self, line: &str) -> Ran {
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", HOME.path())
            .env("KUBECONFIG", &self.kubeconfig);
        run_with(command, b"")
    }
}
