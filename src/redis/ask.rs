//! Checks whether Redis can serve, before anybody needs it.

use std::time::Duration;

use redis::cmd;
use tokio::{
    net::lookup_host,
    time::{Instant, timeout},
};

use super::{
    address::RedisAddress,
    dial::{Connection, Dialer},
    failure::RedisFailure,
    risk::{Risk, risks},
};
use crate::{hex::hex, random};

/// A Redis that would serve.
pub struct Answer {
    /// How long it took.
    pub took: Duration,
    /// What in its settings makes it lose things.
    pub risks: Vec<Risk>,
}

/// Connects as the store does, waits for an answer, and does once what sessions need; what it writes is gone a second later.
///
/// # Errors
/// Who was asked (`HOST:PORT`), and why a session could not be kept there.
pub async fn ask(address: &RedisAddress) -> Result<Answer, (String, RedisFailure)> {
    let started = Instant::now();
    let dialer = Dialer::new(address.clone());
    let answer = async {
        let mut connection = dialer.connect().await?;
        connection.send(&cmd("PING")).await?;
        let took = started.elapsed();
        dialer.check_is_alone(&mut connection).await?;
        try_out(&dialer, &mut connection).await?;
        let risks = risks(&mut connection).await;
        Ok(Answer { took, risks })
    };
    match timeout(LONGEST, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(redis_failure)) => {
            let redis_failure = match redis_failure {
                RedisFailure::Lost if !resolves(address).await => RedisFailure::UnknownHost,
                redis_failure => redis_failure,
            };
            Err((dialer.address_of(&redis_failure).await, redis_failure))
        }
        Err(_) => {
            let redis_failure = RedisFailure::NoAnswer;
            Err((dialer.address_of(&redis_failure).await, redis_failure))
        }
    }
}

/// Whether any of the hosts has an address: of one that has none the library says as little as of a connection that broke.
async fn resolves(address: &RedisAddress) -> bool {
    for (host, port) in &address.nodes {
        let found = timeout(LONGEST, lookup_host((host.as_str(), *port))).await;
        if !matches!(found, Ok(Err(_))) {
            return true;
        }
    }
    false
}

/// One command of each kind, by itself: of those in a script Redis does not say that a user may not do them.
async fn try_out(dialer: &Dialer, connection: &mut Connection) -> Result<(), RedisFailure> {
    let key = format!("sidegate:{{{}}}:check", hex(&random::bytes::<16>()));
    for command in [
        cmd("SET").arg(&key).arg("").arg("PX").arg(1_000),
        cmd("GET").arg(&key),
        cmd("EVAL").arg("return 1").arg(1).arg(&key),
        cmd("DEL").arg(&key),
        &mut cmd("TIME"),
        cmd("PUBLISH").arg(CHANNEL).arg(""),
    ] {
        connection.send(command).await?;
    }
    dialer.listen().await?.subscribe(CHANNEL).await?;
    Ok(())
}

/// Where nobody listens for long.
const CHANNEL: &str = "sidegate:check";
/// All steps together: many sentinels may each be silent.
const LONGEST: Duration = Duration::from_secs(10);
