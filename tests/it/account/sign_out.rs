//! Signing out elsewhere: whom it reaches, and who cannot have it done.

use http::{Method, StatusCode};
use serde_json::json;

use super::{STORES, account, browsers, form, is_signed_in, others, sessions, token};
use crate::support::standard_with;

#[tokio::test]
async fn another_session_is_signed_out_and_no_further_one() {
    for store in STORES {
        let (house, _others, [mine, phone, laptop]) = browsers(|plan| plan.session(store)).await;
        let phones = account(&phone).await;
        let this = sessions(&phones)
            .into_iter()
            .find(|session| session["this"] == true);
        let name = this.expect("its own")["id"]
            .as_str()
            .expect("a name")
            .to_owned();
        let token = token(&mine).await;
        let stolen = phone.cookies("/");
        let reply = form(&mine, &format!("token={token}&session={name}"))
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
        assert_eq!(reply.location(), mine.absolute("/oauth2/account"));
        assert!(!is_signed_in(&phone).await, "{store}: at once");
        assert!(
            is_signed_in(&laptop).await && is_signed_in(&mine).await,
            "{store}"
        );
        let thief = house.browser();
        let reply = thief.navigate("/").header("cookie", &stolen).send().await;
        assert_eq!(
            reply.status,
            StatusCode::FOUND,
            "{store}: nor does a copy count"
        );
        laptop.sign_in("/").await;
        assert_eq!(others(&account(&laptop).await).len(), 1, "{store}");
    }
}

#[tokio::test]
async fn all_others_are_signed_out_and_this_one_stays() {
    for store in STORES {
        let (_house, _others, [mine, phone, laptop]) = browsers(|plan| plan.session(store)).await;
        assert_eq!(others(&account(&mine).await).len(), 2);
        let token = token(&mine).await;
        let reply = form(&mine, &format!("token={token}&scope=others"))
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
        assert!(is_signed_in(&mine).await, "{store}");
        assert!(
            !is_signed_in(&phone).await && !is_signed_in(&laptop).await,
            "{store}"
        );
        assert!(others(&account(&mine).await).is_empty());
    }
}

#[tokio::test]
async fn everywhere_is_here_too_and_at_the_provider() {
    for store in STORES {
        let (_house, _others, [mine, phone]) = browsers(|plan| plan.session(store)).await;
        let token = token(&mine).await;
        let reply = form(&mine, &format!("token={token}&scope=everywhere"))
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
        assert_eq!(mine.cookie("sidegate"), None, "{store}");
        assert!(!is_signed_in(&phone).await, "{store}");
        let next = mine
            .navigate(reply.location().as_str())
            .header("referer", mine.absolute("/oauth2/account").as_str())
            .send()
            .await;
        assert_eq!(next.status, StatusCode::FOUND, "{}", next.text());
        assert!(
            next.location().path().contains("logout"),
            "{}",
            next.location()
        );
    }
}

#[tokio::test]
async fn another_site_signs_nobody_out() {
    let (_house, _others, [mine, phone]) = browsers(|plan| plan).await;
    let (good, foreign) = (token(&mine).await, token(&phone).await);
    assert_ne!(good, foreign, "each session has a token of its own");
    let body = format!("token={good}&scope=everywhere");
    for site in ["cross-site", "same-site"] {
        let reply = mine
            .bare(Method::POST, "/oauth2/account/sign_out")
            .header("sec-fetch-site", site)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.clone())
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{site}");
    }
    for origin in ["http://evil.example", "null"] {
        let reply = mine
            .bare(Method::POST, "/oauth2/account/sign_out")
            .header("origin", origin)
            .body(body.clone())
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{origin}");
        assert_eq!(reply.json()["error"], "stale_form");
    }
    for body in [
        "scope=everywhere".to_owned(),
        "token=&scope=everywhere".to_owned(),
        format!("token={foreign}&scope=everywhere"),
        format!("token={foreign}&token={good}&scope=everywhere"),
    ] {
        let reply = form(&mine, &body).send().await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{body}");
        assert!(reply.text().contains("/oauth2/account"), "{}", reply.text());
    }
    for query in ["", &format!("?{body}")] {
        let path = format!("/oauth2/account/sign_out{query}");
        let reply = mine.get(&path).await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    for body in [
        format!("token={good}"),
        format!("token={good}&scope=else"),
        format!("token={good}&session=x"),
        format!("token={good}&scope=others&{}", "x".repeat(5_000)),
    ] {
        let reply = form(&mine, &body).send().await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
    }
    assert!(is_signed_in(&mine).await && is_signed_in(&phone).await);
}

#[tokio::test]
async fn a_session_of_somebody_else_is_out_of_reach() {
    let (house, _upstream, provider) = standard_with(|plan| plan).await;
    let ada = house.browser();
    ada.sign_in("/").await;
    provider.user("sub", json!("bob"));
    let bob = house.browser();
    bob.sign_in("/").await;
    let listed = account(&ada).await;
    assert_eq!(sessions(&listed).len(), 1, "{listed}");
    let adas = sessions(&listed)[0]["id"]
        .as_str()
        .expect("a name")
        .to_owned();
    let token = token(&bob).await;
    let reply = bob
        .fetch(Method::POST, "/oauth2/account/sign_out")
        .body(format!("token={token}&session={adas}"))
        .send()
        .await;
    assert_eq!(reply.json(), json!({ "signed_out": 0 }));
    assert!(is_signed_in(&ada).await);
}
