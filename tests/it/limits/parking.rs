//! Idle connections lose hyper's state. What it knew of a message that is not over must not be lost with it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
    time::timeout,
};

use super::{SOON, limited_with};
use crate::support::{House, Stream, house::Plan, raw, tls};

/// Longer than an idle connection keeps hyper's state.
const PAUSE: Duration = Duration::from_millis(2_600);

/// An app that answers at the end of each head, reads no body, and says in its answer what was asked for.
async fn early_app() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut seen = Vec::new();
                let mut buffer = [0; 4096];
                let mut is_answered = false;
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    seen.extend_from_slice(&buffer[..length]);
                    let text = String::from_utf8_lossy(&seen).into_owned();
                    if is_answered || !text.contains("\r\n\r\n") {
                        continue;
                    }
                    is_answered = text.starts_with("POST");
                    let line = text.lines().next().unwrap_or_default();
                    let length = line.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{line}");
                    let _ = stream.write_all(answer.as_bytes()).await;
                    seen.clear();
                }
            });
        }
    });
    address
}

async fn house(app: std::net::SocketAddr) -> House {
    let url = format!("http://{app}");
    let (house, _upstream) = limited_with("", |plan| plan.upstream_at(&url)).await;
    house
}

/// The app answers before a request's body has come; the body's rest, which looks like a request, is no request.
#[tokio::test]
async fn the_rest_of_a_body_is_no_request() {
    let house = house(early_app().await).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n";
    let bodies = [
        (
            format!("Content-Length: {}", smuggled.len()),
            smuggled.to_owned(),
        ),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len()),
        ),
    ];
    for (length, body) in bodies {
        let mut stream = house.connect().await;
        let head = format!("POST /early HTTP/1.1\r\nHost: app\r\n{length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        raw::read_until(&mut stream, "POST /early HTTP/1.1", SOON).await;
        tokio::time::sleep(PAUSE).await;
        stream.write_all(body.as_bytes()).await.expect("sent");
        let after = b"GET /after HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";
        stream.write_all(after).await.expect("sent");
        let rest = super::until_closed(&mut stream).await;
        assert!(!rest.contains("/smuggled"), "{length}: {rest}");
        assert!(rest.ends_with("GET /after HTTP/1.1"), "{length}: {rest}");
    }
}

/// What goes through a tunnel is nobody's to change, whatever it looks like.
#[tokio::test]
async fn a_tunnel_carries_what_looks_like_an_answer() {
    const BARE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let house = house(listener.local_addr().expect("bound")).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the gate connects");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut head).await.expect("a head");
        }
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n";
        stream.write_all(switch).await.expect("sent");
        // A write of its own, once the client has switched.
        let mut hello = [0; 5];
        stream
            .read_exact(&mut hello)
            .await
            .expect("the client speaks");
        stream.write_all(BARE.as_bytes()).await.expect("sent");
    });
    let mut stream = house.connect().await;
    let ask = b"GET /x HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n";
    stream.write_all(ask).await.expect("sent");
    let head = raw::read_until(&mut stream, "\r\n\r\n", SOON).await;
    assert_eq!(raw::status(&head), 101, "{head}");
    stream.write_all(b"hello").await.expect("sent");
    assert_eq!(super::until_closed(&mut stream).await, BARE);
}

/// The app is done with its answer long before a slow reader has it: what hyper, TLS and the system still hold must come,
/// too, and the connection serves on.
#[tokio::test]
async fn a_slow_reader_gets_its_last_bytes() {
    for is_tls in [false, true] {
        let change = |plan: Plan| if is_tls { plan.tls() } else { plan };
        let (house, _upstream) = limited_with("", change).await;
        let house = &house;
        // Of one of these sizes the last bytes wait in hyper's buffer when the app is done.
        let readers = (0..8).map(|doubled| async move {
            let bytes = 50_000_usize << doubled;
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_recv_buffer_size(4096).expect("a small buffer");
            let tcp = socket.connect(house.address).await.expect("accepted");
            let mut stream: Stream = if is_tls {
                Box::new(tls::client(tcp, &[b"http/1.1"]).await)
            } else {
                Box::new(tcp)
            };
            let ask = format!("GET /_/big?bytes={bytes} HTTP/1.1\r\nHost: app\r\n\r\n");
            stream.write_all(ask.as_bytes()).await.expect("sent");
            tokio::time::sleep(PAUSE).await;
            let mut seen = Vec::new();
            let mut buffer = vec![0; 64 * 1024];
            let mut pauses = [bytes / 2, bytes.saturating_sub(20_000)]
                .into_iter()
                .peekable();
            while !seen.ends_with(b"\r\n0\r\n\r\n") {
                let read = timeout(SOON, stream.read(&mut buffer)).await;
                let length = read.expect("it goes on").expect("open");
                assert!(length > 0, "cut off at {} of {bytes}", seen.len());
                seen.extend_from_slice(&buffer[..length]);
                if pauses.next_if(|pause| seen.len() > *pause).is_some() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            seen.retain(|byte| *byte == b'x');
            assert!(seen.len() >= bytes, "{} of {bytes}", seen.len());
            let again = b"GET /again HTTP/1.1\r\nHost: app\r\n\r\n";
            stream.write_all(again).await.expect("sent");
            let answer = raw::read_until(&mut stream, "}", SOON).await;
            assert_eq!(raw::status(&answer), 200, "{answer}");
        });
        futures_util::future::join_all(readers).await;
    }
}
