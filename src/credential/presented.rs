//! Reads `Authorization` (RFC 9110 §11.6.2). Pure.

use std::str;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use zeroize::Zeroizing;

/// The schemes that a configuration takes for itself. What is of another scheme is the app's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schemes {
    /// `Bearer` (RFC 6750).
    pub bearer: bool,
    /// `Basic` (RFC 7617).
    pub basic: bool,
}

impl Schemes {
    /// Those of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            bearer: self.bearer || other.bearer,
            basic: self.basic || other.basic,
        }
    }

    /// Whether there are any.
    pub fn any(self) -> bool {
        self.bearer || self.basic
    }

    /// Whether `headers` present a bearer token, and these take one.
    pub fn take_bearer_of(self, headers: &HeaderMap) -> bool {
        let value = headers.get(AUTHORIZATION).filter(|_| self.bearer);
        value.is_some_and(|value| is_bearer(split(value.as_bytes()).0))
    }
}

/// What a request presents beside its cookies. No `Debug`: it is a credential.
pub enum Presented<'a> {
    /// Nothing for the gate.
    Nothing,
    /// A bearer token: of the characters of RFC 6750 §2.1, and not empty.
    Bearer(&'a str),
    /// A name and a password.
    Basic(Basic),
}

/// A name and a password (RFC 7617 §2). No `Debug`: it is a credential.
pub struct Basic {
    text: Zeroizing<String>,
    colon: usize,
}

impl Basic {
    /// Of a decoded text; none where it has no colon.
    pub(super) fn of(text: Zeroizing<String>) -> Option<Self> {
        let colon = text.find(':')?;
        Some(Self { text, colon })
    }

    /// Both, with the colon in between.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What stands before the first colon.
    pub fn name(&self) -> &str {
        &self.text[..self.colon]
    }

    /// What stands behind it.
    pub fn password(&self) -> &str {
        &self.text[self.colon + 1..]
    }
}

/// Why what was presented cannot be read. The request is at fault, and not its sender's rights (RFC 6750 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// More than one: nobody can say which one counts for the app.
    #[error("it carries two credentials; a request has one Authorization header")]
    Two,
    /// Not a token.
    #[error("its Authorization header holds no bearer token (RFC 6750, section 2.1)")]
    Bearer,
    /// No name and password.
    #[error("its Authorization header holds no name and password (RFC 7617, section 2)")]
    Basic,
}

impl<'a> Presented<'a> {
    /// What `headers` present of the `taken` schemes.
    ///
    /// # Errors
    /// Where it is of one of these, and cannot be read.
    pub fn read(headers: &'a HeaderMap, taken: Schemes) -> Result<Self, Flaw> {
        if !taken.any() {
            return Ok(Self::Nothing);
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(Self::Nothing);
        };
        if values.next().is_some() {
            return Err(Flaw::Two);
        }
        let (scheme, rest) = split(value.as_bytes());
        if taken.bearer && is_bearer(scheme) {
            let token = str::from_utf8(rest).ok().filter(|token| is_token(token));
            return token.map(Self::Bearer).ok_or(Flaw::Bearer);
        }
        if taken.basic && scheme.eq_ignore_ascii_case(b"basic") {
            return basic(rest).map(Self::Basic).ok_or(Flaw::Basic);
        }
        Ok(Self::Nothing)
    }
}

/// The scheme, and what is presented by it: nothing where another sign than a space stands in between, which is for nobody to read as one.
fn split(value: &[u8]) -> (&[u8], &[u8]) {
    let end = value.iter().position(|byte| !is_token_char(*byte));
    let (scheme, rest) = value.split_at(end.unwrap_or(value.len()));
    let rest = if rest.starts_with(b" ") { rest } else { b"" };
    (scheme, rest.trim_ascii())
}

fn is_bearer(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"bearer")
}

/// `b64token` of RFC 6750 §2.1.
fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let is_char = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
    };
    !body.is_empty() && body.bytes().all(is_char)
}

fn basic(encoded: &[u8]) -> Option<Basic> {
    let text = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let text = Zeroizing::new(str::from_utf8(&text).ok()?.to_owned());
    // RFC 7617 §2: neither holds control characters.
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    Basic::of(text)
}

