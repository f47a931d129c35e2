//! A browser logs in, and the app sees who it is.

mod tabs;

use std::{collections::HashSet, time::Duration};

use http::StatusCode;
use serde_json::json;

use crate::support::{
    House, ScriptedProvider, Upstream, house::Plan, keys::Signing, node_provider, standard,
    standard_with,
};

#[tokio::test]
async fn the_app_sees_who_logged_in() {
    let (house, _upstream, _provider) = standard().await;
    let seen = house.browser().sign_in("/hello?x=1").await.seen();
    assert_eq!(seen.target, "/hello?x=1");
    assert_eq!(seen.header("x-user"), Some("ada"));
    assert_eq!(seen.header("x-user-id"), Some("script:ada-1815"));
    assert_eq!(seen.header("x-user-email"), Some("ada@example.com"));
    assert_eq!(seen.header("x-user-name"), Some("Ada Lovelace"));
    assert_eq!(seen.header("x-user-groups"), Some("engineers"));
    assert_eq!(seen.header("x-user-provider"), Some("script"));
}

#[tokio::test]
async fn a_strict_provider_lets_in_and_its_userinfo_is_asked() {
    let upstream = Upstream::start().await;
    let house = House::plan().upstream(&upstream).npm().start().await;
    let ada = house.browser();
    let reply = node_provider::sign_in(&ada, "/a?b=1&c=%2F", "ada").await;
    let seen = reply.seen();
    assert_eq!(seen.target, "/a?b=1&c=%2F");
    assert_eq!(seen.header("x-user"), Some("ada"));
    assert_eq!(seen.header("x-user-id"), Some("npm:ada"));
    assert_eq!(seen.header("x-user-email"), Some("ada@example.com"));
    assert_eq!(seen.header("x-user-groups"), Some("engineers,admins"));

    // An address that nobody verified is not told, and a name cannot break out of its header.
    let bob = house.browser();
    let seen = node_provider::sign_in(&bob, "/", "bob").await.seen();
    assert_eq!(seen.header("x-user"), Some("bob"));
    assert_eq!(seen.header("x-user-email"), None);
    let name = seen.header("x-user-name").expect("a name");
    assert!(name.is_ascii() && name.contains("Zo%C3%AB"), "{name}");
    assert!(seen.header("x-user-groups").is_none_or(str::is_empty));
}

#[tokio::test]
async fn the_way_back_is_the_exact_path_and_query() {
    let (house, _upstream, _provider) = standard().await;
    for path in [
        "/",
        "/a?b=1&c=%2F",
        "/a?",
        "/a?b=1&b=2&c",
        "/a/b%20c?q=a+b&r=%E2%9C%93&s=%0d%0a",
        "/deep/er/?rd=https://evil.example/&state=x&code=y",
        "/x%2Fy?z",
        "/long?q=0123456789012345678901234567890123456789012345678901234567890123456789",
    ] {
        let browser = house.browser();
        let reply = browser.follow(path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.text());
        assert_eq!(reply.seen().target, path);
    }
}

#[tokio::test]
async fn claims_that_only_userinfo_has_are_fetched() {
    let (house, _upstream, provider) = standard().await;
    provider.set(|behaviour| behaviour.claims_in_id_token = false);
    let seen = house.browser().sign_in("/").await.seen();
    assert_eq!(seen.header("x-user"), Some("ada"));
    assert_eq!(seen.header("x-user-email"), Some("ada@example.com"));
    assert!(!provider.calls("/userinfo").is_empty());
}

#[tokio::test]
async fn an_elliptic_key_is_as_good() {
    let (house, _upstream, provider) = standard().await;
    provider.set(|behaviour| behaviour.signing = Signing::Elliptic);
    house.browser().sign_in("/").await;
}

#[tokio::test]
async fn groups_may_stand_deep_in_the_claims() {
    let (house, _upstream, provider) =
        standard_with(|plan| plan.provider_line("claims = { groups = \"realm_access.roles\" }"))
            .await;
    provider.user(
        "realm_access",
        json!({ "roles": ["one", "two, with a comma"] }),
    );
    let seen = house.browser().sign_in("/").await.seen();
    let groups = seen.header("x-user-groups").expect("groups").to_owned();
    assert!(groups.starts_with("one,"), "{groups}");
    assert_eq!(
        groups.matches(',').count(),
        1,
        "a comma inside is escaped: {groups}"
    );
}

