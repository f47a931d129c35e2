//! One canonical path. Pure.
//!
//! An upstream may read a path otherwise than the gate: decode it once more, merge slashes, cut `;`
//! parameters, take a backslash for a slash. A rule judged on one reading and served on another is a
//! bypass, so there are two readings:
//!
//! - the **surface** is what is forwarded: escapes of unreserved characters decoded (RFC 3986 §6.2.2.2),
//!   hex digits of the others upper case, everything else byte for byte;
//! - the **deep** reading is what the most eager upstream could make of it: escapes decoded until nothing
//!   changes, backslashes turned into slashes, `;` parameters cut from each segment, slashes merged.
//!
//! Both must fall under the same rule, or the path is ambiguous. Dot segments in the deep reading,
//! control characters (also escaped ones), `#`, invalid escapes and paths that do not begin with `/` are
//! refused outright.

use std::borrow::Cow;

/// A path that was checked: what is judged and what is forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalPath<'a> {
    /// What is forwarded.
    pub surface: Cow<'a, str>,
    /// The other reading, where it differs from `surface`.
    pub deep: Option<String>,
}

/// Why a path is refused; the text may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `.` or `..` as a segment in some reading.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A control character, raw or escaped.
    #[error("the path has a control character")]
    Control,
    /// `%` without two hex digits.
    #[error("the path has an invalid escape")]
    InvalidEscape,
    /// No leading slash, or a raw character that no path may have.
    #[error("the path is malformed")]
    Malformed,
}

impl<'a> CanonicalPath<'a> {
    /// Reads the path of a request target (no query). Costs one pass and no allocation for a plain path.
    pub fn parse(path: &'a str) -> Result<Self, PathError> {
        let _ = path;
        todo!()
    }
}

impl PathError {
    pub fn sentence(self) -> &'static str {
        todo!()
    }
}
