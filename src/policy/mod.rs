//! The policy language: text → document → table → decision.

pub mod class;
mod decode;
pub mod document;
mod fields;
mod glob;
pub mod parse;
pub mod pattern;
pub mod selector;

pub use decode::parse_duration;
pub use parse::{ParseOptions, Parsed, parse, parse_key};
