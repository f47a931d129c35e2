//! Exchanges access tokens at the provider (RFC 8693): an app behind a route with `token_exchange` gets a token that is meant for
//! another service, in the user's name, and never the user's own.
//!
//! The result is cached until shortly before it ends. So a busy session costs one call in a token's life, however many requests it
//! sends, and requests that arrive together share one call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, time::timeout};

use crate::{
    access::Principal,
    clock::Timestamp,
    credential::Proof,
    observe::Throttled,
    provider::{Call, Provider, ProviderError, Providers, http::HttpError},
    route::TokenExchange,
    session::Id,
    text::Text,
    token_cache::{self, Entry, Key, LEAST_WEIGHT, REFUSAL_KEPT, TokenCache},
};

/// Exchanges tokens at the providers of one configuration.
pub struct TokenExchanges {
    providers: Arc<Providers>,
    known: TokenCache<Known>,
    /// Those who may ask at once.
    lines: Semaphore,
}

/// Why an app gets no token, and so no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotExchanged {
    /// What the request came with has no access token of a provider that could be exchanged.
    #[error("a {} has no access token of a provider", .0.name())]
    NoToken(Proof),
    /// The session began before its access token was needed.
    #[error("the session has no access token of {0}: it began before a route had token_exchange")]
    NotKept(Text),
    /// The provider has no token exchange, or the gate is no client there.
    #[error("{0} exchanges no tokens")]
    Unsupported(Text),
    /// The provider gives none.
    #[error("{provider}: {error}")]
    Failed {
        /// Its name in the configuration.
        provider: Text,
        /// What it said, or what kept it from saying something.
        error: Arc<ProviderError>,
    },
}

impl NotExchanged {
    /// Whether trying again may help.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Failed { error, .. } if error.is_outage())
    }

    /// What an operator can do about it, for the log.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoToken(_) => {
                "send it to a route without token_exchange, or sign in with a browser; see docs/token-exchange.md"
            }
            Self::NotKept(_) => "the user has to sign in again",
            Self::Unsupported(_) => "keep its users from this route: allow = { providers = […] }",
            Self::Failed { error, .. } => match &**error {
                ProviderError::Refused { code, .. } => refused(code),
                error => error.remedy(),
            },
        }
    }
}

/// By the code of the token endpoint (RFC 6749 §5.2, RFC 8693 §2.2.2).
fn refused(code: &str) -> &'static str {
    match code {
        "invalid_client" => "see client_id and client_secret, or client_auth",
        "unauthorized_client" | "access_denied" => {
            "allow this client to exchange tokens for this audience, at the provider"
        }
        "unsupported_grant_type" => {
            "the provider has no token exchange (RFC 8693), or it is switched off: switch it on there, or take token_exchange out"
        }
        "invalid_target" => {
            "see that the provider knows the audience and resource of token_exchange"
        }
        "invalid_scope" => "see the scopes of token_exchange",
        "invalid_grant" | "invalid_token" | "invalid_request" => {
            "the provider does not take the user's access token: it may be over (have sessions refreshed: a refresh token, refresh = true), or not be meant for this client"
        }
        _ => "see what the provider's own log says of it",
    }
}

/// What is known of an exchange, and for how long that stands.
#[derive(Clone)]
struct Known {
    what: Result<Text, Arc<ProviderError>>,
    kept: Duration,
    ends_at: Timestamp,
}

impl Known {
    fn of(what: Result<Text, Arc<ProviderError>>, kept: Duration, now: Timestamp) -> Self {
        Self {
            what,
            kept,
            ends_at: now.after(kept),
        }
    }
}

impl Entry for Known {
    fn kept(&self) -> Duration {
        self.kept
    }

    fn stands(&self, now: Timestamp) -> bool {
        now < self.ends_at
    }

    fn bytes(&self) -> usize {
        LEAST_WEIGHT + self.what.as_ref().map_or(0, |token| token.len())
    }
}

impl TokenExchanges {
    /// At `providers`.
    pub fn new(providers: Arc<Providers>) -> Self {
        Self {
            providers,
            known: TokenCache::new(KNOWN_BYTES),
            lines: Semaphore::new(LINES),
        }
    }

