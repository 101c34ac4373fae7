//! The one integration test binary: a module a feature, each seeing the crate from outside.

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod properties;
