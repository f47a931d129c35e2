//! Whether Redis would serve, asked before anybody needs it.

use std::time::Duration;

use redis::cmd;
use tokio::time::{Instant, timeout};

use super::{
    dial::{Connection, Dialer},
    eviction,
    layout::Name,
    trouble::Trouble,
};
use crate::{config::RedisAddress, random};

/// A Redis that would serve.
pub struct Answer {
    /// How long it took.
    pub took: Duration,
    /// By which policy it throws sessions away when it is full, if it does.
    pub eviction: Option<String>,
}

/// Connects as the store does, waits for an answer, and does once what sessions need; what it writes is gone a second later.
///
/// # Errors
/// Who was asked (`HOST:PORT`), and why a session could not be kept there.
pub async fn ask(address: &RedisAddress) -> Result<Answer, (String, Trouble)> {
    let started = Instant::now();
    let dialer = Dialer::new(address.clone());
    let asked = async {
        let mut connection = dialer.connect().await?;
        connection.send(&cmd("PING")).await?;
        let took = started.elapsed();
        dialer.check_is_alone(&mut connection).await?;
        try_out(&dialer, &mut connection).await?;
        let eviction = eviction::policy(&mut connection).await;
        Ok(Answer { took, eviction })
    };
    match timeout(LONGEST, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(trouble)) => Err((dialer.asked(&trouble).await, trouble)),
        Err(_) => {
            let trouble = Trouble::NoAnswer;
            Err((dialer.asked(&trouble).await, trouble))
        }
    }
}

/// One command of each kind, by itself: of those in a script Redis does not say that a user may not do them.
async fn try_out(dialer: &Dialer, connection: &mut Connection) -> Result<(), Trouble> {
    let key = Name::of(&random::bytes()).session_key();
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
/// Beside what each step may take: many sentinels may each be silent.
const LONGEST: Duration = Duration::from_secs(10);
