//! Black-box tests: what a user or an API server sees, a module for each feature.

#[cfg(test)]
mod serving;
