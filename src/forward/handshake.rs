//! The client's side of the WebSocket handshake (RFC 6455 §4.1). The gate does it for clients that speak HTTP/2, which has no such
//! handshake (RFC 8441 §5).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderValue,
    header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION},
    request::Parts,
};

use crate::random;

/// What an app has to know to accept (§1.3): it proves that it speaks WebSocket, and nothing else.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the app's answer must be made of.
pub(super) struct HandshakeKey(String);

impl HandshakeKey {
    /// Puts a fresh key into a request, in the place of whatever its client wrote.
    pub(super) fn offer(head: &mut Parts) -> Self {
        let key = STANDARD.encode(random::bytes::<16>());
        if let Ok(value) = HeaderValue::from_str(&key) {
            head.headers.insert(SEC_WEBSOCKET_KEY, value);
        }
        head.headers
            .entry(SEC_WEBSOCKET_VERSION)
            .or_insert(HeaderValue::from_static("13"));
        Self(key)
    }

    /// Whether an answer with these headers is to this key.
    pub(super) fn is_accepted_by(&self, headers: &HeaderMap) -> bool {
        let mut accepted = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
        let one = accepted.next().filter(|_| accepted.next().is_none());
        one.is_some_and(|accepted| accepted.as_bytes() == self.answer().as_bytes())
    }

    fn answer(&self) -> String {
        let Self(key) = self;
        let proof = format!("{key}{GUID}");
        STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, proof.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.3.
    #[test]
    fn an_app_that_speaks_websocket_knows_the_answer() {
        let key = HandshakeKey("dGhlIHNhbXBsZSBub25jZQ==".to_owned());
        let answered = |values: &[&'static str]| {
            let values = values.iter().map(|value| HeaderValue::from_static(value));
            let headers = values.map(|value| (SEC_WEBSOCKET_ACCEPT, value)).collect();
            key.is_accepted_by(&headers)
        };
        let right = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert!(answered(&[right]));
        assert!(!answered(&[]) && !answered(&["x"]) && !answered(&[right, right]));
    }
}
