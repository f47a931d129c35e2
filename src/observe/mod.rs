//! What operators see: logs, one line per request, and counts.

mod access_line;
mod access_log;
pub mod log;
pub mod metrics;
mod outlet;

pub use access_log::{Record, RequestId, RequestIds};
