//! Plain OAuth 2.0: the code exchange, and then an API that says who the token belongs to.
//!
//! What all such kinds share is [`Rest`]. What is special about a kind is a [`OAuthProfile`] (data) and a [`UserLookup`] (the calls that
//! find the user). The token itself says nothing. So the identity is what the API answers right after the exchange, at the configured
//! address.

mod api;
mod bearer;
pub(super) mod by_hand;
pub(super) mod discord;
pub(super) mod facebook;
pub(super) mod forty_two;
pub(super) mod github;
mod pace;
#[cfg(test)]
mod testing;

use bytes::Bytes;
use http::Request;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use url::Url;

use super::{
    AuthorizeRequest, BearerMatch, BearerTerms, CodeGrant, Grant, HttpClient, Inspection, Profile,
    Provider, ProviderError, RefreshedTokens, Subject, SubjectToken,
    bearer::BearerSettings,
    claims::{ClaimNames, ClaimRules, Evidence},
    http::endpoint_url,
    oauth::{ClientAuthentication, OAuthClient, TokenEndpoint, send_revocation},
    token_info::TokenCheck,
};
use crate::{
    access::Allow,
    clock::Timestamp,
    credential::Verified,
    identity::{Authentication, Identity},
    identity_headers::HeaderSource,
    provider::settings::ProviderSettings,
    route::TokenExchange,
    text::Text,
    tokens::{GrantTokens, Tokens},
};
use futures_util::future::BoxFuture;

/// A provider of plain OAuth 2.0.
struct Rest<D> {
    profile: Profile,
    client: OAuthClient,
    http: HttpClient,
    authorize_url: Url,
    token_url: Url,
    revocation_url: Option<Url>,
    revocation: Revocation,
    authentication: ClientAuthentication,
    switch_account: &'static [(&'static str, &'static str)],
    /// What `iss` says where it is there (RFC 9207).
    issuer: Option<String>,
    rules: ClaimRules,
    directory: D,
    /// Which tokens open the gate by themselves.
    bearer: Option<BearerSettings>,
    /// Asks about tokens, over connections that are kept.
    introspection_http: HttpClient,
    introspection_url: Option<Url>,
    /// How tokens are asked about, where that is not RFC 7662.
    token_info: Option<TokenCheck>,
    /// Those who bring a bearer token and may wait for the provider's word.
    bringers: Semaphore,
}

/// How a kind speaks OAuth.
struct OAuthProfile {
    /// How the client proves itself where the configuration does not say.
    authentication: ClientAuthentication,
    /// Whether it is sent a code challenge.
    pkce: bool,
    /// What is between scopes; RFC 6749 §3.3 has a space.
    scope_separator: &'static str,
    /// Asked for beside what the configuration names, because its allow lists need it.
    further_scope: Option<&'static str>,
    /// What makes it ask for another account.
    switch_account: &'static [(&'static str, &'static str)],
    /// What `iss` says where it is there.
    issuer: Option<String>,
    /// How it takes tokens back.
    revocation: Revocation,
    /// How it is asked about tokens, where that is not RFC 7662.
    token_info: Option<TokenCheck>,
    /// Where things stand in what the directory finds.
    names: ClaimNames,
}

/// How a kind takes tokens back, where it has an address for that.
#[derive(Clone, Copy)]
enum Revocation {
    /// By the standard (RFC 7009).
    Standard,
    /// In its own way; none where the session lacks the token that it takes.
    Own(fn(&Revoking<'_>) -> Option<http::Result<Request<Bytes>>>),
}

/// What is to be taken back, and where.
struct Revoking<'a> {
    url: &'a Url,
    client_id: &'a str,
    client_secret: Option<&'a str>,
    tokens: &'a Tokens,
}

/// Finds who holds a token.
trait UserLookup: Send + Sync + 'static {
    /// Who it is, in the provider's words.
    fn find(
        &self,
        bearer: &Bearer<'_>,
    ) -> impl Future<Output = Result<UserRecord, ProviderError>> + Send;
}