#[tokio::test]
async fn each_login_proves_itself_anew() {
    let (house, _upstream, provider) = standard().await;
    for _ in 0..3 {
        house.browser().sign_in("/").await;
    }
    let calls = provider.calls("/authorize");
    assert_eq!(calls.len(), 3);
    for field in ["state", "nonce", "code_challenge"] {
        let values: HashSet<&String> = calls.iter().map(|call| &call.fields[field]).collect();
        assert_eq!(values.len(), 3, "{field} is fresh each time");
        assert!(
            values.iter().all(|value| value.len() >= 22),
            "{field} has 128 bits"
        );
    }
    for call in &calls {
        assert_eq!(call.fields["code_challenge_method"], "S256");
        assert_eq!(
            call.fields["redirect_uri"],
            house.url("/oauth2/callback/script")
        );
        assert!(!call.fields["state"].contains("http") && !call.fields["state"].contains('/'));
    }
}

#[tokio::test]
async fn the_token_endpoint_gets_nothing_of_the_browsers() {
    let (house, _upstream, provider) = standard().await;
    let browser = house.browser();
    browser.plant("app", "canary-app-cookie");
    let callback = browser.up_to_callback("/").await;
    let reply = browser
        .navigate(callback.as_str())
        .header("authorization", "Bearer canary-bearer")
        .send()
        .await;
    assert!(reply.sets_session(), "{} {}", reply.status, reply.text());
    let calls = provider.calls("/token");
    assert_eq!(calls.len(), 1);
    let text = format!("{:?} {:?}", calls[0].headers, calls[0].fields);
    assert!(
        !text.contains("canary-app") && !text.contains("canary-bearer"),
        "{text}"
    );
    assert!(calls[0].headers.get("cookie").is_none());
}

#[tokio::test]
async fn going_back_to_the_callback_is_harmless() {
    let (house, _upstream, provider) = standard().await;
    let browser = house.browser();
    let callback = browser.up_to_callback("/page?x=1").await;
    let first = browser.follow(callback.as_str()).await;
    assert_eq!(first.seen().target, "/page?x=1");
    for _ in 0..2 {
        let again = browser.follow(callback.as_str()).await;
        assert_eq!(again.status, StatusCode::OK, "{}", again.text());
        assert_eq!(again.seen().target, "/page?x=1");
    }
    assert_eq!(provider.token_requests(), 1, "the code is spent once");
}

