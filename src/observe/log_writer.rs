//! The only writer of log lines.
//!
//! Each thread adds whole lines to a queue of its own, which costs a copy and a lock without contention. The writer thread collects the
//! lines and writes them together: one system call for a hundred lines. When nothing is logged, no thread wakes up.
//!
//! A slow reader never delays a request, and waiting lines never grow without bound: lines are dropped and counted, and the count is logged
//! as soon as lines can be written again.

use std::{
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use memchr::memchr_iter;

/// What is worth a write of its own.
const BATCH: usize = 32 * 1024;
/// Bytes of one thread that may wait for a slow reader: some ten thousand lines.
const BOUND: usize = 4 * 1024 * 1024;
/// How long lines without haste wait for company. Somebody who watches sees no delay.
const GATHERING: Duration = Duration::from_millis(100);
/// How long to leave a destination alone that does not block and takes nothing now.
const PAUSE: Duration = Duration::from_millis(10);

/// How soon a line has to be written. The order counts: what is urgent comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flush {
    /// Together with what else comes.
    Soon,
    /// At once.
    Now,
}

/// The writer, as those see it that have lines.
pub struct LogWriter(Arc<Shared>);

/// One thread's lines on their way to the writer.
pub struct Queue {
    lines: Arc<Mutex<Vec<u8>>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queues: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    /// Lines that nobody will see, since this was last told.
    lost: AtomicU64,
    /// All lines that nobody will see.
    lost_in_all: AtomicU64,
    call: Mutex<Call>,
    called: Condvar,
    ended: Condvar,
}

/// What the writer is asked for.
#[derive(Default)]
struct Call {
    haste: Option<Flush>,
    finish: bool,
    ended: bool,
}

impl LogWriter {
    /// Starts the writer to `destination`. `tell_lost` is called on its thread with the number of lines
    /// that were lost; it may log.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        destination: impl Write + Send + 'static,
        tell_lost: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_until_finished(Destination::new(destination), tell_lost))?;
        Ok(Self(shared))
    }

    /// A queue for one thread. It may end before its lines are written.
    pub fn queue(&self) -> Queue {
        let lines = Arc::default();
        locked(&self.0.queues).push(Arc::clone(&lines));
        Queue {
            lines,
            shared: Arc::clone(&self.0),
        }
    }

    /// How many lines nobody will see: they were not read in time, or could not be written.
    pub fn lost(&self) -> u64 {
        self.0.lost_in_all.load(Ordering::Relaxed)
    }

    /// Writes what waits and ends the writer; gives up after `patience`, for a reader may never read.
    pub fn finish(&self, patience: Duration) {
        let mut call = locked(&self.0.call);
        call.finish = true;
        self.0.called.notify_one();
        let _ = self
            .0
            .ended
            .wait_timeout_while(call, patience, |call| !call.ended);
    }
}

impl Queue {
    /// Adds the whole lines that `write` appends, or loses them where too much waits.
    pub fn push(&self, haste: Flush, write: impl FnOnce(&mut Vec<u8>)) {
        let mut lines = locked(&self.lines);
        let before = lines.len();
        if before >= BOUND {
            self.shared.lose(1);
            return;
        }
        write(&mut lines);
        let after = lines.len();
        drop(lines);
        // In between the writer is called already.
        if haste == Flush::Now || (before < BATCH && after >= BATCH) {
            self.shared.call(Flush::Now);
        } else if before == 0 {
            self.shared.call(Flush::Soon);
        }
    }
}

impl Shared {
    fn call(&self, haste: Flush) {
        let mut call = locked(&self.call);
        if call.haste < Some(haste) {
            call.haste = Some(haste);
            self.called.notify_one();
        }
    }

    fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
        self.lost_in_all.fetch_add(lines, Ordering::Relaxed);
    }

    /// Waits for lines, and then for their company. Tells whether these are the last.
    fn wait_for_lines(&self) -> bool {
        let call = locked(&self.call);
        let call = self
            .called
            .wait_while(call, |call| call.haste.is_none() && !call.finish)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut call, _) = self
            .called
            .wait_timeout_while(call, GATHERING, |call| {
                call.haste < Some(Flush::Now) && !call.finish
            })
            .unwrap_or_else(PoisonError::into_inner);
        call.haste = None;
        call.finish
    }

    fn write_until_finished(
        &self,
        mut destination: Destination<impl Write>,
        tell_lost: impl Fn(u64),
    ) {
        let mut spare = Vec::new();
        loop {
            let last = self.wait_for_lines();
            let arrived = self.write_what_waits(&mut destination, &mut spare);
            // Telling somebody who does not listen would only be lost again.
            let lost = if arrived {
                self.lost.swap(0, Ordering::Relaxed)
            } else {
                0
            };
            if lost > 0 {
                tell_lost(lost);
            }
            if last {
                // What was just told.
                self.write_what_waits(&mut destination, &mut spare);
                locked(&self.call).ended = true;
                return self.ended.notify_all();
            }
        }
    }

    /// Writes every queue. Tells whether anything was written, and all of it arrived.
    fn write_what_waits(
        &self,
        destination: &mut Destination<impl Write>,
        spare: &mut Vec<u8>,
    ) -> bool {
        let queues = {
            let mut queues = locked(&self.queues);
            // Those whose thread has ended.
            queues.retain(|lines| Arc::strong_count(lines) > 1 || !locked(lines).is_empty());
            queues.clone()
        };
        let (mut wrote, mut lost) = (false, 0);
        for lines in queues {
            // No lock is held while writing.
            std::mem::swap(&mut *locked(&lines), spare);
            if spare.is_empty() {
                continue;
            }
            wrote = true;
            lost += destination.write(spare);
            spare.clear();
            // After a jam.
            spare.shrink_to(2 * BATCH);
        }
        self.lose(lost);
        wrote && lost == 0
    }
}

/// Where lines go: each as a whole, or not at all.
struct Destination<W> {
    output: W,
    /// The last write broke off within a line.
    is_torn: bool,
}

impl<W: Write> Destination<W> {
    fn new(output: W) -> Self {
        Self {
            output,
            is_torn: false,
        }
    }

    /// Writes `lines`; tells how many of them did not arrive.
    fn write(&mut self, lines: &[u8]) -> u64 {
        // What is left of a torn line must not take the next one with it.
        if self.is_torn && self.write_bytes(b"\n") == 1 {
            self.is_torn = false;
        }
        let written = if self.is_torn {
            0
        } else {
            let written = self.write_bytes(lines);
            self.is_torn = written > 0 && lines[written - 1] != b'\n';
            written
        };
        memchr_iter(b'\n', &lines[written..]).count() as u64
    }

    /// Writes `bytes`; tells how many were taken.
    fn write_bytes(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.output.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(taken) => written += taken,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    // Another process may have made our standard error one that does not block.
                    io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
                    _ => break,
                },
            }
        }
        written
    }
}

/// What a thread that panicked left is whole lines, or a line that is not: not a reason to end logging.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
