//! The demo app over real sockets, and a small HTTP client that the provider's tests use too.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{CONTENT_TYPE, HOST, SEC_WEBSOCKET_PROTOCOL};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest, protocol::frame::coding::CloseCode},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{app, start};

/// Sends one request on a connection of its own.
pub(super) async fn send(
    address: SocketAddr,
    request: http::request::Builder,
    body: impl Into<Bytes>,
) -> http::Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = request.body(Full::new(body.into())).unwrap();
    let host = address.to_string().parse().unwrap();
    request.headers_mut().entry(HOST).or_insert(host);
    sender.send_request(request).await.unwrap()
}

pub(super) async fn text(response: http::Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(super) async fn json(response: http::Response<Incoming>) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

async fn app() -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(app::serve(listener, shutdown.clone()));
    (address, shutdown.drop_guard())
}

fn get(path: &str) -> http::request::Builder {
    http::Request::get(path)
}

#[tokio::test]
async fn the_page_greets_and_escapes() {
    let (address, _guard) = app().await;
    let request = get("/")
        .header("X-User", "ada")
        .header("X-User-Name", "Ada Lovelace")
        .header("X-User-Groups", "admins,engineers")
        .header("X-Odd", "<script>alert(1)</script>");
    let response = send(address, request, "").await;
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'nonce-"));
    let page = text(response).await;
    assert!(page.contains("Hello Ada Lovelace"), "{page}");
    assert!(page.contains("/oauth2/sign_out"));
    assert!(!page.contains("<script>alert"));

    let page = text(send(address, get("/").header("X-User", "ada"), "").await).await;
    assert!(page.contains("Hello ada"));
    let page = text(send(address, get("/"), "").await).await;
    assert!(page.contains("Hello stranger"));
    let page = text(send(address, get("/public/"), "").await).await;
    assert!(page.contains("No login asked here"));
}

#[tokio::test]
async fn headers_are_told_as_they_came() {
    let (address, _guard) = app().await;
    let request = http::Request::post("/headers?a=1&b")
        .header("X-Twice", "one")
        .header("X-Twice", "two");
    let seen = json(send(address, request, "").await).await;
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["path"], "/headers?a=1&b");
    let headers = seen["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-twice", "one"])));
    assert!(headers.contains(&json!(["x-twice", "two"])));
}

#[tokio::test]
async fn a_body_comes_back() {
    let (address, _guard) = app().await;
    let body = Bytes::from(vec![b'x'; 300_000]);
    let response = send(address, http::Request::put("/echo"), body.clone()).await;
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        body
    );
}

#[tokio::test]
async fn the_first_event_comes_at_once() {
    let (address, _guard) = app().await;
    let mut response = send(address, get("/events"), "").await;
    assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    let event = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    assert!(event.starts_with("data: ") && event.ends_with(" UTC\n\n"));
}

#[tokio::test]
async fn a_socket_echoes_and_is_closed_politely() {
    let (address, guard) = app().await;
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    request
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, "chat, log".parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut socket, response) = client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], "chat");
    for message in [Message::text("hello"), Message::binary(vec![0, 255])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    drop(guard);
    let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else {
        panic!("no closing frame");
    };
    assert_eq!(frame.code, CloseCode::Away);
}

#[tokio::test]
async fn a_plain_request_for_the_socket_is_told_to_upgrade() {
    let (address, _guard) = app().await;
    let response = send(address, get("/ws"), "").await;
    assert_eq!(response.status(), 426);
    assert_eq!(response.headers()["sec-websocket-version"], "13");
    assert_eq!(
        send(address, http::Request::post("/"), "").await.status(),
        405
    );
    assert_eq!(send(address, get("/none"), "").await.status(), 404);
}

#[tokio::test]
async fn app_and_provider_run_until_dropped() {
    let demo = start(Some(0), false).unwrap();
    let (app, provider) = (demo.servers.app, demo.servers.provider);
    assert_eq!(send(app, get("/public/"), "").await.status(), 200);
    let discovery = get("/.well-known/openid-configuration");
    let metadata = json(send(provider, discovery, "").await).await;
    assert_eq!(metadata["issuer"], format!("http://{provider}"));
    let origin = demo.config.public_url.url.origin().ascii_serialization();
    assert!(demo.banner.contains(&origin));
    drop(demo);
    assert!(TcpStream::connect(app).await.is_err());
    assert!(TcpStream::connect(provider).await.is_err());
}
