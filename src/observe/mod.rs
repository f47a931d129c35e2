//! What operators see: logs, one line per request, and counts.

mod access_line;
mod access_log;
pub mod audit;
mod ended;
pub mod filter;
mod handover;
pub mod log;
mod log_writer;
pub mod metrics;
mod throttled;
mod verdict;

pub use access_log::{Received, Record, Recorder, RequestId};
pub use ended::Ended;
pub use handover::{Handover, handover};
pub use throttled::Throttled;
pub use verdict::Verdict;

/// Name and text of each row of a section's table in a page of the documentation: the first column, which is code, and
/// the last.
#[cfg(test)]
fn documented(page: &str, section: &str) -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join(page)).unwrap();
    let (_, rest) = page.split_once(&format!("\n{section}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once('`').unwrap();
        let text = rest.trim_end_matches([' ', '|']).rsplit(" | ").next();
        (name.to_owned(), text.unwrap().to_owned())
    })
    .collect()
}
