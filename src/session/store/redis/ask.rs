//! Whether Redis would serve, asked before anybody needs it.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{dial::Dialer, trouble::Trouble};
use crate::config::RedisAddress;

/// Connects as the store does, and waits for an answer: how long that took. Nothing is written.
///
/// # Errors
/// Why a session could not be kept there.
pub async fn ask(address: &RedisAddress) -> Result<Duration, Trouble> {
    let started = Instant::now();
    let asked = async {
        let mut connection = Dialer::new(address.clone()).connect().await?;
        connection.send(&redis::cmd("PING")).await?;
        Ok(started.elapsed())
    };
    timeout(LONGEST, asked)
        .await
        .unwrap_or(Err(Trouble::NoAnswer))
}

/// Beside what each step may take: many sentinels may each be silent.
const LONGEST: Duration = Duration::from_secs(10);
