//! Requests with a body: how long they say they are, and what goes on while they are answered.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::StreamBody;
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::{
    OK,
    scripted::{Script, Scripted},
};
use crate::support::{House, raw};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_upstream_may_answer_before_it_has_heard_all() {
    let refusal =
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!";
    let scripted = Scripted::play(|_| Script::default().answer(refusal).rest(2_000)).await;
    let request = "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 100000000\r\n\r\nabc";
    let mut stream = scripted.house.connect().await;
    stream.write_all(request.as_bytes()).await.expect("written");
    let answer = raw::read_until(&mut stream, "no!", Duration::from_secs(5)).await;
    assert_eq!(raw::status(&answer), 413, "{answer}");
}

/// The rest of such a request goes nowhere, and its connection ends. A client that was not told would lose its next request on it.
#[tokio::test]
async fn where_an_early_answer_ends_the_upload_the_client_is_told() {
    for answer in [
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!",
        "HTTP/1.0 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!",
        "HTTP/1.1 413 Content Too Large\r\n\r\nno!",
    ] {
        let scripted = Scripted::play(move |_| Script::default().answer(answer)).await;
        for length in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
            let mut stream = scripted.house.connect().await;
            let request = format!("POST / HTTP/1.1\r\nHost: app\r\n{length}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("written");
            let answer = raw::read_until(&mut stream, "no!", SOON).await;
            assert_eq!(raw::status(&answer), 413, "{answer}");
            assert!(raw::says_close(&answer), "{length}: {answer}");
        }
        // The streams of HTTP/2 end one by one.
        let (status, headers) = ask_over_http2(&scripted.house).await;
        assert_eq!(status, 413, "{answer}");
        assert!(!headers.contains_key("connection"), "{headers:?}");
    }
}

/// Asks with a body of which nothing comes.
async fn ask_over_http2(house: &House) -> (StatusCode, HeaderMap) {
    let stream = TcpStream::connect(house.address).await.expect("accepted");
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("an HTTP/2 connection");
    tokio::spawn(connection);
    let silent = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let request = Request::post(house.url("/")).body(silent);
    let answer = sender.send_request(request.expect("a request")).await;
    let (head, _body) = answer.expect("an answer").into_parts();
    (head.status, head.headers)
}

/// What the app does with its own connection says nothing of the client's, whose request has come whole.
#[tokio::test]
async fn an_app_that_has_heard_all_ends_its_own_connection_alone() {
    let scripted = Scripted::start(|mut connection| async move {
        let mut body = [0; 3];
        if connection.read_head().await && connection.stream.read_exact(&mut body).await.is_ok() {
            connection
                .say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine")
                .await;
        }
    })
    .await;
    let mut stream = scripted.house.connect().await;
    for _ in 0..2 {
        let head = "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("written");
        sleep(Duration::from_millis(200)).await;
        stream.write_all(b"abc").await.expect("written");
        let answer = raw::read_until(&mut stream, "fine", SOON).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
        assert!(!raw::says_close(&answer), "{answer}");
    }
}

