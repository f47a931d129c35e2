//! Detects an app that stops in the middle of its answer. Pure, except for its timer.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use crate::timer::Timer;

/// How long an app may be silent within an answer.
pub(super) struct Silence {
    timer: Timer,
    patience: Duration,
    /// How much of the request had gone by when the wait began.
    uploaded: u64,
}

impl Silence {
    pub(super) fn new(timer: Timer, patience: Duration) -> Self {
        Self {
            timer,
            patience,
            uploaded: 0,
        }
    }

    /// The app is waited for: ready when it has been silent for too long. A request that still moves is no silence:
    /// `uploaded` counts how far it has gone.
    pub(super) fn poll(&mut self, uploaded: u64, context: &mut Context<'_>) -> Poll<()> {
        if !self.timer.is_set() || uploaded != self.uploaded {
            self.uploaded = uploaded;
            self.timer.set(self.patience);
        }
        self.timer.poll_elapsed(context)
    }

    /// The app has gone on.
    pub(super) fn clear(&mut self) {
        self.timer.clear();
    }

    /// Nothing is waited for any more: gives the timer back.
    pub(super) fn end(&mut self) {
        self.timer = Timer::default();
    }
}
