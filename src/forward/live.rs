//! Cuts off long bodies when their session ends. Short ones are never checked.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use crate::session::live::{Ends, Owner};

/// A body's tie to a session.
pub(super) enum Life {
    /// Its first frames: most bodies have no more.
    Short {
        ends: Ends,
        owner: Owner,
        frames: u8,
    },
    /// It lasts: the session's end is waited for.
    Long(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl Life {
    pub(super) fn new(ends: &Ends, owner: Owner) -> Self {
        Self::Short {
            ends: ends.clone(),
            owner,
            frames: 0,
        }
    }

    /// Looked at whenever the body was asked for a frame: whether the session has ended. Wakes the body's task when
    /// it does.
    pub(super) fn is_over(&mut self, context: &mut Context<'_>, had_to_wait: bool) -> bool {
        match self {
            // A body that never has to wait is long by its number of frames.
            Self::Short { frames, .. } if !had_to_wait && *frames < FIRST_FRAMES => {
                *frames += 1;
                false
            }
            Self::Short { ends, owner, .. } => {
                *self = Self::Long(Box::pin(ends.of(owner.clone())));
                self.is_over(context, had_to_wait)
            }
            Self::Long(end) => end.as_mut().poll(context) == Poll::Ready(()),
        }
    }
}

/// So many frames may come before a body that never has to wait is a long one.
const FIRST_FRAMES: u8 = 16;

/// A body of at most this size is sent at once, and not watched.
pub(super) const SHORT: u64 = 64 * 1024;
