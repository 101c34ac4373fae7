//! The handler of a webhook whose table comes from the cluster, and the feed that keeps it current.
//!
//! It answers from memory. Before the first snapshot it answers nothing: a Pod is better refused or
//! retried than let through without what it needs.

use std::sync::Arc;

use anyhow::bail;
use kube::Client;

use crate::admission::{BadReview, answer, validate};
use crate::cluster::feed::{Feed, FeedOptions};
use crate::cluster::wait::Waits;
use crate::metrics::Metrics;
use crate::policy::ParseOptions;
use crate::server::health::Health;
use crate::server::{Config, Endpoint, Reply, run_until_signalled};

/// Serves until a signal comes.
pub(super) async fn serve(
    client: Client,
    options: FeedOptions,
    config: Config,
    health: Health,
    metrics: Arc<Metrics>,
) -> anyhow::Result<()> {
    let parse_options = ParseOptions {
        own_namespace: Arc::clone(&options.scope.own_namespace),
        tenant_policies: options.tenant_policies,
    };
    let (feed, checks) = Feed::new(client, options, &metrics);
    let published = feed.published();
    let waits = Arc::new(Waits::new(Arc::clone(&published)));
    let handler = move |endpoint: Endpoint, body: &[u8]| -> Result<Reply, BadReview> {
        if !published.has_first() {
            return Ok(Reply::Unready(
                "the cluster's policies are not read yet; try again",
            ));
        }
        let snapshot = published.load();
        match endpoint {
            Endpoint::Mutate => Ok(waits.reply(answer(body, &snapshot)?)),
            Endpoint::Validate => validate(body, &snapshot.table, &parse_options).map(Reply::Now),
        }
    };
    let health = checks.into_iter().fold(health, Health::with);
    // Five watches are too much for the stack of those who only wait for this.
    let feed = Box::pin(feed.run());
    tokio::select! {
        served = run_until_signalled(config, handler, health, metrics) => Ok(served?),
        () = feed => bail!("the cluster is not watched any more; this is a bug"),
    }
}
