//! The streams of one HTTP/2 connection: how many there are, what their answers hold, and which of them are stuck.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::send_budget::{Progress, SendBudget, StreamBudget};
use crate::{
    body_error::BodyError,
    limits::Limits,
    observe::metrics::{Limit, LimitHits},
    response::Recorded,
};

/// The streams of one connection.
pub(super) struct Streams {
    pub(super) budget: Arc<SendBudget>,
    /// As many as there may be at once.
    most: u32,
    hits: LimitHits,
    /// Under way now.
    pub(super) open: AtomicU32,
    /// Ever begun.
    pub(super) begun: AtomicU32,
    /// Reset by the client, in the window that runs.
    pub(super) resets: AtomicU32,
    /// The limit that has closed the connection.
    given_up: OnceLock<Limit>,
    answers: Mutex<Vec<StreamAnswer>>,
}

/// An answer under way, as the connection's clock sees it.
struct StreamAnswer {
    body: Weak<Mutex<Option<Recorded>>>,
    progress: Arc<Progress>,
    /// What had left when it was last looked.
    sent: usize,
    stalled_since: Option<Instant>,
    is_taken: bool,
}

/// What was found where streams are stuck.
#[derive(Default)]
pub(super) struct Stalled {
    /// Those whose bodies were taken away just now.
    pub(super) taken: u32,
    /// Those that wait for nothing but their client, and have for a while.
    pub(super) open: u32,
}

/// One stream, from its request to the end of its answer.
pub(super) struct StreamPlace {
    streams: Arc<Streams>,
    is_complete: AtomicBool,
}

impl Streams {
    pub(super) fn new(limits: &Limits, hits: &LimitHits) -> Arc<Self> {
        Arc::new(Self {
            budget: SendBudget::new(limits.http2_buffer as usize, hits.clone()),
            most: limits.http2_streams,
            hits: hits.clone(),
            open: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            resets: AtomicU32::new(0),
            given_up: OnceLock::new(),
            answers: Mutex::default(),
        })
    }

    pub(super) fn begin(self: &Arc<Self>) -> StreamPlace {
        // Its client waits before it opens another one, or h2 refuses that.
        if self.open.fetch_add(1, Ordering::Relaxed) + 1 == self.most {
            self.hits.hit(Limit::Http2Streams);
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        StreamPlace {
            streams: Arc::clone(self),
            is_complete: AtomicBool::new(false),
        }
    }

    /// A tunnel that goes on when its answer has ended, and with it the stream.
    pub(super) fn keep_open(self: &Arc<Self>) -> TunnelPlace {
        self.open.fetch_add(1, Ordering::Relaxed);
        TunnelPlace(Arc::clone(self))
    }

    /// The connection is closed by `limit`, and with it all that is under way.
    pub(super) fn give_up(&self, limit: Limit) {
        let _ = self.given_up.set(limit);
    }

    fn answers(&self) -> MutexGuard<'_, Vec<StreamAnswer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes away the bodies of streams whose client has taken nothing for `limit`, and with them their connections to
    /// the upstream. The streams end when their client asks for more. From a quarter of it on they are stalled.
    pub(super) fn take_stalled(&self, now: Instant, limit: Duration) -> Stalled {
        let mut stalled = Stalled::default();
        self.answers().retain_mut(|answer| {
            let Some(body) = answer.body.upgrade() else {
                return false;
            };
            if answer.is_taken {
                stalled.open += 1;
                return true;
            }
            let sent = answer.progress.sent();
            if !answer.progress.has_unsent() || sent != answer.sent {
                (answer.sent, answer.stalled_since) = (sent, None);
                return true;
            }
            let since = *answer.stalled_since.get_or_insert(now);
            if now - since < limit {
                stalled.open += u32::from(now - since >= limit / 4);
                return true;
            }
            let taken = body.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(mut taken) = taken {
                taken.break_off(&BodyError::Stalled);
                stalled.taken += 1;
            }
            answer.is_taken = true;
            stalled.open += 1;
            true
        });
        stalled
    }
}

/// One stream that has become a tunnel.
pub(super) struct TunnelPlace(Arc<Streams>);

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl StreamPlace {
    /// The answer has begun. Its share of what the connection may hold.
    pub(super) fn answer(&mut self, body: &Arc<Mutex<Option<Recorded>>>) -> StreamBudget {
        let budget = self.streams.budget.stream();
        self.streams.answers().push(StreamAnswer {
            body: Arc::downgrade(body),
            progress: Arc::clone(budget.progress()),
            sent: 0,
            stalled_since: None,
            is_taken: false,
        });
        budget
    }

    /// Why an answer under way is let go of, where that is the gate's doing.
    pub(super) fn given_up(&self) -> Option<BodyError> {
        match self.streams.given_up.get()? {
            Limit::WriteTimeout => Some(BodyError::Stalled),
            Limit::Http2Resets => Some(BodyError::TooManyResets),
            _ => None,
        }
    }

    /// The answer is whole: ending now is no reset.
    pub(super) fn complete(&self) {
        self.is_complete.store(true, Ordering::Relaxed);
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.streams.open.fetch_sub(1, Ordering::Relaxed);
        if !self.is_complete.load(Ordering::Relaxed) {
            self.streams.resets.fetch_add(1, Ordering::Relaxed);
        }
    }
}
