//! Floods of clients who mean no good, each with who is served meanwhile: somebody who is signed in gets pages, and somebody
//! new logs in. The log's full disk and its stopped reader are in `records` and `operations`, full descriptors in `connections`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use http::StatusCode;
use socket2::SockRef;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::SOON;
use crate::support::{Browser, House, ScriptedProvider, Upstream};

struct Scene {
    house: House,
    upstream: Upstream,
    ada: Browser,
    _provider: ScriptedProvider,
}

/// A gate with these lines of `[limits]`, where `/_/**` is public, and somebody signed in.
async fn scene(lines: &str) -> Scene {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let plan = House::plan().upstream(&upstream).provider(&provider);
    let plan = plan.route("/_/**", "public");
    let house = plan.tables(&format!("[limits]\n{lines}")).start().await;
    let ada = house.browser();
    ada.sign_in("/").await;
    Scene {
        house,
        upstream,
        ada,
        _provider: provider,
    }
}

impl Scene {
    /// Who is signed in gets pages, and who is new logs in.
    async fn serves(&self) {
        for _ in 0..5 {
            let page = timeout(SOON, self.ada.get("/page")).await;
            assert_eq!(page.expect("a page in time").status, StatusCode::OK);
        }
        let newcomer = self.house.browser();
        timeout(SOON, newcomer.sign_in("/"))
            .await
            .expect("a login in time");
    }

    /// The `number`th attacker's connection, from an address of their own, with what the system holds of an answer unread.
    async fn attacker(&self, number: usize, unread: u32) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(unread).expect("a bound");
        let [low, high] = [number % 250 + 1, number / 250 % 250]
            .map(|part| u8::try_from(part).expect("below 251"));
        let own = Ipv4Addr::new(127, 66, high, low);
        socket.bind(SocketAddr::from((own, 0))).expect("an address");
        let connected = timeout(SOON, socket.connect(self.house.address)).await;
        connected.expect("accepted in time").expect("accepted")
    }
}

/// Sends `begin` and then a byte now and then, until the gate closes.
async fn trickle(mut stream: TcpStream, begin: &'static [u8]) {
    let mut sent = stream.write_all(begin).await;
    while sent.is_ok() {
        sleep(Duration::from_millis(200)).await;
        sent = stream.write_all(b"a").await;
    }
}

/// All of them are closed by the gate: in the time of its limit, with room for a busy machine.
async fn all_end(mut attackers: JoinSet<()>) {
    let ended = timeout(Duration::from_mins(1), async {
        while let Some(ended) = attackers.join_next().await {
            ended.expect("an attacker");
        }
    });
    ended.await.expect("the gate closes every one of them");
}

#[tokio::test]
async fn slow_heads() {
    let scene = scene("header_timeout = \"4s\"").await;
    let mut attackers = JoinSet::new();
    for number in 0..500 {
        let stream = scene.attacker(number, 64 * 1024).await;
        attackers.spawn(trickle(stream, b"GET / HTTP/1.1\r\nHost: app\r\nX-Slow: "));
    }
    scene.serves().await;
    all_end(attackers).await;
    scene.serves().await;
}

/// Bodies that come at five bytes a second, which is below the least rate.
#[tokio::test]
async fn slow_bodies() {
    let scene = scene("request_body_timeout = \"3s\"\nrequest_body_rate = 100").await;
    let mut attackers = JoinSet::new();
    for number in 0..300 {
        let stream = scene.attacker(number, 64 * 1024).await;
        let begin = b"POST /_/echo HTTP/1.1\r\nHost: app\r\nContent-Length: 100000\r\n\r\na";
        attackers.spawn(trickle(stream, begin));
    }
    scene.serves().await;
    all_end(attackers).await;
    scene.serves().await;
}

/// Readers whose window is shut before the answer of 8 MiB is through: the gate holds little of it, and gives up.
#[tokio::test]
async fn windows_that_stay_shut() {
    const READERS: usize = 150;
    let scene = scene("write_timeout = \"4s\"").await;
    let before = scene.house.process.memory_kib("VmRSS");
    let mut readers = Vec::new();
    for number in 0..READERS {
        let mut reader = scene.attacker(number, 4 * 1024).await;
        let ask = b"GET /_/big?bytes=8388608 HTTP/1.1\r\nHost: app\r\n\r\n";
        reader.write_all(ask).await.expect("sent");
        readers.push(reader);
    }
    scene.serves().await;
    // Of more than a gigabyte.
    let held = scene.house.process.memory_kib("VmHWM") - before;
    assert!(held < 96 * 1024, "{held} KiB");
    let end = Instant::now() + Duration::from_mins(1);
    while scene.upstream.aborted() < READERS {
        let given_up = scene.upstream.aborted();
        assert!(Instant::now() < end, "only {given_up} answers are given up");
        sleep(Duration::from_millis(100)).await;
    }
    scene.serves().await;
}

/// Clients who ask and are gone with a reset, again and again.
#[tokio::test]
async fn resets() {
    let scene = scene("").await;
    for round in 0..4 {
        for number in 0..500 {
            let mut stream = scene.attacker(number, 64 * 1024).await;
            let ask = [
                &b"GET /_/drip HTTP/1.1\r\nHost: app\r\n\r\n"[..],
                b"POST /_/echo HTTP/1.1\r\nHost: app\r\nContent-Length: 9\r\n\r\n",
                b"GET /_/drip HT",
                b"",
            ];
            stream.write_all(ask[round]).await.expect("sent");
            let socket = SockRef::from(&stream);
            socket.set_linger(Some(Duration::ZERO)).expect("an option");
        }
        scene.serves().await;
    }
    // No answer goes on that nobody hears.
    let end = Instant::now() + SOON;
    loop {
        let sent = scene.upstream.sent();
        sleep(Duration::from_millis(300)).await;
        if scene.upstream.sent() == sent {
            break;
        }
        assert!(Instant::now() < end, "the app still sends to nobody");
    }
}

/// More connections than there may be, each from an address of its own, half of them with a request behind them.
#[tokio::test]
async fn ten_thousand_connections() {
    let scene = scene("").await;
    let mut connections = Vec::new();
    for number in 0..10_000 {
        let mut stream = scene.attacker(number, 4 * 1024).await;
        if number % 2 == 0 {
            let ask = b"GET /_/status?code=204 HTTP/1.1\r\nHost: app\r\n\r\n";
            // The gate may have closed it, to make room.
            let _ = stream.write_all(ask).await;
        }
        connections.push(stream);
        if number % 2_500 == 2_499 {
            scene.serves().await;
        }
    }
    // Some 130 MiB without optimisation, while the last of them still have what serves a request.
    let held = scene.house.process.memory_kib("VmRSS");
    assert!(held < 160 * 1024, "{held} KiB");
    drop(connections);
    scene.serves().await;
}
