//! How many connections there may be, and which one makes room.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::client_async;

use super::{SOON, limited, limited_with, until_closed};
use crate::{
    reload,
    support::{House, ScriptedProvider, Stream, Upstream, house::Plan, raw},
};

const ASK: &[u8] = b"GET /x HTTP/1.1\r\nHost: app\r\n\r\n";
const BLOCK: &[u8] = b"GET /_/hang HTTP/1.1\r\nHost: app\r\n\r\n";

async fn ask(stream: &mut Stream) -> u16 {
    stream.write_all(ASK).await.expect("the gate reads");
    raw::status(&raw::read_until(stream, "}", SOON).await)
}

async fn blocked(house: &House, upstream: &Upstream, number: usize) -> Stream {
    let mut stream = house.connect().await;
    stream.write_all(BLOCK).await.expect("the gate reads");
    upstream
        .wait_until("the request", |upstream| upstream.count() >= number)
        .await;
    stream
}

/// Waits for the log to say so.
async fn told(house: &mut House, words: &str) {
    let line = |line: &str| line.contains(words).then_some(());
    house.process.wait_for(words, line).await;
}

#[tokio::test]
async fn the_longest_idle_connection_makes_room() {
    let (mut house, _upstream) = limited("connections = 3").await;
    let mut oldest = house.connect().await;
    assert_eq!(ask(&mut oldest).await, 200);
    let mut silent = house.connect().await;
    let mut third = house.connect().await;
    assert_eq!(ask(&mut third).await, 200);
    // One that has just answered is not idle yet; one that never spoke is.
    let mut fourth = house.connect().await;
    assert_eq!(ask(&mut fourth).await, 200);
    assert_eq!(until_closed(&mut silent).await, "");
    assert_eq!(ask(&mut oldest).await, 200);
    assert_eq!(ask(&mut third).await, 200);
    told(&mut house, "raise limits.connections").await;
}

