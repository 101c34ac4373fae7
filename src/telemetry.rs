//! What the process says while it runs: lines of text or JSON on standard error.
//!
//! It sets up the subscriber and the panic hook, once, for a server. It never prints a request, a
//! response or a panic's own message, because any of these may quote what a Pod or Secret holds.

use std::io::IsTerminal as _;
use std::panic::{Location, PanicHookInfo};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

/// Whatever the filter says. The Kubernetes client prints an answer that it cannot read, which may be a
/// Secret, the crates of the AWS SDK (a target is a prefix) print requests as they are signed, and at
/// `trace` HTTP libraries print headers with tokens. What fails there is told by us.
const SILENT: [(&str, &str); 8] = [
    ("aws_", "off"),
    ("kube_client", "off"),
    ("kube_runtime", "off"),
    ("h2", "info"),
    ("hyper", "info"),
    ("hyper_util", "info"),
    ("rustls", "info"),
    ("tower", "info"),
];

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error(
        "cannot read the log level `{filter}`: write `error`, `warn`, `info`, `debug` or `trace`, \
         or `target=level` pairs separated by commas"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in the process logs already.
    #[error("logging is set up already in this process")]
    Twice(#[source] TryInitError),
}

/// Sends the lines that `filter` lets through to standard error.
///
/// The filter has `tracing-subscriber`'s own syntax: `info`, or `warn,pullpass::server=debug`.
/// Colour goes to a terminal alone, and not when `color` is false.
pub fn init(format: LogFormat, filter: &str, color: bool) -> Result<(), TelemetryError> {
    let filter = parse(filter)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A closed standard error is nothing that a request should fail for.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => {
            let color = color && std::io::stderr().is_terminal();
            lines.with_ansi(color).finish().try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    }
    .map_err(TelemetryError::Twice)?;
    std::panic::set_hook(Box::new(tell_panic));
    Ok(())
}

fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    // A directive for a module of theirs would beat that for the crate.
    let is_theirs = |directive: &&str| {
        let target = directive.trim_start();
        SILENT.iter().any(|(crate_, _)| target.starts_with(crate_))
    };
    let given = filter
        .split(',')
        .filter(|directive| !directive.is_empty() && !is_theirs(directive))
        .map(str::to_owned);
    let silent = SILENT.map(|(target, level)| format!("{target}={level}"));
    let whole = given.chain(silent).collect::<Vec<_>>().join(",");
    EnvFilter::builder()
        .parse(whole)
        .map_err(|source| TelemetryError::Filter {
            filter: filter.to_owned(),
            source,
        })
}

/// Where, not what: a message such as "byte index 3 is not a char boundary" quotes the text.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location();
    tracing::error!(
        file = place.map(Location::file),
        line = place.map(Location::line),
        "a panic, which is a bug in pullpass: please report it"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_targets_with_levels() {
        for (filter, want, why) in [
            ("info", true, "a level alone"),
            (
                "warn,pullpass::server=debug",
                true,
                "a level for one module",
            ),
            ("", true, "nothing means errors alone"),
            ("pullpass=loud", false, "no such level"),
            ("a=b=c", false, "not a pair"),
        ] {
            assert_eq!(parse(filter).is_ok(), want, "`{filter}`: {why}");
        }
    }

    #[test]
    fn no_filter_has_a_client_print_what_it_reads() {
        for filter in [
            "",
            "trace",
            "kube_client=trace,hyper::proto=trace",
            "debug, kube_client::client=debug,aws_sigv4=trace",
        ] {
            let shown = parse(filter).unwrap().to_string();
            assert!(!shown.contains("hyper::"), "{filter}: {shown}");
            for client in ["kube_client", "aws_"] {
                let directives: Vec<_> = shown
                    .split(',')
                    .filter(|directive| directive.starts_with(client))
                    .collect();
                assert_eq!(directives, [format!("{client}=off")], "{filter}: {shown}");
            }
        }
    }

    #[test]
    fn a_bad_filter_is_told_with_what_to_write() {
        let error = parse("pullpass=loud").unwrap_err().to_string();
        assert!(
            error.contains("`pullpass=loud`") && error.contains("`debug`"),
            "{error}"
        );
    }
}
