//! The PROXY protocol: whom a proxy speaks for, told before the connection itself.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{House, ScriptedProvider, Stream, Upstream, house::Plan, ports, raw, tls};

const ROUTES: &str = "[[routes]]\npath = \"/inside/**\"\naccess = \"public\"\nallow = { networks = [\"203.0.113.0/24\"] }\n\
     [[routes]]\npath = \"/**\"\naccess = \"public\"\n";

/// A house with a second listener, which requires the header.
async fn proxied(change: impl FnOnce(Plan) -> Plan) -> (House, SocketAddr, Upstream) {
    let (upstream, provider) = (Upstream::start().await, ScriptedProvider::start().await);
    let (address, behind) = (ports::free_address(), ports::free_address());
    let plan = House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .listen(&format!(
            "listen = [\"{address}\", \"{behind} proxy_protocol\"]"
        ))
        .tables(ROUTES);
    let house = change(plan).start_at(address).await;
    (house, behind, upstream)
}

/// Sends these bytes, and gives all that comes back until the end.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    // Whoever hangs up early may do so while it is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(30), read)
        .await
        .expect("an end within 30 s");
    String::from_utf8_lossy(&answer).into_owned()
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [
        b"\r\n\r\n\0\r\nQUIT\n",
        &[command, family][..],
        &length,
        rest,
    ]
    .concat()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn the_address_that_is_told_is_the_peer_for_all_that_follows() {
    let (house, behind, upstream) = proxied(|plan| plan).await;
    let v4 = [203, 0, 113, 7, 192, 0, 2, 9, 0, 1, 0, 2];
    let mut v6 = [0_u8; 36];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    v6[15] = 7;
    for (header, client, inside) in [
        (
            b"PROXY TCP4 203.0.113.7 192.0.2.9 51234 443\r\n".to_vec(),
            "203.0.113.7",
            200,
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 51234 443\r\n".to_vec(),
            "2001:db8::7",
            403,
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", 403),
        (v2(0x21, 0x11, &v4), "203.0.113.7", 200),
        (v2(0x21, 0x21, &v6), "2001:db8::7", 403),
        (v2(0x20, 0x11, &v4), "127.0.0.1", 403),
        (v2(0x21, 0x31, &[b'/'; 216]), "127.0.0.1", 403),
    ] {
        let what = String::from_utf8_lossy(&header).into_owned();
        let before = upstream.count();
        // What the client itself says of addresses is nobody's word.
        let request = "GET /x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.1\r\nConnection: close\r\n\r\n";
        let answer = exchange(behind, &[&header, request.as_bytes()].concat()).await;
        assert_eq!(raw::status(&answer), 200, "{what}: {answer}");
        let seen = upstream.seen().remove(before);
        assert_eq!(seen.header("x-forwarded-for"), Some(client), "{what}");
        assert_eq!(seen.header("x-real-ip"), Some(client), "{what}");
        let answer = exchange(behind, &[&header, get("/inside/x").as_bytes()].concat()).await;
        assert_eq!(raw::status(&answer), inside, "{what}: {answer}");
    }
    // Lines of several workers come in any order.
    for client in ["203.0.113.7", "2001:db8::7", "127.0.0.1"] {
        let is_of = |line: &Value| line["path"] == "/x" && line["client"] == client;
        house.access_line_where(client, is_of).await;
    }
}

/// Between two requests the connection rests, and whose it is stays known.
#[tokio::test]
async fn the_peer_is_the_same_after_a_pause() {
    let (_house, behind, upstream) = proxied(|plan| plan).await;
    let mut stream: Stream = Box::new(TcpStream::connect(behind).await.expect("accepted"));
    let header = b"PROXY TCP4 203.0.113.7 192.0.2.9 51234 443\r\n";
    stream.write_all(header).await.expect("sent");
    for pause in [0, 3_000] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let before = upstream.count();
        let request = b"GET /inside/x HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).await.expect("sent");
        let answer = raw::read_until(&mut stream, "}", Duration::from_secs(15)).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
        let seen = upstream.seen().remove(before);
        assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7"));
    }
}

