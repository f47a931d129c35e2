//! What the plain OAuth 2.0 servers do in their own ways, and what they do on a bad day.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    assert_turned_away,
    cases::{self, Case},
    house, sign_in,
};
use crate::support::{
    House, Reply, Upstream,
    provider::now,
    raw,
    servers::{Fault, OAuthServer, SECRET, forty_two, header},
};

/// One of each kind that speaks plain OAuth 2.0.
async fn plain_cases() -> [Case; 5] {
    [
        cases::forty_two().await,
        cases::github().await,
        cases::facebook().await,
        cases::discord().await,
        cases::oauth2().await,
    ]
}

/// A house that anyone of the case's provider may enter.
async fn open_house(case: &Case) -> (House, Upstream) {
    house(case, "\"anyone\"", "").await
}

fn assert_let_in(reply: &Reply, what: &str) {
    assert_eq!(reply.status, StatusCode::OK, "{what}: {}", reply.text());
}

/// Nobody is let in, it is not the person's fault, and the log has the `reason`.
async fn assert_outage(house: &House, upstream: &Upstream, reply: &Reply, reason: &str) {
    assert_turned_away(reply, upstream, reason);
    assert!(reply.status.is_server_error(), "{}", reply.status);
    let line = house.access_line("/oauth2/callback/one").await.to_string();
    assert!(line.contains(reason), "the log says why: {line}");
}

#[tokio::test]
async fn every_request_names_its_agent_and_nothing_of_the_browsers() {
    for case in plain_cases().await {
        let (house, _upstream) = open_house(&case).await;
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
    for case in plain_cases().await {
        let (house, _upstream) = open_house(&case).await;
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
            assert_let_in(&reply, &format!("{} expires_in {lifetime}", case.kind));
            // A house of 42's keeps to two requests a second.
            assert!(seen.elapsed() < Duration::from_secs(4));
        }
    }
}

#[tokio::test]
async fn a_token_answer_must_have_a_token() {
    let case = cases::oauth2().await;
    let (house, upstream) = open_house(&case).await;
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
    let (house, _upstream) = open_house(&case).await;
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
        assert_let_in(&reply, &format!("{retry_after:?}"));
        assert!(begin.elapsed() < Duration::from_secs(6));
        assert_eq!(case.backend.calls("/oauth/token").len(), 1);
    }
}

#[tokio::test]
async fn too_many_requests_for_long_is_an_outage_and_nobodys_fault() {
    let case = cases::forty_two().await;
    let (house, upstream) = open_house(&case).await;
    let fault = forty_two::too_many().header("retry-after", "3600");
    case.backend.plain().fault("/v2/me", 50, fault);
    let begin = Instant::now();
    let reply = sign_in(&house).await;
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "nobody waits an hour"
    );
    assert_outage(&house, &upstream, &reply, "429").await;
}

#[tokio::test]
async fn the_limit_of_forty_two_is_kept_by_all_logins_together() {
    let case = cases::forty_two().await;
    let (house, _upstream) = open_house(&case).await;
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
        let (house, _upstream) = open_house(&case).await;
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
    let (house, _upstream) = open_house(&case).await;
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
            assert_let_in(&sign_in(&house).await, case.kind);
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
        assert_outage(&house, &upstream, &reply, "client").await;
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
    let (house, upstream) = open_house(&case).await;
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
    let (house, _upstream) = open_house(&case).await;
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
        let (house, upstream) = open_house(&case).await;
        let server = case.backend.plain();
        let project = json!({ "id": 1, "slug": "libft", "validated?": true, "final_mark": 125 });
        let projects = vec![project.clone(); 2_000];
        assert!(json!(projects).to_string().len() > 100_000);
        server.change(path, &json!({ "projects_users": projects }));
        let browser = house.browser();
        browser.follow("/page").await.seen();
        assert!(browser.cookies("/page").len() < 2_000, "none of it is kept");
        let before = upstream.count();
        let projects = vec![project; 40_000];
        assert!(json!(projects).to_string().len() > 2_097_152);
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
        let (house, upstream) = open_house(&case).await;
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
async fn what_else_a_callback_carries_does_not_matter() {
    for case in [cases::forty_two().await, cases::facebook().await] {
        let (house, upstream) = open_house(&case).await;
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
