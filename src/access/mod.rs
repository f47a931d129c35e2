//! Who may pass: the rules, and whom they judge. Pure.

pub mod allow;
mod principal;
mod rule;

pub use self::{
    principal::Principal,
    rule::{Allow, AllowList},
};
