//! Tokens that nobody but the provider can judge (RFC 7662).

mod npm;
mod toolkit;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    House, Reply, ScriptedProvider, Upstream,
    provider::{CLIENT_ID, CLIENT_SECRET, now},
    standard_with,
};

const BEARER: &str = "bearer = { introspect = true, clients = [\"cli\"] }";

async fn gate_with(line: &str) -> (House, Upstream, ScriptedProvider) {
    standard_with(|plan| plan.provider_line(line).route("/api/**", "api")).await
}

/// What the provider says of a good token of a user.
fn active(subject: &str) -> Value {
    json!({ "active": true, "sub": subject, "client_id": "cli", "scope": "read", "exp": now() + 600, "token_type": "Bearer" })
}

fn knows(provider: &ScriptedProvider, token: &str, answer: &Value) {
    provider.set(|behaviour| {
        let tokens = &mut behaviour.introspection;
        tokens.insert(token.to_owned(), answer.clone());
    });
}

async fn ask(house: &House, token: &str) -> Reply {
    let browser = house.browser();
    let request = browser.bare(Method::GET, "/api/x");
    let authorization = format!("Bearer {token}");
    request.header("authorization", &authorization).send().await
}

fn calls(provider: &ScriptedProvider) -> usize {
    provider.calls("/introspect").len()
}

#[tokio::test]
async fn the_provider_is_asked_once_and_says_who_it_is() {
    let (house, _upstream, provider) = gate_with(BEARER).await;
    let subject = provider.behaviour().user["sub"]
        .as_str()
        .expect("text")
        .to_owned();
    knows(&provider, "opaque-1", &active(&subject));
    let browser = house.browser();
    browser.sign_in("/").await;
    let by_session = browser.get("/page").await.seen();
    for _ in 0..3 {
        let seen = ask(&house, "opaque-1").await.seen();
        assert_eq!(seen.header("x-user-id"), by_session.header("x-user-id"));
        assert_eq!(seen.header("x-user-auth"), Some("bearer"));
        assert_eq!(seen.header("x-user-scopes"), Some("read"));
        assert_eq!(seen.header("x-user-client"), Some("cli"));
        assert_eq!(seen.header("authorization"), None);
    }
    let calls = provider.calls("/introspect");
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].fields["token"], "opaque-1");
    assert_eq!(calls[0].fields["token_type_hint"], "access_token");
    let basic = {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        format!(
            "Basic {}",
            STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"))
        )
    };
    assert_eq!(calls[0].headers["authorization"], basic.as_str());
}

