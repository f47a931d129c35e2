//! A session lives in an encrypted cookie, and ends.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    Browser, House, ScriptedProvider, Upstream, arranged, house::SECRET, standard, standard_with,
};

/// The session cookie's `Set-Cookie` at the end of a login.
async fn set_at_login(browser: &Browser) -> String {
    let callback = browser.up_to_callback("/").await;
    let reply = browser.get(callback.as_str()).await;
    reply
        .set_cookies()
        .into_iter()
        .find(|header| crate::support::browser::is_session(header))
        .unwrap_or_else(|| panic!("no session: {} {}", reply.status, reply.text()))
}

fn attributes(header: &str) -> Vec<String> {
    header
        .split(';')
        .skip(1)
        .map(|part| part.trim().to_ascii_lowercase())
        .collect()
}

#[tokio::test]
async fn over_http_the_cookie_is_as_safe_as_it_can_be() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    let header = set_at_login(&browser).await;
    assert!(header.starts_with("sidegate="), "{header}");
    let attributes = attributes(&header);
    for wanted in ["httponly", "samesite=lax", "path=/"] {
        assert!(attributes.contains(&wanted.to_owned()), "{header}");
    }
    assert!(
        !attributes
            .iter()
            .any(|part| part == "secure" || part.starts_with("domain"))
    );
    assert!(header.len() < 800, "{} bytes: {header}", header.len());
    assert_eq!(browser.jar().refused, Vec::<String>::new());
}

#[tokio::test]
async fn over_https_the_cookie_is_bound_to_the_host() {
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.public_url("https://app.test")).await;
    let browser = house.browser();
    let header = set_at_login(&browser).await;
    assert!(header.starts_with("__Host-sidegate="), "{header}");
    let attributes = attributes(&header);
    for wanted in ["httponly", "samesite=lax", "path=/", "secure"] {
        assert!(attributes.contains(&wanted.to_owned()), "{header}");
    }
    assert!(!attributes.iter().any(|part| part.starts_with("domain")));
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    assert_eq!(browser.jar().refused, Vec::<String>::new());
}

#[tokio::test]
async fn the_cookie_tells_nothing() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let value = browser.cookie("sidegate").expect("a session");
    let bytes = URL_SAFE_NO_PAD
        .decode(&value)
        .unwrap_or_else(|_| value.clone().into_bytes());
    let text = String::from_utf8_lossy(&bytes);
    // Long words alone: three letters stand in random bytes now and then.
    for told in ["ada-1815", "Lovelace", "example.com", "engineers"] {
        assert!(!text.contains(told), "{told}: {text}");
    }
}

