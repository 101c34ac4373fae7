//! pullpass.
