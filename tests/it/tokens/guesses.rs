//! Tokens that are none are counted by client address, and lock nobody else out.

use http::{Method, StatusCode};

use super::{home, signed_in};
use crate::support::{House, Reply};

async fn from(house: &House, client: &str, token: &str) -> Reply {
    house
        .browser()
        .bare(Method::GET, "/")
        .header("x-forwarded-for", client)
        .header("authorization", &format!("Bearer {token}"))
        .send()
        .await
}

#[tokio::test]
async fn who_guesses_is_stopped_and_nobody_else_is() {
    let home = home(|plan| plan.top("trusted_proxies = [\"127.0.0.1\"]")).await;
    let house = &home.house;
    let (browser, token, _) = signed_in(&home).await;
    let (unused, _) = super::make(&browser, &serde_json::json!({"name": "unused"})).await;
    let (thief, other) = ("203.0.113.7", "203.0.113.8");
    assert_eq!(from(house, thief, &token).await.status, StatusCode::OK);
    let mut refused = None;
    for number in 0..200_u8 {
        let guess = sidegate::api_token::format::generate([number; 32]);
        let reply = from(house, thief, &guess).await;
        if reply.status != StatusCode::UNAUTHORIZED {
            refused = Some((number, reply));
            break;
        }
    }
    let (number, reply) = refused.expect("guessing ends");
    assert!(
        number >= 40,
        "{number} are too few for a script that is set up wrongly"
    );
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(
        reply
            .header("retry-after")
            .parse::<u64>()
            .is_ok_and(|wait| wait > 0)
    );
    // One that was good a moment ago passes from there all the same; and everybody elsewhere.
    assert_eq!(from(house, thief, &token).await.status, StatusCode::OK);
    assert_eq!(from(house, other, &unused).await.status, StatusCode::OK);
    let misspelt = from(house, thief, "sgp_misspelt").await;
    assert_eq!(misspelt.status, StatusCode::TOO_MANY_REQUESTS);
    let line = house
        .access_line_where("the verdict", |line| line["status"] == 429)
        .await;
    assert_eq!(line["verdict"], "too_many_requests");
    let line = house
        .access_line_where("the verdict", |line| line["status"] == 401)
        .await;
    assert_eq!(line["verdict"], "invalid_credential");
}
