//! Any OpenID Connect provider: discovery, the code exchange, the ID token, and userinfo where the
//! token leaves something open.

mod discovery;
mod id_token;
mod jwks;
mod keys;
mod metadata;
mod userinfo;

use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

pub use self::id_token::IdTokenError;
use self::{
    discovery::Discovery,
    id_token::{Expected, verify},
    jwks::KeyCache,
    metadata::Metadata,
    userinfo::{Lack, Uses, merge},
};
use super::{
    AuthorizeRequest, BoxFuture, Call, CodeGrant, Grant, GrantTokens, HttpClient, LogoutRequest,
    Profile, Provider, ProviderError,
    claims::{ClaimNames, ClaimRules},
    oauth::{OAuthClient, TokenEndpoint},
};
use crate::config::{HeaderSource, ProviderConfig};

/// A provider known by its issuer alone.
pub(super) struct Oidc {
    profile: Profile,
    client: OAuthClient,
    http: HttpClient,
    discovery: Arc<Discovery>,
    keys: KeyCache,
    rules: ClaimRules,
    uses: Uses,
}

impl Oidc {
    pub(super) fn new(
        config: &ProviderConfig,
        issuer: &str,
        headers: &[&HeaderSource],
        http: HttpClient,
    ) -> Self {
        let names = ClaimNames::standard(&config.groups_claim);
        Self {
            profile: Profile::of(config),
            client: OAuthClient::new(config),
            discovery: Arc::new(Discovery::new(&config.name, issuer, http.clone())),
            keys: KeyCache::new(http.clone()),
            rules: ClaimRules::new(config, names, headers),
            uses: Uses::new(&config.allow, headers),
            http,
        }
    }

    async fn exchange(&self, grant: &CodeGrant<'_>) -> Result<Grant, ProviderError> {
        let metadata = self.discovery.obtain().await?;
        let endpoint = TokenEndpoint {
            url: &metadata.token_endpoint,
            authentication: metadata.authentication,
        };
        let tokens = self.client.exchange(&self.http, &endpoint, grant).await?;
        let claims = self.id_token_claims(&metadata, grant, &tokens).await?;
        let claims = self.completed(&metadata, claims, &tokens.access).await?;
        let identity = self.rules.identity(&claims)?;
        Ok(Grant { identity, tokens })
    }

    async fn id_token_claims(
        &self,
        metadata: &Metadata,
        grant: &CodeGrant<'_>,
        tokens: &GrantTokens,
    ) -> Result<Map<String, Value>, ProviderError> {
        let token = tokens.id.as_deref().ok_or(IdTokenError::Missing)?;
        let expected = Expected {
            issuer: self.discovery.issuer(),
            client_id: self.client.id(),
            algorithms: &metadata.algorithms,
            nonce: grant.nonce,
            access_token: &tokens.access,
            now: grant.now,
        };
        let keys = self.keys.keys(&metadata.jwks_uri).await?;
        match verify(token, &keys, &expected) {
            Err(error) if error.may_be_rotation() => {
                match self.keys.newer(&metadata.jwks_uri, &keys).await {
                    Some(keys) => Ok(verify(token, &keys, &expected)?),
                    None => Err(error.into()),
                }
            }
            outcome => Ok(outcome?),
        }
    }

    /// The claims with what userinfo adds, where something is missing.
    async fn completed(
        &self,
        metadata: &Metadata,
        claims: Map<String, Value>,
        access_token: &str,
    ) -> Result<Map<String, Value>, ProviderError> {
        let lack = self.uses.lack(&claims, &self.rules, metadata);
        let url = match (&metadata.userinfo_endpoint, lack) {
            (None, _) | (_, Lack::Nothing) => return Ok(claims),
            (Some(url), _) => url,
        };
        let call = Call::Userinfo;
        let error = match self.http.fetch_json(url, Some(access_token)).await {
            Ok(userinfo) => {
                // §5.3.2: another's answer must not be used. Whoever mixes users up is not to be
                // believed at all, so this fails the login whatever is missing.
                let problem = "sub is missing or not the ID token's";
                return merge(claims, userinfo).ok_or(ProviderError::Answer { call, problem });
            }
            Err(error) => ProviderError::Http { call, error },
        };
        if lack == Lack::Identity {
            return Err(error);
        }
        tracing::warn!(provider = self.profile.name, %error, "signing in without userinfo");
        Ok(claims)
    }
}

impl Provider for Oidc {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn is_ready(&self) -> bool {
        self.discovery.current().is_some()
    }

    fn upkeep(&self) -> Option<BoxFuture<'static, ()>> {
        Some(Box::pin(self.discovery.clone().upkeep()))
    }

    fn authorize<'a>(
        &'a self,
        request: &'a AuthorizeRequest<'a>,
    ) -> BoxFuture<'a, Result<Url, ProviderError>> {
        Box::pin(async move {
            let metadata = self.discovery.obtain().await?;
            let mut extra = vec![("nonce", request.nonce)];
            if let Some(prompt) = metadata.switch_prompt.filter(|_| request.switch_account) {
                extra.push(("prompt", prompt));
            }
            let endpoint = &metadata.authorization_endpoint;
            Ok(self.client.authorize_url(endpoint, request, &extra))
        })
    }

    fn check_issuer<'a>(
        &'a self,
        iss: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            match iss {
                // Compared even where it was not promised.
                Some(iss) if iss == self.discovery.issuer() => Ok(()),
                Some(_) => Err(ProviderError::Issuer),
                None if self.discovery.obtain().await?.sends_iss => Err(ProviderError::Issuer),
                None => Ok(()),
            }
        })
    }

    fn redeem<'a>(
        &'a self,
        grant: &'a CodeGrant<'a>,
    ) -> BoxFuture<'a, Result<Grant, ProviderError>> {
        Box::pin(self.exchange(grant))
    }

    fn end_session(&self, request: &LogoutRequest<'_>) -> Option<Url> {
        let mut url = self.discovery.current()?.end_session_endpoint.clone()?;
        let mut query = url.query_pairs_mut();
        if let Some(hint) = request.id_token_hint {
            query.append_pair("id_token_hint", hint);
        }
        query
            .append_pair("client_id", self.client.id())
            .append_pair(
                "post_logout_redirect_uri",
                request.post_logout_redirect_uri.as_str(),
            );
        if let Some(state) = request.state {
            query.append_pair("state", state);
        }
        drop(query);
        Some(url)
    }
}

#[cfg(test)]
mod tests;
