//! Refreshes that fail: what ends a session, and what only puts the next attempt off.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use http::StatusCode;
use tokio::time::{sleep, timeout};

use super::{
    deaf::LossyStore,
    house::{House, generation, invalid_grant, outage, record, session, unanswered},
};
use crate::{
    clock,
    jose::JwtError,
    provider::{ProviderError, http::HttpError},
    session::{
        Session,
        place::{Place, RemoteState},
        refresh::RefreshOutcome,
        revocation::{Revocation, Target},
    },
};

#[tokio::test]
async fn the_providers_no_ends_the_session_everywhere() {
    let house = House::new();
    house.provider.says([invalid_grant()]);
    let old = session(-1);
    let place = record(&old).await;
    assert_eq!(house.settle(&old, &place).await, RefreshOutcome::Ended);
    assert!(house.revocations.has_revoked(&old));
    let Place::Record { store, .. } = &place else {
        unreachable!("a record");
    };
    assert_eq!(store.reload(&old.id, clock::now()).await, Ok(None));
    assert_eq!(house.settle(&old, &place).await, RefreshOutcome::Ended);
    assert_eq!(house.provider.calls(), 1);
}

#[tokio::test]
async fn an_outage_ends_nothing_until_the_grace_is_over() {
    let house = House::new();
    house.provider.says([outage(), outage(), outage()]);
    let old = session(-1);
    assert_eq!(
        house.settle(&old, &Place::Cookie).await,
        RefreshOutcome::Stands(old.clone())
    );
    // Not again at once.
    assert_eq!(
        house.settle(&old, &Place::Cookie).await,
        RefreshOutcome::Stands(old.clone())
    );
    assert_eq!(house.provider.calls(), 1);
    let late = Session {
        id: [9; 16],
        ..session(-601)
    };
    assert_eq!(
        house.settle(&late, &Place::Cookie).await,
        RefreshOutcome::Unknown
    );
    assert!(!house.revocations.has_revoked(&late));
}

#[tokio::test]
async fn what_failed_is_tried_again_after_a_while() {
    let house = House::new();
    house.provider.says([outage()]);
    let old = session(-1);
    assert_eq!(
        house.settle(&old, &Place::Cookie).await,
        RefreshOutcome::Stands(old.clone())
    );
    let later = clock::now().after(Duration::from_secs(3));
    assert_eq!(
        generation(house.refresher.settle(old, &Place::Cookie, later).await),
        1
    );
}

/// To send it again might be to use it twice.
#[tokio::test]
async fn what_was_not_answered_is_not_sent_again_while_something_serves() {
    for error in [
        HttpError::Timeout,
        HttpError::Broken,
        HttpError::TooLarge { limit: 9 },
        HttpError::Status(StatusCode::GATEWAY_TIMEOUT),
    ] {
        let house = House::new();
        house.provider.says([unanswered(error)]);
        let old = session(-1);
        let after = |seconds| clock::now().after(Duration::from_secs(seconds));
        for later in [0, 3, 300, 590] {
            let settled = house
                .refresher
                .settle(old.clone(), &Place::Cookie, after(later));
            assert_eq!(
                settled.await,
                RefreshOutcome::Stands(old.clone()),
                "{later}"
            );
        }
        assert_eq!(house.provider.calls(), 1);
        let settled = house.refresher.settle(old, &Place::Cookie, after(601));
        assert_eq!(generation(settled.await), 1);
    }
}

/// Who brings a cookie whose refresh is forgotten goes on with it for as long as it serves, and signs in then.
#[tokio::test]
async fn a_token_whose_refresh_is_forgotten_for_want_of_room_is_not_sent_again() {
    let house = House::new();
    let refresher = house.refresher.remembering(10_000);
    let refreshed = async |number: u8, now| {
        let old = Session {
            id: [number; 16],
            ..session(-1)
        };
        *house.provider.current.lock().unwrap() = 0;
        let settled = refresher.settle(old, &Place::Cookie, now).await;
        while !refresher.running.is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        settled
    };
    let now = clock::now();
    for number in 0..50 {
        refreshed(number, now).await;
    }
    refresher.flights.settle_down();
    assert_eq!(house.provider.calls(), 50);
    assert!(matches!(refreshed(0, now).await, RefreshOutcome::Stands(_)));
    // Beyond the grace of a session that is made now, however long the fifty took.
    let later = clock::now().after(Duration::from_mins(11));
    assert_eq!(refreshed(1, later).await, RefreshOutcome::Ended);
    assert_eq!(house.provider.calls(), 50);
}

