//! Counts the requests of routes with a `limit`, for the reverse proxy and for forward-auth.
//!
//! Only requests that may pass are counted: a refusal costs the app nothing, and must not use up the user's count. If sessions are in Redis the
//! counts are there too, shared by the replicas. While Redis does not answer each replica counts alone: nobody is refused because the
//! counts are missing.

use std::{
    fmt::Write as _,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::time::timeout;

use crate::{
    observe::{Throttled, metrics::RateLimited},
    rate_limit::{self, Exceeded, Fields, Key, Per, Quota, RateLimit, Table, Taken},
    redis::RedisCounts,
    route::Route,
    session,
    visitor::Who,
};

/// The counts of all routes. They outlive a configuration, as far as a route and its limit stay as they are.
pub struct Limiter {
    /// Of whoever is known. Strangers cannot fill it.
    known: Table,
    /// Of addresses.
    addresses: Table,
    redis: Option<RedisCounts>,
    hits: RateLimited,
    alone: Throttled,
    began: Instant,
    /// Until when nobody waits for Redis, in milliseconds since then.
    rest: AtomicU64,
}

impl Limiter {
    /// Shared by `redis`, where replicas have one.
    pub fn new(redis: Option<RedisCounts>, hits: RateLimited) -> Self {
        Self {
            known: Table::default(),
            addresses: Table::default(),
            redis,
            hits,
            alone: Throttled::new(TELL),
            began: Instant::now(),
            rest: AtomicU64::new(0),
        }
    }

    /// Counts a request that may pass by `route`; what the answer says of that, where it is limited. Of several limits the
    /// first that is used up refuses; what stands before it has counted the request.
    ///
    /// # Errors
    /// Where a limit is used up.
    pub async fn take(
        &self,
        route: &Route,
        who: Who<'_>,
        address: Option<IpAddr>,
    ) -> Result<Fields, Exceeded> {
        let mut fields = Fields::default();
        for limit in &route.limits {
            let (key, range) = counted(route, limit, who, address);
            let taken = self.take_one(key, range, limit).await;
            fields.add(limit, &taken);
            if let Err(wait) = taken.outcome {
                self.hits.hit(limit.per);
                return Err(Exceeded {
                    rule: format!("{}.limit: {limit}", route.name),
                    wait,
                    fields,
                });
            }
        }
        Ok(fields)
    }

    async fn take_one(&self, key: Key, range: Option<u64>, limit: &RateLimit) -> Taken {
        if let Some(redis) = self.redis.as_ref().filter(|_| self.has_rested()) {
            match timeout(PATIENCE, redis.take(&key, limit.quota)).await {
                Ok(Ok(taken)) => return taken,
                failed => {
                    let end = self.elapsed() + REST;
                    self.rest.store(end, Ordering::Relaxed);
                    if let Some(held_back) = self.alone.turn(Instant::now()) {
                        let error = failed.ok().and_then(Result::err);
                        let error = error.map(|error| error.to_string());
                        tracing::warn!(
                            error,
                            held_back,
                            "Redis does not answer: each replica counts for limits alone"
                        );
                    }
                }
            }
        }
        let table = match range {
            Some(_) => &self.addresses,
            None => &self.known,
        };
        table.take(
            key,
            range.unwrap_or_else(|| key.bits()),
            limit.quota,
            Instant::now(),
        )
    }
}

impl Limiter {
    /// Counts that the app asks for the token of `session`, in this process alone.
    ///
    /// # Errors
    /// Where it has asked too often: how long until it may ask again.
    pub fn take_app_token(&self, session: &session::Id) -> Result<(), Duration> {
        let key = Key::of(&[b"app token", session]);
        let quota = Quota::per(APP_TOKENS, Duration::from_mins(1));
        let taken = self.known.take(key, key.bits(), quota, Instant::now());
        taken.outcome.map(drop)
    }

    /// Counts that somebody at `address` asks for such a token with a wrong secret, in this process alone.
    ///
    /// # Errors
    /// Where there were too many from there: how long until the next is looked at.
    pub fn take_app_guess(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        let one = rate_limit::subscriber(address);
        let key = Key::of(&[b"app guess", one.to_string().as_bytes()]);
        let quota = Quota::per(APP_GUESSES, Duration::from_mins(1));
        let range = rate_limit::range(one);
        let taken = self.addresses.take(key, range, quota, Instant::now());
        taken.outcome.map(drop)
    }
}

impl Limiter {
    /// Whether Redis may be asked again: one that stalls must not hold up each request.
    fn has_rested(&self) -> bool {
        self.elapsed() >= self.rest.load(Ordering::Relaxed)
    }

    /// In milliseconds.
    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Whose count it is; the range of an address where that is what is counted.
fn counted(
    route: &Route,
    limit: &RateLimit,
    who: Who<'_>,
    address: Option<IpAddr>,
) -> (Key, Option<u64>) {
    let mut matched = String::new();
    for method in &route.methods {
        _ = write!(matched, "{method} ");
    }
    if let Some(host) = &route.host {
        _ = write!(matched, "{host} ");
    }
    if let Some(path) = &route.path {
        matched.push_str(path.as_str());
    }
    let limit_text = limit.to_string();
    let of = |parts: &[&[u8]]| {
        let all = [&[matched.as_bytes(), limit_text.as_bytes()], parts].concat();
        Key::of(&all)
    };
    let identity = who.identity();
    match (limit.per, identity, who) {
        (Per::Route, ..) => (of(&[]), None),
        (Per::Token, _, Who::Session(session)) => (of(&[b"session", &session.id]), None),
        (Per::Token, Some(identity), Who::Verified(verified)) => {
            let client = verified.client.as_deref().unwrap_or_default();
            let name = verified.proof.name();
            let parts = [name, &*identity.provider, &*identity.subject, client];
            (of(&parts.map(str::as_bytes)), None)
        }
        (Per::User, Some(identity), _) => {
            let parts = ["user", &*identity.provider, &*identity.subject];
            (of(&parts.map(str::as_bytes)), None)
        }
        _ => {
            let one = rate_limit::subscriber(address);
            let key = of(&[b"address", one.to_string().as_bytes()]);
            (key, Some(rate_limit::range(one)))
        }
    }
}

/// How long a request waits for Redis to count it.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often in a minute an app may ask for the access token of one session. Beyond: 429.
const APP_TOKENS: u32 = 600;
/// How many wrong secrets of an app are looked at in a minute, from one address. Beyond: 429.
const APP_GUESSES: u32 = 20;
/// Milliseconds for which it is not asked again after it did not.
const REST: u64 = 1_000;
/// How often it is told that each replica counts alone.
const TELL: Duration = Duration::from_mins(5);
