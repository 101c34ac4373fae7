//! What a controller should do next, as a function of what a cluster holds and of the time.
//!
//! A plan reads facts and says actions with their reasons. It has no clock, no network and no
//! cryptography: whoever calls it brings the facts and carries the actions out.

pub mod certificates;

pub mod gates;
pub mod reach;
pub mod refresh;
pub mod secrets;