#[tokio::test]
async fn a_damaged_cookie_is_nobodys() {
    let (house, upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let good = browser.cookie("sidegate").expect("a session");
    let mut damaged: Vec<String> = [
        "",
        "AA",
        "x",
        "%00",
        "\"\"",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ]
    .map(str::to_owned)
    .to_vec();
    for position in [0, 1, 5, good.len() / 3, good.len() / 2, good.len() - 2] {
        let other = if &good[position..=position] == "A" {
            "B"
        } else {
            "A"
        };
        damaged.push(format!(
            "{}{other}{}",
            &good[..position],
            &good[position + 1..]
        ));
    }
    damaged.extend([
        good[..good.len() - 1].to_owned(),
        good[..good.len() / 2].to_owned(),
        good[1..].to_owned(),
        format!("{good}A"),
        format!("{good}{good}"),
        format!("{good}="),
    ]);
    let before = upstream.count();
    for value in damaged {
        browser.plant("sidegate", &value);
        assert_eq!(browser.get("/").await.status, StatusCode::FOUND, "{value}");
        assert_eq!(
            browser.fetch(Method::GET, "/").send().await.status,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(
            browser.get("/oauth2/auth").await.status,
            StatusCode::UNAUTHORIZED,
            "{value}"
        );
    }
    assert_eq!(upstream.count(), before);
    browser.plant("sidegate", &good);
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_cookie_that_comes_twice_is_nobodys() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let good = browser.cookie("sidegate").expect("a session");
    browser.jar().clear();
    for cookies in [
        format!("sidegate=x; sidegate={good}"),
        format!("sidegate={good}; sidegate=x"),
        format!("sidegate={good}; sidegate={good}"),
    ] {
        let reply = browser
            .navigate("/")
            .header("cookie", &cookies)
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::FOUND, "{cookies}");
    }
    let reply = browser
        .navigate("/")
        .header("cookie", &format!("sidegate={good}"))
        .send()
        .await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn a_cookie_of_another_host_or_secret_is_nobodys() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let plan = || House::plan().upstream(&upstream).provider(&provider);
    let home = plan().public_url("http://app.test").start().await;
    let ada = home.browser();
    ada.sign_in("/").await;
    let value = ada.cookie("sidegate").expect("a session");

    let other_host = plan().public_url("http://other.test").start().await;
    let other_secret = plan()
        .public_url("http://app.test")
        .secret("\"Qm9yZWQgb2YgdGhlIHNhbWUgc2VjcmV0cyBhbGwgZGF5\"")
        .start()
        .await;
    let same = plan().public_url("http://app.test").start().await;
    for (house, status) in [
        (&other_host, StatusCode::FOUND),
        (&other_secret, StatusCode::FOUND),
        (&same, StatusCode::OK),
    ] {
        let browser = house.browser();
        browser.plant("sidegate", &value);
        assert_eq!(
            browser.get("/").await.status,
            status,
            "{}",
            house.public_url
        );
    }
}

#[tokio::test]
async fn secrets_rotate_without_a_logout() {
    const NEW: &str = "bmV3IHNlY3JldCB0aGF0IHNlYWxzIGZyb20gbm93IG9u";
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let plan = |secret: &str| {
        let plan = House::plan().upstream(&upstream).provider(&provider);
        plan.public_url("http://app.test").secret(secret).start()
    };
    let old = plan(&format!("\"{SECRET}\"")).await;
    let both = plan(&format!("[\"{NEW}\", \"{SECRET}\"]")).await;
    let new = plan(&format!("[\"{NEW}\"]")).await;
    let ada = old.browser();
    ada.sign_in("/").await;
    let away = new.browser();
    away.plant("sidegate", &ada.cookie("sidegate").expect("a session"));
    assert_eq!(
        ada.moved_to(&both).get("/").await.status,
        StatusCode::OK,
        "the old one opens"
    );
    assert_eq!(
        ada.moved_to(&new).get("/").await.status,
        StatusCode::OK,
        "and was sealed anew"
    );
    assert_eq!(
        away.get("/").await.status,
        StatusCode::FOUND,
        "who was away until the old one was dropped signs in again"
    );
    let bob = both.browser();
    bob.sign_in("/").await;
    assert_eq!(
        bob.moved_to(&new).get("/").await.status,
        StatusCode::OK,
        "the first one seals"
    );
    assert_eq!(bob.moved_to(&old).get("/").await.status, StatusCode::FOUND);
}

#[tokio::test]
async fn a_large_session_is_split_and_leaves_nothing_behind() {
    let (house, _upstream, provider) =
        arranged(|behaviour| behaviour.offers_logout = false, |plan| plan).await;
    let browser = house.browser();
    // Hardly compressible, should anybody compress.
    let groups: Vec<String> = (0..190)
        .map(|number| format!("{:x}", number * 7_919_u64.pow(4)).repeat(2))
        .collect();
    provider.user("groups", json!(groups));
    let seen = browser.sign_in("/large").await.seen();
    assert_eq!(
        seen.header("x-user-groups"),
        Some(groups.join(",").as_str())
    );
    assert_eq!(seen.header("cookie"), None, "no part reaches the app");
    let parts = own_cookies(&browser);
    assert!(parts.len() > 1, "{parts:?}");
    assert!(
        parts.iter().all(|part| part.starts_with("sidegate_")),
        "{parts:?}"
    );
    assert_eq!(
        browser.jar().refused,
        Vec::<String>::new(),
        "each part is small enough"
    );

    // One part missing, or one too many: nobody.
    let whole = browser.cookies("/");
    for without in &parts {
        let cookies: Vec<&str> = whole
            .split("; ")
            .filter(|pair| !pair.starts_with(&format!("{without}=")))
            .collect();
        let other = house.browser();
        let reply = other
            .navigate("/")
            .header("cookie", &cookies.join("; "))
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::FOUND, "without {without}");
    }

    // A smaller session takes the parts' place.
    provider.user("groups", json!(["few"]));
    browser.follow("/oauth2/start?rd=/small").await;
    assert_eq!(own_cookies(&browser), ["sidegate"]);
    assert_eq!(
        browser.get("/").await.seen().header("x-user-groups"),
        Some("few")
    );

    // And the other way round.
    provider.user("groups", json!(groups));
    browser.follow("/oauth2/start?rd=/large").await;
    assert!(!own_cookies(&browser).contains(&"sidegate".to_owned()));
    assert_eq!(browser.get("/").await.status, StatusCode::OK);

    // Signing out leaves no part.
    browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    assert_eq!(own_cookies(&browser), Vec::<String>::new());
}

