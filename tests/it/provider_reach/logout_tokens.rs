//! Anybody may bring a logout token: that must not cost the provider, nor those who sign in.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    House, Reply, ScriptedProvider, arranged,
    keys::{self, Signing},
    provider::{CLIENT_ID, CLIENT_SECRET, now},
};

const ENDPOINT: &str = "/oauth2/backchannel_logout/script";

/// A good one, but for the key that signed it.
fn token(provider: &ScriptedProvider, id: usize, signing: Signing) -> String {
    let claims = json!({
        "iss": provider.issuer(), "aud": CLIENT_ID, "iat": now(), "exp": now() + 120,
        "jti": format!("j-{id}"), "sub": "somebody",
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    keys::id_token(&claims, signing, CLIENT_SECRET)
}

async fn tell(house: &House, client: &str, token: &str) -> Reply {
    let browser = house.browser();
    let ask = browser.bare(Method::POST, ENDPOINT);
    let ask = ask.header("content-type", "application/x-www-form-urlencoded");
    let ask = ask.header("x-forwarded-for", client);
    ask.body(format!("logout_token={token}")).send().await
}

#[tokio::test]
async fn what_is_no_logout_token_for_us_fetches_no_keys() {
    let (house, _upstream, provider) = arranged(|_| {}, |plan| plan).await;
    let jwt = |header: &Value, claims: &Value| {
        use base64::Engine as _;
        let part = |value: &Value| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
        };
        format!("{}.{}.c2ln", part(header), part(claims))
    };
    let rs256 = json!({ "alg": "RS256" });
    let mut other = json!({
        "iss": provider.issuer(), "aud": "others", "iat": now(), "exp": now() + 120, "jti": "j",
        "sub": "x", "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    let mut tokens = vec![
        "x".to_owned(),
        "a.b.c".to_owned(),
        jwt(&json!({ "alg": "HS256" }), &other),
        jwt(&rs256, &json!({})),
        jwt(&rs256, &other),
    ];
    other["aud"] = json!(CLIENT_ID);
    other["exp"] = json!(now() - 3_600);
    tokens.push(jwt(&rs256, &other));
    for token in tokens {
        let reply = tell(&house, "203.0.113.7", &token).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{token}");
    }
    assert_eq!(provider.calls("/jwks").len(), 0);
}

/// Tokens that look right have keys fetched that do not come: they wait in a small number, share one failure, and a
/// login that comes meanwhile waits for that one at most.
#[tokio::test]
async fn keys_that_do_not_come_are_waited_for_by_few() {
    let (house, _upstream, provider) = arranged(
        |behaviour| behaviour.keys_hang = true,
        |plan| plan.top("trusted_proxies = [\"127.0.0.0/8\"]"),
    )
    .await;
    let begun = Instant::now();
    let told = (0..60).map(|id| {
        let (house, token) = (&house, token(&provider, id, Signing::First));
        async move { tell(house, &format!("203.0.113.{id}"), &token).await.status }
    });
    let statuses = join_all(told).await;
    let are_later = |status: &StatusCode| *status == StatusCode::SERVICE_UNAVAILABLE;
    assert!(statuses.iter().all(are_later), "{statuses:?}");
    // One fetch, whose failure all share; sixty in a row would be ten minutes.
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "{:?}",
        begun.elapsed()
    );
    assert!(provider.calls("/jwks").len() <= 2);
    // It heals at once.
    provider.set(|behaviour| behaviour.keys_hang = false);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let good = token(&provider, 99, Signing::First);
    assert_eq!(
        tell(&house, "203.0.113.99", &good).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn bad_tokens_of_one_address_are_bounded_and_good_ones_are_not() {
    let (house, _upstream, provider) = arranged(
        |_| {},
        |plan| plan.top("trusted_proxies = [\"127.0.0.0/8\"]"),
    )
    .await;
    for id in 0..200 {
        let good = token(&provider, id, Signing::First);
        let reply = tell(&house, "203.0.113.1", &good).await;
        assert_eq!(reply.status, StatusCode::OK, "{id}");
    }
    let mut refused = None;
    for _ in 0..120 {
        let reply = tell(&house, "203.0.113.7", "x.y.z").await;
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(reply);
            break;
        }
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    }
    let refused = refused.expect("a bound");
    assert!(!refused.header("retry-after").is_empty());
    let good = token(&provider, 1_000, Signing::First);
    let reply = tell(&house, "203.0.113.1", &good).await;
    assert_eq!(reply.status, StatusCode::OK);
}
