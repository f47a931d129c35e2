//! Exchanges a token (RFC 8693).

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::Value;
use url::form_urlencoded;

use super::{OAuthClient, TokenEndpoint, authenticated_form, discreet, refusal};
use crate::{
    clock::Timestamp,
    provider::{
        Call, HttpClient, ProviderError,
        bearer::LONGEST,
        http::HttpError,
        token_answer::{members, normalise},
    },
    route::TokenExchange,
    text::Text,
    tokens::GrantTokens,
};

const CALL: Call = Call::TokenExchange;

impl OAuthClient {
    /// An access token for what `wanted` names, in the name of whoever holds `subject_token` (RFC 8693 §2.1). To ask twice
    /// is harmless.
    ///
    /// # Errors
    /// That there is none, or none that can be used.
    pub(in crate::provider) async fn exchange_token(
        &self,
        http: &HttpClient,
        endpoint: &TokenEndpoint<'_>,
        subject_token: &str,
        wanted: &TokenExchange,
        now: Timestamp,
    ) -> Result<GrantTokens, ProviderError> {
        let first = self.working.load(Ordering::Relaxed);
        let ask = |secret| self.exchange_as(secret, http, endpoint, (subject_token, wanted), now);
        let mut answer = ask(first).await;
        for other in (0..self.secrets.len()).filter(|&other| other != first) {
            if !matches!(&answer, Err(error) if error.is_invalid_client()) {
                break;
            }
            answer = ask(other).await;
            if answer.is_ok() {
                self.working.store(other, Ordering::Relaxed);
            }
        }
        answer
    }

    async fn exchange_as(
        &self,
        secret: usize,
        http: &HttpClient,
        endpoint: &TokenEndpoint<'_>,
        (subject_token, wanted): (&str, &TokenExchange),
        now: Timestamp,
    ) -> Result<GrantTokens, ProviderError> {
        let secret = self.secrets.get(secret);
        let secret = secret.map(|secret| secret.secret().as_str());
        let request = asking(&self.id, secret, endpoint, subject_token, wanted);
        let request = request.map_err(|_| http_error(HttpError::ForbiddenUrl))?;
        let response = http.send(request).await.map_err(http_error)?;
        let private = [subject_token, secret.unwrap_or_default()];
        let read = read_exchanged_token(response.status(), response.body(), now);
        read.map_err(|error| discreet(error, &private))
    }
}

fn asking(
    id: &str,
    secret: Option<&str>,
    endpoint: &TokenEndpoint<'_>,
    subject_token: &str,
    wanted: &TokenExchange,
) -> http::Result<Request<Bytes>> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", GRANT_TYPE)
        .append_pair("subject_token", subject_token)
        .append_pair("subject_token_type", ACCESS_TOKEN)
        .append_pair("requested_token_type", ACCESS_TOKEN);
    for audience in &wanted.audience {
        form.append_pair("audience", audience);
    }
    for resource in &wanted.resource {
        form.append_pair("resource", resource);
    }
    if !wanted.scopes.is_empty() {
        form.append_pair("scope", &wanted.scopes.join(" "));
    }
    authenticated_form(id, secret, endpoint, form)
}

/// The token in an answer.
///
/// # Errors
/// That there is none, or none for an app.
pub fn read_exchanged_token(
    status: StatusCode,
    body: &[u8],
    now: Timestamp,
) -> Result<GrantTokens, ProviderError> {
    let members = normalise(status, body);
    let members = members.map_err(|error| refusal(CALL, error))?;
    let unusable = |problem| ProviderError::Answer {
        call: CALL,
        problem,
    };
    if !is_access_token(body) {
        return Err(unusable("issued_token_type is not an access token"));
    }
    let token = members.get("access_token").and_then(Value::as_str);
    let token = token.filter(|token| token.len() <= LONGEST);
    let token = token.ok_or_else(|| unusable("the token is too long for a header"))?;
    let expires_in = members.get("expires_in").and_then(Value::as_u64);
    Ok(GrantTokens {
        access: Text::from(token),
        refresh: None,
        id: None,
        expires: expires_in.map(|seconds| Timestamp(now.0.saturating_add(seconds))),
    })
}

