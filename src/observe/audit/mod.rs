//! The audit trail: logins, refusals, sign-outs and operators' actions. One JSON line for each event, in a file or on standard error.
//!
//! Events go to a writer thread over a bounded queue, so that a full disk does not delay requests. Lost events are counted and reported in the
//! log, and in the trail itself as soon as lines can be written again. If the trail is `required`, a login waits until its line is
//! written, and is refused otherwise.

mod entry;
mod uses;
mod writer;

use std::{
    hash::Hash,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::time::timeout;

pub use self::{
    entry::{Entry, Event},
    uses::Use,
};
use self::{
    uses::Uses,
    writer::{Message, Writer},
};

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where the trail goes.
    pub to: Destination,
    /// Whether nobody signs in while it cannot be written.
    pub required: bool,
}

/// Where the trail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard error, among the lines of the log.
    Stderr,
    /// A file, which is appended to.
    File(PathBuf),
}

/// The trail of this process. Cheap to clone; without settings it takes nothing.
#[derive(Clone, Default)]
pub struct Audit(Arc<Shared>);

#[derive(Default)]
struct Shared {
    writer: ArcSwapOption<Writer>,
    counts: [AtomicU64; Event::ALL.len()],
    /// Events that nobody will read.
    lost: AtomicU64,
    /// The credentials that were told of within a day.
    uses: Uses,
}

/// The trail is `required`, and an event could not be written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit trail cannot be written, and audit.required is set")]
pub struct NotWritten;

impl Audit {
    /// Writes by `settings` from here on; nothing without. What waits for an earlier destination is written there.
    pub fn adopt(&self, settings: Option<&AuditSettings>) {
        let current = self.0.writer.load();
        if current.as_ref().map(|writer| writer.settings()) == settings {
            return;
        }
        let writer = settings.and_then(|settings| match Writer::start(settings.clone()) {
            Ok(writer) => Some(Arc::new(writer)),
            Err(error) => {
                tracing::error!(%error, "the audit trail has no thread to be written by");
                None
            }
        });
        self.0.writer.store(writer);
    }

    /// Opens the file anew, once what waits is written: whoever rotates has given the old one another name.
    pub fn reopen(&self) {
        if let Some(writer) = &*self.0.writer.load() {
            writer.reopen();
        }
    }

    /// Records an event. Waits for nothing.
    pub fn record(&self, entry: &Entry<'_>) {
        self.count(entry.event);
        if let Some(writer) = &*self.0.writer.load()
            && !writer.send(Message::Line(entry.line()))
        {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that somebody gets in, before they do. Where the trail is `required` it waits until that is written, for
    /// [`PATIENCE`] at most.
    ///
    /// # Errors
    /// When the trail is required and is not written.
    pub async fn admit(&self, entry: &Entry<'_>) -> Result<(), NotWritten> {
        let writer = self.0.writer.load_full();
        let Some(writer) = writer.filter(|writer| writer.settings().required) else {
            self.record(entry);
            return Ok(());
        };
        self.count(entry.event);
        let (acknowledge, outcome) = tokio::sync::oneshot::channel();
        if writer.send(Message::Acknowledged(entry.line(), acknowledge))
            && let Ok(Ok(true)) = timeout(PATIENCE, outcome).await
        {
            return Ok(());
        }
        self.0.lost.fetch_add(1, Ordering::Relaxed);
        Err(NotWritten)
    }

    /// The use of a credential that these parts tell from others.
    pub fn use_of(&self, parts: &impl Hash) -> Use {
        self.0.uses.of(parts)
    }

    /// Whether a use was told of within the last day.
    pub fn knows(&self, one: Use) -> bool {
        self.0.uses.know(one)
    }

    /// Tells of a use no more for a day.
    pub fn remember(&self, one: Use) {
        self.0.uses.remember(one);
    }

    /// How often each event was recorded, whether or not a trail is written.
    pub fn counts(&self) -> impl Iterator<Item = (Event, u64)> + '_ {
        let count = |event: Event| self.0.counts[event as usize].load(Ordering::Relaxed);
        Event::ALL.iter().map(move |event| (*event, count(*event)))
    }

    /// Events that nobody will read: too many waited, or they could not be written.
    pub fn lost(&self) -> u64 {
        let writer = self.0.writer.load();
        let unwritten = writer.as_ref().map_or(0, |writer| writer.unwritten());
        self.0.lost.load(Ordering::Relaxed) + unwritten
    }

    /// Whether what was written last has arrived; none where there is no trail.
    pub fn is_written(&self) -> Option<bool> {
        let writer = self.0.writer.load();
        writer.as_ref().map(|writer| !writer.is_failing())
    }

    /// Writes what waits; gives up after a moment.
    pub fn finish(&self) {
        if let Some(writer) = self.0.writer.swap(None) {
            writer.finish(PATIENCE);
        }
    }

    fn count(&self, event: Event) {
        self.0.counts[event as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// How long a login waits for its line where the trail is required, and the end for what still waits.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
