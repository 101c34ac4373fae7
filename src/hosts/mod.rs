//! The registry families: each file turns a registry host into what that family's grammar says it
//! means, or into `None`, and judges the names that a policy may ask of it. Hosts come without a
//! port and everything comes in lower case, as it stands in a host or a path: the caller folds.
//! Nothing here reads an image path, resolves a name or asks a registry.

pub mod azure;
pub mod docker_hub;
pub mod ecr;
pub mod ecr_public;
pub mod ghcr;
pub mod google;
pub mod quay;

mod runs;
