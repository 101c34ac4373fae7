//! pullpass: which pull secret and which service account a Pod's images need.
pub mod diagnostic;
pub mod yaml;
