//! Names and passwords from the configuration (RFC 7617), for programs that can do nothing else.
//!
//! A password is slow to check, by intent. So it is checked on other threads than those that serve, a few at once, and a right one is
//! remembered for a while as a keyed hash.

mod guesses;
mod htpasswd;
pub mod settings;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use moka::future::Cache;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use zeroize::Zeroizing;

use self::settings::{USERS, UsersSettings};
pub use self::{
    guesses::Guesses,
    htpasswd::{Flaw, Htpasswd},
};
use crate::{
    credential::{
        Answer, Authenticator, Basic, Caller, Presented, Proof, Refused, Schemes, Verified, Voucher,
    },
    identity::Identity,
    random, rate_limit,
    text::Text,
    tokens::Tokens,
};

/// Knows people by their passwords. The last that is asked: what looks like a token is for others.
pub struct Users {
    settings: UsersSettings,
    /// What was right and where, by a hash that nobody can guess at without this process' key.
    right: Cache<[u8; 32], Arc<Verified>>,
    key: hmac::Key,
    guesses: Arc<Guesses>,
}

impl Users {
    /// Those of `settings`.
    pub fn new(settings: UsersSettings, guesses: Arc<Guesses>) -> Self {
        let key = Zeroizing::new(random::bytes::<32>());
        Self {
            settings,
            right: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(RIGHT_FOR)
                .build(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &*key),
            guesses,
        }
    }

    async fn check(&self, basic: &Basic, caller: Caller) -> Result<Arc<Verified>, Refused> {
        // Programs send many requests at once: a password that several bring is checked once.
        let checking = self.find_out(basic, caller);
        let proven = self.hash(basic, caller);
        let checked = self.right.try_get_with(proven, checking).await;
        checked.map_err(|refused| Refused::clone(&refused))
    }

    /// The subscriber is part of it: a guess from elsewhere that is right must meet the throttle, and not what somebody else has proven.
    /// A colon stands in no name, and no space in an address, so one text has one reading.
    fn hash(&self, basic: &Basic, caller: Caller) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        let subscriber = rate_limit::subscriber(caller.address).to_string();
        context.update(subscriber.as_bytes());
        context.update(b" ");
        context.update(basic.name().as_bytes());
        context.update(b":");
        context.update(basic.password().as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        hash
    }

    /// Takes a guess, which does not count where it was right, or nobody looked at it.
    async fn find_out(&self, basic: &Basic, caller: Caller) -> Result<Arc<Verified>, Refused> {
        let name = basic.name();
        let guess = self.guesses.take(name, caller.address, Instant::now())?;
        let lane = if guess.is_at_home() {
            &KNOWN
        } else {
            &STRANGERS
        };
        let turn = lane.turn().await.ok_or_else(busy)?;
        let known = Arc::clone(&self.settings.htpasswd);
        let (name, password) = (name.to_owned(), basic.password().to_owned());
        let password = Zeroizing::new(password);
        let checked = tokio::task::spawn_blocking(move || {
            // Goes on when the client has gone: it keeps its turn as long, and what came of the guess counts.
            let _turn = turn;
            let is_right = known.verify(&name, &password);
            if is_right {
                guess.was_right();
            } else {
                guess.was_wrong();
            }
            is_right
        });
        if !checked.await.map_err(|_| busy())? {
            let why = "no such name, or not its password";
            return Err(Refused::Invalid(why.to_owned()));
        }
        Ok(Arc::new(self.verified(basic.name())))
    }

    fn verified(&self, name: &str) -> Verified {
        let groups = self.settings.groups.iter();
        let groups = groups.filter(|(_, members)| members.iter().any(|member| member == name));
        Verified {
            identity: Identity {
                login: Some(name.into()),
                groups: groups
                    .map(|(group, _)| Text::from(group.as_str()))
                    .collect(),
                ..Identity::of(USERS, name)
            },
            tokens: Tokens::default(),
            proof: Proof::Password,
            scopes: None,
            client: None,
            expires_at: None,
            voucher: Voucher::of(Proof::Password),
            routes: None,
            grant: None,
            opener: self.settings.htpasswd.opener(name),
        }
    }
}

impl Authenticator for Users {
    fn schemes(&self) -> Schemes {
        Schemes {
            bearer: false,
            basic: true,
        }
    }

    fn recognises(&self, presented: &Presented<'_>) -> bool {
        let known = &self.settings.htpasswd;
        matches!(presented, Presented::Basic(basic) if known.knows(basic.name()))
    }

    fn authenticate<'a>(&'a self, presented: &'a Presented<'_>, caller: Caller) -> Answer<'a> {
        match presented {
            Presented::Basic(basic) => Answer::Pending(Box::pin(self.check(basic, caller))),
            _ => Answer::NotMine,
        }
    }
}

/// Where passwords wait to be checked.
struct Lane {
    turns: Semaphore,
    waiting: Semaphore,
}

impl Lane {
    const fn new() -> Self {
        Self {
            turns: Semaphore::const_new(TURNS),
            waiting: Semaphore::const_new(WAITING),
        }
    }

    /// A turn, once there is one. None where too many wait for it, or it takes too long.
    async fn turn(&'static self) -> Option<SemaphorePermit<'static>> {
        let _place = self.waiting.try_acquire().ok()?;
        timeout(PATIENCE, self.turns.acquire()).await.ok()?.ok()
    }
}

/// Names that were right where they come from, which no stranger's guesses hold up.
static KNOWN: Lane = Lane::new();
/// All others.
static STRANGERS: Lane = Lane::new();

fn busy() -> Refused {
    Refused::Unavailable("too many passwords are being checked".to_owned())
}

/// Passwords that are checked at once, in each of two lanes. Each takes a core, and what memory its hash asks for.
const TURNS: usize = 2;
/// Requests that wait for that, in each.
const WAITING: usize = 256;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a password that was right is taken without being checked.
const RIGHT_FOR: Duration = Duration::from_mins(5);
/// How many of these are remembered, some 500 bytes each.
const REMEMBERED: u64 = 10_000;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

    use super::*;
    use crate::clock::Timestamp;

    /// `secret`.
    const ADA: &str = "ada:$2y$05$NDJBewmsurG4KCAEt.1fxuVvYRRHC8wHKsNGpDad.0tcrKkD.eRbO\n";

    #[tokio::test]
    async fn a_right_password_counts_for_nothing_though_its_client_goes() {
        let settings = UsersSettings {
            htpasswd: Arc::new(Htpasswd::read(ADA).unwrap()),
            groups: Vec::new(),
        };
        let users = Users::new(settings, Arc::default());
        let headers = |text| -> HeaderMap {
            let value = HeaderValue::from_static(text);
            [(AUTHORIZATION, value)].into_iter().collect()
        };
        let right = headers("Basic YWRhOnNlY3JldA==");
        let caller = Caller {
            address: Some([192, 0, 2, 1].into()),
            now: Timestamp(0),
        };
        for _ in 0..60 {
            let presented = Presented::read(&right, users.schemes()).ok().unwrap();
            let Answer::Pending(check) = users.authenticate(&presented, caller) else {
                panic!("it is known at once");
            };
            // It has begun, and nobody waits for it.
            let _ = check.now_or_never();
        }
        let presented = Presented::read(&right, users.schemes()).ok().unwrap();
        let Answer::Pending(check) = users.authenticate(&presented, caller) else {
            panic!("it is known at once");
        };
        assert!(check.await.is_ok());
    }
}
