//! pullpass.

pub mod hosts;
