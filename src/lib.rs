//! pullpass: which pull secret and which service account a Pod's images need.
//!
//! A tour in reading order. Data flows one way: bytes → [`admission::review`] →
//! [`policy::decide`] → patch → bytes; nothing below calls upward.
//!
//! 1. [`image`]: an image reference, parsed as the container runtimes do.
//! 2. [`hosts`]: the host grammars of the registries that policies can name as a class.
//! 3. [`diagnostic`], [`names`], [`yaml`]: what a person wrote, and what is wrong with it.
//! 4. [`policy`]: text → document → table → decision.
//! 5. [`objects`], [`snapshot`], [`load`]: what a decision reads beside the Pod, published whole;
//!    [`status`]: what a controller says of its Secrets.
//! 6. [`docker_config`]: the content of pull secrets, read as a kubelet reads it, and written.
//! 7. [`admission`], [`manifest`]: a whole AdmissionReview answered as a function of its bytes, and
//!    manifests from files by the same code.
//! 8. [`plan`]: what a controller should do next.
//! 9. [`install`]: the accounts, rights and webhook configurations of an installation.
//!
//! All of the above is pure: no clock, file, network or runtime, and it builds with
//! `--no-default-features`. The edges carry bytes to it:
//!
//! 10. `server`, `metrics`, `telemetry` (feature `serve`): the HTTPS webhook.
//! 11. `cluster` (feature `cluster`): watches of a cluster, folded into the snapshot in force.
//! 12. `credentials` (feature `cluster`; Amazon ECR with `aws`): where the logins of pull secrets come from.
//! 13. `controller` (feature `cluster`): carries out what is planned, one process at a time.
//! 14. `doctor`, `cleanup` (feature `cluster`): what is well in an installation and what to do about the rest; what
//!     an uninstall leaves.
//! 15. `cli` (feature `cli`): one file a command.
//!
//! ```
//! use pullpass::admission::{admit, review::Pod};
//! use pullpass::diagnostic::Source;
//! use pullpass::load::{LoadOptions, load};
//!
//! let policy = Source::new("policy.yaml", r#"
//! apiVersion: pullpass.dev/v1
//! kind: RegistryPolicy
//! metadata: {name: company}
//! spec:
//!   rules:
//!     - name: hub
//!       match: {images: [docker.io]}
//!       inject: {imagePullSecrets: [hub-creds]}
//! "#);
//! let loaded = load(&[policy], &[], &LoadOptions::default());
//! let pod = br#"{"spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}}"#;
//! let admission = admit(&Pod::from_json(pod).unwrap(), "shop", &loaded.snapshot);
//! assert_eq!(admission.rules, ["company/hub"]);
//! assert_eq!(admission.patch[0].path().to_string(), "/spec/imagePullSecrets");
//! ```

pub mod image;

pub mod hosts;

pub mod diagnostic;
pub mod names;
pub mod yaml;

pub mod policy;

pub mod load;
pub mod objects;
pub mod snapshot;
pub mod status;

pub mod docker_config;

pub mod admission;

pub mod manifest;

pub mod plan;

pub mod install;

#[cfg(feature = "serve")]
pub mod metrics;
#[cfg(feature = "serve")]
pub mod server;
#[cfg(feature = "serve")]
pub mod telemetry;

#[cfg(feature = "cluster")]
pub mod cluster;

#[cfg(feature = "cluster")]
pub mod cleanup;
#[cfg(feature = "cluster")]
pub mod controller;
#[cfg(feature = "cluster")]
pub mod credentials;
#[cfg(feature = "cluster")]
pub mod doctor;

#[cfg(all(feature = "cli", feature = "cluster"))]
pub mod cli;