#[tokio::test]
async fn what_comes_without_a_header_is_closed_and_said_in_the_log() {
    let (mut house, behind, upstream) = proxied(|plan| plan).await;
    let request = get("/x");
    for header in [
        "",
        "PROXY TCP4 203.0.113.7 192.0.2.9 51234\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.9 51234 443\n",
        "proxy TCP4 203.0.113.7 192.0.2.9 51234 443\r\n",
        " PROXY UNKNOWN\r\n",
    ] {
        let answer = exchange(behind, format!("{header}{request}").as_bytes()).await;
        assert_eq!(answer, "", "{header}");
    }
    let long = [
        v2(0x21, 0x11, &vec![0; 60_000]),
        request.clone().into_bytes(),
    ]
    .concat();
    assert_eq!(exchange(behind, &long).await, "");
    assert_eq!(upstream.count(), 0);
    house
        .process
        .wait_for("the log line", |line| {
            line.contains("requires a header of the PROXY protocol")
                .then_some(())
        })
        .await;
    // A header where none is asked for is no request.
    let header = "PROXY TCP4 203.0.113.7 192.0.2.9 51234 443\r\n";
    let answer = exchange(house.address, format!("{header}{request}").as_bytes()).await;
    assert_eq!(raw::status(&answer), 400, "{answer}");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_header_that_comes_in_pieces_is_waited_for_and_no_longer_than_a_head() {
    let (_house, behind, upstream) =
        proxied(|plan| plan.tables("[limits]\nheader_timeout = \"2s\"\n")).await;
    let mut stream = TcpStream::connect(behind).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket option");
    for piece in [
        "PRO",
        "XY TCP4 203.0.113.7 ",
        "192.0.2.9 1 2\r",
        "\nGET /x HT",
    ] {
        stream.write_all(piece.as_bytes()).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let rest = "TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(rest.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert_eq!(raw::status(&answer), 200, "{answer}");
    assert_eq!(
        upstream.seen()[0].header("x-forwarded-for"),
        Some("203.0.113.7")
    );
    // One that never ends is closed.
    assert_eq!(exchange(behind, b"PROXY TCP4 203.0.113.7").await, "");
}

#[tokio::test]
async fn tls_begins_behind_the_header() {
    let (_house, behind, upstream) = proxied(Plan::tls).await;
    let mut socket = TcpStream::connect(behind).await.expect("a connection");
    let header = v2(0x21, 0x11, &[203, 0, 113, 7, 192, 0, 2, 9, 0, 1, 0, 2]);
    socket.write_all(&header).await.expect("sent");
    let mut stream: Stream = Box::new(tls::client(socket, &[b"http/1.1"]).await);
    let request = get("/inside/x");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let head = raw::read_until(&mut stream, "\r\n\r\n", Duration::from_secs(20)).await;
    assert_eq!(raw::status(&head), 200, "{head}");
    let seen = &upstream.seen()[0];
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
}

/// Each of a balancer's clients has a bound of its own.
/// Who has too many, none of them idle, is told so, and so is the operator.
#[tokio::test]
async fn a_client_with_too_many_connections_is_refused_with_words() {
    let (mut house, behind, upstream) =
        proxied(|plan| plan.tables("[limits]\nconnections_per_client = 1\n")).await;
    let header = "PROXY TCP4 203.0.113.7 192.0.2.9 1 2\r\n";
    let mut busy = TcpStream::connect(behind).await.expect("a connection");
    let hang = format!("{header}GET /_/hang HTTP/1.1\r\nHost: x\r\n\r\n");
    busy.write_all(hang.as_bytes()).await.expect("sent");
    upstream
        .wait_until("the request", |upstream| upstream.count() == 1)
        .await;
    let refused = exchange(behind, format!("{header}{}", get("/x")).as_bytes()).await;
    assert_eq!(raw::status(&refused), 503, "{refused}");
    assert!(refused.contains("retry-after: 5"), "{refused}");
    let said = |line: &str| {
        (line.contains("limits.connections_per_client") && line.contains("203.0.113.7"))
            .then_some(())
    };
    house.process.wait_for("the refusal", said).await;
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn connections_count_as_their_clients_and_not_as_the_balancers() {
    let (_house, behind, _upstream) = proxied(|plan| {
        plan.tables("[limits]\nconnections_per_client = 1\nrequests_per_client = 1\n")
    })
    .await;
    let header = |client: u8| format!("PROXY TCP4 203.0.113.{client} 192.0.2.9 1 2\r\n");
    let open = async |client: u8| {
        let mut stream = TcpStream::connect(behind).await.expect("a connection");
        let request = format!("{}GET /x HTTP/1.1\r\nHost: x\r\n\r\n", header(client));
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut stream: Stream = Box::new(stream);
        let head = raw::read_until(&mut stream, "\r\n\r\n", Duration::from_secs(20)).await;
        assert_eq!(raw::status(&head), 200, "{head}");
        stream
    };
    let mut others = Vec::new();
    for client in 1..=4 {
        others.push(open(client).await);
    }
    // A second of one client closes the first, as soon as that is idle.
    let mut second = String::new();
    for _ in 0..200 {
        second = exchange(behind, format!("{}{}", header(1), get("/x")).as_bytes()).await;
        if raw::status(&second) == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(raw::status(&second), 200, "{second}");
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), others[0].read_to_end(&mut rest));
    let _ = end.await.expect("the first is closed");
    let mut third = [0; 1];
    let still = tokio::time::timeout(Duration::from_millis(200), async {
        // The body of the answer may still be to come; the end must not.
        while others[1]
            .read(&mut third)
            .await
            .is_ok_and(|length| length > 0)
        {}
    });
    assert!(still.await.is_err(), "the others' stay open");
}

/// Whoever it tells is believed as far as that peer would be.
#[tokio::test]
async fn a_trusted_proxy_behind_a_balancer_is_still_one() {
    let (_house, behind, upstream) =
        proxied(|plan| plan.top("trusted_proxies = [\"203.0.113.9\"]")).await;
    for (peer, client) in [
        ("203.0.113.9", "198.51.100.1, 203.0.113.9"),
        ("203.0.113.8", "203.0.113.8"),
    ] {
        let before = upstream.count();
        let request = format!(
            "PROXY TCP4 {peer} 192.0.2.9 1 2\r\nGET /x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.1\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = exchange(behind, request.as_bytes()).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
        let seen = upstream.seen().remove(before);
        assert_eq!(seen.header("x-forwarded-for"), Some(client));
    }
}

#[tokio::test]
async fn health_asks_where_a_header_is_required() {
    let (upstream, provider) = (Upstream::start().await, ScriptedProvider::start().await);
    let (first, behind) = (ports::free_address(), ports::free_address());
    let house = House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .listen(&format!("listen = [\"{first}\", \"{behind}\"]"))
        .start_at(first)
        .await;
    let file = house.directory().join("proxied.toml");
    let text = std::fs::read_to_string(house.configuration()).expect("the configuration");
    let both = format!("[\"{first}\", \"{behind}\"]");
    let only = text.replace(&both, &format!("\"{behind} proxy_protocol\""));
    std::fs::write(&file, only).expect("written");
    // The other address goes on until it is read again as well.
    house.rewrite(
        &both,
        &format!("[\"{first}\", \"{behind} proxy_protocol\"]"),
    );
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let answer = exchange(behind, get("/oauth2/ping").as_bytes()).await;
        if answer.is_empty() {
            break;
        }
        assert!(std::time::Instant::now() < end, "a reload takes the word");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut health = crate::support::house::sidegate();
    let status = health
        .args(["health", "-c"])
        .arg(&file)
        .status()
        .expect("health runs");
    assert!(status.success());
}
