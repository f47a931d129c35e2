use std::time::Duration;

use http::header::COOKIE;
use tokio::runtime::Handle;

use super::*;
use crate::{
    identity::Identity,
    identity_headers::HeaderSettings,
    provider::{HttpClient, Providers},
    public_url::PublicUrl,
    secret::Secret,
    session::refresh::RefreshPolicy,
    session::{
        settings::{SessionSettings, StoreSettings},
        store::Memory,
    },
    tokens::{KeepTokens, Tokens},
};

const NOW: Timestamp = Timestamp(1_800_000_000);

const LIFETIMES: Lifetimes = Lifetimes {
    lifetime: Duration::from_hours(8),
    idle_timeout: Duration::from_mins(30),
};

fn gate(secrets: &[&str], storage: SessionStorage) -> Sessions {
    let secrets: Vec<Secret> = secrets
        .iter()
        .map(|text| Secret::new((*text).to_owned()))
        .collect();
    let keys = Arc::new(KeyRing::new(&secrets, "app.example.com"));
    let config = SessionSettings {
        secrets,
        ephemeral: false,
        lifetime: LIFETIMES.lifetime,
        idle_timeout: LIFETIMES.idle_timeout,
        cookie_name: "sidegate".to_owned(),
        cookie_domain: None,
        store: StoreSettings::Cookie,
        max_sessions: 1,
        shared: None,
        provider_grace: Duration::ZERO,
    };
    let public_url = PublicUrl {
        url: "https://app.example.com".parse().unwrap(),
    };
    let providers = Providers::new(&[], &HeaderSettings::default(), &HttpClient::for_test());
    let providers = Arc::new(providers);
    let revocations = Arc::new(Revocations::new(LIFETIMES.lifetime));
    let token_revoker = Arc::new(TokenRevoker::new(Arc::clone(&providers), Handle::current()));
    let refresher = Refresher::new(
        RefreshPolicy {
            providers,
            keep: KeepTokens::default(),
            provider_grace: Duration::ZERO,
            missing: Arc::new(|_| Vec::new()),
        },
        crate::observe::audit::Audit::default(),
        Arc::clone(&revocations),
        Arc::clone(&token_revoker),
        Handle::current(),
    );
    Sessions {
        keys,
        cookies: Cookies::new(&config, &public_url, "/oauth2"),
        lifetimes: LIFETIMES,
        storage,
        revocations,
        refresher: Arc::new(refresher),
        token_revoker,
    }
}

fn in_store(store: &Arc<dyn Store>) -> SessionStorage {
    SessionStorage::Store(Arc::clone(store))
}

fn store() -> Arc<dyn Store> {
    Arc::new(Memory::new(10, LIFETIMES))
}

const RECORD_KEY: [u8; 16] = [3; 16];

/// As a newer version has written it.
fn session() -> Session {
    Session {
        further: "news".into(),
        ..Session::begin([1; 16], [2; 16], NOW, Identity::of("corp", "1"))
    }
}

/// The request that a browser makes which was sent these cookies.
fn bringing(set: &[HeaderValue]) -> HeaderMap {
    let pairs = set.iter().map(|header| {
        let text = header.to_str().unwrap();
        text.split(';').next().unwrap()
    });
    let cookies: Vec<&str> = pairs.filter(|pair| !pair.ends_with('=')).collect();
    [(COOKIE, HeaderValue::from_str(&cookies.join("; ")).unwrap())]
        .into_iter()
        .collect()
}

async fn begun(gate: &Sessions) -> HeaderMap {
    let visit = gate.visit(&HeaderMap::new(), NOW).await.unwrap();
    bringing(
        &gate
            .begin(&session(), RECORD_KEY, &visit, NOW)
            .await
            .unwrap_or_default(),
    )
}

async fn found(gate: &Sessions, request: &HeaderMap, after: u64) -> Option<Session> {
    let visit = gate.visit(request, Timestamp(NOW.0 + after)).await;
    let session = visit.unwrap().session;
    session.map(Arc::unwrap_or_clone)
}

#[tokio::test]
async fn a_new_secret_seals_cookies_and_tickets_anew() {
    let store = store();
    let kept: [&dyn Fn() -> SessionStorage; 2] =
        [&|| SessionStorage::Cookie { shared: None }, &|| {
            in_store(&store)
        }];
    for storage in kept {
        let old = begun(&gate(&["old"], storage())).await;
        let both = gate(&["new", "old"], storage());
        let visit = both.visit(&old, NOW).await.unwrap();
        assert_eq!(visit.session.as_ref().unwrap().further, "news");
        let new = bringing(&both.touch(&visit, NOW));
        let visit = both.visit(&new, NOW).await.unwrap();
        assert!(both.touch(&visit, NOW).is_empty(), "once");
        let only = gate(&["new"], storage());
        let session = found(&only, &new, 0).await.unwrap();
        assert_eq!(session.further, "news");
        assert!(found(&only, &old, 0).await.is_none());
    }
}

#[tokio::test]
async fn a_ticket_is_small_whatever_the_session_holds() {
    let gate = gate(&["one"], in_store(&store()));
    let visit = gate.visit(&HeaderMap::new(), NOW).await.unwrap();
    let large = Session {
        tokens: Tokens {
            refresh: Some("x".repeat(4_000).into()),
            ..Tokens::default()
        },
        ..session()
    };
    let set = gate
        .begin(&large, RECORD_KEY, &visit, NOW)
        .await
        .unwrap_or_default();
    let request = bringing(&set);
    let value = request[COOKIE].to_str().unwrap().split_once('=').unwrap().1;
    assert!(value.len() < 120, "{} characters", value.len());
}

