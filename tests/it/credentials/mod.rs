//! The sources of pull secrets, by the library's own code: in a process of its own, because an AWS SDK reads the
//! environment, against moto, through proxies and TLS.

mod child;
mod ecr;
mod identities;
mod ways;