#[tokio::test]
async fn a_reload_while_the_callback_runs_spends_the_code_once() {
    let (house, _upstream, provider) = standard().await;
    let browser = house.browser();
    let callback = browser.up_to_callback("/page").await;
    let tabs: Vec<_> = (0..3)
        .map(|_| {
            let (tab, callback) = (browser.clone(), callback.clone());
            tokio::spawn(async move { tab.follow(callback.as_str()).await })
        })
        .collect();
    for tab in tabs {
        let reply = tab.await.expect("a tab");
        assert!(
            reply.status == StatusCode::OK && reply.seen().target == "/page",
            "{} {}",
            reply.status,
            reply.text()
        );
    }
    assert!(provider.token_requests() <= 3);
    assert_eq!(browser.get("/after").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_state_that_does_not_fit_ends_in_an_error_and_no_session() {
    let (house, upstream, provider) = standard().await;
    let browser = house.browser();
    let good = browser.up_to_callback("/").await;
    let query = good.query().expect("a query").to_owned();
    let state = good
        .query_pairs()
        .find_map(|(name, value)| (name == "state").then(|| value.into_owned()))
        .expect("a state");
    let without = query.replace(&format!("state={state}"), "");
    let changed = flip(&state);
    let path = good.path();
    let other = house.browser();
    let cases = [
        ("missing", &browser, without.clone()),
        ("empty", &browser, format!("{without}&state=")),
        (
            "foreign",
            &browser,
            format!("{without}&state=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ),
        (
            "not base64",
            &browser,
            format!("{without}&state=%00%ff%3Cscript%3E"),
        ),
        ("one bit flipped", &browser, query.replace(&state, &changed)),
        (
            "cut short",
            &browser,
            query.replace(&state, &state[..state.len() - 4]),
        ),
        ("twice", &browser, format!("{query}&state={state}")),
        ("the code twice", &browser, format!("{query}&code=other")),
        ("no code", &browser, format!("state={state}")),
        ("another browser", &other, query.clone()),
    ];
    for (name, who, query) in cases {
        let reply = who.get(&format!("{path}?{query}")).await;
        let failed = reply.status.is_client_error()
            // A provider that says neither yes nor no is at fault, not the visitor.
            || name == "no code" && reply.status.is_server_error();
        assert!(failed, "{name}: {}", reply.status);
        assert!(!reply.sets_session(), "{name}");
        assert!(!reply.text().contains("<script"), "{name}");
        assert_eq!(
            provider.token_requests(),
            0,
            "{name}: the code is not spent"
        );
    }
    assert_eq!(upstream.count(), 0);
    // None of that has hurt the login under way.
    assert_eq!(browser.follow(good.as_str()).await.status, StatusCode::OK);
}

/// Restored tabs come back like that (their login cookie was another tab's), and so does a planted callback: either
/// way this browser's own login begins, a few times at most, and the code that came is never spent.
#[tokio::test]
async fn a_foreign_callback_begins_a_login_of_ones_own_a_few_times_at_most() {
    let (house, _upstream, provider) = standard().await;
    let mallory = house.browser();
    let planted = mallory.up_to_callback("/planted").await;
    let ada = house.browser();
    ada.up_to_callback("/own").await;
    let asked = provider.calls("/authorize").len();

    let reply = ada.get(planted.as_str()).await;
    assert!(!reply.sets_session());
    assert_eq!(
        provider.token_requests(),
        0,
        "the planted code is not spent"
    );
    if reply.status.is_client_error() {
        return;
    }
    let next = reply.location();
    assert_eq!(next.origin().ascii_serialization(), provider.issuer());
    let reply = ada.get(next.as_str()).await;
    assert_eq!(provider.calls("/authorize").len(), asked + 1);
    // Were that one foreign again, and the next, it would be an error and no loop.
    let mut callback = reply.location();
    for times in 1.. {
        assert!(times <= 5, "it goes round and round");
        // Each one's login comes back to the other.
        let stranger = if times % 2 == 1 { &mallory } else { &ada };
        let again = stranger.get(callback.as_str()).await;
        if again.status.is_client_error() {
            break;
        }
        let at_provider = stranger.get(again.location().as_str()).await;
        callback = at_provider.location();
    }
    let landed = ada.follow_from(reply).await;
    assert_eq!(landed.status, StatusCode::OK);
    let codes: Vec<String> = provider
        .calls("/token")
        .iter()
        .map(|call| call.fields["code"].clone())
        .collect();
    assert_eq!(codes.len(), 1);
    assert!(
        !planted.as_str().contains(&codes[0]),
        "the planted code is not spent"
    );
}

/// The text with the lowest bit of a character in the middle changed, still base64url.
fn flip(text: &str) -> String {
    let middle = text.len() / 2;
    let other = if &text[middle..=middle] == "A" {
        "B"
    } else {
        "A"
    };
    format!("{}{other}{}", &text[..middle], &text[middle + 1..])
}

#[tokio::test]
async fn the_provider_may_be_down_at_start() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start_down();
    let plan: Plan = House::plan().upstream(&upstream).provider(&provider);
    let admin = crate::support::ports::free_address();
    let house = plan
        .top(&format!("admin_listen = \"{admin}\""))
        .route("/public/**", "public")
        .start()
        .await;
    let browser = house.browser();
    assert_eq!(browser.get("/oauth2/ping").await.status, StatusCode::OK);
    assert_eq!(browser.get("/oauth2/ready").await.status, StatusCode::OK);
    assert_eq!(browser.get("/public/x").await.status, StatusCode::OK);
    let page = browser.follow("/x").await;
    assert!(page.status.is_server_error(), "{}", page.status);
    assert!(
        page.text().to_lowercase().contains("try again"),
        "{}",
        page.text()
    );
    assert!(
        !page.text().contains(&provider.address.to_string()),
        "{}",
        page.text()
    );

    provider.server.up().await;
    let mut recovered = false;
    for _ in 0..150 {
        if !house.ask_admin(admin, "/ready").await.1.contains("waiting") {
            recovered = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(recovered, "the provider is found by itself within 15 s");
    browser.sign_in("/x").await;
}

#[tokio::test]
async fn sessions_outlive_the_provider() {
    let (house, _upstream, provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    provider.server.down();
    assert_eq!(browser.get("/still").await.status, StatusCode::OK);
}
