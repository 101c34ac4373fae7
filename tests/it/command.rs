//! The built binary as a test sees it: arguments and standard input in, three streams' worth out.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The binary in the directory of the tests' data, with an empty environment.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pullpass"));
    command
        .args(args)
        .env_clear()
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data"));
    command
}

/// Runs it with nothing on standard input.
pub(crate) fn run(args: &[&str]) -> Ran {
    run_with(command(args), b"")
}

/// Runs it with this on standard input.
pub(crate) fn run_with(mut command: Command, stdin: &[u8]) -> Ran {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // A command that refuses its input early closes the pipe: no failure of the test.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// One text out of a run, for a snapshot.
pub(crate) fn transcript(ran: &Ran) -> String {
    let Ran {
        status,
        stdout,
        stderr,
    } = ran;
    format!("exit status {status}\n--- stdout\n{stdout}--- stderr\n{stderr}")
}
