//! Pure: what a provider's answer about a token is worth (RFC 7662 §2.2).

use serde_json::{Map, Value};

use super::{
    bearer::{self, BearerSettings, TokenFlaw},
    kind::ConfigIssue,
    settings::ProviderSettings,
};
use crate::{
    clock::Timestamp,
    jose::{self, LEEWAY, text, time},
};

/// No server says anything of tokens to somebody who does not prove who they are (RFC 7662 §2.1).
pub(super) fn check(settings: &ProviderSettings) -> Option<ConfigIssue> {
    let bearer = settings.bearer.as_ref()?;
    let is_public = bearer.introspect && settings.client_secrets.is_empty();
    is_public.then_some(ConfigIssue {
        key: "bearer",
        problem: "a provider is asked about tokens by a client that has a secret alone",
        hint: "write client_secret; or leave introspect out, where its tokens are signed",
    })
}

/// What an answer must agree with.
pub struct Expected<'a> {
    /// Which tokens count.
    pub bearer: &'a BearerSettings,
    /// The gate's own id at the provider.
    pub client_id: &'a str,
    /// Whether an `iss` is the provider's.
    pub issues: &'a dyn Fn(&str) -> bool,
    /// When it was asked.
    pub now: Timestamp,
}

/// An answer's members.
///
/// # Errors
/// That it is no JSON object.
pub fn read(body: &[u8]) -> Result<Map<String, Value>, TokenFlaw> {
    serde_json::from_slice(body).map_err(|_| TokenFlaw::Unreadable)
}

/// Takes `username` (RFC 7662 §2.2) for the login name where nothing else tells one.
pub(super) fn settle_name(answer: &mut Map<String, Value>) {
    if let (None, Some(name)) = (
        answer.get("preferred_username"),
        answer.get("username").cloned(),
    ) {
        answer.insert("preferred_username".to_owned(), name);
    }
}

