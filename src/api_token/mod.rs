//! The gate's own tokens for programs: API tokens, which users make, and service tokens, which the configuration names.
//!
//! An API token can do no more than its owner. `allow` is applied to what the provider said at the owner's last login, and a token is
//! suspended if its owner has not been seen for long. A service token has no owner: its groups and scopes are in the configuration.

mod authenticator;
pub mod format;
mod guesses;
mod record;
mod service;
pub mod settings;
mod tokens;

pub use self::{
    authenticator::ApiTokenAuthenticator,
    guesses::Guesses,
    record::Facts,
    service::ServiceTokens,
    tokens::{ApiTokens, Listed, Made, MakeError, TokenName, Wanted},
};

use std::sync::Arc;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, header::AUTHORIZATION};

use self::settings::ApiTokenSettings;
use crate::credential::Presented;

/// API tokens, where people may have some.
pub struct Enabled {
    /// Everybody's.
    pub tokens: Arc<ApiTokens>,
    /// What the configuration says of them.
    pub settings: ApiTokenSettings,
}

/// The text that may be a token of ours: a bearer token, or either half of a name and password, for git, docker, pip, npm
/// and Prometheus know no other way.
pub fn presented<'a>(presented: &'a Presented<'_>) -> Option<&'a str> {
    match presented {
        Presented::Bearer(token) => Some(*token),
        Presented::Basic(basic) => {
            let mut halves = [basic.password(), basic.name()].into_iter();
            halves.find(|half| format::looks_like_one(half))
        }
        Presented::Nothing => None,
    }
    .filter(|text| format::looks_like_one(text))
}

/// Takes a token of ours out of a request: it is for the gate, and no app is to see it, by a public route no more than by
/// another.
pub fn withhold(headers: &mut HeaderMap) {
    if is_in(headers) {
        headers.remove(AUTHORIZATION);
    }
}

/// Whether a token of ours is among the credentials of a request.
pub fn is_in(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    values.any(|value| holds_one(value.as_bytes()))
}

/// Read with more indulgence than where it is to open something: an app may understand what the gate does not.
fn holds_one(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let end = value.iter().position(u8::is_ascii_whitespace);
    let (scheme, rest) = value.split_at(end.unwrap_or(value.len()));
    let rest = rest.trim_ascii();
    let is_one = |text: &[u8]| text.starts_with(format::PREFIX.as_bytes());
    if scheme.eq_ignore_ascii_case(b"basic")
        && let Ok(pair) = INDULGENT.decode(rest)
    {
        let mut halves = pair.splitn(2, |byte| *byte == b':');
        return halves.any(is_one);
    }
    is_one(scheme) || is_one(rest)
}

/// Base64 with padding or without.
const INDULGENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use http::HeaderValue;

    use super::*;

    #[test]
    fn no_app_sees_a_token_of_ours() {
        let left = |values: &[&str]| {
            let value = |text: &&str| (AUTHORIZATION, HeaderValue::from_str(text).unwrap());
            let mut headers: HeaderMap = values.iter().map(value).collect();
            withhold(&mut headers);
            headers.get_all(AUTHORIZATION).iter().count()
        };
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for ours in [
            "Bearer sgp_x",
            "bearer  sgp_x",
            "Bearer\tsgp_x",
            "sgp_x",
            &format!("Basic {}", STANDARD_NO_PAD.encode("me:sgp_xy")),
            &basic("git:sgp_x"),
            &basic("sgp_x:"),
        ] {
            assert_eq!(left(&[ours]), 0, "{ours}");
            assert_eq!(left(&["Bearer other", ours]), 0, "{ours}");
        }
        for apps in [
            "Bearer eyJ0",
            "Bearer eyJsgp_x",
            "Digest x",
            &basic("ada:password"),
            "Basic %",
        ] {
            assert_eq!(left(&[apps]), 1, "{apps}");
        }
    }
}
