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
use crate::diagnostic::{Source, Span};
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

/// A text and its documents.
struct Manifests<'i> {
    text: &'i str,
    /// What stands before the first document: comments, directives, its `---`.
    head: &'i str,
    documents: Vec<Document>,
}

/// A document and what became of its Pods.
struct Document {
    span: Span,
    before: Value,
    after: Value,
    found: Vec<Found>,
}

impl Document {
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
    let mut manifests = Vec::new();
    for source in &sources {
        manifests.push(read(source, &args.offline.namespace, &loaded.snapshot)?);
    }
    let documents: Vec<&Document> = manifests.iter().flat_map(|m| &m.documents).collect();
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
        Format::Yaml => out.write_all(yaml(&manifests)?.as_bytes()),
        Format::Json => write_json(&documents, out),
        Format::Patch => write_all(
            out,
            documents
                .iter()
                .filter(|d| !d.found.is_empty())
                .map(|document| patch_of(document)),
        ),
        Format::Diff => documents
            .iter()
            .try_for_each(|document| diff(document, colored, out)),
        Format::Review => write_all(out, answers.iter().map(|review| Ok(pretty(review)))),
    })?;
    let changed = documents.iter().any(|document| document.changes());
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
) -> anyhow::Result<Manifests<'i>> {
    let text = source.text();
    let mut documents = Vec::new();
    let mut head = "";
    let mut read = |span: Span, before: Value| {
        if before.is_null() {
            return;
        }
        let found = manifest::examine(&before, namespace, snapshot);
        let after = manifest::apply(&before, &found);
        documents.push(Document {
            span,
            before,
            after,
            found,
        });
    };
    if let Some(value) = json_of(text) {
        read(whole(text), value);
    } else {
        let (parsed, broken) = yaml::read(source);
        if let Some(broken) = broken {
            anyhow::bail!("{broken}");
        }
        let end = parsed.first().map_or(0, |first| first.span.start);
        head = Span { start: 0, end }.of(text);
        for document in parsed {
            read(document.span, document.root.to_json());
        }
    }
    Ok(Manifests {
        text,
        head,
        documents,
    })
}

/// A text of JSON may hold characters that YAML forbids, such as DEL.
fn json_of(text: &str) -> Option<Value> {
    let looks = text.trim_start().starts_with('{');
    looks.then(|| serde_json::from_str(text).ok()).flatten()
}

fn whole(text: &str) -> Span {
    // Texts are at most 16 MiB long.
    let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
    Span { start: 0, end }
}

/// Tells warnings and refusals; whether any Pod is refused.
fn report(documents: &[&Document], io: &mut Io) -> bool {
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
        "note: {changed} of {pods} Pods and templates changed; {foreign} other documents passed through"
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
        writeln!(out, "{}", text?)?;
    }
    Ok(())
}

/// The texts one behind the other, every byte as it is but for the documents that change.
fn yaml(manifests: &[Manifests<'_>]) -> io::Result<String> {
    let mut all = String::new();
    for Manifests {
        text,
        head,
        documents,
    } in manifests
    {
        if !all.is_empty() {
            end_line(&mut all);
            if !head.lines().any(|line| line.starts_with("---")) {
                all.push_str("---\n");
            }
        }
        let mut done = 0;
        for document in documents.iter().filter(|document| document.changes()) {
            let Span { start, end } = document.span;
            all.push_str(
                Span {
                    start: done,
                    end: start,
                }
                .of(text),
            );
            for line in introduction(document.span.of(text)) {
                all.push_str(line);
            }
            if !all.is_empty() {
                end_line(&mut all);
            }
            all.push_str(&to_yaml(&document.after)?);
            end_line(&mut all);
            done = end;
        }
        let rest = Span {
            start: done,
            ..whole(text)
        };
        all.push_str(rest.of(text));
    }
    Ok(all)
}

fn end_line(text: &mut String) {
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

/// Comments in front of a document's content, such as Helm's `# Source: …`, survive its change.
fn introduction(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').take_while(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#')
    })
}

/// YAML as `kubectl` prints it.
pub(super) fn to_yaml(value: &Value) -> io::Result<String> {
    // As `kubectl` prints: lines as lines, and long ones not folded, which no diff could be read in.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options).map_err(io::Error::other)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

fn write_json(documents: &[&Document], out: &mut dyn Write) -> io::Result<()> {
    let whole = match documents {
        [one] => one.after.clone(),
        several => {
            let items: Vec<&Value> = several.iter().map(|document| &document.after).collect();
            json!({ "apiVersion": "v1", "kind": "List", "items": items })
        }
    };
    writeln!(out, "{}", pretty(&whole))
}

fn patch_of(document: &Document) -> io::Result<String> {
    let operations: Vec<_> = document
        .found
        .iter()
        .flat_map(|found| found.patch().0)
        .collect();
    Ok(serde_json::to_string_pretty(&operations)?)
}

fn diff(document: &Document, colored: bool, out: &mut dyn Write) -> io::Result<()> {
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
    documents: &[&Document],
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
