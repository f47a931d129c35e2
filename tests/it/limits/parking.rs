//! Idle connections lose hyper's state. What it knew of a message that is not over must not be lost with it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{SOON, limited_with};
use crate::support::{House, Stream, raw};

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
        // The gate may have closed the connection.
        let _ = stream.write_all(body.as_bytes()).await;
        let _ = stream
            .write_all(b"GET /after HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
            .await;
        let rest = read_all(&mut stream).await;
        assert!(!rest.contains("/smuggled"), "{length}: {rest}");
        assert!(
            rest.is_empty() || rest.contains("/after"),
            "{length}: {rest}"
        );
    }
}

async fn read_all(stream: &mut Stream) -> String {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}
