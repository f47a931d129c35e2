//! Tokens are made by people who are there, and used by their programs.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;

use super::{ask_for, basic, bearer, home, home_with, list, make, signed_in, with};
use crate::support::{Browser, Reply};

#[tokio::test]
async fn a_token_is_shown_once_and_lets_its_owners_programs_in() {
    let home = home(|plan| plan).await;
    let house = &home.house;
    let browser = house.browser();
    let seen = browser.sign_in("/").await.seen();
    let (token, id) = make(&browser, &json!({"name": "laptop", "scopes": ["read"]})).await;
    assert_eq!((&token[..4], token.len()), ("sgp_", 42));

    for authorization in [
        format!("Bearer {token}"),
        format!("bearer {token}"),
        basic(&format!("git:{token}")),
        basic(&format!("{token}:")),
        basic(&format!("{token}:x-oauth-basic")),
    ] {
        let reply = with(house, &authorization, "/repo").await;
        let told = reply.seen();
        for name in ["x-user", "x-user-id", "x-user-email"] {
            assert_eq!(told.header(name), seen.header(name), "{authorization}");
        }
        assert_eq!(told.header("authorization"), None, "{authorization}");
        assert!(!reply.sets_session());
    }

    let listed = list(&browser).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["id"], id.as_str());
    assert_eq!(listed[0]["name"], "laptop");
    assert_eq!(listed[0]["start"], &token[..10]);
    assert_eq!(listed[0]["scopes"], json!(["read"]));
    assert!(!listed[0].to_string().contains(&token[10..]));
    // Used, to the minute.
    let end = Instant::now() + Duration::from_secs(20);
    while list(&browser).await[0]["last_used"].is_null() {
        assert!(Instant::now() < end, "its use is never seen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let used = list(&browser).await[0]["last_used"].clone();
    assert!(
        used.as_str().is_some_and(|at| at.ends_with(":00Z")),
        "{used}"
    );

    let log = house.process.log();
    assert!(!log.contains(&token[10..]), "no log has a token");
}

#[tokio::test]
async fn t80_only_the_right_form_is_accepted() {
    let home = home(|plan| plan.route("/public/**", "public")).await;
    let house = &home.house;
    let (_, token, _) = signed_in(&home).await;
    let last = if token.ends_with('0') { "1" } else { "0" };
    for wrong in [
        token[..10].to_owned(),
        token[..41].to_owned(),
        format!("{token}0"),
        format!("{}{last}", &token[..41]),
        token.to_lowercase().replace("sgp_", "SGP_"),
        sidegate::api_token::format::generate([7; 32]).to_string(),
    ] {
        let reply = bearer(house, &wrong, "/").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{wrong}");
        let reply = with(house, &basic(&format!("git:{wrong}")), "/").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let reply = bearer(house, &token[..41], "/").await;
    let challenge = reply.header("www-authenticate");
    assert!(
        challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""),
        "{challenge}"
    );
    let twice = house
        .browser()
        .bare(Method::GET, "/")
        .header("authorization", &format!("Bearer {token}"))
        .header("authorization", &basic("ada:password"))
        .send()
        .await;
    assert_eq!(twice.status, StatusCode::BAD_REQUEST);
    for path in [
        format!("/?access_token={token}"),
        format!("/?token={token}"),
    ] {
        let reply = house.browser().bare(Method::GET, &path).send().await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    // A bad one lets nobody in whose cookie would.
    let browser = house.browser();
    browser.sign_in("/").await;
    let both = browser
        .navigate("/")
        .header("authorization", &format!("Bearer {}", &token[..41]));
    assert_eq!(both.send().await.status, StatusCode::UNAUTHORIZED);
    let seen = bearer(house, &token, "/public/x").await.seen();
    assert_eq!(seen.header("authorization"), None, "no app sees one");
    let seen = with(house, "Bearer apps-own", "/public/x").await.seen();
    assert_eq!(seen.header("authorization"), Some("Bearer apps-own"));
}

fn challenges(reply: &Reply) -> Vec<String> {
    let all = reply.headers.get_all("www-authenticate").iter();
    all.map(|value| value.to_str().expect("text").to_owned())
        .collect()
}

/// RFC 6750 §3. Who came with a token is told what is wrong with that, also where clients of registries are asked for a password.
#[tokio::test]
async fn who_comes_with_a_wrong_token_is_told_that_it_is_wrong() {
    let home = home(|plan| plan).await;
    let house = &home.house;
    let (_, token, _) = signed_in(&home).await;
    for path in ["/", "/v2/", "/v2/app/manifests/latest"] {
        let asked = challenges(&bearer(house, &token[..41], path).await);
        assert!(
            asked.len() == 2
                && asked[0].starts_with("Bearer realm=")
                && asked[0].ends_with("error=\"invalid_token\"")
                && asked[1].starts_with("Basic realm="),
            "{path}: {asked:?}"
        );
    }
    let password = with(house, &basic(&format!("me:{}", &token[..41])), "/v2/").await;
    let asked = challenges(&password);
    assert!(
        asked.len() == 1 && asked[0].starts_with("Basic realm="),
        "{asked:?}"
    );
}

#[tokio::test]
async fn programs_are_asked_for_a_password_and_pages_are_not() {
    let home = home(|plan| plan).await;
    let browser = home.house.browser();
    let git = browser.bare(Method::GET, "/info/refs").send().await;
    assert_eq!(git.status, StatusCode::UNAUTHORIZED);
    let asked = challenges(&git);
    assert!(
        asked.len() == 2 && asked[0].starts_with("Bearer ") && asked[1].starts_with("Basic "),
        "{asked:?}"
    );
    let page = browser.fetch(Method::GET, "/data").send().await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(
        challenges(&page)
            .iter()
            .all(|one| !one.starts_with("Basic"))
    );
    let old = browser
        .bare(Method::GET, "/data")
        .header("referer", "http://x/");
    let old = challenges(&old.send().await);
    assert!(old.iter().all(|one| !one.starts_with("Basic")), "{old:?}");
}

/// What the page's form sends.
async fn form(browser: &Browser, path: &str, body: &str, from: &str) -> Reply {
    browser
        .bare(Method::POST, path)
        .header("accept", "text/html")
        .header("sec-fetch-site", from)
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.to_owned())
        .send()
        .await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one visit, step by step")]
async fn the_page_makes_and_ends_tokens_and_no_other_site_does() {
    let home = home(|plan| plan).await;
    let browser = home.house.browser();
    browser.sign_in("/").await;
    let page = browser.get("/oauth2/account").await.text();
    assert!(
        page.contains("API tokens") && page.contains("Make a token"),
        "{page}"
    );
    let secret = page
        .split("name=\"token\" value=\"")
        .nth(1)
        .expect("a form");
    let secret = secret.split('"').next().expect("a value").to_owned();

    let tokens = "/oauth2/account/tokens";
    let body = format!("token={secret}&name=%3Cb%3Eci%3C%2Fb%3E&days=7&scopes=read");
    for (body, from) in [
        (body.as_str(), "cross-site"),
        (body.as_str(), "same-site"),
        ("name=ci&days=7", "same-origin"),
        ("token=x&name=ci&days=7", "same-origin"),
    ] {
        let reply = form(&browser, tokens, body, from).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{body} {from}");
    }
    for headers in [
        [
            ("sec-fetch-site", "cross-site"),
            ("content-type", "application/json"),
        ],
        [
            ("origin", "http://evil.example"),
            ("content-type", "application/json"),
        ],
        [
            ("sec-fetch-site", "same-origin"),
            ("content-type", "text/plain"),
        ],
    ] {
        let mut ask = browser.bare(Method::POST, tokens);
        for (name, value) in headers {
            ask = ask.header(name, value);
        }
        let reply = ask.body(r#"{"name": "ci"}"#).send().await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    assert!(list(&browser).await.is_empty());

    let made = form(&browser, tokens, &body, "same-origin").await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    assert_eq!(made.header("cache-control"), "no-store");
    let text = made.text();
    let at = text.find("sgp_").expect("the token is shown");
    let token = text[at..at + 42].to_owned();
    assert!(
        text.contains("&#60;b&#62;ci") && !text.contains("<b>ci"),
        "{text}"
    );
    assert_eq!(
        bearer(&home.house, &token, "/").await.status,
        StatusCode::OK
    );
    let page = browser.get("/oauth2/account").await.text();
    assert!(page.contains(&token[..10]) && !page.contains(&token));

    let id = list(&browser).await[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let end = format!("{tokens}/end");
    for (body, from) in [
        (format!("token={secret}&id={id}"), "cross-site"),
        (format!("id={id}"), "same-origin"),
    ] {
        let reply = form(&browser, &end, &body, from).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{body} {from}");
    }
    let foreign = browser
        .bare(Method::DELETE, &format!("{tokens}/{id}"))
        .header("sec-fetch-site", "cross-site");
    assert_eq!(foreign.send().await.status, StatusCode::FORBIDDEN);
    let ended = form(
        &browser,
        &end,
        &format!("token={secret}&id={id}"),
        "same-origin",
    )
    .await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER);
    let reply = bearer(&home.house, &token, "/").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn no_token_makes_lists_or_ends_tokens() {
    let home = home(|plan| plan).await;
    let (browser, token, id) = signed_in(&home).await;
    let one = format!("/oauth2/account/tokens/{id}");
    for (method, path) in [
        (Method::GET, "/oauth2/account/tokens"),
        (Method::POST, "/oauth2/account/tokens"),
        (Method::DELETE, "/oauth2/account/tokens"),
        (Method::DELETE, one.as_str()),
        (Method::GET, "/oauth2/account"),
    ] {
        let reply = home
            .house
            .browser()
            .bare(method.clone(), path)
            .header("authorization", &format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(r#"{"name": "more"}"#)
            .send()
            .await;
        // It is good elsewhere.
        let expected = match path {
            "/oauth2/account" => StatusCode::UNAUTHORIZED,
            _ => StatusCode::FORBIDDEN,
        };
        assert_eq!(reply.status, expected, "{method} {path}");
    }
    assert_eq!(list(&browser).await.len(), 1);
}

#[tokio::test]
async fn an_old_login_makes_none() {
    let table = "[api_tokens]\nmax_login_age = \"2s\"\n";
    let home = home_with(table, |plan| plan).await;
    let browser = home.house.browser();
    browser.sign_in("/").await;
    let end = Instant::now() + Duration::from_secs(20);
    let refused = loop {
        let reply = ask_for(&browser, &json!({"name": "late"})).await;
        if reply.status != StatusCode::CREATED {
            break reply;
        }
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    assert_eq!(refused.json()["error"], "login_too_old");
    let page = browser.get("/oauth2/account").await.text();
    assert!(page.contains("Sign in again to make a token") && !page.contains("Make a token<"));
    // And its link leads to a login, and back.
    let again = browser
        .follow("/oauth2/start/script?rd=/oauth2/account")
        .await;
    assert_eq!(again.url, browser.absolute("/oauth2/account"));
    let reply = ask_for(&browser, &json!({"name": "fresh"})).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
}

#[tokio::test]
async fn a_token_is_within_its_bounds() {
    let table = "[api_tokens]\nmax_per_user = 2\nmax_days = 30\nscopes = [\"read\"]\n";
    let home = home_with(table, |plan| {
        plan.tables("[[routes]]\nname = \"api\"\npath = \"/api/**\"")
    })
    .await;
    let house = &home.house;
    let browser = house.browser();
    browser.sign_in("/").await;
    for wrong in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "a", "days": 31}),
        json!({"name": "a", "scopes": ["admin"]}),
        json!({"name": "a", "routes": ["admin"]}),
        json!({"name": "a", "groups": ["admins"]}),
    ] {
        let reply = ask_for(&browser, &wrong).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let (narrow, _) = make(&browser, &json!({"name": "a", "routes": ["api"]})).await;
    make(&browser, &json!({"name": "b"})).await;
    let third = ask_for(&browser, &json!({"name": "c"})).await;
    assert_eq!(third.status, StatusCode::BAD_REQUEST, "{}", third.text());
    assert_eq!(
        bearer(house, &narrow, "/api/x").await.status,
        StatusCode::OK
    );
    let elsewhere = bearer(house, &narrow, "/other").await;
    assert_eq!(
        elsewhere.status,
        StatusCode::FORBIDDEN,
        "{}",
        elsewhere.text()
    );
    assert_eq!(home.upstream.count(), 2);
}