/// `tchar` of RFC 9110 §5.6.2, of which the name of a scheme is made.
fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const BOTH: Schemes = Schemes {
        bearer: true,
        basic: true,
    };

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let value = |value: &&[u8]| HeaderValue::from_bytes(value).unwrap();
        let values = values.iter().map(value);
        values.map(|value| (AUTHORIZATION, value)).collect()
    }

    /// What is read, as a text.
    fn read(values: &[&str], taken: Schemes) -> Result<String, Flaw> {
        let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        Ok(match Presented::read(&headers(&values), taken)? {
            Presented::Nothing => String::new(),
            Presented::Bearer(token) => format!("token {token}"),
            Presented::Basic(basic) => format!("{} and {}", basic.name(), basic.password()),
        })
    }

    #[test]
    fn a_scheme_has_no_case_and_its_credential_is_exact() {
        for (value, expected) in [
            ("Bearer abc.DEF-_~+/==", "token abc.DEF-_~+/=="),
            ("bearer   abc", "token abc"),
            ("BASIC YWRhOnBhc3M6d29yZA==", "ada and pass:word"),
            ("Basic Og==", " and "),
            ("Digest username=\"ada\"", ""),
            ("Bearers abc", ""),
            ("", ""),
        ] {
            assert_eq!(read(&[value], BOTH).as_deref(), Ok(expected), "{value}");
        }
    }

    #[test]
    fn a_bearer_token_is_told_from_a_password() {
        let bearer = Schemes {
            bearer: true,
            basic: false,
        };
        for (value, taken, expected) in [
            ("Bearer abc", BOTH, true),
            ("bearer", bearer, true),
            ("Basic YTpi", BOTH, false),
            ("Bearers abc", BOTH, false),
            ("Bearer abc", Schemes::default(), false),
        ] {
            let headers = headers(&[value.as_bytes()]);
            assert_eq!(taken.take_bearer_of(&headers), expected, "{value}");
        }
        assert!(!BOTH.take_bearer_of(&HeaderMap::new()));
    }

    #[test]
    fn what_cannot_be_read_is_no_credential_of_nobody() {
        for (values, flaw) in [
            (&["Bearer a", "Bearer a"][..], Flaw::Two),
            (&["Basic YTpi", "Digest x"], Flaw::Two),
            (&["Bearer"], Flaw::Bearer),
            (&["Bearer "], Flaw::Bearer),
            (&["Bearer =="], Flaw::Bearer),
            (&["Bearer a b"], Flaw::Bearer),
            (&["Bearer a,b"], Flaw::Bearer),
            (&["Bearer a=b"], Flaw::Bearer),
            (&["Bearer\tabc"], Flaw::Bearer),
            (&["Bearer=abc"], Flaw::Bearer),
            (&["Bearer,abc"], Flaw::Bearer),
            (&["Bearer/abc"], Flaw::Bearer),
            (&["Basic\tYTpi"], Flaw::Basic),
            (&["Basic=YTpi"], Flaw::Basic),
            (&["Basic/zpi="], Flaw::Basic),
            (&["Basic"], Flaw::Basic),
            (&["Basic YWRh"], Flaw::Basic),
            (&["Basic YTpi%"], Flaw::Basic),
            (&["Basic YQo6Yg=="], Flaw::Basic),
            (&["Basic /zpi"], Flaw::Basic),
        ] {
            assert_eq!(read(values, BOTH), Err(flaw), "{values:?}");
        }
    }

    #[test]
    fn what_is_not_taken_is_the_apps() {
        let bearer = Schemes {
            bearer: true,
            basic: false,
        };
        assert_eq!(read(&["Basic nonsense"], bearer).as_deref(), Ok(""));
        assert_eq!(
            read(&["Bearer a", "Bearer b"], Schemes::default()).as_deref(),
            Ok("")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let headers = [(AUTHORIZATION, value)].into_iter().collect();
                if let Ok(Presented::Bearer(token)) = Presented::read(&headers, BOTH) {
                    prop_assert!(is_token(token));
                }
            }
        }
    }
}
