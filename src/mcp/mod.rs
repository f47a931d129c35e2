//! The Model Context Protocol, as far as a route has rules for tools: which tool a request calls, and whether that one may be called. Pure.
//!
//! Since its revision of 2026-07-28 a request says in headers what its body asks for. Headers alone prove nothing: the server goes by the
//! body. So the body is read, headers have to agree with it, and what two readers could take for two things is refused: members that
//! stand there twice, or that a reader which knows no case would take for others.

mod call;
mod message;
mod rules;

pub use self::{
    call::{Called, Refusal, judge},
    rules::{ToolPattern, ToolRules},
};
