//! What a cluster holds, for a process that decides: watches in, one snapshot out.
//!
//! It reads. It never writes to the cluster.

pub mod client;
