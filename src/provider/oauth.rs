//! OAuth 2.0 as every provider has it: the authorization request and the code exchange.
//!
//! The `oauth2` crate writes the requests and reads the answers; between it and the network stands
//! [`token_answer`](super::token_answer), so that a provider's way of spelling things never reaches it.

use std::borrow::Cow;

use bytes::Bytes;
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    ExtraTokenFields, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
    basic::{
        BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
        BasicTokenType,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::{
    AuthorizeRequest, Call, CodeGrant, GrantTokens, HttpClient, ProviderError,
    token_answer::{TokenRefusal, normalise},
};
use crate::{config::ProviderConfig, text::Text};

/// This gate as a client of one provider.
pub(super) struct OAuthClient {
    id: ClientId,
    secret: Option<ClientSecret>,
    scopes: Vec<Scope>,
}

/// How a client proves itself to the token endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuthentication {
    /// The `Authorization` header.
    Basic,
    /// Parameters of the body, for providers that do not decode the header as the standard says.
    Post,
}

/// The token endpoint.
pub(super) struct TokenEndpoint<'a> {
    pub(super) url: &'a Url,
    pub(super) authentication: ClientAuthentication,
}

impl OAuthClient {
    pub(super) fn new(config: &ProviderConfig) -> Self {
        let secret = config.client_secret.as_ref();
        Self {
            id: ClientId::new(config.client_id.clone()),
            secret: secret.map(|secret| ClientSecret::new(secret.expose().to_owned())),
            scopes: config.scopes.iter().cloned().map(Scope::new).collect(),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The authorization request as a URL. A query that `endpoint` has stays. PKCE is always S256: a
    /// provider that does not know it ignores it, and falling back would let an attacker ask for that.
    pub(super) fn authorize_url(
        &self,
        endpoint: &Url,
        request: &AuthorizeRequest<'_>,
        extra: &[(&'static str, &str)],
    ) -> Url {
        let client =
            StandardClient::new(self.id.clone()).set_auth_uri(AuthUrl::from_url(endpoint.clone()));
        let mut authorization = client
            .authorize_url(|| CsrfToken::new(request.state.to_owned()))
            .set_redirect_uri(redirect_url(request.redirect_uri))
            .add_scopes(self.scopes.iter().cloned())
            .add_extra_param("code_challenge", request.pkce_challenge)
            .add_extra_param("code_challenge_method", "S256");
        for (name, value) in extra {
            authorization = authorization.add_extra_param(*name, *value);
        }
        authorization.url().0
    }

    /// Exchanges the code (RFC 6749 §4.1.3). Never tries twice: a code works once.
    pub(super) async fn exchange(
        &self,
        http: &HttpClient,
        endpoint: &TokenEndpoint<'_>,
        grant: &CodeGrant<'_>,
    ) -> Result<GrantTokens, ProviderError> {
        let mut client = StandardClient::new(self.id.clone())
            .set_token_uri(TokenUrl::from_url(endpoint.url.clone()))
            .set_auth_type(match endpoint.authentication {
                ClientAuthentication::Basic => AuthType::BasicAuth,
                ClientAuthentication::Post => AuthType::RequestBody,
            });
        if let Some(secret) = &self.secret {
            client = client.set_client_secret(secret.clone());
        }
        // Owned, so that the future is `Send` whatever the lifetimes.
        let call = |request| call(http.clone(), request);
        let answer = client
            .exchange_code(AuthorizationCode::new(grant.code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(grant.pkce_verifier.to_owned()))
            .set_redirect_uri(redirect_url(grant.redirect_uri))
            .request_async(&call)
            .await
            .map_err(provider_error)
            .map_err(|error| discreet(error, &[grant.code, grant.pkce_verifier]))?;
        Ok(GrantTokens {
            access: Text::from(answer.access_token().secret().as_str()),
            refresh: answer
                .refresh_token()
                .map(|token| Text::from(token.secret().as_str())),
            id: answer.extra_fields().id_token.as_deref().map(Text::from),
            expires: answer.expires_in().map(|life| grant.now.after(life)),
        })
    }
}

fn redirect_url(url: &Url) -> Cow<'static, RedirectUrl> {
    Cow::Owned(RedirectUrl::from_url(url.clone()))
}

/// One call to the token endpoint, its answer put right.
async fn call(
    http: HttpClient,
    request: oauth2::HttpRequest,
) -> Result<oauth2::HttpResponse, TokenRefusal> {
    let response = http
        .send(request.map(Bytes::from))
        .await
        .map_err(TokenRefusal::Http)?;
    let members = normalise(response.status(), response.body())?;
    Ok(http::Response::new(
        Value::Object(members).to_string().into_bytes(),
    ))
}

fn provider_error(error: RequestTokenError<TokenRefusal, BasicErrorResponse>) -> ProviderError {
    let call = Call::Token;
    match error {
        RequestTokenError::Request(TokenRefusal::Http(error)) => {
            ProviderError::Http { call, error }
        }
        RequestTokenError::Request(TokenRefusal::Error { code, description }) => {
            ProviderError::Refused { code, description }
        }
        RequestTokenError::Request(TokenRefusal::Malformed(problem)) => {
            ProviderError::Answer { call, problem }
        }
        // What we hand to the crate is a success in the standard's types.
        _ => ProviderError::Answer {
            call,
            problem: "not a token response",
        },
    }
}

/// Drops a description that repeats what we sent: it goes to the log, and a code has no place there. The
/// beginning of a secret is enough to know it by, since descriptions are cut short.
fn discreet(error: ProviderError, secrets: &[&str]) -> ProviderError {
    let repeats = |text: &str| {
        secrets.iter().any(|secret| {
            let beginning = secret.get(..8).unwrap_or(secret);
            !beginning.is_empty() && text.contains(beginning)
        })
    };
    match error {
        ProviderError::Refused { code, description } => ProviderError::Refused {
            code,
            description: description.filter(|text| !repeats(text)),
        },
        other => other,
    }
}

/// The crate's client with an ID token in its answers.
type StandardClient = Client<
    BasicErrorResponse,
    StandardTokenResponse<IdTokenField, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

/// What OpenID Connect adds to a token response (Core §3.1.3.3). No `Debug` of the token.
#[derive(Deserialize, Serialize)]
struct IdTokenField {
    id_token: Option<String>,
}

impl std::fmt::Debug for IdTokenField {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("IdTokenField(…)")
    }
}

impl ExtraTokenFields for IdTokenField {}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;
    use crate::{
        clock::Timestamp,
        config::{Allow, ProviderKind, Secret},
        provider::{
            http::HttpError,
            scripted::{Answer, Scripted, Seen},
        },
    };

    fn client(secret: Option<&str>) -> OAuthClient {
        OAuthClient::new(&ProviderConfig {
            name: "test".to_owned(),
            label: "Test".to_owned(),
            kind: ProviderKind::Oidc {
                issuer: String::new(),
            },
            client_id: "my app".to_owned(),
            client_secret: secret.map(|text| Secret::new(text.to_owned())),
            scopes: vec!["openid".to_owned(), "email".to_owned()],
            allow: Allow::Anyone,
            groups_claim: "groups".to_owned(),
        })
    }

    fn back() -> Url {
        Url::parse("https://app.example.com/oauth2/callback/test").unwrap()
    }

    async fn exchange(
        server: &Scripted,
        secret: Option<&str>,
        authentication: ClientAuthentication,
    ) -> Result<GrantTokens, ProviderError> {
        let grant = CodeGrant {
            code: "the/code",
            redirect_uri: &back(),
            pkce_verifier: "verifier",
            nonce: "nonce",
            now: Timestamp(1000),
        };
        let url = server.url("/token");
        let endpoint = TokenEndpoint {
            url: &url,
            authentication,
        };
        client(secret)
            .exchange(&HttpClient::for_test(), &endpoint, &grant)
            .await
    }

    fn form(seen: &Seen) -> HashMap<String, String> {
        url::form_urlencoded::parse(seen.body.as_bytes())
            .into_owned()
            .collect()
    }

    const GOOD: &str =
        r#"{"access_token":"at","token_type":"Bearer","expires_in":"60","id_token":"i.d.t"}"#;

    #[test]
    fn the_authorization_request_has_all_it_needs() {
        let endpoint = Url::parse("https://id.example.com/auth?x=1").unwrap();
        let request = AuthorizeRequest {
            redirect_uri: &back(),
            state: "s&=",
            nonce: "n",
            pkce_challenge: "c",
            switch_account: false,
        };
        let url = client(None).authorize_url(&endpoint, &request, &[("nonce", "n")]);
        let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
        for (name, value) in [
            ("x", "1"),
            ("response_type", "code"),
            ("client_id", "my app"),
            ("redirect_uri", back().as_str()),
            ("scope", "openid email"),
            ("state", "s&="),
            ("code_challenge", "c"),
            ("code_challenge_method", "S256"),
            ("nonce", "n"),
        ] {
            assert_eq!(query[name], value);
        }
        assert_eq!(query.len(), 9);
    }

    #[tokio::test]
    async fn a_secret_goes_into_the_header_or_the_body_but_never_both() {
        let server = Scripted::start().await;
        server.answer("/token", Answer::json(GOOD));
        let secret = "a+b/c=:é%";
        let tokens = exchange(&server, Some(secret), ClientAuthentication::Basic)
            .await
            .unwrap();
        assert_eq!(tokens.access.as_str(), "at");
        assert_eq!(tokens.id.as_deref(), Some("i.d.t"));
        assert_eq!(tokens.expires, Some(Timestamp(1060)));
        exchange(&server, Some(secret), ClientAuthentication::Post)
            .await
            .unwrap();
        exchange(&server, None, ClientAuthentication::Basic)
            .await
            .unwrap();
        let seen = server.requests("/token");

        let basic = seen[0].headers["authorization"].to_str().unwrap();
        let basic = STANDARD
            .decode(basic.strip_prefix("Basic ").unwrap())
            .unwrap();
        let expected = "my+app:a%2Bb%2Fc%3D%3A%C3%A9%25";
        assert_eq!(String::from_utf8(basic).unwrap(), expected);
        let sent = form(&seen[0]);
        assert!(!sent.contains_key("client_secret"));
        assert_eq!(sent["grant_type"], "authorization_code");
        assert_eq!(sent["code"], "the/code");
        assert_eq!(sent["code_verifier"], "verifier");
        assert_eq!(sent["redirect_uri"], back().as_str());
        assert_eq!(seen[0].query, None);

        assert!(!seen[1].headers.contains_key("authorization"));
        assert_eq!(form(&seen[1])["client_secret"], secret);
        assert_eq!(form(&seen[1])["client_id"], "my app");

        assert!(!seen[2].headers.contains_key("authorization"));
        assert_eq!(form(&seen[2])["client_id"], "my app");
    }

    #[tokio::test]
    async fn refusals_keep_their_meaning() {
        let server = Scripted::start().await;
        let refused = ProviderError::Refused {
            code: "invalid_grant".to_owned(),
            description: None,
        };
        let error = r#"{"error":"invalid_grant"}"#;
        for (answer, expected) in [
            (Answer::json(error), refused.clone()),
            (Answer::json(error).with_status(400), refused),
            (
                Answer::text("Retry later").with_status(429),
                ProviderError::Http {
                    call: Call::Token,
                    error: HttpError::Status(http::StatusCode::TOO_MANY_REQUESTS),
                },
            ),
            (
                Answer::text("<html>"),
                ProviderError::Answer {
                    call: Call::Token,
                    problem: "neither JSON nor a form",
                },
            ),
        ] {
            server.answer("/token", answer);
            let result = exchange(&server, None, ClientAuthentication::Basic).await;
            assert_eq!(result.err(), Some(expected));
        }
    }
}
