//! The parts of OAuth 2.0 that all providers share: the authorization request and the code exchange.
//!
//! The `oauth2` crate writes requests and reads answers. [`token_answer`](super::token_answer) is between it and the network, so that it
//! never sees a provider's own variants.

mod introspection;
mod revocation;
mod token_exchange;
mod trial;

use std::{
    borrow::Cow,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{
    Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    ExtraTokenFields, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
    basic::{
        BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
        BasicTokenType,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::{Url, form_urlencoded};

pub use self::token_exchange::read_exchanged_token;
pub(super) use self::{
    introspection::PLAIN,
    revocation::{basic, send_revocation},
    token_exchange::GRANT_TYPE as TOKEN_EXCHANGE,
};
use super::{
    AuthorizeRequest, Call, CodeGrant, HttpClient, ProviderError,
    secret_end::SecretEnd,
    token_answer::{TokenRefusal, normalise},
};
pub(super) use crate::provider::settings::ClientAuthentication;
use crate::{
    clock::Timestamp, provider::settings::ProviderSettings, text::Text, tokens::GrantTokens,
};

/// This gate as a client of one provider.
pub(super) struct OAuthClient {
    provider: String,
    id: ClientId,
    /// None for a public client, two while one is being replaced.
    secrets: Vec<ClientSecret>,
    /// Which of them worked last.
    working: AtomicUsize,
    secret_end: SecretEnd,
    scopes: Vec<Scope>,
    pkce: bool,
    /// What the operator adds to the authorization request.
    authorize_params: Vec<(String, String)>,
}

/// What tokens are asked for with.
enum Spent<'a> {
    Code(&'a CodeGrant<'a>),
    RefreshToken(&'a str),
}

/// The token endpoint.
pub(super) struct TokenEndpoint<'a> {
    pub(super) url: &'a Url,
    pub(super) authentication: ClientAuthentication,
}

impl OAuthClient {
    pub(super) fn new(config: &ProviderSettings) -> Self {
        Self {
            provider: config.name.clone(),
            id: ClientId::new(config.client_id.clone()),
            secrets: config
                .client_secrets
                .iter()
                .map(|secret| ClientSecret::new(secret.expose().to_owned()))
                .collect(),
            working: AtomicUsize::new(0),
            secret_end: SecretEnd::default(),
            scopes: config.scopes.iter().cloned().map(Scope::new).collect(),
            authorize_params: config.authorize_params.clone(),
            pkce: true,
        }
    }

    /// For a provider that does not know PKCE, and says so.
    pub(super) fn without_pkce(mut self) -> Self {
        self.pkce = false;
        self
    }

    /// Asks for `scope` too, because something in the configuration cannot be known without. Who asks for no
    /// scopes at all has an app whose permissions stand at the provider, and stays so.
    pub(super) fn with_scope(mut self, scope: &str) -> Self {
        let is_it = |known: &Scope| known.as_str() == scope;
        if !self.scopes.is_empty() && !self.scopes.iter().any(is_it) {
            self.scopes.push(Scope::new(scope.to_owned()));
        }
        self
    }

    /// For a provider that separates scopes by something else than a space.
    pub(super) fn with_scopes_joined(mut self, separator: &str) -> Self {
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        self.scopes = vec![Scope::new(scopes.join(separator))];
        self
    }

    /// The secret that worked last; the first until one did.
    pub(super) fn secret(&self) -> Option<&str> {
        let secret = self.secrets.get(self.working.load(Ordering::Relaxed));
        secret.map(|secret| secret.secret().as_str())
    }

    /// When the secret ends, where the provider has said so.
    pub(super) fn secret_valid_until(&self) -> Option<Timestamp> {
        self.secret_end.get()
    }

    /// What is asked for.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().map(|scope| scope.as_str())
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The authorization request as a URL. A query that `endpoint` has stays. PKCE is S256 wherever the
    /// provider does not say that it knows none: one that does not know it ignores it, and falling back
    /// would let an attacker ask for that.
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
            .add_scopes(self.scopes.iter().cloned());
        if self.pkce {
            authorization = authorization
                .add_extra_param("code_challenge", request.pkce_challenge)
                .add_extra_param("code_challenge_method", "S256");
        }
        for (name, value) in extra {
            authorization = authorization.add_extra_param(*name, *value);
        }
        with_params(authorization.url().0, &self.authorize_params)
    }

    /// Exchanges the code (RFC 6749 §4.1.3).
    pub(super) async fn exchange(
        &self,
        http: &HttpClient,
        endpoint: &TokenEndpoint<'_>,
        grant: &CodeGrant<'_>,
    ) -> Result<GrantTokens, ProviderError> {
        let spent = Spent::Code(grant);
        self.spend(http, endpoint, &spent, grant.now).await
    }

    /// Refreshes tokens (RFC 6749 §6). Asks for no scopes, so that those of the login stand.
    pub(super) async fn refresh(
        &self,
        http: &HttpClient,
        endpoint: &TokenEndpoint<'_>,
        refresh_token: &str,
        now: Timestamp,
    ) -> Result<GrantTokens, ProviderError> {
        let spent = Spent::RefreshToken(refresh_token);
        let http = http.within(REFRESH_TIMEOUT);
        self.spend(&http, endpoint, &spent, now).await
    }

    /// What is spent works once, so it is never sent twice, but where the provider turns the client away
    /// before it looks at it: then the other secret has its turn.
    async fn spend(
        &self,
        http: &HttpClient,
        endpoint: &TokenEndpoint<'_>,
        spent: &Spent<'_>,
        now: Timestamp,
    ) -> Result<GrantTokens, ProviderError> {
        let first = self.working.load(Ordering::Relaxed);
        let mut outcome = self.spend_as(first, http, endpoint, spent, now).await;
        for other in (0..self.secrets.len()).filter(|&other| other != first) {
            match &outcome {
                Err(error) if error.is_invalid_client() => {}
                _ => break,
            }
            outcome = self.spend_as(other, http, endpoint, spent, now).await;
            if outcome.is_ok() {
                self.working.store(other, Ordering::Relaxed);
                tracing::warn!(
                    provider = self.provider,
                    "client secret {} of {} no longer works; the other one does",
                    first + 1,
                    self.secrets.len(),
                );
            }
        }
        outcome
    }

    async fn spend_as(
        &self,
        secret: usize,
        http: &HttpClient,
        endpoint: &TokenEndpoint<'_>,
        spent: &Spent<'_>,
        now: Timestamp,
    ) -> Result<GrantTokens, ProviderError> {
        let mut client = StandardClient::new(self.id.clone())
            .set_token_uri(TokenUrl::from_url(endpoint.url.clone()))
            .set_auth_type(match endpoint.authentication {
                ClientAuthentication::Basic => AuthType::BasicAuth,
                ClientAuthentication::Post => AuthType::RequestBody,
            });
        let secret = self.secrets.get(secret);
        if let Some(secret) = secret {
            client = client.set_client_secret(secret.clone());
        }
        // Owned, so that the future is `Send` whatever the lifetimes.
        let call = |request| call(http.clone(), request);
        let secret = secret.map_or("", |secret| secret.secret().as_str());
        let (answer, private) = match spent {
            Spent::Code(grant) => {
                let mut request = client
                    .exchange_code(AuthorizationCode::new(grant.code.to_owned()))
                    .set_redirect_uri(redirect_url(grant.redirect_uri));
                if self.pkce {
                    let verifier = PkceCodeVerifier::new(grant.pkce_verifier.to_owned());
                    request = request.set_pkce_verifier(verifier);
                }
                let private = [grant.code, grant.pkce_verifier, secret];
                (request.request_async(&call).await, private)
            }
            Spent::RefreshToken(token) => {
                let token_sent = RefreshToken::new((*token).to_owned());
                let request = client.exchange_refresh_token(&token_sent);
                (request.request_async(&call).await, [*token, secret, ""])
            }
        };
        let answer = answer
            .map_err(provider_error)
            .map_err(|error| discreet(error, &private))?;
        if let Some(end) = answer.extra_fields().secret_valid_until {
            self.secret_end.note(Timestamp(end), now, &self.provider);
        }
        Ok(GrantTokens {
            access: Text::from(answer.access_token().secret().as_str()),
            refresh: answer
                .refresh_token()
                .map(|token| Text::from(token.secret().as_str())),
            id: answer.extra_fields().id_token.as_deref().map(Text::from),
            expires: answer.expires_in().map(|life| now.after(life)),
        })
    }
}

/// `url` with the operator's parameters. What the login itself says there stands: a parameter twice is an
/// error (RFC 6749 §3.1), and its state, challenge or nonce said otherwise would take its defences away.
fn with_params(mut url: Url, params: &[(String, String)]) -> Url {
    let said: Vec<String> = url
        .query_pairs()
        .map(|(name, _)| name.into_owned())
        .collect();
    let added = params
        .iter()
        .filter(|(name, _)| !RESERVED.contains(&name.as_str()) && !said.contains(name));
    for (name, value) in added {
        url.query_pairs_mut().append_pair(name, value);
    }
    url
}

/// How long the answer to a refresh is waited for. Nobody waits with it, so it may take long; and it must, for to give
/// up is not to know whether the refresh token is spent.
pub const REFRESH_TIMEOUT: Duration = Duration::from_mins(2);

/// What only the login says, also to providers that get some of it not at all. `request` and
/// `request_uri` would replace the others (RFC 9101), `response_mode` the way back.
const RESERVED: [&str; 11] = [
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
];

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
        RequestTokenError::Request(error) => refusal(call, error),
        // What we hand to the crate is a success in the standard's types.
        _ => ProviderError::Answer {
            call,
            problem: "not a token response",
        },
    }
}

