//! Which rule a request falls under: an own endpoint, or the first matching route.

pub mod pattern;

pub use pattern::PathPattern;
