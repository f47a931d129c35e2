//! The thread that writes the trail.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    super::{Throttled, log},
    AuditSettings, Destination, Entry, Event,
};

/// What the writer is sent.
pub(super) enum Message {
    /// A line.
    Line(Vec<u8>),
    /// A line, and whoever waits to hear whether it was written.
    Acknowledged(Vec<u8>, oneshot::Sender<bool>),
    /// Opens the file anew.
    Reopen,
    /// Writes what waits, says so, and ends.
    Finish(SyncSender<()>),
}

/// A thread and its queue. When the last handle is dropped the thread writes what waits, and ends.
pub(super) struct Writer {
    settings: AuditSettings,
    queue: SyncSender<Message>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    failing: AtomicBool,
    /// Lines that were taken and could not be written.
    unwritten: AtomicU64,
    /// Lines that were not taken, since the trail was told of it last.
    refused: AtomicU64,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has none to give.
    pub(super) fn start(settings: AuditSettings) -> io::Result<Self> {
        let (queue, messages) = sync_channel(WAITING);
        let state = Arc::<State>::default();
        let mut trail = Trail {
            to: settings.to.clone(),
            file: None,
            is_torn: false,
            missing: 0,
            state: Arc::clone(&state),
        };
        // Told at the start, and not by the first event that is lost.
        trail.open();
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || trail.run(&messages))?;
        Ok(Self {
            settings,
            queue,
            state,
        })
    }

    pub(super) fn settings(&self) -> &AuditSettings {
        &self.settings
    }

    /// Hands a message over; whether there was room for it.
    pub(super) fn send(&self, message: Message) -> bool {
        let is_taken = self.queue.try_send(message).is_ok();
        if !is_taken {
            self.state.refused.fetch_add(1, Ordering::Relaxed);
            if let Some(held_back) = OVERFLOW.turn(Instant::now()) {
                tracing::error!(
                    held_back,
                    "audit events are lost: the trail is not written as fast as they come"
                );
            }
        }
        is_taken
    }

    pub(super) fn reopen(&self) {
        // Where it is full the next line that cannot be written opens the file too.
        let _ = self.queue.try_send(Message::Reopen);
    }

    pub(super) fn is_failing(&self) -> bool {
        self.state.failing.load(Ordering::Relaxed)
    }

    pub(super) fn unwritten(&self) -> u64 {
        self.state.unwritten.load(Ordering::Relaxed)
    }

    pub(super) fn finish(&self, patience: Duration) {
        let (done, finished) = sync_channel(1);
        if self.queue.try_send(Message::Finish(done)).is_ok() {
            let _ = finished.recv_timeout(patience);
        }
    }
}

/// The destination, as its thread sees it.
struct Trail {
    to: Destination,
    file: Option<File>,
    /// The last write broke off within a line.
    is_torn: bool,
    /// Lines that did not arrive, since the trail was told of it last.
    missing: u64,
    state: Arc<State>,
}

impl Trail {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let message = match messages.recv_timeout(RETRY) {
                Ok(message) => message,
                // A disk that has room again is noticed without an event.
                Err(RecvTimeoutError::Timeout) => {
                    if self.missing > 0 {
                        self.tell_missing();
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match message {
                Message::Line(line) => {
                    self.write_line(&line);
                }
                Message::Acknowledged(line, acknowledge) => {
                    let is_written = self.write_line(&line);
                    // Whoever asked may have gone.
                    let _ = acknowledge.send(is_written);
                }
                Message::Reopen => {
                    (self.file, self.is_torn) = (None, false);
                    self.open();
                }
                Message::Finish(done) => {
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    /// Writes a line, after the word that others before it are missing.
    fn write_line(&mut self, line: &[u8]) -> bool {
        let refused = self.state.refused.swap(0, Ordering::Relaxed);
        self.missing += refused;
        let is_written = (self.missing == 0 || self.tell_missing()) && self.write(line);
        if !is_written {
            self.missing += 1;
            self.state.unwritten.fetch_add(1, Ordering::Relaxed);
        }
        is_written
    }

    fn tell_missing(&mut self) -> bool {
        let lost = Entry {
            count: Some(self.missing),
            ..Entry::of(Event::Lost)
        };
        let is_written = self.write(&lost.line());
        if is_written {
            self.missing = 0;
        }
        is_written
    }

    /// Writes whole lines; whether they arrived.
    fn write(&mut self, line: &[u8]) -> bool {
        if self.to == Destination::Stderr {
            log::audit(line);
            return true;
        }
        if self.file.is_none() {
            self.open();
        }
        let Some(file) = &mut self.file else {
            return false;
        };
        // What is left of a torn line must not take the next one with it.
        let torn = if self.is_torn {
            file.write_all(b"\n")
        } else {
            Ok(())
        };
        let written = torn.and_then(|()| {
            self.is_torn = true;
            file.write_all(line)
        });
        match written {
            Ok(()) => {
                self.is_torn = false;
                self.note_success();
                true
            }
            Err(error) => {
                self.file = None;
                self.note_failure(&error);
                false
            }
        }
    }

    fn open(&mut self) {
        let Destination::File(path) = &self.to else {
            return;
        };
        match append(path) {
            Ok(file) => {
                self.file = Some(file);
                self.note_success();
            }
            Err(error) => self.note_failure(&error),
        }
    }

    fn note_success(&self) {
        if self.state.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit trail is written again");
        }
    }

    fn note_failure(&self, error: &io::Error) {
        let was_failing = self.state.failing.swap(true, Ordering::Relaxed);
        let turn = FAILURE.turn(Instant::now());
        if !was_failing || turn.is_some() {
            tracing::error!(
                %error,
                to = ?self.to,
                "the audit trail cannot be written: see that its folder is there, that this user may write in it, and \
                 that the disk is not full"
            );
        }
    }
}

/// Its group may read it, as those who ship logs do; nobody else.
fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640).open(path)
}

static OVERFLOW: Throttled = Throttled::new(TELL);
static FAILURE: Throttled = Throttled::new(TELL);

/// Events that wait to be written: some 2 MB, 10 MB where each has the longest path and detail.
const WAITING: usize = 4_096;
/// How often a trail is tried that cannot be written and has nothing new.
const RETRY: Duration = Duration::from_secs(5);
/// How often the log tells of it.
const TELL: Duration = Duration::from_mins(1);
