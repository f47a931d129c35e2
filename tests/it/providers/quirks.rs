//! What each provider does in its own way, and what it does on a bad day.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use super::cases::{self, Case};
use crate::support::{
    House, Reply, ScriptedProvider, Upstream,
    provider::now,
    raw,
    servers::{
        Fault, OAuthServer, SECRET, forty_two,
        github::team,
        header,
        openid::{GROUPS, TENANT, groups},
    },
};

/// A house with the case's provider alone, under the name `one`.
pub async fn house(case: &Case, allow: &str, more: &str) -> (House, Upstream) {
    let upstream = Upstream::start().await;
    let table = format!("{}{more}", case.table("one", allow));
    let plan = House::plan().upstream(&upstream).named("one", &table);
    (plan.start().await, upstream)
}

/// Ada signs in with a browser of her own.
async fn sign_in(house: &House) -> Reply {
    house.browser().follow("/page").await
}

/// Nobody is let in, and the page says so with a sentence and a way on.
fn assert_turned_away(reply: &Reply, upstream: &Upstream, what: &str) {
    let text = reply.text();
    assert!(
        reply.status.is_client_error() || reply.status.is_server_error(),
        "{what}: {} {text}",
        reply.status
    );
    assert!(
        reply.header("content-type").starts_with("text/html") && text.contains("<h1>"),
        "{what}: a page: {text}"
    );
    assert!(!reply.sets_session(), "{what}: no session");
    assert_eq!(upstream.count(), 0, "{what}: the app is not asked");
}

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
async fn every_request_names_its_agent_and_nothing_of_the_browsers() {
    for case in [
        cases::forty_two().await,
        cases::github().await,
        cases::facebook().await,
        cases::discord().await,
        cases::oauth2().await,
    ] {
        let (house, _upstream) = house(&case, "\"anyone\"", "").await;
        sign_in(&house).await.seen();
        for call in case.backend.plain().all_calls() {
            if call.path == case.authorize {
                continue;
            }
            let agent = header(&call, "user-agent");
            assert!(
                !agent.is_empty() && !agent.contains("Mozilla"),
                "{}: {call:?}",
                case.kind
            );
            for name in ["cookie", "origin", "referer", "x-forwarded-for"] {
                assert_eq!(header(&call, name), "", "{}: {name}", case.kind);
            }
        }
    }
}

#[tokio::test]
async fn a_lifetime_may_be_anything() {
    for case in [
        cases::forty_two().await,
        cases::github().await,
        cases::facebook().await,
        cases::discord().await,
        cases::oauth2().await,
    ] {
        let (house, _upstream) = house(&case, "\"anyone\"", "").await;
        for lifetime in [
            Value::Null,
            json!(5),
            json!(0),
            json!(3599.75),
            json!("3600"),
            json!("3600.5"),
            json!(1e300),
            json!(-1),
        ] {
            let server = case.backend.plain();
            let seen = Instant::now();
            server.set(|quirks| quirks.token = json!({ "expires_in": lifetime }));
            let reply = sign_in(&house).await;
            let text = reply.text();
            assert_eq!(
                reply.status,
                StatusCode::OK,
                "{} expires_in {lifetime}: {text}",
                case.kind
            );
            // A house of 42's keeps to two requests a second.
            assert!(seen.elapsed() < Duration::from_secs(4));
        }
    }
}

#[tokio::test]
async fn a_token_answer_must_have_a_token() {
    let case = cases::oauth2().await;
    let (house, upstream) = house(&case, "\"anyone\"", "").await;
    for token in [
        json!(""),
        Value::Null,
        json!(7),
        json!("a b"),
        json!("a\r\nx: y"),
    ] {
        let server = case.backend.plain();
        server.set(|quirks| quirks.token = json!({ "access_token": token }));
        let what = format!("access_token {token}");
        assert_turned_away(&sign_in(&house).await, &upstream, &what);
    }
}

#[tokio::test]
async fn the_type_of_a_token_is_written_in_any_case() {
    let case = cases::oauth2().await;
    let (house, _upstream) = house(&case, "\"anyone\"", "").await;
    for kind in ["bearer", "Bearer", "BEARER"] {
        let server = case.backend.plain();
        server.set(|quirks| quirks.token = json!({ "token_type": kind }));
        sign_in(&house).await.seen();
    }
}

