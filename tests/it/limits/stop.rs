//! A stop: nobody's request is lost, nothing goes on without end, and no signal kills.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{SOON, limited, limited_with, until_closed};
use crate::support::{Stream, h2, house::sidegate, process::Process, raw};

const ASK: &[u8] = b"GET /x HTTP/1.1\r\nHost: app\r\n\r\n";

/// A request that was on its way when the stop began is answered, and then the connection ends.
#[tokio::test]
async fn kept_connections_are_answered_once_more() {
    let (mut house, _upstream) = limited("").await;
    let mut kept = Vec::new();
    for pause in [0, 2_300] {
        let mut stream = house.connect().await;
        stream.write_all(ASK).await.expect("sent");
        raw::read_until(&mut stream, "}", SOON).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        kept.push(stream);
    }
    house.process.terminate();
    house
        .process
        .wait_for("the stop", |line| line.contains("stopping").then_some(()))
        .await;
    for stream in &mut kept {
        stream.write_all(ASK).await.expect("sent");
    }
    for stream in &mut kept {
        let answer = until_closed(stream).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
    }
    assert!(house.process.ended(SOON).await.success());
}

#[tokio::test]
async fn streams_without_an_end_do_not_hold_a_stop() {
    let (mut house, upstream) = limited_with("", |plan| plan.top("shutdown_grace = \"1m\"")).await;
    let mut stream = house.connect().await;
    let ask = b"GET /_/events HTTP/1.1\r\nHost: app\r\n\r\n";
    stream.write_all(ask).await.expect("sent");
    upstream
        .wait_until("the request", |upstream| upstream.count() == 1)
        .await;
    let begin = Instant::now();
    house.process.terminate();
    let answer = until_closed(&mut stream).await;
    // Whole events, and the end of the last chunk.
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
    assert!(house.process.ended(SOON).await.success());
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "they have a moment"
    );
}

