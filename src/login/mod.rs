//! The login: from a browser without a session to a [`Session`], at any provider.
//!
//! [`Logins::begin`] sends the browser to the provider, and [`Logins::finish`] takes it back. In between, only the browser stores
//! anything: see [`transaction`]. On the way back the order of the checks matters: nothing in a request is used before it is known to
//! belong to a login that began in this browser at this provider.

mod callback;
mod error;
mod heard_logouts;
mod known;
mod redemption;
pub mod return_to;
pub mod throttle;
pub mod transaction;

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinError, time::timeout};
use url::Url;

use self::{
    callback::CallbackQuery,
    heard_logouts::HeardLogouts,
    redemption::{NotRedeemed, Redemptions},
    return_to::{ReturnRules, ReturnTo},
    throttle::Throttle,
    transaction::{Browser, LoginSecrets, Transaction, pkce_challenge},
};
pub use self::{
    error::{Fault, LoginError, Restart},
    known::KnownUser,
    redemption::SignedIn,
    throttle::LoginClient,
    transaction::LoginOptions,
};
use crate::{
    access::{allow, allow::Denied},
    clock::Timestamp,
    kv,
    observe::metrics::Tally,
    provider::{
        AuthorizeRequest, Call, CodeGrant, Grant, Logout, Profile, Provider, ProviderError,
        Providers, error::printable, http::HttpError,
    },
    public_url::PublicUrl,
    random,
    session::{
        Session,
        seal::{KeyIndex, KeyRing},
    },
    tokens::KeepTokens,
};

/// Begins and ends logins.
pub struct Logins {
    providers: Arc<Providers>,
    keys: Arc<KeyRing>,
    return_rules: ReturnRules,
    public_url: Url,
    keep: KeepTokens,
    state: Arc<LoginState>,
}

/// What is known of logins whatever the configuration becomes.
pub struct LoginState {
    redemptions: Redemptions,
    throttle: Arc<Throttle>,
    /// Of what says that somebody has signed out at a provider. Apart: pages of other sites may cause front-channel logouts, and must not
    /// spend what logins need.
    logout_throttle: Throttle,
    heard_logouts: HeardLogouts,
    tally: Tally<5>,
}

impl LoginState {
    /// Nothing has happened yet. Logout tokens that have come are in `store`.
    pub fn new(store: Arc<dyn kv::Store>) -> Self {
        Self {
            redemptions: Redemptions::new(),
            throttle: Arc::new(Throttle::default()),
            logout_throttle: Throttle::default(),
            heard_logouts: HeardLogouts::new(store),
            tally: Tally::new(Finished::OUTCOMES),
        }
    }
}

/// Fresh random bytes for one login.
pub struct LoginRandom {
    /// The login cookie, should the browser have none.
    pub browser: [u8; 32],
    /// The transaction's id.
    pub id: [u8; 16],
    /// Seals the state.
    pub nonce: [u8; 12],
}

impl LoginRandom {
    /// From the operating system.
    pub fn draw() -> Self {
        Self {
            browser: random::bytes(),
            id: random::bytes(),
            nonce: random::bytes(),
        }
    }
}

/// Fresh random bytes for the session that a login comes to.
pub struct SessionRandom {
    /// The session's id.
    pub id: [u8; 16],
    /// Seals its record.
    pub record_key: [u8; 16],
}

impl SessionRandom {
    /// From the operating system.
    pub fn draw() -> Self {
        Self {
            id: random::bytes(),
            record_key: random::bytes(),
        }
    }
}

/// A login under way.
pub struct Begun {
    /// Where the browser goes: the provider.
    pub location: Url,
    /// The login cookie's value. To be set each time, though it stays the same while the browser
    /// brings one: that moves its end, so that it never ends before the login does.
    pub login_cookie: String,
}

/// A login that came to its end.
pub enum Finished {
    /// Somebody signed in.
    SignedIn {
        /// Who, and their session.
        signed_in: Arc<SignedIn>,
        /// Where the browser goes, and how it would begin anew should this session be over already.
        again: Restart,
    },
    /// A reload or the back button: the session is there already and stays.
    AlreadySignedIn {
        /// Where the browser goes.
        return_to: ReturnTo,
    },
}

impl Finished {
    /// How logins end, for whoever counts them.
    const OUTCOMES: [&'static str; 5] = [
        "signed_in",
        "not_allowed",
        "declined",
        "invalid",
        "provider_failed",
    ];
}

