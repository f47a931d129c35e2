//! What is open when a session ends: it ends too, soon, and nobody else's does.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::support::{
    Browser, House, ScriptedProvider, Upstream, arranged, h2, house::Plan, raw, websocket,
};

/// What is promised.
const SOON: Duration = Duration::from_secs(5);

async fn house(plan: impl FnOnce(Plan) -> Plan) -> (House, Upstream, ScriptedProvider) {
    arranged(|behaviour| behaviour.offers_logout = false, plan).await
}

async fn person(house: &House, provider: &ScriptedProvider, subject: &str) -> Browser {
    provider.user("sub", json!(subject));
    let browser = house.browser();
    browser.sign_in("/").await;
    browser
}

async fn sign_out(browser: &Browser) {
    let reply = browser.fetch(Method::POST, "/oauth2/sign_out").send().await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}

async fn socket(house: &House, browser: &Browser) -> websocket::Socket {
    let opened = websocket::open(house, browser, "/ws", &[]).await;
    let (mut socket, _) = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
    websocket::expect_echo(&mut socket, "hello").await;
    socket
}

/// The close frame's code.
pub async fn closed(socket: &mut websocket::Socket) -> CloseCode {
    let closing = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code,
                Some(Ok(_)) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    };
    tokio::time::timeout(SOON, closing)
        .await
        .expect("closed in time")
}

/// What comes next.
pub async fn next_event(body: &mut Incoming) -> Result<Bytes, hyper::Error> {
    let frame = body.frame().await.expect("no end without an error")?;
    Ok(frame.into_data().unwrap_or_default())
}

/// Reads until the body breaks off, which it must in time.
pub async fn broken_off(body: &mut Incoming) -> hyper::Error {
    let reading = async {
        loop {
            if let Err(error) = next_event(body).await {
                return error;
            }
        }
    };
    tokio::time::timeout(SOON, reading)
        .await
        .expect("broken off in time")
}

/// Reads for a while, and nothing ends.
async fn goes_on(body: &mut Incoming, time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        next_event(body).await.expect("the stream goes on");
    }
}

