//! pullpass: which pull secret and which service account a Pod's images need.
pub mod admission;
pub mod diagnostic;
#[cfg(feature = "serve")]
pub mod metrics;
#[cfg(feature = "serve")]
pub mod server;
#[cfg(feature = "serve")]
pub mod telemetry;
pub mod yaml;