#[tokio::test]
async fn an_answer_with_an_end_has_the_grace() {
    const BYTES: usize = 40 * 1024 * 1024;
    let (mut house, _upstream) = limited("").await;
    let mut stream = house.connect().await;
    let ask = format!("GET /_/big?bytes={BYTES} HTTP/1.1\r\nHost: app\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("sent");
    raw::read_until(&mut stream, "\r\n\r\n", SOON).await;
    house.process.terminate();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let rest = until_closed(&mut stream).await;
    assert!(rest.ends_with("\r\n0\r\n\r\n"));
    assert!(house.process.ended(SOON).await.success());
}

#[tokio::test]
async fn signals_without_a_meaning_are_told_and_kill_nobody() {
    let (mut house, _upstream) = limited("").await;
    let named = [
        "USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR", "XCPU",
    ];
    let named = named.map(|name| (name.to_owned(), format!("SIG{name}")));
    // Some shells do not know it by its name.
    let stack_fault = ("16".to_owned(), "SIGSTKFLT".to_owned());
    let real_time = [36, 50, 64].map(|number| (number.to_string(), format!("signal {number}")));
    for (name, wanted) in named.into_iter().chain([stack_fault]).chain(real_time) {
        house.process.signal(&name);
        house
            .process
            .wait_for(&wanted, |line| line.contains(&wanted).then_some(()))
            .await;
    }
    house.process.signal("XFSZ");
    let answer = raw::exchange(
        &house,
        b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    house.process.signal("QUIT");
    assert!(house.process.ended(SOON).await.success());
}

/// A log that may not grow any more ends nobody.
#[tokio::test]
async fn a_full_log_file_ends_nobody() {
    const MOST: &str = "20000";
    let log = tempfile::NamedTempFile::new().expect("a file");
    let path: &'static str = Box::leak(log.path().display().to_string().into_boxed_str());
    let (mut house, _upstream) = limited_with("", |plan| plan.log_to(path)).await;
    let id = house.process.id().to_string();
    let limited = std::process::Command::new("prlimit")
        .args(["--pid", &id, &format!("--fsize={MOST}:{MOST}")])
        .status()
        .expect("prlimit of util-linux");
    assert!(limited.success());
    let ask = b"GET /x HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";
    for _ in 0..150 {
        let answer = raw::exchange(&house, ask).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
    }
    let end = Instant::now() + SOON;
    loop {
        let length = log.as_file().metadata().expect("a file").len();
        if length.to_string() == MOST {
            break;
        }
        assert!(
            Instant::now() < end,
            "it has {length} bytes, and is not full"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(raw::status(&raw::exchange(&house, ask).await), 200);
    house.process.terminate();
    assert!(house.process.ended(SOON).await.success());
}

fn make_pipe(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo").success());
}

/// The end of a pipe to which nobody writes, once somebody reads from it.
async fn read_by_now(pipe: &Path) -> File {
    let pipe = pipe.to_owned();
    let opened = tokio::task::spawn_blocking(|| File::options().write(true).open(pipe));
    let opened = tokio::time::timeout(SOON, opened).await;
    opened
        .expect("it is read")
        .expect("no panic")
        .expect("a pipe")
}

/// A configuration that takes long to read, as from a pipe to which nobody writes, keeps no signal waiting.
#[tokio::test]
async fn signals_are_taken_before_the_configuration_is_read() {
    for name in ["TERM", "HUP", "USR1"] {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("sidegate.toml");
        make_pipe(&pipe);
        let mut command = sidegate();
        command.args(["run", "-c"]).arg(&pipe);
        let mut process = Process::start(command);
        let _unwritten = read_by_now(&pipe).await;
        process.signal(name);
        if name != "TERM" {
            // It has ended nothing, or this would come too late for a good end.
            process.signal("TERM");
        }
        let status = process.ended(SOON).await;
        assert!(status.success(), "{name}: {status}");
    }
}

/// The same where it is read again.
#[tokio::test]
async fn a_stop_does_not_wait_for_what_is_being_read() {
    let (mut house, _upstream) = limited("").await;
    let file = house.configuration();
    std::fs::remove_file(&file).expect("removed");
    make_pipe(&file);
    house.process.signal("HUP");
    let _unwritten = read_by_now(&file).await;
    house.process.terminate();
    assert!(house.process.ended(SOON).await.success());
}

/// Less than `docker stop` gives, which then kills.
const BEFORE_A_KILL: Duration = Duration::from_millis(9_500);

/// What goes on for as long as both sides want it to, and its last status.
const ENDLESS: [(&str, u16); 14] = [
    ("/_/hang", 503),
    ("/_/stream?type=text/event-stream&every=100", 200),
    (
        "/_/stream?type=text/event-stream&every=100&length=1000000",
        200,
    ),
    ("/_/stream?type=multipart/x-mixed-replace&every=100", 200),
    ("/_/stream?type=application/grpc&every=100", 200),
    ("/_/stream?type=application/connect%2Bproto&every=100", 200),
    ("/_/stream?type=application/x-ndjson&every=500", 200),
    ("/_/stream?type=application/json-seq&every=500", 200),
    ("/_/stream?type=application/json&every=500", 200),
    ("/_/stream?type=text/plain&every=1000", 200),
    ("/_/stream?type=application/octet-stream&every=500", 200),
    ("/_/stream?type=application/octet-stream", 200),
    ("/_/stream?type=application/json", 200),
    ("/_/slow?ms=4000", 200),
];

/// Whatever apps do without an end, and whatever clients do not finish, a stop with the usual grace ends before a kill.
#[tokio::test]
async fn a_stop_ends_before_a_service_manager_kills() {
    let (mut house, upstream) = limited("").await;
    let mut open = Vec::new();
    for (path, status) in ENDLESS {
        let mut stream = house.connect().await;
        let ask = format!("GET {path} HTTP/1.1\r\nHost: app\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.expect("sent");
        open.push((path, status, stream));
    }
    let mut call = house.connect().await;
    let ask = b"POST /_/hang HTTP/1.1\r\nHost: app\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n";
    call.write_all(ask).await.expect("sent");
    let mut half = house.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nHost: a")
        .await
        .expect("sent");
    let mut begun = house.connect().await;
    begun.write_all(b"PRI * HTTP/2").await.expect("sent");
    let expected = ENDLESS.len() + 1;
    upstream
        .wait_until("the requests", |upstream| upstream.count() == expected)
        .await;
    let begin = Instant::now();
    house.process.terminate();
    let ends = open.into_iter().map(|(path, status, mut stream)| {
        tokio::spawn(async move {
            let answer = until_closed(&mut stream).await;
            assert_eq!(raw::status(&answer), status, "{path}: {answer}");
            if status == 503 {
                assert!(answer.contains("\r\nretry-after: "), "{answer}");
                assert!(raw::says_close(&answer), "{answer}");
            }
            (path, begin.elapsed())
        })
    });
    for end in ends.collect::<Vec<_>>() {
        let (path, after) = end.await.expect("an end");
        let wait = if path == "/_/hang" { 7 } else { 1 };
        assert!(after > Duration::from_secs(wait), "{path}: {after:?}");
        assert!(after < BEFORE_A_KILL, "{path}: {after:?}");
    }
    assert!(house.process.ended(SOON).await.success());
    assert!(begin.elapsed() < BEFORE_A_KILL, "{:?}", begin.elapsed());
}

/// The same over HTTP/2, whose clients are told to open no more streams (GOAWAY).
#[tokio::test]
async fn a_stop_ends_streams_of_http2_and_says_goaway() {
    let (mut house, upstream) = limited("").await;
    let client = h2::connect(&house).await;
    let asked = ENDLESS.map(|(path, status)| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let url = format!("http://app{path}");
            let asked = client.send_request(h2::request("GET", &url, &[]));
            let answer = asked.await.expect("an answer");
            assert_eq!(answer.status(), status, "{path}");
            // Broken off, or whole.
            let _ = answer.into_body().collect().await;
            path
        })
    });
    // It neither asks nor answers.
    let mut silent = TcpStream::connect(house.address).await.expect("accepted");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    silent.write_all(preface).await.expect("sent");
    upstream
        .wait_until("the requests", |upstream| upstream.count() == ENDLESS.len())
        .await;
    let begin = Instant::now();
    house.process.terminate();
    for end in asked {
        let path = end.await.expect("an end");
        let after = begin.elapsed();
        assert!(after < BEFORE_A_KILL, "{path}: {after:?}");
    }
    let mut frames: Stream = Box::new(silent);
    let kinds = kinds_until_closed(&mut frames).await;
    assert!(kinds.contains(&7), "{kinds:?}");
    assert!(house.process.ended(SOON).await.success());
    assert!(begin.elapsed() < BEFORE_A_KILL, "{:?}", begin.elapsed());
}

/// The types of the frames (RFC 9113 §4.1) that come until the gate closes.
async fn kinds_until_closed(stream: &mut Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("the gate closes");
    let mut kinds = Vec::new();
    let mut rest = &bytes[..];
    while let [high, middle, low, kind, ..] = *rest {
        kinds.push(kind);
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    kinds
}

/// Nobody is told to send again what the app may be doing.
#[tokio::test]
async fn a_request_that_changes_something_has_the_grace() {
    let (mut house, upstream) = limited("").await;
    let mut stream = house.connect().await;
    let ask = b"POST /_/slow?ms=9000 HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(ask).await.expect("sent");
    upstream
        .wait_until("the request", |upstream| upstream.count() == 1)
        .await;
    house.process.terminate();
    let answer = until_closed(&mut stream).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    assert!(house.process.ended(SOON).await.success());
}