#[tokio::test]
async fn too_many_requests_is_a_short_wait() {
    for retry_after in [None, Some("1")] {
        let case = cases::forty_two().await;
        let (house, _upstream) = house(&case, "{ campus = [\"Paris\"] }", "").await;
        let fault = match retry_after {
            Some(seconds) => forty_two::too_many().header("retry-after", seconds),
            None => forty_two::too_many(),
        };
        case.backend.plain().fault("/v2/me", 1, fault);
        let begin = Instant::now();
        let reply = sign_in(&house).await;
        assert_eq!(
            reply.status,
            StatusCode::OK,
            "{retry_after:?}: {}",
            reply.text()
        );
        assert!(begin.elapsed() < Duration::from_secs(6));
        assert_eq!(case.backend.calls("/oauth/token").len(), 1);
    }
}

#[tokio::test]
async fn too_many_requests_for_long_is_an_outage_and_nobodys_fault() {
    let case = cases::forty_two().await;
    let (house, upstream) = house(&case, "\"anyone\"", "").await;
    let fault = forty_two::too_many().header("retry-after", "3600");
    case.backend.plain().fault("/v2/me", 50, fault);
    let begin = Instant::now();
    let reply = sign_in(&house).await;
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "nobody waits an hour"
    );
    assert_turned_away(&reply, &upstream, "429");
    assert!(reply.status.is_server_error(), "{}", reply.status);
    let line = house.access_line("/oauth2/callback/one").await.to_string();
    assert!(line.contains("429"), "the log says why: {line}");
}

#[tokio::test]
async fn the_limit_of_forty_two_is_kept_by_all_logins_together() {
    let case = cases::forty_two().await;
    let (house, _upstream) = house(&case, "\"anyone\"", "").await;
    let server = case.backend.plain();
    server.set(|quirks| quirks.rate = Some(2));
    let logins = (0..6).map(|_| {
        let browser = house.browser();
        tokio::spawn(async move { browser.follow("/page").await.status })
    });
    let logins: Vec<_> = logins.collect();
    for login in logins {
        assert_eq!(login.await.expect("no panic"), StatusCode::OK);
    }
    assert_eq!(server.turned_away(), 0, "nobody asked too often");
}

#[tokio::test]
async fn a_secret_about_to_expire_is_told_in_the_log() {
    for (left, warns) in [(2 * 86_400, true), (27 * 86_400, false)] {
        let case = cases::forty_two().await;
        let (house, _upstream) = house(&case, "\"anyone\"", "").await;
        let server = case.backend.plain();
        server.set(|quirks| quirks.token = json!({ "secret_valid_until": now() + left }));
        sign_in(&house).await.seen();
        house.access_line("/page").await;
        let log = house.process.log();
        let line = log
            .lines()
            .find(|line| line.contains("WARN") && line.contains("secret"));
        assert_eq!(line.is_some(), warns, "{left} s left: {log}");
    }
    let case = cases::forty_two().await;
    let (house, _upstream) = house(&case, "\"anyone\"", "").await;
    for odd in [Value::Null, json!("soon"), json!(-5), json!(1e300)] {
        let server = case.backend.plain();
        server.set(|quirks| quirks.token = json!({ "secret_valid_until": odd }));
        sign_in(&house).await.seen();
    }
}

/// The case's table with these secrets instead of its own.
async fn with_secrets(case: &Case, secrets: &str) -> (House, Upstream) {
    let upstream = Upstream::start().await;
    let table = case.table("one", "\"anyone\"");
    let line = format!("client_secret = \"{SECRET}\"");
    assert!(table.contains(&line), "{table}");
    let table = table.replace(&line, &format!("client_secret = {secrets}"));
    let plan = House::plan().upstream(&upstream).named("one", &table);
    (plan.start().await, upstream)
}

#[tokio::test]
async fn of_two_secrets_the_second_is_tried_where_the_first_is_refused() {
    for case in [
        cases::forty_two().await,
        cases::github().await,
        cases::discord().await,
        cases::oauth2().await,
        cases::oidc().await,
        cases::google().await,
    ] {
        let secrets = format!("[\"canary-old-secret\", \"{SECRET}\"]");
        let (house, _upstream) = with_secrets(&case, &secrets).await;
        for _ in 0..2 {
            let reply = sign_in(&house).await;
            assert_eq!(
                reply.status,
                StatusCode::OK,
                "{}: {}",
                case.kind,
                reply.text()
            );
        }
        assert!(!house.process.log().contains("canary-old-secret"));
    }
}

