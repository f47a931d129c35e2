//! What the page says: who I am, what the app is told, and where I am signed in.

use http::{Method, StatusCode};

use super::{STORES, account, browsers, form, is_signed_in, others, sessions};
use crate::support::{House, Reply, ScriptedProvider, Upstream, standard_with};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

fn assert_is_page(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert!(reply.header("content-type").starts_with("text/html"));
    assert_eq!(reply.header("cache-control"), "no-store");
    let policy = reply.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(!reply.text().contains("<script"));
}

#[tokio::test]
async fn the_page_says_who_i_am_and_what_the_app_is_told() {
    let (house, upstream, _provider) =
        standard_with(|plan| plan.tables("[headers]\nset = { X-Api-Token = \"access_token\" }"))
            .await;
    let browser = house.browser();
    let seen = browser.sign_in("/").await.seen();
    let page = browser.get("/oauth2/account").await;
    assert_is_page(&page);
    let text = page.text();
    assert!(
        text.contains("Ada Lovelace") && text.contains("ada@example.com"),
        "{text}"
    );
    assert_eq!(text.matches("this one</span>").count(), 1, "{text}");

    let account = account(&browser).await;
    assert_eq!(account["id"], "script:ada-1815");
    let told = account["told"].as_object().expect("headers");
    for (name, value) in told {
        let value = value.as_str().expect("text");
        assert_eq!(
            seen.header(&name.to_ascii_lowercase()),
            Some(value),
            "{name}"
        );
        assert!(text.contains(name.as_str()), "{name} stands on the page");
    }
    assert!(told.len() >= 6, "{told:?}");
    // That there is a token is said, and the token is not.
    let token = seen.header("x-api-token").expect("the app gets it");
    assert!(
        text.contains("X-Api-Token") && !text.contains(token),
        "{text}"
    );
    assert!(!told.contains_key("X-Api-Token") && !account.to_string().contains(token));
    assert_eq!(upstream.count(), 1, "the page is no affair of the app's");
}

#[tokio::test]
async fn nobody_is_asked_to_sign_in_and_led_back() {
    let (house, _upstream, _provider) = standard_with(|plan| plan).await;
    let browser = house.browser();
    let program = browser.fetch(Method::GET, "/oauth2/account").send().await;
    assert_eq!(program.status, StatusCode::UNAUTHORIZED);
    assert!(program.json()["login_url"].as_str().is_some());
    let posted = form(&browser, "scope=everywhere").send().await;
    assert_eq!(posted.status, StatusCode::UNAUTHORIZED);
    let landed = browser.follow("/oauth2/account").await;
    assert_eq!(landed.url, browser.absolute("/oauth2/account"));
    assert_is_page(&landed);
    let posted = browser.bare(Method::POST, "/oauth2/account").send().await;
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn sessions_are_listed_with_device_and_address() {
    for store in STORES {
        let (house, _upstream, _provider) =
            standard_with(|plan| plan.session(store).top("trusted_proxies = [\"127.0.0.1\"]"))
                .await;
        let (mine, other) = (house.browser(), house.browser());
        let callback = other.up_to_callback("/").await;
        let reply = other
            .bare(Method::GET, callback.as_str())
            .header("user-agent", FIREFOX)
            .header("accept", "text/html")
            .header("x-forwarded-for", "203.0.113.9")
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::FOUND, "{}", reply.text());
        mine.sign_in("/").await;
        let account = account(&mine).await;
        let listed = sessions(&account);
        assert_eq!(listed.len(), 2, "{account}");
        let find = |this: bool| listed.iter().find(|session| session["this"] == this);
        let (this, that) = (find(true).expect("this"), find(false).expect("that"));
        assert_eq!(this["device"], "Browser");
        assert_eq!(this["address"], "127.0.0.1");
        assert_eq!(that["device"], "Firefox on Linux");
        assert_eq!(that["address"], "203.0.113.9");
        for session in &listed {
            for time in ["since", "last_seen"] {
                let time = session[time].as_str().expect("a time");
                assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
            }
        }
        assert_eq!(account["complete"], store.contains("memory"), "{store}");
        // The name is no credential.
        let name = that["id"].as_str().expect("a name");
        let thief = house.browser();
        for cookie in ["sidegate", "sidegate_0"] {
            thief.plant(cookie, name);
            assert!(!is_signed_in(&thief).await);
        }
    }
}

/// What this process did not see begin: a restart forgets, and what is used is listed again.
#[tokio::test]
async fn a_session_in_a_cookie_is_listed_once_it_is_seen() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let plan = || {
        let plan = House::plan().upstream(&upstream).provider(&provider);
        plan.public_url("http://app.test").start()
    };
    let before = plan().await;
    let [mine, phone] = [before.browser(), before.browser()];
    for browser in [&mine, &phone] {
        browser.sign_in("/").await;
    }
    drop(before);
    let after = plan().await;
    let [mine, phone] = [mine.moved_to(&after), phone.moved_to(&after)];
    let known = account(&mine).await;
    assert!(others(&known).is_empty(), "{known}");
    assert_eq!(known["complete"], false);
    assert!(is_signed_in(&phone).await);
    assert_eq!(others(&account(&mine).await).len(), 1);
    let page = mine.get("/oauth2/account").await;
    assert!(
        page.text().contains("There may be others"),
        "{}",
        page.text()
    );
}

#[tokio::test]
async fn signing_in_again_and_signing_out_leave_no_ghosts() {
    for store in STORES {
        let (_house, _others, [mine, phone]) = browsers(|plan| plan.session(store)).await;
        phone.follow("/oauth2/start?rd=/again").await;
        assert_eq!(
            others(&account(&mine).await).len(),
            1,
            "{store}: one browser, one session"
        );
        let reply = phone.fetch(Method::POST, "/oauth2/sign_out").send().await;
        assert_eq!(reply.status, StatusCode::OK);
        assert!(others(&account(&mine).await).is_empty(), "{store}");
    }
}
