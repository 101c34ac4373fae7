//! The `pullpass` binary: arguments in, exit status out. Everything else is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    pullpass::cli::run(std::env::args_os().collect()).into()
}
