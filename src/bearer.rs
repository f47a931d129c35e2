//! Bearer tokens of providers (RFC 6750).
//!
//! The result of a check is cached for a while. So a program that sends the token with each request costs no signature check and no call
//! to the provider. If many requests bring one new token at once, it is checked once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    api_token::Guesses,
    clock::Timestamp,
    credential::{Answer, Authenticator, Caller, Presented, Refused, Schemes, Verified},
    jose,
    provider::{BearerMatch, Provider, Providers, bearer::LONGEST, error::printable},
    text::Text,
    token_cache::{self, Entry, Key, LEAST_WEIGHT, REFUSAL_KEPT, TokenCache},
    tokens::KeepTokens,
};

/// The bearer tokens of all providers whose tables take them.
pub struct Bearers {
    providers: Vec<Arc<dyn Provider>>,
    guesses: Arc<Guesses>,
    /// Whether a header carries the token.
    is_shown: bool,
    known: TokenCache<Known>,
}

/// What is known of a token, and for how long that stands.
#[derive(Clone)]
struct Known {
    what: Result<Arc<Verified>, Arc<str>>,
    kept: Duration,
}

impl Bearers {
    /// Of `providers`, keeping what headers carry; none where no table of theirs takes bearer tokens.
    pub fn new(providers: &Providers, guesses: Arc<Guesses>, keep: KeepTokens) -> Option<Self> {
        let providers: Vec<_> = providers
            .iter()
            .filter(|provider| provider.bearer_terms().is_some())
            .cloned()
            .collect();
        (!providers.is_empty()).then_some(Self {
            providers,
            guesses,
            is_shown: keep.access,
            known: TokenCache::new(KNOWN_BYTES),
        })
    }

    /// The providers that may judge `token`: the one that it names as its issuer, or all that are asked for tokens.
    fn judges(&self, token: &str) -> Vec<&Arc<dyn Provider>> {
        let issuer = issuer(token);
        let matches =
            |provider: &Arc<dyn Provider>| provider.matches_bearer(token, issuer.as_deref());
        let of = |wanted: BearerMatch| -> Vec<&Arc<dyn Provider>> {
            let all = self.providers.iter();
            all.filter(|provider| matches(provider) == wanted).collect()
        };
        let certain = of(BearerMatch::Certain);
        if certain.is_empty() {
            of(BearerMatch::Possible)
        } else {
            certain
        }
    }

    /// Looks into a token that is not known; once, whoever asks meanwhile.
    async fn find_out(
        &self,
        judges: Vec<&Arc<dyn Provider>>,
        token: &str,
        key: Key,
        caller: Caller,
    ) -> Result<Arc<Verified>, Refused> {
        let judges = judges.into_iter().cloned().collect();
        let answer = self.ask(judges, token, key, caller);
        match self.known.obtain(key, caller.now, answer).await {
            Ok(known) => known.judge(),
            Err(refused) => Err((*refused).clone()),
        }
    }

    /// Looks into a token. Where a provider is asked, each try of one that was not good lately counts: it costs a call.
    async fn ask(
        &self,
        judges: Vec<Arc<dyn Provider>>,
        token: &str,
        key: Key,
        caller: Caller,
    ) -> Result<Known, Refused> {
        let is_asked = |judge: &Arc<dyn Provider>| {
            let terms = judge.bearer_terms();
            terms.is_some_and(|terms| terms.is_asked)
        };
        let known = if judges.iter().any(is_asked) {
            let one = self.guesses.admit(key, caller, Instant::now())?;
            let token = Zeroizing::new(token.to_owned());
            let guesses = Arc::clone(&self.guesses);
            // Goes on when the client has gone, so that it counts only where it was false: the call is made, one way or the other. The
            // provider's answer has a time limit.
            let asked = tokio::spawn(async move {
                let known = ask(&judges, &token, caller.now).await;
                match &known {
                    Ok(Known { what: Ok(_), .. }) => guesses.was_good(&one),
                    Err(Refused::Unavailable(_)) => guesses.give_back(&one),
                    _ => guesses.forget(&key),
                }
                known
            });
            let lost = |_| Refused::Unavailable("the check of it was lost".to_owned());
            asked.await.map_err(lost)?
        } else {
            ask(&judges, token, caller.now).await
        };
        let mut known = known?;
        if let Ok(verified) = &mut known.what
            && self.is_shown
        {
            Arc::make_mut(verified).tokens.access = Some(Text::from(token));
        }
        Ok(known)
    }
}

