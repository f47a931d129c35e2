//! A stop: nobody's request is lost, nothing goes on without end, and no signal kills.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use super::{SOON, limited, limited_with, until_closed};
use crate::support::{house::sidegate, process::Process, raw};

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
    tokio::time::sleep(Duration::from_millis(300)).await;
    let length = log.as_file().metadata().expect("a file").len();
    assert_eq!(length.to_string(), MOST, "it is full");
    assert_eq!(raw::status(&raw::exchange(&house, ask).await), 200);
    house.process.terminate();
    assert!(house.process.ended(SOON).await.success());
}

/// A configuration that takes long to read, as from a pipe to which nobody writes, keeps no signal waiting.
#[tokio::test]
async fn signals_are_taken_before_the_configuration_is_read() {
    for (name, ends) in [("TERM", true), ("HUP", false), ("USR1", false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("sidegate.toml");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        let mut command = sidegate();
        command.args(["run", "-c"]).arg(&pipe);
        let mut process = Process::start(command);
        // It has begun.
        tokio::time::sleep(Duration::from_millis(500)).await;
        process.signal(name);
        if ends {
            assert!(process.ended(SOON).await.success());
        } else {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(process.try_wait().is_none(), "{name} ends it");
        }
    }
}
