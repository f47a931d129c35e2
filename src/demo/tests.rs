//! The demo app and the demo's users over real sockets.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, SEC_WEBSOCKET_PROTOCOL};
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
async fn send(
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

async fn text(response: http::Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn json(response: http::Response<Incoming>) -> Value {
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
async fn app_and_users_are_there_until_dropped() {
    let demo = start(Some(0), false).unwrap();
    let (app, users) = (demo.servers.app, demo.servers.users);
    assert_eq!(send(app, get("/public/"), "").await.status(), 200);
    assert_eq!(send(users, get("/"), "").await.status(), 200);
    let origin = demo.config.public_url.url.origin().ascii_serialization();
    assert!(demo.banner.contains(&origin));
    drop(demo);
    assert!(TcpStream::connect(app).await.is_err());
    assert!(TcpStream::connect(users).await.is_err());
}

#[tokio::test]
async fn who_is_picked_is_sent_back_and_nobody_else_is_known() {
    let demo = start(Some(0), false).unwrap();
    let users = demo.servers.users;
    let page = send(users, get("/pick?state=a%26b"), "").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    let origin = demo.config.public_url.url.origin().ascii_serialization();
    assert!(policy.ends_with(&format!("form-action 'self' {origin}")));
    let page = text(page).await;
    assert!(page.contains("Ada Lovelace") && page.contains("Grace Hopper"));

    let pick = |user| send(users, http::Request::post("/pick?state=a%26b"), user);
    let picked = pick("user=ada").await;
    assert_eq!(picked.status(), 303);
    let back = picked.headers()[LOCATION].to_str().unwrap();
    assert!(
        back.ends_with("/oauth2/callback/users?code=ada&state=a%26b"),
        "{back}"
    );
    assert_eq!(pick("user=mallory").await.status(), 400);

    let token = |code| send(users, http::Request::post("/token"), code);
    assert_eq!(json(token("code=ada").await).await["access_token"], "ada");
    assert_eq!(token("code=mallory").await.status(), 400);
    let userinfo = |bearer| send(users, get("/userinfo").header(AUTHORIZATION, bearer), "");
    assert_eq!(
        json(userinfo("Bearer ada").await).await["sub"],
        "demo-18151210"
    );
    assert_eq!(userinfo("Bearer mallory").await.status(), 401);
}
