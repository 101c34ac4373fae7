//! `pullpass render webhook-configuration`: where the webhook is → the configurations that call it.
//!
//! What an API server would take and then never call is refused here: a URL that is not HTTPS, a
//! certificate that is none.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use clap::builder::BoolishValueParser;
use x509_parser::pem::Pem;

use super::{OutputArgs, label, object_name, print};
use crate::cli::Exit;
use crate::cli::output::Io;
use crate::cli::shared::NamespaceMode;
use crate::install::MUTATING_CONFIGURATION;
use crate::install::webhook_configuration::{Endpoint, FailurePolicy, Options, objects};
use crate::snapshot::{self, ScopeOptions};

/// Print the webhook configurations by which API servers call pullpass.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  pullpass render webhook-configuration --service pullpass-system/pullpass-webhook -o yaml=hook.yaml
  pullpass render webhook-configuration --url https://203.0.113.7:8443 --ca-file certs/dev/ca.crt
  pullpass render webhook-configuration --service registry/hook:8443 --namespace-mode opt-in

Apply it by `kubectl apply --server-side`: that leaves a caBundle to whoever keeps it.

Prints `00-pullpass` (Pods), `pullpass-policies` (lints policies) and `pullpass-ephemeralcontainers`
(warns). Give the webhook the same scope flags: it judges again. Without --ca-file there is no
caBundle, not even an empty one: the controller or cert-manager owns it.

Exit status: 0 fine, 2 bad input or arguments.")]
pub struct Args {
    /// The webhook's Service; its port is 443 unless given.
    #[arg(
        long,
        value_name = "NS/NAME[:PORT]",
        env = "PULLPASS_SERVICE",
        required_unless_present = "url",
        value_parser = service
    )]
    service: Option<Endpoint>,
    /// Instead of a Service: an HTTPS URL, to which /mutate and /validate are appended.
    #[arg(
        long,
        value_name = "BASE",
        env = "PULLPASS_URL",
        conflicts_with = "service",
        value_parser = url
    )]
    url: Option<Endpoint>,
    /// The authority that signed the webhook's certificate, as PEM, for `caBundle`.
    #[arg(long, value_name = "FILE", env = "PULLPASS_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// pullpass's own namespace, which is left alone [default: the Service's, or pullpass-system].
    #[arg(short, long, value_name = "NS", env = "PULLPASS_NAMESPACE", value_parser = label)]
    namespace: Option<String>,
    /// The mutating configuration's name; API servers call in the order of names.
    #[arg(
        long,
        value_name = "NAME",
        env = "PULLPASS_NAME",
        default_value = MUTATING_CONFIGURATION,
        value_parser = object_name
    )]
    name: String,
    /// What happens to Pods when the webhook does not answer.
    #[arg(
        long,
        value_name = "POLICY",
        env = "PULLPASS_FAILURE_POLICY",
        default_value = "Ignore",
        ignore_case = true
    )]
    failure_policy: FailurePolicyArg,
    /// How long API servers wait for an answer.
    #[arg(
        long,
        value_name = "SECONDS",
        env = "PULLPASS_TIMEOUT_SECONDS",
        default_value_t = 5,
        value_parser = clap::value_parser!(u8).range(1..=30)
    )]
    timeout_seconds: u8,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// The webhook's own flags of these names; it takes more of a table than a selector can.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Scope")]
struct ScopeArgs {
    /// Which namespaces are in scope.
    #[arg(
        long,
        value_name = "MODE",
        env = "PULLPASS_NAMESPACE_MODE",
        default_value = "opt-out"
    )]
    namespace_mode: NamespaceMode,
    /// Namespaces that are never in scope, besides `kube-system` and pullpass's own.
    #[arg(
        long,
        value_name = "NS",
        num_args = 1..,
        value_delimiter = ',',
        env = "PULLPASS_EXCLUDE_NAMESPACE",
        value_parser = label
    )]
    exclude_namespace: Vec<String>,
    /// Call the webhook also for Pods that are labelled `pullpass.dev/inject: disabled`.
    #[arg(long, env = "PULLPASS_IGNORE_OPT_OUT", value_parser = BoolishValueParser::new())]
    ignore_opt_out: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FailurePolicyArg {
    /// They are created without their secrets.
    #[value(name = "Ignore")]
    Ignore,
    /// They are refused, until the webhook answers again.
    #[value(name = "Fail")]
    Fail,
}

