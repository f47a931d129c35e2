//! What operators see: logs, and one line per request.

mod access_log;
pub mod log;

pub use access_log::{Record, RequestId, RequestIds};