#[tokio::test]
async fn no_good_secret_is_the_operators_fault() {
    for case in [
        cases::forty_two().await,
        cases::github().await,
        cases::oidc().await,
    ] {
        let (house, upstream) = with_secrets(&case, "[\"wrong-1\", \"wrong-2\"]").await;
        let reply = sign_in(&house).await;
        assert_turned_away(&reply, &upstream, case.kind);
        assert!(
            reply.status.is_server_error(),
            "{}: {}",
            case.kind,
            reply.status
        );
        let line = house.access_line("/oauth2/callback/one").await.to_string();
        assert!(
            line.contains("client"),
            "{}: the log names the fault: {line}",
            case.kind
        );
    }
}

#[tokio::test]
async fn facebooks_errors_are_objects() {
    let error = |code: u32, transient: bool| {
        json!({ "error": {
            "message": "It does not work: <script>", "type": "OAuthException", "code": code,
            "is_transient": transient, "fbtrace_id": "x",
        }})
    };
    let case = cases::facebook().await;
    let (house, upstream) = house(&case, "\"anyone\"", "").await;
    for (path, code) in [
        ("/v25.0/oauth/access_token", 100),
        ("/v25.0/oauth/access_token", 4),
        ("/v25.0/me", 190),
        ("/v25.0/me", 4),
        ("/v25.0/me", 2),
    ] {
        let fault = Fault::json(StatusCode::BAD_REQUEST, &error(code, code == 2));
        case.backend.plain().fault(path, 3, fault);
        let reply = sign_in(&house).await;
        assert_turned_away(&reply, &upstream, &format!("{path} {code}"));
        assert!(!reply.text().contains("<script>"));
        case.backend
            .plain()
            .fault(path, 0, Fault::text(StatusCode::OK, ""));
        settle(case.backend.plain(), path).await;
    }
    sign_in(&house).await.seen();
}

/// Uses up what is left of the faults at `path`.
async fn settle(server: &OAuthServer, path: &str) {
    for _ in 0..3 {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        raw::try_exchange(server.address, false, request.as_bytes())
            .await
            .expect("an answer");
    }
}

#[tokio::test]
async fn no_address_is_no_obstacle() {
    let case = cases::facebook().await;
    let (house, _upstream) = house(&case, "\"anyone\"", "").await;
    case.backend
        .plain()
        .change("/v25.0/me", &json!({ "email": null }));
    let seen = sign_in(&house).await.seen();
    assert_eq!(seen.header("x-user-id"), Some("one:10215000000000001"));
    assert_eq!(seen.header("x-user-email"), None);
}

#[tokio::test]
async fn a_large_answer_is_read_and_an_endless_one_is_not() {
    for (case, path) in [
        (cases::forty_two().await, "/v2/me"),
        (cases::oauth2().await, "/me"),
    ] {
        let (house, upstream) = house(&case, "\"anyone\"", "").await;
        let server = case.backend.plain();
        let project = json!({ "id": 1, "slug": "libft", "validated?": true, "final_mark": 125 });
        let projects = vec![project.clone(); 2_000];
        assert!(json!(projects).to_string().len() > 100_000);
        server.change(path, &json!({ "projects_users": projects }));
        let browser = house.browser();
        browser.follow("/page").await.seen();
        assert!(browser.cookies("/page").len() < 2_000, "none of it is kept");
        let before = upstream.count();
        let projects = vec![project; 20_000];
        assert!(json!(projects).to_string().len() > 1_048_576);
        server.change(path, &json!({ "projects_users": projects }));
        let reply = sign_in(&house).await;
        assert!(reply.status.is_server_error(), "{}", reply.status);
        assert_eq!(upstream.count(), before);
    }
}

