//! Refreshes that run, or ran lately: one for each session, whoever asks for it.
//!
//! The results are bounded in bytes. When one is dropped, the gate still remembers that its refresh token may be spent. A session with that
//! token is not refreshed again, because the provider would take a second use for theft.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{
    Expiry,
    notification::RemovalCause,
    ops::compute::{CompResult, Op},
    policy::EvictionPolicy,
    sync::Cache,
};
use tokio::{sync::watch, time::timeout};

use crate::{
    clock::Timestamp,
    session::{
        Id, Session,
        place::{Place, SUCCESSOR_KEPT},
    },
};

/// The latest refresh of each session.
pub(super) struct Flights {
    latest: Cache<Id, Flight>,
    /// Of sessions whose refreshes were forgotten for want of room: the generation whose refresh token may be spent.
    spent: Cache<Id, u64>,
}

/// One refresh of one generation of a session, and how often it was tried.
#[derive(Clone)]
pub(super) struct Flight {
    /// What is refreshed. Whoever brings an older generation goes on with this one.
    pub(super) session: Arc<Session>,
    /// Counts from 1.
    pub(super) attempt: u32,
    pub(super) begun: Instant,
    /// How long it is remembered.
    pub(super) kept: Duration,
    pub(super) progress: watch::Receiver<Progress>,
}

#[derive(Clone, Debug)]
pub(super) enum Progress {
    Running,
    Refreshed(Arc<Session>),
    Ended,
    /// Not now; again at the earliest then. The refresh token was not spent.
    Failed(Timestamp),
    /// The refresh token was sent, and whether it is spent is not known. Again at the earliest then.
    Unanswered(Timestamp),
}

/// What is known of a session's refresh.
pub(super) enum Known {
    /// It runs, or ran.
    Flight(Flight),
    /// It ran, and its outcome is forgotten.
    Spent,
}

impl Flights {
    pub(super) fn new(bytes: u64) -> Self {
        let spent = Cache::builder()
            .max_capacity(SPENT)
            .time_to_live(SUCCESSOR_KEPT)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let forgotten = spent.clone();
        let latest = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, flight: &Flight| flight.weight())
            .expire_after(Kept)
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |id: Arc<Id>, flight: Flight, cause| {
                if cause == RemovalCause::Size && flight.may_have_spent() {
                    forgotten.insert(*id, flight.session.generation);
                }
            })
            .build();
        Self { latest, spent }
    }

    /// The latest refresh of this session, as far as it is known.
    pub(super) fn get(&self, id: &Id) -> Option<Flight> {
        self.latest.get(id)
    }

    /// The refresh of this session: the one that runs or ran, else the one that `start` begins, which is told how often
    /// this generation was tried before.
    pub(super) fn obtain(
        &self,
        session: &Session,
        place: &Place,
        now: Timestamp,
        start: impl FnOnce(u32) -> Flight,
    ) -> Known {
        if let Some(flight) = self.latest.get(&session.id)
            && flight.answers(session, now)
        {
            return Known::Flight(flight);
        }
        // A store knows better: what it has is looked at before anything is sent.
        if matches!(place, Place::Cookie) && self.is_spent(session) {
            return Known::Spent;
        }
        let outcome = self.latest.entry(session.id).and_compute_with(|entry| {
            let earlier = entry.map(moka::Entry::into_value);
            match earlier {
                Some(flight) if flight.answers(session, now) => Op::Nop,
                Some(flight) if flight.session.generation == session.generation => {
                    Op::Put(start(flight.attempt))
                }
                _ => Op::Put(start(0)),
            }
        });
        match outcome {
            CompResult::Unchanged(entry)
            | CompResult::Inserted(entry)
            | CompResult::ReplacedWith(entry) => Known::Flight(entry.into_value()),
            // Nothing is ever removed by hand.
            CompResult::StillNone(_) | CompResult::Removed(_) => Known::Spent,
        }
    }

    fn is_spent(&self, session: &Session) -> bool {
        let spent = self.spent.get(&session.id);
        spent.is_some_and(|generation| session.generation <= generation)
    }

    #[cfg(test)]
    pub(super) fn settle_down(&self) {
        self.latest.run_pending_tasks();
    }
}

impl Flight {
    /// Whether it has something to say of `session`: it is of a later generation, or of the same and not to be tried
    /// again yet.
    fn answers(&self, session: &Session, now: Timestamp) -> bool {
        self.session.generation > session.generation
            || (self.session.generation == session.generation && !self.may_try_again(now))
    }

    fn may_try_again(&self, now: Timestamp) -> bool {
        match &*self.progress.borrow() {
            Progress::Failed(retry_at) | Progress::Unanswered(retry_at) => now >= *retry_at,
            // Its task is gone without a word: it cannot be waited for.
            Progress::Running => self.progress.has_changed().is_err(),
            Progress::Refreshed(_) | Progress::Ended => false,
        }
    }

    fn may_have_spent(&self) -> bool {
        match &*self.progress.borrow() {
            Progress::Running | Progress::Refreshed(_) | Progress::Unanswered(_) => true,
            Progress::Ended | Progress::Failed(_) => false,
        }
    }

    /// What became of it, waited for at most until `deadline`.
    pub(super) async fn outcome(mut self, deadline: Instant) -> Progress {
        let has_ended = |progress: &Progress| !matches!(progress, Progress::Running);
        let patience = deadline.saturating_duration_since(Instant::now());
        match timeout(patience, self.progress.wait_for(has_ended)).await {
            Ok(Ok(progress)) => progress.clone(),
            _ => Progress::Running,
        }
    }

    /// The bytes that it holds, about: what is refreshed and what it is refreshed to.
    fn weight(&self) -> u32 {
        let session = &*self.session;
        let (identity, tokens) = (&session.identity, &session.tokens);
        let pairs = identity.memberships.iter().chain(&identity.claims);
        let gaps = identity.notes.gaps.iter();
        let optional = [
            &identity.login,
            &identity.email,
            &identity.name,
            &identity.picture,
            &tokens.access,
            &tokens.id,
            &tokens.refresh,
            &session.provider_session,
        ];
        let texts = (identity.groups.iter().chain(optional.into_iter().flatten()))
            .chain(pairs.flat_map(|(key, value)| [key, value]))
            .chain(gaps.flat_map(|gap| [&gap.list, &gap.claim]))
            .map(|text| text.len() + TEXT);
        let bytes = size_of::<Session>() + texts.sum::<usize>() + session.further.len();
        u32::try_from(bytes * 2 + ENTRY).unwrap_or(u32::MAX)
    }
}

/// A flight is remembered for as long as somebody may ask for its outcome: those who hold the old cookie, or,
/// where the record is what counts, those who read it just before.
struct Kept;

impl Expiry<Id, Flight> for Kept {
    fn expire_after_create(&self, _: &Id, flight: &Flight, _: Instant) -> Option<Duration> {
        Some(flight.kept)
    }

    /// One that is tried again, or follows, is a new one.
    fn expire_after_update(
        &self,
        _: &Id,
        flight: &Flight,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(flight.kept)
    }
}

/// What a text costs beside its bytes.
const TEXT: usize = 32;
/// What an entry costs beside its sessions.
const ENTRY: usize = 512;
/// Sessions of which only one thing is remembered: that their refresh token may be spent. A hundred bytes each.
const SPENT: u64 = 200_000;