#[tokio::test]
async fn another_subject_ends_the_session() {
    let house = House::new();
    *house.provider.subject.lock().unwrap() = "2";
    assert_eq!(
        house.settle(&session(-1), &Place::Cookie).await,
        RefreshOutcome::Ended
    );
}

#[tokio::test]
async fn what_was_signed_out_meanwhile_does_not_come_back() {
    let house = House::new();
    let old = session(50);
    let place = record(&old).await;
    assert_eq!(
        house.settle(&old, &place).await,
        RefreshOutcome::Stands(old.clone())
    );
    place.remove(&old.id).await.unwrap();
    house.quiet().await;
    assert_eq!(house.settle(&old, &place).await, RefreshOutcome::Ended);
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
    assert_eq!(
        house.settle(&old, &Place::Cookie).await,
        RefreshOutcome::Ended
    );
}

/// The store has the new tokens, but the gate was not told so and asks again: nobody has signed out.
#[tokio::test]
async fn an_answer_of_the_store_that_gets_lost_ends_nothing() {
    let house = House::new();
    let old = session(-1);
    let Place::Record { store, ticket } = record(&old).await else {
        unreachable!("a record");
    };
    let place = Place::Record {
        store: Arc::new(LossyStore {
            inner: store,
            has_lost: AtomicBool::new(false),
        }),
        ticket,
    };
    house.settle(&old, &place).await;
    house.quiet().await;
    assert_eq!(generation(house.settle(&old, &place).await), 1);
    assert_eq!(house.provider.calls(), 1);
    assert!(matches!(
        place.latest(&old, clock::now()).await,
        Ok(RemoteState::Newer(newer)) if newer.generation == 1
    ));
}

fn bad_id_token() -> ProviderError {
    ProviderError::IdToken(JwtError::Signature)
}

#[tokio::test]
async fn tokens_of_nobody_known_change_nothing_but_the_refresh_token() {
    for error in [bad_id_token(), outage()] {
        let house = House::new();
        house.provider.unsure.lock().unwrap().push_back(error);
        let mut old = session(-1);
        old.tokens.access = Some("old access".into());
        let RefreshOutcome::Refreshed(unsure) = house.settle(&old, &Place::Cookie).await else {
            panic!("not refreshed");
        };
        assert_eq!(unsure.tokens.refresh.as_deref(), Some("refresh-1"));
        assert_eq!(unsure.tokens.access, old.tokens.access);
        assert_eq!(unsure.tokens.expires_at, old.tokens.expires_at);
        assert_eq!((&unsure.identity, unsure.generation), (&old.identity, 1));
        // Not again at once, then again, and by then it is known.
        assert_eq!(
            house.settle(&unsure, &Place::Cookie).await,
            RefreshOutcome::Stands(unsure.clone())
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
    let RefreshOutcome::Refreshed(unsure) = house.settle(&early, &Place::Cookie).await else {
        panic!("not refreshed");
    };
    let later = clock::now().after(Duration::from_secs(15));
    let settled = house.refresher.settle(unsure, &Place::Cookie, later).await;
    assert_eq!(settled, RefreshOutcome::Unknown);
    assert!(!house.revocations.has_revoked(&early));

    let house = House::new();
    house
        .provider
        .unsure
        .lock()
        .unwrap()
        .push_back(bad_id_token());
    assert_eq!(
        house.settle(&late, &Place::Cookie).await,
        RefreshOutcome::Ended
    );
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
        RefreshOutcome::Ended
    );
}

#[tokio::test]
async fn another_server_of_the_same_name_sees_no_token() {
    let house = House::new();
    let old = Session {
        provider_fingerprint: [1; 8],
        ..session(-1)
    };
    assert_eq!(
        house.settle(&old, &Place::Cookie).await,
        RefreshOutcome::Ended
    );
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
    assert_eq!(settled, Ok(RefreshOutcome::Stands(old)));
    assert_eq!(house.provider.calls(), 2);
}
