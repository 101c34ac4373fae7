//! The policy language: text → document → table → decision.

pub mod case;
pub mod checks;
pub mod class;
pub mod config_maps;
pub mod decide;
mod decode;
pub mod document;
mod fields;
pub(crate) mod glob;
mod index;
pub mod parse;
pub mod pattern;
#[cfg(feature = "cli")]
pub mod schema;
pub mod selector;
pub mod table;
mod tree;

pub use decode::parse_duration;
pub use parse::{ParseOptions, Parsed, parse, parse_key};
