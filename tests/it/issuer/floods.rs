//! What one who asks without end, or a server that never answers, takes from others: nothing.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{BACK, MCP, authorize, client, error, home_with};
use crate::support::{House, Reply};

const LOOPBACK: &str =
    "[issuer]\nallow_loopback_clients = true\n[[routes]]\npath = \"/mcp/**\"\nmcp = true\n";

/// A server of documents, which serves none while it `hangs`.
struct Documents {
    port: u16,
    hangs: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Documents {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Documents {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (hangs, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (is_hanging, count) = (Arc::clone(&hangs), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let held = Mutex::new(Vec::new());
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                if is_hanging.load(Ordering::SeqCst) {
                    held.lock().expect("nobody panics").push(stream);
                    continue;
                }
                let mut head = vec![0; 8_192];
                let length = stream.read(&mut head).await.unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default();
                let host = head
                    .lines()
                    .find_map(|line| line.strip_prefix("host: "))
                    .unwrap_or_default();
                let id = format!("http://{host}{path}");
                let body =
                    json!({"client_id": id, "client_name": "Documented", "redirect_uris": [BACK]})
                        .to_string();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            port,
            hangs,
            asked,
            task,
        }
    }

    fn id(&self, host: &str, name: &str) -> String {
        format!("http://{host}:{}/{name}.json", self.port)
    }
}

/// A request that a trusted proxy passes on for `address`.
async fn sent_for(
    house: &House,
    address: &str,
    (method, path): (Method, &str),
    kind: &str,
    body: String,
) -> Reply {
    let browser = house.browser();
    let ask = browser
        .bare(method, path)
        .header("x-forwarded-for", address)
        .header("accept", "text/html");
    ask.header("content-type", kind).body(body).send().await
}

#[tokio::test]
async fn a_host_that_never_answers_keeps_no_other_client_out() {
    let documents = Documents::start().await;
    documents.hangs.store(true, Ordering::SeqCst);
    let home = home_with(LOOPBACK, |plan| plan).await;
    let house = Arc::new(home.house);
    let settled = Arc::new(AtomicUsize::new(0));
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..40 {
        let address = authorize(
            &house,
            &documents.id("localhost", &format!("slow-{number}")),
            &[],
        );
        let (house, settled) = (Arc::clone(&house), Arc::clone(&settled));
        waiting.spawn(async move {
            let _ = house.browser().get(&address).await;
            settled.fetch_add(1, Ordering::SeqCst);
        });
    }
    // Each of them is refused, or holds a place.
    while documents.asked.load(Ordering::SeqCst) + settled.load(Ordering::SeqCst) < 40 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    documents.hangs.store(false, Ordering::SeqCst);
    let other = authorize(&house, &documents.id("127.0.0.1", "client"), &[]);
    super::consent_of(&house.browser().follow(&other).await);
    waiting.abort_all();
}

#[tokio::test]
async fn who_floods_one_endpoint_holds_up_nobody_at_another() {
    const FLOODED: &str = "203.0.113.9";
    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";
    let home = home_with(MCP, |plan| plan.top("trusted_proxies = [\"127.0.0.1/32\"]")).await;
    let house = &home.house;
    let known = client(house).await;
    let ask = async |method: Method, path: &str, kind: &str, body: &str| {
        sent_for(house, FLOODED, (method, path), kind, body.to_owned()).await
    };
    let until_refused = async |method: Method, path: &str, kind: &str, body: &str| {
        for _ in 0..200 {
            let reply = ask(method.clone(), path, kind, body).await;
            if reply.status == StatusCode::TOO_MANY_REQUESTS {
                return;
            }
        }
        panic!("{path} is not bounded");
    };
    let registration = json!({"redirect_uris": [BACK]}).to_string();
    let unknown = authorize(house, "nobody", &[]);
    let good = authorize(house, &known, &[]);
    let begun = format!("client_id={known}&resource={}", house.url("/mcp"));
    let bad_token = format!("grant_type=refresh_token&refresh_token=sgr_x&client_id={known}");
    until_refused(Method::POST, "/oauth2/register", JSON, &registration).await;
    let reply = ask(Method::POST, "/oauth2/token", FORM, &bad_token).await;
    assert_eq!(error(&reply), "invalid_grant");
    until_refused(Method::POST, "/oauth2/token", FORM, &bad_token).await;
    let reply = ask(Method::GET, &good, FORM, "").await;
    assert_ne!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    until_refused(Method::GET, &unknown, FORM, "").await;
    let reply = ask(Method::POST, "/oauth2/device_authorization", FORM, &begun).await;
    assert_ne!(
        reply.status,
        StatusCode::TOO_MANY_REQUESTS,
        "{}",
        reply.text()
    );
}

/// A secret is no bound: anybody gets one by registering.
#[tokio::test]
async fn who_registered_for_a_secret_fills_no_store() {
    let home = home_with(MCP, |plan| plan.top("trusted_proxies = [\"127.0.0.1/32\"]")).await;
    let house = &home.house;
    let wanted = json!({
        "redirect_uris": [BACK],
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
    });
    let registered = super::register(house, &wanted).await.json();
    let known = |name: &str| registered[name].as_str().expect("a text").to_owned();
    let (id, secret, resource) = (
        known("client_id"),
        known("client_secret"),
        house.url("/mcp"),
    );
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("client_id", &*id),
            ("client_secret", &secret),
            ("response_type", "code"),
            ("redirect_uri", BACK),
            ("code_challenge", super::CHALLENGE),
            ("code_challenge_method", "S256"),
            ("resource", &resource),
        ])
        .finish();
    for path in ["/oauth2/par", "/oauth2/device_authorization"] {
        let mut accepted = 0;
        loop {
            let form = "application/x-www-form-urlencoded";
            let sent = (Method::POST, path);
            let reply = sent_for(house, "203.0.113.9", sent, form, body.clone()).await;
            if reply.status == StatusCode::TOO_MANY_REQUESTS {
                break;
            }
            assert!(reply.status.is_success(), "{path}: {}", reply.text());
            accepted += 1;
            assert!(accepted < 100, "{path} is not bounded");
        }
        assert!(accepted > 0, "{path}");
    }
}

