//! Pure: what a browser brings back from the provider (RFC 6749 §4.1.2).

use std::borrow::Cow;

use url::form_urlencoded;

/// The parameters that we know; others are ignored, as §4.1.2 asks.
#[derive(Default)]
pub(super) struct CallbackQuery<'q> {
    pub(super) state: Option<Cow<'q, str>>,
    pub(super) code: Option<Cow<'q, str>>,
    /// RFC 9207.
    pub(super) iss: Option<Cow<'q, str>>,
    pub(super) error: Option<Cow<'q, str>>,
    pub(super) error_description: Option<Cow<'q, str>>,
}

impl<'q> CallbackQuery<'q> {
    /// Reads a query. A parameter that comes twice is refused (§3.1: whoever reads the other one sees
    /// another answer); an empty one counts as absent. The error says what is wrong.
    pub(super) fn parse(query: &'q str) -> Result<Self, &'static str> {
        if query.len() > MAX_QUERY {
            return Err("the query is too long");
        }
        let mut known = Self::default();
        let mut seen = [false; 5];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let (index, slot) = match &*name {
                "state" => (0, &mut known.state),
                "code" => (1, &mut known.code),
                "iss" => (2, &mut known.iss),
                "error" => (3, &mut known.error),
                "error_description" => (4, &mut known.error_description),
                _ => continue,
            };
            if std::mem::replace(&mut seen[index], true) {
                return Err("a parameter comes twice");
            }
            *slot = Some(value).filter(|value| !value.is_empty());
        }
        Ok(known)
    }
}

/// Bytes of the query. Codes of some providers are tokens of kilobytes; a state has up to four.
const MAX_QUERY: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_it_knows_and_ignores_the_rest() {
        let query = "code=a%2Fb+c&state=s&iss=https%3A%2F%2Fid&session_state=x&scope=a&scope=b";
        let query = CallbackQuery::parse(query).unwrap();
        assert_eq!(query.code.as_deref(), Some("a/b c"));
        assert_eq!(query.state.as_deref(), Some("s"));
        assert_eq!(query.iss.as_deref(), Some("https://id"));
        assert!(query.error.is_none());
    }

    #[test]
    fn twice_is_refused_and_empty_is_absent() {
        for name in ["state", "code", "iss", "error", "error_description"] {
            let value = |query: &str| CallbackQuery::parse(query).is_err();
            assert!(value(&format!("{name}=a&{name}=a")), "{name}");
            assert!(value(&format!("{name}=&{name}=a")), "{name}");
            assert!(value(&format!("{name}&x=1&{name}=a")), "{name}");
        }
        let query = CallbackQuery::parse("code=&state").unwrap();
        assert!(query.code.is_none() && query.state.is_none());
        assert!(CallbackQuery::parse(&"x".repeat(MAX_QUERY + 1)).is_err());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(query in ".*") {
            let _ = CallbackQuery::parse(&query);
        }
    }
}
