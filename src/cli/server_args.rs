//! Flags that both servers share: whose cluster, their own namespace, the admin port, the log.
//!
//! Only words are held here; `webhook` and `controller` say what they mean to them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cluster::client::{ClientOptions, own_namespace};
use crate::telemetry::{self, LogFormat, TelemetryError};

/// How a server reaches the cluster and is looked at.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Reach the cluster by this kubeconfig instead of the Pod's own service account.
    #[arg(long, value_name = "FILE", env = "PULLPASS_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME", env = "PULLPASS_CONTEXT")]
    pub context: Option<String>,
    /// pullpass's own namespace: never injected into, its ConfigMaps hold cluster-wide policies
    /// [default: the Pod's, then `pullpass-system`].
    #[arg(long, value_name = "NS", env = "PULLPASS_NAMESPACE")]
    pub namespace: Option<String>,
    /// Where probes and metrics are asked for.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "PULLPASS_ADMIN_LISTEN",
        default_value = "[::]:9791"
    )]
    pub admin_listen: SocketAddr,
    /// How log lines look.
    #[arg(
        long,
        value_name = "FORMAT",
        env = "PULLPASS_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: LogFormatArg,
    /// What is logged: error, warn, info, debug or trace, also by target.
    #[arg(
        long,
        value_name = "LEVEL",
        env = "PULLPASS_LOG",
        default_value = "info"
    )]
    log: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormatArg {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl ServerArgs {
    /// The namespace that the server calls its own.
    #[must_use]
    pub fn own_namespace(&self) -> String {
        own_namespace(self.namespace.as_deref())
    }

    /// How to reach the cluster.
    #[must_use]
    pub fn client(&self) -> ClientOptions {
        ClientOptions {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        }
    }

    /// Starts the log.
    pub fn init_log(&self) -> Result<(), TelemetryError> {
        let format = match self.log_format {
            LogFormatArg::Text => LogFormat::Text,
            LogFormatArg::Json => LogFormat::Json,
        };
        telemetry::init(format, &self.log, true)
    }
}
