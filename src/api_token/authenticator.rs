//! Checks API tokens under one configuration, and gives the principal.

use std::{sync::Arc, time::Instant};

use super::{
    ApiTokens,
    format::Token,
    is_one, presented,
    settings::{ApiTokenSettings, days},
    tokens::Found,
};
use crate::{
    credential::{Answer, Authenticator, Caller, Presented, Refused, Schemes, Verified},
    provider::Providers,
};

/// API tokens, as one configuration takes them. The last that knows tokens of ours.
pub struct ApiTokenAuthenticator {
    tokens: Arc<ApiTokens>,
    settings: ApiTokenSettings,
    providers: Arc<Providers>,
}

impl ApiTokenAuthenticator {
    /// Of `tokens`, whose owners are of `providers`.
    pub fn new(
        tokens: Arc<ApiTokens>,
        settings: ApiTokenSettings,
        providers: Arc<Providers>,
    ) -> Self {
        Self {
            tokens,
            settings,
            providers,
        }
    }

    async fn look_up(&self, token: Token<'_>, caller: Caller) -> Result<Arc<Verified>, Refused> {
        let hash = token.hash();
        let found = self.tokens.find(&hash, caller).await?;
        let Some(found) = &*found else {
            let why = format!("no API token {}…", token.start());
            return Err(Refused::Invalid(why));
        };
        self.judge(found, caller).map_err(|why| {
            let (start, user) = (token.start(), found.verified.identity.user());
            Refused::Invalid(format!("API token {start}… of {user}: {why}"))
        })?;
        self.tokens.note_use(&hash, found, caller.now);
        Ok(self.within_scopes(&found.verified))
    }

    fn judge(&self, found: &Found, caller: Caller) -> Result<(), &'static str> {
        let settings = &self.settings;
        let longest = days(settings.max_days);
        let end = found.expires_at.min(found.made_at.after(longest));
        if caller.now >= end {
            return Err("it has expired");
        }
        if caller.now >= found.owner_seen_at.after(settings.owner_idle) {
            return Err("its owner has not signed in for longer than api_tokens.owner_idle");
        }
        let provider = self.providers.find(&found.verified.identity.provider);
        // The same name may mean another server since, and its subjects other people.
        match provider {
            Some(known) if known.profile().fingerprint == found.provider_fingerprint => Ok(()),
            _ => Err("its owner's provider is not configured any more"),
        }
    }

    /// A scope that people may not give any more counts no more.
    fn within_scopes(&self, verified: &Arc<Verified>) -> Arc<Verified> {
        let is_known = |scope: &str| self.settings.scopes.iter().any(|known| known == scope);
        let scopes = verified.scopes.as_deref().unwrap_or_default();
        if scopes.iter().all(|scope| is_known(scope)) {
            return Arc::clone(verified);
        }
        let left = scopes.iter().filter(|scope| is_known(scope)).cloned();
        Arc::new(Verified {
            scopes: Some(left.collect()),
            ..Verified::clone(verified)
        })
    }
}

impl Authenticator for ApiTokenAuthenticator {
    fn schemes(&self) -> Schemes {
        Schemes {
            bearer: true,
            basic: true,
        }
    }

    fn is_of_own_tokens(&self) -> bool {
        true
    }

    fn recognises(&self, presented: &Presented<'_>) -> bool {
        is_one(presented)
    }

    fn authenticate<'a>(&'a self, credential: &'a Presented<'_>, caller: Caller) -> Answer<'a> {
        let Some(text) = presented(credential) else {
            return Answer::NotMine;
        };
        let Some(token) = Token::parse(text) else {
            let counted = self.tokens.guesses.count(caller, Instant::now());
            let why = "a token with a wrong checksum".to_owned();
            return Answer::Known(counted.and(Err(Refused::Invalid(why))));
        };
        Answer::Pending(Box::pin(self.look_up(token, caller)))
    }
}
