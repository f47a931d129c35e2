//! Redeems each code only once (RFC 6749 §4.1.2), even if the browser reloads, opens the address twice, or leaves while the provider is
//! still busy.
//!
//! A redeemed login is remembered as long as its state is valid, and never dropped earlier: when there is no room for another one,
//! logins are refused for a while.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use subtle::ConstantTimeEq;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

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
pub(super) struct Redemptions {
    table: Mutex<Table>,
    capacity: usize,
}

#[derive(Default)]
struct Table {
    redemptions: HashMap<[u8; 16], Redemption>,
    /// When each may be forgotten, in that order.
    ends: VecDeque<(Instant, [u8; 16])>,
}

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

/// Why a code was not redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotRedeemed {
    /// Its login had ended already.
    Spent,
    /// There is no room to remember it.
    Full,
}

impl Redemptions {
    pub(super) fn new() -> Self {
        Self::bounded(CAPACITY)
    }

    fn bounded(capacity: usize) -> Self {
        Self {
            table: Mutex::default(),
            capacity,
        }
    }

    /// Whether there is no room for another one now.
    pub(super) fn is_full(&self) -> bool {
        self.table().redemptions.len() >= self.capacity
    }

    /// The outcome of `redeem`, which runs for the first to come with this login, and to its end even
    /// if nobody waits for it any more. Those who come with the same code share the outcome for a
    /// while.
    ///
    /// # Errors
    /// For whoever comes with another code, or later; and where there is no room, with nothing spent.
    pub(super) async fn once(
        &self,
        login: [u8; 16],
        code: &str,
        redeem: impl Future<Output = Outcome> + Send + 'static,
    ) -> Result<Outcome, NotRedeemed> {
        let code = sha256(code.as_bytes());
        let mut redemption = self.obtain(login, code, redeem)?;
        if !bool::from(redemption.code.ct_eq(&code)) {
            return Err(NotRedeemed::Spent);
        }
        let ended = |progress: &Progress| !matches!(progress, Progress::Running);
        match redemption.progress.wait_for(ended).await.as_deref() {
            Ok(Progress::Done(outcome)) => Ok(outcome.clone()),
            _ => Err(NotRedeemed::Spent),
        }
    }

    fn obtain(
        &self,
        login: [u8; 16],
        code: [u8; 32],
        redeem: impl Future<Output = Outcome> + Send + 'static,
    ) -> Result<Redemption, NotRedeemed> {
        let mut table = self.table();
        if let Some(redemption) = table.redemptions.get(&login) {
            return Ok(redemption.clone());
        }
        if table.redemptions.len() >= self.capacity {
            return Err(NotRedeemed::Full);
        }
        let redemption = Redemption {
            code,
            progress: run(redeem),
        };
        table.redemptions.insert(login, redemption.clone());
        table.ends.push_back((Instant::now() + REMEMBERED, login));
        Ok(redemption)
    }

    /// What is remembered now.
    fn table(&self) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while let Some((_, login)) = table.ends.pop_front_if(|(end, _)| *end <= now) {
            table.redemptions.remove(&login);
        }
        table
    }
}

/// Runs `redeem` apart from whoever asked for it, and forgets the outcome after a while.
fn run(redeem: impl Future<Output = Outcome> + Send + 'static) -> watch::Receiver<Progress> {
    let (sender, receiver) = watch::channel(Progress::Running);
    tokio::spawn(async move {
        let outcome = redeem.await;
        sender.send_replace(Progress::Done(outcome));
        // Ends early where the table has let go of it.
        let _ = timeout(KEPT, sender.closed()).await;
        sender.send_replace(Progress::Over);
    });
    receiver
}

/// Logins of ten minutes, three hundred bytes each: a hundred and fifty each second.
const CAPACITY: usize = 100_000;

/// How long a redeemed login is remembered: as long as its state is valid.
const REMEMBERED: Duration = LIFETIME.saturating_add(Duration::from_mins(1));

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
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
        assert!(once().await.is_ok());
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn another_code_of_the_same_login_gets_nothing() {
        let (redemptions, runs) = (Redemptions::new(), Arc::new(AtomicUsize::new(0)));
        assert!(
            redemptions
                .once([1; 16], "code", counted(&runs))
                .await
                .is_ok()
        );
        assert!(
            redemptions
                .once([1; 16], "other", counted(&runs))
                .await
                .is_err()
        );
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert!(
            redemptions
                .once([2; 16], "other", counted(&runs))
                .await
                .is_ok()
        );
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn who_goes_away_loses_nothing() {
        let (redemptions, runs) = (Redemptions::new(), Arc::new(AtomicUsize::new(0)));
        let once = || redemptions.once([1; 16], "code", counted(&runs));
        assert!(timeout(Duration::from_millis(10), once()).await.is_err());
        assert!(once().await.is_ok());
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    /// A code that nobody can say was not spent before is not spent.
    #[tokio::test(start_paused = true)]
    async fn what_was_redeemed_is_never_forgotten_for_want_of_room() {
        let (redemptions, runs) = (Redemptions::bounded(3), Arc::new(AtomicUsize::new(0)));
        let once = |login: u8| redemptions.once([login; 16], "code", counted(&runs));
        for login in 0..3 {
            assert!(!redemptions.is_full());
            assert!(once(login).await.is_ok());
        }
        assert!(redemptions.is_full());
        for _ in 0..20 {
            assert_eq!(once(9).await.err(), Some(NotRedeemed::Full));
        }
        for login in 0..3 {
            assert!(redemptions.table().redemptions.contains_key(&[login; 16]));
            assert!(once(login).await.is_ok());
        }
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        sleep(KEPT * 2).await;
        assert_eq!(once(1).await.err(), Some(NotRedeemed::Spent));
        sleep(REMEMBERED).await;
        assert!(!redemptions.is_full());
        assert!(!redemptions.table().redemptions.contains_key(&[1; 16]));
        assert!(once(9).await.is_ok());
        assert_eq!(runs.load(Ordering::SeqCst), 4);
    }
}
