//! `pullpass mutate`: manifests in, manifests with the table applied out, without a cluster.
//!
//! Documents that nothing changes come out as they are written, comments included.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use serde_json::{Value, json};
use similar::TextDiff;

use super::output::{Io, Output, OutputParser};
use super::shared::{self, OfflineArgs, TableArgs};
use super::{Exit, input};
use crate::diagnostic::Source;
use crate::manifest::{self, Found};
use crate::snapshot::Snapshot;
use crate::yaml;

/// Apply the table to Pods, workloads, Lists or AdmissionReviews.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass mutate -f deployment.yaml --policy policy.yaml
  kubectl get deploy -o yaml | pullpass mutate -f - --policy policies/ -o diff
  pullpass mutate -f pod.yaml --policy policy.yaml -o patch
  pullpass mutate -f review.json --policy policy.yaml -o review

Kinds: Pod, PodTemplate, Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job,
CronJob, DeploymentConfig, Lists of them, AdmissionReview. Everything else passes through unchanged.
Warnings go to standard error.

Exit status: 0 fine, 1 a Pod is refused (or, with --exit-code, changed), 2 bad input or arguments.")]
pub struct Args {
    /// Manifests: files, directories, or `-`.
    #[arg(
        short,
        long,
        required = true,
        value_name = "PATH",
        env = "PULLPASS_FILENAME"
    )]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    offline: OfflineArgs,
    /// The format, and a file for it.
    #[arg(short, long, value_name = "FORMAT[=FILE]", env = "PULLPASS_OUTPUT", value_parser = OutputParser::<Format>::new())]
    output: Vec<Output<Format>>,
    /// Exit with 1 when anything changes.
    #[arg(long, env = "PULLPASS_EXIT_CODE", value_parser = clap::builder::BoolishValueParser::new())]
    exit_code: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// The manifests.
    Yaml,
    /// The manifests; several as one List.
    Json,
    /// The JSON patch of each document, as `kubectl patch --type=json` takes it.
    Patch,
    /// What changes, as a unified diff of YAML.
    Diff,
    /// The AdmissionReview that the webhook would answer.
    Review,
}

/// A document and what became of its Pods.
struct Document<'i> {
    text: &'i str,
    before: Value,
    after: Value,
    found: Vec<Found>,
}

impl Document<'_> {
    fn changes(&self) -> bool {
        self.found.iter().any(Found::changes)
    }
}

/// Applies the table.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    let Some(loaded) = shared::load(&args.table, &args.offline.namespace, io)? else {
        return Ok(Exit::Unusable);
    };
    let sources = input::read_all(&args.filename)?;
    let mut documents = Vec::new();
    for source in &sources {
        documents.extend(read(source, &args.offline.namespace, &loaded.snapshot)?);
    }
    if documents.is_empty() {
        anyhow::bail!("there is no document in the input");
    }
    let refused = report(&documents, io);
    let formats = &args.output;
    let answers = if formats
        .iter()
        .any(|output| matches!(output.format, Format::Review))
    {
        reviews(&documents, &args.offline.namespace, &loaded.snapshot)?
    } else {
        Vec::new()
    };
    io.write(formats, Format::Yaml, |format, colored, out| match format {
        Format::Yaml => write_all(out, documents.iter().map(yaml_of)),
        Format::Json => write_json(&documents, out),
        Format::Patch => write_all(
            out,
            documents
                .iter()
                .filter(|d| !d.found.is_empty())
                .map(patch_of),
        ),
        Format::Diff => documents
            .iter()
            .try_for_each(|document| diff(document, colored, out)),
        Format::Review => write_all(out, answers.iter().map(|review| Ok(pretty(review)))),
    })?;
    let changed = documents.iter().any(Document::changes);
    Ok(if refused || (args.exit_code && changed) {
        Exit::Findings
    } else {
        Exit::Fine
    })
}

fn read<'i>(
    source: &'i Arc<Source>,
    namespace: &str,
    snapshot: &Snapshot,
) -> anyhow::Result<Vec<Document<'i>>> {
    let (documents, broken) = yaml::read(source);
    if let Some(broken) = broken {
        anyhow::bail!("{broken}");
    }
    let mut read = Vec::new();
    for document in documents {
        let before = document.root.to_json();
        let text = document.span.of(source.text());
        if before.is_null() {
            continue;
        }
        let found = manifest::examine(&before, namespace, snapshot);
        let after = manifest::apply(&before, &found);
        read.push(Document {
            text,
            before,
            after,
            found,
        });
    }
    Ok(read)
}

