//! What a cluster holds, for a process that decides: watches in, one snapshot out.
//!
//! `client` knows whom to ask, `watch` asks and goes on asking, `explain` words what is refused, `objects`
//! is what comes, `fold` what is kept of it, `policies` compiles tables, `presence` follows what a
//! controller says of its Secrets, and by its `lease` whether it is there, `feed` joins all and publishes
//! snapshots, `wait` waits for one that has more, `secret` follows a certificate. It reads, and never
//! writes to the cluster; `ask` sends what a command gives it.

pub mod ask;
pub mod client;
pub mod explain;
pub mod feed;
#[doc(hidden)] // for the benchmark of one change
pub mod fold;
pub(crate) mod lease;
pub(crate) mod objects;
pub mod policies;
mod presence;
pub mod published;
pub mod secret;
pub mod wait;
pub mod watch;
