//! Refreshes that succeed: one call for all who ask, and nobody waits longer than they must.

mod deaf;
mod failure;
mod house;

use std::time::Duration;

use tokio::time::timeout;

use self::house::{House, Rotating, generation, record, session};
use super::RefreshOutcome;
use crate::{
    clock,
    session::{Session, place::Place},
};

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
        let RefreshOutcome::Refreshed(first) = &settled[0] else {
            panic!("not refreshed");
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
        RefreshOutcome::Stands(old.clone())
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
        RefreshOutcome::Stands(early.clone())
    );
    let mut without = session(-1);
    without.tokens.refresh = None;
    assert_eq!(
        house.settle(&without, &Place::Cookie).await,
        RefreshOutcome::Stands(without.clone())
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
async fn a_cookie_that_is_several_refreshes_behind_catches_up() {
    let house = House::new();
    house.provider.lasts.lock().unwrap().push_back(100);
    let old = session(-1);
    let RefreshOutcome::Refreshed(first) = house.settle(&old, &Place::Cookie).await else {
        panic!("not refreshed");
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
        RefreshOutcome::Refreshed(session) => {
            assert_eq!(session.tokens.refresh, old.tokens.refresh);
        }
        other => panic!("not refreshed: {other:?}"),
    }
}

#[tokio::test]
async fn a_no_that_somebody_elses_refresh_explains_ends_nothing() {
    let house = House::new();
    let old = session(-1);
    let place = record(&old).await;
    let newer = Session {
        generation: 1,
        tokens: session(3_000).tokens,
        ..old.clone()
    };
    let record = place.seal(&newer).unwrap();
    assert_eq!(place.keep(&newer.id, &record, clock::now()).await, Ok(true));
    // This process has not heard of it: its copy is the old one.
    assert_eq!(
        house.settle(&old, &place).await,
        RefreshOutcome::Refreshed(newer)
    );
    assert_eq!(house.provider.calls(), 0);
    assert!(!house.revocations.has_revoked(&old));
}