/// With what a directory is asked.
struct Bearer<'a> {
    token: &'a str,
    client_secret: Option<&'a str>,
    now: Timestamp,
}

/// Somebody, as a directory knows them.
struct UserRecord {
    claims: Map<String, Value>,
    /// What the kind's own allow lists may name: the list's key, and what somebody has there.
    memberships: Vec<(&'static str, String)>,
}

impl<D: UserLookup> Rest<D> {
    fn new(
        config: &ProviderSettings,
        headers: &[&HeaderSource],
        http: &HttpClient,
        dialect: OAuthProfile,
        directory: D,
    ) -> Self {
        let mut client = OAuthClient::new(config);
        if let Some(scope) = dialect.further_scope {
            client = client.with_scope(scope);
        }
        if dialect.scope_separator != " " {
            client = client.with_scopes_joined(dialect.scope_separator);
        }
        if !dialect.pkce {
            client = client.without_pkce();
        }
        Self {
            profile: Profile::of(config),
            client,
            http: http.clone(),
            authorize_url: endpoint(config, "authorize_url"),
            token_url: endpoint(config, "token_url"),
            revocation_url: config
                .endpoint("revocation_url")
                .and_then(|text| endpoint_url(text, config.plain_http())),
            revocation: dialect.revocation,
            authentication: config
                .client_authentication
                .unwrap_or(dialect.authentication),
            switch_account: dialect.switch_account,
            issuer: dialect.issuer,
            rules: ClaimRules::new(config, dialect.names, headers),
            directory,
            bearer: config.bearer_of_own_app(dialect.token_info.is_some()),
            introspection_http: http.for_introspection(),
            introspection_url: config
                .endpoint("introspection_url")
                .and_then(|text| endpoint_url(text, config.plain_http())),
            token_info: dialect.token_info,
            bringers: Semaphore::new(super::bearer::BRINGERS),
        }
    }

    async fn exchange(&self, grant: &CodeGrant<'_>) -> Result<Grant, ProviderError> {
        let endpoint = self.token_endpoint();
        let mut tokens = self.client.exchange(&self.http, &endpoint, grant).await?;
        // Nobody has checked it, and nobody is to take it for checked.
        tokens.id = None;
        let (mut identity, evidence) = self.holder(&tokens.access, grant.now).await?;
        identity.authentication = Authentication::by_login(grant.now);
        Ok(Grant {
            identity,
            tokens,
            provider_session: None,
            evidence,
        })
    }

    /// Who holds the token `access`, and what the allow lists looked at.
    async fn holder(
        &self,
        access: &str,
        now: Timestamp,
    ) -> Result<(Identity, Evidence), ProviderError> {
        let bearer = Bearer {
            token: access,
            client_secret: self.client.secret(),
            now,
        };
        let person = self.directory.find(&bearer).await?;
        let reported = person.memberships.into_iter();
        let reported = reported.map(|(key, entry)| (Text::from(key), Text::from(entry)));
        let reported: Vec<(Text, Text)> = reported.collect();
        let evidence = self.rules.evidence(&person.claims, &reported);
        let identity = self.rules.identity_with(&person.claims, reported)?;
        Ok((identity, evidence))
    }

    fn token_endpoint(&self) -> TokenEndpoint<'_> {
        TokenEndpoint {
            url: &self.token_url,
            authentication: self.authentication,
        }
    }
}

impl<D: UserLookup> Provider for Rest<D> {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn lists(&self) -> Vec<(&str, Option<&str>)> {
        self.rules.lists().collect()
    }

