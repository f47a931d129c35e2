//! Request parameters of OAuth: each at most once, and an empty one counts as absent (RFC 6749 §3.1). Pure.

use url::form_urlencoded;

/// The parameters of a query or a form.
#[derive(Clone, Default)]
pub struct Parameters(Vec<(String, String)>);

/// A parameter came twice, and two readers could each take another one; or there are too many. Nobody takes any.
#[derive(Debug, PartialEq, Eq)]
pub struct Repeated;

/// Each name is compared with all before it, and anybody may send them. No request has nearly as many.
const MOST_PARAMETERS: usize = 100;

impl Parameters {
    /// Reads `application/x-www-form-urlencoded` text.
    /// # Errors
    /// When a name stands there twice.
    pub fn parse(encoded: &[u8]) -> Result<Self, Repeated> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(encoded) {
            if pairs.len() == MOST_PARAMETERS || pairs.iter().any(|(known, _)| *known == name) {
                return Err(Repeated);
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    /// The same; of what stands twice the first counts, and the name of one that does is told.
    pub fn parse_first(encoded: &[u8]) -> (Self, Option<String>) {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut repeated = None;
        for (name, value) in form_urlencoded::parse(encoded) {
            if pairs.len() == MOST_PARAMETERS {
                repeated.get_or_insert_with(|| name.into_owned());
                break;
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                repeated.get_or_insert_with(|| name.into_owned());
            } else {
                pairs.push((name.into_owned(), value.into_owned()));
            }
        }
        (Self(pairs), repeated)
    }

    /// The value, unless it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// These with `value` as the only one of its `name`; without any where it is empty.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        let mut others = self.without(&[name]);
        if !value.is_empty() {
            others.0.push((name.to_owned(), value.to_owned()));
        }
        others
    }

    /// Those of other names.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|(name, _)| !names.contains(&name.as_str()));
        self
    }

    /// The same parameters as a query.
    pub fn encode(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.0)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn more_than_any_request_has_are_refused() {
        let encoded = |count| {
            let pairs: Vec<_> = (0..count).map(|number| format!("n{number}=1")).collect();
            pairs.join("&")
        };
        let most = encoded(MOST_PARAMETERS);
        assert!(Parameters::parse(most.as_bytes()).is_ok());
        assert_eq!(Parameters::parse_first(most.as_bytes()).1, None);
        let more = encoded(MOST_PARAMETERS + 1);
        assert_eq!(Parameters::parse(more.as_bytes()).err(), Some(Repeated));
        assert!(Parameters::parse_first(more.as_bytes()).1.is_some());
    }

    #[test]
    fn empty_is_absent_and_twice_is_refused() {
        let parameters = Parameters::parse(b"state=a+b%26c&nonce=").unwrap();
        assert_eq!(parameters.get("state"), Some("a b&c"));
        assert_eq!(parameters.get("nonce"), None);
        assert_eq!(parameters.get("scope"), None);
        assert_eq!(Parameters::parse(b"a=1&a=1").err(), Some(Repeated));
        let (first, repeated) = Parameters::parse_first(b"a=1&b=2&b=3&a=4");
        assert_eq!((first.get("a"), first.get("b")), (Some("1"), Some("2")));
        assert_eq!(repeated.as_deref(), Some("b"));
    }

    proptest! {
        #[test]
        fn what_was_read_is_written_alike(encoded: Vec<u8>) {
            if let Ok(parameters) = Parameters::parse(&encoded) {
                let again = Parameters::parse(parameters.encode().as_bytes()).unwrap();
                prop_assert_eq!(parameters.0, again.0);
            }
        }
    }
}
