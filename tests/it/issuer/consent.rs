//! The page that asks.

use http::StatusCode;
use serde_json::json;
use url::form_urlencoded;

use super::{
    BACK, MCP, agree, authorize, call, client, consent_of, decide, home, home_with, parameter,
    redeem, register, submit, tokens_of,
};
use crate::support::house::Plan;

#[tokio::test]
async fn t30_m8_the_page_says_who_asks_and_is_nobody_elses_to_show() {
    let home = home().await;
    let house = &home.house;
    let wanted = json!({"client_name": "<b>Probe</b> & co", "redirect_uris": ["https://app.example/cb", BACK]});
    let id = register(house, &wanted).await.json()["client_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let browser = house.browser();
    let page = browser
        .follow(&authorize(
            house,
            &id,
            &[("redirect_uri", "https://app.example/cb")],
        ))
        .await;
    let text = page.text();
    assert!(
        !text.contains("<b>Probe") && text.contains("Probe"),
        "{text}"
    );
    for shown in ["app.example", "ada", &house.url("/mcp")] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(!text.contains("your own machine"));
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("frame-ancestors 'none'")
            && policy.contains("form-action 'self' https://app.example;"),
        "{policy}"
    );
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("cache-control"), "no-store");
    let local = browser.get(&authorize(house, &id, &[])).await.text();
    assert!(local.contains("your own machine"), "{local}");
}

/// Whoever sends it twice, for want of patience, gets one code; and whoever sends it for ever no more.
#[tokio::test]
async fn a_form_of_consent_is_good_for_one_grant() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    let page = browser.follow(&authorize(house, &client, &[])).await;
    let form = consent_of(&page);
    let code = parameter(&decide(&browser, &form, "allow").await.location(), "code");
    for _ in 0..60 {
        let again = decide(&browser, &form, "allow").await.location();
        assert_eq!(parameter(&again, "code"), code);
    }
    let reply = redeem(house, &client, &code.expect("a code")).await;
    let tokens = tokens_of(&client, &reply);
    let again = decide(&browser, &form, "allow").await;
    assert_eq!(again.status, StatusCode::FORBIDDEN, "{}", again.text());
    assert_eq!(
        call(house, &tokens.access, "/mcp").await.status,
        StatusCode::OK
    );
}

/// Codes that nobody spends revoke nothing, and a user has no more of them than so many.
#[tokio::test]
async fn a_flood_of_consents_is_bounded_and_revokes_nothing() {
    let home = home_with(MCP, Plan::admin).await;
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let mut agreed = 0;
    loop {
        let page = browser.get(&authorize(house, &client, &[])).await;
        let reply = decide(&browser, &consent_of(&page), "allow").await;
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
        agreed += 1;
        assert!(agreed < 200, "it is not bounded");
    }
    assert!(agreed >= 50, "{agreed}");
    let (_, metrics) = house.admin_says("/metrics").await;
    assert!(
        metrics.contains("sidegate_revocations_total 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn t31_whoever_says_no_is_believed() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    let page = browser.follow(&authorize(house, &client, &[])).await;
    let back = decide(&browser, &consent_of(&page), "deny")
        .await
        .location();
    assert!(back.as_str().starts_with(BACK));
    assert_eq!(parameter(&back, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&back, "state").as_deref(), Some("a state"));
    assert_eq!(parameter(&back, "iss"), Some(house.public_url.clone()));
    assert_eq!(parameter(&back, "code"), None);
}

#[tokio::test]
async fn t33_the_same_client_is_asked_for_again() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let browser = house.browser();
    agree(&browser, house, &client).await;
    let mut ask = browser.bare(http::Method::GET, &authorize(house, &client, &[]));
    for (name, value) in [
        ("accept", "text/html"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ] {
        ask = ask.header(name, value);
    }
    consent_of(&ask.send().await);
}

#[tokio::test]
async fn m7_the_form_is_of_one_session_and_one_site() {
    let home = home().await;
    let house = &home.house;
    let client = client(house).await;
    let (one, two) = (house.browser(), house.browser());
    two.sign_in("/").await;
    let consent = consent_of(&one.follow(&authorize(house, &client, &[])).await);
    // Another session of the same person, nobody at all, and another site.
    assert_eq!(
        decide(&two, &consent, "allow").await.status,
        StatusCode::FORBIDDEN
    );
    assert_ne!(
        decide(&house.browser(), &consent, "allow").await.status,
        StatusCode::SEE_OTHER
    );
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("consent", &*consent), ("decision", "allow")])
        .finish();
    for site in ["cross-site", "same-site"] {
        let reply = submit(&one, "/oauth2/authorize/consent", site, body.clone()).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{site}");
    }
    assert_eq!(
        decide(&one, &consent[1..], "allow").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        decide(&one, &consent, "maybe").await.status,
        StatusCode::BAD_REQUEST
    );
    // A second tab spoils nothing.
    let other = consent_of(
        &one.get(&authorize(house, &client, &[("state", "other")]))
            .await,
    );
    assert_eq!(
        decide(&one, &consent, "allow").await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        decide(&one, &other, "allow").await.status,
        StatusCode::SEE_OTHER
    );
}

/// The page names the host, and so does its policy: neither says anything else than where the answer goes.
#[tokio::test]
async fn t30_no_host_says_more_than_a_host() {
    let home = home().await;
    let house = &home.house;
    let browser = house.browser();
    browser.sign_in("/").await;
    for uri in [
        "https://a.example;script-src.evil.example/cb",
        "https://a.example,b.example/cb",
        "https://claude%2eai/cb",
        "https://claude.ai@evil.example/cb",
        "https://cl\u{430}ude.ai/cb",
        "https://claude.ai\u{202e}/cb",
        "https://claude.ai./cb",
        &format!("https://{}.example/cb", "claude-ai-".repeat(7)),
    ] {
        let reply = register(house, &json!({ "redirect_uris": [uri] })).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{uri}");
    }
    let long = format!(
        "https://claude.ai.{}evil.example/cb",
        "a-part-of-it.".repeat(15)
    );
    for (uri, shown) in [
        ("https://xn--pple-43d.com/cb", "xn--pple-43d.com"),
        (
            &*long,
            long.trim_start_matches("https://").trim_end_matches("/cb"),
        ),
        (
            "cursor://anysphere.cursor-mcp/cb",
            "a program on your device",
        ),
        ("claude.ai:/cb", "a program on your device"),
    ] {
        let wanted = json!({ "client_name": "Cl\u{202e}aude\u{3164}", "redirect_uris": [uri] });
        let id = register(house, &wanted).await.json()["client_id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let page = browser
            .get(&authorize(house, &id, &[("redirect_uri", uri)]))
            .await;
        let text = page.text();
        assert!(text.contains(shown), "{shown}: {text}");
        assert!(
            text.contains("Claude") && !text.contains('\u{202e}'),
            "{text}"
        );
        let policy = page.header("content-security-policy");
        let rules = policy.split(';').map(str::trim);
        let rules = rules.filter(|rule| rule.starts_with("form-action"));
        assert_eq!(rules.count(), 1, "{policy}");
        assert!(!policy.contains("script-src.evil"), "{policy}");
    }
}
