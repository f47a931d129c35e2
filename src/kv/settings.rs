//! The store for values, as configured.

use std::path::PathBuf;

/// `state`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateSettings {
    /// In this process, and gone with it.
    Memory,
    /// In a file.
    File(PathBuf),
}
