//! Any OpenID Connect provider: discovery, the code exchange, the ID token, and userinfo if the token lacks something.

mod access_token;
mod bearer;
mod discovery;
mod gitlab;
pub(super) mod google;
mod google_groups;
mod id_token;
mod identity;
mod jwks;
mod learnt;
mod logout_token;
mod metadata;
pub(super) mod microsoft;
mod signer;
mod subject_token;
mod userinfo;
mod vendor_profile;
mod verification;

use std::sync::{Arc, atomic::AtomicBool};

use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use url::Url;

pub use self::learnt::Learnt;
use self::{
    discovery::Discovery,
    jwks::{ProviderKeyCache, ProviderKeys},
    metadata::Metadata,
    userinfo::RequiredClaims,
    vendor_profile::{GroupSource, VendorProfile},
};
use super::{
    AuthorizeRequest, BearerMatch, BearerTerms, CodeGrant, Grant, HttpClient, Inspection, Logout,
    LogoutRequest, Profile, Provider, ProviderError, RefreshedTokens, Subject, SubjectToken,
    bearer::BearerSettings,
    claims::{ClaimNames, ClaimRules},
    http::endpoint_url,
    kind::Id,
    oauth::{ClientAuthentication, OAuthClient, TOKEN_EXCHANGE, TokenEndpoint},
};
use crate::{
    clock::Timestamp,
    credential::Verified,
    identity::Identity,
    identity_headers::HeaderSource,
    jose::Caller,
    provider::settings::ProviderSettings,
    route::TokenExchange,
    text::Text,
    tokens::{GrantTokens, Tokens},
};
use futures_util::future::BoxFuture;

pub(super) fn build(
    config: &ProviderSettings,
    headers: &[&HeaderSource],
    http: &HttpClient,
) -> Arc<dyn Provider> {
    let vendor_profile = match config.kind.id {
        Id::Google => &google::PROFILE,
        Id::GitLab => &gitlab::PROFILE,
        Id::Microsoft => &microsoft::PROFILE,
        _ => &VendorProfile::STANDARD,
    };
    Arc::new(Oidc::new(config, vendor_profile, headers, http.clone()))
}

/// A provider known by its issuer alone.
pub(super) struct Oidc {
    profile: Profile,
    client: OAuthClient,
    authentication: Option<ClientAuthentication>,
    http: HttpClient,
    discovery: Arc<Discovery>,
    keys: ProviderKeyCache,
    rules: ClaimRules,
    uses: RequiredClaims,
    vendor_profile: &'static VendorProfile,
    /// Parameters of every authorization request.
    authorize: Vec<(&'static str, String)>,
    groups: Option<Groups>,
    /// Whether userinfo is asked at all.
    asks_userinfo: bool,
    /// Whether it was said that userinfo refuses.
    refusal_is_logged: AtomicBool,
    /// Whether claims are taken from the access token, too.
    reads_access_token: bool,
    /// Which tokens of the issuer open the gate by themselves.
    bearer: Option<BearerSettings>,
    /// Asks about tokens, over connections that are kept.
    introspection_http: HttpClient,
    /// Where tokens are asked about in the vendor's own way.
    token_info: Option<Url>,
    /// Those who bring a bearer token and may wait for keys, or for the provider's word.
    bringers: Semaphore,
    /// Those who bring a logout token and may wait for keys: nobody knows yet whether they are the provider.
    strangers: Semaphore,
}

/// Groups that no claim tells.
struct Groups {
    source: GroupSource,
    url: Url,
    /// An allow list asks for them.
    required: bool,
}

impl Oidc {
    fn new(
        config: &ProviderSettings,
        vendor_profile: &'static VendorProfile,
        headers: &[&HeaderSource],
        http: HttpClient,
    ) -> Self {
        let names = ClaimNames {
            subject: vendor_profile.subject.to_owned(),
            ..ClaimNames::standard()
        };
        let groups = Groups::new(config, vendor_profile, headers);
        let mut client = OAuthClient::new(config);
        if let Some(groups) = &groups {
            client = client.with_scope(groups.source.scope);
        }
        Self {
            profile: Profile::of(config),
            client,
            authentication: config
                .client_authentication
                .or(vendor_profile.authentication),
            discovery: Arc::new(Discovery::new(
                config,
                vendor_profile.publishes,
                http.clone(),
            )),
            keys: ProviderKeyCache::new(ProviderKeys::of(config, http.clone())),
            rules: ClaimRules::new(config, names, headers),
            uses: RequiredClaims::new(&config.facts(), headers)
                .without(vendor_profile.not_in_userinfo),
            vendor_profile,
            authorize: (vendor_profile.authorize)(&config.allow),
            strangers: Semaphore::new(verification::STRANGERS),
            bearer: config.bearer_of_own_app(vendor_profile.token_info.is_some()),
            introspection_http: http.for_introspection(),
            token_info: config
                .endpoint("introspection_url")
                .and_then(|text| endpoint_url(text, config.plain_http())),
            bringers: Semaphore::new(super::bearer::BRINGERS),
            asks_userinfo: config.userinfo,
            refusal_is_logged: AtomicBool::new(false),
            reads_access_token: config.claims_from_access_token,
            groups,
            http,
        }
    }