/// How a login ended; none where it had before.
fn outcome(finished: &Result<Finished, LoginError>) -> Option<&'static str> {
    match finished {
        Ok(Finished::SignedIn { .. }) => Some("signed_in"),
        Ok(Finished::AlreadySignedIn { .. }) => None,
        Err(LoginError::NotAllowed { .. }) => Some("not_allowed"),
        Err(error) => Some(match error.fault() {
            Fault::User => "declined",
            Fault::Browser => "invalid",
            Fault::Provider => "provider_failed",
        }),
    }
}

/// What a callback comes with.
pub struct Callback<'a> {
    /// The provider that the path names.
    pub provider: &'a str,
    /// The query as it came.
    pub query: &'a str,
    /// The login cookie's value.
    pub browser: Option<&'a str>,
    /// The session that the request carries.
    pub session: Option<&'a Session>,
    /// Who comes.
    pub client: LoginClient,
}

impl Logins {
    /// Logins at `providers`, coming back to their callback paths below `public_url`.
    pub fn new(
        providers: Arc<Providers>,
        keys: Arc<KeyRing>,
        return_rules: ReturnRules,
        public_url: &PublicUrl,
        keep: KeepTokens,
        state: Arc<LoginState>,
    ) -> Self {
        state.tally.add(providers.names());
        Self {
            providers,
            keys,
            return_rules,
            public_url: public_url.url.clone(),
            keep,
            state,
        }
    }

    /// Whether `client` may begin a login now; each time counts. It buys one code's redemption, so that a callback of
    /// this login always passes.
    ///
    /// # Errors
    /// How long until the next may begin.
    pub fn admit(&self, client: &LoginClient, arrived: Instant) -> Result<(), Duration> {
        self.state.throttle.take(client, arrived)
    }

    /// Whether `client` may say now that somebody has signed out at the provider; each time counts.
    ///
    /// # Errors
    /// How long until it may again.
    pub fn admit_logout(&self, client: &LoginClient, arrived: Instant) -> Result<(), Duration> {
        self.state.logout_throttle.take(client, arrived)
    }

    /// Runs `end` where the provider has not told of `logout` before, to this replica or another. Whether it has not. It goes on when
    /// whoever waits for it has gone: one that is remembered as heard is refused when it comes again, so it must have been acted on.
    ///
    /// # Errors
    /// When the process does not get to it.
    pub async fn hear(
        &self,
        logout: Logout,
        end: impl FnOnce() + Send + 'static,
    ) -> Result<bool, JoinError> {
        let state = Arc::clone(&self.state);
        let heard = tokio::spawn(async move {
            let is_first = state.heard_logouts.is_first(&logout).await;
            if is_first {
                end();
            }
            is_first
        });
        heard.await
    }

    /// Who has signed in here before, by the cookie that says so.
    pub fn known(&self, cookie: &str) -> Option<KnownUser> {
        KnownUser::open(&self.keys, cookie)
    }

    /// The value of the cookie that knows whose session this is.
    pub fn remember(&self, session: &Session) -> String {
        let identity = &session.identity;
        KnownUser::of(&identity.provider, &identity.subject).seal(&self.keys, random::bytes())
    }

    /// Gives back what [`admit_logout`](Self::admit_logout) took from a provider that had something to say.
    pub fn give_back_logout(&self, client: &LoginClient) {
        self.state.logout_throttle.give_back(client);
    }

    /// Sends a browser to `provider`. `browser` is its login cookie's value, where it has one.
    pub async fn begin(
        &self,
        provider: &str,
        return_to: &ReturnTo,
        browser: Option<&str>,
        options: LoginOptions,
        now: Timestamp,
        random: &LoginRandom,
    ) -> Result<Begun, LoginError> {
        let provider = self.provider(provider)?;
        // Nobody should type a password for a login that cannot be ended.
        if self.state.redemptions.is_full() {
            return Err(LoginError::Crowded);
        }
        let name = &provider.profile().name;
        let browser = browser
            .and_then(Browser::from_cookie)
            .unwrap_or_else(|| Browser::new(random.browser));
        let return_address = return_to.as_str();
        let transaction = Transaction::new(random.id, now, name, return_address, options, &browser);
        let state = transaction.seal(&self.keys, random.nonce);
        let secrets = transaction.secrets(&self.keys, None, &browser);
        let request = AuthorizeRequest {
            redirect_uri: &self.redirect_uri(provider.profile()),
            state: &state,
            nonce: &secrets.nonce,
            pkce_challenge: &pkce_challenge(&secrets.pkce_verifier),
            switch_account: transaction.options.switch_account,
            step_up: &transaction.options.step_up,
            reauthenticate: transaction.options.reauthenticate,
        };
        let location = provider
            .authorize(&request)
            .await
            .map_err(|error| provider_failed(&self.again(&transaction), error))?;
        Ok(Begun {
            location,
            login_cookie: browser.cookie(),
        })
    }

