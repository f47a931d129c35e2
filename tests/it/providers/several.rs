//! Several providers in one gate.

use http::StatusCode;

use super::{
    cases::{self, Case},
    sign_in_at,
};
use crate::support::{Browser, House, Upstream};

/// One of each, under its own name.
pub async fn everybody() -> Vec<(&'static str, Case)> {
    vec![
        ("intra", cases::forty_two().await),
        ("google", cases::google().await),
        ("github", cases::github().await),
        ("facebook", cases::facebook().await),
        ("gitlab", cases::gitlab().await),
        ("microsoft", cases::microsoft().await),
        ("discord", cases::discord().await),
        ("corp", cases::oidc().await),
        ("other", cases::oauth2().await),
    ]
}

async fn house(cases: &[(&'static str, Case)]) -> (House, Upstream) {
    let upstream = Upstream::start().await;
    let mut plan = House::plan().upstream(&upstream);
    for (name, case) in cases {
        plan = plan.named(name, &case.table(name, "\"anyone\""));
    }
    (plan.start().await, upstream)
}

/// The providers in the chooser's order.
fn chosen_from(page: &str) -> Vec<String> {
    page.split("/oauth2/start/")
        .skip(1)
        .map(|rest| {
            let end = rest.find(['"', '?']).expect("the address ends");
            rest[..end].to_owned()
        })
        .collect()
}

#[tokio::test]
async fn the_chooser_offers_each_and_each_works() {
    let cases = everybody().await;
    let (house, _upstream) = house(&cases).await;
    let page = house.browser().follow("/page").await;
    assert_eq!(page.status, StatusCode::OK);
    let text = page.text();
    let names: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
    assert_eq!(chosen_from(&text), names, "in the file's order");
    for label in [
        "42",
        "Google",
        "GitHub",
        "Facebook",
        "GitLab",
        "Microsoft",
        "Discord",
    ] {
        assert!(
            text.contains(&format!("<strong>{label}</strong>")),
            "{label}: {text}"
        );
    }
    assert!(
        text.matches("<svg").count() >= 7,
        "each known one has its mark"
    );
    assert!(
        !text.contains("<script") && !text.contains("http://"),
        "nothing from elsewhere"
    );
    for (name, case) in &cases {
        let seen = sign_in_at(&house.browser(), name, "/deep").await.seen();
        let id = format!("{name}:{}", case.subject);
        assert_eq!(seen.header("x-user-id"), Some(id.as_str()));
        assert_eq!(seen.header("x-user-provider"), Some(*name));
    }
}

#[tokio::test]
async fn a_provider_may_be_named_in_the_query() {
    let cases = vec![
        ("one", cases::oidc().await),
        ("two", cases::forty_two().await),
    ];
    let (house, _upstream) = house(&cases).await;
    for endpoint in ["start", "sign_in"] {
        let browser = house.browser();
        let path = format!("/oauth2/{endpoint}?provider=two&rd=/deep");
        let reply = browser.get(&path).await;
        assert_eq!(reply.location().path(), cases[1].1.authorize, "{path}");
        let seen = browser.follow_from(reply).await.seen();
        assert_eq!(seen.target, "/deep");
        assert_eq!(seen.header("x-user-provider"), Some("two"));
        let nobody = format!("/oauth2/{endpoint}?provider=nobody&rd=/deep");
        let reply = house.browser().follow(&nobody).await;
        assert!(
            reply.status == StatusCode::NOT_FOUND || chosen_from(&reply.text()).len() == 2,
            "{nobody}: {}",
            reply.text()
        );
    }
    let reply = house.browser().get("/oauth2/start/nobody").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_last_choice_is_remembered_and_still_a_choice() {
    let cases = vec![
        ("one", cases::oidc().await),
        ("two", cases::gitlab().await),
        ("three", cases::forty_two().await),
    ];
    let (house, _upstream) = house(&cases).await;
    let browser = house.browser();
    for (name, order) in [
        ("three", ["three", "one", "two"]),
        ("two", ["two", "one", "three"]),
    ] {
        sign_in_at(&browser, name, "/page").await.seen();
        let page = browser.get("/oauth2/sign_in?switch=1").await;
        assert_eq!(chosen_from(&page.text()), order, "after {name}");
    }
    // Whatever a browser says it was, only a configured name is shown.
    let browser = house.browser();
    browser.plant("sidegate_provider", "\"><script>alert(1)</script>");
    let page = browser.get("/oauth2/sign_in").await.text();
    assert_eq!(chosen_from(&page), ["one", "two", "three"]);
    assert!(!page.contains("<script"));
}

/// What the provider was asked with a code in hand.
fn redemptions(case: &Case) -> usize {
    ["/token", "/oauth/token", "/login/oauth/access_token"]
        .iter()
        .map(|path| case.backend.calls(path).len())
        .sum()
}

#[tokio::test]
async fn a_code_of_one_provider_is_not_shown_to_another() {
    let cases = vec![
        ("evil", cases::oauth2().await),
        ("good", cases::forty_two().await),
    ];
    let (house, upstream) = house(&cases).await;
    for (from, to) in [("good", "evil"), ("evil", "good")] {
        let browser: Browser = house.browser();
        let back = browser
            .up_to_callback(&format!("/oauth2/start/{from}?rd=/page"))
            .await;
        let crossed = back.as_str().replace(
            &format!("/oauth2/callback/{from}"),
            &format!("/oauth2/callback/{to}"),
        );
        assert_ne!(crossed, back.as_str());
        let reply = browser.get(&crossed).await;
        assert!(
            reply.status.is_client_error(),
            "{}: {}",
            reply.status,
            reply.text()
        );
        assert!(!reply.sets_session());
        for (_, case) in &cases {
            assert_eq!(redemptions(case), 0, "nothing is sent to anybody");
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_registered_callback_path_is_used_as_it_is() {
    let case = cases::forty_two().await;
    let other = cases::oidc().await;
    let upstream = Upstream::start().await;
    let table = format!(
        "{}callback_path = \"/oauth/callback/\"\n",
        case.table("intra", "\"anyone\"")
    );
    let house = House::plan()
        .upstream(&upstream)
        .named("intra", &table)
        .named("corp", &other.table("corp", "\"anyone\""))
        .start()
        .await;
    let browser = house.browser();
    let seen = sign_in_at(&browser, "intra", "/page").await.seen();
    assert_eq!(seen.header("x-user-id"), Some("intra:123456"));
    let redirect_uri = house.url("/oauth/callback/");
    for call in case.backend.calls("/oauth/authorize") {
        assert_eq!(call.fields["redirect_uri"], redirect_uri);
    }
    for call in case.backend.calls("/oauth/token") {
        assert_eq!(call.fields["redirect_uri"], redirect_uri);
    }
    // It is that path and no other: what is near it is the app's.
    for path in ["/oauth/callback", "/oauth/callback/x"] {
        let reply = browser.get(path).await;
        assert_eq!(reply.seen().target, path);
    }
    // The path that it has by default is no second way in.
    let back = house
        .browser()
        .get("/oauth2/callback/intra?code=x&state=y")
        .await;
    assert!(back.status.is_client_error(), "{}", back.status);
}

#[tokio::test]
async fn one_that_is_down_does_not_take_the_others_with_it() {
    let cases = vec![
        ("down", cases::oidc().await),
        ("up", cases::gitlab().await),
        ("plain", cases::discord().await),
    ];
    cases[0].1.backend.openid().server.down();
    let (house, _upstream) = house(&cases).await;
    let page = house.browser().follow("/page").await;
    assert_eq!(chosen_from(&page.text()).len(), 3);
    let reply = sign_in_at(&house.browser(), "down", "/page").await;
    assert!(reply.status.is_server_error(), "{}", reply.status);
    for name in ["up", "plain"] {
        sign_in_at(&house.browser(), name, "/page").await.seen();
    }
    // One that goes away while somebody is there.
    let browser = house.browser();
    let back = browser.up_to_callback("/oauth2/start/plain?rd=/page").await;
    cases[2].1.backend.plain().server.down();
    tokio::task::yield_now().await;
    let reply = browser.get(back.as_str()).await;
    assert!(reply.status.is_server_error(), "{}", reply.status);
    assert!(!reply.sets_session());
}