    async fn exchange(&self, grant: &CodeGrant<'_>) -> Result<Grant, ProviderError> {
        let metadata = self.discovery.obtain().await?;
        let endpoint = self.token_endpoint(&metadata);
        let tokens = self.client.exchange(&self.http, &endpoint, grant).await?;
        let claims = self
            .id_token_claims(&metadata, &tokens, Some(grant.nonce), grant.now)
            .await?;
        let provider_session = claims.get("sid").and_then(Value::as_str).map(Text::from);
        let (identity, evidence) = self
            .identity(&metadata, claims, &tokens, None, grant.now)
            .await?;
        Ok(Grant {
            identity,
            tokens,
            provider_session,
            evidence,
        })
    }

    /// Whether sessions have the tokens' `sub` as their subject, and not another claim.
    fn has_sub_for_subject(&self) -> bool {
        self.rules.names().subject == "sub"
    }

    fn token_endpoint<'m>(&self, metadata: &'m Metadata) -> TokenEndpoint<'m> {
        TokenEndpoint {
            url: &metadata.token_endpoint,
            authentication: self.authentication.unwrap_or(metadata.authentication),
        }
    }
}

impl Groups {
    /// Asked for where an allow list names groups. Where only a header tells them, the operator must have
    /// asked for the scope: it is a sensitive one, and headers tell groups by default.
    fn new(
        config: &ProviderSettings,
        vendor_profile: &VendorProfile,
        headers: &[&HeaderSource],
    ) -> Option<Self> {
        let source = vendor_profile.groups?;
        let required = config
            .facts()
            .lists()
            .iter()
            .any(|list| list.key == "groups");
        let shown = headers
            .iter()
            .any(|header| **header == HeaderSource::Groups)
            && config.scopes.iter().any(|scope| scope == source.scope);
        let url = endpoint_url(config.endpoint(source.endpoint)?, config.plain_http())?;
        (required || shown).then_some(Self {
            source,
            url,
            required,
        })
    }
}

impl Provider for Oidc {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn lists(&self) -> Vec<(&str, Option<&str>)> {
        self.rules.lists().collect()
    }

    fn is_ready(&self) -> bool {
        self.discovery.current().is_some()
    }

    fn learnt(&self) -> Option<Learnt> {
        Learnt::of(self)
    }

    fn resume(&self, learnt: Learnt) {
        learnt.tell(self);
    }

    fn upkeep(&self) -> Option<BoxFuture<'static, ()>> {
        let discovery = self.discovery.clone();
        discovery
            .is_fetched()
            .then(|| Box::pin(discovery.upkeep()) as BoxFuture<'static, ()>)
    }