    /// How many logins came back, and how they ended.
    pub fn tally(&self) -> &Tally<5> {
        &self.state.tally
    }

    /// Takes a browser back.
    pub async fn finish(
        &self,
        callback: &Callback<'_>,
        now: Timestamp,
        random: SessionRandom,
    ) -> Result<Finished, LoginError> {
        let finished = self.take_back(callback, now, random).await;
        if let Some(outcome) = outcome(&finished) {
            self.state.tally.count(callback.provider, outcome);
        }
        finished
    }

    #[expect(clippy::result_large_err, reason = "whoever calls has the same error")]
    fn provider(&self, name: &str) -> Result<&Arc<dyn Provider>, LoginError> {
        let provider = self.providers.find(name);
        provider.ok_or(LoginError::UnknownProvider)
    }

    /// The login that `query` ends: begun here, and with `provider`. The secret that sealed it beside.
    #[expect(clippy::result_large_err, reason = "whoever calls has the same error")]
    fn begun(
        &self,
        provider: &dyn Provider,
        query: &CallbackQuery<'_>,
    ) -> Result<(Transaction, KeyIndex), LoginError> {
        let state = query.state.as_deref().ok_or(LoginError::State)?;
        let (transaction, key) = Transaction::open(&self.keys, state).ok_or(LoginError::State)?;
        if transaction.provider != provider.profile().name {
            return Err(LoginError::OtherProvider);
        }
        Ok((transaction, key))
    }

    async fn take_back(
        &self,
        callback: &Callback<'_>,
        now: Timestamp,
        random: SessionRandom,
    ) -> Result<Finished, LoginError> {
        let provider = self.provider(callback.provider)?;
        let query = CallbackQuery::parse(callback.query).map_err(LoginError::Callback)?;
        let (transaction, key) = self.begun(provider.as_ref(), &query)?;
        let again = self.again(&transaction);
        let session = callback.session;
        if session.is_some_and(|session| session.login_id == transaction.id) {
            return Ok(Finished::AlreadySignedIn {
                return_to: again.return_to,
            });
        }
        // Where this login cannot go on, another tab's may have done what it was for.
        let signed_in_elsewhere = || {
            session
                .filter(|session| stands_in(session, &transaction, now))
                .map(|_| Finished::AlreadySignedIn {
                    return_to: again.return_to.clone(),
                })
        };
        if transaction.has_expired(now) {
            return signed_in_elsewhere().ok_or_else(|| LoginError::Expired(again.clone()));
        }
        let browser = callback
            .browser
            .and_then(Browser::from_cookie)
            .filter(|browser| transaction.belongs_to(browser));
        let Some(browser) = browser else {
            return signed_in_elsewhere().ok_or_else(|| LoginError::OtherBrowser(again.clone()));
        };
        let answer = match (&query.error, &query.code) {
            (Some(error), _) => Err(error),
            (None, Some(code)) => Ok(code),
            (None, None) => return Err(LoginError::Callback("neither code nor error")),
        };
        // Before the error: what another issuer says about this login is not to be shown either.
        provider
            .check_issuer(query.iss.as_deref())
            .await
            .map_err(|error| match error {
                ProviderError::Issuer => LoginError::OtherIssuer(again.clone()),
                error => provider_failed(&again, error),
            })?;
        let code = answer
            .map_err(|error| answered(error, query.error_description.as_deref(), again.clone()))?;
        let redemption = RedemptionOfCode {
            provider: provider.clone(),
            code: code.clone().into_owned(),
            redirect_uri: self.redirect_uri(provider.profile()),
            secrets: transaction.secrets(&self.keys, Some(key), &browser),
            random,
            login_id: transaction.id,
            keep: self.keep,
            again: again.clone(),
            now,
            client: LoginClient {
                known: callback
                    .client
                    .known
                    .filter(|_| transaction.options.is_known),
                ..callback.client
            },
            throttle: self.state.throttle.clone(),
        };
        let outcome = self
            .state
            .redemptions
            .once(transaction.id, code, redemption.run())
            .await;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(why) => {
                return signed_in_elsewhere().ok_or_else(|| match why {
                    NotRedeemed::Spent => LoginError::Spent(again.clone()),
                    NotRedeemed::Full => LoginError::Crowded,
                });
            }
        };
        Ok(Finished::SignedIn {
            signed_in: outcome?,
            again,
        })
    }

    /// Each provider's own: what comes back at another's is a mix-up (RFC 9700 §4.4.2.2).
    fn redirect_uri(&self, provider: &Profile) -> Url {
        let mut url = self.public_url.clone();
        url.set_path(&provider.callback_path);
        url
    }

    /// The address was checked when the login began; the rules may have changed since.
    fn again(&self, transaction: &Transaction) -> Restart {
        Restart {
            provider: transaction.provider.clone(),
            return_to: self
                .return_rules
                .check(&transaction.return_to)
                .unwrap_or_else(ReturnTo::root),
            times: transaction.options.again,
            step_up: Box::new(transaction.options.step_up.clone()),
            reauthenticate: transaction.options.reauthenticate,
        }
    }
}

