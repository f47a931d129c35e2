//! A code is redeemed once, ever (RFC 6749 §4.1.2), whatever the browser does meanwhile: it may reload,
//! open the address twice, or go away while the provider is still thinking.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use subtle::ConstantTimeEq;
use tokio::{sync::watch, time::timeout};

use super::{
    error::LoginError,
    transaction::{LIFETIME, sha256},
};
use crate::{session::Session, text::Text};

/// What a login came to: the same for a reload, or a second tab with the same callback.
pub struct SignedIn {
    /// New, not yet in any cookie.
    pub session: Session,
    /// Seals the session's record where there is a store, so that each cookie that this login gives opens it.
    pub record_key: [u8; 16],
    /// For `id_token_hint` at logout.
    pub id_token: Option<Text>,
}

type Outcome = Result<Arc<SignedIn>, LoginError>;

/// The codes that were redeemed lately, by their logins.
pub(super) struct Redemptions(Cache<[u8; 16], Redemption>);

#[derive(Clone)]
struct Redemption {
    code: [u8; 32],
    progress: watch::Receiver<Progress>,
}

enum Progress {
    Running,
    Done(Outcome),
    /// The outcome is forgotten; that there was one is not.
    Over,
}

impl Redemptions {
    pub(super) fn new() -> Self {
        Self(
            Cache::builder()
                .max_capacity(CAPACITY)
                // As long as the login's state is good for anything.
                .time_to_live(LIFETIME + Duration::from_mins(1))
                .build(),
        )
    }

    /// The outcome of `redeem`, which runs for the first to come with this login, and to its end even
    /// if nobody waits for it any more. Those who come with the same code share the outcome for a
    /// while; whoever comes with another code, or later, gets none.
    pub(super) async fn once(
        &self,
        login: [u8; 16],
        code: &str,
        redeem: impl Future<Output = Outcome> + Send + 'static,
    ) -> Option<Outcome> {
        let code = sha256(code.as_bytes());
        let start = async {
            Redemption {
                code,
                progress: run(redeem),
            }
        };
        let entry = self.0.entry(login).or_insert_with(start).await;
        let mut redemption = entry.into_value();
        if !bool::from(redemption.code.ct_eq(&code)) {
            return None;
        }
        let ended = |progress: &Progress| !matches!(progress, Progress::Running);
        match &*redemption.progress.wait_for(ended).await.ok()? {
            Progress::Done(outcome) => Some(outcome.clone()),
            _ => None,
        }
    }
}

/// Runs `redeem` apart from whoever asked for it, and forgets the outcome after a while.
fn run(redeem: impl Future<Output = Outcome> + Send + 'static) -> watch::Receiver<Progress> {
    let (sender, receiver) = watch::channel(Progress::Running);
    tokio::spawn(async move {
        let outcome = redeem.await;
        sender.send_replace(Progress::Done(outcome));
        // Ends early where the cache has let go of it.
        let _ = timeout(KEPT, sender.closed()).await;
        sender.send_replace(Progress::Over);
    });
    receiver
}

/// Logins of ten minutes; a bound, not a target.
const CAPACITY: u64 = 10_000;

/// How long a reload gets the same answer.
const KEPT: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::sleep;

    use super::*;

    fn counted(runs: &Arc<AtomicUsize>) -> impl Future<Output = Outcome> + Send + 'static {
        let runs = runs.clone();
        async move {
            runs.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(50)).await;
            Err(LoginError::State)
        }
    }

    #[tokio::test]
    async fn runs_once_for_all_who_come_with_the_same_code() {
        let (redemptions, runs) = (Redemptions::new(), Arc::new(AtomicUsize::new(0)));
        let once = || redemptions.once([1; 16], "code", counted(&runs));
        let (one, two, three) = tokio::join!(once(), once(), once());
        assert!(one.is_some() && two.is_some() && three.is_some());
        assert!(once().await.is_some());
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn another_code_of_the_same_login_gets_nothing() {
        let (redemptions, runs) = (Redemptions::new(), Arc::new(AtomicUsize::new(0)));
        assert!(
            redemptions
                .once([1; 16], "code", counted(&runs))
                .await
                .is_some()
        );
        assert!(
            redemptions
                .once([1; 16], "other", counted(&runs))
                .await
                .is_none()
        );
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert!(
            redemptions
                .once([2; 16], "other", counted(&runs))
                .await
                .is_some()
        );
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn who_goes_away_loses_nothing() {
        let (redemptions, runs) = (Redemptions::new(), Arc::new(AtomicUsize::new(0)));
        let once = || redemptions.once([1; 16], "code", counted(&runs));
        assert!(timeout(Duration::from_millis(10), once()).await.is_err());
        assert!(once().await.is_some());
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }
}
