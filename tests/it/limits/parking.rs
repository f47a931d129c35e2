//! Idle connections lose hyper's state. What it knew of a message that is not over must not be lost with it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{SOON, limited_with};
use crate::support::{House, raw};

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