/// Prints the configurations.
pub fn run(args: &Args, io: &mut Io) -> anyhow::Result<Exit> {
    let endpoint = args.service.as_ref().or(args.url.as_ref());
    let endpoint = endpoint.context("give `--service NS/NAME` or `--url BASE`")?;
    let usual = match endpoint {
        Endpoint::Service { namespace, .. } => namespace,
        Endpoint::Url(_) => "pullpass-system",
    };
    let scope = ScopeOptions {
        mode: match args.scope.namespace_mode {
            NamespaceMode::OptOut => snapshot::NamespaceMode::OptOut,
            NamespaceMode::OptIn => snapshot::NamespaceMode::OptIn,
        },
        own_namespace: args.namespace.as_deref().unwrap_or(usual).into(),
        excluded: args.scope.exclude_namespace.clone(),
        ignore_opt_out: args.scope.ignore_opt_out,
    };
    let options = Options {
        name: args.name.clone(),
        endpoint: endpoint.clone(),
        ca: args.ca_file.as_deref().map(read_ca).transpose()?,
        scope,
        failure_policy: match args.failure_policy {
            FailurePolicyArg::Ignore => FailurePolicy::Ignore,
            FailurePolicyArg::Fail => FailurePolicy::Fail,
        },
        timeout_seconds: args.timeout_seconds,
    };
    print(&objects(&options), &args.output, io)?;
    Ok(Exit::Fine)
}

fn service(text: &str) -> Result<Endpoint, String> {
    let (namespace, rest) = text
        .split_once('/')
        .ok_or("write the namespace and the name: `pullpass-system/pullpass-webhook`")?;
    let (name, port) = match rest.split_once(':') {
        Some((name, port)) => (name, port.parse().ok().filter(|port| *port != 0)),
        None => (rest, Some(443)),
    };
    Ok(Endpoint::Service {
        namespace: label(namespace)?,
        name: label(name)?,
        port: port.ok_or("the port is a number from 1 to 65535")?,
    })
}

/// What `rest.HTTPClientFor` of an API server and its validation take: HTTPS, a host, perhaps a port
/// and a path.
fn url(text: &str) -> Result<Endpoint, String> {
    let uri: hyper::Uri = text
        .parse()
        .map_err(|_| "write a URL, as `https://webhook.example.com:8443`".to_owned())?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let port_is_good = uri.port().is_none_or(|port| port.as_u16() != 0);
    if uri.scheme_str() != Some("https") {
        Err("API servers call webhooks by `https://` only".to_owned())
    } else if authority.contains('@') {
        Err("API servers take no user name in the URL".to_owned())
    } else if text.contains(['?', '#']) {
        Err("API servers take no query and no fragment in the URL".to_owned())
    } else if uri.host().is_none_or(str::is_empty) || authority.ends_with(':') || !port_is_good {
        Err("write a host, and a port from 1 to 65535 or none".to_owned())
    } else {
        Ok(Endpoint::Url(text.trim_end_matches('/').to_owned()))
    }
}

/// A file's text when it holds certificates and nothing that is worse than useless there: an API
/// server takes any text, and then fails every call.
fn read_ca(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let bytes = fs::read(path).with_context(|| format!("cannot read `{name}`"))?;
    let pem = String::from_utf8(bytes).ok();
    let pem = pem.with_context(|| format!("`{name}` is no PEM: it is not text"))?;
    check_ca(&pem).with_context(|| format!("`{name}` cannot be a caBundle"))?;
    Ok(pem)
}

