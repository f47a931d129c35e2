//! How an app of the operator's signs its user out, and gets them back (OpenID Connect RP-Initiated Logout).

use http::{Method, StatusCode};
use serde_json::json;
use url::Url;

use super::{
    BACK, MCP, home_with,
    openid::{LEFT, app, sign_in, with_app},
    parameter, text,
};
use crate::support::{Browser, House, Reply};

fn end_session(fields: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    format!("/oauth2/end_session?{query}")
}

async fn is_signed_in(browser: &Browser) -> bool {
    let reply = browser.fetch(Method::GET, "/oauth2/userinfo").send().await;
    reply.status == StatusCode::OK
}

/// Follows redirects of the gate's own until one leads elsewhere, or a page comes.
async fn leave(browser: &Browser, house: &House, path: &str) -> Result<Url, Reply> {
    let mut reply = browser.get(path).await;
    for _ in 0..5 {
        if !reply.status.is_redirection() {
            return Err(reply);
        }
        let next = reply.location();
        if !next.as_str().starts_with(&house.public_url) {
            return Ok(next);
        }
        reply = browser.get(next.as_str()).await;
    }
    panic!("it leads in a circle");
}

#[tokio::test]
async fn an_app_signs_its_user_out_and_gets_them_back_where_it_has_said() {
    let home = with_app().await;
    let house = &home.house;
    let browser = house.browser();
    let token = text(&sign_in(house, &browser, &[]).await, "id_token");
    let fields = [
        ("id_token_hint", &*token),
        ("post_logout_redirect_uri", LEFT),
        ("state", "a state"),
    ];
    let next = leave(&browser, house, &end_session(&fields)).await;
    let next = next.map_err(|reply| reply.text()).expect("it leads on");
    assert_eq!(next.as_str(), format!("{LEFT}?state=a+state"));
    assert!(!is_signed_in(&browser).await);
    // Once more: nobody is there, and it leads on all the same.
    assert!(leave(&browser, house, &end_session(&fields)).await.is_ok());
}

#[tokio::test]
async fn a_sign_out_at_the_provider_leads_back_to_the_app_too() {
    let tables = format!("{MCP}{}", app("app", "first_party = true"));
    let home = home_with(&tables, |plan| plan).await;
    let house = &home.house;
    let browser = house.browser();
    let token = text(&sign_in(house, &browser, &[]).await, "id_token");
    let fields = [
        ("id_token_hint", &*token),
        ("post_logout_redirect_uri", LEFT),
        ("state", "a state"),
    ];
    let there = leave(&browser, house, &end_session(&fields)).await;
    let there = there.map_err(|reply| reply.text()).expect("it leads on");
    assert_eq!(there.path(), "/logout", "{there}");
    assert!(!is_signed_in(&browser).await);
    let state = parameter(&there, "state").expect("the way on");
    assert!(!state.contains(&token), "{state}");
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("state", &state)
        .finish();
    let back = format!("/oauth2/sign_out?{query}");
    let next = leave(&browser, house, &back).await;
    let next = next.map_err(|reply| reply.text()).expect("it leads on");
    assert_eq!(next.as_str(), format!("{LEFT}?state=a+state"));
}

