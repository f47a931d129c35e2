//! What is known in advance about each kind of provider. Data only.

mod oauth;
mod oidc;

pub use oauth::{DISCORD, FACEBOOK, FORTY_TWO, GITHUB, OAUTH2};
pub use oidc::{GITLAB, GOOGLE, MICROSOFT, OIDC};

use super::kind::Kind;

/// Every kind that `type` may name, in the order that a hint lists them.
pub const KINDS: &[&Kind] = &[
    &FORTY_TWO, &GOOGLE, &GITHUB, &FACEBOOK, &GITLAB, &MICROSOFT, &DISCORD, &OIDC, &OAUTH2,
];

/// The kind that `type` names.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}
