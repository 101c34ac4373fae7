//! `pullpass match`: how images parse, which rule wins them and why, what it injects.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::Exit;
use super::output::{Io, Output, OutputParser};
use super::render::visible;
use super::shared::{self, OfflineArgs, TableArgs};
use crate::image::ImageRef;
use crate::policy::decide::{
    Considered, Counting, Decision, ImageDecision, ImageUse, Label, PodFacts, Slot, Verdict, decide,
};
use crate::snapshot::{Exclusion, Snapshot};

/// Say which rule wins an image, why, and what it injects.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass match nginx quay.io/acme/app:v1 --policy policy.yaml
  pullpass match ghcr.io/acme/tool --policy policies/ --objects cluster.yaml --namespace ci -o json

Exit status: 0 fine, 1 an image does not parse, 2 bad input or arguments.")]
pub struct Args {
    /// Image references, as a Pod writes them.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    offline: OfflineArgs,
    /// A label of the Pod, for rules with a podSelector.
    #[arg(long, value_name = "KEY=VALUE", env = "PULLPASS_POD_LABEL", value_parser = pod_label)]
    pod_label: Vec<(String, String)>,
    /// The format, and a file for it.
    #[arg(short, long, value_name = "FORMAT[=FILE]", env = "PULLPASS_OUTPUT", value_parser = OutputParser::<Format>::new())]
    output: Vec<Output<Format>>,
}

fn pod_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write `key=value`")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// An array, one object an image.
    Json,
}

/// One image in `-o json`. Fields are only ever added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Matched<'m> {
    image: &'m str,
    normalized: Option<String>,
    registry: Option<String>,
    repository: Option<String>,
    tag: Option<&'m str>,
    digest: Option<&'m str>,
    rules: Option<Vec<MatchedRule>>,
    image_pull_secrets: Option<Vec<String>>,
    service_account_name: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct MatchedRule {
    policy: String,
    rule: String,
    pattern: String,
}

/// Decides each image as the only one of a Pod.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    let Some(loaded) = shared::load(&args.table, &args.offline.namespace, io)? else {
        return Ok(Exit::Unusable);
    };
    let snapshot = &loaded.snapshot;
    let namespace = args.offline.namespace.as_str();
    let labels: Vec<Label<'_>> = args
        .pod_label
        .iter()
        .map(|(k, v)| (k.as_str().into(), v.as_str().into()))
        .collect();
    let namespace_labels = snapshot.namespaces.labels(namespace);
    let excluded = snapshot
        .scope
        .excludes(namespace, &namespace_labels, &labels, false);
    if let Some(exclusion) = excluded {
        io.say(&format!(
            "note: nothing is injected in namespace `{namespace}`: {exclusion}"
        ));
    }
    let images: Vec<ImageUse<'_>> = args
        .images
        .iter()
        .map(|text| ImageUse {
            slot: Slot::Container(0),
            text,
        })
        .collect();
    let decisions: Vec<Decision<'_, '_>> = images
        .iter()
        .map(|image| {
            let images = std::slice::from_ref(image);
            let pod = PodFacts {
                namespace,
                namespace_labels: &namespace_labels,
                labels: &labels,
                images,
            };
            decide(&snapshot.table, &pod, Counting::Enforced)
        })
        .collect();
    io.write(&args.output, Format::Text, |format, _, out| match format {
        Format::Json => {
            let matched: Vec<_> = decisions.iter().map(|d| to_json(d, excluded)).collect();
            serde_json::to_writer_pretty(&mut *out, &matched)?;
            writeln!(out)
        }
        Format::Text => decisions.iter().enumerate().try_for_each(|(i, decision)| {
            if i > 0 {
                writeln!(out)?;
            }
            draw(decision, snapshot, excluded, out)
        }),
    })?;
    let unreadable = |d: &Decision<'_, '_>| d.images.iter().any(|image| image.parsed.is_err());
    Ok(if decisions.iter().any(unreadable) {
        Exit::Findings
    } else {
        Exit::Fine
    })
}

