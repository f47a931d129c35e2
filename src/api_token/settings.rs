//! The settings of API tokens and service tokens.

use std::time::Duration;

use super::format::Hash;
use crate::{credential::Opener, session::revocation::Target};

/// `[api_tokens]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiTokenSettings {
    /// How long tokens work after their owner's last login or refresh.
    pub owner_idle: Duration,
    /// How many days one lasts at most.
    pub max_days: u32,
    /// How many somebody has at most.
    pub max_per_user: usize,
    /// How long ago the login may be of whoever makes one.
    pub max_login_age: Duration,
    /// The scopes that people may give to theirs.
    pub scopes: Vec<String>,
}

impl ApiTokenSettings {
    /// The days that a form begins with.
    pub fn usual_days(&self) -> u32 {
        self.max_days.min(90)
    }
}

/// One of `[[service_tokens]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceToken {
    /// The machine's name, which is the user.
    pub name: String,
    /// SHA-256 of the token.
    pub hash: Hash,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// The groups that it is in.
    pub groups: Vec<String>,
}

impl ServiceToken {
    /// What names it when it ends.
    pub(super) fn opener(&self) -> Opener {
        Opener::Configured(id_of(&self.hash))
    }

    /// What is open by it.
    pub fn target(&self) -> Target {
        Target::configured(id_of(&self.hash))
    }
}

/// What names a token of this hash when it ends: no credential.
pub(super) fn id_of(hash: &Hash) -> [u8; 16] {
    let id = hash.first_chunk();
    *id.expect("a hash has 32 bytes")
}

/// So many days.
pub(super) fn days(count: u32) -> Duration {
    Duration::from_hours(24) * count
}

/// What stands in the place of a provider's name for service tokens.
pub const SERVICE: &str = "service";
/// No token lasts for more days.
pub const MOST_DAYS: u32 = 3_660;
