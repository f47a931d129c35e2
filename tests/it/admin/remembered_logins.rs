//! What a login came to is remembered for a minute, so that a reload is no error. It brings nobody back who was
//! signed out meanwhile.

use std::time::Duration;

use http::StatusCode;
use tokio::time::sleep;

use super::{Admin, admin, is_signed_in};
use crate::support::redis::RedisServer;

/// The stores, Redis among them.
fn stores(redis: &RedisServer) -> [String; 4] {
    let url = redis.url();
    [
        "store = \"cookie\"".to_owned(),
        "store = \"memory\"".to_owned(),
        format!("store = \"{url}\""),
        format!("store = \"cookie\"\nshared = \"{url}/1\""),
    ]
}

async fn ready(admin: &Admin) {
    let browser = admin.house.browser();
    while browser.get("/oauth2/ready").await.status != StatusCode::OK {
        sleep(Duration::from_millis(20)).await;
    }
}

/// By time and not by their ids: the login may have a session yet, or none.
async fn sign_all_out(admin: &Admin) {
    admin.json("DELETE", "/sessions?all=true", 200).await;
}

#[tokio::test]
async fn a_reload_of_the_callback_undoes_no_sign_out() {
    let redis = RedisServer::start().await;
    for store in stores(&redis) {
        let admin = admin(|plan| plan.session(&store)).await;
        ready(&admin).await;
        for keeps_session in [true, false] {
            let ada = admin.house.browser();
            let callback = ada.up_to_callback("/").await;
            ada.get(callback.as_str()).await;
            assert!(is_signed_in(&ada).await, "{store}");
            sign_all_out(&admin).await;
            assert!(!is_signed_in(&ada).await, "{store}");
            if !keeps_session {
                ada.plant("sidegate", "gone");
            }
            let asked = admin.provider.token_requests();
            ada.get(callback.as_str()).await;
            assert_eq!(admin.provider.token_requests(), asked, "{store}: a reload");
            assert!(!is_signed_in(&ada).await, "{store} {keeps_session}");
            // And nothing keeps them from signing in anew, nor does the old callback put an end to that.
            assert_eq!(ada.follow("/").await.status, StatusCode::OK, "{store}");
            ada.get(callback.as_str()).await;
            assert!(is_signed_in(&ada).await, "{store}");
        }
    }
}

/// The code is being redeemed, or its session about to begin, when the operator signs its user out.
#[tokio::test]
async fn a_sign_out_during_a_login_ends_it_however_often_its_callback_comes() {
    let redis = RedisServer::start().await;
    for store in stores(&redis) {
        let admin = admin(|plan| plan.session(&store)).await;
        ready(&admin).await;
        let slow = Duration::from_millis(1_500);
        admin.provider.set(|behaviour| behaviour.token_takes = slow);
        let ada = admin.house.browser();
        let callback = ada.up_to_callback("/").await;
        let come_back = || {
            let (ada, callback) = (ada.clone(), callback.clone());
            tokio::spawn(async move { ada.get(callback.as_str()).await })
        };
        let first = come_back();
        sleep(Duration::from_millis(400)).await;
        sign_all_out(&admin).await;
        sleep(Duration::from_millis(100)).await;
        let second = come_back();
        first.await.expect("an answer");
        second.await.expect("an answer");
        assert!(!is_signed_in(&ada).await, "{store}");

        // Who was just signed out waits for the next second; what comes then, counts.
        admin
            .provider
            .set(|behaviour| behaviour.token_takes = Duration::ZERO);
        let ada = admin.house.browser();
        let callback = ada.up_to_callback("/").await;
        sign_all_out(&admin).await;
        let coming = tokio::spawn(async move {
            ada.get(callback.as_str()).await;
            ada
        });
        sleep(Duration::from_millis(400)).await;
        sign_all_out(&admin).await;
        let ada = coming.await.expect("an answer");
        assert!(!is_signed_in(&ada).await, "{store}");
    }
}

/// A callback that is opened twice at once gives two cookies, and the browser keeps one of them.
#[tokio::test]
async fn each_answer_to_a_callback_that_came_twice_is_good() {
    let redis = RedisServer::start().await;
    for store in stores(&redis) {
        let admin = admin(|plan| plan.session(&store)).await;
        ready(&admin).await;
        let slow = Duration::from_millis(300);
        admin.provider.set(|behaviour| behaviour.token_takes = slow);
        let ada = admin.house.browser();
        let callback = ada.up_to_callback("/").await;
        let replies = [(); 4].map(|()| {
            let (ada, callback) = (ada.clone(), callback.clone());
            tokio::spawn(async move { ada.get(callback.as_str()).await })
        });
        for reply in replies {
            let reply = reply.await.expect("an answer");
            let cookie = reply.set_cookies().into_iter().find_map(|header| {
                let value = header.strip_prefix("sidegate=")?;
                Some(value.split(';').next().unwrap_or_default().to_owned())
            });
            let one = admin.house.browser();
            one.plant("sidegate", &cookie.expect("a session"));
            assert!(is_signed_in(&one).await, "{store}");
        }
        // With the ticket that it brought, too.
        ada.get(callback.as_str()).await;
        assert!(is_signed_in(&ada).await, "{store}");
        assert_eq!(admin.provider.token_requests(), 1, "{store}");
    }
}