#[tokio::test]
async fn where_all_are_busy_a_new_one_is_refused_with_words() {
    let (house, upstream) = limited("connections = 2").await;
    let busy = [
        blocked(&house, &upstream, 1).await,
        blocked(&house, &upstream, 2).await,
    ];
    let mut refused = house.connect().await;
    let answer = until_closed(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: 5"), "{answer}");
    assert!(answer.ends_with("Try again soon.\n"), "{answer}");
    drop(busy);
    let mut next = house.connect().await;
    for _ in 0..200 {
        if ask(&mut next).await == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        next = house.connect().await;
    }
    panic!("nobody is served after the busy ones have gone");
}

/// Asks on a fresh connection until there is an answer: the one before may not be known to have gone yet.
async fn served(house: &House) {
    let end = std::time::Instant::now() + SOON;
    while ask(&mut house.connect().await).await != 200 {
        assert!(std::time::Instant::now() < end, "nobody is served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An open WebSocket or upload is not idle, and a slow head is.
#[tokio::test]
async fn a_head_that_never_ends_makes_room() {
    let (house, _upstream) = limited("connections = 2").await;
    let mut slow = [house.connect().await, house.connect().await];
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\n").await.expect("sent");
    }
    for _ in 0..4 {
        served(&house).await;
    }
}

#[tokio::test]
async fn one_client_cannot_take_all_connections() {
    let (mut house, upstream) = limited("connections = 10\nconnections_per_client = 1").await;
    let busy = blocked(&house, &upstream, 1).await;
    let mut refused = house.connect().await;
    let answer = until_closed(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    told(&mut house, "limits.connections_per_client").await;
    drop(busy);
}

#[tokio::test]
async fn trusted_proxies_have_no_bound_of_their_own() {
    let (house, upstream) = limited_with(
        "connections = 10\nconnections_per_client = 1\nrequests_per_client = 1",
        |plan| plan.top("trusted_proxies = [\"127.0.0.1\"]"),
    )
    .await;
    let busy = [
        blocked(&house, &upstream, 1).await,
        blocked(&house, &upstream, 2).await,
    ];
    assert_eq!(ask(&mut house.connect().await).await, 200);
    drop(busy);
}

#[tokio::test]
async fn one_client_has_only_so_many_requests_at_the_app() {
    let (house, upstream) = limited("requests_per_client = 1").await;
    let busy = blocked(&house, &upstream, 1).await;
    let mut second = house.connect().await;
    second.write_all(ASK).await.expect("sent");
    let answer = raw::read_until(&mut second, "}", SOON).await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(
        answer.to_ascii_lowercase().contains("retry-after: "),
        "{answer}"
    );
    assert_eq!(upstream.count(), 1);
    let line = house
        .access_line_where("the refusal", |line| line["status"] == 429)
        .await;
    assert_eq!(line["verdict"], "too_many_requests");
    drop(busy);
}

/// A WebSocket has a connection to the app for as long as it is open.
#[tokio::test]
async fn an_open_tunnel_is_a_request_under_way() {
    let (house, _upstream) = limited("connections_per_client = 9\nrequests_per_client = 2").await;
    let url = format!("ws://{}/ws", house.address);
    let open = async || {
        let opened = client_async(&url, house.connect().await).await;
        opened.expect("a WebSocket").0
    };
    let (first, _second) = (open().await, open().await);
    assert_eq!(ask(&mut house.connect().await).await, 429);
    drop(first);
    served(&house).await;
}

#[tokio::test]
async fn a_lower_limit_holds_after_a_reload() {
    let (house, upstream) = limited("connections_per_client = 9\nrequests_per_client = 9").await;
    reload::change(&house, "requests_per_client = 9", "requests_per_client = 1").await;
    let busy = blocked(&house, &upstream, 1).await;
    let mut second = house.connect().await;
    second.write_all(ASK).await.expect("sent");
    let answer = raw::read_until(&mut second, "}", SOON).await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    drop(busy);
}

/// With few descriptors and many silent strangers people are served, log in, and the orchestrator hears the gate.
#[tokio::test]
async fn few_descriptors_and_many_silent_connections_keep_nobody_out() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let admin = crate::support::ports::free_address();
    let plan = House::plan()
        .upstream(&upstream)
        .provider(&provider)
        .top(&format!("admin_listen = \"{admin}\""));
    let house = plan.descriptors(256).start().await;
    let signed_in = house.browser();
    signed_in.sign_in("/").await;
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(house.connect().await);
    }
    let served = timeout(SOON, signed_in.get("/page")).await;
    assert_eq!(served.expect("an answer").status, 200);
    let newcomer = house.browser();
    timeout(SOON, newcomer.sign_in("/")).await.expect("a login");
    let ping = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let alive = timeout(SOON, raw::try_exchange(admin, false, ping)).await;
    let alive = alive.expect("in time").expect("an answer");
    assert_eq!(raw::status(&alive), 200, "{alive}");
    drop(silent);
}

/// Strangers who open connections and say nothing, or next to nothing, make room for each other, however fast they come; whoever
/// speaks gets in.
#[tokio::test]
async fn a_burst_of_silent_connections_keeps_nobody_out() {
    // What the system keeps for a listener that does not accept.
    const BURST: usize = 1_000;
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let plan = House::plan().upstream(&upstream).provider(&provider);
    let house = plan.tables("[limits]\nconnections = 200").start().await;
    let signed_in = house.browser();
    signed_in.sign_in("/").await;
    let request = format!(
        "GET /page HTTP/1.1\r\nHost: {0}\r\nCookie: {1}\r\nConnection: close\r\n\r\n",
        house.address,
        signed_in.cookies("/page")
    );
    let mut silent = Vec::new();
    // The second kind begins as HTTP/2 does, and says no more.
    for first in ["", "PRI *", ""] {
        // All of it is there at once when the gate comes to it, and who speaks is the last.
        house.process.signal("STOP");
        for _ in 0..BURST {
            let mut stream = TcpStream::connect(house.address).await.expect("queued");
            stream.write_all(first.as_bytes()).await.expect("queued");
            silent.push(stream);
        }
        let mut speaker = house.connect().await;
        speaker.write_all(request.as_bytes()).await.expect("queued");
        house.process.signal("CONT");
        let mut answer = until_closed(&mut speaker).await;
        // On a machine that is busy with other things it may be told to come back: soon it gets in.
        for _ in 0..20 {
            if raw::status(&answer) == 200 {
                break;
            }
            assert_eq!(raw::status(&answer), 503, "{first}: {answer}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer = raw::exchange(&house, request.as_bytes()).await;
        }
        assert_eq!(raw::status(&answer), 200, "{first}: {answer}");
    }
}

/// Nobody keeps a place by beginning to speak: not with half of a TLS handshake, nor of HTTP/2's first line.
#[tokio::test]
async fn who_only_begins_to_speak_makes_room() {
    for is_tls in [true, false] {
        let change = |plan: Plan| if is_tls { plan.tls() } else { plan };
        let (house, _upstream) = limited_with("connections = 2", change).await;
        let mut begun = Vec::new();
        for _ in 0..5 {
            let mut stream = TcpStream::connect(house.address).await.expect("accepted");
            let first: &[u8] = if is_tls { b"\x16\x03\x01" } else { b"PRI *" };
            stream.write_all(first).await.expect("sent");
            // It is heard, and then its end is seen or another one's.
            tokio::time::sleep(Duration::from_millis(100)).await;
            begun.push(stream);
        }
        for stream in &mut begun[..3] {
            let read = timeout(Duration::from_secs(4), stream.read(&mut [0; 64])).await;
            let read = read.expect("closed before its time for a head or a handshake is over");
            assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        }
        assert_eq!(ask(&mut house.connect().await).await, 200);
    }
}

/// An idle connection is a socket and little else, and can be used again: with whole requests, parts of them, several
/// at once, and within TLS.
#[tokio::test]
async fn idle_connections_are_used_again() {
    for is_tls in [false, true] {
        let (house, _upstream) =
            limited_with("", |plan| if is_tls { plan.tls() } else { plan }).await;
        let mut stream = house.connect().await;
        for _ in 0..2 {
            assert_eq!(ask(&mut stream).await, 200);
            // By then hyper has given the socket back.
            tokio::time::sleep(Duration::from_millis(2_300)).await;
        }
        let two = [ASK, ASK].concat();
        let (begin, rest) = two.split_at(ASK.len() + 9);
        stream.write_all(begin).await.expect("sent");
        assert_eq!(
            raw::status(&raw::read_until(&mut stream, "}", SOON).await),
            200
        );
        tokio::time::sleep(Duration::from_millis(2_300)).await;
        stream.write_all(rest).await.expect("sent");
        assert_eq!(
            raw::status(&raw::read_until(&mut stream, "}", SOON).await),
            200
        );
    }
}

/// Memory of idle connections, and after them.
#[tokio::test]
async fn idle_connections_cost_little_and_leave_nothing() {
    const MANY: u64 = 2_000;
    let (house, _upstream) = limited("connections = 5000\nkeep_alive_timeout = \"1m\"").await;
    let mut first = house.connect().await;
    assert_eq!(ask(&mut first).await, 200);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = house.process.memory_kib("VmRSS");
    let mut idle = Vec::new();
    for _ in 0..MANY {
        let mut stream = house.connect().await;
        assert_eq!(ask(&mut stream).await, 200);
        idle.push(stream);
    }
    // hyper alone would hold more than three times as much; bench/ has the exact figure of an optimised build.
    house.process.shrinks_below(before + 6 * MANY).await;
    drop(idle);
    house.process.shrinks_below(2 * before).await;
    let before = house.process.memory_kib("VmRSS");
    let mut silent = Vec::new();
    for _ in 0..MANY {
        silent.push(house.connect().await);
    }
    let mut last = house.connect().await;
    assert_eq!(ask(&mut last).await, 200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    house.process.shrinks_below(before + 3 * MANY).await;
}

/// Asks for `path` with the head of a form, and gives the connection and the answer's head.
async fn post_head(house: &House, path: &str, length: &str, body: &str) -> (Stream, String) {
    let mut stream = house.connect().await;
    let ask = format!(
        "POST {path} HTTP/1.1\r\nHost: app\r\nContent-Type: application/x-www-form-urlencoded\r\n{length}\r\n\r\n{body}"
    );
    stream.write_all(ask.as_bytes()).await.expect("sent");
    let head = raw::read_until(&mut stream, "\r\n\r\n", SOON).await;
    (stream, head)
}

/// A body that nobody reads ends the connection. A client that was not told would send its next request into nothing.
#[tokio::test]
async fn an_answer_that_leaves_a_body_unread_says_that_its_connection_ends() {
    let (house, _upstream) = limited("").await;
    for (path, status) in [
        ("/oauth2/nothing", 404),
        ("/oauth2/start", 405),
        ("/oauth2/sign_out", 200),
        ("/oauth2/userinfo", 401),
        ("/oauth2/auth", 401),
        ("/oauth2/forward", 400),
    ] {
        for length in [
            "Content-Length: 20",
            "Transfer-Encoding: chunked",
            "Content-Length: 20\r\nExpect: 100-continue",
        ] {
            let (mut stream, head) = post_head(&house, path, length, "").await;
            assert_eq!(raw::status(&head), status, "{path}: {head}");
            assert!(raw::says_close(&head), "{path} {length}: {head}");
            // The client may have begun to send it.
            let _ = stream.write_all(b"a=b").await;
            until_closed(&mut stream).await;
        }
    }
}

/// Nothing is lost with a body that has come whole, or with none.
#[tokio::test]
async fn an_answer_that_leaves_nothing_unread_keeps_its_connection() {
    let (house, _upstream) = limited("").await;
    for path in [
        "/oauth2/nothing",
        "/oauth2/sign_out",
        "/oauth2/userinfo",
        "/oauth2/auth",
        // It reads its form, of which nothing can be made.
        "/oauth2/backchannel_logout/script",
    ] {
        for (length, body) in [("Content-Length: 0", ""), ("Content-Length: 3", "a=b")] {
            let (mut stream, head) = post_head(&house, path, length, body).await;
            assert!(!raw::says_close(&head), "{path} {length}: {head}");
            stream.write_all(ASK).await.expect("it is open");
            let next = raw::read_until(&mut stream, "\"/x\"", SOON).await;
            assert!(next.contains("\"/x\""), "{path} {length}: {next}");
        }
    }
    // What comes in pieces has come whole, too, where somebody waits for it.
    let path = "/oauth2/backchannel_logout/script";
    let mut stream = house.connect().await;
    let ask = format!(
        "POST {path} HTTP/1.1\r\nHost: app\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(200)).await;
    stream.write_all(b"a=b").await.expect("sent");
    let head = raw::read_until(&mut stream, "\r\n\r\n", SOON).await;
    assert!(
        raw::status(&head) == 400 && !raw::says_close(&head),
        "{head}"
    );
}

/// However many come, the log tells of the limit now and then.
#[tokio::test]
async fn a_limit_that_is_reached_all_the_time_is_told_of_once() {
    let (house, _upstream) = limited("connections = 3").await;
    let mut silent = Vec::new();
    for _ in 0..60 {
        silent.push(house.connect().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    house.until_logged("raise limits.connections").await;
    let log = house.process.log();
    let lines = log.matches("raise limits.connections").count();
    assert!(lines <= 2, "{lines} lines in two seconds");
}
