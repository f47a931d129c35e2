//! The path globs of `[[routes]]`. Pure.

/// A glob over canonical paths. `*` stands for any run of characters within one segment, `**` as a
/// whole segment for any number of segments (none included: `/a/**` matches `/a`, `/a/` and `/a/b/c`),
/// `?` for one character. Everything else is literal, compared after the same canonicalisation that
/// request paths get, case-sensitively.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {}

impl PathPattern {
    /// Reads a pattern; the error says what to change.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let _ = pattern;
        todo!()
    }

    /// Whether the whole of `path` (canonical, no query) fits. Linear in both lengths' product at worst.
    pub fn matches(&self, path: &str) -> bool {
        let _ = path;
        todo!()
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        todo!()
    }
}
