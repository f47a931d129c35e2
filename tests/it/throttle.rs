//! What one client may cost the provider: junk is bounded for each address, and real logins are not.

use http::StatusCode;

use crate::support::{Browser, House, Reply, ScriptedProvider, standard, standard_with};

const CLIENT: &str = "203.0.113.7";

/// A request that a trusted proxy passes on for `client`.
async fn get(browser: &Browser, client: &str, path: &str) -> Reply {
    let ask = browser.navigate(path).header("x-forwarded-for", client);
    ask.send().await
}

/// The same, with every redirect followed.
async fn follow(browser: &Browser, client: &str, path: &str) -> Reply {
    let mut reply = get(browser, client, path).await;
    while reply.status.is_redirection() {
        reply = get(browser, client, reply.location().as_str()).await;
    }
    reply
}

/// The callback of a login begun in `browser`, with a code that the provider never gave; or the answer of a
/// gate that lets no login begin.
async fn junk(
    browser: &Browser,
    client: &str,
    provider: &ScriptedProvider,
) -> Result<String, Reply> {
    let begun = get(browser, client, "/oauth2/start").await;
    if begun.status != StatusCode::FOUND {
        return Err(begun);
    }
    let location = begun.location();
    let state = location.query_pairs().find(|(name, _)| name == "state");
    let (_, state) = state.expect("a state");
    let query: String = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("state", &*state),
            ("code", "junk"),
            ("iss", &provider.issuer()),
        ])
        .finish();
    Ok(format!("/oauth2/callback/script?{query}"))
}

/// Sends junk until it is refused, at most `times`; the refusal.
async fn junk_until_refused(
    house: &House,
    client: impl Fn(usize) -> String,
    provider: &ScriptedProvider,
    times: usize,
) -> Option<Reply> {
    let browser = house.browser();
    for number in 0..times {
        let client = client(number);
        let reply = match junk(&browser, &client, provider).await {
            Ok(callback) => get(&browser, &client, &callback).await,
            Err(refused) => refused,
        };
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            return Some(reply);
        }
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text());
    }
    None
}

async fn behind_a_proxy() -> (House, crate::support::Upstream, ScriptedProvider) {
    standard_with(|plan| plan.top("trusted_proxies = [\"127.0.0.1\"]")).await
}

#[tokio::test]
async fn junk_from_one_address_is_bounded_and_others_log_in_all_the_same() {
    let (house, _upstream, provider) = behind_a_proxy().await;
    let attacker = |_| "6.6.6.6, 203.0.113.7".to_owned();
    let refused = junk_until_refused(&house, attacker, &provider, 200).await;
    let refused = refused.expect("a bound");
    assert!(
        provider.token_requests() <= 60,
        "{}",
        provider.token_requests()
    );
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=10).contains(&wait), "{wait}");
    assert!(refused.header("content-type").starts_with("text/html"));
    assert!(refused.text().contains("Try again"), "{}", refused.text());

    // What stands left of the address that the proxy saw is the client's own invention.
    let other_names = |number| format!("10.0.0.{number}, 203.0.113.7");
    let asked = provider.token_requests();
    let refused = junk_until_refused(&house, other_names, &provider, 20).await;
    assert!(refused.is_some());
    assert!(provider.token_requests() <= asked + 3);

    let reply = follow(&house.browser(), "203.0.113.8", "/page").await;
    assert_eq!(reply.seen().target, "/page");
}

#[tokio::test]
async fn an_ipv6_network_is_one_client() {
    let (house, _upstream, provider) = behind_a_proxy().await;
    let within = |number: usize| format!("2001:db8:1:2:{:x}::{number:x}", number * 7);
    let refused = junk_until_refused(&house, within, &provider, 200).await;
    assert!(refused.is_some(), "addresses of one /64 are one client's");
    let reply = follow(&house.browser(), "2001:db8:1:3::1", "/page").await;
    assert_eq!(reply.seen().target, "/page");
}

