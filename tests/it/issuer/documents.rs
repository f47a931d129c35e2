//! Clients whose id is the address of their metadata document.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    BACK, Home, VERIFIER, authorize, call, code, consent_of, decide, error, home, home_with,
    parameter, post, redeem, redeem_at, renew, tokens_of,
};
use crate::support::{House, Reply, keys};

/// A server of one document on this machine.
struct Host {
    address: std::net::SocketAddr,
    asked: Arc<AtomicUsize>,
    heads: Arc<std::sync::Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Host {
    /// What `answer` makes of its own address is the whole answer.
    async fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (asked, heads) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::<std::sync::Mutex<Vec<String>>>::default(),
        );
        let (count, noted) = (Arc::clone(&asked), Arc::clone(&heads));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut head = vec![0; 8_192];
                let length = stream.read(&mut head).await.unwrap_or_default();
                noted
                    .lock()
                    .expect("nobody panics")
                    .push(String::from_utf8_lossy(&head[..length]).into_owned());
                let text = answer(&format!("http://{address}/client.json"));
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        Self {
            address,
            asked,
            heads,
            task,
        }
    }

    fn id(&self) -> String {
        format!("http://{}/client.json", self.address)
    }
}

fn ok(document: &Value) -> String {
    let body = document.to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn document(id: &str) -> Value {
    json!({"client_id": id, "client_name": "Documented", "redirect_uris": [BACK], "token_endpoint_auth_method": "none"})
}

/// What a host makes of its own address.
type Answer = Box<dyn Fn(&str) -> String + Send>;

const LOOPBACK: &str =
    "[issuer]\nallow_loopback_clients = true\n[[routes]]\npath = \"/mcp/**\"\nmcp = true\n";

#[tokio::test]
async fn a_document_is_fetched_once_and_its_client_gets_tokens() {
    let host = Host::start(|id| ok(&document(id))).await;
    let home = home_with(LOOPBACK, |plan| plan).await;
    let house = &home.house;
    let id = host.id();
    for _ in 0..3 {
        let code = code(house, &id).await;
        let reply = redeem(house, &id, &code).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    }
    // T71: one fetch, without cookies, and nothing else that tells who asks.
    assert_eq!(host.asked.load(Ordering::SeqCst), 1);
    let head = host.heads.lock().expect("nobody panics")[0].to_ascii_lowercase();
    for name in ["cookie", "authorization", "referer", "origin", "forwarded"] {
        assert!(!head.contains(&format!("\r\n{name}")), "{head}");
    }
    let page = house
        .browser()
        .follow(&authorize(house, &id, &[]))
        .await
        .text();
    assert!(
        page.contains("Documented") && page.contains("published by"),
        "{page}"
    );
}

/// What a client with a document signs, for `house`.
fn assertion(house: &House, id: &str, jti: &str, aud: &str) -> String {
    let now = sidegate::clock::now().0;
    let aud = if aud.is_empty() {
        &house.public_url
    } else {
        aud
    };
    keys::ELLIPTIC.signed(&json!({
        "iss": id, "sub": id, "aud": aud, "iat": now, "exp": now + 60, "jti": jti,
    }))
}

/// Redeems a code with these fields beside.
async fn redeem_with(house: &House, code: &str, more: &[(&str, &str)]) -> Reply {
    let fields = [
        &[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
        ],
        more,
    ]
    .concat();
    post(house, "/oauth2/token", &fields).await
}

/// As `ChatGPT` does: its document names keys, and who only knows its id gets nothing.
#[tokio::test]
async fn a_client_whose_document_names_keys_proves_itself_by_them() {
    const KIND: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let set = json!({"keys": [keys::ELLIPTIC.jwk()]});
    let served = set.clone();
    let keys_host = Host::start(move |_| ok(&served)).await;
    let at = keys_host.id();
    let named = Host::start(move |id| {
        let mut document = document(id);
        document["token_endpoint_auth_method"] = "private_key_jwt".into();
        document["jwks_uri"] = at.clone().into();
        ok(&document)
    })
    .await;
    let within = Host::start(move |id| {
        let mut document = document(id);
        document["token_endpoint_auth_method"] = "private_key_jwt".into();
        document["jwks"] = set.clone();
        ok(&document)
    })
    .await;
    let home = home_with(LOOPBACK, |plan| plan).await;
    let house = &home.house;
    for id in [named.id(), within.id()] {
        let code = code(house, &id).await;
        let alone = redeem_with(house, &code, &[("client_id", &id)]).await;
        assert_eq!(
            (alone.status, &*error(&alone)),
            (StatusCode::UNAUTHORIZED, "invalid_client")
        );
        let with = async |proof: &str| {
            let fields = [
                ("client_id", &*id),
                ("client_assertion_type", KIND),
                ("client_assertion", proof),
            ];
            redeem_with(house, &code, &fields).await
        };
        let elsewhere = with(&assertion(house, &id, "0", "https://other.example")).await;
        assert_eq!(elsewhere.status, StatusCode::UNAUTHORIZED);
        let proof = assertion(house, &id, "1", "");
        let tokens = tokens_of(&id, &with(&proof).await);
        let again = with(&proof).await;
        assert_eq!(again.status, StatusCode::UNAUTHORIZED, "{}", again.text());
        // Nor does anybody else refresh, push or revoke in its name.
        let renewed = renew(house, &id, &tokens.refresh).await;
        assert_eq!(renewed.status, StatusCode::UNAUTHORIZED);
        for (path, field) in [("par", "response_type"), ("revoke", "token")] {
            let path = format!("/oauth2/{path}");
            let reply = post(house, &path, &[("client_id", &id), (field, "x")]).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
        }
        let proof = assertion(house, &id, "2", "");
        let fields = [
            ("token", &*tokens.refresh),
            ("client_assertion_type", KIND),
            ("client_assertion", &proof),
        ];
        let revoked = post(house, "/oauth2/revoke", &fields).await;
        assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text());
        assert_eq!(
            call(house, &tokens.access, "/mcp").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    assert_eq!(keys_host.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn m13_bad_documents_bring_a_page_and_no_redirect() {
    let home = home_with(LOOPBACK, |plan| plan).await;
    let house = &home.house;
    let large = "x".repeat(9_000);
    let answers: Vec<Answer> = vec![
        Box::new(|id| ok(&document(&format!("{id}x")))),
        Box::new(|id| ok(&document(&id.replace("http", "https")))),
        Box::new(|_| ok(&json!([]))),
        Box::new(|_| ok(&json!({}))),
        Box::new(move |id| {
            let mut document = document(id);
            document["padding"] = large.clone().into();
            ok(&document)
        }),
        Box::new(|id| ok(&document(id)).replace("200 OK", "404 Not Found")),
        Box::new(|id| ok(&document(id)).replace("200 OK", "204 No Content")),
        Box::new(|id| ok(&document(id)).replace("application/json", "text/html")),
        Box::new(|id| format!("HTTP/1.1 302 Found\r\nlocation: {id}\r\ncontent-length: 0\r\n\r\n")),
        Box::new(|_| String::new()),
        Box::new(|_| "not http at all\r\n\r\n".to_owned()),
        Box::new(|id| {
            let mut document = document(id);
            document["client_secret"] = "s".into();
            ok(&document)
        }),
        Box::new(|id| {
            let mut document = document(id);
            document["token_endpoint_auth_method"] = "client_secret_post".into();
            ok(&document)
        }),
        Box::new(|id| {
            let mut document = document(id);
            document["redirect_uris"] = json!([BACK, "javascript:alert(1)"]);
            ok(&document)
        }),
        Box::new(|id| {
            let mut document = document(id);
            document["redirect_uris"] = json!(["https://other.example/"]);
            ok(&document)
        }),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let host = Host::start(answer).await;
        let reply = house
            .browser()
            .get(&authorize(house, &host.id(), &[]))
            .await;
        assert_eq!(
            reply.status,
            StatusCode::BAD_REQUEST,
            "{number}: {}",
            reply.text()
        );
        assert!(reply.headers.get("location").is_none(), "{number}");
        assert!(host.asked.load(Ordering::SeqCst) >= 1, "{number}");
    }
    // What was bad is not remembered.
    let turn = Arc::new(AtomicUsize::new(0));
    let host = Host::start(move |id| {
        if turn.fetch_add(1, Ordering::SeqCst) == 0 {
            String::new()
        } else {
            ok(&document(id))
        }
    })
    .await;
    assert_eq!(
        house
            .browser()
            .get(&authorize(house, &host.id(), &[]))
            .await
            .status,
        StatusCode::BAD_REQUEST
    );
    consent_of(
        &house
            .browser()
            .follow(&authorize(house, &host.id(), &[]))
            .await,
    );
}

#[tokio::test]
async fn m13_nothing_inside_is_asked_unless_it_is_allowed() {
    let host = Host::start(|id| ok(&document(id))).await;
    let home = home().await;
    let house = &home.house;
    let port = host.address.port();
    for id in [
        host.id(),
        format!("https://127.0.0.1:{port}/client.json"),
        format!("https://localhost:{port}/client.json"),
        format!("https://[::1]:{port}/client.json"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://10.0.0.1/client.json".to_owned(),
        "https://[::ffff:127.0.0.1]/client.json".to_owned(),
        format!("https://localhost.localdomain:{port}/client.json"),
    ] {
        let reply = house.browser().get(&authorize(house, &id, &[])).await;
        assert_eq!(
            reply.status,
            StatusCode::BAD_REQUEST,
            "{id}: {}",
            reply.text()
        );
    }
    assert_eq!(host.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn t71_a_document_that_never_comes_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let id = format!(
        "http://{}/client.json",
        listener.local_addr().expect("an address")
    );
    let home = home_with(LOOPBACK, |plan| plan).await;
    let begun = std::time::Instant::now();
    let reply = home
        .house
        .browser()
        .get(&authorize(&home.house, &id, &[]))
        .await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn only_listed_domains_are_asked() {
    let host = Host::start(|id| ok(&document(id))).await;
    let tables = LOOPBACK.replacen(
        "true\n",
        "true\nallow_client_domains = [\"claude.ai\"]\n",
        1,
    );
    let home = home_with(&tables, |plan| plan).await;
    let reply = home
        .house
        .browser()
        .get(&authorize(&home.house, &host.id(), &[]))
        .await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(host.asked.load(Ordering::SeqCst), 0);
}

/// Between the page and its button the document becomes another one, and the gate has to read it anew.
#[tokio::test]
async fn m8_a_client_that_renames_itself_gets_what_was_shown_and_no_more() {
    const ELSEWHERE: &str = "https://evil.example/cb";
    let turned = Arc::new(AtomicBool::new(false));
    let has_turned = Arc::clone(&turned);
    let host = Host::start(move |id| {
        let mut document = document(id);
        if has_turned.load(Ordering::SeqCst) {
            document["client_name"] = json!("Your bank");
            document["redirect_uris"] = json!([BACK, ELSEWHERE]);
        }
        ok(&document)
    })
    .await;
    let id = host.id();
    let home = home_with(LOOPBACK, |plan| plan).await;
    let browser = home.house.browser();
    let page = browser.follow(&authorize(&home.house, &id, &[])).await;
    assert!(page.text().contains("Documented"), "{}", page.text());
    let consent = consent_of(&page);
    turned.store(true, Ordering::SeqCst);
    // A gate that has just begun has no copy.
    let Home {
        house,
        upstream,
        provider,
    } = home;
    let (address, public_url) = (house.address, house.public_url.clone());
    drop(house);
    let plan = House::plan().upstream(&upstream).provider(&provider);
    let plan = plan.tables(LOOPBACK).public_url(&public_url);
    let house = plan.start_at(address).await;
    let browser = browser.moved_to(&house);

    let back = decide(&browser, &consent, "allow").await.location();
    assert!(back.as_str().starts_with(BACK), "{back}");
    let code = parameter(&back, "code").expect("a code");
    let reply = redeem_at(&house, &id, &code, ELSEWHERE).await;
    assert_eq!(error(&reply), "invalid_grant", "{}", reply.text());
    tokens_of(&id, &redeem(&house, &id, &code).await);
    assert_eq!(host.asked.load(Ordering::SeqCst), 2);
    let listed = browser.fetch(Method::GET, "/oauth2/account/grants");
    let listed = listed.send().await.json();
    assert_eq!(listed["grants"][0]["name"], "Documented", "{listed}");
    // Asked anew, the page says what the client has become, and where that leads.
    let address = authorize(&house, &id, &[("redirect_uri", ELSEWHERE)]);
    let page = browser.get(&address).await.text();
    assert!(
        page.contains("Your bank") && page.contains("evil.example"),
        "{page}"
    );
}
