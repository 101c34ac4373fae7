//! `pullpass render …`: what an administrator applies to a cluster, as YAML or JSON.
//!
//! `install` makes the objects; the commands below read flags and files. Nothing is applied, and no
//! cluster is asked: what comes out is a function of what was given.

pub mod rbac;
pub mod webhook_configuration;

use std::io::{self, Write};

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::Exit;
use super::mutate::to_yaml;
use super::output::{Io, Output, OutputParser};
use crate::names::ConfigMapName;

/// Print what an installation needs: accounts and rights, webhook configurations.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_long_help = "\
Examples:
  pullpass render rbac --policy policies/ | kubectl apply --server-side -f -
  pullpass render webhook-configuration --service pullpass-system/pullpass-webhook

Nothing is applied, and no cluster is asked."
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Rbac(rbac::Args),
    WebhookConfiguration(webhook_configuration::Args),
}

/// Prints the objects.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    match &args.what {
        What::Rbac(args) => rbac::run(args, io),
        What::WebhookConfiguration(args) => webhook_configuration::run(args, io),
    }
}

/// Where the objects go.
#[derive(Debug, clap::Args)]
struct OutputArgs {
    /// The format, and a file for it.
    #[arg(short, long, value_name = "FORMAT[=FILE]", env = "PULLPASS_OUTPUT", value_parser = OutputParser::<Format>::new())]
    output: Vec<Output<Format>>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// One document an object.
    Yaml,
    /// A List.
    Json,
}

fn print(objects: &[Value], args: &OutputArgs, io: &mut Io) -> anyhow::Result<()> {
    io.write(&args.output, Format::Yaml, |format, _, out| match format {
        Format::Yaml => write_yaml(objects, out),
        Format::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
            writeln!(out, "{list:#}")
        }
    })
}

fn write_yaml(objects: &[Value], out: &mut dyn Write) -> io::Result<()> {
    for (i, object) in objects.iter().enumerate() {
        if i > 0 {
            writeln!(out, "---")?;
        }
        writeln!(out, "{}", to_yaml(object)?.trim_end())?;
    }
    Ok(())
}

/// A namespace's or a Service's name: one label, as an API server takes it.
fn label(text: &str) -> Result<String, String> {
    if text.len() > 63 || text.contains('.') {
        return Err(format!(
            "`{text}` is no such name: it may have 63 characters, and no dot"
        ));
    }
    object_name(text)
}

/// The name of a cluster's object.
fn object_name(text: &str) -> Result<String, String> {
    ConfigMapName::parse(text)
        .map(|name| name.to_string())
        .map_err(|_| {
            format!(
                "`{text}` is no such name: write lower-case letters, digits, `-` and `.`, a letter or digit first and last"
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stays_a_text_in_yaml() {
        for name in [
            "on", "y", "no", "null", "true", "1", "012", "0o7", "0x1f", "1e3", "1.5", "1-2", "a",
        ] {
            let mut text = Vec::new();
            write_yaml(&[json!({"names": [name]})], &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            let source = crate::diagnostic::Source::new("t", text.as_str());
            let (documents, error) = crate::yaml::read(&source);
            assert!(error.is_none(), "{text}");
            let read: Vec<Value> = documents.iter().map(|d| d.root.to_json()).collect();
            assert_eq!(read, [json!({"names": [name]})], "{text}");
        }
    }

    #[test]
    fn names_are_those_that_an_api_server_takes() {
        let long = "a".repeat(64);
        for (text, is_label, is_name, why) in [
            ("pullpass-system", true, true, "a plain name"),
            ("00-pullpass", true, true, "a digit may begin"),
            ("a.b", false, true, "a dot only in an object's name"),
            (&*long, false, true, "63 characters are a label's most"),
            ("", false, false, "nothing"),
            ("A", false, false, "upper case"),
            ("a/b", false, false, "a path"),
            ("-a", false, false, "a dash in front"),
        ] {
            assert_eq!(label(text).is_ok(), is_label, "{text:?}: {why}");
            assert_eq!(object_name(text).is_ok(), is_name, "{text:?}: {why}");
        }
    }
}