    /// A token for `wanted`, in the name of `principal`, who comes with `session` or with a credential.
    ///
    /// # Errors
    /// Why there is none. Then the app gets no request: it would do without what it was promised, or take another token for
    /// this one.
    pub async fn token(
        &self,
        wanted: &TokenExchange,
        principal: Principal<'_>,
        session: Option<&Id>,
        now: Timestamp,
    ) -> Result<Text, NotExchanged> {
        let name = &principal.identity.provider;
        let subject_token = match (principal.proof, &principal.tokens.access) {
            (Proof::Session | Proof::Bearer, Some(token)) => token,
            (Proof::Session, None) => return Err(NotExchanged::NotKept(name.clone())),
            (proof, _) => return Err(NotExchanged::NoToken(proof)),
        };
        let session = session.map_or(&[][..], |id| &id[..]);
        let provider = self.providers.find(name);
        let provider = provider.filter(|provider| provider.profile().exchanges_tokens);
        let provider = provider.ok_or_else(|| NotExchanged::Unsupported(name.clone()))?;
        let key = key(wanted, &**provider, session, subject_token);
        let known = if let Some(known) = self.known.at_hand(&key, now) {
            Ok(known)
        } else {
            let answer = self.ask(&**provider, wanted, subject_token, now);
            self.known.obtain(key, now, answer).await
        };
        let what = match known {
            Ok(known) => known.what,
            Err(outage) => Err((*outage).clone()),
        };
        what.map_err(|error| NotExchanged::Failed {
            provider: name.clone(),
            error,
        })
    }

    /// Asks the provider. What it says is kept; an outage is not.
    async fn ask(
        &self,
        provider: &dyn Provider,
        wanted: &TokenExchange,
        subject_token: &str,
        now: Timestamp,
    ) -> Result<Known, Arc<ProviderError>> {
        let answer = match timeout(LONGEST_QUEUE, self.lines.acquire()).await {
            Ok(Ok(_line)) => provider.exchange_token(subject_token, wanted, now).await,
            _ => Err(ProviderError::Http {
                call: Call::TokenExchange,
                error: HttpError::Crowded,
            }),
        };
        let error = match answer {
            Ok(tokens) => {
                let kept = tokens.expires.map_or(UNTOLD, |end| kept(end.since(now)));
                return Ok(Known::of(Ok(tokens.access), kept, now));
            }
            Err(error) => Arc::new(error),
        };
        let failed = NotExchanged::Failed {
            provider: Text::from(provider.profile().name.as_str()),
            error: Arc::clone(&error),
        };
        if let Some(held_back) = FAILED.turn(Instant::now()) {
            tracing::warn!(
                error = %failed,
                held_back,
                "a token could not be exchanged, and its request was refused: {}",
                failed.remedy()
            );
        }
        if error.is_outage() {
            Err(error)
        } else {
            Ok(Known::of(Err(error), REFUSAL_KEPT, now))
        }
    }
}

/// Of a session and what is asked for. With the token that is exchanged: what a refresh brings may say something else of the user.
fn key(wanted: &TokenExchange, provider: &dyn Provider, session: &[u8], token: &str) -> Key {
    let profile = provider.profile();
    let mut parts: Vec<&[u8]> = vec![
        session,
        token.as_bytes(),
        profile.name.as_bytes(),
        &profile.fingerprint,
    ];
    for texts in [&wanted.audience, &wanted.resource, &wanted.scopes] {
        // Each list ends with a part that no entry is.
        parts.extend(texts.iter().map(String::as_bytes));
        parts.push(b"");
    }
    token_cache::key(&parts)
}

/// How long a token that lasts `lifetime` is given out: the app must still have time to use it.
fn kept(lifetime: Duration) -> Duration {
    let leeway = (lifetime / 5).min(LEEWAY);
    lifetime.saturating_sub(leeway).min(LONGEST_KEPT)
}

static FAILED: Throttled = Throttled::new(TELL);

/// Bytes of exchanged tokens that are remembered.
const KNOWN_BYTES: u64 = 32 * 1024 * 1024;
/// How long before its end a token is given out no more; of one that lasts less than five times as long, a fifth of its life.
const LEEWAY: Duration = Duration::from_secs(30);
/// How long a token is given out whose end the provider does not tell.
const UNTOLD: Duration = Duration::from_mins(1);
/// How long any token is given out, however long it lasts.
const LONGEST_KEPT: Duration = Duration::from_hours(1);
/// Exchanges at the same time.
const LINES: usize = 256;
/// How long an exchange waits for its turn.
const LONGEST_QUEUE: Duration = Duration::from_secs(5);
/// The interval between two log lines about tokens that could not be exchanged.
const TELL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_given_out_until_shortly_before_its_end() {
        for (lifetime, expected) in [
            (86_400, 3_600),
            (3_600, 3_570),
            (150, 120),
            (100, 80),
            (10, 8),
            (0, 0),
        ] {
            let lifetime = Duration::from_secs(lifetime);
            assert_eq!(kept(lifetime), Duration::from_secs(expected));
        }
    }
}
