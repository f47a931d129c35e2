//! What a sign-out at the provider needs, in a cookie that is sent only to that endpoint.

use http::{HeaderMap, HeaderValue};

use super::Sessions;
use crate::{random, session::seal::Purpose};

/// What signing out at the provider needs, kept apart from the session because nothing else needs it.
pub struct LogoutHint {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The ID token, for `id_token_hint` (RP-Initiated Logout 1.0 §2).
    pub id_token: String,
}

impl Sessions {
    /// `Set-Cookie` that keeps `id_token` for signing out, or that forgets an earlier one where the
    /// token is too long to stand in an address.
    pub fn write_logout_hint(&self, provider: &str, id_token: Option<&str>) -> HeaderValue {
        id_token
            .filter(|token| token.len() <= LONGEST_HINT)
            .and_then(|token| {
                let plain = format!("{provider}\n{token}");
                let sealed =
                    self.keys
                        .seal(Purpose::LogoutHint, b"", plain.as_bytes(), random::bytes());
                self.cookies
                    .write_logout_hint(&sealed, self.lifetimes.lifetime)
            })
            .unwrap_or_else(|| self.cookies.expire_logout_hint())
    }

    /// The hint that came with a request to sign out.
    pub fn logout_hint(&self, headers: &HeaderMap) -> Option<LogoutHint> {
        let found = self.cookies.find(headers);
        let plain = self
            .keys
            .open(Purpose::LogoutHint, b"", found.logout_hint?)?;
        let (provider, id_token) = std::str::from_utf8(&plain).ok()?.split_once('\n')?;
        Some(LogoutHint {
            provider: provider.to_owned(),
            id_token: id_token.to_owned(),
        })
    }
}

/// Bytes of the longest ID token that is put into an address. Some servers refuse longer addresses.
const LONGEST_HINT: usize = 2_048;
