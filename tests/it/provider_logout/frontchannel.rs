//! A frame of the provider's page (OpenID Connect Front-Channel Logout 1.0) ends a session here, where that is wanted.

use http::{Method, StatusCode};

use super::{signed_in, status};
use crate::support::{house::Plan, standard_with};

fn front(iss: &str, sid: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("iss", iss)
        .append_pair("sid", sid)
        .finish();
    format!("/oauth2/frontchannel_logout/script?{query}")
}

#[tokio::test]
async fn a_frame_of_the_provider_ends_a_session_where_that_is_wanted() {
    let (house, _upstream, provider) =
        standard_with(|plan: Plan| plan.provider_line("frontchannel_logout = true")).await;
    let ada = signed_in(&house, &provider, "ada", "s-1").await;
    let bob = signed_in(&house, &provider, "bob", "s-2").await;
    let frame = house.browser();
    for (iss, sid) in [
        ("https://other.example", "s-1"),
        ("", "s-1"),
        (provider.issuer().as_str(), ""),
        (provider.issuer().as_str(), "s-0"),
    ] {
        frame.bare(Method::GET, &front(iss, sid)).send().await;
    }
    let bare = frame
        .bare(Method::GET, "/oauth2/frontchannel_logout/script")
        .send()
        .await;
    assert_eq!(bare.status, StatusCode::BAD_REQUEST);
    assert_eq!(status(&ada).await, StatusCode::OK);
    let address = front(&provider.issuer(), "s-1");
    let reply = frame
        .navigate(&address)
        .header("sec-fetch-site", "cross-site")
        .send()
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("cache-control"), "no-store");
    let policy = reply.header("content-security-policy");
    assert!(
        policy.ends_with(&format!("frame-ancestors {}", provider.issuer())),
        "{policy}"
    );
    assert_eq!(reply.header("x-frame-options"), "");
    assert_eq!(status(&ada).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&bob).await, StatusCode::OK);
}

#[tokio::test]
async fn a_frame_ends_nothing_unasked() {
    let (house, _upstream, provider) = standard_with(|plan| plan).await;
    let ada = signed_in(&house, &provider, "ada", "s-1").await;
    let reply = house.browser().get(&front(&provider.issuer(), "s-1")).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(status(&ada).await, StatusCode::OK);
}
