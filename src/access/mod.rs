//! Who may pass: the rules, and whom they judge. Pure.

pub mod allow;
mod principal;
mod requirement;
mod rule;

pub use self::{
    principal::Principal,
    requirement::{Fit, Requirement, Requirements},
    rule::{Allow, AllowList},
};