/// Whether `session` came of another tab's login meanwhile, at the same provider. That the state may be
/// another browser's does no harm here: nothing changes, and the address is one that a link could lead
/// to.
fn stands_in(session: &Session, transaction: &Transaction, now: Timestamp) -> bool {
    let authentication = &session.identity.authentication;
    let is_sufficient = transaction
        .options
        .step_up
        .check(authentication, now)
        .is_ok();
    is_sufficient
        && !transaction.options.switch_account
        && session.identity.provider.as_str() == transaction.provider
        && session.created_at >= transaction.issued_at
}

fn answered(error: &str, description: Option<&str>, again: Restart) -> LoginError {
    LoginError::Answered {
        code: printable(error, 60).unwrap_or_else(|| "unnamed_error".to_owned()),
        description: description.and_then(|text| printable(text, 200)),
        again,
    }
}

fn provider_failed(again: &Restart, error: ProviderError) -> LoginError {
    LoginError::Provider {
        error,
        again: again.clone(),
    }
}

/// Everything that redeeming a code takes, owned: it outlives the request that asked for it.
struct RedemptionOfCode {
    provider: Arc<dyn Provider>,
    code: String,
    redirect_uri: Url,
    secrets: LoginSecrets,
    random: SessionRandom,
    login_id: [u8; 16],
    keep: KeepTokens,
    again: Restart,
    now: Timestamp,
    client: LoginClient,
    throttle: Arc<Throttle>,
}

impl RedemptionOfCode {
    async fn run(self) -> Result<Arc<SignedIn>, LoginError> {
        let code_grant = CodeGrant {
            code: &self.code,
            redirect_uri: &self.redirect_uri,
            pkce_verifier: &self.secrets.pkce_verifier,
            nonce: &self.secrets.nonce,
            now: self.now,
        };
        let call = Call::Token;
        let mut grant = timeout(LONGEST, self.provider.redeem(&code_grant))
            .await
            .unwrap_or(Err(ProviderError::Http {
                call,
                error: HttpError::Timeout,
            }))
            .map_err(|error| provider_failed(&self.again, error))?;
        let identity = &mut grant.identity;
        identity.authentication = mem::take(&mut identity.authentication).no_later_than(self.now);
        // Whoever it is, it is somebody.
        self.throttle.give_back(&self.client);
        allow::check(&self.provider.profile().allow, &grant.identity).map_err(|denied| {
            // The answer knows more than a session would.
            let held = grant.evidence.of(&denied.rule).cloned();
            LoginError::NotAllowed {
                user: grant.identity.user().clone(),
                denied: Denied {
                    held: held.unwrap_or(denied.held),
                    ..denied
                },
                identity: Box::new(grant.identity.clone()),
                again: self.again.clone(),
            }
        })?;
        // The provider may have passed over what was asked, so its word is read and not taken for granted.
        let authentication = &grant.identity.authentication;
        self.again
            .step_up
            .check(authentication, self.now)
            .map_err(|shortfall| LoginError::Insufficient {
                shortfall,
                again: self.again.clone(),
            })?;
        Ok(Arc::new(self.signed_in(grant)))
    }

    fn signed_in(&self, grant: Grant) -> SignedIn {
        let id_token = grant.tokens.id.clone();
        let begun = Session::begin(self.random.id, self.login_id, self.now, grant.identity);
        let profile = self.provider.profile();
        let session = Session {
            provider_fingerprint: profile.fingerprint,
            tokens: self
                .keep
                .of_grant(grant.tokens, profile.refresh, self.now, self.random.id[0]),
            provider_session: grant.provider_session,
            ..begun
        };
        SignedIn {
            session,
            record_key: self.random.record_key,
            id_token,
        }
    }
}

/// All calls of one redemption together; each has its own limit, too.
const LONGEST: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests;
