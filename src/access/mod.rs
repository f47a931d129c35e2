//! Who may pass: the rules, and the principals that they judge. Pure.

pub mod allow;
mod principal;
mod requirement;
mod rule;
mod step_up;

pub use self::{
    principal::Principal,
    requirement::{Fit, Requirement, Requirements},
    rule::{Allow, AllowList},
    step_up::{LONGEST_ACR_VALUES, LONGEST_AGE, Shortfall, StepUp, is_acr},
};
