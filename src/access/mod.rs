//! Rules of who may pass. Pure.

mod rule;

pub use rule::{Allow, AllowList};
