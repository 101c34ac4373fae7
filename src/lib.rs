//! pullpass.

pub mod image;
