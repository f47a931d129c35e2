//! The types of providers, as problems name them.

use super::super::{problem::Problem, tree::Node};
use crate::provider::{catalog::KINDS, kind::Kind};

/// The types that `fits` picks, as a sentence lists them.
pub(super) fn type_names(fits: impl Fn(&Kind) -> bool) -> String {
    let names: Vec<String> = KINDS
        .iter()
        .filter(|kind| fits(kind))
        .map(|kind| format!("\"{}\"", kind.name))
        .collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
    }
}

/// A key that this provider's type does not have.
pub(super) fn foreign(key: &str, node: &Node, kind: &Kind, has: impl Fn(&Kind) -> bool) -> Problem {
    let names = type_names(has);
    Problem::new(&node.key_origin, format!("`{key}` is only for {names}"))
        .label(format!("this provider's type is \"{}\"", kind.name))
        .hint("take it out, or see whether `type` is right")
}