#[tokio::test]
async fn a_program_is_told_in_json() {
    let (house, _upstream, provider) = standard_with(|plan| {
        plan.top("trusted_proxies = [\"127.0.0.1\"]")
            .provider_line("frontchannel_logout = true")
    })
    .await;
    let client = CLIENT;
    let browser = house.browser();
    let path = |sid: usize| {
        let issuer = provider.issuer();
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("iss", issuer.as_str()), ("sid", &sid.to_string())])
            .finish();
        format!("/oauth2/frontchannel_logout/script?{query}")
    };
    for sid in 0..200 {
        let ask = browser.bare(http::Method::GET, &path(sid));
        let ask = ask.header("x-forwarded-for", client);
        let reply = ask.header("accept", "application/json").send().await;
        if reply.status != StatusCode::OK {
            assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(reply.json()["error"], "too_many_logins");
            assert!(!reply.header("retry-after").is_empty());
            return;
        }
    }
    panic!("there is a bound");
}

/// What an <iframe> of a page of another site sends in Chromium, and what else pages send without a person's doing.
const BY_PAGES: [&[(&str, &str)]; 6] = [
    &[
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "iframe"),
        ("sec-fetch-storage-access", "none"),
        ("upgrade-insecure-requests", "1"),
        ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ],
    &[
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "object"),
        ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ],
    &[
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-dest", "image"),
        ("accept", "image/avif,image/webp,*/*;q=0.8"),
    ],
    &[
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-dest", "empty"),
        ("accept", "text/html"),
    ],
    &[
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
        ("sec-purpose", "prefetch;prerender"),
    ],
    &[("x-moz", "prefetch"), ("accept", "text/html")],
];

/// A page of another site with ninety hidden frames must not keep its visitor, and everybody behind the same address,
/// from signing in.
#[tokio::test]
async fn pages_of_other_sites_spend_nobodys_logins() {
    let (house, _upstream, provider) = behind_a_proxy().await;
    let browser = house.browser();
    for headers in BY_PAGES {
        for path in [
            "/",
            "/oauth2/sign_in",
            "/oauth2/start",
            "/oauth2/start/script",
        ] {
            for number in 0..25 {
                let mut ask = browser.bare(http::Method::GET, path);
                for (name, value) in headers {
                    ask = ask.header(name, value);
                }
                let reply = ask.header("x-forwarded-for", CLIENT).send().await;
                assert_eq!(
                    reply.status,
                    StatusCode::UNAUTHORIZED,
                    "{number} {path} {headers:?}"
                );
                assert!(reply.set_cookies().is_empty(), "{path} {headers:?}");
                if reply.header("content-type").starts_with("text/html") {
                    assert_eq!(reply.header("x-frame-options"), "DENY");
                }
            }
        }
    }
    assert_eq!(provider.calls("/authorize").len(), 0);
    let reply = follow(&house.browser(), CLIENT, "/page").await;
    assert_eq!(reply.seen().target, "/page");
}

/// One who wastes the logins of an office's address holds up neither who was here before nor a login that has begun.
#[tokio::test]
async fn who_shares_the_address_of_somebody_that_sends_junk_is_not_locked_out() {
    let (house, _upstream, provider) = behind_a_proxy().await;
    let ada = house.browser();
    follow(&ada, CLIENT, "/page").await;
    let bob = house.browser();
    let begun = get(&bob, CLIENT, "/oauth2/start?rd=%2Fpage").await;
    let back = get(&bob, CLIENT, begun.location().as_str())
        .await
        .location();

    let refused = junk_until_refused(&house, |_| CLIENT.to_owned(), &provider, 200).await;
    assert!(refused.is_some());
    let stranger = get(&house.browser(), CLIENT, "/oauth2/start").await;
    assert_eq!(stranger.status, StatusCode::TOO_MANY_REQUESTS);

    let reply = follow(&bob, CLIENT, back.as_str()).await;
    assert_eq!(reply.seen().target, "/page");
    // Again and again, with the session gone and what remembers them still there.
    for _ in 0..3 {
        let out = ada
            .fetch(http::Method::POST, "/oauth2/sign_out")
            .send()
            .await;
        assert_eq!(out.status, StatusCode::OK, "{}", out.text());
        let reply = follow(&ada, CLIENT, "/page").await;
        assert_eq!(reply.seen().target, "/page");
    }
    // What remembers them opens nothing, is seen below the prefix alone, and never by the app.
    let seen = follow(&ada, CLIENT, "/page").await.seen();
    assert!(!seen.header("cookie").unwrap_or_default().contains("known"));
    assert!(ada.cookies("/oauth2/start").contains("sidegate_known="));
    assert!(!ada.cookies("/page").contains("sidegate_known="));
}

