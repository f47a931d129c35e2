//! Logs: text for a person at a terminal, JSON lines for everything else, on standard error.

use std::io::{self, IsTerminal};

use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Lines that may wait for a slow reader. Beyond it lines are lost, never requests delayed.
const WAITING_LINES: usize = 32_768;

/// Keeps the log's writer alive; when dropped, what waits is written.
#[must_use]
pub struct LogGuard(#[expect(dead_code, reason = "held for its drop")] WorkerGuard);

/// Starts logging with `filter` (a `tracing` filter), unless `RUST_LOG` says otherwise. What is below the
/// filter costs a comparison.
pub fn start(filter: &str) -> LogGuard {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(filter))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .finish(io::stderr());
    let lines = fmt::layer().with_writer(writer);
    let lines = if io::stderr().is_terminal() {
        lines.with_target(false).boxed()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed()
    };
    // Started twice only inside tests; the first stays.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines.with_filter(filter_fn(is_fit_to_print)))
        .try_init();
    LogGuard(guard)
}

/// Libraries print whole header blocks at their finer levels, cookies and tokens among them. Those levels
/// are ours alone, whatever the filter says.
fn is_fit_to_print(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("sidegate") || *metadata.level() <= Level::WARN
}
