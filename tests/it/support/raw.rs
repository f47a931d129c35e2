//! Requests byte for byte, for what no client library would send.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{House, Stream};

/// Sends `request` on a connection of its own and reads until the peer closes.
pub async fn exchange(house: &House, request: &[u8]) -> String {
    tokio::time::timeout(
        Duration::from_secs(10),
        try_exchange(house.address, house.tls, request),
    )
    .await
    .unwrap_or_else(|_| {
        panic!(
            "the connection stays open after {}",
            String::from_utf8_lossy(request)
        )
    })
    .unwrap_or_else(|error| panic!("{error}"))
}

/// As [`exchange`], with the connection's failures. A reset after some answer is the answer's end.
pub async fn try_exchange(address: SocketAddr, tls: bool, request: &[u8]) -> io::Result<String> {
    let stream = TcpStream::connect(address).await?;
    let mut stream: Stream = if tls {
        Box::new(super::tls::client(stream, &[b"http/1.1"]).await)
    } else {
        Box::new(stream)
    };
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        Err(error) if answer.is_empty() => return Err(error),
        _ => {}
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Reads until `end` stands at the end of what came, or `limit` has passed.
pub async fn read_until(stream: &mut Stream, end: &str, limit: Duration) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0_u8; 4096];
    let reading = async {
        loop {
            let length = stream.read(&mut chunk).await.unwrap_or(0);
            if length == 0 {
                return;
            }
            seen.extend_from_slice(&chunk[..length]);
            if String::from_utf8_lossy(&seen).contains(end) {
                return;
            }
        }
    };
    // Whatever came until then is the result either way.
    let _ = tokio::time::timeout(limit, reading).await;
    String::from_utf8_lossy(&seen).into_owned()
}

/// Whether an answer says that its connection ends with it.
pub fn says_close(answer: &str) -> bool {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines = head.lines();
    lines.any(|line| line.eq_ignore_ascii_case("connection: close"))
}

/// The status of an answer's first line; 0 where there is none.
pub fn status(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| answer.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or(0)
}
