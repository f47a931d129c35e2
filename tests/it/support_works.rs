//! The pieces that the other tests stand on, tested among themselves.

use http::{Method, StatusCode};
use url::Url;

use crate::support::{ScriptedProvider, Upstream, jar::Jar, node_provider, raw};

#[tokio::test]
async fn the_upstream_tells_what_it_saw() {
    let upstream = Upstream::start().await;
    let answer = raw::try_exchange(
        upstream.address,
        false,
        b"POST /a?b=%2F HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nX-One: 2\r\nTransfer-Encoding: chunked\r\n\
          Connection: close\r\n\r\n3\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n",
    )
    .await
    .expect("an answer");
    assert_eq!(raw::status(&answer), 200);
    let seen = upstream.seen().pop().expect("one request");
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("POST", "/a?b=%2F")
    );
    assert_eq!(seen.all("x-one"), ["1", "2"]);
    assert_eq!((seen.body_length, seen.body.as_str()), (3, "abc"));
    assert_eq!(seen.trailers, [("x-trailer".to_owned(), "t".to_owned())]);
}

#[tokio::test]
async fn a_server_goes_down_and_comes_up() {
    let provider = ScriptedProvider::start_down();
    let ask = || {
        raw::try_exchange(
            provider.address,
            false,
            b"GET /jwks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
    };
    assert!(ask().await.is_err());
    provider.server.up().await;
    assert!(
        ask()
            .await
            .is_ok_and(|answer| answer.contains("\"kid\":\"first\""))
    );
    provider.server.down();
    tokio::task::yield_now().await;
    assert!(ask().await.is_err());
}

#[test]
fn the_jar_is_a_browsers() {
    let http = Url::parse("http://127.0.0.1:1/a/b").expect("a URL");
    let https = Url::parse("https://app.example/").expect("a URL");
    let mut jar = Jar::default();
    jar.take("one=1; Path=/", &http);
    jar.take("deep=1; Path=/a", &http);
    jar.take("__Host-x=1; Path=/; Secure", &http);
    jar.take("__Host-y=1; Path=/; Secure; Domain=app.example", &https);
    jar.take("__Host-z=1; Path=/; Secure; HttpOnly; SameSite=Lax", &https);
    jar.take(&format!("big={}", "x".repeat(4096)), &https);
    assert_eq!(jar.header(&http).as_deref(), Some("deep=1; one=1"));
    assert_eq!(jar.header(&https).as_deref(), Some("__Host-z=1"));
    assert_eq!(jar.refused.len(), 3, "{:?}", jar.refused);
    jar.take("one=; Path=/; Max-Age=0", &http);
    assert_eq!(jar.header(&http).as_deref(), Some("deep=1"));
}

#[tokio::test]
async fn the_node_provider_answers() {
    let issuer = Url::parse(node_provider::issuer()).expect("a URL");
    let address = *issuer
        .socket_addrs(|| None)
        .expect("an address")
        .first()
        .expect("one");
    let answer = raw::try_exchange(
        address,
        false,
        format!(
            "{} /.well-known/openid-configuration HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n",
            Method::GET
        )
        .as_bytes(),
    )
    .await
    .expect("an answer");
    assert_eq!(raw::status(&answer), StatusCode::OK.as_u16());
    assert!(answer.contains("end_session_endpoint"), "{answer}");
}
