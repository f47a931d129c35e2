//! A refresher, and a provider that refreshes once per refresh token.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, time::sleep};
use url::Url;

use crate::{
    access::Allow,
    clock::{self, Timestamp},
    identity::Identity,
    provider::{
        AuthorizeRequest, Call, CodeGrant, Grant, Profile, Provider, ProviderError, Providers,
        RefreshedTokens, http::HttpError,
    },
    session::{
        Lifetimes, Session, codec,
        place::Place,
        refresh::{RefreshOutcome, RefreshPolicy, Refresher},
        revocation::Revocations,
        store::{Memory, Record, Store},
        ticket::Ticket,
        token_revoker::TokenRevoker,
    },
    tokens::{GrantTokens, KeepTokens, Tokens},
};
use futures_util::future::BoxFuture;

/// Rotates refresh tokens: each is good once, then everything is revoked. Its answers can be told.
pub(super) struct Rotating {
    pub(super) profile: Profile,
    pub(super) current: Mutex<u32>,
    pub(super) calls: AtomicUsize,
    pub(super) says: Mutex<VecDeque<ProviderError>>,
    pub(super) subject: Mutex<&'static str>,
    /// Why it cannot say who it is, for so many times.
    pub(super) unsure: Mutex<VecDeque<ProviderError>>,
    pub(super) gives_new: bool,
    pub(super) takes: Mutex<Duration>,
    /// The lifetimes of the next tokens; an hour afterwards.
    pub(super) lasts: Mutex<VecDeque<u64>>,
}

impl Rotating {
    pub(super) fn new() -> Self {
        Self {
            profile: Profile {
                name: "corp".to_owned(),
                label: String::new(),
                callback_path: String::new(),
                allow: Allow::Anyone,
                fingerprint: [0; 8],
                refresh: true,
                revoke: true,
                frontchannel_logout: false,
                exchanges_tokens: false,
            },
            current: Mutex::new(0),
            calls: AtomicUsize::new(0),
            says: Mutex::default(),
            subject: Mutex::new("1"),
            unsure: Mutex::default(),
            gives_new: true,
            takes: Mutex::new(Duration::from_millis(20)),
            lasts: Mutex::default(),
        }
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(super) fn says(&self, errors: impl IntoIterator<Item = ProviderError>) {
        self.says.lock().unwrap().extend(errors);
    }
}

impl Provider for Rotating {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn authorize<'a>(
        &'a self,
        _: &'a AuthorizeRequest<'a>,
    ) -> BoxFuture<'a, Result<Url, ProviderError>> {
        unreachable!("nobody signs in here")
    }

    fn redeem<'a>(&'a self, _: &'a CodeGrant<'a>) -> BoxFuture<'a, Result<Grant, ProviderError>> {
        unreachable!("nobody signs in here")
    }

    fn refresh<'a>(
        &'a self,
        refresh_token: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<GrantTokens, ProviderError>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            let takes = *self.takes.lock().unwrap();
            sleep(takes).await;
            if let Some(error) = self.says.lock().unwrap().pop_front() {
                return Err(error);
            }
            let mut current = self.current.lock().unwrap();
            if refresh_token != format!("refresh-{current}") {
                *current = u32::MAX;
                return Err(invalid_grant());
            }
            let lasts = self.lasts.lock().unwrap().pop_front();
            if self.gives_new {
                *current += 1;
            }
            Ok(GrantTokens {
                access: "access".into(),
                refresh: self.gives_new.then(|| format!("refresh-{current}").into()),
                id: None,
                expires: Some(Timestamp(now.0 + lasts.unwrap_or(3_600))),
            })
        })
    }

    fn identify<'a>(
        &'a self,
        _: &'a RefreshedTokens<'a>,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>> {
        let subject = *self.subject.lock().unwrap();
        let unsure = self.unsure.lock().unwrap().pop_front();
        Box::pin(async move { unsure.map_or(Ok(Identity::of("corp", subject)), Err) })
    }
}

pub(super) fn invalid_grant() -> ProviderError {
    ProviderError::Refused {
        code: "invalid_grant".to_owned(),
        description: None,
    }
}

pub(super) fn outage() -> ProviderError {
    ProviderError::Http {
        call: Call::Token,
        error: HttpError::ConnectTimeout,
    }
}

/// It was sent, and nobody knows what became of it.
pub(super) fn unanswered(error: HttpError) -> ProviderError {
    ProviderError::Http {
        call: Call::Token,
        error,
    }
}

pub(super) struct House {
    pub(super) provider: Arc<Rotating>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) refresher: Refresher,
}

impl House {
    pub(super) fn with(provider: Rotating) -> Self {
        let provider = Arc::new(provider);
        let revocations = Arc::new(Revocations::new(Duration::from_hours(1)));
        let providers = Arc::new(Providers::for_test(provider.clone()));
        let token_revoker = Arc::new(TokenRevoker::new(providers.clone(), Handle::current()));
        let refresher = Refresher::new(
            RefreshPolicy {
                providers,
                keep: KeepTokens::default(),
                provider_grace: Duration::from_mins(10),
                missing: Arc::new(|_| Vec::new()),
            },
            crate::observe::audit::Audit::default(),
            revocations.clone(),
            token_revoker,
            Handle::current(),
        );
        Self {
            provider,
            revocations,
            refresher,
        }
    }

    pub(super) fn new() -> Self {
        Self::with(Rotating::new())
    }

    pub(super) async fn settle(&self, session: &Session, place: &Place) -> RefreshOutcome {
        self.refresher
            .settle(session.clone(), place, clock::now())
            .await
    }

    /// Until nothing runs any more.
    pub(super) async fn quiet(&self) {
        while !self.refresher.running.is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A session whose token ended so many seconds ago, or ends in so many.
pub(super) fn session(ends_in: i64) -> Session {
    let now = clock::now();
    let ends = Timestamp(now.0.checked_add_signed(ends_in).unwrap());
    Session {
        tokens: Tokens {
            refresh: Some("refresh-0".into()),
            expires_at: Some(ends),
            refresh_at: Some(Timestamp(ends.0 - 100)),
            ..Tokens::default()
        },
        ..Session::begin(
            [1; 16],
            [2; 16],
            Timestamp(now.0 - 5_000),
            Identity::of("corp", "1"),
        )
    }
}

pub(super) async fn record(session: &Session) -> Place {
    let lifetimes = Lifetimes {
        lifetime: Duration::from_hours(9),
        idle_timeout: Duration::from_hours(9),
    };
    let store: Arc<dyn Store> = Arc::new(Memory::new(10, lifetimes));
    let ticket = Ticket::new(session.id, [3; 16]);
    let record = Record {
        generation: session.generation,
        sealed: ticket.seal(&codec::encode(session), [4; 16]),
    };
    let now = clock::now();
    let end = now.after(lifetimes.lifetime);
    store.create(&session.id, record, end, now).await.unwrap();
    Place::Record { store, ticket }
}

pub(super) fn generation(settled: RefreshOutcome) -> u64 {
    match settled {
        RefreshOutcome::Refreshed(session) => session.generation,
        other => panic!("not refreshed: {other:?}"),
    }
}
