//! Who is waited for, how long, and who is told of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use super::{
    OK,
    scripted::{Connection, Script, Scripted},
};
use crate::support::raw;

const LONG: Duration = Duration::from_secs(10);

/// Reads a request whose body ends with `!`, and answers.
async fn read_to_mark(mut connection: Connection) {
    if connection.read_head().await {
        while let Ok(byte) = connection.stream.read_u8().await {
            if byte == b'!' {
                connection.say(OK).await;
                return;
            }
        }
    }
}

fn upload(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: app\r\nContent-Length: {length}\r\n\r\nabc")
}

#[tokio::test]
async fn a_client_that_stops_in_its_body_is_told_408_and_the_app_is_not_blamed() {
    let limits = "[limits]\nrequest_body_timeout = \"400ms\"";
    let scripted = Scripted::start_with(read_to_mark, |plan| plan.tables(limits).admin()).await;
    let mut stream = scripted.house.connect().await;
    let request = upload("/stalls", 100);
    stream.write_all(request.as_bytes()).await.expect("sent");
    let answer = raw::read_until(&mut stream, "\r\n\r\n", LONG).await;
    assert_eq!(raw::status(&answer), 408, "{answer}");
    let line = scripted.house.access_line("/stalls").await;
    assert_eq!(line["verdict"], "bad_request");
    let detail = line["detail"].as_str().expect("a detail");
    assert!(detail.contains("request_body_timeout"), "{detail}");
    scripted.house.limit_is_hit("request_body_timeout").await;
}

#[tokio::test]
async fn a_body_may_take_its_time_but_not_trickle() {
    let limits = "[limits]\nrequest_body_timeout = \"1s\"\nrequest_body_rate = 50";
    let scripted = Scripted::start_with(read_to_mark, |plan| plan.tables(limits).admin()).await;
    // 100 bytes a second for longer than a silence may last.
    let mut steady = scripted.house.connect().await;
    steady
        .write_all(upload("/steady", 304).as_bytes())
        .await
        .expect("sent");
    for number in 0..30 {
        sleep(Duration::from_millis(100)).await;
        let end = if number == 29 { b'!' } else { b'x' };
        let piece = [vec![b'x'; 9], vec![end]].concat();
        steady.write_all(&piece).await.expect("sent");
    }
    steady.write_all(b"x").await.expect("sent");
    let answer = raw::read_until(&mut steady, "fine", LONG).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    // One byte in 100 milliseconds never rests, and is refused.
    let mut trickle = scripted.house.connect().await;
    trickle
        .write_all(upload("/trickle", 1_000).as_bytes())
        .await
        .expect("sent");
    let (mut reader, mut writer) = tokio::io::split(trickle);
    let trickling = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    });
    let mut answer = [0; 12];
    timeout(LONG, reader.read_exact(&mut answer))
        .await
        .expect("in time")
        .expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 408");
    trickling.abort();
    scripted.house.limit_is_hit("request_body_rate").await;
}

#[tokio::test]
async fn a_client_that_leaves_in_its_body_is_gone_and_made_no_mistake() {
    let scripted = Scripted::start(read_to_mark).await;
    let mut stream = scripted.house.connect().await;
    stream
        .write_all(upload("/leaves", 100).as_bytes())
        .await
        .expect("sent");
    while scripted.heads().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    drop(stream);
    let line = scripted.house.access_line("/leaves").await;
    assert_eq!(
        (line["status"].as_u64(), line["verdict"].as_str()),
        (Some(499), Some("client_gone"))
    );
    // What is malformed is the client's mistake.
    let bad = "POST /bad HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    let mut stream = scripted.house.connect().await;
    stream.write_all(bad.as_bytes()).await.expect("sent");
    let line = scripted.house.access_line("/bad").await;
    assert_eq!(
        (line["status"].as_u64(), line["verdict"].as_str()),
        (Some(400), Some("bad_request"))
    );
}

#[tokio::test]
async fn an_app_that_does_not_continue_its_answer_is_not_waited_for_without_end() {
    let limits = "[limits]\nresponse_body_timeout = \"600ms\"";
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n",
    ] {
        let script = move |connection: Connection| {
            Script::default().answer(head).rest(60_000).play(connection)
        };
        let scripted = Scripted::start_with(script, |plan| plan.tables(limits)).await;
        let began = Instant::now();
        let answer = raw::exchange(&scripted.house, b"GET / HTTP/1.1\r\nHost: app\r\n\r\n").await;
        assert!(began.elapsed() >= Duration::from_millis(600));
        assert!(
            answer.contains("begun") && !answer.ends_with("0\r\n\r\n"),
            "{answer}"
        );
        scripted.log_with("limits.response_body_timeout").await;
    }
    // One that goes on slowly is waited for.
    let script = |connection: Connection| {
        let begun = Script::default().answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        let slow = (0..10).fold(begun, |script, _| script.rest(150).say("x"));
        slow.rest(1_000).play(connection)
    };
    let scripted = Scripted::start_with(script, |plan| plan.tables(limits)).await;
    assert_eq!(scripted.browser().get("/").await.text(), "xxxxxxxxxx");
}

const ASK: &[u8] =
    b"GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test]
async fn a_tunnel_that_one_side_has_closed_does_not_stay_open() {
    let ended = Arc::<AtomicBool>::default();
    let seen = Arc::clone(&ended);
    let script = move |mut connection: Connection| {
        let seen = Arc::clone(&seen);
        async move {
            if connection.read_head().await {
                connection.say(SWITCHED).await;
                let _ = connection.stream.shutdown().await;
                let mut rest = Vec::new();
                let _ = connection.stream.read_to_end(&mut rest).await;
                seen.store(true, Ordering::SeqCst);
            }
        }
    };
    let limits = "[limits]\ntunnel_close_timeout = \"400ms\"";
    let scripted = Scripted::start_with(script, |plan| plan.tables(limits).admin()).await;
    let mut stream = scripted.house.connect().await;
    stream.write_all(ASK).await.expect("sent");
    let answer = raw::read_until(&mut stream, "\r\n\r\n", LONG).await;
    assert_eq!(raw::status(&answer), 101, "{answer}");
    // The client neither reads nor closes.
    for _ in 0..200 {
        if ended.load(Ordering::SeqCst) {
            scripted.house.limit_is_hit("tunnel_close_timeout").await;
            return;
        }
        sleep(Duration::from_millis(25)).await;
    }
    panic!("the app's connection is still open");
}

#[tokio::test]
async fn only_the_protocol_that_was_offered_opens_a_tunnel() {
    for (answer, status) in [
        ("Upgrade: WebSocket\r\n", 101),
        ("Upgrade: h2c\r\n", 502),
        ("Upgrade: websocket, h2c\r\n", 502),
        ("Upgrade: websocket\r\nUpgrade: h2c\r\n", 502),
        ("", 502),
    ] {
        let answer =
            format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{answer}\r\n");
        let scripted = Scripted::play(move |_| Script::default().answer(&answer).rest(5_000)).await;
        let mut stream = scripted.house.connect().await;
        stream.write_all(ASK).await.expect("sent");
        let got = raw::read_until(&mut stream, "\r\n\r\n", LONG).await;
        assert_eq!(raw::status(&got), status, "{got}");
    }
}
