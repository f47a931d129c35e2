//! A token from server to server (OpenID Connect Back-Channel Logout 1.0) ends sessions here.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{signed_in, status};
use crate::{
    live,
    support::{
        House, Reply, ScriptedProvider, Upstream,
        keys::{self, Signing},
        node_provider,
        provider::{CLIENT_ID, CLIENT_SECRET, lay_over, now},
        redis::RedisServer,
        standard_with, websocket,
    },
};

const ENDPOINT: &str = "/oauth2/backchannel_logout/script";
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A logout token, `changes` laid over it.
pub fn token(provider: &ScriptedProvider, changes: &Value, signing: Signing) -> String {
    let id = format!("{:?}", Instant::now());
    let mut claims = json!({
        "iss": provider.issuer(), "aud": CLIENT_ID, "iat": now(), "exp": now() + 120, "jti": id,
        "events": { EVENT: {} },
    });
    lay_over(&mut claims, changes);
    keys::id_token(&claims, signing, CLIENT_SECRET)
}

pub async fn tell(house: &House, form: &str) -> Reply {
    tell_from(house, "127.0.0.1", form).await
}

/// From an address, as a trusted proxy says it.
async fn tell_from(house: &House, address: &str, form: &str) -> Reply {
    // A server: no cookies, no Fetch Metadata.
    let ask = house.browser();
    let ask = ask.bare(Method::POST, ENDPOINT);
    let ask = ask.header("content-type", "application/x-www-form-urlencoded");
    let ask = ask.header("x-forwarded-for", address);
    let reply = ask.body(form.to_owned()).send().await;
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.set_cookies(), Vec::<String>::new());
    reply
}

#[tokio::test]
async fn a_logout_token_ends_a_session_or_all_of_a_users() {
    for store in ["cookie", "memory"] {
        let (house, _upstream, provider) =
            standard_with(|plan| plan.session(&format!("store = \"{store}\""))).await;
        let ada = signed_in(&house, &provider, "ada", "s-1").await;
        let again = signed_in(&house, &provider, "ada", "s-2").await;
        let bob = signed_in(&house, &provider, "bob", "s-3").await;
        let opened = websocket::open(&house, &ada, "/ws", &[]).await;
        let (mut socket, _) = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
        websocket::expect_echo(&mut socket, "hello").await;

        let unknown = token(&provider, &json!({ "sid": "s-0" }), Signing::First);
        let reply = tell(&house, &format!("logout_token={unknown}")).await;
        assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, ""));
        assert_eq!(status(&ada).await, StatusCode::OK);

        let one = token(
            &provider,
            &json!({ "sid": "s-1", "sub": "ada" }),
            Signing::First,
        );
        let form = format!("logout_token={one}");
        assert_eq!(tell(&house, &form).await.status, StatusCode::OK);
        assert_eq!(status(&ada).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(&again).await, StatusCode::OK);
        live::closed(&mut socket).await;

        let all = token(&provider, &json!({ "sub": "ada" }), Signing::Elliptic);
        let form = format!("logout_token={all}");
        assert_eq!(tell(&house, &form).await.status, StatusCode::OK);
        assert_eq!(status(&again).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(&bob).await, StatusCode::OK);

        // Who signs in again is in, and the old token, seen by somebody, does not end that.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let back = signed_in(&house, &provider, "ada", "s-4").await;
        let reply = tell(&house, &form).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert_eq!(status(&back).await, StatusCode::OK);
    }
}

/// A session whose ID token named no `sid` may rest on any of the user's at the provider: the end of one is its end.
#[tokio::test]
async fn a_logout_token_of_one_session_ends_those_that_name_none() {
    for store in ["cookie", "memory"] {
        let (house, _upstream, provider) =
            standard_with(|plan| plan.session(&format!("store = \"{store}\""))).await;
        let named = signed_in(&house, &provider, "ada", "s-1").await;
        provider.set(|behaviour| behaviour.id_token = json!({}));
        let unnamed = house.browser();
        unnamed.sign_in("/").await;
        provider.user("sub", json!("bob"));
        let bob = house.browser();
        bob.sign_in("/").await;

        // Whose it is, it does not say.
        let by_sid = token(&provider, &json!({ "sid": "s-2" }), Signing::First);
        let reply = tell(&house, &format!("logout_token={by_sid}")).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(status(&unnamed).await, StatusCode::OK, "{store}");

        let of_ada = json!({ "sid": "s-2", "sub": "ada" });
        let of_ada = token(&provider, &of_ada, Signing::First);
        let reply = tell(&house, &format!("logout_token={of_ada}")).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(status(&unnamed).await, StatusCode::UNAUTHORIZED, "{store}");
        assert_eq!(status(&named).await, StatusCode::OK, "{store}: another one");
        assert_eq!(status(&bob).await, StatusCode::OK, "{store}: somebody else");
    }
}

