//! What a cluster holds, for a process that decides: watches in, one snapshot out.
//!
//! `client` knows whom to ask, `watch` asks and goes on asking, `objects` is what comes, `fold` what is
//! kept of it, `feed` joins it all and publishes snapshots, `wait` waits for one that has
//! more. It reads. It never writes to the cluster.

pub mod client;
pub mod feed;
#[doc(hidden)] // for the benchmark of one change
pub mod fold;
mod objects;
pub mod published;
pub mod wait;
pub mod watch;
