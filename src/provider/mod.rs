//! Identity providers: how a browser is sent there, and how a code becomes an identity.
//!
//! The login knows none of them by name: it uses [`Provider`]. A new kind of provider needs an entry in [`catalog`], one file that
//! implements the trait (with `oauth` for the protocol and [`claims`] for the answer), and one line in `build`. When the user is known,
//! [`access`](crate::access) decides who may pass.

pub mod bearer;
mod build;
pub mod catalog;
pub mod claims;
pub(crate) mod error;
mod graph_error;
pub mod http;
pub mod introspection;
pub mod kind;
mod oauth;
mod oidc;
mod remedy;
mod rest;
#[cfg(test)]
pub(crate) mod scripted;
mod secret_end;
pub mod settings;
mod subject_token;
mod token_answer;
mod token_error;
mod token_info;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use url::Url;

pub use self::{
    bearer::TokenFlaw,
    build::check,
    claims::Evidence,
    error::{Call, ProviderError},
    http::HttpClient,
    oauth::{REFRESH_TIMEOUT, read_exchanged_token},
    oidc::Learnt,
    subject_token::{FRESH, Subject, SubjectToken},
    token_error::LogoutTokenError,
};
use crate::{
    access::{Allow, StepUp},
    clock::Timestamp,
    credential::Verified,
    identity::Identity,
    identity_headers::{HeaderSettings, HeaderSource},
    provider::settings::{ClientAuthentication, ProviderSettings},
    route::TokenExchange,
    text::Text,
    tokens::{GrantTokens, Tokens},
};

/// A configured identity provider.
pub trait Provider: Send + Sync {
    /// What every kind has.
    fn profile(&self) -> &Profile;

    /// Whether a login can begin now.
    fn is_ready(&self) -> bool {
        true
    }

    /// Where the lists of rules look: the key of each, and the path of the claim, where it is one.
    fn lists(&self) -> Vec<(&str, Option<&str>)> {
        Vec::new()
    }

    /// What it has learnt of its server, for the provider that takes its place when the configuration changes.
    fn learnt(&self) -> Option<Learnt> {
        None
    }

    /// Goes on with what the provider in whose place it stands has learnt, where it is of the same server.
    fn resume(&self, learnt: Learnt) {
        drop(learnt);
    }

    /// Keeps what the provider publishes fresh, for as long as it is polled. None where nothing is
    /// fetched.
    fn upkeep(&self) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// The address that a browser is sent to (RFC 6749 §4.1.1).
    fn authorize<'a>(
        &'a self,
        request: &'a AuthorizeRequest<'a>,
    ) -> BoxFuture<'a, Result<Url, ProviderError>>;

    /// Checks the `iss` parameter of an authorization response (RFC 9207 §2.4). A provider without an
    /// issuer has nothing to compare; its own callback path is its mix-up defence.
    fn check_issuer<'a>(
        &'a self,
        iss: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        let _ = iss;
        Box::pin(async { Ok(()) })
    }

    /// Exchanges the code and learns who it is. Spends the code: call it once.
    fn redeem<'a>(
        &'a self,
        grant: &'a CodeGrant<'a>,
    ) -> BoxFuture<'a, Result<Grant, ProviderError>>;

    /// Refreshes the tokens (RFC 6749 §6). A provider that rotates refresh tokens takes the old one for spent
    /// from here on: call it once, and lose nothing of the answer.
    fn refresh<'a>(
        &'a self,
        refresh_token: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<GrantTokens, ProviderError>>;

    /// Who holds tokens that were refreshed. An identity of another subject is possible and for the caller to
    /// refuse.
    fn identify<'a>(
        &'a self,
        refreshed: &'a RefreshedTokens<'a>,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>>;

    /// Whether the provider tells of logouts at all: by logout tokens, or through browsers.
    fn tells_of_logouts(&self) -> bool {
        false
    }

    /// Checks a logout token (OpenID Connect Back-Channel Logout 1.0 §2.6), but for whether it has come before, by the keys at
    /// hand. None where they do not decide.
    fn logout_token_at_hand(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Option<Result<Logout, ProviderError>> {
        let _ = (token, now);
        Some(Err(LogoutTokenError::NotOffered.into()))
    }

    /// The same, with keys that are fetched where they have to be.
    fn logout_token<'a>(
        &'a self,
        token: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Logout, ProviderError>> {
        let _ = (token, now);
        Box::pin(async { Err(LogoutTokenError::NotOffered.into()) })
    }

    /// How bearer tokens are judged; none where the table takes none.
    fn bearer_terms(&self) -> Option<BearerTerms> {
        None
    }

    /// Whether a bearer token is this provider's to judge, which names `iss` as its issuer, or none that can be read. Looks
    /// at nothing that would have to be fetched.
    fn matches_bearer(&self, token: &str, iss: Option<&str>) -> BearerMatch {
        let _ = (token, iss);
        BearerMatch::None
    }

    /// Whether a bearer token of this provider's is made for the gate, by what it says, which nothing proves yet.
    fn is_meant_for_us(&self, claims: &Map<String, Value>) -> bool {
        let _ = claims;
        false
    }

    /// Whom a bearer token proves.
    fn prove_bearer<'a>(
        &'a self,
        token: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Verified, ProviderError>> {
        let _ = (token, now);
        Box::pin(async { Err(TokenFlaw::Inactive.into()) })
    }

    /// An access token for another service, in the name of whoever holds `access_token` (RFC 8693).
    fn exchange_token<'a>(
        &'a self,
        access_token: &'a str,
        wanted: &'a TokenExchange,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<GrantTokens, ProviderError>> {
        let _ = (access_token, wanted, now);
        let error = ProviderError::Answer {
            call: Call::TokenExchange,
            problem: "this kind of provider has none",
        };
        Box::pin(async { Err(error) })
    }

    /// Whom a token proves that a client brings in exchange for one of the gate's own. It must have been given to the gate's own client at
    /// this provider.
    fn prove_subject<'a>(
        &'a self,
        token: SubjectToken<'a>,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Subject, ProviderError>> {
        let _ = (token, now);
        Box::pin(async { Err(TokenFlaw::Kind.into()) })
    }

    /// Takes the tokens of a session that has ended back (RFC 7009), as far as the provider has a way to do that and
    /// the session the token for it. To do it twice is harmless.
    fn revoke<'a>(&'a self, tokens: &'a Tokens) -> BoxFuture<'a, Result<(), ProviderError>> {
        let _ = tokens;
        Box::pin(async { Ok(()) })
    }

    /// The address to ask whether the provider is there at all, without a login. None where there is none.
    fn probe(&self) -> Option<Url> {
        None
    }

    /// When this gate's client secret ends, where the provider has said so.
    fn secret_valid_until(&self) -> Option<Timestamp> {
        None
    }

    /// Looks whether logins will work, before anybody tries: at the keys, and whether the provider takes the client, which
    /// it tells for a code that nobody has. Begins no login and spends nothing.
    fn inspect<'a>(&'a self, redirect_uri: &'a Url) -> BoxFuture<'a, Inspection> {
        let _ = redirect_uri;
        Box::pin(async { Inspection::default() })
    }

    /// Where a browser ends its session at the provider (OpenID Connect RP-Initiated Logout 1.0 §2).
    /// None where the provider offers no such place.
    fn end_session(&self, request: &LogoutRequest<'_>) -> Option<Url> {
        let _ = request;
        None
    }
}

