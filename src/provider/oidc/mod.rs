//! Any OpenID Connect provider: discovery, the code exchange, the ID token, and userinfo where the
//! token leaves something open.

mod discovery;
mod flavour;
mod gitlab;
mod google;
mod google_groups;
mod id_token;
mod jwks;
mod keys;
mod logout_token;
mod metadata;
mod microsoft;
mod signed;
mod userinfo;

use std::sync::Arc;

use aws_lc_rs::digest;
use moka::{policy::EvictionPolicy, sync::Cache};
use serde_json::{Map, Value};
use url::Url;

use self::{
    discovery::Discovery,
    flavour::{Flavour, GroupQuery, GroupSource},
    id_token::Expected,
    jwks::KeyCache,
    keys::KeySet,
    metadata::Metadata,
    signed::{LEEWAY, MAX_AGE, Signer},
    userinfo::{Lack, Uses, is_withheld, merge},
};
pub(super) use self::{
    gitlab::KIND as GITLAB, google::KIND as GOOGLE, microsoft::KIND as MICROSOFT,
};
pub use self::{id_token::IdTokenError, logout_token::LogoutTokenError};
use super::{
    AuthorizeRequest, BoxFuture, Call, CodeGrant, Grant, GrantTokens, HttpClient, LogoutClaim,
    LogoutRequest, Profile, Provider, ProviderError, RenewedTokens,
    claims::{ClaimNames, ClaimRules},
    http::endpoint_url,
    kind::{Endpoint, Kind, Switch},
    oauth::{ClientAuthentication, OAuthClient, TokenEndpoint},
};
use crate::{
    clock::Timestamp,
    config::{HeaderSource, ProviderConfig},
    session::{Identity, Tokens},
    text::Text,
};

/// Any OpenID Connect provider.
pub(super) const KIND: Kind = Kind {
    name: "oidc",
    label: "",
    mark: "",
    endpoints: &told_by(issuer(None, "")),
    scopes: &["openid", "profile", "email"],
    required_scope: Some("openid"),
    allow: &["groups"],
    logins_ignore_case: false,
    claims_by_hand: false,
    switch: Switch::Asks,
    revokes: true,
    check: |_| Vec::new(),
    build: |config, headers, http| build(config, &Flavour::STANDARD, headers, http),
};

const fn issuer(default: Option<&'static str>, below_base: &'static str) -> Endpoint {
    Endpoint {
        key: "issuer",
        default,
        below_base: Some(below_base),
        optional: false,
    }
}

/// An address that the document tells, and the configuration may tell instead.
const fn told(key: &'static str) -> Endpoint {
    Endpoint {
        key,
        default: None,
        below_base: None,
        optional: true,
    }
}

/// The issuer, and what its document tells.
const fn told_by(issuer: Endpoint) -> [Endpoint; 7] {
    [
        issuer,
        told("authorize_url"),
        told("token_url"),
        told("jwks_url"),
        told("userinfo_url"),
        told("end_session_url"),
        told("revocation_url"),
    ]
}

fn build(
    config: &ProviderConfig,
    flavour: &'static Flavour,
    headers: &[&HeaderSource],
    http: &HttpClient,
) -> Arc<dyn Provider> {
    Arc::new(Oidc::new(config, flavour, headers, http.clone()))
}