#[tokio::test]
async fn in_a_store_both_ends_are_kept_to_the_second() {
    let minutes = |minutes: u64| minutes * 60;
    let gate = gate(&["one"], in_store(&store()));
    let request = begun(&gate).await;
    // Each look is a use.
    assert!(found(&gate, &request, minutes(30) - 1).await.is_some());
    assert!(found(&gate, &request, minutes(60) - 2).await.is_some());
    assert!(found(&gate, &request, minutes(90) - 2).await.is_none());

    let request = begun(&gate).await;
    for use_at in (0..minutes(8 * 60)).step_by(600) {
        assert!(found(&gate, &request, use_at).await.is_some(), "{use_at}");
    }
    assert!(found(&gate, &request, minutes(8 * 60) - 1).await.is_some());
    assert!(found(&gate, &request, minutes(8 * 60)).await.is_none());
}

#[tokio::test]
async fn in_a_cookie_the_absolute_end_is_exact_and_the_idle_one_nearly() {
    let gate = gate(&["one"], SessionStorage::Cookie { shared: None });
    let request = begun(&gate).await;
    assert!(found(&gate, &request, 30 * 60 - 1).await.is_some());
    assert!(found(&gate, &request, 30 * 60).await.is_none());
    let mut request = request;
    for use_at in (0..8 * 3_600).step_by(60) {
        let now = Timestamp(NOW.0 + use_at);
        let visit = gate.visit(&request, now).await.unwrap();
        assert!(visit.session.is_some(), "{use_at}");
        let set = gate.touch(&visit, now);
        if !set.is_empty() {
            request = bringing(&set);
        }
    }
    assert!(found(&gate, &request, 8 * 3_600).await.is_none());
}

/// The request with another character at `place` of its cookie's value.
fn forged(request: &HeaderMap, place: usize) -> HeaderMap {
    let mut cookie = request[COOKIE].as_bytes().to_vec();
    let place = place + "__Host-sidegate=".len();
    cookie[place] = if cookie[place] == b'A' { b'B' } else { b'A' };
    let cookie = HeaderValue::from_bytes(&cookie).unwrap();
    [(COOKIE, cookie)].into_iter().collect()
}

#[tokio::test]
async fn a_busy_sessions_ticket_is_as_hard_to_forge_as_any() {
    let store = store();
    let gate = gate(&["one"], in_store(&store));
    let request = begun(&gate).await;
    let length = request[COOKIE].len() - "__Host-sidegate=".len();
    for place in 0..length {
        assert!(found(&gate, &request, 0).await.is_some());
        let visit = gate.visit(&forged(&request, place), NOW).await.unwrap();
        assert!(visit.session.is_none(), "{place}");
        assert!(visit.carried.is_none(), "{place}");
    }
    // Known, and gone.
    assert!(found(&gate, &request, 0).await.is_some());
    store.remove(&session().id).await.unwrap();
    assert!(found(&gate, &request, 0).await.is_none());
}

#[tokio::test]
async fn a_busy_session_of_another_gate_is_not_known() {
    let store = store();
    let ours = gate(&["one"], in_store(&store));
    let request = begun(&ours).await;
    assert!(found(&ours, &request, 0).await.is_some());
    let theirs = gate(&["two"], in_store(&store));
    assert!(found(&theirs, &request, 0).await.is_none());
    assert!(found(&ours, &request, 0).await.is_some());
}

#[tokio::test]
async fn a_reload_with_the_ticket_to_a_record_that_was_lost_keeps_the_new_one() {
    let store = store();
    let gate = gate(&["one"], in_store(&store));
    let request = begun(&gate).await;
    store.remove(&session().id).await.unwrap();
    let visit = gate.visit(&request, NOW).await.unwrap();
    let set = gate.begin(&session(), RECORD_KEY, &visit, NOW).await;
    let request = bringing(&set.unwrap_or_default());
    assert!(found(&gate, &request, 0).await.is_some());
}

#[tokio::test]
async fn a_handle_of_a_cookie_refreshes_nothing_and_ends() {
    let gate = gate(&["one"], SessionStorage::Cookie { shared: None });
    let session = Session {
        tokens: Tokens {
            access: Some("access".into()),
            refresh: Some("refresh".into()),
            id: Some("id".into()),
            expires_at: Some(NOW.after(Duration::from_hours(1))),
            refresh_at: Some(NOW.after(Duration::from_mins(50))),
            ..Tokens::default()
        },
        ..session()
    };
    let nobody = gate.visit(&HeaderMap::new(), NOW).await.unwrap();
    assert_eq!(gate.handle(&nobody, NOW), None);
    let set = gate.begin(&session, RECORD_KEY, &nobody, NOW).await;
    let visit = gate.visit(&bringing(&set.unwrap()), NOW).await.unwrap();
    let handle = gate.handle(&visit, NOW).unwrap();
    let named = async |text: &str, after: u64| {
        let visit = gate.by_handle(text.as_bytes(), Timestamp(NOW.0 + after));
        visit.await.unwrap().session
    };
    let found = named(&handle, 599).await.unwrap();
    assert_eq!(found.tokens.access.as_deref(), Some("access"));
    assert!(found.tokens.refresh.is_none() && found.tokens.id.is_none());
    assert_eq!(found.identity, session.identity);
    assert!(named(&handle, 600).await.is_none());
    assert!(named(&handle[1..], 0).await.is_none());
    assert!(named("", 0).await.is_none());
    let mut headers = HeaderMap::new();
    let cookie = format!("sidegate={handle}");
    headers.insert(COOKIE, HeaderValue::try_from(cookie).unwrap());
    assert!(gate.visit(&headers, NOW).await.unwrap().session.is_none());
    gate.mark(Target::Session(session.id), NOW);
    assert!(named(&handle, 0).await.is_none());
}
