//! The controller.

pub mod apply;
mod configurations;
pub mod facts;
pub mod lease;
