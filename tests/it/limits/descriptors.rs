//! Few descriptors: whatever takes them, the rest of the gate has its own.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use super::{SOON, until_closed};
use crate::support::{House, Stream, Upstream, h2, house::Plan, ports, raw};

const FEW: u32 = 256;
const PAGE: &[u8] = b"GET /page HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";

async fn few(lines: &str, change: impl FnOnce(Plan) -> Plan) -> (House, Upstream) {
    let upstream = Upstream::start().await;
    let plan = House::plan()
        .upstream(&upstream)
        .admin()
        .route("/**", "public")
        .tables(&format!("[limits]\n{lines}"));
    let house = change(plan).descriptors(FEW).start().await;
    (house, upstream)
}

fn ask(path: &str) -> Request<Full<Bytes>> {
    h2::request("GET", &format!("http://app{path}"), &[])
}

/// Requests for `path` over HTTP/2, 120 on each connection. Their answers' status, when they come.
async fn flood(house: &House, connections: usize, path: &'static str) -> Vec<JoinHandle<u16>> {
    let mut asked = Vec::new();
    for _ in 0..connections {
        let client = h2::connect(house).await;
        for _ in 0..120 {
            let mut client = client.clone();
            asked.push(tokio::spawn(async move {
                let answer = client.send_request(ask(path)).await;
                answer.map_or(0, |answer| answer.status().as_u16())
            }));
        }
    }
    asked
}

fn descriptors(house: &House) -> usize {
    let folder = format!("/proc/{}/fd", house.process.id());
    std::fs::read_dir(folder).expect("a process").count()
}

async fn page_from(house: &House, source: &str) -> String {
    let socket = TcpSocket::new_v4().expect("a socket");
    let source: SocketAddr = format!("{source}:0").parse().expect("an address");
    socket.bind(source).expect("loopback");
    let mut stream: Stream = Box::new(socket.connect(house.address).await.expect("accepted"));
    tokio::io::AsyncWriteExt::write_all(&mut stream, PAGE)
        .await
        .expect("sent");
    until_closed(&mut stream).await
}

/// One HTTP/2 connection has a request at the app on each of its streams.
#[tokio::test]
async fn slow_requests_of_one_client_leave_room_for_others() {
    let (house, upstream) = few("connections_per_client = 60", |plan| plan).await;
    let slow = flood(&house, 3, "/_/hang").await;
    upstream
        .wait_until("some requests", |upstream| upstream.count() >= 20)
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(descriptors(&house) < 200, "{}", descriptors(&house));
    let answer = page_from(&house, "127.0.0.1").await;
    assert_eq!(raw::status(&answer), 429, "{answer}");
    let answer = page_from(&house, "127.9.9.9").await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    slow.iter().for_each(JoinHandle::abort);
}

/// Where all connections to apps are taken, whoever comes is told so; the app is not blamed, and the gate itself is well.
#[tokio::test]
async fn without_room_for_another_connection_to_the_app_the_answer_is_503() {
    let (mut house, _upstream) = few("", |plan| plan).await;
    let slow = flood(&house, 3, "/_/hang").await;
    let told = "no other connection to an app was opened";
    let line = |line: &str| line.contains(told).then_some(());
    house.process.wait_for(told, line).await;
    let answer = raw::exchange(&house, PAGE).await;
    assert_eq!(raw::status(&answer), 503, "{answer}");
    assert!(answer.contains("retry-after: "), "{answer}");
    let line = house.access_line("/page").await;
    assert_eq!(line["verdict"], "unavailable", "{line}");
    assert!(line["detail"].to_string().contains("open files"), "{line}");
    assert!(line["remedy"].to_string().contains("ulimit -n"), "{line}");
    let ping = b"GET /oauth2/ping HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";
    let answer = raw::exchange(&house, ping).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let (_, metrics) = house.admin_says("/metrics").await;
    let count = metrics.lines().find_map(|line| {
        line.strip_prefix("sidegate_upstream_dial_failures_total{")?
            .split_once("reason=\"open_files\"} ")
    });
    let count = count.expect("counted").1;
    assert_ne!(count, "0");
    slow.iter().for_each(JoinHandle::abort);
    drop(slow);
    for _ in 0..100 {
        if raw::status(&raw::exchange(&house, PAGE).await) == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody is served after the slow ones have gone");
}

/// Connections that idle after a burst to one app do not keep requests from another.
#[tokio::test]
async fn idle_connections_to_one_app_make_room_for_another() {
    let other = Upstream::start().await;
    let table = format!(
        "[upstreams.other]\nurl = \"http://{}\"\n[[routes]]\npath = \"/_/slow\"\naccess = \"public\"\nupstream = \"other\"\n",
        other.address
    );
    let upstream = Upstream::start().await;
    let plan = House::plan()
        .upstream(&upstream)
        .tables(&table)
        .route("/**", "public");
    let house = plan.descriptors(FEW).start().await;
    for answer in flood(&house, 3, "/_/slow?ms=1500").await {
        // Some may have found no room.
        let _ = answer.await;
    }
    let asked = flood(&house, 1, "/_/status?code=204").await;
    for answer in asked {
        let status = timeout(SOON, answer).await.expect("in time");
        assert_eq!(status.expect("no panic"), 204);
    }
}

/// What is opened beside the public port and says nothing keeps nobody out there.
#[tokio::test]
async fn silent_connections_at_other_listeners_take_nothing_from_the_public_one() {
    let checks = ports::free_address();
    let change = |plan: Plan| plan.top(&format!("ext_authz_listen = \"{checks}\""));
    let (house, _upstream) = few("", change).await;
    let mut silent = Vec::new();
    for address in [checks, house.admin_address()] {
        for _ in 0..300 {
            silent.push(TcpStream::connect(address).await.expect("queued"));
        }
    }
    for _ in 0..4 {
        let answer = raw::exchange(&house, PAGE).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
    }
    let (status, _) = house.admin_says("/ping").await;
    assert_eq!(status, StatusCode::OK);
    // Envoy's question makes room for itself.
    let mut envoy = crate::support::envoy::Envoy::connect(checks).await;
    let told = envoy
        .ask(&crate::support::envoy::Held::new("GET", "app", "/page"))
        .await;
    assert_eq!(told.status(), 200);
    drop(silent);
}

#[tokio::test]
async fn more_connections_than_descriptors_allow_are_fewer_and_told_of() {
    let (house, _upstream) = few("connections = 400", |plan| plan).await;
    house.until_logged("limits.connections is more than").await;
    assert!(house.process.log().contains("ulimit -n"));
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(house.connect().await);
    }
    for _ in 0..3 {
        let answer = raw::exchange(&house, PAGE).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
    }
    drop(silent);
}
