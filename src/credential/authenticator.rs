//! Finds the identity that a credential proves.

use std::{future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use http::HeaderMap;

use super::{Presented, Proof, Schemes, withheld};
use crate::{clock::Timestamp, identity::Identity, text::Text, tokens::Tokens};

/// Whom a credential has proven. It may be kept and shared by many requests.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Who.
    pub identity: Identity,
    /// The tokens that headers may carry; those of a session alone, as a rule.
    pub tokens: Tokens,
    /// By what.
    pub proof: Proof,
    /// What it may be used for (RFC 6749 §3.3); none where the credential is not bound to scopes.
    pub scopes: Option<Vec<Text>>,
    /// The OAuth client that it was given to, or what names the credential itself.
    pub client: Option<Text>,
    /// When it ends, where that is known.
    pub expires_at: Option<Timestamp>,
    /// Whose `allow` judges them.
    pub voucher: Voucher,
    /// The routes that it is for, by name; none where it is for all.
    pub routes: Option<Vec<Text>>,
    /// The grant that it was given by, where it is an access token of the gate's own. Boxed: few are.
    pub grant: Option<Box<Grant>>,
    /// By what it can be told later that it counts no more; none where nobody tells.
    pub opener: Option<Opener>,
}

/// What names a credential when it ends: what it has opened ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// An API token.
    ApiToken {
        /// The first bytes of its hash.
        id: [u8; 16],
        /// When it was made.
        made_at: Timestamp,
    },
    /// What the configuration names, by a hash of all that makes it count. It ends when the configuration names it no more.
    Configured([u8; 16]),
}

/// What somebody has let a client do (RFC 6749 §1.3): an access token ends with it, and is for its one resource.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Names it as a session is named.
    pub id: [u8; 16],
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends at most.
    pub ends_at: Option<Timestamp>,
    /// The provider's name for its session that it rests on.
    pub provider_session: Option<Text>,
    /// The address that its tokens are for (RFC 8707).
    pub resource: Text,
}

/// Who vouches for somebody, and so whose `allow` judges them before a route's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voucher {
    /// The provider that `identity.provider` names. Where that one is gone, it is nobody.
    Provider,
    /// The configuration itself, in a table of its own.
    Configuration,
}

impl Voucher {
    /// Who vouches for whom a credential of this kind proves; the access token of a client that acts for itself apart.
    pub fn of(proof: Proof) -> Self {
        match proof {
            Proof::ServiceToken | Proof::Password | Proof::Certificate => Self::Configuration,
            Proof::Session | Proof::Bearer | Proof::ApiToken | Proof::AccessToken => Self::Provider,
        }
    }
}

/// From where a credential comes.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The client's address; none for a Unix socket.
    pub address: Option<IpAddr>,
    /// The time of the request.
    pub now: Timestamp,
}

/// Why a credential opens nothing. The texts are for the log and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is false, over, or for somebody else.
    Invalid(String),
    /// It cannot be found out now: of this nobody may conclude that it is good, nor that it is bad.
    Unavailable(String),
    /// Too many were tried; again after so long.
    Throttled(Duration),
}

/// What an authenticator says of a credential.
pub enum Answer<'a> {
    /// It is for another one to say.
    NotMine,
    /// It is known.
    Known(Result<Arc<Verified>, Refused>),
    /// It has to be found out.
    Pending(Pin<Box<dyn Future<Output = Result<Arc<Verified>, Refused>> + Send + 'a>>),
}

/// Knows one sort of credentials.
pub trait Authenticator: Send + Sync {
    /// The schemes in which they come.
    fn schemes(&self) -> Schemes;

    /// Whether they are tokens that the gate gives, or that its file names.
    fn is_of_own_tokens(&self) -> bool {
        false
    }

    /// Whether `presented`, which may be any part of a request's `Authorization`, says of itself that it is for this one, right or not: no
    /// app is to see it. Waits for nothing.
    fn recognises(&self, presented: &Presented<'_>) -> bool;

    /// Whom `presented` proves. What is not of its sort it leaves to others, cheaply.
    fn authenticate<'a>(&'a self, presented: &'a Presented<'_>, caller: Caller) -> Answer<'a>;

    /// Why `presented` is not of its sort, though it looks like it; for the log, where nobody knows it.
    fn why_not(&self, _presented: &Presented<'_>) -> Option<String> {
        None
    }
}

