//! The one integration test binary: a module a feature, each seeing the crate from outside.

#[cfg(test)]
mod command;
#[cfg(test)]
mod completion;
#[cfg(test)]
mod diagnostics;
#[cfg(test)]
mod help;
#[cfg(test)]
mod lint;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod serving;
