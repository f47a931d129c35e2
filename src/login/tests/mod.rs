//! Whole logins at a scripted provider on loopback.

mod house;

use std::collections::HashMap;

use http::StatusCode;
use serde_json::json;

use self::house::{House, already, callback, failed, session, signed_in};
use super::*;
use crate::{access::Allow, provider::scripted::Answer};

#[tokio::test]
async fn a_browser_goes_and_comes_back_signed_in() {
    let house = House::new(Allow::Anyone).await;
    let trip = house.simple().await;
    assert_eq!(
        trip.parameter("redirect_uri"),
        "https://app.example.com/oauth2/callback/corp"
    );
    assert_eq!(trip.parameter("code_challenge_method"), "S256");
    house.grant(&trip, |_| {});
    let query = house.query(&trip, &[("code", "c")]);
    let finished = house.finish(&callback(&trip, &query)).await;
    let Ok(Finished::SignedIn { signed_in, again }) = finished else {
        panic!("must sign in");
    };
    let (session, id_token) = (&signed_in.session, &signed_in.id_token);
    assert_eq!(again.return_to.as_str(), "/a?b=%2F&c");
    assert_eq!(session.identity.email.as_deref(), Some("a@x.example"));
    assert_eq!(session.created_at, house.now);
    assert!(id_token.is_some());
    assert!(session.tokens.access.is_none() && session.tokens.id == *id_token);
    // The verifier that was sent belongs to the challenge that was shown.
    let sent = house.server.requests("/token").remove(0).body;
    let sent: HashMap<_, _> = url::form_urlencoded::parse(sent.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(
        pkce_challenge(&sent["code_verifier"]),
        trip.parameter("code_challenge")
    );
    assert_eq!(sent["redirect_uri"], trip.parameter("redirect_uri"));
}

#[tokio::test]
async fn a_registered_callback_path_is_told_at_both_ends() {
    let house = House::new(Allow::Anyone).await;
    let options = LoginOptions::default();
    let trip = house.begin_at("registered", "/a", None, options).await;
    let redirect_uri = "https://app.example.com/oauth/callback/";
    assert_eq!(trip.parameter("redirect_uri"), redirect_uri);
    house.grant(&trip, |_| {});
    let query = house.query(&trip, &[("code", "c")]);
    // The state says whose it is, whichever callback it comes to.
    let elsewhere = failed(house.finish(&callback(&trip, &query)).await);
    assert!(matches!(elsewhere, LoginError::OtherProvider));
    let here = Callback {
        provider: "registered",
        ..callback(&trip, &query)
    };
    let (session, return_to) = signed_in(house.finish(&here).await);
    assert_eq!(session.identity.provider.as_str(), "registered");
    assert_eq!(return_to, "/a");
    let sent = house.server.requests("/token").remove(0).body;
    let sent: HashMap<_, _> = url::form_urlencoded::parse(sent.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(sent["redirect_uri"], redirect_uri);
}

#[tokio::test]
async fn twenty_tabs_share_one_cookie_and_land_on_their_own_pages() {
    let house = House::new(Allow::Anyone).await;
    let first = house.simple().await;
    let mut trips = Vec::new();
    for tab in 0..20 {
        let page = format!("/tab/{tab}");
        let trip = house
            .begin(&page, Some(&first.cookie), LoginOptions::default())
            .await;
        assert_eq!(trip.cookie, first.cookie);
        trips.push((page, trip));
    }
    let mut ids = std::collections::HashSet::new();
    for (page, trip) in &trips {
        house.grant(trip, |_| {});
        let (session, return_to) = signed_in(house.come_back(trip, page).await);
        assert_eq!(return_to, *page);
        ids.insert(session.id);
    }
    assert_eq!(ids.len(), 20);
}

#[tokio::test]
async fn a_reload_is_harmless() {
    let house = House::new(Allow::Anyone).await;
    let trip = house.simple().await;
    house.grant(&trip, |_| {});
    let (made, _) = signed_in(house.come_back(&trip, "c").await);
    // The answer got lost: the same again, without asking the provider.
    let (same, _) = signed_in(house.come_back(&trip, "c").await);
    assert_eq!(made.id, same.id);
    // The answer arrived: nothing happens, even long after.
    let query = house.query(&trip, &[("code", "c")]);
    let with_session = Callback {
        session: Some(&made),
        ..callback(&trip, &query)
    };
    assert_eq!(already(house.finish(&with_session).await), "/a?b=%2F&c");
    let later = house.now.after(Duration::from_hours(24));
    let finished = house
        .logins
        .finish(&with_session, later, SessionRandom::draw())
        .await;
    assert_eq!(already(finished), "/a?b=%2F&c");
    assert!(matches!(
        failed(house.come_back(&trip, "d").await),
        LoginError::Spent(_)
    ));
    assert_eq!(house.redemptions(), 1);
}

#[tokio::test]
async fn another_tabs_session_stands_in_where_a_login_cannot_go_on() {
    let house = House::new(Allow::Anyone).await;
    let trip = house.simple().await;
    let query = house.query(&trip, &[("code", "c")]);
    let newer = session("corp", [9; 16], Timestamp(house.now.0 + 1));
    let with_session = Callback {
        session: Some(&newer),
        ..callback(&trip, &query)
    };
    // The tab's state was made for a cookie that another tab has since replaced.
    let other_browser = Browser::new([3; 32]).cookie();
    let replaced = Callback {
        browser: Some(&other_browser),
        ..with_session
    };
    assert_eq!(already(house.finish(&replaced).await), "/a?b=%2F&c");
    assert_eq!(house.redemptions(), 0);
    for stranger in [
        session("other", [9; 16], Timestamp(house.now.0 + 1)),
        session("corp", [9; 16], Timestamp(1)),
    ] {
        let replaced = Callback {
            session: Some(&stranger),
            ..replaced
        };
        let error = failed(house.finish(&replaced).await);
        assert!(matches!(error, LoginError::OtherBrowser(_)), "{error}");
    }

    // A login that can go on makes its own session, whoever is signed in: a planted one ends here.
    house.grant(&trip, |_| {});
    signed_in(house.finish(&with_session).await);
    let options = LoginOptions {
        switch_account: true,
        ..LoginOptions::default()
    };
    let switching = house.begin("/", None, options).await;
    assert_eq!(switching.parameter("prompt"), "select_account");
    house.grant(&switching, |_| {});
    let query = house.query(&switching, &[("code", "c")]);
    let with_session = Callback {
        session: Some(&newer),
        ..callback(&switching, &query)
    };
    signed_in(house.finish(&with_session).await);
}

#[tokio::test]
async fn nothing_is_spent_before_the_state_holds() {
    let house = House::new(Allow::Anyone).await;
    let trip = house.simple().await;
    house.grant(&trip, |_| {});
    let good = house.query(&trip, &[("code", "c")]);

    for query in [
        "",
        "code=c",
        "code=c&state=",
        "code=c&state=forged",
        "error=access_denied&state=x",
    ] {
        let error = failed(house.finish(&callback(&trip, query)).await);
        assert!(matches!(error, LoginError::State), "{query}");
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
    }
    for twice in ["code=d", "state=x", "iss=x"] {
        let query = format!("{good}&{twice}");
        let error = failed(house.finish(&callback(&trip, &query)).await);
        assert!(matches!(error, LoginError::Callback(_)), "{twice}");
    }
    let elsewhere = Callback {
        provider: "other",
        ..callback(&trip, &good)
    };
    assert!(matches!(
        failed(house.finish(&elsewhere).await),
        LoginError::OtherProvider
    ));
    let nowhere = Callback {
        provider: "none",
        ..callback(&trip, &good)
    };
    assert!(matches!(
        failed(house.finish(&nowhere).await),
        LoginError::UnknownProvider
    ));

    let other = house.simple().await;
    for browser in [None, Some("x"), Some(other.cookie.as_str())] {
        let stolen = Callback {
            browser,
            ..callback(&trip, &good)
        };
        let error = failed(house.finish(&stolen).await);
        assert!(matches!(error, LoginError::OtherBrowser(_)));
        assert_eq!(
            error.start_again().unwrap().return_to.as_str(),
            "/a?b=%2F&c"
        );
    }
    let later = house.now.after(Duration::from_secs(601));
    let finished = house
        .logins
        .finish(&callback(&trip, &good), later, SessionRandom::draw())
        .await;
    assert!(matches!(failed(finished), LoginError::Expired(_)));

    // An error is believed only from here on.
    let foreign = house.query(&trip, &[("error", "access_denied")]);
    let planted = Callback {
        browser: Some(&other.cookie),
        ..callback(&trip, &foreign)
    };
    assert!(matches!(
        failed(house.finish(&planted).await),
        LoginError::OtherBrowser(_)
    ));
    assert_eq!(house.redemptions(), 0);
    signed_in(house.finish(&callback(&trip, &good)).await);
}

#[tokio::test]
async fn the_issuer_is_checked_before_error_and_code() {
    let house = House::new(Allow::Anyone).await;
    let trip = house.simple().await;
    let state = trip.parameter("state");
    for rest in [
        "code=c",
        "code=c&iss=https%3A%2F%2Fevil.example",
        "error=access_denied&iss=x",
    ] {
        let query = format!("state={state}&{rest}");
        let error = failed(house.finish(&callback(&trip, &query)).await);
        assert!(
            matches!(&error, LoginError::OtherIssuer(_)),
            "{rest}: {error}"
        );
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
        assert_eq!(error.providers_words(), None);
    }
    assert_eq!(house.redemptions(), 0);
}

#[tokio::test]
async fn a_providers_no_is_told_but_not_echoed_as_it_is() {
    let house = House::new(Allow::Anyone).await;
    let trip = house.simple().await;
    let hostile = "<script>\r\nalert(1)</script>".to_owned() + &"x".repeat(10_000);
    let query = house.query(
        &trip,
        &[("error", "access_denied"), ("error_description", &hostile)],
    );
    let error = failed(house.finish(&callback(&trip, &query)).await);
    assert_eq!(error.fault(), Fault::User);
    let words = error.providers_words().unwrap();
    assert!(words.len() <= 200 && !words.contains(['\r', '\n']));
    assert!(!error.sentence().contains("script"));
    // A "no" ends nothing: the person may go back and say yes.
    house.grant(&trip, |_| {});
    signed_in(house.come_back(&trip, "c").await);
    let trip = house.simple().await;
    let neither = house.query(&trip, &[]);
    let error = failed(house.finish(&callback(&trip, &neither)).await);
    assert!(matches!(error, LoginError::Callback(_)));
}

#[tokio::test]
async fn the_allow_list_has_the_last_word() {
    let house = House::new(Allow::for_test(&[("domains", &["x.example"])])).await;
    let trip = house.simple().await;
    house.grant(&trip, |_| {});
    signed_in(house.come_back(&trip, "c").await);
    for (name, value) in [
        ("email", json!("a@y.example")),
        ("email_verified", json!(false)),
    ] {
        let trip = house.simple().await;
        house.grant(&trip, |claims| claims[name] = value);
        let error = failed(house.come_back(&trip, "c").await);
        assert_eq!(error.status(), StatusCode::FORBIDDEN);
        assert!(error.to_string().contains("allow.domains"));
        assert!(error.start_again().is_some());
    }
}

#[tokio::test]
async fn another_logins_nonce_is_refused() {
    let house = House::new(Allow::Anyone).await;
    let (trip, other) = (house.simple().await, house.simple().await);
    house.grant(&other, |_| {});
    let error = failed(house.come_back(&trip, "c").await);
    assert_eq!(error.fault(), Fault::Provider);
    assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn who_leaves_while_the_provider_thinks_is_signed_in_on_return() {
    let house = House::new(Allow::Anyone).await;
    let trip = house.simple().await;
    house.grant(&trip, |_| {});
    // Learn the good answer, then have it come late.
    let mut claims = json!({});
    house.grant(&trip, |good| claims = good.clone());
    let answer = json!({
        "access_token": "at", "token_type": "Bearer", "id_token": house.key.sign(&claims),
    });
    let answer = Answer::json(&answer.to_string());
    let late = Answer::After(Duration::from_millis(200), Box::new(answer));
    house.server.answer("/token", late);
    let query = house.query(&trip, &[("code", "c")]);
    let callback = callback(&trip, &query);
    let impatient = timeout(Duration::from_millis(50), house.finish(&callback));
    assert!(impatient.await.is_err());
    signed_in(house.finish(&callback).await);
    assert_eq!(house.redemptions(), 1);
}

/// Logins that lead nowhere are counted by the client that begins them, and real ones are not; and a login that was let
/// in comes to its end.
#[tokio::test]
async fn junk_logins_are_bounded_and_real_ones_are_not() {
    let house = House::new(Allow::Anyone).await;
    let client = LoginClient {
        address: Some([192, 0, 2, 1].into()),
        known: None,
    };
    let arrived = Instant::now();
    for _ in 0..200 {
        house.logins.admit(&client, arrived).unwrap();
        let trip = house.simple().await;
        house.grant(&trip, |_| {});
        let query = house.query(&trip, &[("code", "c")]);
        let callback = Callback {
            client,
            ..callback(&trip, &query)
        };
        signed_in(house.finish(&callback).await);
        // A reload asks nobody.
        signed_in(house.finish(&callback).await);
    }
    assert_eq!(house.redemptions(), 200);
    house.logins.admit(&client, arrived).unwrap();
    let good = house.simple().await;
    let junk = (0..200).take_while(|_| house.logins.admit(&client, arrived).is_ok());
    assert!(junk.count() < 60, "there is a bound");
    house.grant(&good, |_| {});
    let query = house.query(&good, &[("code", "c")]);
    let late = Callback {
        client,
        ..callback(&good, &query)
    };
    signed_in(house.finish(&late).await);
    let other = LoginClient {
        address: Some([192, 0, 2, 2].into()),
        known: None,
    };
    house.logins.admit(&other, arrived).unwrap();
}

#[tokio::test]
async fn a_provider_that_is_down_is_told_so_and_recovers() {
    let house = House::new(Allow::Anyone).await;
    house
        .server
        .answer("/.well-known/openid-configuration", Answer::status(503));
    let begin = || async {
        let random = LoginRandom::draw();
        let root = ReturnTo::root();
        let options = LoginOptions::default();
        house
            .logins
            .begin("corp", &root, None, options, house.now, &random)
            .await
            .map(|_| ())
    };
    let error = begin().await.unwrap_err();
    assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!house.logins.providers.ready());
    house.server.publish(&[&house.key]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    begin().await.unwrap();
    assert!(house.logins.providers.ready());
}

#[tokio::test]
async fn a_return_address_that_is_no_longer_allowed_becomes_the_root() {
    let house = House::new(Allow::Anyone).await;
    let browser = Browser::new([5; 32]);
    let options = LoginOptions::default();
    for (address, expected) in [
        ("https://b.example.com/x?y", "https://b.example.com/x?y"),
        ("https://evil.example/", "/"),
    ] {
        let transaction = Transaction::new(
            [1; 16],
            house.now,
            "corp",
            address,
            options.clone(),
            &browser,
        );
        let again = house.logins.again(&transaction);
        assert_eq!(again.return_to.as_str(), expected);
    }
}
