//! The one integration test binary: a module a feature, each seeing the crate from outside.

#[cfg(test)]
mod arguments;
#[cfg(test)]
mod certs;
#[cfg(test)]
mod chart;
#[cfg(test)]
mod cleanup;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod command;
#[cfg(test)]
mod completion;
#[cfg(test)]
mod controller;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod diagnostics;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod go;
#[cfg(test)]
mod help;
#[cfg(test)]
mod image;
#[cfg(test)]
mod lint;
#[cfg(test)]
mod match_image;
#[cfg(test)]
mod monitoring;
#[cfg(test)]
mod moto;
#[cfg(test)]
mod mutate;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod plane;
#[cfg(test)]
mod policy_test;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod pull_secrets;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod render;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod seeded;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod webhook;