#[tokio::test]
async fn an_answer_that_is_none_lets_nobody_in() {
    for (case, path) in [
        (cases::forty_two().await, "/v2/me"),
        (cases::github().await, "/user"),
        (cases::discord().await, "/api/v10/users/@me"),
        (cases::facebook().await, "/v25.0/me"),
        (cases::oauth2().await, "/me"),
    ] {
        let (house, upstream) = house(&case, "\"anyone\"", "").await;
        for fault in [
            Fault::json(StatusCode::NOT_FOUND, &json!({})),
            Fault::json(StatusCode::OK, &json!({})),
            Fault::json(StatusCode::OK, &json!([])),
            Fault::json(StatusCode::OK, &json!("ada")),
            Fault::text(StatusCode::OK, "<html>Just a moment…"),
            Fault::text(StatusCode::FORBIDDEN, ""),
            Fault::text(StatusCode::FOUND, "").header("location", "/elsewhere"),
            Fault::json(StatusCode::OK, &json!({ "error": "no", "message": "no" })),
        ] {
            let what = format!("{}: {fault:?}", case.kind);
            let server = case.backend.plain();
            server.fault(path, 1, fault);
            assert_turned_away(&sign_in(&house).await, &upstream, &what);
        }
        assert!(
            case.backend.calls("/elsewhere").is_empty(),
            "no redirect is followed"
        );
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

#[tokio::test]
async fn what_else_a_callback_carries_does_not_matter() {
    for case in [cases::forty_two().await, cases::facebook().await] {
        let (house, upstream) = house(&case, "\"anyone\"", "").await;
        let server = case.backend.plain();
        let more = ["session_state", "scope", "authuser", "client_info"];
        server.set(|quirks| quirks.response = more.map(|name| (name, "x".to_owned())).into());
        sign_in(&house).await.seen();
        let before = upstream.count();
        let denial = vec![
            ("error_reason", "user_denied"),
            ("error", "access_denied"),
            ("error_description", "Permissions <b>error"),
        ];
        server.set(|quirks| quirks.denial = Some(denial));
        let reply = sign_in(&house).await;
        assert!(reply.status.is_client_error(), "{}", reply.status);
        assert!(!reply.text().contains("<b>error"));
        assert_eq!(upstream.count(), before);
    }
}

#[tokio::test]
async fn a_cursus_counts_while_it_lasts() {
    let case = cases::forty_two().await;
    let (house, _upstream) = house(&case, "{ cursus = [\"42cursus\"] }", "").await;
    let cursus = |end: Value, blackholed: Value| {
        json!({ "cursus_users": [{
            "id": 1, "end_at": end, "blackholed_at": blackholed, "cursus_id": 21, "level": 9.23,
            "cursus": { "id": 21, "name": "42cursus", "slug": "42cursus", "kind": "main" },
        }]})
    };
    let (past, future) = ("2021-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z");
    for (end, blackholed, passes) in [
        (Value::Null, Value::Null, true),
        (json!(future), json!(future), true),
        (json!(past), Value::Null, false),
        (Value::Null, json!(past), false),
    ] {
        let server = case.backend.plain();
        server.change("/v2/me", &cursus(end.clone(), blackholed.clone()));
        let reply = sign_in(&house).await;
        assert_eq!(
            reply.status == StatusCode::OK,
            passes,
            "ends {end}, blackholed {blackholed}: {}",
            reply.status
        );
    }
}

#[tokio::test]
async fn a_token_of_another_tenant_is_no_token() {
    let case = cases::microsoft().await;
    let (house, upstream) = house(&case, "\"anyone\"", "").await;
    let provider = case.backend.openid();
    let root = provider.issuer();
    let good = provider_iss(&root, TENANT);
    for (iss, tid) in [
        (
            provider_iss(&root, "9188040d-6c67-4c5b-b112-36a304b66dad"),
            None,
        ),
        (provider_iss(&root, "organizations"), None),
        (
            provider_iss(&root, "x/../organizations"),
            Some(json!("x/../organizations")),
        ),
        (
            good.clone(),
            Some(json!("9188040d-6c67-4c5b-b112-36a304b66dad")),
        ),
        (good.clone(), Some(Value::Null)),
        (good.clone(), Some(json!(7))),
        // What the document says is no issuer, but the place of one.
        (provider_iss(&root, "{tenantid}"), None),
        (provider_iss(&root, "{tenantid}"), Some(json!("{tenantid}"))),
    ] {
        let mut overlay = json!({ "iss": iss });
        if let Some(tid) = &tid {
            overlay["tid"] = tid.clone();
        }
        let what = format!("{overlay}");
        provider.set(|behaviour| behaviour.id_token = overlay);
        assert_turned_away(&sign_in(&house).await, &upstream, &what);
    }
    provider.set(|behaviour| behaviour.id_token = json!({ "iss": good }));
    sign_in(&house).await.seen();
}

fn provider_iss(root: &str, tenant: &str) -> String {
    format!("{root}/{tenant}/v2.0")
}

#[tokio::test]
async fn groups_that_do_not_fit_are_not_had() {
    let case = cases::microsoft().await;
    let allow = case.allow("groups", "[\"6d4f0b9e-1f2c-4a77-8f7e-0a4f2d6c9b01\"]");
    let (house, upstream) = house(&case, &allow, "").await;
    let provider = case.backend.openid();
    provider.user("groups", Value::Null);
    provider.user("_claim_names", json!({ "groups": "src1" }));
    let endpoint = format!("{}/graph.windows.net", provider.issuer());
    provider.user(
        "_claim_sources",
        json!({ "src1": { "endpoint": endpoint } }),
    );
    assert_turned_away(&sign_in(&house).await, &upstream, "group overage");
    assert!(
        provider.calls("/graph.windows.net").is_empty(),
        "nobody follows it"
    );
    let line = house.access_line("/oauth2/callback/one").await.to_string();
    assert!(line.contains("groups"), "{line}");
}

#[tokio::test]
async fn a_hosted_domain_is_a_claim_and_not_the_end_of_an_address() {
    let case = cases::google().await;
    let (house, upstream) = house(&case, "{ hosted_domains = [\"example.com\"] }", "").await;
    let provider = case.backend.openid();
    for domain in [
        Value::Null,
        json!("example.org"),
        json!("sub.example.com"),
        json!(""),
        json!(["example.com"]),
        json!(true),
    ] {
        provider.user("hd", domain.clone());
        assert_turned_away(&sign_in(&house).await, &upstream, &format!("hd {domain}"));
    }
    provider.user("hd", json!("example.com"));
    sign_in(&house).await.seen();
}

#[tokio::test]
async fn another_issuer_is_not_google() {
    let case = cases::google().await;
    let (house, upstream) = house(&case, "\"anyone\"", "").await;
    let provider = case.backend.openid();
    for issuer in [
        "https://accounts.google.com.evil.example".to_owned(),
        "accounts.google.com".to_owned(),
        provider.address.to_string(),
        format!("{}/", provider.issuer()),
    ] {
        provider.set(|behaviour| behaviour.id_token = json!({ "iss": issuer }));
        assert_turned_away(&sign_in(&house).await, &upstream, &issuer);
    }
}

#[tokio::test]
async fn googles_groups_are_asked_for_in_the_persons_name() {
    let case = cases::google().await;
    let (house, upstream) = house(&case, "{ groups = [\"eng@example.com\"] }", "").await;
    let provider = case.backend.openid();
    sign_in(&house).await.seen();
    let scope = provider.calls("/authorize")[0].fields["scope"].clone();
    assert!(scope.contains("cloud-identity.groups.readonly"), "{scope}");
    let call = &provider.calls(GROUPS)[0];
    assert!(call.fields["query"].contains("member_key_id == 'ada@example.com'"));
    // Whoever has no domain, or an address that would end the quotes, has no groups.
    let before = upstream.count();
    for (claim, value) in [
        ("hd", Value::Null),
        ("email", json!("ada'||true||'@example.com")),
        ("email_verified", json!(false)),
    ] {
        let asked = provider.calls(GROUPS).len();
        let good = {
            let mut good = Value::Null;
            provider.set(|behaviour| good = behaviour.user[claim].clone());
            good
        };
        provider.user(claim, value);
        let status = sign_in(&house).await.status;
        assert_eq!(status, StatusCode::FORBIDDEN, "{claim}");
        assert_eq!(
            provider.calls(GROUPS).len(),
            asked,
            "{claim}: nobody is asked for"
        );
        provider.user(claim, good);
    }
    // Pages without end, and an edition that has none.
    let asked = provider.calls(GROUPS).len();
    let mut page = groups(&["all@example.com"]);
    page["nextPageToken"] = json!("again");
    provider.set(|behaviour| drop(behaviour.pages.insert(GROUPS.to_owned(), page)));
    let begin = Instant::now();
    assert_ne!(sign_in(&house).await.status, StatusCode::OK);
    assert!(begin.elapsed() < Duration::from_secs(15));
    assert!(provider.calls(GROUPS).len() - asked <= 100);
    provider.set(|behaviour| behaviour.pages.clear());
    assert_ne!(sign_in(&house).await.status, StatusCode::OK);
    assert_eq!(upstream.count(), before);
}