fn check_ca(pem: &str) -> anyhow::Result<()> {
    let mut certificates = 0;
    for block in Pem::iter_from_buffer(pem.as_bytes()) {
        let number = certificates + 1;
        let block = block.with_context(|| format!("block {number} is broken"))?;
        if block.label != "CERTIFICATE" {
            bail!(
                "block {number} is a `{}`; give the authority's certificates alone",
                block.label
            );
        }
        if block.parse_x509().is_err() {
            bail!("block {number} is no certificate: it does not parse");
        }
        certificates = number;
    }
    if certificates == 0 {
        bail!("there is no certificate in it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_a_namespace_a_name_and_perhaps_a_port() {
        for (text, want) in [
            ("a/b", Ok(("a", "b", 443))),
            ("a/b:8443", Ok(("a", "b", 8443))),
            ("b", Err("write the namespace")),
            ("/b", Err("is no such name")),
            ("a/", Err("is no such name")),
            ("a/b/c", Err("is no such name")),
            ("a/b:", Err("the port is a number")),
            ("a/b:0", Err("the port is a number")),
            ("a/b:65536", Err("the port is a number")),
            ("a/b.c", Err("no dot")),
        ] {
            match (service(text), want) {
                (Ok(got), Ok((namespace, name, port))) => {
                    let want = Endpoint::Service {
                        namespace: namespace.to_owned(),
                        name: name.to_owned(),
                        port,
                    };
                    assert_eq!(got, want, "{text}");
                }
                (Err(got), Err(want)) => assert!(got.contains(want), "{text}: {got}"),
                (got, want) => panic!("{text}: {got:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn a_url_is_one_that_an_api_server_calls() {
        for (text, want) in [
            ("https://a.example", Ok("https://a.example")),
            ("https://a.example/", Ok("https://a.example")),
            ("https://a.example:8443/x//", Ok("https://a.example:8443/x")),
            ("https://[::1]:8443", Ok("https://[::1]:8443")),
            ("http://a.example", Err("`https://` only")),
            ("a.example", Err("`https://` only")),
            ("https://", Err("write a")),
            ("https://:8443", Err("write a")),
            ("https://a:0", Err("a port from 1")),
            ("https://a:", Err("a port from 1")),
            ("https://u:p@a", Err("no user name")),
            ("https://a?x=1", Err("no query")),
            ("https://a/#x", Err("no fragment")),
            ("https://a b", Err("write a URL")),
            ("", Err("write a URL")),
        ] {
            match (url(text), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, Endpoint::Url(want.to_owned()), "{text}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{text}: {got}"),
                (got, want) => panic!("{text}: {got:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn a_ca_bundle_holds_certificates_and_nothing_else() {
        let pair = crate::server::certificate::self_signed(&[], std::time::SystemTime::now());
        let pair = pair.unwrap();
        let (ca, key) = (pair.ca.as_str(), pair.key.as_str());
        let cut = ca.replace("-----END", "----END");
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pem, want, why) in [
            (ca.to_owned(), None, "one certificate"),
            (format!("{ca}{ca}"), None, "two, as in a rotation"),
            (format!("an authority\n{ca}"), None, "words between them"),
            (String::new(), Some("no certificate in it"), "nothing"),
            ("hello\n".to_owned(), Some("no certificate in it"), "words"),
            (format!("{ca}{key}"), Some("block 2 is a"), "a private key"),
            (cut, Some("block 1 is broken"), "half a block"),
            (junk.to_owned(), Some("does not parse"), "other bytes"),
        ] {
            let got = check_ca(&pem).err().map(|error| error.to_string());
            match (got, want) {
                (None, None) => {}
                (Some(got), Some(want)) => assert!(got.contains(want), "{why}: {got}"),
                (got, want) => panic!("{why}: {got:?}, not {want:?}"),
            }
        }
    }
}