/// How a provider's bearer tokens are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BearerTerms {
    /// How long what is known of one stands.
    pub cache: Duration,
    /// Whether the provider is asked about each.
    pub is_asked: bool,
}

/// Whether a bearer token is a provider's to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerMatch {
    /// It is not.
    None,
    /// Nobody knows before the provider is asked.
    Possible,
    /// It names the provider as its issuer, or looks like its tokens and no others.
    Certain,
}

/// What came of a look at a provider.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Why its keys cannot be had, where it has some and they cannot.
    pub keys: Option<ProviderError>,
    /// What it says to the client: with each secret in turn, or once without one.
    pub trials: Vec<ClientTrial>,
    /// Scopes that are asked for, and that the provider does not list among those it knows.
    pub unlisted_scopes: Vec<String>,
    /// Whether it lists the exchange of tokens (RFC 8693) among its grants; none where it lists none at all.
    pub lists_token_exchange: Option<bool>,
}

/// What a provider says to the client, with one secret or none.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientTrial {
    /// That it takes it; or why not, or why that cannot be told.
    pub outcome: Result<(), ProviderError>,
    /// The way in which it does take the secret, where it is not the one in use.
    pub other_way: Option<ClientAuthentication>,
}

/// What every provider has, from its table in the configuration.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The table's name.
    pub name: String,
    /// What the sign-in button says.
    pub label: String,
    /// The path below the public origin that it sends browsers back to.
    pub callback_path: String,
    /// Who may pass.
    pub allow: Allow,
    /// Names what the table means beside its name: see [`ProviderSettings::fingerprint`].
    pub fingerprint: [u8; 8],
    /// Whether sessions are refreshed here, and so keep their refresh token.
    pub refresh: bool,
    /// Whether it is asked to take tokens back when somebody signs out here.
    pub revoke: bool,
    /// Whether its word through browsers ends sessions here.
    pub frontchannel_logout: bool,
    /// Whether it may exchange tokens.
    pub exchanges_tokens: bool,
}

impl Profile {
    fn of(config: &ProviderSettings) -> Self {
        Self {
            name: config.name.clone(),
            label: config.label.clone(),
            callback_path: config.callback_path.clone(),
            allow: config.allow.clone(),
            fingerprint: config.fingerprint(),
            refresh: config.refresh,
            revoke: config.revoke,
            frontchannel_logout: config.frontchannel_logout,
            exchanges_tokens: config.may_exchange_tokens(),
        }
    }
}