/// A /48 has 65,536 networks of one subscriber's size: whoever has one has no more logins than some subscribers.
#[tokio::test]
async fn a_site_with_many_networks_is_bounded_too() {
    let (house, _upstream, provider) = behind_a_proxy().await;
    let within = |number: usize| format!("2001:db8:7:{number:x}::1");
    let refused = junk_until_refused(&house, within, &provider, 200).await;
    assert!(refused.is_some());
    let reply = follow(&house.browser(), "2001:db8:8::1", "/page").await;
    assert_eq!(reply.seen().target, "/page");
}

/// Anybody can make up a `sid`, and each is remembered: they are counted like logins that lead nowhere.
#[tokio::test]
async fn front_channel_logouts_count_against_the_client() {
    let (house, _upstream, provider) = standard_with(|plan| {
        plan.top("trusted_proxies = [\"127.0.0.1\"]")
            .provider_line("frontchannel_logout = true")
    })
    .await;
    let browser = house.browser();
    let issuer: String =
        url::form_urlencoded::byte_serialize(provider.issuer().as_bytes()).collect();
    let path = |iss: &str, sid: usize| {
        format!("/oauth2/frontchannel_logout/script?iss={iss}&sid=made-up-{sid}")
    };
    // What is refused for what it says is not remembered, and takes nothing.
    for number in 0..100 {
        let reply = get(
            &browser,
            CLIENT,
            &path("https%3A%2F%2Fother.example", number),
        )
        .await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    }
    let mut let_through = 0;
    let refused = loop {
        let reply = get(&browser, CLIENT, &path(&issuer, let_through)).await;
        if reply.status != StatusCode::OK {
            break reply;
        }
        let_through += 1;
        assert!(let_through <= 120, "there is a bound");
    };
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_ne!(refused.header("retry-after"), "");
    assert!(let_through >= 20, "a few are nothing: {let_through}");
    // Any page can have frames that cause these, and they take nothing from logins.
    let login = get(&browser, CLIENT, "/oauth2/start").await;
    assert_eq!(login.status, StatusCode::FOUND);
    let other = get(&browser, "203.0.113.8", &path(&issuer, 0)).await;
    assert_eq!(other.status, StatusCode::OK);
}

/// An office behind one address: what ends well is not counted.
#[tokio::test]
async fn people_behind_one_address_log_in_as_often_as_they_like() {
    let (house, _upstream, _provider) = behind_a_proxy().await;
    for person in 0..120 {
        let path = format!("/page/{person}");
        let reply = follow(&house.browser(), CLIENT, &path).await;
        assert_eq!(reply.status, StatusCode::OK, "{person}: {}", reply.text());
        assert_eq!(reply.seen().target, path);
    }
}

#[tokio::test]
async fn twenty_tabs_at_once_of_one_address_all_arrive() {
    let (house, _upstream, _provider) = behind_a_proxy().await;
    let browser = house.browser();
    // Restored by a fresh browser: each begins a login before any has the cookie.
    let begin = |tab: usize| {
        let browser = browser.clone();
        tokio::spawn(async move {
            let begun = get(&browser, CLIENT, &format!("/oauth2/start?rd=/page/{tab}")).await;
            get(&browser, CLIENT, begun.location().as_str())
                .await
                .location()
        })
    };
    let begun: Vec<_> = (0..20).map(begin).collect();
    let mut callbacks = Vec::new();
    for tab in begun {
        callbacks.push(tab.await.expect("a tab"));
    }
    let end = |callback: url::Url| {
        let browser = browser.clone();
        tokio::spawn(async move { follow(&browser, CLIENT, callback.as_str()).await })
    };
    let ended: Vec<_> = callbacks.into_iter().map(end).collect();
    for (tab, reply) in ended.into_iter().enumerate() {
        let reply = reply.await.expect("a tab");
        assert_eq!(reply.status, StatusCode::OK, "{tab}: {}", reply.text());
        assert_eq!(reply.seen().target, format!("/page/{tab}"));
    }
}

/// A proxy on this machine that is not named as trusted stands for everybody: one bucket for all would let
/// any of them lock out the others.
#[tokio::test]
async fn nobody_is_counted_by_a_loopback_address() {
    let (house, _upstream, provider) = standard().await;
    let claimed = |_| CLIENT.to_owned();
    let refused = junk_until_refused(&house, claimed, &provider, 120).await;
    assert!(refused.is_none());
}
