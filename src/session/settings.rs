//! `[session]`, checked.

use std::time::Duration;

use crate::{redis::address::RedisAddress, secret::Secret};

/// `[session]`
#[derive(Debug)]
pub struct SessionSettings {
    /// The first seals, all open. Never empty.
    pub secrets: Vec<Secret>,
    /// The secret was made at start, so that sessions end with the process.
    pub ephemeral: bool,
    /// From login to the absolute end.
    pub lifetime: Duration,
    /// From the last request to the idle end.
    pub idle_timeout: Duration,
    /// The session cookie's name, without prefix; two gates on one host need two names.
    pub cookie_name: String,
    /// Whose hosts share one login: a domain in lower case, without a leading dot. Without, it is `public_url`'s host's.
    pub cookie_domain: Option<String>,
    /// Where sessions are kept.
    pub store: StoreSettings,
    /// How many sessions the store "memory" holds; beyond, those that were not used for longest end.
    pub max_sessions: u64,
    /// Through which Redis replicas share what they must where the store is the cookie.
    pub shared: Option<RedisAddress>,
    /// How long a session outlives its access token while the provider cannot be asked.
    pub provider_grace: Duration,
}

/// `session.store`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// In the browser's cookie, sealed.
    Cookie,
    /// In this process.
    Memory,
    /// In Redis.
    Redis(RedisAddress),
}