/// Asks one provider after the other. One that cannot say is no reason to believe another that says no.
async fn ask(judges: &[Arc<dyn Provider>], token: &str, now: Timestamp) -> Result<Known, Refused> {
    let mut denied = None;
    let mut unavailable = None;
    let mut kept = Duration::MAX;
    for provider in judges {
        let terms = provider.bearer_terms();
        let cache = terms.map_or(Duration::ZERO, |terms| terms.cache);
        match provider.prove_bearer(token, now).await {
            Ok(verified) => {
                let left = verified.expires_at.map(|end| end.since(now));
                return Ok(Known {
                    kept: left.map_or(cache, |left| left.min(cache)),
                    what: Ok(Arc::new(verified)),
                });
            }
            Err(error) if error.is_of_token() => {
                // What the provider itself has said is worth keeping; a check of what it has signed is cheap.
                kept = kept.min(if error.is_worth_remembering() {
                    REFUSAL_KEPT
                } else {
                    Duration::ZERO
                });
                let name = &provider.profile().name;
                denied.get_or_insert_with(|| format!("{name}: {error}"));
            }
            Err(error) => {
                unavailable = Some(format!("{}: {error}", provider.profile().name));
            }
        }
    }
    match (unavailable, denied) {
        (Some(unavailable), _) => Err(Refused::Unavailable(unavailable)),
        (None, Some(why)) if kept > Duration::ZERO => Ok(Known {
            what: Err(why.into()),
            kept,
        }),
        (None, why) => {
            Err(Refused::Invalid(why.unwrap_or_else(|| {
                "no provider knows its issuer".to_owned()
            })))
        }
    }
}

impl Known {
    fn judge(&self) -> Result<Arc<Verified>, Refused> {
        match &self.what {
            Ok(verified) => Ok(Arc::clone(verified)),
            Err(why) => Err(Refused::Invalid(why.to_string())),
        }
    }
}

impl Entry for Known {
    fn kept(&self) -> Duration {
        self.kept
    }

    /// Nothing is kept beyond its end.
    fn stands(&self, now: Timestamp) -> bool {
        let end = self
            .what
            .as_ref()
            .ok()
            .and_then(|verified| verified.expires_at);
        end.is_none_or(|end| now < end)
    }

    fn bytes(&self) -> usize {
        match &self.what {
            Ok(verified) => weight(verified),
            Err(why) => why.len(),
        }
    }
}

/// About what somebody takes up, in bytes.
fn weight(verified: &Verified) -> usize {
    let identity = &verified.identity;
    let pairs = identity.claims.iter().chain(&identity.memberships);
    let pairs = pairs.map(|(key, value)| key.len() + value.len());
    let texts = identity
        .groups
        .iter()
        .chain(verified.scopes.iter().flatten());
    let one = [
        &identity.email,
        &identity.name,
        &identity.picture,
        &identity.login,
        &verified.tokens.access,
    ];
    let one = one.into_iter().flatten().map(|text| text.len());
    pairs
        .chain(texts.map(|text| text.len() + PER_TEXT))
        .chain(one)
        .sum::<usize>()
        + LEAST_WEIGHT
}

impl Authenticator for Bearers {
    fn schemes(&self) -> Schemes {
        Schemes {
            bearer: true,
            basic: false,
        }
    }

    /// A token that names as its issuer one of ours, and this gate as whom it is for. Of one that names nobody only the provider could say
    /// whose it is.
    fn recognises(&self, presented: &Presented<'_>) -> bool {
        let Presented::Bearer(token) = presented else {
            return false;
        };
        let Some(claims) = jose::claimed::<Map<String, Value>>(token) else {
            return false;
        };
        let issuer = claims.get("iss").and_then(Value::as_str);
        issuer.is_some()
            && self.providers.iter().any(|provider| {
                provider.matches_bearer(token, issuer) == BearerMatch::Certain
                    && provider.is_meant_for_us(&claims)
            })
    }

    fn authenticate<'a>(&'a self, presented: &'a Presented<'_>, caller: Caller) -> Answer<'a> {
        let Presented::Bearer(token) = presented else {
            return Answer::NotMine;
        };
        if token.len() > LONGEST {
            return Answer::Known(Err(Refused::Invalid("it is too long".to_owned())));
        }
        let key = token_cache::key(&[token.as_bytes()]);
        if let Some(known) = self.known.at_hand(&key, caller.now) {
            return Answer::Known(known.judge());
        }
        let judges = self.judges(token);
        if judges.is_empty() {
            return Answer::NotMine;
        }
        Answer::Pending(Box::pin(self.find_out(judges, token, key, caller)))
    }

    fn why_not(&self, presented: &Presented<'_>) -> Option<String> {
        let Presented::Bearer(token) = presented else {
            return None;
        };
        let issuer = printable(&issuer(token)?, LONGEST_ISSUER)?;
        Some(format!(
            "no provider with bearer has the issuer \"{issuer}\""
        ))
    }
}

/// The issuer that a signed token names, whoever made it; none where it is no signed token. It chooses whom to ask, and
/// nothing else.
fn issuer(token: &str) -> Option<String> {
    let claims: Map<String, Value> = jose::claimed(token)?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// Bytes of what is known of tokens.
pub const KNOWN_BYTES: u64 = 32 * 1024 * 1024;

/// Letters of an issuer that nobody here knows, in the log.
const LONGEST_ISSUER: usize = 200;

/// Bytes that a text takes beside its letters.
const PER_TEXT: usize = 16;
