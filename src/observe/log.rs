//! The log on standard error: text at a terminal, JSON lines elsewhere.

use std::{
    cell::{OnceCell, RefCell},
    io::{self, IsTerminal},
    sync::OnceLock,
    time::Duration,
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, fmt, layer::SubscriberExt, reload,
    util::SubscriberInitExt,
};

use super::{
    access_line::{AccessLine, Stamp},
    filter,
    log_writer::{Flush, LogWriter, Queue},
};
use crate::clock;

/// How long the end waits for a reader that takes its time.
const PATIENCE: Duration = Duration::from_secs(1);

/// The log of this process, once started.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    writer: LogWriter,
    /// Whether lines are text for a person.
    is_text: bool,
    /// Changes what is logged; none where the environment says that.
    filter: Option<reload::Handle<EnvFilter, Registry>>,
}

/// Keeps the log's writer alive; when dropped, what waits is written.
#[must_use]
pub struct LogGuard(());

impl Drop for LogGuard {
    fn drop(&mut self) {
        finish();
    }
}

/// Starts logging with `configured` (a `tracing` filter), unless `RUST_LOG` says otherwise. What is below the
/// filter costs a comparison.
///
/// # Errors
/// When the system has no thread to give.
pub fn start(configured: &str) -> io::Result<LogGuard> {
    // Set to nothing, as compose does with what the environment lacks, it says nothing.
    let wanted = std::env::var_os(EnvFilter::DEFAULT_ENV)
        .map(|wanted| wanted.to_string_lossy().into_owned())
        .filter(|wanted| !wanted.trim().is_empty());
    let (filter, flaw) = match wanted.as_deref().map(filter::read) {
        Some(Ok(filter)) => (Some(filter), None),
        Some(Err(flaw)) => (None, Some(flaw)),
        None => (None, None),
    };
    let is_configured = filter.is_none();
    let filter = filter
        .or_else(|| EnvFilter::try_new(configured).ok())
        .unwrap_or_else(|| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let is_text = io::stderr().is_terminal();
    let writer = LogWriter::start(io::stderr(), tell_lost)?;
    // Started twice only inside tests; the first stays.
    let _ = LOG.set(Log {
        writer,
        is_text,
        filter: is_configured.then_some(handle),
    });
    let lines = fmt::layer().with_writer(|| DiagnosticLine);
    let lines = if is_text {
        lines.with_target(false).boxed()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    };
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines.with_filter(filter_fn(is_fit_to_print)))
        .try_init();
    if let Some(flaw) = flaw {
        let wanted = wanted.unwrap_or_default();
        tracing::warn!("RUST_LOG = {wanted:?} is ignored ({flaw}); log = {configured:?} is used");
    }
    Ok(LogGuard(()))
}

/// Logs by `configured` from here on, unless `RUST_LOG` says otherwise.
pub fn adopt(configured: &str) {
    let handle = LOG.get().and_then(|log| log.filter.as_ref());
    if let (Some(handle), Ok(filter)) = (handle, EnvFilter::try_new(configured)) {
        // It fails where nothing is logged any more.
        let _ = handle.reload(filter);
    }
}

/// Writes what waits, within a moment. What is logged later is lost.
pub fn finish() {
    if let Some(log) = LOG.get() {
        log.writer.finish(PATIENCE);
    }
}

/// How many lines were lost, see [`LogWriter::lost`].
pub fn lost() -> u64 {
    LOG.get().map_or(0, |log| log.writer.lost())
}

/// Writes the line of a request. The filter was asked when the request began.
pub(super) fn access(line: &AccessLine<'_>) {
    match LOG.get() {
        Some(log) if !log.is_text => log.with_own(|own| {
            own.queue.push(Flush::Soon, |lines| {
                let mut stamp = own.stamp.borrow_mut();
                line.write_json(stamp.at(clock::since_epoch()), lines);
            });
        }),
        _ => line.tell(),
    }
}

/// Writes a line of the audit trail among those of the log.
pub(super) fn audit(line: &[u8]) {
    if let Some(log) = LOG.get() {
        log.with_own(|own| own.queue.push(Flush::Now, |lines| lines.extend(line)));
    }
}

/// What a thread keeps of the log.
struct Own {
    queue: Queue,
    stamp: RefCell<Stamp>,
}

thread_local! {
    static OWN: OnceCell<Own> = const { OnceCell::new() };
}

impl Log {
    fn with_own(&self, act: impl Fn(&Own)) {
        let own = || Own {
            queue: self.writer.queue(),
            stamp: RefCell::new(Stamp::new()),
        };
        // A thread that is ending has no more than this line.
        OWN.try_with(|kept| act(kept.get_or_init(own)))
            .unwrap_or_else(|_| act(&own()));
    }
}

/// Takes the lines of `tracing`, each in one piece. They are few, and what went wrong is wanted at once.
struct DiagnosticLine;

impl io::Write for DiagnosticLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(log) = LOG.get() {
            log.with_own(|own| own.queue.push(Flush::Now, |lines| lines.extend(line)));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tell_lost(lines: u64) {
    tracing::warn!(
        lines,
        "log lines are lost: they were not read as fast as written, or could not be written; see that the log's reader \
         keeps up and its disk is not full"
    );
}

/// Libraries print whole header blocks at their finer levels, cookies and tokens among them. Those levels
/// are ours alone, whatever the filter says.
fn is_fit_to_print(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("sidegate") || *metadata.level() <= Level::WARN
}