/// A provider known by its issuer alone.
pub(super) struct Oidc {
    profile: Profile,
    client: OAuthClient,
    authentication: Option<ClientAuthentication>,
    http: HttpClient,
    discovery: Arc<Discovery>,
    keys: KeyCache,
    rules: ClaimRules,
    uses: Uses,
    flavour: &'static Flavour,
    /// Parameters of every authorization request.
    authorize: Vec<(&'static str, String)>,
    groups: Option<Groups>,
    /// Logout tokens that have come, by the hashes of their ids, for as long as they would count.
    logouts: Cache<[u8; 32], ()>,
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
        config: &ProviderConfig,
        flavour: &'static Flavour,
        headers: &[&HeaderSource],
        http: HttpClient,
    ) -> Self {
        let names = ClaimNames {
            subject: flavour.subject.to_owned(),
            ..ClaimNames::standard()
        };
        let groups = Groups::new(config, flavour, headers);
        let mut client = OAuthClient::new(config);
        if let Some(groups) = &groups {
            client = client.with_scope(groups.source.scope);
        }
        Self {
            profile: Profile::of(config),
            client,
            authentication: config.client_authentication.or(flavour.authentication),
            discovery: Arc::new(Discovery::new(config, flavour.publishes, http.clone())),
            keys: KeyCache::new(http.clone()),
            rules: ClaimRules::new(config, names, headers),
            uses: Uses::new(&config.allow, headers).without(flavour.not_in_userinfo),
            flavour,
            authorize: (flavour.authorize)(&config.allow),
            logouts: Cache::builder()
                .max_capacity(LOGOUTS)
                .time_to_live(MAX_AGE + LEEWAY * 2)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
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
        let identity = self.identity(&metadata, claims, &tokens.access).await?;
        Ok(Grant {
            identity,
            tokens,
            provider_session,
        })
    }

    /// Who it is by an ID token's `claims`, and by what further places have.
    async fn identity(
        &self,
        metadata: &Metadata,
        mut claims: Map<String, Value>,
        access_token: &str,
    ) -> Result<Identity, ProviderError> {
        let reported = (self.flavour.read)(&mut claims)?;
        let mut claims = self.completed(metadata, claims, access_token).await?;
        self.add_groups(&mut claims, access_token).await?;
        self.check_whole(&claims)?;
        Ok(self.rules.identity_with(&claims, reported)?)
    }

    /// Who it is after a renewal. Many providers give no new ID token then; what userinfo does not say either
    /// stands as it was.
    async fn identity_again(&self, renewed: &RenewedTokens<'_>) -> Result<Identity, ProviderError> {
        let metadata = self.discovery.obtain().await?;
        let RenewedTokens {
            tokens,
            previous,
            now,
        } = renewed;
        if tokens.id.is_some() {
            let claims = self.id_token_claims(&metadata, tokens, None, *now).await?;
            return self.identity(&metadata, claims, &tokens.access).await;
        }
        let Some(url) = &metadata.userinfo_endpoint else {
            return Ok((*previous).clone());
        };
        let call = Call::Userinfo;
        let userinfo = self.http.fetch_json(url, Some(&tokens.access)).await;
        let userinfo = userinfo.map_err(|error| ProviderError::Http { call, error })?;
        let Value::Object(mut claims) = userinfo else {
            let problem = "not an object";
            return Err(ProviderError::Answer { call, problem });
        };
        claims.retain(|name, _| !self.flavour.not_in_userinfo.contains(&name.as_str()));
        self.add_groups(&mut claims, &tokens.access).await?;
        let identity = self.rules.identity_with(&claims, Vec::new())?;
        Ok(self.rules.completed_by(identity, &claims, previous))
    }

    fn token_endpoint<'m>(&self, metadata: &'m Metadata) -> TokenEndpoint<'m> {
        TokenEndpoint {
            url: &metadata.token_endpoint,
            authentication: self.authentication.unwrap_or(metadata.authentication),
        }
    }

    async fn id_token_claims(
        &self,
        metadata: &Metadata,
        tokens: &GrantTokens,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<Map<String, Value>, ProviderError> {
        let token = tokens.id.as_deref().ok_or(IdTokenError::Missing)?;
        let expected = Expected {
            signer: self.signer(metadata, now),
            nonce,
            access_token: &tokens.access,
        };
        self.with_keys(metadata, |keys| {
            let verified = id_token::verify(token, keys, &expected);
            verified.map_err(|error| (error.into(), error.may_be_rotation()))
        })
        .await
    }

    fn signer<'m>(&'m self, metadata: &'m Metadata, now: Timestamp) -> Signer<'m> {
        Signer {
            issuer: &metadata.issuer,
            issues: self.flavour.issues,
            client_id: self.client.id(),
            algorithms: &metadata.algorithms,
            now,
        }
    }

    /// Verifies with the provider's keys; once more with newer ones where the error says that they may help.
    async fn with_keys<T>(
        &self,
        metadata: &Metadata,
        verify: impl Fn(&KeySet) -> Result<T, (ProviderError, bool)> + Send + Sync,
    ) -> Result<T, ProviderError> {
        let keys = self.keys.keys(&metadata.jwks_uri).await?;
        let error = match verify(&keys) {
            Ok(verified) => return Ok(verified),
            Err((error, false)) => return Err(error),
            Err((error, true)) => error,
        };
        match self.keys.newer(&metadata.jwks_uri, &keys).await {
            Some(keys) => verify(&keys).map_err(|(error, _)| error),
            None => Err(error),
        }
    }

    async fn verify_logout(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<LogoutClaim, ProviderError> {
        let metadata = self.discovery.obtain().await?;
        let signer = self.signer(&metadata, now);
        let subject = &self.rules.names().subject;
        let verified = self.with_keys(&metadata, |keys| {
            let verified = logout_token::verify(token, keys, &signer, subject);
            verified.map_err(|error| {
                let may_be_rotation =
                    matches!(error, LogoutTokenError::Token(error) if error.may_be_rotation());
                (error.into(), may_be_rotation)
            })
        });
        let verified = verified.await?;
        let id = digest::digest(&digest::SHA256, verified.id.as_bytes());
        let id = *id.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
        // Whoever has seen a token must not end what began after it.
        if self.logouts.entry(id).or_insert(()).is_fresh() {
            Ok(verified.claim)
        } else {
            Err(LogoutTokenError::Replayed.into())
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
            Ok(mut userinfo) => {
                if let Value::Object(members) = &mut userinfo {
                    members
                        .retain(|name, _| !self.flavour.not_in_userinfo.contains(&name.as_str()));
                }
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

    /// Adds the groups that no claim tells. As with userinfo, a failure ends the login where an allow
    /// list asks for them.
    async fn add_groups(
        &self,
        claims: &mut Map<String, Value>,
        access_token: &str,
    ) -> Result<(), ProviderError> {
        let Some(groups) = &self.groups else {
            return Ok(());
        };
        let query = GroupQuery {
            http: &self.http,
            url: &groups.url,
            claims,
            access_token,
        };
        match (groups.source.list)(query).await {
            Ok(names) => {
                claims.insert(self.rules.names().groups.clone(), names.into());
            }
            Err(error) if groups.required => return Err(error),
            Err(error) => {
                tracing::warn!(provider = self.profile.name, %error, "signing in without groups");
            }
        }
        Ok(())
    }

    /// What an allow list asks for and the provider keeps back must not be taken for nothing.
    fn check_whole(&self, claims: &Map<String, Value>) -> Result<(), ProviderError> {
        let groups = &self.rules.names().groups;
        let mut keys = self.profile.allow.lists().iter().map(|list| &*list.key);
        let is_withheld = |key: &str| match key {
            "groups" => is_withheld(claims, groups),
            key => {
                let path = key.strip_prefix("claims.");
                path.is_some_and(|path| is_withheld(claims, path))
            }
        };
        if keys.any(is_withheld) {
            return Err(ProviderError::Answer {
                call: Call::Token,
                problem: "the ID token leaves out what the allow list asks for, such as groups, \
                          because there is too much of it (groups overage)",
            });
        }
        Ok(())
    }
}

impl Groups {
    /// Asked for where an allow list names groups. Where only a header tells them, the operator must have
    /// asked for the scope: it is a sensitive one, and headers tell groups by default.
    fn new(config: &ProviderConfig, flavour: &Flavour, headers: &[&HeaderSource]) -> Option<Self> {
        let source = flavour.groups?;
        let required = config.allow.lists().iter().any(|list| list.key == "groups");
        let told = headers
            .iter()
            .any(|header| **header == HeaderSource::Groups)
            && config.scopes.iter().any(|scope| scope == source.scope);
        let url = endpoint_url(config.endpoint(source.endpoint)?)?;
        (required || told).then_some(Self {
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
            let prompt = self.flavour.switch_prompt.or(metadata.switch_prompt);
            if let Some(prompt) = prompt.filter(|_| request.switch_account) {
                extra.push(("prompt", prompt));
            }
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
                Some(iss) if (self.flavour.issues)(&metadata.issuer, iss) => Ok(()),
                None if !metadata.sends_iss => Ok(()),
                _ => Err(ProviderError::Issuer),
            }
        })
    }

    fn tells_of_logouts(&self) -> bool {
        true
    }

    fn logout_token<'a>(
        &'a self,
        token: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<LogoutClaim, ProviderError>> {
        Box::pin(self.verify_logout(token, now))
    }

    fn redeem<'a>(
        &'a self,
        grant: &'a CodeGrant<'a>,
    ) -> BoxFuture<'a, Result<Grant, ProviderError>> {
        Box::pin(self.exchange(grant))
    }

    fn renew<'a>(
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
        renewed: &'a RenewedTokens<'a>,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>> {
        Box::pin(self.identity_again(renewed))
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
        self.discovery.url()
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

/// Logout tokens remembered. Their signature is the provider's, so nobody else can fill this.
const LOGOUTS: u64 = 100_000;

#[cfg(test)]
mod tests;
