//! The controller.

pub mod facts;
