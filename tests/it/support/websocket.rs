//! Both ends of a WebSocket (RFC 6455): the upstream's echo, and a client within a persona's session.

use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        self, Message, client::IntoClientRequest, handshake::derive_accept_key, protocol::Role,
    },
};

use super::{
    Browser, House, Stream,
    server::{self, Answer},
};

/// Answers 101 and echoes every message until "go away"; chooses the first subprotocol that ends in `.echo`.
/// Calls `ended` when the connection has gone.
pub fn accept(request: Request<Incoming>, ended: impl FnOnce() + Send + 'static) -> Answer {
    let headers = request.headers();
    let Some(key) = headers.get("sec-websocket-key") else {
        return server::full(StatusCode::UPGRADE_REQUIRED, "text/plain", "no key");
    };
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", derive_accept_key(key.as_bytes()));
    let offered = headers
        .get("sec-websocket-protocol")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if let Some(chosen) = offered
        .split(',')
        .map(str::trim)
        .find(|name| name.split('.').next_back() == Some("echo"))
    {
        response = response.header("sec-websocket-protocol", chosen);
    }
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.expect("an upgrade");
        let mut socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let echoed = message.is_text() || message.is_binary();
            let last = message.to_text().is_ok_and(|text| text == "go away");
            if echoed && socket.send(message).await.is_err() || last {
                break;
            }
        }
        drop(socket);
        ended();
    });
    response.body(Empty::new().boxed()).expect("a response")
}

/// A client's end.
pub type Socket = WebSocketStream<Stream>;

/// Opens a WebSocket as a page of the house does, with the persona's cookies. Fails with the answer where it is
/// not 101.
pub async fn open(
    house: &House,
    browser: &Browser,
    path: &str,
    extra: &[(&'static str, &str)],
) -> Result<(Socket, tungstenite::handshake::client::Response), Response<Option<Vec<u8>>>> {
    let url = browser.absolute(path);
    let address = format!("ws://{}{path}", url.authority());
    let mut request = address.into_client_request().expect("a request");
    let headers = request.headers_mut();
    headers.insert("origin", house.public_url.parse().expect("a value"));
    headers.insert("sec-fetch-mode", "websocket".parse().expect("a value"));
    headers.insert("sec-fetch-dest", "empty".parse().expect("a value"));
    headers.insert("sec-fetch-site", "same-origin".parse().expect("a value"));
    let cookies = browser.cookies(path);
    if !cookies.is_empty() {
        headers.insert("cookie", cookies.parse().expect("a value"));
    }
    for (name, value) in extra {
        headers.append(*name, value.parse().expect("a value"));
    }
    match client_async(request, house.connect().await).await {
        Ok(opened) => Ok(opened),
        Err(tungstenite::Error::Http(response)) => Err(*response),
        Err(error) => panic!("the handshake fails without an answer: {error}"),
    }
}

/// Sends `text` and expects it back.
pub async fn expect_echo(socket: &mut Socket, text: &str) {
    socket
        .send(Message::text(text))
        .await
        .expect("the socket takes a message");
    let answer = socket
        .next()
        .await
        .expect("the socket is open")
        .expect("a message");
    assert_eq!(answer.into_text().expect("text").as_str(), text);
}
