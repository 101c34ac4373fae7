//! Flags of the commands that ask a cluster and end: which one, and as whom.

use std::path::PathBuf;

use crate::cluster::ask::Asker;
use crate::cluster::client::{ClientError, ClientOptions, connect};

/// Which cluster, as whom.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterArgs {
    /// Reach the cluster by this kubeconfig.
    #[arg(long, value_name = "FILE", env = "PULLPASS_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME", env = "PULLPASS_CONTEXT")]
    pub context: Option<String>,
    /// Ask as this user.
    #[arg(long = "as", value_name = "USER", env = "PULLPASS_AS")]
    pub user: Option<String>,
}

impl ClusterArgs {
    /// Somebody who asks it; nothing is asked yet.
    pub async fn asker(&self) -> Result<Asker, ClientError> {
        let options = ClientOptions {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        };
        Ok(Asker::new(connect(&options).await?, self.user.clone()))
    }
}