    fn authorize<'a>(
        &'a self,
        request: &'a AuthorizeRequest<'a>,
    ) -> BoxFuture<'a, Result<Url, ProviderError>> {
        // What has a person choose an account is the nearest that these have to a fresh login.
        let is_fresh = request.step_up.max_age.is_some();
        let extra = if request.switch_account || is_fresh {
            self.switch_account
        } else {
            &[]
        };
        let url = self
            .client
            .authorize_url(&self.authorize_url, request, extra);
        Box::pin(async { Ok(url) })
    }

    fn check_issuer<'a>(
        &'a self,
        iss: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        let outcome = match (&self.issuer, iss) {
            (Some(issuer), Some(iss)) if issuer != iss => Err(ProviderError::Issuer),
            _ => Ok(()),
        };
        Box::pin(async { outcome })
    }

    fn redeem<'a>(
        &'a self,
        grant: &'a CodeGrant<'a>,
    ) -> BoxFuture<'a, Result<Grant, ProviderError>> {
        Box::pin(self.exchange(grant))
    }

    fn bearer_terms(&self) -> Option<BearerTerms> {
        self.bearer.as_ref().map(BearerSettings::terms)
    }

    fn matches_bearer(&self, token: &str, iss: Option<&str>) -> BearerMatch {
        self.bearer_match(token, iss)
    }

    fn prove_bearer<'a>(
        &'a self,
        token: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Verified, ProviderError>> {
        Box::pin(self.proven_bearer(token, now))
    }

    fn prove_subject<'a>(
        &'a self,
        token: SubjectToken<'a>,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Subject, ProviderError>> {
        Box::pin(self.proven_subject(token, now))
    }

    fn refresh<'a>(
        &'a self,
        refresh_token: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<GrantTokens, ProviderError>> {
        Box::pin(async move {
            let endpoint = self.token_endpoint();
            let mut tokens = self
                .client
                .refresh(&self.http, &endpoint, refresh_token, now)
                .await?;
            tokens.id = None;
            Ok(tokens)
        })
    }

    fn identify<'a>(
        &'a self,
        refreshed: &'a RefreshedTokens<'a>,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>> {
        Box::pin(async {
            let (identity, _) = self.holder(&refreshed.tokens.access, refreshed.now).await?;
            Ok(identity)
        })
    }

    fn exchange_token<'a>(
        &'a self,
        access_token: &'a str,
        wanted: &'a TokenExchange,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<GrantTokens, ProviderError>> {
        Box::pin(async move {
            let endpoint = self.token_endpoint();
            let http = &self.introspection_http;
            self.client
                .exchange_token(http, &endpoint, access_token, wanted, now)
                .await
        })
    }

    fn revoke<'a>(&'a self, tokens: &'a Tokens) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let Some(url) = &self.revocation_url else {
                return Ok(());
            };
            match self.revocation {
                Revocation::Standard => {
                    let endpoint = TokenEndpoint {
                        url,
                        ..self.token_endpoint()
                    };
                    self.client.revoke(&self.http, &endpoint, tokens).await
                }
                Revocation::Own(own) => {
                    let request = own(&Revoking {
                        url,
                        client_id: self.client.id(),
                        client_secret: self.client.secret(),
                        tokens,
                    });
                    match request {
                        Some(request) => send_revocation(&self.http, request).await,
                        None => Ok(()),
                    }
                }
            }
        })
    }

    fn probe(&self) -> Option<Url> {
        Some(self.authorize_url.clone())
    }

    fn inspect<'a>(&'a self, redirect_uri: &'a Url) -> BoxFuture<'a, Inspection> {
        Box::pin(async move {
            let endpoint = self.token_endpoint();
            let trials = self.client.try_secrets(&self.http, &endpoint, redirect_uri);
            Inspection {
                trials: trials.await,
                ..Inspection::default()
            }
        })
    }

    fn secret_valid_until(&self) -> Option<Timestamp> {
        self.client.secret_valid_until()
    }
}

/// The address that the configuration has for `key`.
fn endpoint(config: &ProviderSettings, key: &str) -> Url {
    config
        .endpoint(key)
        .and_then(|text| endpoint_url(text, config.plain_http()))
        .expect("the configuration has a checked address for each endpoint of its kind")
}

/// Whether `allow` has a list of one of `keys`.
fn asks_for(allow: &Allow, keys: &[&str]) -> bool {
    let mut lists = allow.lists().iter();
    lists.any(|list| keys.contains(&list.key.as_str()))
}

