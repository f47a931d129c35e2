//! GitHub's ways: errors with status 200, forms, lists in pages, and rights that a person may not give.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use super::{assert_turned_away, cases, house, sign_in};
use crate::support::{
    ScriptedProvider,
    servers::{Fault, github::team, header},
};

#[tokio::test]
async fn an_error_with_status_200_is_an_error() {
    let case = cases::github().await;
    let (house, upstream) = house(&case, "\"anyone\"", "").await;
    let body =
        json!({ "error": "bad_verification_code", "error_description": "The code is incorrect." });
    let token = "/login/oauth/access_token";
    let server = case.backend.plain();
    server.fault(token, 1, Fault::json(StatusCode::OK, &body));
    assert_turned_away(&sign_in(&house).await, &upstream, "an error inside 200");
    assert_eq!(server.calls(token).len(), 1, "a code is tried once");
    sign_in(&house).await.seen();
}

#[tokio::test]
async fn a_token_answer_may_be_a_form() {
    let case = cases::github().await;
    let (house, _upstream) = house(&case, "{ orgs = [\"acme\"] }", "").await;
    case.backend
        .plain()
        .set(|quirks| quirks.form_encoded = true);
    sign_in(&house).await.seen();
}

#[tokio::test]
async fn whoever_asks_github_asks_as_it_wants() {
    let case = cases::github_enterprise().await;
    let lists =
        "{ orgs = [\"acme\"], teams = [\"acme/platform\"], emails = [\"ada@example.com\"] }";
    let (house, _upstream) = house(&case, lists, "").await;
    sign_in(&house).await.seen();
    let server = case.backend.plain();
    let scope = server.calls(case.authorize)[0].fields["scope"].clone();
    for wanted in ["read:user", "user:email", "read:org"] {
        assert!(scope.split(' ').any(|asked| asked == wanted), "{scope}");
    }
    for call in server.all_calls() {
        if call.path.starts_with("/api/v3/") {
            assert!(header(&call, "accept").contains("json"), "{call:?}");
            assert!(header(&call, "authorization").starts_with("Bearer "));
            assert!(
                !header(&call, "x-github-api-version").is_empty(),
                "{call:?}"
            );
        }
    }
}

#[tokio::test]
async fn of_githubs_addresses_the_primary_one_counts_if_verified() {
    let case = cases::github().await;
    let (house, _upstream) = house(&case, "\"anyone\"", "").await;
    let entry = |email: &str, primary: bool, verified: Value| json!({ "email": email, "primary": primary, "verified": verified, "visibility": null });
    let other = || entry("other@example.org", false, json!(true));
    let primary = |verified| entry("ada@example.com", true, verified);
    let first_page: Vec<Value> = (0..100)
        .map(|number| entry(&format!("a{number}@example.org"), false, json!(true)))
        .collect();
    for (pages, expected) in [
        (
            vec![json!([other(), primary(json!(true))])],
            Some("ada@example.com"),
        ),
        (vec![json!([other(), primary(json!(false))])], None),
        (vec![json!([other(), primary(json!("no"))])], None),
        (vec![json!([other()])], None),
        (vec![json!([])], None),
        (
            vec![json!(first_page), json!([primary(json!(true))])],
            Some("ada@example.com"),
        ),
    ] {
        case.backend.plain().pages("/user/emails", pages.clone());
        let seen = sign_in(&house).await.seen();
        assert_eq!(seen.header("x-user-email"), expected, "{pages:?}");
    }
    // An app without the permission: the addresses are not found, the person is.
    let fault = Fault::json(StatusCode::NOT_FOUND, &json!({ "message": "Not Found" }));
    case.backend.plain().fault("/user/emails", 1, fault);
    assert_eq!(sign_in(&house).await.seen().header("x-user-email"), None);
}

#[tokio::test]
async fn a_team_counts_on_whichever_page_it_stands() {
    let case = cases::github_enterprise().await;
    let (house, _upstream) = house(&case, "{ teams = [\"acme/last\"] }", "").await;
    let server = case.backend.plain();
    let page = |from: u32| -> Value {
        (from..from + 100)
            .map(|id| team("acme", &format!("team-{id}"), id))
            .collect()
    };
    server.pages("/user/teams", vec![page(0), page(100)]);
    assert_eq!(sign_in(&house).await.status, StatusCode::FORBIDDEN);
    let last = json!([team("acme", "last", 999)]);
    server.pages("/user/teams", vec![page(0), page(100), last]);
    sign_in(&house).await.seen();
}

#[tokio::test]
async fn pages_without_end_are_given_up() {
    let case = cases::github().await;
    let (house, upstream) = house(&case, "{ teams = [\"acme/last\"] }", "").await;
    let server = case.backend.plain();
    for next in ["/user/teams?page=1", "/user/teams?page={page}"] {
        let next = format!("{}{next}", server.url());
        server.set(|quirks| quirks.next_page = Some(next));
        let before = server.calls("/user/teams").len();
        let begin = Instant::now();
        let reply = sign_in(&house).await;
        assert_turned_away(&reply, &upstream, "pages without end");
        assert!(begin.elapsed() < Duration::from_secs(15));
        let asked = server.calls("/user/teams").len() - before;
        assert!(asked <= 100, "{asked} pages");
    }
}

#[tokio::test]
async fn the_token_is_not_carried_to_another_host() {
    let case = cases::github().await;
    let (house, upstream) = house(&case, "{ teams = [\"acme/last\"] }", "").await;
    let stranger = ScriptedProvider::start().await;
    let server = case.backend.plain();
    let next = format!("{}/user/teams?page=2", stranger.issuer());
    server.set(|quirks| quirks.next_page = Some(next));
    assert_turned_away(&sign_in(&house).await, &upstream, "a foreign page");
    assert_eq!(
        stranger.server.connections(),
        0,
        "the stranger is not asked"
    );
}

#[tokio::test]
async fn what_github_does_not_grant_is_not_had() {
    for allow in ["{ orgs = [\"acme\"] }", "{ teams = [\"acme/platform\"] }"] {
        let case = cases::github().await;
        let (house, upstream) = house(&case, allow, "").await;
        let server = case.backend.plain();
        server.set(|quirks| quirks.grants = Some(vec!["read:user".to_owned()]));
        assert_turned_away(&sign_in(&house).await, &upstream, allow);
    }
}

#[tokio::test]
async fn githubs_issuer_is_compared_where_it_is_said() {
    let case = cases::github_enterprise().await;
    let (house, upstream) = house(&case, "\"anyone\"", "").await;
    let server = case.backend.plain();
    server.set(|quirks| quirks.response = vec![("iss", "https://other.example".to_owned())]);
    assert_turned_away(&sign_in(&house).await, &upstream, "another's issuer");
    assert_eq!(case.backend.calls("/login/oauth/access_token").len(), 0);
    let own = format!("{}/login/oauth", server.url());
    server.set(|quirks| quirks.response = vec![("iss", own)]);
    sign_in(&house).await.seen();
}
