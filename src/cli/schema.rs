//! `pullpass schema`: prints the JSON Schema of a RegistryPolicy. It reads nothing.

use super::Exit;
use super::output::Io;
use crate::policy::schema;

/// Print the JSON Schema of a RegistryPolicy, for editors and validators.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass schema > registrypolicy_v1.json

In a policy file, for editors with a YAML language server:
  # yaml-language-server: $schema=registrypolicy_v1.json")]
pub struct Args {}

/// Prints the schema.
pub fn run(_: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    io.print(schema::text().as_bytes())?;
    Ok(Exit::Fine)
}