/// Text or a whole number at `name`.
fn text(value: &Value, name: &str) -> Option<String> {
    match value.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// The list at `name`; empty where there is none.
fn list<'v>(claims: &'v Map<String, Value>, name: &str) -> &'v [Value] {
    match claims.get(name) {
        Some(Value::Array(list)) => list,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            catalog,
            kind::{AccountSwitch, Kind},
            scripted::{Answer, Scripted, Seen},
        },
        testing::{anyone, parameters},
    };
    use crate::tokens::Tokens;

    fn tokens(access: Option<&str>, refresh: Option<&str>) -> Tokens {
        Tokens {
            access: access.map(Into::into),
            refresh: refresh.map(Into::into),
            ..Tokens::default()
        }
    }

    /// What `kind` sends to `path` to have `tokens` taken back.
    async fn revocations(kind: &'static Kind, path: &str, tokens: &Tokens) -> Vec<Seen> {
        let server = Scripted::start().await;
        server.answer(path, Answer::status(204));
        anyone(kind, &server).revoke(tokens).await.unwrap();
        server.requests(path)
    }

    #[tokio::test]
    async fn tokens_are_taken_back_in_each_kinds_way() {
        let both = tokens(Some("a"), Some("r"));
        let seen = revocations(&catalog::DISCORD, "/api/oauth2/token/revoke", &both).await;
        assert_eq!(seen[0].body, "token=r&token_type_hint=refresh_token");
        assert_eq!(seen[0].headers["authorization"], "Basic dXM6c2ho");
        let access = tokens(Some("a"), None);
        let seen = revocations(&catalog::OAUTH2, "/revocation_url", &access).await;
        assert_eq!(seen[0].body, "token=a&token_type_hint=access_token");

        let github = &catalog::GITHUB;
        let path = "/api/v3/applications/us/token";
        let seen = revocations(github, path, &both).await;
        assert_eq!(seen[0].body, r#"{"access_token":"a"}"#);
        assert_eq!(seen[0].headers["authorization"], "Basic dXM6c2ho");
        assert!(
            revocations(github, path, &tokens(None, Some("r")))
                .await
                .is_empty()
        );

        let facebook = &catalog::FACEBOOK;
        let path = "/v25.0/me/permissions";
        let seen = revocations(facebook, path, &both).await;
        assert_eq!(seen[0].headers["authorization"], "Bearer a");
        let query = seen[0].query.as_deref().unwrap_or_default();
        assert!(query.starts_with("appsecret_proof="), "{query}");
        assert!(
            revocations(facebook, path, &tokens(None, None))
                .await
                .is_empty()
        );
    }

    #[tokio::test]
    async fn what_is_not_known_any_more_is_taken_back() {
        let server = Scripted::start().await;
        let path = "/api/oauth2/token/revoke";
        let discord = anyone(&catalog::DISCORD, &server);
        let spent = tokens(None, Some("r"));
        let unknown = Answer::json(r#"{"error":"invalid_token"}"#).with_status(400);
        server.answer(path, unknown);
        assert_eq!(discord.revoke(&spent).await, Ok(()));
        for (status, is_outage) in [(503, true), (429, true), (400, false), (401, false)] {
            server.answer(path, Answer::status(status));
            let error = discord.revoke(&spent).await.unwrap_err();
            assert_eq!(error.is_outage(), is_outage, "{status}");
        }
    }

    /// What a page promises, the authorization request asks for.
    #[tokio::test]
    async fn kinds_that_can_switch_accounts_ask_for_it() {
        let server = Scripted::start().await;
        let has_issuer = |kind: &Kind| kind.endpoints.iter().any(|known| known.key == "issuer");
        for kind in catalog::KINDS.iter().filter(|kind| !has_issuer(kind)) {
            let provider = anyone(kind, &server);
            let asks = parameters(&provider, true).await != parameters(&provider, false).await;
            assert_eq!(asks, kind.switch == AccountSwitch::Asks, "{kind:?}");
        }
    }
}