/// Whoever has seen a token, and brings it to a replica that has not, ends nothing that began well after it.
#[tokio::test]
async fn a_logout_token_that_comes_late_ends_what_was_there_when_it_was_made() {
    let (house, _upstream, provider) = standard_with(|plan| plan).await;
    let ada = signed_in(&house, &provider, "ada", "s-1").await;
    for claims in [
        json!({ "sub": "ada" }),
        json!({ "sub": "ada", "sid": "s-1" }),
    ] {
        let mut changes = claims.clone();
        changes["iat"] = json!(now() - 90);
        let late = token(&provider, &changes, Signing::First);
        let reply = tell(&house, &format!("logout_token={late}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{claims}");
        assert_eq!(status(&ada).await, StatusCode::OK, "{claims}");
    }
    let prompt = token(&provider, &json!({ "sub": "ada" }), Signing::First);
    let reply = tell(&house, &format!("logout_token={prompt}")).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(status(&ada).await, StatusCode::UNAUTHORIZED);
}

/// Whoever has seen a token, and brings it to a replica that has not, ends nothing that began just after it, either.
#[tokio::test]
async fn a_logout_token_counts_once_at_all_replicas() {
    let redis = RedisServer::start().await;
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let replica = || {
        let plan = House::plan().upstream(&upstream).provider(&provider);
        let plan = plan.public_url("http://app.test");
        let plan = plan.session(&format!("shared = \"{}\"", redis.url()));
        plan.secret("\"b25lIHNlY3JldCBvZiBhbGwgcmVwbGljYXMgYXQgb25jZQ\"")
            .start()
    };
    let [one, other] = [replica().await, replica().await];
    let ada = signed_in(&one, &provider, "ada", "s-1").await;
    let all = token(&provider, &json!({ "sub": "ada" }), Signing::First);
    let form = format!("logout_token={all}");
    assert_eq!(tell(&one, &form).await.status, StatusCode::OK);
    assert_eq!(status(&ada).await, StatusCode::UNAUTHORIZED);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let back = signed_in(&other, &provider, "ada", "s-2").await;
    for house in [&other, &one] {
        assert_eq!(tell(house, &form).await.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(status(&back).await, StatusCode::OK);
    // Redis being away keeps no sign-out from being heard.
    drop(redis);
    let again = token(&provider, &json!({ "sub": "ada" }), Signing::First);
    let reply = tell(&other, &format!("logout_token={again}")).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(status(&back).await, StatusCode::UNAUTHORIZED);
}

/// What others bring from the provider's address, as behind one proxy, is not its to pay for.
#[tokio::test]
async fn bad_tokens_keep_no_good_one_from_being_heard() {
    let (house, _upstream, provider) =
        standard_with(|plan| plan.top("trusted_proxies = [\"127.0.0.1\"]")).await;
    let ada = signed_in(&house, &provider, "ada", "s-1").await;
    let held_up = async |address: &str, form: &str| {
        for _ in 0..200 {
            match tell_from(&house, address, form).await.status {
                StatusCode::BAD_REQUEST => {}
                other => return other,
            }
        }
        panic!("nobody is held up");
    };
    let refused = held_up("203.0.113.7", "logout_token=a.b.c").await;
    assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
    // Nor is the provider called for others.
    let unknown = token(&provider, &json!({ "sub": "ada" }), Signing::UnknownKid);
    let calls = provider.calls("/jwks").len();
    let reply = tell_from(&house, "203.0.113.7", &format!("logout_token={unknown}")).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(provider.calls("/jwks").len(), calls);
    assert_eq!(status(&ada).await, StatusCode::OK);

    let good = token(&provider, &json!({ "sub": "ada" }), Signing::First);
    let reply = tell_from(&house, "203.0.113.7", &format!("logout_token={good}")).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(status(&ada).await, StatusCode::UNAUTHORIZED);

    // One that has come before is good no more, and counts like others.
    let form = format!("logout_token={good}");
    let refused = held_up("203.0.113.8", &form).await;
    assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
}

/// A provider that waits no longer, while Redis is slow, tells again: by then the token counts no more, so it has to have counted.
#[tokio::test]
async fn a_logout_token_that_is_heard_is_acted_on_when_nobody_waits_for_it() {
    let redis = RedisServer::start().await;
    let (house, _upstream, provider) =
        standard_with(|plan| plan.session(&format!("shared = \"{}\"", redis.url()))).await;
    let ada = signed_in(&house, &provider, "ada", "s-1").await;
    // From here on Redis knows the script, and does at once what it is told.
    let other = token(&provider, &json!({ "sub": "bob" }), Signing::First);
    let reply = tell(&house, &format!("logout_token={other}")).await;
    assert_eq!(reply.status, StatusCode::OK);
    let all = token(&provider, &json!({ "sub": "ada" }), Signing::First);
    let form = format!("logout_token={all}");
    redis.ask(&["CLIENT", "PAUSE", "800", "WRITE"]).await;
    let impatient = timeout(Duration::from_millis(300), tell(&house, &form)).await;
    assert!(impatient.is_err(), "Redis is slow");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let again = tell(&house, &form).await.status;
    assert_eq!(status(&ada).await, StatusCode::UNAUTHORIZED, "{again}");
}

/// A logout token knows a user by `sub` alone, also where another claim is the subject here.
#[tokio::test]
async fn a_logout_token_ends_sessions_whose_subject_is_another_claim() {
    for store in ["cookie", "memory"] {
        let (house, _upstream, provider) = standard_with(|plan| {
            plan.session(&format!("store = \"{store}\""))
                .provider_line("claims = { subject = \"employee\" }")
        })
        .await;
        let by = |employee: &str| provider.user("employee", json!(employee));
        by("e-1");
        let ada = signed_in(&house, &provider, "ada", "s-1").await;
        provider.set(|behaviour| behaviour.id_token = json!({}));
        let unnamed = house.browser();
        unnamed.sign_in("/").await;
        // Whose subject is another's `sub`.
        by("ada");
        let bob = signed_in(&house, &provider, "bob", "s-2").await;

        let one = json!({ "sid": "s-9", "sub": "ada" });
        let one = token(&provider, &one, Signing::First);
        let reply = tell(&house, &format!("logout_token={one}")).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(status(&unnamed).await, StatusCode::UNAUTHORIZED, "{store}");
        assert_eq!(status(&ada).await, StatusCode::OK, "{store}");

        let all = token(&provider, &json!({ "sub": "ada" }), Signing::First);
        let reply = tell(&house, &format!("logout_token={all}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        assert_eq!(status(&ada).await, StatusCode::UNAUTHORIZED, "{store}");
        assert_eq!(status(&bob).await, StatusCode::OK, "{store}");
    }
}

fn bad_tokens(provider: &ScriptedProvider, good: &Value) -> Vec<String> {
    let with = |name: &str, value: Value| {
        let mut changes = good.clone();
        changes[name] = value;
        token(provider, &changes, Signing::First)
    };
    let mut bad: Vec<String> = vec![
        with("iss", json!("https://other.example")),
        with("aud", json!("other")),
        with("iat", Value::Null),
        with("exp", Value::Null),
        with("exp", json!(now() - 61)),
        with("jti", Value::Null),
        with("events", Value::Null),
        with("events", json!({})),
        with("nonce", json!("n")),
        token(provider, &json!({}), Signing::First),
        // An ID token.
        token(
            provider,
            &json!({ "sub": "ada", "sid": "s-1", "events": null, "nonce": "n" }),
            Signing::First,
        ),
    ];
    for signing in [
        Signing::None,
        Signing::NoneWithSignature,
        Signing::HmacWithPublicKey,
        Signing::HmacWithClientSecret,
        Signing::Forged,
        Signing::Tampered,
        Signing::UnknownKid,
        Signing::Garbage,
    ] {
        bad.push(token(provider, good, signing));
    }
    bad
}

#[tokio::test]
async fn what_is_no_good_logout_token_ends_nothing() {
    let (house, _upstream, provider) = standard_with(|plan| plan).await;
    let ada = signed_in(&house, &provider, "ada", "s-1").await;
    let good = json!({ "sub": "ada", "sid": "s-1" });
    let bad = bad_tokens(&provider, &good);
    let mut forms: Vec<String> = bad
        .iter()
        .map(|token| format!("logout_token={token}"))
        .collect();
    let whole = token(&provider, &good, Signing::First);
    forms.extend([
        String::new(),
        "logout_token=".to_owned(),
        format!("token={whole}"),
        format!("logout_token={whole}&logout_token={whole}"),
        format!("logout_token={whole}&padding={}", "x".repeat(40_000)),
    ]);
    for form in forms {
        let reply = tell(&house, &form).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{form}");
        assert_eq!(
            reply.json(),
            json!({ "error": "invalid_request" }),
            "{form}"
        );
    }
    let form = format!("logout_token={whole}");
    let ask = house.browser();
    let json_body = ask
        .bare(Method::POST, ENDPOINT)
        .header("content-type", "application/json");
    assert_eq!(
        json_body.body(form.clone()).send().await.status,
        StatusCode::BAD_REQUEST
    );
    let get = ask
        .bare(Method::GET, &format!("{ENDPOINT}?{form}"))
        .send()
        .await;
    assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
    for other in [
        "/oauth2/backchannel_logout/nobody",
        "/oauth2/backchannel_logout",
    ] {
        let reply = ask
            .bare(Method::POST, other)
            .body(form.clone())
            .send()
            .await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(status(&ada).await, StatusCode::OK);
    // None of it took the good one's place.
    assert_eq!(tell(&house, &form).await.status, StatusCode::OK);
    assert_eq!(status(&ada).await, StatusCode::UNAUTHORIZED);
    assert!(
        !house.process.log().contains(&whole[..40]),
        "no token in the log"
    );
}

#[tokio::test]
async fn without_keys_the_provider_is_asked_to_come_again() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start_down();
    let house = House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .start()
        .await;
    let form = format!(
        "logout_token={}",
        token(&provider, &json!({ "sub": "ada" }), Signing::First)
    );
    let reply = tell(&house, &form).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_ne!(reply.header("retry-after"), "");
}

#[tokio::test]
async fn signing_out_at_npms_provider_signs_out_here() {
    let upstream = Upstream::start().await;
    let table = node_provider::table().replace("\"sidegate\"", "\"told\"");
    let table = format!("{table}allow = \"anyone\"\n");
    let house = House::plan()
        .upstream(&upstream)
        .named("npm", &table)
        .start()
        .await;
    let ada = house.browser();
    let issuer = node_provider::issuer();
    ada.get(&format!("{issuer}/_told?port={}", house.address.port()))
        .await;
    node_provider::sign_in(&ada, "/", "ada").await;
    let bob = house.browser();
    node_provider::sign_in(&bob, "/", "bob").await;
    assert_eq!(status(&ada).await, StatusCode::OK);

    // Another app of the provider's leads here.
    let page = ada.get(&format!("{issuer}/session/end")).await;
    let text = page.text();
    let (_, rest) = text
        .split_once("name=\"xsrf\" value=\"")
        .unwrap_or_else(|| panic!("{text}"));
    let (xsrf, _) = rest.split_once('"').expect("a quoted value");
    let confirm = ada
        .navigate(&format!("{issuer}/session/end/confirm"))
        .method(Method::POST);
    let confirm = confirm.header("content-type", "application/x-www-form-urlencoded");
    let reply = confirm.body(format!("xsrf={xsrf}&logout=yes")).send().await;
    assert!(
        reply.status.is_redirection() || reply.status == StatusCode::OK,
        "{}",
        reply.text()
    );

    assert_eq!(
        status(&ada).await,
        StatusCode::UNAUTHORIZED,
        "{}",
        house.process.log()
    );
    assert_eq!(status(&bob).await, StatusCode::OK);
}
