//! Revokes tokens at the provider after a session was signed out here (RFC 7009).
//!
//! This is a courtesy in the background. The session has already ended, and nobody waits. A failed revocation is repeated a few times. After that
//! the tokens are left to expire.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Session;
use crate::{
    provider::{Call, Provider, ProviderError, Providers, http::HttpError},
    random,
    tokens::Tokens,
};

/// Has tokens taken back.
pub struct TokenRevoker {
    providers: ArcSwap<Providers>,
    runtime: Handle,
    /// How many may still wait.
    room: Arc<Semaphore>,
    /// How many may wait that could not be read: apart, for they may wait for long.
    unread_room: Arc<Semaphore>,
    /// How many may still call at once.
    lines: Arc<Semaphore>,
    running: TaskTracker,
    stop: CancellationToken,
}

impl TokenRevoker {
    /// Calls are made on `runtime`, which outlives the workers.
    pub fn new(providers: Arc<Providers>, runtime: Handle) -> Self {
        Self {
            providers: ArcSwap::new(providers),
            runtime,
            room: Arc::new(Semaphore::new(ROOM)),
            unread_room: Arc::new(Semaphore::new(UNREAD_ROOM)),
            lines: Arc::new(Semaphore::new(LINES)),
            running: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Asks `providers` from here on.
    pub fn adopt(&self, providers: Arc<Providers>) {
        self.providers.store(providers);
    }

    /// Has the tokens of a session that was signed out taken back, soon.
    pub(super) fn to(&self, session: &Session) {
        let tokens = &session.tokens;
        let name = &*session.identity.provider;
        let providers = self.providers.load();
        let provider = providers.find(name).filter(|provider| {
            let profile = provider.profile();
            // Tokens go to nobody but who gave them.
            profile.revoke && profile.fingerprint == session.provider_fingerprint
        });
        let Some(provider) = provider else {
            return;
        };
        if tokens.refresh.is_none() && tokens.access.is_none() {
            return;
        }
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::warn!(provider = name, "too many tokens wait to be revoked");
            return;
        };
        let (provider, tokens) = (Arc::clone(provider), tokens.clone());
        let (lines, stop) = (Arc::clone(&self.lines), self.stop.clone());
        self.running.spawn_on(
            async move {
                revoke(provider.as_ref(), &tokens, &lines, &stop).await;
                drop(place);
            },
            &self.runtime,
        );
    }

    /// The same for a session that could not be read when it was signed out: `read` tells whose it was, if ever.
    pub(super) fn revoke_when_loaded(
        self: &Arc<Self>,
        read: impl Future<Output = Option<Arc<Session>>> + Send + 'static,
    ) {
        let Ok(place) = Arc::clone(&self.unread_room).try_acquire_owned() else {
            tracing::warn!(
                "too many signed-out sessions wait to be read: their tokens are not revoked"
            );
            return;
        };
        let token_revoker = Arc::clone(self);
        self.running.spawn_on(
            async move {
                let session = token_revoker.stop.run_until_cancelled(read).await.flatten();
                drop(place);
                if let Some(session) = session {
                    token_revoker.to(&session);
                }
            },
            &self.runtime,
        );
    }

    /// Waits until what runs has ended. Pauses are cut short.
    pub async fn finish(&self) {
        self.stop.cancel();
        self.running.close();
        self.running.wait().await;
    }
}

async fn revoke(
    provider: &dyn Provider,
    tokens: &Tokens,
    lines: &Semaphore,
    stop: &CancellationToken,
) {
    let name = &provider.profile().name;
    for attempt in 1..=ATTEMPTS {
        let outcome = {
            let _line = lines.acquire().await;
            timeout(LONGEST_CALL, provider.revoke(tokens)).await
        };
        let error = match outcome.unwrap_or_else(|_| Err(timed_out())) {
            Ok(()) => return,
            Err(error) => error,
        };
        if attempt == ATTEMPTS || !error.is_outage() {
            tracing::warn!(provider = name, %error, attempt, remedy = error.remedy(), "a token cannot be revoked");
            return;
        }
        tracing::debug!(provider = name, %error, attempt, "a token cannot be revoked now");
        let [jitter] = random::bytes();
        tokio::select! {
            () = sleep(pause(attempt, jitter)) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// A second, then four, and up to half as much again: those who failed together do not come back together.
fn pause(attempt: u32, jitter: u8) -> Duration {
    let pause = Duration::from_secs(1) * 4_u32.pow(attempt - 1);
    pause + pause * u32::from(jitter) / 510
}

fn timed_out() -> ProviderError {
    ProviderError::Http {
        call: Call::Revocation,
        error: HttpError::Timeout,
    }
}

/// Sessions whose tokens may wait: a few kilobytes each.
const ROOM: usize = 1_000;
/// Sessions that may wait to be read: three kilobytes each, as measured.
const UNREAD_ROOM: usize = 10_000;
/// Calls at the same time.
const LINES: usize = 16;
/// How often the revocation of a token is tried.
const ATTEMPTS: u32 = 3;
/// How long a call may take.
const LONGEST_CALL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow() {
        assert_eq!(pause(1, 0), Duration::from_secs(1));
        assert_eq!(pause(2, 255), Duration::from_secs(6));
    }
}
