//! What is logged: `log` in the configuration, or the variable `RUST_LOG`. Pure.

use std::fmt;

use tracing_subscriber::EnvFilter;

/// The levels by name.
pub const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It cannot be read.
    Syntax(String),
    /// This word is no level, and would be taken for a target, so that a mistyped level would silence the log.
    Word(String),
}

impl fmt::Display for Flaw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => formatter.write_str(error),
            Self::Word(word) => write!(formatter, "{word:?} is no log level"),
        }
    }
}

/// Reads a filter.
///
/// # Errors
/// When it is none, or says something else than it seems to.
pub fn read(text: &str) -> Result<EnvFilter, Flaw> {
    let filter = EnvFilter::try_new(text).map_err(|error| Flaw::Syntax(error.to_string()))?;
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let is_directive = |word: &str| {
        word.contains(['=', '[']) && !word.contains(char::is_whitespace)
            || word.contains("::")
            || ["sidegate", "hyper", "rustls", "redis"].contains(&word)
    };
    let mut words = text.split(',').map(str::trim);
    match words.find(|word| !is_level(word) && !is_directive(word)) {
        Some(word) => Err(Flaw::Word(word.to_owned())),
        None => Ok(filter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_levels_and_pairs() {
        for text in [
            "warn",
            "OFF",
            "warn,sidegate=debug",
            "info,sidegate::access=off",
            "sidegate::session",
            "hyper",
        ] {
            assert!(read(text).is_ok(), "{text}");
        }
        let word = |word: &str| Some(Flaw::Word(word.to_owned()));
        assert_eq!(read("wran").err(), word("wran"));
        assert_eq!(read("warn,debgu").err(), word("debgu"));
        assert!(matches!(read("sidegate=loud"), Err(Flaw::Syntax(_))));
    }
}
