//! The gate's own tokens for programs: API tokens, which users make, and service tokens, which the configuration names.
//!
//! An API token can do no more than its owner. `allow` is applied to what the provider said at the owner's last login, and a token is
//! suspended if its owner has not been seen for long. A service token has no owner: its groups and scopes are in the configuration.

mod authenticator;
pub mod format;
mod guesses;
mod record;
mod service;
pub mod settings;
mod tokens;

pub use self::{
    authenticator::ApiTokenAuthenticator,
    guesses::Guesses,
    record::Facts,
    service::ServiceTokens,
    tokens::{ApiTokens, Listed, Made, MakeError, TokenName, Wanted},
};

use std::sync::Arc;

use self::settings::ApiTokenSettings;
use crate::credential::{Presented, withheld::begins_in};

/// API tokens, where people may have some.
pub struct Enabled {
    /// Everybody's.
    pub tokens: Arc<ApiTokens>,
    /// What the configuration says of them.
    pub settings: ApiTokenSettings,
}

/// The text that may be a token of ours: a bearer token, or either half of a name and password, for git, docker, pip, npm
/// and Prometheus know no other way.
pub fn presented<'a>(presented: &'a Presented<'_>) -> Option<&'a str> {
    match presented {
        Presented::Bearer(token) => Some(*token),
        Presented::Basic(basic) => {
            let mut halves = [basic.password(), basic.name()].into_iter();
            halves.find(|half| format::looks_like_one(half))
        }
        Presented::Nothing => None,
    }
    .filter(|text| format::looks_like_one(text))
}

/// Whether a part of a request's `Authorization` holds a token of ours, right or not.
pub fn is_one(presented: &Presented<'_>) -> bool {
    matches!(presented, Presented::Bearer(word) if begins_in(word, format::PREFIX))
}
