//! Idle connections over HTTP/1.1 wait without a task of their own. What held for them as tasks holds there.

use std::time::{Duration, Instant};

use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, UnixStream},
    time::sleep,
};

use super::{SOON, limited, limited_with, until_closed};
use crate::{
    reload,
    support::{House, Stream, Upstream, h2, house::Plan, ports, raw, tls},
};

const ASK: &[u8] = b"GET /x HTTP/1.1\r\nHost: app\r\n\r\n";
/// Longer than an idle connection keeps its task.
const PAUSE: Duration = Duration::from_millis(2_600);

async fn ask(stream: &mut Stream) -> u16 {
    stream.write_all(ASK).await.expect("the gate reads");
    raw::status(&raw::read_until(stream, "}", SOON).await)
}

/// Connections that had an answer each, some time ago.
async fn parked(house: &House, count: usize) -> Vec<Stream> {
    let mut parked = Vec::new();
    for _ in 0..count {
        let mut stream = house.connect().await;
        assert_eq!(ask(&mut stream).await, 200);
        parked.push(stream);
    }
    sleep(PAUSE).await;
    parked
}

/// As many come in one moment as there may be: each old one closes for one of them, and all are answered.
#[tokio::test]
async fn parked_connections_make_room_for_a_burst() {
    const ROOM: usize = 300;
    let (house, _upstream) = limited(&format!("connections = {ROOM}")).await;
    let mut parked = parked(&house, ROOM).await;
    house.process.signal("STOP");
    let mut burst: Vec<Stream> = Vec::new();
    for _ in 0..ROOM {
        let mut stream = TcpStream::connect(house.address).await.expect("queued");
        stream.write_all(ASK).await.expect("queued");
        burst.push(Box::new(stream));
    }
    house.process.signal("CONT");
    for stream in &mut burst {
        let answer = raw::read_until(stream, "}", SOON).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
    }
    for stream in &mut parked {
        assert_eq!(until_closed(stream).await, "");
    }
}

/// A new connection has no task either while it says nothing, and may then say anything.
#[tokio::test]
async fn who_speaks_late_is_served() {
    let (plain, _upstream) = limited("").await;
    let mut http1: Stream = Box::new(TcpStream::connect(plain.address).await.expect("accepted"));
    let http2 = TcpStream::connect(plain.address).await.expect("accepted");
    let (secure, _upstream) = limited_with("", Plan::tls).await;
    let tls = TcpStream::connect(secure.address).await.expect("accepted");
    sleep(PAUSE).await;
    assert_eq!(ask(&mut http1).await, 200);
    let request = h2::request("GET", "http://app/x", &[]);
    let (mut client, connection) = Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(http2))
        .await
        .expect("HTTP/2");
    let _connection = tokio::spawn(connection);
    let answer = client.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let mut tls: Stream = Box::new(tls::client(tls, &[]).await);
    assert_eq!(ask(&mut tls).await, 200);
}

#[tokio::test]
async fn parked_connections_are_counted() {
    let (house, _upstream) = limited_with("", Plan::admin).await;
    let counted = async |open: usize, idle: usize| {
        let wanted = [
            format!("\nsidegate_connections {open}\n"),
            format!("\nsidegate_connections_idle {idle}\n"),
        ];
        let end = Instant::now() + SOON;
        loop {
            let (_, metrics) = house.admin_says("/metrics").await;
            if wanted.iter().all(|line| metrics.contains(line)) {
                return;
            }
            assert!(Instant::now() < end, "{wanted:?}: {metrics}");
            sleep(Duration::from_millis(50)).await;
        }
    };
    let mut parked = parked(&house, 20).await;
    counted(20, 20).await;
    for stream in &mut parked[..5] {
        assert_eq!(ask(stream).await, 200);
    }
    counted(20, 20).await;
    parked.truncate(7);
    counted(7, 7).await;
    drop(parked);
    counted(0, 0).await;
}

/// The gate does not wait for what they might still say.
#[tokio::test]
async fn a_stop_waits_but_a_moment_for_them() {
    let (mut house, _upstream) = limited("").await;
    let mut parked = parked(&house, 20).await;
    let begun = Instant::now();
    house.process.terminate();
    for stream in &mut parked {
        assert_eq!(until_closed(stream).await, "");
    }
    assert!(begun.elapsed() >= Duration::from_millis(400), "not at once");
    assert!(house.process.ended(SOON).await.success());
    assert!(begun.elapsed() < Duration::from_secs(4));
}

/// A reload changes how long those wait who are parked from then on.
#[tokio::test]
async fn the_pause_that_holds_is_the_one_of_its_beginning() {
    let (house, _upstream) = limited("keep_alive_timeout = \"1m\"").await;
    let mut early = parked(&house, 1).await;
    reload::change(&house, "\"1m\"", "\"3s\"").await;
    let mut late = house.connect().await;
    assert_eq!(ask(&mut late).await, 200);
    assert_eq!(until_closed(&mut late).await, "");
    assert_eq!(ask(&mut early[0]).await, 200);
    assert_eq!(until_closed(&mut early[0]).await, "");
}

#[tokio::test]
async fn a_client_that_goes_leaves_no_connection_behind() {
    let (house, _upstream) = limited("keep_alive_timeout = \"5m\"").await;
    let mut stream: Stream = Box::new(TcpStream::connect(house.address).await.expect("accepted"));
    assert_eq!(ask(&mut stream).await, 200);
    sleep(PAUSE).await;
    // Its other half stays open.
    stream.shutdown().await.expect("open");
    assert_eq!(until_closed(&mut stream).await, "");
}

#[tokio::test]
async fn a_unix_socket_waits_as_any_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gate.sock");
    let address = ports::free_address();
    let upstream = Upstream::start().await;
    let house = House::plan()
        .upstream(&upstream)
        .route("/**", "public")
        .tables("[limits]\nconnections = 2\n")
        .listen(&format!(
            "listen = [\"{address}\", \"unix:{}\"]",
            path.display()
        ))
        .start_at(address)
        .await;
    let mut stream: Stream = Box::new(UnixStream::connect(&path).await.expect("listens"));
    for _ in 0..2 {
        assert_eq!(ask(&mut stream).await, 200);
        sleep(PAUSE).await;
    }
    // As many as there may be: it makes room.
    let mut others = [house.connect().await, house.connect().await];
    for other in &mut others {
        assert_eq!(ask(other).await, 200);
    }
    assert_eq!(until_closed(&mut stream).await, "");
}
