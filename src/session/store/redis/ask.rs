//! Whether Redis would serve, asked before anybody needs it.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{dial::Dialer, trouble::Trouble};
use crate::config::RedisAddress;

/// Connects as the store does, and waits for an answer: how long that took. Nothing is written.
///
/// # Errors
/// Who was asked (`HOST:PORT`), and why a session could not be kept there.
pub async fn ask(address: &RedisAddress) -> Result<Duration, (String, Trouble)> {
    let started = Instant::now();
    let dialer = Dialer::new(address.clone());
    let asked = async {
        let mut connection = dialer.connect().await?;
        connection.send(&redis::cmd("PING")).await?;
        let took = started.elapsed();
        dialer.check_is_alone(&mut connection).await?;
        Ok(took)
    };
    match timeout(LONGEST, asked).await {
        Ok(Ok(took)) => Ok(took),
        Ok(Err(trouble)) => Err((dialer.asked(&trouble).await, trouble)),
        Err(_) => {
            let trouble = Trouble::NoAnswer;
            Err((dialer.asked(&trouble).await, trouble))
        }
    }
}

/// Beside what each step may take: many sentinels may each be silent.
const LONGEST: Duration = Duration::from_secs(10);
