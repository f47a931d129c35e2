//! Redis, for sessions and for everything else that is stored there: the connection, and what knows nothing of sessions.

pub mod address;
mod ask;
mod counts;
pub(crate) mod dial;
mod failure;
pub(crate) mod link;
mod risk;
pub(crate) mod script;
mod state;

pub(crate) use self::state::RedisState;
pub use self::{
    ask::{Answer, ask},
    counts::RedisCounts,
    failure::RedisFailure,
};

/// Why Redis did not answer. The text is for the log and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis: {0}")]
pub struct Unanswered(pub String);