#[tokio::test]
async fn j11_what_is_no_yes_is_refused() {
    let (house, upstream, provider) = gate_with(BEARER).await;
    let good = active("1");
    for (number, changes) in [
        json!({ "active": false }),
        json!({ "active": null }),
        json!({ "active": "true" }),
        json!({ "token_use": "refresh_token" }),
        json!({ "token_type": "refresh_token" }),
        json!({ "client_id": "another" }),
        json!({ "client_id": null }),
        json!({ "aud": "another" }),
        json!({ "exp": now() - 120 }),
        json!({ "iss": "https://evil.example" }),
        json!({ "cnf": { "jkt": "x" } }),
    ]
    .iter()
    .enumerate()
    {
        let mut answer = good.clone();
        crate::support::provider::lay_over(&mut answer, changes);
        let token = format!("bad-{number}");
        knows(&provider, &token, &answer);
        let reply = ask(&house, &token).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{changes}");
        let challenge = reply.header("www-authenticate");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    provider.set(|behaviour| behaviour.introspection_says = Some((200, "<html>".to_owned())));
    let reply = ask(&house, "html").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(upstream.count(), 0);
}

/// A good token of somebody who is nobody here costs no more than a bad one.
#[tokio::test]
async fn what_was_refused_behind_a_good_answer_is_remembered() {
    let (house, upstream, provider) = gate_with(BEARER).await;
    let mut answer = active("1");
    let members = answer.as_object_mut().expect("an object");
    members.remove("sub");
    members.insert("username".to_owned(), json!("ada"));
    provider.set(|behaviour| behaviour.userinfo = json!({ "sub": null }));
    for (number, token) in ["opaque-1", "opaque-2"].into_iter().enumerate() {
        knows(&provider, token, &answer);
        for _ in 0..3 {
            let status = ask(&house, token).await.status;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(calls(&provider), number + 1);
        assert_eq!(provider.calls("/userinfo").len(), number + 1);
    }
    assert_eq!(upstream.count(), 0);
}

/// RFC 9701: where the provider has to sign, nothing else is believed.
#[tokio::test]
async fn an_answer_that_is_not_signed_is_none_where_it_has_to_be() {
    let line = "bearer = { introspect = true, clients = [\"cli\"], signed_answers = true }";
    let (house, upstream, provider) = gate_with(line).await;
    knows(&provider, "opaque-1", &active("1"));
    let reply = ask(&house, "opaque-1").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_ne!(reply.header("retry-after"), "");
    assert_eq!(upstream.count(), 0);
    let asked = &provider.calls("/introspect")[0];
    assert_eq!(
        asked.headers["accept"],
        "application/token-introspection+jwt"
    );
    let line = house.access_line("/api/x").await.to_string();
    assert!(
        line.contains("the answer is not signed (RFC 9701)"),
        "{line}"
    );
}

#[tokio::test]
async fn j11_what_cannot_be_found_out_is_no_bad_token() {
    let (house, upstream, provider) = gate_with(BEARER).await;
    for status in [429, 500, 503, 401, 302] {
        let says = Some((status, "not now".to_owned()));
        provider.set(|behaviour| behaviour.introspection_says = says);
        let reply = ask(&house, "opaque").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{status}");
        assert!(!reply.header("retry-after").is_empty());
    }
    provider.server.down();
    let reply = ask(&house, "opaque").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    provider.server.up().await;
    // It was no answer, so none is kept.
    provider.set(|behaviour| behaviour.introspection_says = None);
    knows(&provider, "opaque", &active("1"));
    assert_eq!(ask(&house, "opaque").await.status, StatusCode::OK);
    assert_eq!(upstream.count(), 1);
}

/// Who waits is told in the end, and soon enough to be tried again.
#[tokio::test]
async fn j11_a_provider_that_stalls_holds_nobody_for_long() {
    let (house, upstream, provider) = gate_with(BEARER).await;
    knows(&provider, "opaque", &active("1"));
    let ever = Duration::from_hours(1);
    provider.set(|behaviour| behaviour.introspection_takes = ever);
    let began = Instant::now();
    let all = (0..20).map(|_| ask(&house, "opaque"));
    for reply in join_all(all).await {
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!reply.header("retry-after").is_empty());
    }
    assert!(began.elapsed() < Duration::from_mins(1));
    assert_eq!(upstream.count(), 0);
    provider.set(|behaviour| behaviour.introspection_takes = Duration::ZERO);
    assert_eq!(ask(&house, "opaque").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_client_proves_itself_as_it_does_at_a_login() {
    let lines = format!("client_auth = \"post\"\n{BEARER}");
    let (house, _upstream, provider) = gate_with(&lines).await;
    knows(&provider, "opaque", &active("1"));
    assert_eq!(ask(&house, "opaque").await.status, StatusCode::OK);
    let call = &provider.calls("/introspect")[0];
    assert_eq!(call.fields["client_id"], CLIENT_ID);
    assert_eq!(call.fields["client_secret"], CLIENT_SECRET);
    assert!(!call.headers.contains_key("authorization"));
}

#[tokio::test]
async fn scopes_and_lists_count_as_for_other_tokens() {
    let (house, _upstream, provider) = standard_with(|plan| {
        plan.provider_line(BEARER).tables(
            "[[routes]]\npath = \"/api/write/**\"\naccess = \"api\"\nallow = { scopes = [\"write\"] }\n\
             [[routes]]\npath = \"/api/**\"\naccess = \"api\"\nallow = { scopes = [\"read\"] }\n",
        )
    })
    .await;
    knows(&provider, "reads", &active("1"));
    assert_eq!(ask(&house, "reads").await.status, StatusCode::OK);
    let browser = house.browser();
    let request = browser.bare(Method::GET, "/api/write/x");
    let request = request.header("authorization", "Bearer reads");
    let reply = request.send().await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    let challenge = reply.header("www-authenticate");
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
    assert!(challenge.contains("write"), "{challenge}");
}

/// A signed token of this issuer is asked about as well: its signature would not tell that it was taken back. One of
/// another issuer is nobody's, and is shown to nobody.
#[tokio::test]
async fn a_signed_token_is_asked_about_too_and_shown_to_its_issuer_alone() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let (house, _upstream, provider) = gate_with(BEARER).await;
    let signed = |issuer: &str| {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(json!({ "alg": "ES256", "typ": "at+jwt" }));
        format!("{head}.{}.c2ln", part(json!({ "iss": issuer, "sub": "1" })))
    };
    let own = signed(&provider.issuer());
    knows(&provider, &own, &active("1"));
    assert_eq!(ask(&house, &own).await.status, StatusCode::OK);
    assert_eq!(calls(&provider), 1);
    let other = signed("https://other.example");
    assert_eq!(ask(&house, &other).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(calls(&provider), 1);
}

#[tokio::test]
async fn a_storm_of_one_new_token_is_one_call() {
    let (house, _upstream, provider) = gate_with(BEARER).await;
    knows(&provider, "opaque", &active("1"));
    let slow = Duration::from_millis(400);
    provider.set(|behaviour| behaviour.introspection_takes = slow);
    let all = (0..500).map(|_| ask(&house, "opaque"));
    for reply in join_all(all).await {
        assert_eq!(reply.status, StatusCode::OK);
    }
    assert_eq!(calls(&provider), 1);
}

#[tokio::test]
async fn j13_what_was_taken_back_is_refused_after_the_caches_time() {
    let line = "bearer = { introspect = true, clients = [\"cli\"], token_cache = \"1s\" }";
    let (house, _upstream, provider) = gate_with(line).await;
    knows(&provider, "opaque", &active("1"));
    assert_eq!(ask(&house, "opaque").await.status, StatusCode::OK);
    knows(&provider, "opaque", &json!({ "active": false }));
    let taken_back = Instant::now();
    while ask(&house, "opaque").await.status == StatusCode::OK {
        assert!(taken_back.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let reply = ask(&house, "opaque").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn nothing_is_kept_beyond_the_tokens_end() {
    let line = "bearer = { introspect = true, clients = [\"cli\"], token_cache = \"1h\" }";
    let (house, _upstream, provider) = gate_with(line).await;
    let mut answer = active("1");
    answer["exp"] = json!(now() + 2);
    knows(&provider, "opaque", &answer);
    assert_eq!(ask(&house, "opaque").await.status, StatusCode::OK);
    knows(&provider, "opaque", &json!({ "active": false }));
    let began = Instant::now();
    while ask(&house, "opaque").await.status == StatusCode::OK {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(calls(&provider), 2);
}

#[tokio::test]
async fn a_no_stands_for_a_moment() {
    let (house, _upstream, provider) = gate_with(BEARER).await;
    for _ in 0..3 {
        let reply = ask(&house, "nobodys").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    }
    assert!(calls(&provider) <= 2, "{} calls", calls(&provider));
}

#[tokio::test]
async fn connections_are_used_again() {
    let (house, _upstream, provider) = gate_with(BEARER).await;
    for number in 0..20 {
        let token = format!("opaque-{number}");
        knows(&provider, &token, &active("1"));
        assert_eq!(ask(&house, &token).await.status, StatusCode::OK);
        if number == 10 {
            // What the provider closes meanwhile is no failure.
            provider.server.restart().await;
        }
    }
    assert_eq!(calls(&provider), 20);
    // Discovery has its own.
    let connections = provider.server.connections();
    assert!(connections <= 8, "{connections} connections");
}

#[tokio::test]
async fn j12_nobody_is_taken_for_another() {
    let (house, _upstream, provider) = gate_with(BEARER).await;
    for user in ["ada", "bob", "eve"] {
        knows(&provider, &format!("of-{user}"), &active(user));
    }
    let house = &house;
    let all = (0..150).map(|number| async move {
        let user = ["ada", "bob", "eve"][number % 3];
        let seen = ask(house, &format!("of-{user}")).await.seen();
        assert_eq!(seen.header("x-user-id"), Some(&*format!("script:{user}")));
    });
    join_all(all).await;
}

#[tokio::test]
async fn who_tries_many_is_stopped_and_nobody_else_is() {
    let (house, _upstream, provider) = standard_with(|plan| {
        plan.provider_line(BEARER)
            .top("trusted_proxies = [\"127.0.0.1\"]")
            .route("/api/**", "api")
    })
    .await;
    let from = async |client: &str, token: &str| {
        let browser = house.browser();
        let request = browser.bare(Method::GET, "/api/x");
        let request = request.header("x-forwarded-for", client);
        let authorization = format!("Bearer {token}");
        request.header("authorization", &authorization).send().await
    };
    knows(&provider, "good", &active("1"));
    assert_eq!(from("203.0.113.7", "good").await.status, StatusCode::OK);
    let mut last = StatusCode::UNAUTHORIZED;
    for number in 0..200 {
        last = from("203.0.113.7", &format!("guess-{number}")).await.status;
        if last != StatusCode::UNAUTHORIZED {
            break;
        }
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    assert!(calls(&provider) < 100);
    assert_eq!(from("203.0.113.7", "good").await.status, StatusCode::OK);
    knows(&provider, "another", &active("2"));
    assert_eq!(from("203.0.113.8", "another").await.status, StatusCode::OK);
}

/// A client that goes away before the provider has answered has not guessed where its token was good.
#[tokio::test]
async fn a_good_token_counts_for_nothing_though_its_client_goes() {
    let (house, _upstream, provider) = standard_with(|plan| {
        plan.provider_line(BEARER)
            .top("trusted_proxies = [\"127.0.0.1\"]")
            .route("/api/**", "api")
    })
    .await;
    let ask = async |token: &str| {
        let browser = house.browser();
        let request = browser.bare(Method::GET, "/api/x");
        let request = request.header("x-forwarded-for", "203.0.113.7");
        let authorization = format!("Bearer {token}");
        request.header("authorization", &authorization).send().await
    };
    for number in 0..60 {
        knows(&provider, &format!("good-{number}"), &active("1"));
    }
    let slow = Duration::from_secs(1);
    provider.set(|behaviour| behaviour.introspection_takes = slow);
    for round in 0..3 {
        let before = calls(&provider);
        let all = (0..18).map(async |number| ask(&format!("good-{}", round * 18 + number)).await);
        let are_asked = async {
            while calls(&provider) < before + 18 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            answers = join_all(all) => panic!("{:?}", answers.last().map(|reply| reply.status)),
            () = are_asked => {}
        }
        // They are gone, and the provider has answered.
        tokio::time::sleep(slow * 3).await;
    }
    assert_eq!(ask("good-59").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_stands_for_itself_and_is_no_person() {
    let (house, _upstream, provider) = gate_with(BEARER).await;
    let answer = json!({ "active": true, "client_id": "cli", "scope": "jobs", "exp": now() + 60 });
    knows(&provider, "machine", &answer);
    let seen = ask(&house, "machine").await.seen();
    assert_eq!(seen.header("x-user-id"), Some("script:client:cli"));
    assert_eq!(provider.calls("/userinfo").len(), 0);
}

/// django-oauth-toolkit says `username`, and no `sub`.
#[tokio::test]
async fn where_the_answer_names_no_subject_userinfo_does() {
    let (house, _upstream, provider) = gate_with(BEARER).await;
    let answer = json!({ "active": true, "client_id": "cli", "username": "ada", "scope": "openid", "exp": now() + 60 });
    knows(&provider, "opaque", &answer);
    let seen = ask(&house, "opaque").await.seen();
    let subject = provider.behaviour().user["sub"].clone();
    let id = format!("script:{}", subject.as_str().expect("text"));
    assert_eq!(seen.header("x-user-id"), Some(&*id));
    // Nobody is known by a name that another may have for an id.
    provider.set(|behaviour| behaviour.userinfo_refuses = Some(403));
    knows(&provider, "other", &answer);
    assert_eq!(ask(&house, "other").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_server_without_openid_is_asked_too() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let root = provider.issuer();
    let table = format!(
        "type = \"oauth2\"\nauthorize_url = \"{root}/authorize\"\ntoken_url = \"{root}/token\"\n\
         userinfo_url = \"{root}/userinfo\"\nintrospection_url = \"{root}/introspect\"\n\
         client_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\nallow = \"anyone\"\n\
         claims = {{ subject = \"sub\" }}\nbearer = {{ introspect = true, clients = [\"cli\"] }}"
    );
    let house = House::plan()
        .upstream(&upstream)
        .tables(&format!("[providers.plain]\n{table}"))
        .route("/api/**", "api")
        .start()
        .await;
    let answer = json!({ "active": true, "client_id": "cli", "username": "ada", "scope": "read" });
    knows(&provider, "opaque", &answer);
    let seen = ask(&house, "opaque").await.seen();
    let subject = provider.behaviour().user["sub"].clone();
    let id = format!("plain:{}", subject.as_str().expect("text"));
    assert_eq!(seen.header("x-user-id"), Some(&*id));
    let machine = json!({ "active": true, "client_id": "cli", "scope": "jobs" });
    knows(&provider, "machine", &machine);
    let seen = ask(&house, "machine").await.seen();
    assert_eq!(seen.header("x-user-id"), Some("plain:client:cli"));
    assert_eq!(ask(&house, "none").await.status, StatusCode::UNAUTHORIZED);
}
