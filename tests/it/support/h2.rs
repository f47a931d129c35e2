//! An HTTP/2 client: in cleartext with prior knowledge, or by ALPN within TLS.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{House, Stream, tls};

/// A connection on which requests are sent.
pub type Client = SendRequest<Full<Bytes>>;

/// Connects; within TLS the server must have chosen `h2`.
pub async fn connect(house: &House) -> Client {
    let tcp = TcpStream::connect(house.address)
        .await
        .expect("the house accepts");
    let stream: Stream = if house.tls {
        let stream = tls::client(tcp, &[b"h2", b"http/1.1"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Box::new(stream)
    } else {
        Box::new(tcp)
    };
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("an HTTP/2 connection");
    tokio::spawn(connection);
    sender
}

/// A request to `url` (absolute) with `headers`.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).expect("a request")
}

/// Sends and waits for the answer's head.
pub async fn send(client: &mut Client, request: Request<Full<Bytes>>) -> Response<Incoming> {
    client
        .send_request(request)
        .await
        .expect("an answer over HTTP/2")
}

/// Reads the whole body.
pub async fn body(response: Response<Incoming>) -> Bytes {
    response
        .into_body()
        .collect()
        .await
        .expect("a whole body")
        .to_bytes()
}
