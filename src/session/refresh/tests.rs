use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::time::sleep;
use url::Url;

use super::*;
use crate::{
    clock,
    config::Allow,
    provider::{
        AuthorizeRequest, BoxFuture, Call, CodeGrant, Grant, GrantTokens, IdTokenError, Profile,
        Provider, ProviderError, RenewedTokens, http::HttpError,
    },
    session::{
        Identity, Lifetimes, Tokens, codec,
        revocation::{Revocation, Target},
        store::{Memory, Record, Store},
        ticket::Ticket,
    },
};

/// Rotates refresh tokens: each is good once, then everything is revoked. Its answers can be told.
struct Rotating {
    profile: Profile,
    current: Mutex<u32>,
    calls: AtomicUsize,
    says: Mutex<VecDeque<ProviderError>>,
    subject: Mutex<&'static str>,
    /// Why it cannot say who it is, for so many times.
    unsure: Mutex<VecDeque<ProviderError>>,
    gives_new: bool,
    takes: Mutex<Duration>,
    /// The lifetimes of the next tokens; an hour afterwards.
    lasts: Mutex<VecDeque<u64>>,
}

impl Rotating {
    fn new() -> Self {
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

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn says(&self, errors: impl IntoIterator<Item = ProviderError>) {
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

    fn renew<'a>(
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
        _: &'a RenewedTokens<'a>,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>> {
        let subject = *self.subject.lock().unwrap();
        let unsure = self.unsure.lock().unwrap().pop_front();
        Box::pin(async move { unsure.map_or(Ok(Identity::of("corp", subject)), Err) })
    }
}

fn invalid_grant() -> ProviderError {
    ProviderError::Refused {
        code: "invalid_grant".to_owned(),
        description: None,
    }
}

fn outage() -> ProviderError {
    ProviderError::Http {
        call: Call::Token,
        error: HttpError::Timeout,
    }
}

struct House {
    provider: Arc<Rotating>,
    revocations: Arc<Revocations>,
    refresher: Refresher,
}

impl House {
    fn with(provider: Rotating) -> Self {
        let provider = Arc::new(provider);
        let revocations = Arc::new(Revocations::new(Duration::from_hours(1)));
        let providers = Arc::new(Providers::for_test(provider.clone()));
        let farewell = Arc::new(Farewell::new(providers.clone(), Handle::current()));
        let refresher = Refresher::new(
            providers,
            revocations.clone(),
            farewell,
            KeepTokens::default(),
            Duration::from_mins(10),
            Handle::current(),
        );
        Self {
            provider,
            revocations,
            refresher,
        }
    }

    fn new() -> Self {
        Self::with(Rotating::new())
    }

    async fn settle(&self, session: &Session, place: &Place) -> Settled {
        self.refresher
            .settle(session.clone(), place, clock::now())
            .await
    }

    /// Until nothing runs any more.
    async fn quiet(&self) {
        while !self.refresher.running.is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A session whose token ended so many seconds ago, or ends in so many.
fn session(ends_in: i64) -> Session {
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

async fn record(session: &Session) -> Place {
    let lifetimes = Lifetimes {
        lifetime: Duration::from_hours(9),
        idle_timeout: Duration::from_hours(9),
    };
    let store: Arc<dyn Store> = Arc::new(Memory::new(10, lifetimes));
    let ticket = Ticket::new(session.id, [3; 16]);
    let record = Record {
        generation: session.generation,
        sealed: ticket.seal(&codec::encode(session), [4; 12]),
    };
    let now = clock::now();
    let end = now.after(lifetimes.lifetime);
    store.create(&session.id, record, end, now).await.unwrap();
    Place::Record { store, ticket }
}

fn generation(settled: Settled) -> u64 {
    match settled {
        Settled::Renewed(session) => session.generation,
        other => panic!("not renewed: {other:?}"),
    }
}

#[tokio::test]
async fn fifty_at_once_are_one_call_and_one_successor() {
    let house = House::new();
    for place in [Place::Cookie, record(&session(-1)).await] {
        let before = house.provider.calls();
        *house.provider.current.lock().unwrap() = 0;
        let mut old = session(-1);
        old.id = [u8::try_from(before).unwrap(); 16];
        let place = match place {
            Place::Cookie => Place::Cookie,
            _ => record(&old).await,
        };
        let all = (0..50).map(|_| house.settle(&old, &place));
        let settled = futures_util::future::join_all(all).await;
        assert_eq!(house.provider.calls(), before + 1);
        let Settled::Renewed(first) = &settled[0] else {
            panic!("not renewed");
        };
        assert_eq!(first.tokens.refresh.as_deref(), Some("refresh-1"));
        assert_eq!((first.generation, first.id), (1, old.id));
        assert!(settled.iter().all(|one| *one == settled[0]));
        // Whoever comes later with the old cookie gets the same.
        assert_eq!(house.settle(&old, &place).await, settled[0]);
        assert_eq!(house.provider.calls(), before + 1);
    }
}

#[tokio::test]
async fn nobody_waits_while_the_old_token_lasts() {
    let house = House::new();
    let old = session(50);
    assert_eq!(
        house.settle(&old, &Place::Cookie).await,
        Settled::Stands(old.clone())
    );
    house.quiet().await;
    assert_eq!(generation(house.settle(&old, &Place::Cookie).await), 1);
    assert_eq!(house.provider.calls(), 1);
}

#[tokio::test]
async fn before_it_is_due_nothing_is_asked() {
    let house = House::new();
    let early = session(101);
    assert_eq!(
        house.settle(&early, &Place::Cookie).await,
        Settled::Stands(early.clone())
    );
    let mut without = session(-1);
    without.tokens.refresh = None;
    assert_eq!(
        house.settle(&without, &Place::Cookie).await,
        Settled::Stands(without.clone())
    );
    house.quiet().await;
    assert_eq!(house.provider.calls(), 0);
}

#[tokio::test]
async fn who_goes_away_loses_nothing() {
    let house = House::new();
    let old = session(-1);
    let waited = timeout(Duration::from_millis(1), house.settle(&old, &Place::Cookie)).await;
    assert!(waited.is_err());
    assert_eq!(generation(house.settle(&old, &Place::Cookie).await), 1);
    assert_eq!(house.provider.calls(), 1);
}

#[tokio::test]
async fn a_cookie_that_is_several_renewals_behind_catches_up() {
    let house = House::new();
    house.provider.lasts.lock().unwrap().push_back(100);
    let old = session(-1);
    let Settled::Renewed(first) = house.settle(&old, &Place::Cookie).await else {
        panic!("not renewed");
    };
    let later = clock::now().after(Duration::from_secs(200));
    for cookie in [first, old.clone(), old] {
        let settled = house.refresher.settle(cookie, &Place::Cookie, later).await;
        assert_eq!(generation(settled), 2);
    }
    assert_eq!(house.provider.calls(), 2);
}

#[tokio::test]
async fn a_missing_new_refresh_token_keeps_the_old() {
    let house = House::with(Rotating {
        gives_new: false,
        ..Rotating::new()
    });
    let old = session(-1);
    match house.settle(&old, &Place::Cookie).await {
        Settled::Renewed(session) => assert_eq!(session.tokens.refresh, old.tokens.refresh),
        other => panic!("not renewed: {other:?}"),
    }
}

#[tokio::test]
async fn the_providers_no_ends_the_session_everywhere() {
    let house = House::new();
    house.provider.says([invalid_grant()]);
    let old = session(-1);
    let place = record(&old).await;
    assert_eq!(house.settle(&old, &place).await, Settled::Ended);
    assert!(house.revocations.has_revoked(&old));
    let Place::Record { store, .. } = &place else {
        unreachable!("a record");
    };
    assert_eq!(store.reload(&old.id, clock::now()).await, Ok(None));
    assert_eq!(house.settle(&old, &place).await, Settled::Ended);
    assert_eq!(house.provider.calls(), 1);
}

#[tokio::test]
async fn a_no_that_somebody_elses_renewal_explains_ends_nothing() {
    let house = House::new();
    let old = session(-1);
    let place = record(&old).await;
    let newer = Session {
        generation: 1,
        tokens: session(3_000).tokens,
        ..old.clone()
    };
    assert_eq!(place.keep(&newer, clock::now()).await, Ok(true));
    // This process has not heard of it: its copy is the old one.
    assert_eq!(house.settle(&old, &place).await, Settled::Renewed(newer));
    assert_eq!(house.provider.calls(), 0);
    assert!(!house.revocations.has_revoked(&old));
}

#[tokio::test]
async fn an_outage_ends_nothing_until_the_grace_is_over() {
    let house = House::new();
    house.provider.says([outage(), outage(), outage()]);
    let old = session(-1);
    assert_eq!(
        house.settle(&old, &Place::Cookie).await,
        Settled::Stands(old.clone())
    );
    // Not again at once.
    assert_eq!(
        house.settle(&old, &Place::Cookie).await,
        Settled::Stands(old.clone())
    );
    assert_eq!(house.provider.calls(), 1);
    let late = Session {
        id: [9; 16],
        ..session(-601)
    };
    assert_eq!(house.settle(&late, &Place::Cookie).await, Settled::Unknown);
    assert!(!house.revocations.has_revoked(&late));
}

#[tokio::test]
async fn what_failed_is_tried_again_after_a_while() {
    let house = House::new();
    house.provider.says([outage()]);
    let old = session(-1);
    assert_eq!(
        house.settle(&old, &Place::Cookie).await,
        Settled::Stands(old.clone())
    );
    let later = clock::now().after(Duration::from_secs(3));
    assert_eq!(
        generation(house.refresher.settle(old, &Place::Cookie, later).await),
        1
    );
}

#[tokio::test]
async fn another_subject_ends_the_session() {
    let house = House::new();
    *house.provider.subject.lock().unwrap() = "2";
    assert_eq!(
        house.settle(&session(-1), &Place::Cookie).await,
        Settled::Ended
    );
}

#[tokio::test]
async fn what_was_signed_out_meanwhile_does_not_come_back() {
    let house = House::new();
    let old = session(50);
    let place = record(&old).await;
    assert_eq!(
        house.settle(&old, &place).await,
        Settled::Stands(old.clone())
    );
    place.remove(&old.id).await.unwrap();
    house.quiet().await;
    assert_eq!(house.settle(&old, &place).await, Settled::Ended);
    let Place::Record { store, .. } = &place else {
        unreachable!("a record");
    };
    assert_eq!(store.reload(&old.id, clock::now()).await, Ok(None));

    let old = Session {
        id: [7; 16],
        ..session(-1)
    };
    house.revocations.revoke(Revocation {
        target: Target::Session(old.id),
        not_before: clock::now(),
    });
    assert_eq!(house.settle(&old, &Place::Cookie).await, Settled::Ended);
}

fn bad_id_token() -> ProviderError {
    ProviderError::IdToken(IdTokenError::Signature)
}

#[tokio::test]
async fn tokens_of_nobody_known_change_nothing_but_the_refresh_token() {
    for error in [bad_id_token(), outage()] {
        let house = House::new();
        house.provider.unsure.lock().unwrap().push_back(error);
        let mut old = session(-1);
        old.tokens.access = Some("old access".into());
        let Settled::Renewed(unsure) = house.settle(&old, &Place::Cookie).await else {
            panic!("not renewed");
        };
        assert_eq!(unsure.tokens.refresh.as_deref(), Some("refresh-1"));
        assert_eq!(unsure.tokens.access, old.tokens.access);
        assert_eq!(unsure.tokens.expires_at, old.tokens.expires_at);
        assert_eq!((&unsure.identity, unsure.generation), (&old.identity, 1));
        // Not again at once, then again, and by then it is known.
        assert_eq!(
            house.settle(&unsure, &Place::Cookie).await,
            Settled::Stands(unsure.clone())
        );
        let later = clock::now().after(Duration::from_secs(5));
        for cookie in [unsure, old] {
            let sure = house.refresher.settle(cookie, &Place::Cookie, later).await;
            assert_eq!(generation(sure), 2);
        }
        assert_eq!(house.provider.calls(), 2);
    }
}

#[tokio::test]
async fn who_cannot_be_identified_does_not_pass_for_ever() {
    let house = House::new();
    let (early, late) = (session(-590), session(-601));
    house.provider.unsure.lock().unwrap().push_back(outage());
    // Asked within the grace; when it is over the next attempt is not yet due.
    let Settled::Renewed(unsure) = house.settle(&early, &Place::Cookie).await else {
        panic!("not renewed");
    };
    let later = clock::now().after(Duration::from_secs(15));
    let settled = house.refresher.settle(unsure, &Place::Cookie, later).await;
    assert_eq!(settled, Settled::Unknown);
    assert!(!house.revocations.has_revoked(&early));

    let house = House::new();
    house
        .provider
        .unsure
        .lock()
        .unwrap()
        .push_back(bad_id_token());
    assert_eq!(house.settle(&late, &Place::Cookie).await, Settled::Ended);
    assert!(house.revocations.has_revoked(&late));
}

#[tokio::test]
async fn a_second_factor_asked_for_ends_the_session() {
    let house = House::new();
    house.provider.says([ProviderError::Refused {
        code: "interaction_required".to_owned(),
        description: None,
    }]);
    assert_eq!(
        house.settle(&session(-1), &Place::Cookie).await,
        Settled::Ended
    );
}

#[tokio::test]
async fn another_server_of_the_same_name_sees_no_token() {
    let house = House::new();
    let old = Session {
        provider_fingerprint: [1; 8],
        ..session(-1)
    };
    assert_eq!(house.settle(&old, &Place::Cookie).await, Settled::Ended);
    assert_eq!(house.provider.calls(), 0);
    assert!(!house.revocations.has_revoked(&old));
}

#[tokio::test]
async fn who_has_waited_once_for_a_provider_that_is_away_does_not_wait_again() {
    let house = House::new();
    house.provider.says([outage()]);
    let old = session(-1);
    house.settle(&old, &Place::Cookie).await;
    *house.provider.takes.lock().unwrap() = Duration::from_mins(1);
    let later = clock::now().after(Duration::from_secs(3));
    let settled = house.refresher.settle(old.clone(), &Place::Cookie, later);
    let settled = timeout(Duration::from_secs(1), settled).await;
    assert_eq!(settled, Ok(Settled::Stands(old)));
    assert_eq!(house.provider.calls(), 2);
}
