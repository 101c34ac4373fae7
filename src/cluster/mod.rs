//! What a cluster holds, for a process that decides: watches in, one snapshot out.

pub mod published;
pub mod wait;