/// The names of the session's cookies, parts included.
fn own_cookies(browser: &Browser) -> Vec<String> {
    let url = browser.absolute("/");
    let jar = browser.jar();
    jar.for_url(&url)
        .map(|cookie| cookie.name.clone())
        .filter(|name| !name.contains("login") && !name.contains("hint"))
        .collect()
}

#[tokio::test]
async fn each_login_makes_a_new_session() {
    let (house, _upstream, _provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let first = browser.cookie("sidegate");
    browser.follow("/oauth2/start?rd=/again").await;
    let second = browser.cookie("sidegate");
    assert!(first.is_some() && second.is_some(), "{first:?} {second:?}");
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_planted_session_does_not_survive_the_login() {
    let (house, _upstream, provider) = standard().await;
    let mallory = house.browser();
    provider.user("sub", json!("mallory"));
    mallory.sign_in("/").await;
    let planted = mallory.cookie("sidegate").expect("a session");

    provider.user("sub", json!("ada-1815"));
    let ada = house.browser();
    ada.plant("sidegate", &planted);
    let seen = ada.follow("/oauth2/start?rd=/mine").await.seen();
    assert_eq!(seen.header("x-user-id"), Some("script:ada-1815"));
    assert_ne!(ada.cookie("sidegate"), Some(planted));
}

#[tokio::test]
async fn an_idle_session_ends() {
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.session("idle_timeout = \"2s\"")).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let value = browser.cookie("sidegate").expect("a session");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(
        browser.get("/").await.status,
        StatusCode::FOUND,
        "the browser dropped it"
    );
    browser.plant("sidegate", &value);
    assert_eq!(
        browser.get("/").await.status,
        StatusCode::FOUND,
        "and it would not open"
    );
}

#[tokio::test]
async fn use_keeps_a_session_alive_until_its_absolute_end() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.session("idle_timeout = \"2s\"")
            .session("lifetime = \"5s\"")
    })
    .await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let begin = Instant::now();
    let mut last = String::new();
    let mut ended = None;
    while begin.elapsed() < Duration::from_secs(8) {
        tokio::time::sleep(Duration::from_millis(400)).await;
        if browser.get("/").await.status != StatusCode::OK {
            ended = Some(begin.elapsed());
            break;
        }
        last = browser.cookie("sidegate").unwrap_or(last);
    }
    let ended = ended.expect("an absolute end");
    assert!(
        ended > Duration::from_millis(3_500),
        "activity outlives the idle end: {ended:?}"
    );
    browser.plant("sidegate", &last);
    assert_eq!(browser.get("/").await.status, StatusCode::FOUND);
}
