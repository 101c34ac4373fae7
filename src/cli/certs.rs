//! `pullpass certs`: a CA and a serving certificate for a laptop.

use std::path::PathBuf;
use std::time::SystemTime;

use super::Exit;
use super::output::Io;
use crate::server::certificate;

/// Make a CA and a serving certificate for development.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass certs --out certs/dev
  pullpass certs --out certs/dev --name webhook.example.test --name 192.0.2.7

Writes ca.crt, tls.crt and tls.key (readable by you alone). Without --name the certificate is for
localhost, 127.0.0.1 and ::1. For development: in a cluster, certificates renew themselves.")]
pub struct Args {
    /// The directory; made when it is not there.
    #[arg(long, value_name = "DIR", env = "PULLPASS_OUT")]
    out: PathBuf,
    /// DNS names and IP addresses of the server.
    #[arg(long, value_name = "DNS", num_args = 1.., env = "PULLPASS_NAME", value_delimiter = ',')]
    name: Vec<String>,
}

/// Writes the files and names them.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    let usual = ["localhost", "127.0.0.1", "::1"].map(ToOwned::to_owned);
    let names = if args.name.is_empty() {
        &usual[..]
    } else {
        &args.name
    };
    let pair = certificate::self_signed(names, SystemTime::now())?;
    let files = certificate::write(&pair, &args.out)?;
    let list = files.map(|file| format!("{}\n", file.display())).concat();
    io.print(list.as_bytes())?;
    Ok(Exit::Fine)
}
