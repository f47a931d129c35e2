//! What operators see: logs, one line per request, and counts.

mod access_log;
pub mod log;
pub mod metrics;

pub use access_log::{Record, RequestId, RequestIds};