/// Whether the answer says so (RFC 8693 §2.2.1). Some servers leave it out, and a JWT may be an access token (§3); an ID token
/// or a refresh token must not get to an app.
fn is_access_token(body: &[u8]) -> bool {
    let answer = members(body);
    let kind = answer
        .as_ref()
        .and_then(|answer| answer.get("issued_token_type"));
    kind.is_none_or(|kind| [ACCESS_TOKEN, JWT].map(Some).contains(&kind.as_str()))
}

fn http_error(error: HttpError) -> ProviderError {
    ProviderError::Http { call: CALL, error }
}

pub(in crate::provider) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::provider::settings::ClientAuthentication;

    const NOW: Timestamp = Timestamp(1_000);

    fn at(status: u16, body: &[u8]) -> Result<GrantTokens, ProviderError> {
        read_exchanged_token(StatusCode::from_u16(status).unwrap(), body, NOW)
    }

    #[test]
    fn asks_as_the_standard_has_it() {
        let url = url::Url::parse("https://id.example.com/token").unwrap();
        let endpoint = TokenEndpoint {
            url: &url,
            authentication: ClientAuthentication::Post,
        };
        let wanted = TokenExchange {
            audience: vec!["orders".to_owned(), "stock".to_owned()],
            resource: vec!["https://api.example.com/".to_owned()],
            scopes: vec!["read".to_owned(), "write".to_owned()],
        };
        let request = asking("us", Some("words"), &endpoint, "a.b", &wanted).unwrap();
        let form: Vec<(String, String)> = form_urlencoded::parse(request.body())
            .into_owned()
            .collect();
        let expected = [
            ("grant_type", GRANT_TYPE),
            ("subject_token", "a.b"),
            ("subject_token_type", ACCESS_TOKEN),
            ("requested_token_type", ACCESS_TOKEN),
            ("audience", "orders"),
            ("audience", "stock"),
            ("resource", "https://api.example.com/"),
            ("scope", "read write"),
            ("client_id", "us"),
            ("client_secret", "words"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(form, expected);
    }

    #[test]
    fn only_an_access_token_is_passed_on() {
        let answer = |kind: Value| {
            let answer = json!({
                "access_token": "t", "token_type": "Bearer", "expires_in": 60, "issued_token_type": kind,
            });
            at(200, answer.to_string().as_bytes())
        };
        for good in [ACCESS_TOKEN, JWT] {
            let tokens = answer(good.into()).ok().unwrap();
            assert_eq!(&*tokens.access, "t");
            assert_eq!(tokens.expires, Some(Timestamp(1_060)));
        }
        for bad in [
            json!("urn:ietf:params:oauth:token-type:id_token"),
            json!("urn:ietf:params:oauth:token-type:refresh_token"),
            json!(""),
            json!(7),
            json!(null),
        ] {
            assert!(answer(bad.clone()).is_err(), "{bad}");
        }
        // Some servers answer with a form.
        let form = |kind: &str| {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("access_token", "t")
                .append_pair("issued_token_type", kind);
            at(200, form.finish().as_bytes())
        };
        assert!(form(ACCESS_TOKEN).is_ok());
        assert!(form("urn:ietf:params:oauth:token-type:refresh_token").is_err());
        for (status, body) in [
            (200, json!({ "access_token": "t", "token_type": "N_A" })),
            (200, json!({ "access_token": "t", "token_type": "DPoP" })),
            (
                200,
                json!({ "access_token": "x".repeat(LONGEST + 1), "token_type": "Bearer" }),
            ),
            (
                200,
                json!({ "access_token": "a b", "token_type": "Bearer" }),
            ),
            (200, json!({})),
            (400, json!({ "error": "invalid_target" })),
            (503, json!({ "access_token": "t", "token_type": "Bearer" })),
        ] {
            assert!(at(status, body.to_string().as_bytes()).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_token_for_a_header_or_none(status in 100_u16..600, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(tokens) = at(status, &body) {
                prop_assert!(tokens.access.bytes().iter().all(u8::is_ascii_graphic));
                prop_assert!(!tokens.access.is_empty() && tokens.access.len() <= LONGEST);
            }
        }
    }
}