/// Tells warnings and refusals; whether any Pod is refused.
fn report(documents: &[Document<'_>], io: &mut Io) -> bool {
    let mut refused = false;
    for found in documents.iter().flat_map(|document| &document.found) {
        match &found.admission {
            Err(error) => io.say(&format!(
                "warning[{}] {}: it cannot be read as a Pod, so nothing is injected: {error}",
                crate::diagnostic::Code::NotAPod,
                found.title()
            )),
            Ok(admission) => {
                for warning in &admission.warnings {
                    io.say(&format!(
                        "warning[{}] {}: {}",
                        warning.code,
                        found.title(),
                        warning.message
                    ));
                }
                if let Some(denial) = &admission.denial {
                    refused = true;
                    io.say(&format!("refused {}: {denial}", found.title()));
                }
                if let Some(exclusion) = admission.exclusion {
                    io.say(&format!(
                        "note: {} is left alone: {exclusion}",
                        found.title()
                    ));
                }
            }
        }
    }
    let pods = documents
        .iter()
        .map(|document| document.found.len())
        .sum::<usize>();
    let foreign = documents
        .iter()
        .filter(|document| document.found.is_empty())
        .count();
    let changed = documents
        .iter()
        .flat_map(|d| &d.found)
        .filter(|found| found.changes())
        .count();
    io.say(&format!(
        "note: {pods} Pods and templates, {changed} changed; {foreign} other documents passed through"
    ));
    refused
}

/// Documents joined by `---`: one document is that document alone.
fn write_all(
    out: &mut dyn Write,
    texts: impl Iterator<Item = io::Result<String>>,
) -> io::Result<()> {
    for (i, text) in texts.enumerate() {
        if i > 0 {
            writeln!(out, "---")?;
        }
        let text = text?;
        out.write_all(text.trim_start_matches('\n').as_bytes())?;
        if !text.ends_with('\n') {
            writeln!(out)?;
        }
    }
    Ok(())
}

fn yaml_of(document: &Document<'_>) -> io::Result<String> {
    if document.changes() {
        to_yaml(&document.after)
    } else {
        Ok(document.text.to_owned())
    }
}

fn to_yaml(value: &Value) -> io::Result<String> {
    // As `kubectl` prints: no folded strings, which a diff could not be read in.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(value, options).map_err(io::Error::other)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

fn write_json(documents: &[Document<'_>], out: &mut dyn Write) -> io::Result<()> {
    let whole = match documents {
        [one] => one.after.clone(),
        several => {
            let items: Vec<&Value> = several.iter().map(|document| &document.after).collect();
            json!({ "apiVersion": "v1", "kind": "List", "items": items })
        }
    };
    writeln!(out, "{}", pretty(&whole))
}

fn patch_of(document: &Document<'_>) -> io::Result<String> {
    let operations: Vec<_> = document
        .found
        .iter()
        .flat_map(|found| found.patch().0)
        .collect();
    Ok(serde_json::to_string_pretty(&operations)?)
}

fn diff(document: &Document<'_>, colored: bool, out: &mut dyn Write) -> io::Result<()> {
    if !document.changes() {
        return Ok(());
    }
    let (before, after) = (to_yaml(&document.before)?, to_yaml(&document.after)?);
    let title = document
        .found
        .iter()
        .find(|found| found.changes())
        .map(Found::title);
    let title = super::render::visible(&title.unwrap_or_default()).into_owned();
    let text = TextDiff::from_lines(before.as_str(), after.as_str());
    let text = text
        .unified_diff()
        .context_radius(3)
        .header(&title, &title)
        .to_string();
    for line in text.lines() {
        let color = match line.as_bytes().first() {
            Some(b'+') if colored => "\u{1b}[32m",
            Some(b'-') if colored => "\u{1b}[31m",
            _ => "",
        };
        let reset = if color.is_empty() { "" } else { "\u{1b}[0m" };
        writeln!(out, "{color}{}{reset}", super::render::visible(line))?;
    }
    Ok(())
}

/// The webhook's answers. A Pod that comes without a review gets one made for it.
fn reviews(
    documents: &[Document<'_>],
    namespace: &str,
    snapshot: &Snapshot,
) -> anyhow::Result<Vec<Value>> {
    let mut answers = Vec::new();
    for document in documents {
        if manifest::is_review(&document.before) {
            let answer = manifest::answer_review(&document.before, snapshot)?;
            answers.push(serde_json::from_slice(&answer.body)?);
            continue;
        }
        for located in manifest::pods(&document.before) {
            let review = json!({
                "apiVersion": crate::admission::REVIEW_VERSION,
                "kind": "AdmissionReview",
                "request": {
                    "uid": "",
                    "kind": { "group": "", "version": "v1", "kind": "Pod" },
                    "operation": "CREATE",
                    "namespace": located.namespace.unwrap_or(namespace),
                    "object": located.pod,
                },
            });
            let answer = manifest::answer_review(&review, snapshot)?;
            answers.push(serde_json::from_slice(&answer.body)?);
        }
    }
    Ok(answers)
}
