//! Pure: what a provider's answer about a token is worth (RFC 7662 §2.2), signed or not (RFC 9701 §5).

use std::time::Duration;

use http::{HeaderMap, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::{
    bearer::{self, BearerSettings, TokenFlaw},
    kind::ConfigIssue,
    settings::ProviderSettings,
};
use crate::{
    clock::Timestamp,
    jose::{self, JwtError, KeySet, LEEWAY, text, time},
};

/// No server says anything of tokens to somebody who does not prove who they are (RFC 7662 §2.1).
pub(super) fn check(settings: &ProviderSettings) -> Option<ConfigIssue> {
    let bearer = settings.bearer.as_ref()?;
    let is_public = bearer.introspect && settings.client_secrets.is_empty();
    is_public.then_some(ConfigIssue {
        key: "bearer",
        problem: "introspect needs client_secret",
        hint: "a provider answers only a client that authenticates; or leave introspect out, if its tokens are signed",
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

/// Whether an answer says that it is signed.
pub fn is_signed(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(SIGNED))
}

/// The members of a signed answer, all checks of the signature passed. `expected` has the types [`SIGNED_TYPES`].
///
/// # Errors
/// That the provider has not signed it, not now, or not for this client. Without `typ` it may be another token of the provider's, which
/// anybody may have got.
pub fn read_signed(
    body: &[u8],
    keys: &KeySet,
    expected: &jose::Expected<'_>,
) -> Result<Map<String, Value>, JwtError> {
    let token = str::from_utf8(body).map_err(|_| JwtError::Malformed)?;
    let verified = jose::verify(token.trim_ascii(), keys, expected)?;
    if verified.kind.is_none() {
        return Err(JwtError::Type);
    }
    let mut claims = verified.claims;
    match claims.remove("token_introspection") {
        Some(Value::Object(answer)) => Ok(answer),
        _ => Err(JwtError::Malformed),
    }
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

/// The type of a signed answer (RFC 9701 §5), and what is asked for where answers have to be signed.
pub const SIGNED: &str = "application/token-introspection+jwt";
/// `typ` of a signed answer, short and in full (RFC 7515 §4.1.9).
pub const SIGNED_TYPES: [&str; 2] = ["token-introspection+jwt", SIGNED];
/// The greatest age of a signed answer, which has no `exp`: a call takes five seconds at most, and clocks differ.
pub const ANSWER_AGE: Duration = Duration::from_mins(2);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::jose::{Algorithm, Audience, TestKey};

    const NOW: u64 = 1_800_000_000;

    fn settings() -> BearerSettings {
        BearerSettings {
            audience: Vec::new(),
            introspect: true,
            ..BearerSettings::for_test()
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

    /// What an answer with these changes to header and claims says; null takes a member away.
    fn signed(header: &Value, changes: &Value) -> Result<Map<String, Value>, JwtError> {
        let key = TestKey::ec("k");
        let lay = |mut under: Value, over: &Value| {
            for (name, value) in over.as_object().unwrap() {
                match value {
                    Value::Null => _ = under.as_object_mut().unwrap().remove(name),
                    value => under[name] = value.clone(),
                }
            }
            under
        };
        let under = json!({ "alg": key.algorithm(), "kid": key.kid, "typ": SIGNED_TYPES[0] });
        let header = lay(under, header);
        let claims = json!({
            "iss": "https://id.example.com", "aud": "us", "iat": NOW,
            "token_introspection": { "active": true, "sub": "1" },
        });
        let audience = ["us".to_owned()];
        let expected = jose::Expected {
            issuer: "https://id.example.com",
            issues: |issuer, iss| issuer == iss,
            algorithms: &[Algorithm::ES256],
            types: &SIGNED_TYPES,
            audience: Audience::Resource(&audience),
            max_age: Some(ANSWER_AGE),
            may_lack_exp: true,
            now: Timestamp(NOW),
        };
        let keys = KeySet::read(&json!({ "keys": [key.jwk()] })).unwrap();
        let token = key.sign_with(&header, &lay(claims, changes));
        read_signed(format!("{token}\n").as_bytes(), &keys, &expected)
    }

    #[test]
    fn a_signed_answer_is_the_issuers_for_this_client_and_of_now() {
        for (header, changes) in [
            (json!({}), json!({})),
            (json!({ "typ": SIGNED }), json!({ "aud": ["us", "them"] })),
            (json!({}), json!({ "exp": NOW + 9, "iat": NOW - 100 })),
        ] {
            let answer = signed(&header, &changes).unwrap();
            assert_eq!(answer.get("sub"), Some(&json!("1")), "{changes}");
        }
        for (header, changes, error) in [
            (json!({ "typ": null }), json!({}), JwtError::Type),
            (json!({ "typ": "JWT" }), json!({}), JwtError::Type),
            (json!({ "typ": "at+jwt" }), json!({}), JwtError::Type),
            (json!({ "alg": "none" }), json!({}), JwtError::Algorithm),
            (json!({ "alg": "HS256" }), json!({}), JwtError::Algorithm),
            (
                json!({}),
                json!({ "iss": "https://evil.example" }),
                JwtError::Issuer,
            ),
            (json!({}), json!({ "iss": null }), JwtError::Issuer),
            (json!({}), json!({ "aud": "them" }), JwtError::Audience),
            (json!({}), json!({ "aud": null }), JwtError::Audience),
            (json!({}), json!({ "iat": null }), JwtError::IssuedAt),
            (json!({}), json!({ "iat": NOW - 121 }), JwtError::IssuedAt),
            (json!({}), json!({ "iat": NOW + 61 }), JwtError::IssuedAt),
            (json!({}), json!({ "exp": NOW - 60 }), JwtError::Expired),
            (
                json!({}),
                json!({ "token_introspection": null }),
                JwtError::Malformed,
            ),
            (
                json!({}),
                json!({ "token_introspection": "x", "active": true }),
                JwtError::Malformed,
            ),
        ] {
            assert_eq!(signed(&header, &changes), Err(error), "{header} {changes}");
        }
    }

    #[test]
    fn a_signed_answer_is_told_by_its_type() {
        let is = |kind: &'static str| {
            let kind = http::HeaderValue::from_static(kind);
            is_signed(&[(CONTENT_TYPE, kind)].into_iter().collect())
        };
        assert!(is(SIGNED) && is("Application/Token-Introspection+JWT; charset=utf-8"));
        assert!(!is("application/json") && !is("application/jwt") && !is(""));
        assert!(!is_signed(&HeaderMap::new()));
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
