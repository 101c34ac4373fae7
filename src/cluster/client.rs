//! A client of the API server, made from a kubeconfig or from a Pod's own service account.
//!
//! It reads files and the environment and opens no connection: an API server that cannot be
//! reached is the loops' business, a kubeconfig that cannot be read ends the process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Where Kubernetes mounts the namespace of a Pod's service account.
const MOUNTED_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// pullpass's own namespace when nobody says.
const DEFAULT_NAMESPACE: &str = "pullpass-system";
/// A lost SYN is sent again after 1 and 3 s; an API server that needs longer is asked again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A watch ends by itself within 290 s (the `watcher`'s `timeoutSeconds`), and a bookmark comes about
/// each minute: a connection that is silent for longer has nobody at its other end.
const SILENCE: Duration = Duration::from_secs(295);

/// What the flags say about the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// `--kubeconfig`: this file, whatever else there is.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`: another context of the kubeconfig than its current one.
    pub context: Option<String>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig that a flag names cannot be used.
    #[error("cannot use the kubeconfig `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// The kubeconfig of the environment cannot be used, and this is no Pod.
    #[error(
        "cannot use the kubeconfig of `KUBECONFIG` or `~/.kube/config`, and this is no Pod with \
         a service account; give `--kubeconfig FILE`"
    )]
    Default(#[source] Box<KubeconfigError>),
    /// The Pod's service account cannot be used.
    #[error(
        "cannot use the Pod's service account; is `automountServiceAccountToken` off? \
         give `--kubeconfig FILE` to use another identity"
    )]
    InCluster(#[source] Box<InClusterError>),
    /// What was read holds certificates or credentials that no client can be made of.
    #[error("cannot make a client of the cluster's configuration")]
    Build(#[source] Box<kube::Error>),
}

/// A client for the cluster: the kubeconfig if a flag asks for one, else the Pod's service
/// account, else the kubeconfig of the environment.
///
/// Calls that must end soon have a timeout of their own. Nothing is retried below the loops; they
/// back off and count.
pub async fn connect(options: &ClientOptions) -> Result<Client, ClientError> {
    let mut config = config(options).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(SILENCE);
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ClientError::Build(Box::new(error)))
}

async fn config(options: &ClientOptions) -> Result<Config, ClientError> {
    let selected = KubeConfigOptions {
        context: options.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(path) = &options.kubeconfig {
        let failed = |error| ClientError::File {
            path: path.clone(),
            source: Box::new(error),
        };
        let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
        return Config::from_custom_kubeconfig(kubeconfig, &selected)
            .await
            .map_err(failed);
    }
    if options.context.is_none() && is_pod() {
        return Config::incluster().map_err(|error| ClientError::InCluster(Box::new(error)));
    }
    Config::from_kubeconfig(&selected)
        .await
        .map_err(|error| ClientError::Default(Box::new(error)))
}

/// Whether a kubelet started this process.
fn is_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// pullpass's own namespace: what the flag says, else the Pod's, else `pullpass-system`.
#[must_use]
pub fn own_namespace(flag: Option<&str>) -> String {
    namespace(flag, Path::new(MOUNTED_NAMESPACE))
}

fn namespace(flag: Option<&str>, mounted: &Path) -> String {
    if let Some(name) = flag {
        return name.to_owned();
    }
    std::fs::read_to_string(mounted)
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: a
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: u, user: {token: t}}]
contexts:
- {name: a, context: {cluster: c, user: u}}
- {name: b, context: {cluster: c, user: u, namespace: there}}
";

    #[tokio::test]
    async fn a_kubeconfig_gives_a_client_without_a_call_or_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        for (text, context, want, why) in [
            (Some(KUBECONFIG), None, Ok("default"), "the current context"),
            (
                Some(KUBECONFIG),
                Some("b"),
                Ok("there"),
                "the context asked for",
            ),
            (Some(KUBECONFIG), Some("z"), Err("File"), "no such context"),
            (Some("a: [b"), None, Err("File"), "not YAML"),
            (Some("clusters: 3"), None, Err("File"), "not a kubeconfig"),
            (Some(""), None, Err("File"), "an empty file"),
            (None, None, Err("File"), "no file"),
            (
                Some(
                    "{current-context: a, clusters: [{name: c, cluster: {server: 'https://h', \
                      certificate-authority-data: '%'}}], contexts: [{name: a, context: {cluster: c}}]}",
                ),
                None,
                Err("File"),
                "a CA that is not base64",
            ),
        ] {
            match text {
                Some(text) => std::fs::write(&path, text).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let options = ClientOptions {
                kubeconfig: Some(path.clone()),
                context: context.map(ToOwned::to_owned),
            };
            let got = connect(&options).await;
            match (&got, want) {
                (Ok(client), Ok(namespace)) => {
                    assert_eq!(client.default_namespace(), namespace, "{why}");
                }
                (Err(error @ ClientError::File { .. }), Err(_)) => {
                    let text = error.to_string();
                    assert!(text.contains(path.to_str().unwrap()), "{why}: {text}");
                }
                (got, want) => panic!("{why}: want {want:?}, got {:?}", got.as_ref().err()),
            }
        }
    }

    #[test]
    fn the_flag_beats_the_mounted_namespace_and_that_the_default() {
        let directory = tempfile::tempdir().unwrap();
        let mounted = directory.path().join("namespace");
        assert_eq!(namespace(None, &mounted), "pullpass-system", "no Pod");
        std::fs::write(&mounted, "").unwrap();
        assert_eq!(
            namespace(None, &mounted),
            "pullpass-system",
            "an empty file"
        );
        std::fs::write(&mounted, "here\n").unwrap();
        assert_eq!(namespace(None, &mounted), "here", "the Pod's own");
        assert_eq!(namespace(Some("there"), &mounted), "there", "the flag");
    }
}
