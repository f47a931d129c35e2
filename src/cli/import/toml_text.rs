//! Writes the gate's configuration. Pure.

use std::fmt::Write as _;

/// A text as TOML.
pub(super) fn text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A list of texts as TOML.
pub(super) fn texts<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| text(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// A key, in quotes where TOML wants them.
pub(super) fn key(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_bare { name.to_owned() } else { text(name) }
}

/// Pairs as an inline table; the values are TOML already.
pub(super) fn inline(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{} = {value}", key(name)))
        .collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// A table and its lines.
#[derive(Debug, Default)]
pub(super) struct Section {
    lines: String,
}

impl Section {
    /// `key = value`; the value is TOML already.
    pub(super) fn set(&mut self, key: &str, value: &str) {
        _ = writeln!(self.lines, "{key} = {value}");
    }

    pub(super) fn comment(&mut self, words: &str) {
        for line in words.lines() {
            _ = writeln!(self.lines, "# {line}");
        }
    }

    /// What was written, under `header`; nothing where nothing was.
    pub(super) fn under(&self, header: &str) -> String {
        if self.lines.is_empty() {
            String::new()
        } else if header.is_empty() {
            self.lines.clone()
        } else {
            format!("\n{header}\n{}", self.lines)
        }
    }
}