#[tokio::test]
async fn an_upload_goes_on_after_its_answer() {
    let length = 300_000;
    let heard = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&heard);
    let scripted = Scripted::start(move |mut connection| {
        let count = Arc::clone(&count);
        async move {
            if !connection.read_head().await {
                return;
            }
            connection.say(OK).await;
            let mut buffer = [0; 4096];
            while let Ok(read) = connection.stream.read(&mut buffer).await
                && read > 0
            {
                count.fetch_add(read, Ordering::SeqCst);
            }
        }
    })
    .await;
    let request = format!("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: {length}\r\n\r\n");
    let mut stream = scripted.house.connect().await;
    stream.write_all(request.as_bytes()).await.expect("written");
    let answer = raw::read_until(&mut stream, "fine", Duration::from_secs(5)).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    stream
        .write_all(&vec![b'a'; length])
        .await
        .expect("written");
    for _ in 0..200 {
        if heard.load(Ordering::SeqCst) == length {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("{} of {length} bytes arrived", heard.load(Ordering::SeqCst));
}

/// An app that waits for the rest of a request would wait for ever, and the gate with it.
#[tokio::test]
async fn who_leaves_in_the_middle_of_a_request_leaves_nothing_behind() {
    let ended = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&ended);
    let scripted = Scripted::start(move |mut connection| {
        let count = Arc::clone(&count);
        async move {
            if connection.read_head().await {
                connection
                    .say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
                    .await;
                let mut rest = Vec::new();
                let _ = connection.stream.read_to_end(&mut rest).await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let bodies = [
        ("Content-Length: 1000\r\n\r\nxxxxxxxxxx", ""),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ""),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "zz\r\n"),
    ];
    for (body, rest) in bodies {
        let request = format!("POST / HTTP/1.1\r\nHost: app\r\n{body}");
        let mut stream = scripted.house.connect().await;
        stream.write_all(request.as_bytes()).await.expect("written");
        let answer = raw::read_until(&mut stream, "abc", Duration::from_secs(5)).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
        stream.write_all(rest.as_bytes()).await.expect("written");
    }
    for _ in 0..250 {
        if ended.load(Ordering::SeqCst) == bodies.len() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("{} of {} ended", ended.load(Ordering::SeqCst), bodies.len());
}

/// Two that talk with each other may be silent for long.
#[tokio::test]
async fn an_upload_may_rest_while_its_answer_lasts() {
    let scripted = Scripted::start(|mut connection| async move {
        if connection.read_head().await {
            connection
                .say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                .await;
            let mut heard = Vec::new();
            while !heard.ends_with(b"0\r\n\r\n") {
                match connection.stream.read_u8().await {
                    Ok(byte) => heard.push(byte),
                    Err(_) => return,
                }
            }
            connection.say("4\r\nover\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let request = "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
    let mut stream = scripted.house.connect().await;
    stream.write_all(request.as_bytes()).await.expect("written");
    let answer = raw::read_until(&mut stream, "hello", Duration::from_secs(5)).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    // Longer than the upstream may take to begin.
    sleep(Duration::from_secs(5)).await;
    let rest = b"3\r\ntwo\r\n0\r\n\r\n";
    stream.write_all(rest).await.expect("written");
    let answer = raw::read_until(&mut stream, "over", Duration::from_secs(5)).await;
    assert!(answer.contains("over"), "{answer}");
}

#[tokio::test]
async fn a_request_says_how_long_it_is_once() {
    let scripted = Scripted::start(|mut connection| async move {
        if connection.read_head().await {
            let mut rest = Vec::new();
            // All that comes until nothing does; some requests have no body.
            let waiting = Duration::from_millis(300);
            let mut byte = [0];
            while let Ok(Ok(1)) =
                tokio::time::timeout(waiting, connection.stream.read(&mut byte)).await
            {
                rest.push(byte[0]);
            }
            let text = String::from_utf8(rest).expect("ASCII");
            connection.heads.lock().expect("no panic inside").push(text);
            connection.say(OK).await;
        }
    })
    .await;
    for (request, framing, body) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "", ""),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "content-length: 0\r\n",
            "",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "content-length: 5\r\n",
            "hello",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
    ] {
        let request = request.replacen("Host: a\r\n", "Host: a\r\nConnection: close\r\n", 1);
        let answer = raw::exchange(&scripted.house, request.as_bytes()).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
        let heads = scripted.heads();
        let [.., head, rest] = &heads[..] else {
            panic!("{heads:?}");
        };
        let said: Vec<_> = head
            .split_inclusive("\r\n")
            .filter(|line| {
                line.starts_with("content-length:") || line.starts_with("transfer-encoding:")
            })
            .collect();
        assert_eq!(said.concat(), framing, "{head}");
        assert_eq!(rest, body);
    }
}