impl Expected<'_> {
    /// Checks `answer`.
    ///
    /// # Errors
    /// The first thing for which the token does not count.
    pub fn check(&self, answer: &Map<String, Value>) -> Result<(), TokenFlaw> {
        if answer.get("active") != Some(&Value::Bool(true)) {
            return Err(TokenFlaw::Inactive);
        }
        self.check_kind(answer)?;
        let is_ours = |iss: &Value| iss.as_str().is_some_and(|iss| (self.issues)(iss));
        if !answer.get("iss").is_none_or(is_ours) {
            return Err(TokenFlaw::Issuer);
        }
        self.check_times(answer)?;
        if !self.is_for_us(answer) {
            return Err(TokenFlaw::Audience);
        }
        if !self.bearer.is_of_our_clients(answer) {
            return Err(TokenFlaw::Client);
        }
        Ok(())
    }

    fn check_kind(&self, answer: &Map<String, Value>) -> Result<(), TokenFlaw> {
        let is = |name: &str, words: &[&str]| {
            answer.get(name).is_none_or(|value| {
                let mut words = words.iter();
                let value = value.as_str();
                value.is_some_and(|value| words.any(|word| value.eq_ignore_ascii_case(word)))
            })
        };
        let is_id_token = text(answer, "typ").is_some_and(|typ| typ.eq_ignore_ascii_case("ID"))
            || text(answer, "token_use").is_some_and(|kind| kind.starts_with("id"));
        let is_access_token = !bearer::is_other(answer)
            && is("token_type", &["Bearer", "access_token", "JWT", "at+jwt"])
            && (self.bearer.accept_id_tokens || !is_id_token);
        is_access_token.then_some(()).ok_or(TokenFlaw::Kind)
    }

    /// The provider has judged the times, too; but what stands in the answer is not to be believed against.
    fn check_times(&self, answer: &Map<String, Value>) -> Result<(), TokenFlaw> {
        let moment = |name: &str| match (answer.get(name), time(answer, name)) {
            (None | Some(Value::Null), _) => Ok(None),
            (Some(_), Some(moment)) => Ok(Some(moment)),
            (Some(_), None) => Err(TokenFlaw::Unreadable),
        };
        let is_over = moment("exp")?.is_some_and(|end| self.now >= end.after(LEEWAY));
        let is_ahead = moment("nbf")?.is_some_and(|begin| begin > self.now.after(LEEWAY));
        if is_over || is_ahead {
            return Err(TokenFlaw::Expired);
        }
        Ok(())
    }

    /// Whether it was made for one of `audience`; where none is named and the answer names some, for this client. Where it
    /// names none, its client stands there, as in a signed token without `aud`.
    fn is_for_us(&self, answer: &Map<String, Value>) -> bool {
        let named = jose::audience(answer);
        let is_silent = named.is_empty() || answer.get("aud") == Some(&Value::Null);
        if self.bearer.audience.is_empty() {
            return is_silent || named.contains(&Some(self.client_id));
        }
        let mut ours = self.bearer.audience.iter().map(String::as_str);
        if is_silent {
            return ours.any(|ours| text(answer, "client_id") == Some(ours));
        }
        ours.any(|ours| named.contains(&Some(ours)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn settings() -> BearerSettings {
        BearerSettings {
            audience: Vec::new(),
            clients: Vec::new(),
            algorithms: Vec::new(),
            accept_id_tokens: false,
            introspect: true,
            token_cache: Duration::from_mins(1),
            kubernetes: false,
        }
    }

    fn judge(settings: &BearerSettings, answer: &Value) -> Result<(), TokenFlaw> {
        let expected = Expected {
            bearer: settings,
            client_id: "us",
            issues: &|iss| iss == "https://id.example.com",
            now: Timestamp(NOW),
        };
        expected.check(answer.as_object().unwrap())
    }

    #[test]
    fn what_real_servers_say_of_a_good_token() {
        for (server, answer) in [
            (
                "django-oauth-toolkit",
                json!({"active": true, "scope": "read write", "exp": NOW + 99, "client_id": "cli", "username": "ada"}),
            ),
            (
                "django-oauth-toolkit, a client",
                json!({"active": true, "scope": "read", "exp": NOW + 99, "client_id": "ci"}),
            ),
            (
                "oidc-provider",
                json!({"active": true, "sub": "1", "client_id": "cli", "exp": NOW + 99, "iat": NOW, "iss": "https://id.example.com", "scope": "openid", "token_type": "Bearer"}),
            ),
            (
                "Keycloak",
                json!({"active": true, "typ": "Bearer", "token_type": "Bearer", "azp": "cli", "client_id": "cli", "sub": "1", "username": "ada", "aud": ["us", "account"], "exp": NOW + 99, "iss": "https://id.example.com"}),
            ),
            (
                "Hydra",
                json!({"active": true, "token_use": "access_token", "token_type": "Bearer", "client_id": "cli", "sub": "1", "aud": [], "exp": NOW + 99, "iss": "https://id.example.com"}),
            ),
            (
                "doorkeeper",
                json!({"active": true, "scope": "read", "client_id": "cli", "token_type": "Bearer", "exp": null, "iat": NOW}),
            ),
        ] {
            assert_eq!(judge(&settings(), &answer), Ok(()), "{server}");
        }
    }

    #[test]
    fn j11_what_is_no_yes_is_a_no() {
        for (flaw, answer) in [
            (TokenFlaw::Inactive, json!({"active": false})),
            (TokenFlaw::Inactive, json!({})),
            (TokenFlaw::Inactive, json!({"active": "true"})),
            (TokenFlaw::Inactive, json!({"active": 1})),
            (
                TokenFlaw::Kind,
                json!({"active": true, "token_use": "refresh_token"}),
            ),
            (
                TokenFlaw::Kind,
                json!({"active": true, "token_type": "refresh_token"}),
            ),
            (TokenFlaw::Kind, json!({"active": true, "typ": "Refresh"})),
            (TokenFlaw::Kind, json!({"active": true, "typ": "ID"})),
            (
                TokenFlaw::Kind,
                json!({"active": true, "token_type": "DPoP", "cnf": {"jkt": "x"}}),
            ),
            (
                TokenFlaw::Issuer,
                json!({"active": true, "iss": "https://evil.example"}),
            ),
            (TokenFlaw::Issuer, json!({"active": true, "iss": 7})),
            (TokenFlaw::Expired, json!({"active": true, "exp": NOW - 60})),
            (TokenFlaw::Expired, json!({"active": true, "nbf": NOW + 61})),
            (
                TokenFlaw::Unreadable,
                json!({"active": true, "exp": "never"}),
            ),
            (
                TokenFlaw::Audience,
                json!({"active": true, "aud": "another"}),
            ),
            (TokenFlaw::Audience, json!({"active": true, "aud": 7})),
        ] {
            assert_eq!(judge(&settings(), &answer), Err(flaw), "{answer}");
        }
        for body in ["", "<html>", "[]", "true", "\"active\"", "{\"active\":true"] {
            assert_eq!(read(body.as_bytes()), Err(TokenFlaw::Unreadable), "{body}");
        }
    }

    #[test]
    fn it_was_made_for_us_and_given_to_one_of_the_named_clients() {
        let named = BearerSettings {
            audience: vec!["api".to_owned()],
            clients: vec!["cli".to_owned()],
            ..settings()
        };
        let good = json!({"active": true, "aud": ["api", "x"], "client_id": "cli"});
        assert_eq!(judge(&named, &good), Ok(()));
        for (flaw, answer) in [
            (
                TokenFlaw::Audience,
                json!({"active": true, "client_id": "cli"}),
            ),
            (
                TokenFlaw::Audience,
                json!({"active": true, "aud": "us", "client_id": "cli"}),
            ),
            (TokenFlaw::Client, json!({"active": true, "aud": "api"})),
            (
                TokenFlaw::Client,
                json!({"active": true, "aud": "api", "client_id": "evil"}),
            ),
            (
                TokenFlaw::Client,
                json!({"active": true, "aud": "api", "client_id": "cli", "azp": "evil"}),
            ),
        ] {
            assert_eq!(judge(&named, &answer), Err(flaw), "{answer}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_yes_only_with_active_true(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(answer) = read(&body) {
                let verdict = judge(&settings(), &Value::Object(answer.clone()));
                prop_assert!(verdict.is_err() || answer.get("active") == Some(&Value::Bool(true)));
            }
        }
    }
}
