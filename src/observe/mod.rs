//! What operators see: logs, one line per request, and counts.

mod access_line;
mod access_log;
pub mod filter;
pub mod log;
pub mod metrics;
mod outlet;

pub use access_log::{Record, RequestId, RequestIds};

/// The names in the first column of a section's table in docs/logging.md.
#[cfg(test)]
fn documented(section: &str) -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/logging.md")).unwrap();
    let (_, rest) = page.split_once(&format!("\n{section}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let names = section.lines().filter_map(|line| line.strip_prefix("| `"));
    names
        .map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}
