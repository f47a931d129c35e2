//! Who may pass: the rules, and whom they judge. Pure.

pub mod allow;
mod principal;

pub use principal::Principal;