    fn authorize<'a>(
        &'a self,
        request: &'a AuthorizeRequest<'a>,
    ) -> BoxFuture<'a, Result<Url, ProviderError>> {
        Box::pin(async move {
            let metadata = self.discovery.obtain().await?;
            let mut extra = vec![("nonce", request.nonce)];
            let prompt = self.vendor_profile.switch_prompt.or(metadata.switch_prompt);
            let max_age = request.step_up.max_age_parameter();
            let is_deaf = self.vendor_profile.ignores_max_age && max_age.is_some();
            if request.reauthenticate || is_deaf {
                extra.push(("prompt", "login"));
            } else if let Some(prompt) = prompt.filter(|_| request.switch_account) {
                extra.push(("prompt", prompt));
            }
            let acr_values = request.step_up.acr_parameter();
            extra.extend(max_age.as_deref().map(|value| ("max_age", value)));
            extra.extend(acr_values.as_deref().map(|value| ("acr_values", value)));
            let fixed = self.authorize.iter();
            extra.extend(fixed.map(|(name, value)| (*name, value.as_str())));
            let endpoint = &metadata.authorization_endpoint;
            Ok(self.client.authorize_url(endpoint, request, &extra))
        })
    }

    fn check_issuer<'a>(
        &'a self,
        iss: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let metadata = self.discovery.obtain().await?;
            match iss {
                // Compared even where it was not promised.
                Some(iss) if (self.vendor_profile.issues)(&metadata.issuer, iss) => Ok(()),
                None if !metadata.sends_iss => Ok(()),
                _ => Err(ProviderError::Issuer),
            }
        })
    }

    fn tells_of_logouts(&self) -> bool {
        true
    }

    fn logout_token_at_hand(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Option<Result<Logout, ProviderError>> {
        self.logout_at_hand(token, now)
    }

    fn logout_token<'a>(
        &'a self,
        token: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Logout, ProviderError>> {
        Box::pin(self.logout_claim(token, now))
    }

    fn bearer_terms(&self) -> Option<BearerTerms> {
        self.bearer.as_ref().map(BearerSettings::terms)
    }

    fn matches_bearer(&self, token: &str, iss: Option<&str>) -> BearerMatch {
        self.bearer_match(token, iss)
    }

    fn is_meant_for_us(&self, claims: &Map<String, Value>) -> bool {
        let bearer = self.bearer.as_ref();
        bearer.is_some_and(|bearer| bearer.names_us(claims))
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

    fn redeem<'a>(
        &'a self,
        grant: &'a CodeGrant<'a>,
    ) -> BoxFuture<'a, Result<Grant, ProviderError>> {
        Box::pin(self.exchange(grant))
    }

    fn refresh<'a>(
        &'a self,
        refresh_token: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<GrantTokens, ProviderError>> {
        Box::pin(async move {
            let metadata = self.discovery.obtain().await?;
            let endpoint = self.token_endpoint(&metadata);
            self.client
                .refresh(&self.http, &endpoint, refresh_token, now)
                .await
        })
    }

    fn identify<'a>(
        &'a self,
        refreshed: &'a RefreshedTokens<'a>,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>> {
        Box::pin(self.identity_again(refreshed))
    }

    fn exchange_token<'a>(
        &'a self,
        access_token: &'a str,
        wanted: &'a TokenExchange,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<GrantTokens, ProviderError>> {
        Box::pin(async move {
            let metadata = self.discovery.obtain().await?;
            let endpoint = self.token_endpoint(&metadata);
            let http = &self.introspection_http;
            self.client
                .exchange_token(http, &endpoint, access_token, wanted, now)
                .await
        })
    }

    fn revoke<'a>(&'a self, tokens: &'a Tokens) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(async move {
            let metadata = self.discovery.obtain().await?;
            let Some(url) = &metadata.revocation_endpoint else {
                return Ok(());
            };
            let endpoint = TokenEndpoint {
                url,
                ..self.token_endpoint(&metadata)
            };
            self.client.revoke(&self.http, &endpoint, tokens).await
        })
    }

    fn probe(&self) -> Option<Url> {
        if self.discovery.is_fetched() {
            return self.discovery.url();
        }
        // Where browsers go may be out of the gate's own reach; the keys must be within.
        Some(self.discovery.current()?.jwks_uri.clone())
    }

    fn inspect<'a>(&'a self, redirect_uri: &'a Url) -> BoxFuture<'a, Inspection> {
        Box::pin(async move {
            let Ok(metadata) = self.discovery.obtain().await else {
                return Inspection::default();
            };
            let endpoint = self.token_endpoint(&metadata);
            let (keys, trials) = tokio::join!(
                self.keys.keys(&metadata.jwks_uri, Caller::Login),
                self.client.try_secrets(&self.http, &endpoint, redirect_uri),
            );
            let listed = metadata.scopes.as_ref();
            let is_unlisted = |scope: &&str| {
                listed.is_some_and(|listed| listed.iter().all(|known| known != scope))
            };
            let unlisted = self.client.scopes().filter(is_unlisted);
            Inspection {
                keys: keys.err(),
                trials,
                unlisted_scopes: unlisted.map(str::to_owned).collect(),
                lists_token_exchange: metadata
                    .grants
                    .as_ref()
                    .map(|grants| grants.iter().any(|grant| grant == TOKEN_EXCHANGE)),
            }
        })
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
mod refresh_tests;
#[cfg(test)]
mod tests;
