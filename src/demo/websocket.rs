//! A WebSocket echo (RFC 6455): shows that upgrades pass the gate, subprotocol included.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{SinkExt, StreamExt};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Version,
    header::{
        CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    page,
    server::{DRAIN, Request, Response, empty},
};

/// The WebSockets that are open.
#[derive(Clone)]
pub(super) struct Sockets {
    open: TaskTracker,
    shutdown: CancellationToken,
}

impl Sockets {
    /// None yet; `shutdown` will close them.
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self {
            open: TaskTracker::new(),
            shutdown,
        }
    }

    /// 101 and an echo until either side closes; 426 for a request that is no handshake.
    pub(super) fn echo(&self, mut request: Request) -> Response {
        let Some(accept) = accept_key(&request) else {
            return upgrade_required();
        };
        if self.open.len() >= MOST_SOCKETS {
            return page::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many sockets are open\n",
            );
        }
        let upgrade = hyper::upgrade::on(&mut request);
        self.open.spawn(converse(upgrade, self.shutdown.clone()));
        switching_protocols(accept, first_protocol(request.headers()))
    }

    /// Waits until each peer was told that the shutdown began.
    pub(super) async fn drain(self) {
        self.open.close();
        let _ = tokio::time::timeout(DRAIN, self.open.wait()).await;
    }
}

fn switching_protocols(accept: HeaderValue, protocol: Option<HeaderValue>) -> Response {
    let mut response = http::Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

/// `Sec-WebSocket-Accept` for a valid opening handshake (RFC 6455 §4.2.1, §4.2.2).
fn accept_key(request: &Request) -> Option<HeaderValue> {
    let headers = request.headers();
    let key = headers.get(SEC_WEBSOCKET_KEY)?.as_bytes();
    let valid = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && lists(headers, &CONNECTION, "upgrade")
        && lists(headers, &UPGRADE, "websocket")
        && headers.get(SEC_WEBSOCKET_VERSION)? == "13"
        && BASE64_STANDARD.decode(key).is_ok_and(|key| key.len() == 16);
    valid.then(|| accept_value(key))
}

fn accept_value(key: &[u8]) -> HeaderValue {
    let hash = digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        &[key, HANDSHAKE_GUID.as_bytes()].concat(),
    );
    HeaderValue::try_from(BASE64_STANDARD.encode(hash)).expect("base64 is visible ASCII")
}

/// Whether a comma-separated header names `token`, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|entry| entry.trim().eq_ignore_ascii_case(token))
}

/// An echo speaks any subprotocol, so it takes the one the client likes best.
fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let first = offered.split(',').next()?.trim();
    (!first.is_empty()).then(|| HeaderValue::from_str(first).ok())?
}

fn upgrade_required() -> Response {
    let mut response = page::text(
        StatusCode::UPGRADE_REQUIRED,
        "this address speaks WebSocket, version 13\n",
    );
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

async fn converse(upgrade: OnUpgrade, shutdown: CancellationToken) {
    // A peer that left before or in the middle of the talk is no failure of an echo.
    let Ok(upgraded) = upgrade.await else { return };
    let mut limits = WebSocketConfig::default();
    limits.max_message_size = Some(LONGEST_MESSAGE);
    limits.max_frame_size = Some(LONGEST_MESSAGE);
    limits.max_write_buffer_size = 2 * LONGEST_MESSAGE;
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await;
    loop {
        let message = tokio::select! {
            () = shutdown.cancelled() => return say_goodbye(socket).await,
            message = socket.next() => message,
        };
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            // Pings and the closing handshake are answered by the next read.
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

/// 1001: the server goes away (RFC 6455 §7.4.1).
async fn say_goodbye(mut socket: WebSocketStream<TokioIo<Upgraded>>) {
    let frame = CloseFrame {
        code: CloseCode::Away,
        reason: "the demo ends".into(),
    };
    let _ = socket.close(Some(frame)).await;
}

/// The constant of RFC 6455 §1.3.
const HANDSHAKE_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const MOST_SOCKETS: usize = 1024;

const LONGEST_MESSAGE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        let value = accept_value(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(value, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn the_first_offered_protocol_is_taken() {
        let mut headers = HeaderMap::new();
        assert_eq!(first_protocol(&headers), None);
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("chat, log"),
        );
        assert_eq!(first_protocol(&headers).unwrap(), "chat");
    }
}