fn refusal(call: Call, error: TokenRefusal) -> ProviderError {
    match error {
        TokenRefusal::Http(error) => ProviderError::Http { call, error },
        TokenRefusal::Error { code, description } => ProviderError::Refused { code, description },
        TokenRefusal::Malformed(problem) => ProviderError::Answer { call, problem },
    }
}

/// A request with `form`, by which the client proves itself as `endpoint` takes it (RFC 6749 §2.3.1).
fn authenticated_form(
    id: &str,
    secret: Option<&str>,
    endpoint: &TokenEndpoint<'_>,
    mut form: form_urlencoded::Serializer<'_, String>,
) -> http::Result<Request<Bytes>> {
    let mut request = Request::post(endpoint.url.as_str())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    match (secret, endpoint.authentication) {
        (Some(secret), ClientAuthentication::Basic) => {
            request = request.header(AUTHORIZATION, basic(id, secret));
        }
        (secret, _) => {
            form.append_pair("client_id", id);
            if let Some(secret) = secret {
                form.append_pair("client_secret", secret);
            }
        }
    }
    request.body(Bytes::from(form.finish()))
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

/// The crate's client with further fields in its answers.
type StandardClient = Client<
    BasicErrorResponse,
    StandardTokenResponse<FurtherFields, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

/// What OpenID Connect adds to a token response (Core §3.1.3.3), and what 42 does. No `Debug` of the token.
#[derive(Deserialize, Serialize)]
struct FurtherFields {
    id_token: Option<String>,
    secret_valid_until: Option<u64>,
}

impl std::fmt::Debug for FurtherFields {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FurtherFields(…)")
    }
}

impl ExtraTokenFields for FurtherFields {}

#[cfg(test)]
mod tests;
