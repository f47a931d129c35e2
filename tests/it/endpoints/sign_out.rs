//! `/sign_out`: here, at the provider, and not because another site says so.

use http::{Method, StatusCode};

use super::{field, sign_out};
use crate::support::{House, Upstream, arranged, node_provider, standard, standard_with};

#[tokio::test]
async fn signing_out_ends_the_session_here() {
    let (house, _upstream, _provider) =
        arranged(|behaviour| behaviour.offers_logout = false, |plan| plan).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let reply = sign_out(&browser, "/oauth2/sign_out?rd=/bye").await;
    assert!(
        reply.status.is_redirection(),
        "{} {}",
        reply.status,
        reply.text()
    );
    assert_eq!(reply.location().as_str(), house.url("/bye"));
    assert_eq!(browser.cookie("sidegate"), None);
    assert_eq!(browser.get("/").await.status, StatusCode::FOUND);
    // Signing out twice is no error.
    let again = sign_out(&browser, "/oauth2/sign_out?rd=/bye").await;
    assert!(again.status.as_u16() < 400, "{}", again.status);
}

#[tokio::test]
async fn signing_out_over_https_expires_with_the_same_attributes() {
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.public_url("https://app.test")).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let reply = sign_out(&browser, "/oauth2/sign_out").await;
    assert!(
        reply
            .set_cookies()
            .iter()
            .any(|header| header.starts_with("__Host-sidegate="))
    );
    for header in reply.set_cookies() {
        let lower = header.to_ascii_lowercase();
        assert!(
            lower.contains("secure") && lower.contains("path=/"),
            "{header}"
        );
        assert!(
            lower.contains("max-age=0") || lower.contains("1970"),
            "{header}"
        );
    }
    assert_eq!(
        browser.jar().refused,
        Vec::<String>::new(),
        "browsers take each of them"
    );
    assert_eq!(browser.cookie("__Host-sidegate"), None);
}

#[tokio::test]
async fn signing_out_goes_on_to_the_provider() {
    let (house, _upstream, provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let reply = sign_out(&browser, "/oauth2/sign_out?rd=/bye").await;
    let next = reply.location();
    assert_eq!(next.origin().ascii_serialization(), provider.issuer());
    assert_eq!(next.path(), "/logout");
    assert!(field(&next, "client_id").is_some() || field(&next, "id_token_hint").is_some());
    let back = field(&next, "post_logout_redirect_uri").expect("a way back");
    assert!(back.starts_with(&house.public_url), "{back}");
    assert_eq!(
        browser.cookie("sidegate"),
        None,
        "the session here has ended first"
    );
    let landed = browser.follow(next.as_str()).await;
    assert!(landed.status == StatusCode::OK, "{}", landed.status);
}

#[tokio::test]
async fn a_strict_provider_signs_out_too() {
    let upstream = Upstream::start().await;
    let house = House::plan().upstream(&upstream).npm().start().await;
    let browser = house.browser();
    node_provider::sign_in(&browser, "/", "ada").await;
    // Signed in at the provider too: the next login asks nothing.
    browser.follow("/oauth2/start?rd=/again").await.seen();
    let reply = sign_out(&browser, "/oauth2/sign_out").await;
    let page = browser.follow_from(reply).await;
    let back = node_provider::sign_out(&browser, &page).await.location();
    assert!(
        back.as_str().starts_with(&house.public_url),
        "back home: {back}"
    );
    let page = browser.follow("/").await;
    assert!(
        page.url.path().starts_with("/interaction/"),
        "the provider asks again: {}",
        page.url
    );
}

#[tokio::test]
async fn another_site_cannot_sign_anybody_out() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    for (method, site, dest) in [
        (Method::GET, "cross-site", "document"),
        (Method::POST, "cross-site", "document"),
        (Method::GET, "cross-site", "image"),
        (Method::GET, "same-site", "image"),
    ] {
        let mode = if dest == "image" {
            "no-cors"
        } else {
            "navigate"
        };
        let reply = browser
            .bare(method.clone(), "/oauth2/sign_out")
            .header("sec-fetch-site", site)
            .header("sec-fetch-mode", mode)
            .header("sec-fetch-dest", dest)
            .header("origin", "https://evil.example")
            .header("accept", "text/html")
            .send()
            .await;
        assert!(
            reply.set_cookies().is_empty(),
            "{method} {site} {dest}: {:?}",
            reply.set_cookies()
        );
        assert_eq!(
            browser.get("/").await.status,
            StatusCode::OK,
            "{method} {site} {dest}"
        );
    }
    // A person who typed or clicked it at home is signed out.
    let reply = browser.get("/oauth2/sign_out").await;
    assert!(reply.status.as_u16() < 400);
    assert_eq!(browser.cookie("sidegate"), None);
}
