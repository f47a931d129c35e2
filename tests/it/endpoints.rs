//! The gate's own endpoints.

mod sign_out;

use http::{Method, StatusCode};
use serde_json::json;
use url::Url;

use crate::support::{Browser, Reply, ScriptedProvider, standard, standard_with};

fn field(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find_map(|(key, value)| (key == name).then(|| value.into_owned()))
}

/// As the sign-out form of the house's own page is sent.
async fn sign_out(browser: &Browser, path: &str) -> Reply {
    browser
        .navigate(path)
        .method(Method::POST)
        .header(
            "origin",
            browser
                .absolute("/")
                .origin()
                .ascii_serialization()
                .as_str(),
        )
        .header("content-type", "application/x-www-form-urlencoded")
        .send()
        .await
}

#[tokio::test]
async fn ping_and_ready_are_for_anybody() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    for (path, body) in [("/oauth2/ping", "OK\n"), ("/oauth2/ready", "ready\n")] {
        let reply = browser.bare(Method::GET, path).send().await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
        assert_eq!(reply.text(), body, "{path}");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(
            browser.bare(Method::HEAD, path).send().await.status,
            StatusCode::OK
        );
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn the_admin_listener_answers_health_and_nothing_of_the_app() {
    let admin = crate::support::ports::free_address();
    let (house, upstream, _provider) =
        standard_with(|plan| plan.top(&format!("admin_listen = \"{admin}\""))).await;
    for (path, status) in [
        ("/ping", 200),
        ("/ready", 200),
        ("/", 404),
        ("/oauth2/start", 404),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = crate::support::raw::try_exchange(admin, false, request.as_bytes()).await;
        let answer = answer.expect("the admin listener answers");
        assert_eq!(
            crate::support::raw::status(&answer),
            status,
            "{path}: {answer}"
        );
    }
    assert_eq!(upstream.count(), 0);
    drop(house);
}

/// An app may have a `/ready` of its own, and a gate in front of it must not stand in for it.
#[tokio::test]
async fn the_bare_health_paths_are_the_apps() {
    let (house, upstream, _provider) = standard_with(|plan| plan.route("/ready", "public")).await;
    let browser = house.browser();
    assert_eq!(browser.get("/ready").await.seen().target, "/ready");
    // By the app's rules: this one asks for a login.
    let reply = browser.bare(Method::GET, "/ping").send().await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), 1);
}

/// For who comes from oauth2-proxy, whose probes ask for the bare paths.
#[tokio::test]
async fn the_bare_health_paths_can_be_kept() {
    let (house, upstream, _provider) = standard_with(|plan| plan.top("root_health = true")).await;
    let browser = house.browser();
    for path in ["/ping", "/ready", "/oauth2/ping", "/oauth2/ready"] {
        let reply = browser.bare(Method::GET, path).send().await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
    }
    assert_eq!(upstream.count(), 0);
}

/// Strangers learn of neither stores nor providers, and a provider that is away takes nobody out: whoever is signed in
/// would lose the app.
#[tokio::test]
async fn ready_says_yes_or_no_and_the_admin_listener_says_why() {
    let admin = crate::support::ports::free_address();
    let provider = ScriptedProvider::start_down();
    let upstream = crate::support::Upstream::start().await;
    let plan = crate::support::House::plan()
        .upstream(&upstream)
        .provider(&provider);
    let store = crate::support::ports::free_address();
    let house = plan
        .top(&format!("admin_listen = \"{admin}\""))
        .session(&format!("store = \"redis://{store}\""))
        .start()
        .await;
    let reply = house.browser().get("/oauth2/ready").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.text(), "not ready\n");
    let (status, why) = house.ask_admin(admin, "/ready").await;
    assert_eq!(status, 503);
    assert!(
        why.contains("session store") && why.contains("provider script"),
        "{why}"
    );

    let admin = crate::support::ports::free_address();
    let house = crate::support::House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .top(&format!("admin_listen = \"{admin}\""))
        .start()
        .await;
    let reply = house.browser().get("/oauth2/ready").await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (StatusCode::OK, "ready\n")
    );
    let (status, why) = house.ask_admin(admin, "/ready").await;
    assert_eq!(status, 200);
    assert!(why.contains("waiting for provider script"), "{why}");
}

#[tokio::test]
async fn one_provider_needs_no_chooser() {
    let (house, _upstream, _provider) = standard().await;
    let landed = house.browser().follow("/oauth2/sign_in?rd=/deep?x=1").await;
    // A page with one button would be fine too, if the button leads there.
    assert_eq!(landed.status, StatusCode::OK);
    assert_eq!(landed.seen().target, "/deep?x=1");
}

#[tokio::test]
async fn several_providers_are_chosen_from_on_a_page() {
    let other = ScriptedProvider::start().await;
    let table = format!(
        "[providers.second]\nlabel = \"Second <b>&amp; best\"\n{}allow = \"anyone\"\n",
        other.table()
    );
    let (house, _upstream, _provider) = standard_with(|plan| plan.tables(&table)).await;
    let browser = house.browser();
    let page = browser.follow("/deep?x=1&y=2").await;
    assert_eq!(page.url.path(), "/oauth2/sign_in");
    assert_eq!(page.status, StatusCode::OK);
    let text = page.text();
    assert!(
        text.contains("Second &lt;b&gt;") || text.contains("Second &#60;b"),
        "escaped: {text}"
    );
    assert!(!text.contains("Second <b>"));
    for name in ["script", "second"] {
        let link = link_to(&text, &format!("/oauth2/start/{name}"));
        let visitor = house.browser();
        let landed = visitor.follow(&link).await;
        let seen = landed.seen();
        assert_eq!(seen.target, "/deep?x=1&y=2", "{link}");
        assert_eq!(
            seen.header("x-user-id").map(str::to_owned),
            Some(format!("{name}:ada-1815"))
        );
    }
}