/// The authenticators of one configuration, asked in their order.
#[derive(Default)]
pub struct Authenticators {
    all: Vec<Arc<dyn Authenticator>>,
    schemes: Schemes,
}

impl Authenticators {
    /// Of these.
    pub fn new(all: Vec<Arc<dyn Authenticator>>) -> Self {
        let schemes = all.iter().map(|one| one.schemes());
        Self {
            schemes: schemes.fold(Schemes::default(), Schemes::and),
            all,
        }
    }

    /// Whether `headers` hold a credential for any of them, in whatever spelling.
    pub fn recognise(&self, headers: &HeaderMap) -> bool {
        !self.all.is_empty()
            && withheld::holds(headers, |presented| {
                self.all.iter().any(|one| one.recognises(presented))
            })
    }

    /// The schemes that any of them takes.
    pub fn schemes(&self) -> Schemes {
        self.schemes
    }

    /// Whom `presented` proves; tokens of the gate's own alone where `only_own`. What else comes there is not looked at: nobody can find
    /// out whether it is right.
    ///
    /// # Errors
    /// Where it proves nobody.
    pub async fn authenticate(
        &self,
        presented: &Presented<'_>,
        only_own: bool,
        caller: Caller,
    ) -> Result<Arc<Verified>, Refused> {
        let counts = |one: &&Arc<dyn Authenticator>| !only_own || one.is_of_own_tokens();
        for one in self.all.iter().filter(counts) {
            match one.authenticate(presented, caller) {
                Answer::NotMine => {}
                Answer::Known(known) => return known,
                Answer::Pending(pending) => return pending.await,
            }
        }
        let why = if only_own {
            Some("no token of the gate's own, and the route takes no other credential".to_owned())
        } else {
            self.all.iter().find_map(|one| one.why_not(presented))
        };
        let why = why.unwrap_or_else(|| "nobody here knows it".to_owned());
        Err(Refused::Invalid(why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows one token, or none.
    struct Only(&'static str, Result<&'static str, Refused>, bool);

    impl Authenticator for Only {
        fn schemes(&self) -> Schemes {
            Schemes {
                bearer: true,
                basic: self.2,
            }
        }

        fn recognises(&self, _: &Presented<'_>) -> bool {
            false
        }

        fn authenticate<'a>(&'a self, presented: &'a Presented<'_>, _: Caller) -> Answer<'a> {
            let Presented::Bearer(token) = presented else {
                return Answer::NotMine;
            };
            if *token != self.0 {
                return Answer::NotMine;
            }
            let answer = self.1.clone().map(|subject| {
                Arc::new(Verified {
                    identity: Identity::of("corp", subject),
                    tokens: Tokens::default(),
                    proof: Proof::Bearer,
                    scopes: None,
                    client: None,
                    expires_at: None,
                    voucher: Voucher::Provider,
                    routes: None,
                    grant: None,
                    opener: None,
                })
            });
            if self.2 {
                Answer::Pending(Box::pin(async { answer }))
            } else {
                Answer::Known(answer)
            }
        }
    }

    #[tokio::test]
    async fn the_first_who_knows_it_decides_and_nobody_lets_nobody_in() {
        let away = Refused::Unavailable("away".to_owned());
        let all = Authenticators::new(vec![
            Arc::new(Only("a", Ok("1"), false)),
            Arc::new(Only("b", Err(away.clone()), true)),
            Arc::new(Only("b", Ok("2"), false)),
        ]);
        assert!(all.schemes().bearer && all.schemes().basic);
        let caller = Caller {
            address: None,
            now: Timestamp(0),
        };
        let ask = async |token| {
            let presented = Presented::Bearer(token);
            let known = all.authenticate(&presented, false, caller).await;
            known.map(|verified| verified.identity.subject.to_string())
        };
        assert_eq!(ask("a").await.as_deref(), Ok("1"));
        assert_eq!(ask("b").await, Err(away));
        assert!(matches!(ask("c").await, Err(Refused::Invalid(_))));
        // None of them is of the gate's own.
        let presented = Presented::Bearer("a");
        let only_own = all.authenticate(&presented, true, caller).await;
        assert!(matches!(only_own, Err(Refused::Invalid(_))));
    }
}