#[tokio::test]
async fn nobody_else_signs_anybody_out_or_leads_them_anywhere() {
    let home = with_app().await;
    let house = &home.house;
    let (browser, other) = (house.browser(), house.browser());
    let token = text(&sign_in(house, &browser, &[]).await, "id_token");
    home.provider.user("sub", json!("eve"));
    let foreign = text(&sign_in(house, &other, &[]).await, "id_token");
    let broken = format!("{}x", &token[..token.len() - 3]);
    for hint in ["", &*foreign, &*broken, "x"] {
        let fields = [("id_token_hint", hint), ("post_logout_redirect_uri", LEFT)];
        let reply = browser.get(&end_session(&fields)).await;
        assert!(!reply.status.is_redirection(), "{hint}: {}", reply.status);
        assert!(is_signed_in(&browser).await, "{hint}");
    }
    // A picture of another page is no wish.
    let path = end_session(&[("id_token_hint", &*token)]);
    let _ = browser.fetch(Method::GET, &path).send().await;
    assert!(is_signed_in(&browser).await);
    for uri in [
        "https://evil.example/",
        &format!("{LEFT}/"),
        "http://127.0.0.1:4/left",
        BACK,
        "javascript:alert(1)",
    ] {
        let nobody = house.browser();
        let fields = [
            ("id_token_hint", &*token),
            ("post_logout_redirect_uri", uri),
        ];
        let reply = nobody.get(&end_session(&fields)).await;
        assert_eq!(reply.status, StatusCode::OK, "{uri}");
    }
    let nobody = house.browser();
    let fields = [
        ("id_token_hint", &*token),
        ("client_id", "another"),
        ("post_logout_redirect_uri", LEFT),
    ];
    assert_eq!(
        nobody.get(&end_session(&fields)).await.status,
        StatusCode::OK
    );
}

/// A browser sends no `SameSite=Lax` cookie along with a form of another site.
#[tokio::test]
async fn a_form_of_the_app_signs_its_user_out_too() {
    let home = with_app().await;
    let house = &home.house;
    let browser = house.browser();
    let token = text(&sign_in(house, &browser, &[]).await, "id_token");
    let form = |fields: &[(&str, &str)]| {
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish()
    };
    let fields = [
        ("id_token_hint", &*token),
        ("post_logout_redirect_uri", LEFT),
        ("state", "a state"),
    ];
    // As it comes without cookies.
    let without = house.browser();
    let post = async |body: String| {
        super::submit(&without, "/oauth2/end_session", "cross-site", body).await
    };
    let reply = post(form(&fields)).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
    let again = reply.location();
    assert!(
        again
            .as_str()
            .starts_with(&house.url("/oauth2/end_session?")),
        "{again}"
    );
    assert!(!again.as_str().contains(&token), "no token in an address");
    assert!(is_signed_in(&browser).await);
    let next = leave(&browser, house, again.as_str()).await;
    let next = next.map_err(|reply| reply.text()).expect("it leads on");
    assert_eq!(next.as_str(), format!("{LEFT}?state=a+state"));
    assert!(!is_signed_in(&browser).await);

    // What the note says is about one person, and nobody can make one.
    home.provider.user("sub", json!("eve"));
    let eve = house.browser();
    sign_in(house, &eve, &[]).await;
    let forged = format!("{}AAAA", again.as_str());
    for address in [
        again.as_str(),
        &*forged,
        &house.url("/oauth2/end_session?logout_hint=x"),
    ] {
        let reply = eve.get(address).await;
        assert!(
            !reply.status.is_redirection(),
            "{address}: {}",
            reply.status
        );
        assert!(is_signed_in(&eve).await, "{address}");
    }
    // Without a token the person is asked.
    let reply = post(form(&[
        ("post_logout_redirect_uri", LEFT),
        ("client_id", "app"),
    ]))
    .await;
    let asked = eve.get(reply.location().as_str()).await;
    assert!(!asked.status.is_redirection(), "{}", asked.status);
    assert!(is_signed_in(&eve).await);
}

#[tokio::test]
async fn a_hint_of_a_client_that_is_gone_signs_nobody_out() {
    let home = with_app().await;
    let house = &home.house;
    let browser = house.browser();
    let token = text(&sign_in(house, &browser, &[]).await, "id_token");
    crate::reload::change(house, "id = \"app\"", "id = \"another\"").await;
    let reply = browser
        .get(&end_session(&[("id_token_hint", &*token)]))
        .await;
    assert!(!reply.status.is_redirection(), "{}", reply.status);
    assert!(is_signed_in(&browser).await);
}
