//! Which rule holds for a path, and which paths are the gate's own.

use http::{Method, StatusCode};

use super::{house, target};
use crate::support::{Browser, standard_with};

#[tokio::test]
async fn plain_rules_hold() {
    let (house, upstream, _provider) = house().await;
    for (path, status) in [
        ("/public/x", 200),
        ("/public/", 200),
        ("/public", 200),
        ("/public/a/b/c?x=/admin", 200),
        ("/exact", 200),
        ("/exact?x", 200),
        ("/exact/", 302),
        ("/exactly", 302),
        ("/Public/x", 302),
        ("/publicadmin", 302),
        ("/x/public/a", 302),
        ("/", 302),
    ] {
        assert_eq!(target(&house, path, "").await, status, "{path}");
    }
    assert_eq!(
        target(&house, "/admin/x", "").await,
        403,
        "deny is for everybody"
    );
    let passed: Vec<String> = upstream
        .seen()
        .into_iter()
        .map(|seen| seen.target)
        .collect();
    assert_eq!(passed.len(), 6, "{passed:?}");
}

#[tokio::test]
async fn a_rule_for_a_method_is_for_that_method() {
    let (house, _upstream, _provider) = house().await;
    let browser = house.browser();
    let ask = |method: Method| browser.fetch(method, "/read").send();
    assert_eq!(ask(Method::GET).await.status, StatusCode::OK);
    assert_eq!(
        ask(Method::HEAD).await.status,
        StatusCode::OK,
        "GET includes HEAD"
    );
    assert_eq!(ask(Method::POST).await.status, StatusCode::UNAUTHORIZED);
    let odd = Method::from_bytes(b"get").expect("a method");
    assert_eq!(
        ask(odd).await.status,
        StatusCode::BAD_REQUEST,
        "an app might read it as GET"
    );
    let overridden = browser
        .fetch(Method::POST, "/read")
        .header("x-http-method-override", "GET")
        .send()
        .await;
    assert_eq!(overridden.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_prefix_ends_at_a_segment() {
    let (house, upstream, _provider) = house().await;
    let ada: Browser = house.browser();
    ada.sign_in("/").await;
    for path in [
        "/oauth2x",
        "/oauth",
        "/oauth2.",
        "/oauth2-x/ping",
        "/pingx",
        "/ready/x",
        "/x/oauth2/start",
    ] {
        assert_eq!(
            ada.get(path).await.seen().target,
            path,
            "the app's own path"
        );
    }
    let before = upstream.count();
    for path in [
        "/oauth2/nothing",
        "/oauth2/startx",
        "/oauth2/start/nobody",
        "/oauth2/callback/nobody",
    ] {
        let reply = ada.get(path).await;
        assert!(reply.status.is_client_error(), "{path}: {}", reply.status);
    }
    for path in ["/oauth2", "/oauth2/"] {
        ada.get(path).await;
    }
    assert_eq!(
        upstream.count(),
        before,
        "nothing under the prefix is forwarded"
    );
}

#[tokio::test]
async fn another_prefix_moves_the_endpoints() {
    let (house, _upstream, provider) = standard_with(|plan| plan.prefix("/_auth")).await;
    let browser = house.browser();
    assert_eq!(
        browser
            .fetch(Method::GET, "/_auth/userinfo")
            .send()
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    browser.sign_in("/page").await;
    assert_eq!(
        browser.get("/oauth2/userinfo").await.seen().target,
        "/oauth2/userinfo"
    );
    let redirect = &provider.calls("/authorize")[0].fields["redirect_uri"];
    assert_eq!(*redirect, house.url("/_auth/callback/script"));
}
