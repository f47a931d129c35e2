//! The Model Context Protocol, for routes with rules for tools: which tool a request calls, and whether it may be called. Pure.
//!
//! Since the revision of 2026-07-28 the headers of a request repeat what its body calls. Headers alone prove nothing, because the server
//! uses the body. So the body is read, and the headers must agree with it. A body that two readers could read differently is refused:
//! one with a member twice, or with members that differ only in case.

mod call;
mod message;
mod rules;

pub use self::{
    call::{Called, Refusal, judge},
    rules::{ToolPattern, ToolRules},
};
