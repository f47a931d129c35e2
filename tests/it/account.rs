//! The account page: who I am, what the app is told, where I am signed in, and signing out elsewhere.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    Browser, House, Reply, ScriptedProvider, Upstream, browser::Ask, house::Plan,
    redis::RedisServer, standard_with,
};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const STORES: [&str; 2] = ["store = \"cookie\"", "store = \"memory\""];

/// The account as a program is told it.
async fn account(browser: &Browser) -> Value {
    let reply = browser.fetch(Method::GET, "/oauth2/account").send().await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    reply.json()
}

fn sessions(account: &Value) -> Vec<Value> {
    account["sessions"].as_array().expect("a list").clone()
}

/// The names of all sessions but this one.
fn others(account: &Value) -> Vec<String> {
    let others = sessions(account).into_iter();
    others
        .filter(|session| session["this"] == false)
        .map(|session| session["id"].as_str().expect("a name").to_owned())
        .collect()
}

/// The page's form, as a browser sends it.
fn form<'a>(browser: &'a Browser, body: &str) -> Ask<'a> {
    let origin = browser.absolute("/").origin().ascii_serialization();
    browser
        .bare(Method::POST, "/oauth2/account/sign_out")
        .header("accept", "text/html")
        .header("sec-fetch-site", "same-origin")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .header("origin", &origin)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.to_owned())
}

async fn token(browser: &Browser) -> String {
    let account = account(browser).await;
    account["sign_out"]["token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

async fn is_signed_in(browser: &Browser) -> bool {
    browser.get("/").await.status == StatusCode::OK
}

/// The gate, and so many browsers signed in as one user.
async fn browsers<const N: usize>(
    change: impl FnOnce(Plan) -> Plan,
) -> (House, (Upstream, ScriptedProvider), [Browser; N]) {
    let (house, upstream, provider) = standard_with(change).await;
    let browsers = std::array::from_fn(|_| house.browser());
    for browser in &browsers {
        browser.sign_in("/").await;
    }
    (house, (upstream, provider), browsers)
}

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

/// Replicas with one Redis list what any of them has seen, and Redis' owner reads none of it.
#[tokio::test]
async fn replicas_list_each_others_sessions_and_sign_them_out() {
    for cookie in [false, true] {
        let redis = RedisServer::start().await;
        let upstream = Upstream::start().await;
        let provider = ScriptedProvider::start().await;
        let url = redis.url();
        let line = if cookie {
            format!("store = \"cookie\"\nshared = \"{url}\"")
        } else {
            format!("store = \"{url}\"")
        };
        let plan = || {
            let plan = House::plan().upstream(&upstream).provider(&provider);
            plan.public_url("http://app.test").session(&line).start()
        };
        let (one, two) = (plan().await, plan().await);
        for house in [&one, &two] {
            let end = Instant::now() + Duration::from_secs(20);
            let browser = house.browser();
            while browser.get("/ready").await.status != StatusCode::OK {
                assert!(Instant::now() < end, "{}", house.process.log());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let (phone, mine) = (one.browser(), two.browser());
        phone.sign_in("/").await;
        mine.sign_in("/").await;
        let end = Instant::now() + Duration::from_secs(5);
        let mut known = account(&mine).await;
        while others(&known).is_empty() {
            assert!(Instant::now() < end, "{known}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            known = account(&mine).await;
        }
        let keys = redis.ask(&["KEYS", "sidegate:*:user"]).await;
        let key = keys.lines().find(|line| line.starts_with("sidegate:"));
        let key = key
            .unwrap_or_else(|| panic!("a list in Redis: {keys}"))
            .trim();
        let dump = redis.ask(&["HGETALL", key]).await;
        for told in ["ada", "script", "Browser", "persona"] {
            assert!(
                !dump.contains(told) && !keys.contains(told),
                "{told}: {dump}"
            );
        }
        let reply = form(&mine, &format!("token={}&scope=others", token(&mine).await));
        assert_eq!(reply.send().await.status, StatusCode::SEE_OTHER);
        let end = Instant::now() + Duration::from_secs(5);
        while is_signed_in(&phone).await {
            assert!(Instant::now() < end, "the other replica hears of it");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(is_signed_in(&mine).await);
        assert!(others(&account(&mine).await).is_empty());
    }
}

/// Whoever signs in without end fills neither Redis nor the page: the sessions not seen for longest go off the list.
#[tokio::test]
async fn a_list_in_redis_has_a_bound() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.session(&format!("store = \"{url}\""))).await;
    let end = Instant::now() + Duration::from_secs(20);
    while house.browser().get("/ready").await.status != StatusCode::OK {
        assert!(Instant::now() < end, "{}", house.process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let listed = async || {
        let keys = redis.ask(&["KEYS", "sidegate:*:user"]).await;
        let key = keys.lines().find(|line| line.starts_with("sidegate:"));
        let answer = redis.ask(&["HLEN", key.unwrap_or_default().trim()]).await;
        let line = answer.lines().next().unwrap_or_default().to_owned();
        line.trim_start_matches(':').parse::<usize>().unwrap_or(0)
    };
    let first = house.browser();
    first.sign_in("/").await;
    let mut most = 0;
    let mut last = first.clone();
    for number in 0..115 {
        last = house.browser();
        last.sign_in("/").await;
        if number % 5 == 0 {
            most = most.max(listed().await);
        }
    }
    // Notes are written behind the answers.
    let wait = Instant::now() + Duration::from_secs(10);
    while listed().await > 100 {
        assert!(Instant::now() < wait, "room is made");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((60..=101).contains(&most), "{most}");
    let now = listed().await;
    assert!((50..=100).contains(&now), "{now}");
    let account = account(&last).await;
    assert!(sessions(&account).len() <= 100, "{account}");
    // Off the list is not out: what it no longer names is still good.
    assert!(is_signed_in(&first).await);
    let this = sessions(&account)
        .into_iter()
        .filter(|session| session["this"] == true);
    assert_eq!(this.count(), 1, "{account}");
    let everywhere = format!("token={}&scope=everywhere", token(&last).await);
    form(&last, &everywhere).send().await;
    assert!(
        !is_signed_in(&first).await,
        "everywhere is everywhere, listed or not"
    );
}