fn to_json<'m>(decision: &Decision<'_, 'm>, excluded: Option<Exclusion>) -> Matched<'m> {
    let image = decision.images.first();
    let text = image.map_or("", |image| image.image.text);
    let parsed: Option<ImageRef<'m>> = image.and_then(|image| image.parsed.ok());
    let error = image
        .and_then(|image| image.parsed.err())
        .map(|error| error.to_string());
    let decided = parsed.is_some();
    let in_scope = excluded.is_none();
    let mut rules: Vec<MatchedRule> = Vec::new();
    for won in image.into_iter().flat_map(ImageDecision::winners) {
        rules.push(matched_rule(won.rule, won.test.to_string()));
    }
    for rule in &decision.rules {
        if !rules
            .iter()
            .any(|r| *r.policy == *rule.policy().name && r.rule == rule.name())
        {
            rules.push(matched_rule(*rule, "everyPod".to_owned()));
        }
    }
    if !in_scope {
        rules.clear();
    }
    let secrets = decision
        .secrets
        .iter()
        .filter(|_| in_scope)
        .map(|need| need.name.to_string());
    let account = decision.account.as_ref().filter(|_| in_scope);
    Matched {
        image: text,
        normalized: parsed.map(|p| p.to_string()),
        registry: parsed.map(|p| p.registry().to_owned()),
        repository: parsed.map(|p| p.repository().into_owned()),
        tag: parsed.and_then(|p| p.tag()),
        digest: parsed.and_then(|p| p.digest()),
        rules: decided.then_some(rules),
        image_pull_secrets: decided.then(|| secrets.collect()),
        service_account_name: account
            .filter(|_| decided)
            .map(|need| need.account.name.to_string()),
        error,
    }
}

fn matched_rule(rule: crate::policy::table::RuleRef<'_>, pattern: String) -> MatchedRule {
    MatchedRule {
        policy: rule.policy().name.to_string(),
        rule: rule.name().to_owned(),
        pattern,
    }
}

fn draw(
    decision: &Decision<'_, '_>,
    snapshot: &Snapshot,
    excluded: Option<Exclusion>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Some(image) = decision.images.first() else {
        return Ok(());
    };
    let text = visible(image.image.text);
    let parsed = match image.parsed {
        Ok(parsed) => parsed,
        Err(error) => return writeln!(out, "{text}\n  does not parse: {error}"),
    };
    writeln!(out, "{text}")?;
    writeln!(out, "  is         {parsed}")?;
    writeln!(
        out,
        "  registry   {}, repository {}",
        parsed.registry(),
        parsed.repository()
    )?;
    if let Some(exclusion) = excluded {
        return writeln!(out, "  left alone {exclusion}");
    }
    let mut considered: Vec<&Considered<'_>> = image.considered.iter().collect();
    considered.sort_by_key(|c| (c.verdict != Verdict::Won, std::cmp::Reverse(c.specificity)));
    for c in &considered {
        let verdict = if c.verdict == Verdict::Won {
            "won by    "
        } else {
            "passed by "
        };
        write!(
            out,
            "  {verdict} {}  {}  ({}",
            c.rule,
            c.test,
            c.specificity.host.as_str()
        )?;
        match c.specificity.segments {
            0 => {}
            1 => write!(out, ", 1 path segment")?,
            n => write!(out, ", {n} path segments")?,
        }
        writeln!(out, "){}", why(c.verdict))?;
    }
    for rule in snapshot
        .table
        .every_pod()
        .filter(|rule| decision.rules.contains(rule))
    {
        writeln!(out, "  also by    {rule}  everyPod")?;
    }
    if considered.is_empty() {
        writeln!(out, "  no rule has a pattern that matches it")?;
    }
    let secrets: Vec<String> = decision
        .secrets
        .iter()
        .map(|need| need.name.to_string())
        .collect();
    if !secrets.is_empty() {
        writeln!(out, "  injects    imagePullSecrets: {}", secrets.join(", "))?;
    }
    if let Some(need) = &decision.account {
        let how = match need.account.replace {
            crate::policy::document::ReplaceAccount::IfUnset => "if the Pod names none",
            crate::policy::document::ReplaceAccount::IfDefault => "in place of default",
            crate::policy::document::ReplaceAccount::Always => "in place of any",
        };
        writeln!(
            out,
            "  injects    serviceAccountName: {} ({how})",
            need.account.name
        )?;
    }
    let sources: Vec<&str> = decision
        .env_from
        .iter()
        .map(|need| &*need.source.name)
        .collect();
    if !sources.is_empty() {
        writeln!(out, "  injects    envFrom: {}", sources.join(", "))?;
    }
    if secrets.is_empty() && decision.account.is_none() && sources.is_empty() {
        writeln!(out, "  injects    nothing")?;
    }
    Ok(())
}

fn why(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Won => "",
        Verdict::LessSpecific => ": another rule is more specific",
        Verdict::OtherNamespace => ": its namespaceSelector does not match",
        Verdict::OtherPod => ": its podSelector does not match",
        Verdict::KeptByFinal => ": a cluster rule that matches is final",
        Verdict::AuditOnly => ": its policy is in mode Audit",
    }
}