/// The `href` or form that begins with `path`, entities decoded.
fn link_to(page: &str, path: &str) -> String {
    let start = page
        .find(path)
        .unwrap_or_else(|| panic!("no {path} in {page}"));
    let end = page[start..]
        .find('"')
        .map_or(page.len(), |length| start + length);
    page[start..end]
        .replace("&amp;", "&")
        .replace("&#38;", "&")
        .replace("&#x26;", "&")
}

#[tokio::test]
async fn start_begins_a_login() {
    let (house, _upstream, provider) = standard().await;
    for path in ["/oauth2/start?rd=/deep", "/oauth2/start/script?rd=/deep"] {
        let browser = house.browser();
        let reply = browser.get(path).await;
        assert_eq!(reply.status, StatusCode::FOUND);
        assert_eq!(reply.header("cache-control"), "no-store");
        let next = reply.location();
        assert_eq!(next.origin().ascii_serialization(), provider.issuer());
        assert_eq!(next.path(), "/authorize");
        let scope = field(&next, "scope").unwrap_or_default();
        assert!(scope.split(' ').any(|scope| scope == "openid"), "{scope}");
        assert_eq!(field(&next, "response_type").as_deref(), Some("code"));
        assert!(
            !next.as_str().contains("deep"),
            "the address tells nobody where to"
        );
        assert_eq!(browser.follow(next.as_str()).await.seen().target, "/deep");
    }
    assert_eq!(
        house.browser().get("/oauth2/start/nobody").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn without_a_way_back_a_login_ends_at_the_root() {
    let (house, _upstream, _provider) = standard().await;
    assert_eq!(
        house.browser().follow("/oauth2/start").await.seen().target,
        "/"
    );
    assert_eq!(
        house
            .browser()
            .follow("/oauth2/start?rd=")
            .await
            .seen()
            .target,
        "/"
    );
    assert_eq!(
        house
            .browser()
            .follow("/oauth2/start?rd=/a&rd=/b")
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_prefetched_start_begins_nothing() {
    let (house, _upstream, provider) = standard().await;
    let reply = house
        .browser()
        .fetch(Method::POST, "/oauth2/start")
        .send()
        .await;
    assert!(reply.status.is_client_error(), "{}", reply.status);
    assert_eq!(provider.calls("/authorize").len(), 0);
}

#[tokio::test]
async fn a_bare_callback_is_an_error_page() {
    let (house, upstream, provider) = standard().await;
    for path in [
        "/oauth2/callback",
        "/oauth2/callback/script",
        "/oauth2/callback/script?code=x",
        "/oauth2/callback/script?state=x",
        "/oauth2/callback/script?error=access_denied",
        "/oauth2/callback/nobody?code=x&state=y",
    ] {
        let reply = house.browser().get(path).await;
        assert!(reply.status.is_client_error(), "{path}: {}", reply.status);
        assert!(!reply.sets_session(), "{path}");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    assert_eq!((upstream.count(), provider.token_requests()), (0, 0));
}

#[tokio::test]
async fn userinfo_tells_who_is_signed_in() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    let nobody = browser.fetch(Method::GET, "/oauth2/userinfo").send().await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    browser.sign_in("/").await;
    let reply = browser.fetch(Method::GET, "/oauth2/userinfo").send().await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.header("content-type").starts_with("application/json"));
    assert_eq!(reply.header("cache-control"), "no-store");
    let text = reply.text();
    let value = reply.json();
    assert_eq!(value["user"], "ada");
    assert_eq!(value["email"], "ada@example.com");
    assert_eq!(value["groups"], json!(["engineers"]));
    assert!(!text.contains("canary"), "no token: {text}");
}

#[tokio::test]
async fn auth_answers_202_with_who_it_is() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    let nobody = browser.get("/oauth2/auth").await;
    assert_eq!(
        nobody.status,
        StatusCode::UNAUTHORIZED,
        "never a redirect, a navigation's headers or not"
    );
    assert!(nobody.set_cookies().is_empty());
    assert_eq!(
        nobody.header("location"),
        house.url("/oauth2/sign_in"),
        "what a proxy may make a redirect of"
    );
    browser.sign_in("/").await;
    let before = upstream.count();
    for method in [Method::GET, Method::HEAD] {
        let reply = browser
            .bare(method, "/oauth2/auth")
            .header("x-user", "spoofed")
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        assert_eq!(reply.header("x-user"), "ada");
        assert_eq!(reply.header("x-user-id"), "script:ada-1815");
        assert_eq!(reply.header("x-user-groups"), "engineers");
    }
    assert_eq!(upstream.count(), before);
}

#[tokio::test]
async fn endpoints_take_the_methods_they_name() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let before = upstream.count();
    for path in [
        "/oauth2/userinfo",
        "/oauth2/callback/script",
        "/oauth2/start",
        "/oauth2/ping",
    ] {
        let reply = browser.fetch(Method::DELETE, path).send().await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(reply.header("allow").contains("GET"), "{path}");
    }
    assert_eq!(upstream.count(), before);
}