#[tokio::test]
async fn signing_out_closes_the_websockets_of_that_session_alone() {
    for store in ["cookie", "memory"] {
        let (house, upstream, provider) =
            house(|plan| plan.session(&format!("store = \"{store}\""))).await;
        let ada = person(&house, &provider, "ada").await;
        let bob = person(&house, &provider, "bob").await;
        let mut adas = socket(&house, &ada).await;
        let mut bobs = socket(&house, &bob).await;
        // Long after it was opened, too.
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        sign_out(&ada).await;
        assert_eq!(closed(&mut adas).await, CloseCode::Policy);
        upstream
            .wait_until("the close frame", |upstream| upstream.aborted() == 1)
            .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        websocket::expect_echo(&mut bobs, "still here").await;
        assert_eq!(upstream.aborted(), 1);
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_does_not_keep_a_websocket_open() {
    let (house, upstream, provider) = house(|plan| plan).await;
    let ada = person(&house, &provider, "ada").await;
    let mut socket = socket(&house, &ada).await;
    // More than the buffers on the way hold, and nobody reads.
    let long = Message::text("long ".repeat(200_000));
    let flooding = async {
        for _ in 0..100 {
            if socket.send(long.clone()).await.is_err() {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(1_500), flooding).await;
    let begin = Instant::now();
    sign_out(&ada).await;
    upstream
        .wait_until("the end", |upstream| upstream.aborted() == 1)
        .await;
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn signing_out_breaks_off_event_streams() {
    let (house, upstream, provider) = house(|plan| plan).await;
    let ada = person(&house, &provider, "ada").await;
    let bob = person(&house, &provider, "bob").await;
    let mut adas = ada.navigate("/_/events").begin().await.into_body();
    let mut bobs = bob.navigate("/_/events").begin().await.into_body();
    next_event(&mut adas).await.expect("an event");
    sign_out(&ada).await;
    broken_off(&mut adas).await;
    upstream
        .wait_until("the end", |upstream| upstream.aborted() == 1)
        .await;
    goes_on(&mut bobs, Duration::from_secs(2)).await;
}

#[tokio::test]
async fn signing_out_resets_http2_streams_and_leaves_the_connection() {
    let (house, upstream, provider) = house(|plan| plan).await;
    let ada = person(&house, &provider, "ada").await;
    let bob = person(&house, &provider, "bob").await;
    let mut client = h2::connect(&house).await;
    let mut bodies = Vec::new();
    for person in [&ada, &bob] {
        let cookies = person.cookies("/");
        let request = h2::request("GET", &house.url("/_/events"), &[("cookie", &cookies)]);
        bodies.push(h2::send(&mut client, request).await.into_body());
    }
    let [mut adas, mut bobs] = <[Incoming; 2]>::try_from(bodies).expect("two");
    next_event(&mut adas).await.expect("an event");
    sign_out(&ada).await;
    let error = broken_off(&mut adas).await;
    assert!(format!("{error:?}").contains("Reset"), "{error:?}");
    upstream
        .wait_until("the end", |upstream| upstream.aborted() == 1)
        .await;
    goes_on(&mut bobs, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn signing_out_breaks_off_a_long_download() {
    let (house, upstream, provider) = house(|plan| plan).await;
    let ada = person(&house, &provider, "ada").await;
    let mut body = ada.navigate("/_/drip").begin().await.into_body();
    next_event(&mut body).await.expect("a beginning");
    sign_out(&ada).await;
    broken_off(&mut body).await;
    upstream
        .wait_until("the end", |upstream| upstream.aborted() == 1)
        .await;
}

#[tokio::test]
async fn signing_out_breaks_off_a_long_upload() {
    let (house, upstream, provider) = house(|plan| plan).await;
    let ada = person(&house, &provider, "ada").await;
    let mut stream = house.connect().await;
    let request = format!(
        "POST /late HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nAccept: application/json\r\nContent-Length: 1000\r\n\r\nbegun",
        house.address,
        ada.cookies("/"),
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    upstream
        .wait_until("the upload", |upstream| {
            upstream.seen().iter().any(|seen| seen.method == "POST")
        })
        .await;
    sign_out(&ada).await;
    let answer = raw::read_until(&mut stream, "\r\n\r\n", SOON).await;
    assert_eq!(raw::status(&answer), 401, "{answer}");
    upstream
        .wait_until("the end", |upstream| upstream.aborted() == 1)
        .await;
}

#[tokio::test]
async fn the_absolute_end_closes_and_the_idle_end_does_not() {
    let (house, _upstream, provider) = house(|plan| {
        plan.session("lifetime = \"6s\"")
            .session("idle_timeout = \"2s\"")
    })
    .await;
    let ada = person(&house, &provider, "ada").await;
    let begin = Instant::now();
    let mut socket = socket(&house, &ada).await;
    let mut body = ada.navigate("/_/events").begin().await.into_body();
    goes_on(&mut body, Duration::from_secs(4)).await;
    websocket::expect_echo(&mut socket, "an open connection is use").await;
    broken_off(&mut body).await;
    assert_eq!(closed(&mut socket).await, CloseCode::Policy);
    let elapsed = begin.elapsed();
    assert!(
        (Duration::from_secs(5)..Duration::from_secs(11)).contains(&elapsed),
        "{elapsed:?}"
    );
}

#[tokio::test]
async fn what_nobody_is_told_of_goes_on() {
    let (house, _upstream, provider) = house(|plan| plan.route("/_/**", "public")).await;
    let ada = person(&house, &provider, "ada").await;
    let mut body = ada.navigate("/_/events").begin().await.into_body();
    sign_out(&ada).await;
    goes_on(&mut body, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn a_renewal_disturbs_nothing() {
    for store in ["cookie", "memory"] {
        let (house, upstream, provider) = arranged(
            |behaviour| {
                behaviour.offers_logout = false;
                behaviour.expires_in = json!(2);
            },
            |plan| plan.session(&format!("store = \"{store}\"")),
        )
        .await;
        let ada = person(&house, &provider, "ada").await;
        let mut socket = socket(&house, &ada).await;
        let mut body = ada.navigate("/_/events").begin().await.into_body();
        while provider.renewals() < 2 {
            assert_eq!(ada.get("/").await.status, StatusCode::OK);
            goes_on(&mut body, Duration::from_millis(300)).await;
        }
        goes_on(&mut body, Duration::from_secs(2)).await;
        websocket::expect_echo(&mut socket, "still here").await;
        assert_eq!(upstream.aborted(), 0);
        // It is the same session, whatever became of its tokens.
        sign_out(&ada).await;
        assert_eq!(closed(&mut socket).await, CloseCode::Policy);
        broken_off(&mut body).await;
    }
}
