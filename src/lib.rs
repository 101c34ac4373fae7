//! pullpass: which pull secret and which service account a Pod's images need.

pub mod admission;
pub mod diagnostic;
pub mod hosts;
pub mod image;
pub mod names;
pub mod policy;
pub mod snapshot;
pub mod yaml;