/// What a client registers is in its id, and nowhere else.
#[tokio::test]
async fn registrations_leave_no_memory_behind() {
    const WARM_UP: usize = 2_000;
    const COUNT: usize = 10_000;
    let home = home_with(MCP, |plan| plan.top("trusted_proxies = [\"127.0.0.1/32\"]")).await;
    let house = &home.house;
    let uris: Vec<_> = (0..8)
        .map(|number| format!("https://app-{number}.example/{}", "x".repeat(400)))
        .collect();
    let body = json!({"client_name": "Flood", "redirect_uris": uris}).to_string();
    register_from_many(house, &body, 0..WARM_UP).await;
    let before = house.process.memory_kib("VmRSS");
    register_from_many(house, &body, WARM_UP..WARM_UP + COUNT).await;
    // A tenth of what came.
    let bound = u64::try_from(COUNT * body.len() / 10 / 1024).expect("small");
    house.process.shrinks_below(before + bound).await;
}

/// Registrations over a few connections, each from another address.
async fn register_from_many(house: &House, body: &str, numbers: std::ops::Range<usize>) {
    const CONNECTIONS: usize = 4;
    let mut working = tokio::task::JoinSet::new();
    for place in 0..CONNECTIONS {
        let (address, body, numbers) = (house.address, body.to_owned(), numbers.clone());
        working.spawn(async move {
            let stream = TcpStream::connect(address).await.expect("a connection");
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
                .await
                .expect("a client connection");
            tokio::spawn(connection);
            for number in numbers.skip(place).step_by(CONNECTIONS) {
                let from = std::net::Ipv4Addr::from_bits(
                    0x1400_0000 + u32::try_from(number).expect("small"),
                );
                let request = Request::post("/oauth2/register")
                    .header("host", address.to_string())
                    .header("x-forwarded-for", from.to_string())
                    .header("content-type", "application/json")
                    .body(Full::new(Bytes::from(body.clone())))
                    .expect("a request");
                let answer = sender.send_request(request).await.expect("an answer");
                assert_eq!(answer.status(), StatusCode::CREATED);
                answer.into_body().collect().await.expect("a whole answer");
            }
        });
    }
    while let Some(done) = working.join_next().await {
        done.expect("no panic");
    }
}
