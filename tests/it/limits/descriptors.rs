//! Few descriptors: whatever takes them, the rest of the gate has its own.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
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
    stream.write_all(PAGE).await.expect("sent");
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
    sleep(Duration::from_secs(1)).await;
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
        sleep(Duration::from_millis(50)).await;
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

/// An app that answers so many connections at the same time, once, and closes all of them when each has its second request. Whatever
/// connections come later are answered.
async fn restarting(room: Arc<AtomicUsize>) -> String {
    let app = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", app.local_addr().expect("an address"));
    tokio::spawn(async move {
        let asked = Arc::new(AtomicUsize::new(0));
        while let Ok((mut stream, _)) = app.accept().await {
            let (room, asked) = (Arc::clone(&room), Arc::clone(&asked));
            tokio::spawn(async move {
                while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                    let room = room.load(Ordering::Relaxed);
                    let number = asked.fetch_add(1, Ordering::Relaxed);
                    // Each waits for the last of its round.
                    let round = (number / room + 1).min(2);
                    while asked.load(Ordering::Relaxed) < round * room {
                        sleep(Duration::from_millis(10)).await;
                    }
                    if (room..2 * room).contains(&number) {
                        return;
                    }
                    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                    let _ = stream.write_all(answer).await;
                }
            });
        }
    });
    url
}

/// All connections to the app are in use and end at once: each makes room for the one that takes its place.
#[tokio::test]
async fn an_app_that_restarts_under_load_is_asked_again() {
    let room = Arc::<AtomicUsize>::default();
    let url = restarting(Arc::clone(&room)).await;
    let change = |plan: Plan| plan.upstream_at(&url).top("workers = 1");
    let (mut house, _upstream) = few("", change).await;
    let to_apps = |line: &str| serde_json::from_str::<Value>(line).ok()?["to_apps"].as_u64();
    let most = house.process.wait_for("the room", to_apps).await;
    room.store(usize::try_from(most).expect("few"), Ordering::Relaxed);
    let client = h2::connect(&house).await;
    for _ in 0..2 {
        let asked: Vec<_> = (0..most)
            .map(|_| {
                let mut client = client.clone();
                tokio::spawn(async move { client.send_request(ask("/x")).await })
            })
            .collect();
        for answer in asked {
            let answer = timeout(SOON, answer).await.expect("in time");
            let answer = answer.expect("no panic").expect("an answer");
            assert_eq!(answer.status(), 204);
        }
        let idle = "sidegate_upstream_connections_idle{upstream=\"default\"}";
        house.until_metrics_say(&format!("{idle} {most}")).await;
    }
}

/// NTLM and Negotiate make a connection to the app one client's alone. It idles all the same.
#[tokio::test]
async fn idle_connections_of_single_clients_make_room() {
    let (house, _upstream) = few("", |plan| plan.top("workers = 1")).await;
    let mut open = Vec::new();
    // More than there may be to apps.
    for number in 0..80 {
        let mut stream = house.connect().await;
        let ask = b"GET /x HTTP/1.1\r\nHost: app\r\nAuthorization: NTLM one\r\n\r\n";
        stream.write_all(ask).await.expect("sent");
        let answer = raw::read_until(&mut stream, "}", SOON).await;
        assert_eq!(raw::status(&answer), 200, "{number}: {answer}");
        open.push(stream);
    }
    let answer = raw::exchange(&house, PAGE).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
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