/// What goes into the address that a browser is sent to.
pub struct AuthorizeRequest<'a> {
    /// Where the provider sends the browser back.
    pub redirect_uri: &'a Url,
    /// The sealed transaction.
    pub state: &'a str,
    /// Bound to this login; comes back in the ID token.
    pub nonce: &'a str,
    /// S256 of the verifier (RFC 7636 §4.2).
    pub pkce_challenge: &'a str,
    /// Ask for another account, even where one is signed in.
    pub switch_account: bool,
    /// How fresh, and of which class, the login has to be. What comes of it is for the caller to check.
    pub step_up: &'a StepUp,
    /// Have the person authenticate whatever the provider knows of them: it was asked for a fresh login, and gave an old one.
    pub reauthenticate: bool,
}

/// What a browser brought back, and what belongs to it.
pub struct CodeGrant<'a> {
    /// The authorization code.
    pub code: &'a str,
    /// The same as in the authorization request.
    pub redirect_uri: &'a Url,
    /// The secret behind the challenge.
    pub pkce_verifier: &'a str,
    /// What the ID token must repeat.
    pub nonce: &'a str,
    /// When the browser came back.
    pub now: Timestamp,
}

/// What a code was worth.
pub struct Grant {
    /// Who.
    pub identity: Identity,
    /// With what.
    pub tokens: GrantTokens,
    /// The provider's name for its own session (`sid`), where it has one.
    pub provider_session: Option<Text>,
    /// What the allow lists looked at.
    pub evidence: Evidence,
}

/// Tokens that were refreshed, and whose they were.
pub struct RefreshedTokens<'a> {
    /// The new ones.
    pub tokens: &'a GrantTokens,
    /// Who held the old ones, as last known: what the provider does not say again stands.
    pub previous: &'a Identity,
    /// When they were refreshed.
    pub now: Timestamp,
}

/// A logout that a provider tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    /// Whose.
    pub claim: LogoutClaim,
    /// Sessions that began by then have ended. A token that comes late ends nothing that began well after it.
    pub not_before: Timestamp,
    /// Names the token among all of all providers.
    pub id: [u8; 32],
    /// Until when it has to be remembered.
    pub until: Timestamp,
}

/// Whose logout a provider tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogoutClaim {
    /// One session at the provider.
    Session {
        /// Its `sid`.
        sid: Text,
        /// Whose it is, where that is said: a session of theirs that names none may rest on it.
        sub: Option<Text>,
    },
    /// All of a user's.
    User {
        /// By the `sub` of the provider's tokens.
        sub: Text,
        /// Whether sessions have it as their subject, or another claim, and `sub` [beside](crate::identity::Notes).
        is_subject: bool,
    },
}

/// What a provider is told when a session ends.
pub struct LogoutRequest<'a> {
    /// The ID token of the session that ends; long, so left out where it is not at hand.
    pub id_token_hint: Option<&'a str>,
    /// Where the browser comes back to; must be registered at the provider.
    pub post_logout_redirect_uri: &'a Url,
    /// Comes back beside it.
    pub state: Option<&'a str>,
}

/// The configured providers, in the file's order.
pub struct Providers(Vec<Arc<dyn Provider>>);

#[cfg(test)]
impl Providers {
    /// Of one provider.
    pub(crate) fn for_test(provider: Arc<dyn Provider>) -> Self {
        Self(vec![provider])
    }
}

impl Providers {
    /// None at all.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Goes on with what `earlier` has learnt of the same servers.
    pub fn resume(&self, earlier: &Self) {
        for (provider, earlier) in self
            .iter()
            .filter_map(|provider| Some((provider, earlier.find(&provider.profile().name)?)))
        {
            if let Some(learnt) = earlier.learnt() {
                provider.resume(learnt);
            }
        }
    }

    /// Builds each provider. Nothing is fetched yet; see [`upkeep`](Self::upkeep).
    pub fn new(configs: &[ProviderSettings], headers: &HeaderSettings, http: &HttpClient) -> Self {
        let sources: Vec<&HeaderSource> = headers
            .identity
            .iter()
            .filter_map(|(_, source)| source.of_person())
            .collect();
        Self(
            configs
                .iter()
                .map(|config| build::build(config, &sources, &http.of(config.reach())))
                .collect(),
        )
    }

    /// The provider of that name.
    pub fn find(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.iter().find(|provider| provider.profile().name == name)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<dyn Provider>> {
        self.0.iter()
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.iter().map(|provider| provider.profile().name.clone())
    }

    /// Whether somebody could sign in: one ready provider is enough, so that an outage of one of
    /// several does not take the gate out of its load balancer.
    pub fn ready(&self) -> bool {
        self.0.is_empty() || self.iter().any(|provider| provider.is_ready())
    }

    /// The work that keeps the providers fresh; spawn each once, on a runtime that lives as long as
    /// the gate.
    pub fn upkeep(&self) -> Vec<BoxFuture<'static, ()>> {
        self.iter()
            .filter_map(|provider| provider.upkeep())
            .collect()
    }
}
