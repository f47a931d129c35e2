//! The configuration is read again while the gate runs: what changes at once, what goes on, and what an error does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    Browser, House, ScriptedProvider, Stream, Upstream, arranged, house::Plan, ports,
    provider::now, raw, tls, websocket,
};

/// A change of a file is seen within this.
const SEEN: Duration = Duration::from_secs(15);
const IN_FORCE: &str = "was read again and is in force";

async fn house(plan: impl FnOnce(Plan) -> Plan) -> (House, Upstream, ScriptedProvider) {
    arranged(|_| {}, |given| plan(given.admin())).await
}

async fn person(house: &House, provider: &ScriptedProvider, subject: &str) -> Browser {
    provider.user("sub", json!(subject));
    provider.user("email", json!(format!("{subject}@example.com")));
    let browser = house.browser();
    let signed_in = browser.follow("/oauth2/start/script?rd=/").await;
    assert_eq!(signed_in.status, StatusCode::OK);
    browser
}

/// How often a line with `text` is in the log.
fn count(house: &House, text: &str) -> usize {
    house.process.log().matches(text).count()
}

/// Changes the file, and waits until that is in force.
pub async fn change(house: &House, from: &str, to: &str) {
    let before = count(house, IN_FORCE);
    house.rewrite(from, to);
    until(house, "the change", || count(house, IN_FORCE) > before).await;
}

async fn until(house: &House, what: &str, mut is_so: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + SEEN;
    while !is_so() {
        assert!(
            tokio::time::Instant::now() < end,
            "{what}:\n{}",
            house.process.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn state(house: &House) -> Value {
    let (status, body) = house.admin_says("/reload").await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

async fn status(browser: &Browser, path: &str) -> u16 {
    browser.get(path).await.status.as_u16()
}

#[tokio::test]
async fn a_rule_that_tightens_holds_at_the_next_request_and_sessions_stay() {
    let (house, _upstream, provider) = house(|plan| {
        plan.allow("{ emails = [\"ada@example.com\", \"bob@example.com\"] }")
            .session("# session")
            .route("/open/**", "public")
    })
    .await;
    let ada = person(&house, &provider, "ada").await;
    let bob = person(&house, &provider, "bob").await;
    let (mut socket, _) = websocket::open(&house, &bob, "/ws", &[])
        .await
        .expect("open");
    websocket::expect_echo(&mut socket, "before").await;
    assert_eq!(status(&house.browser(), "/open/x").await, 200);

    change(&house, ", \"bob@example.com\"", "").await;
    assert_eq!(status(&bob, "/page").await, 403);
    assert_eq!(status(&ada, "/page").await, 200);
    // What was open goes on under the configuration that it began with.
    websocket::expect_echo(&mut socket, "after").await;

    change(&house, "access = \"public\"", "access = \"deny\"").await;
    assert_eq!(status(&house.browser(), "/open/x").await, 403);
    assert_eq!(status(&ada, "/page").await, 200);
    assert_eq!(state(&house).await["current"], true);

    change(
        &house,
        "[\"ada@example.com\"]",
        "[\"ada@example.com\", \"bob@example.com\"]",
    )
    .await;
    assert_eq!(
        status(&bob, "/page").await,
        200,
        "the session was never gone"
    );
}

#[tokio::test]
async fn a_fresh_login_is_asked_for_and_an_app_called_otherwise_at_the_next_request() {
    let (house, _upstream, provider) = house(|plan| {
        plan.top("upstream_audience = \"before\"")
            .tables("[[routes]]\npath = \"/safe/**\"")
    })
    .await;
    provider.set(|behaviour| behaviour.id_token = json!({ "auth_time": now() - 1_000 }));
    let ada = person(&house, &provider, "ada").await;
    assert_eq!(status(&ada, "/safe/x").await, 200);
    change(&house, "\"/safe/**\"", "\"/safe/**\"\nmax_age = \"10m\"").await;
    assert_eq!(status(&ada, "/safe/x").await, 302);
    assert_eq!(status(&ada, "/page").await, 200);
    change(&house, "\"10m\"", "\"1h\"").await;
    assert_eq!(status(&ada, "/safe/x").await, 200);

    let audience = async || {
        let seen = ada.get("/page").await.seen();
        let assertion = seen.header("x-user-assertion").expect("an assertion");
        let claims = assertion.split('.').nth(1).expect("claims");
        let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
        serde_json::from_slice::<Value>(&claims).expect("JSON")["aud"].clone()
    };
    assert_eq!(audience().await, "before");
    change(&house, "\"before\"", "\"after\"").await;
    assert_eq!(audience().await, "after");
}

#[tokio::test]
async fn a_file_with_errors_changes_nothing_and_is_told_with_all_of_them() {
    let (house, _upstream, provider) = house(|plan| plan.route("/open/**", "public")).await;
    let ada = person(&house, &provider, "ada").await;
    house.rewrite(
        "access = \"public\"",
        "acess = \"deny\"\nmethods = [\"GE T\"]",
    );
    until(&house, "the refusal", || {
        count(&house, "nothing has changed") == 1
    })
    .await;
    let log = house.process.log();
    assert!(log.contains("acess") && log.contains("GE T"), "{log}");
    assert_eq!(status(&ada, "/page").await, 200);
    assert_eq!(status(&house.browser(), "/open/x").await, 200);
    let told = state(&house).await;
    assert_eq!(told["current"], false);
    let errors = told["errors"].as_str().expect("errors");
    assert!(
        errors.contains("acess") && errors.contains("GE T"),
        "{errors}"
    );
    let (_, metrics) = house.admin_says("/metrics").await;
    assert!(metrics.contains("sidegate_config_current 0"), "{metrics}");
    assert!(
        metrics.contains("sidegate_config_reloads_total{outcome=\"refused\"} 1"),
        "{metrics}"
    );
    let (ready, detail) = house.ready_in_detail().await;
    assert_eq!(ready, 200);
    assert!(detail.contains("the configuration has errors"), "{detail}");

    change(
        &house,
        "acess = \"deny\"\nmethods = [\"GE T\"]",
        "access = \"deny\"",
    )
    .await;
    assert_eq!(status(&house.browser(), "/open/x").await, 403);
    assert_eq!(state(&house).await["current"], true);
    let (_, metrics) = house.admin_says("/metrics").await;
    assert!(metrics.contains("sidegate_config_current 1"), "{metrics}");
}

#[tokio::test]
async fn a_hangup_reads_it_again_and_what_needs_a_restart_is_named() {
    let (house, _upstream, provider) = house(|plan| plan.top("workers = 1\n")).await;
    let ada = person(&house, &provider, "ada").await;
    house.process.signal("HUP");
    until(&house, "the hangup", || count(&house, IN_FORCE) == 1).await;
    change(&house, "workers = 1", "workers = 2").await;
    let told = state(&house).await;
    assert_eq!(told["current"], true);
    assert_eq!(told["waiting_for_restart"], json!(["workers"]));
    assert!(house.process.log().contains("wait for a restart"));
    assert_eq!(status(&ada, "/page").await, 200);
}

#[tokio::test]
async fn secrets_are_rotated_and_sessions_go_on() {
    let (mut secret, mut client) = (None, None);
    let (house, _upstream, provider) = house(|plan| {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let (one, two) = (folder.join("session"), folder.join("client"));
        std::fs::write(&one, crate::support::house::SECRET).expect("written");
        std::fs::write(&two, "a-first-secret").expect("written");
        let plan = plan
            .secret(&format!("{{ file = \"{}\" }}", one.display()))
            .tables(&format!(
                "[providers.other]\ntype = \"oidc\"\nissuer = \"http://127.0.0.1:9\"\nclient_id = \"x\"\n\
                 client_secret = {{ file = \"{}\" }}\nallow = \"anyone\"\n",
                two.display()
            ));
        (secret, client) = (Some(one), Some(two));
        plan
    })
    .await;
    let ada = person(&house, &provider, "ada").await;
    let session = secret.expect("a file");
    std::fs::write(&session, "tYw3Vu9Xq0c1pYtR7aKz5LwB2nHs8dEf4gJ6iQoU0vT").expect("written");
    until(&house, "the new secret", || count(&house, IN_FORCE) == 1).await;
    assert_ne!(
        status(&ada, "/page").await,
        200,
        "sealed by a secret that is gone"
    );
    std::fs::write(&session, crate::support::house::SECRET).expect("written");
    until(&house, "the old secret", || count(&house, IN_FORCE) == 2).await;
    assert_eq!(status(&ada, "/page").await, 200);
    std::fs::write(client.expect("a file"), "another-secret").expect("written");
    until(&house, "the client's secret", || {
        count(&house, IN_FORCE) == 3
    })
    .await;
}

/// A provider whose document was fetched can be signed in at after a reload, though it publishes nothing any more.
#[tokio::test]
async fn what_was_learnt_of_a_provider_is_kept() {
    let (house, _upstream, provider) = house(|plan| plan.allow("\"anyone\"")).await;
    person(&house, &provider, "ada").await;
    provider.set(|behaviour| {
        behaviour.discovered_issuer = Some("https://elsewhere.example".to_owned());
    });
    change(
        &house,
        "allow = \"anyone\"",
        "allow = { domains = [\"example.com\"] }",
    )
    .await;
    person(&house, &provider, "bob").await;
}

#[tokio::test]
async fn addresses_may_change() {
    let (first, second) = (ports::free_address(), ports::free_address());
    let (house, _upstream, _provider) = {
        let upstream = Upstream::start().await;
        let provider = ScriptedProvider::start().await;
        let plan = House::plan()
            .admin()
            .upstream(&upstream)
            .provider(&provider);
        (plan.start_at(first).await, upstream, provider)
    };
    let ask = b"GET /oauth2/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    change(
        &house,
        &format!("listen = \"{first}\""),
        &format!("listen = [\"{second}\", \"{first}\"]"),
    )
    .await;
    for address in [first, second] {
        let answer = raw::try_exchange(address, false, ask)
            .await
            .expect("answered");
        assert_eq!(raw::status(&answer), 200);
    }
    change(&house, &format!(", \"{first}\""), "").await;
    assert!(
        TcpStream::connect(first).await.is_err(),
        "nobody listens there"
    );
    let answer = raw::try_exchange(second, false, ask)
        .await
        .expect("answered");
    assert_eq!(raw::status(&answer), 200);

    // One that is taken changes nothing.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = taken.local_addr().expect("an address").to_string();
    let held = std::net::TcpListener::bind(&taken);
    house.rewrite(
        &format!("\"{second}\""),
        &format!("\"{second}\", \"{taken}\""),
    );
    until(&house, "the refusal", || {
        count(&house, "cannot be put in force") == 1
    })
    .await;
    drop(held);
    let answer = raw::try_exchange(second, false, ask)
        .await
        .expect("answered");
    assert_eq!(raw::status(&answer), 200);
}

#[tokio::test]
async fn the_address_for_operators_may_change() {
    let (house, _upstream, _provider) = house(|plan| plan).await;
    let (first, second) = (house.admin_address(), ports::free_address());
    let line = |address| format!("admin_listen = \"{address}\"");
    change(&house, &line(first), &line(second)).await;
    assert_eq!(house.ask_admin(second, "/ping").await.0, 200);
    let (_, state) = house.ask_admin(second, "/reload").await;
    assert!(state.contains("\"waiting_for_restart\":[]"), "{state}");
    let end = tokio::time::Instant::now() + SEEN;
    while TcpStream::connect(first).await.is_ok() {
        assert!(tokio::time::Instant::now() < end, "somebody listens there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Nothing of it is left that a firewall would still have to know of.
#[tokio::test]
async fn connections_of_operators_end_with_their_address() {
    // Less than they may be silent.
    const AT_ONCE: Duration = Duration::from_secs(10);
    let (house, _upstream, _provider) = house(|plan| plan).await;
    let address = house.admin_address();
    let mut open = Vec::<Stream>::new();
    for _ in 0..3 {
        open.push(Box::new(TcpStream::connect(address).await.expect("open")));
    }
    let [_silent, half, idle] = &mut open[..] else {
        unreachable!("three");
    };
    half.write_all(b"GET /ping HT").await.expect("sent");
    let ask = format!("GET /ping HTTP/1.1\r\nHost: {address}\r\n\r\n");
    idle.write_all(ask.as_bytes()).await.expect("sent");
    let answer = raw::read_until(idle, "OK", AT_ONCE).await;
    assert!(
        raw::status(&answer) == 200 && !raw::says_close(&answer),
        "{answer}"
    );
    change(&house, &format!("admin_listen = \"{address}\""), "").await;
    for (name, mut connection) in ["silent", "half", "idle"].into_iter().zip(open) {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(AT_ONCE, connection.read_to_end(&mut rest)).await;
        // A reset is an end, too.
        assert!(ended.is_ok(), "{name}: it is still open");
    }
    assert!(TcpStream::connect(address).await.is_err(), "it listens");
}

#[tokio::test]
async fn what_is_logged_may_change() {
    let (house, _upstream, _provider) = house(|plan| plan.top("log = \"info\"\n")).await;
    let debug = "\"level\":\"DEBUG\"";
    let break_off = async || {
        let mut half = TcpStream::connect(house.address).await.expect("connected");
        half.write_all(b"GET / HTTP/1.1\r\n").await.expect("sent");
    };
    break_off().await;
    change(
        &house,
        "log = \"info\"",
        "log = \"info,sidegate::listen=debug\"",
    )
    .await;
    assert_eq!(count(&house, debug), 0);
    break_off().await;
    until(&house, "a finer line", || count(&house, debug) > 0).await;
}

#[tokio::test]
async fn the_grace_may_change() {
    let (mut house, upstream, _provider) = house(|plan| {
        plan.top("shutdown_grace = \"1m\"\n")
            .route("/_/**", "public")
    })
    .await;
    change(&house, "shutdown_grace = \"1m\"", "shutdown_grace = \"1s\"").await;
    let tab = house.browser();
    let stuck = tokio::spawn(async move { tab.navigate("/_/hang").begin().await.into_body() });
    upstream
        .wait_until("the request", |upstream| upstream.count() == 1)
        .await;
    house.process.terminate();
    house.process.ended(Duration::from_secs(20)).await;
    stuck.abort();
}

/// 200 requests a second, a reload every now and then, a certificate that is swapped: nobody notices.
#[tokio::test]
async fn requests_survive_fifty_reloads() {
    let (house, _upstream, provider) = house(|plan| plan.top("# count 0\n")).await;
    let ada = person(&house, &provider, "ada").await;
    let cookies = ada.cookies("/");
    let is_over = Arc::new(AtomicBool::new(false));
    let (good, bad) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for number in 0..10 {
        let (address, cookies) = (house.address, cookies.clone());
        let (is_over, good, bad) = (Arc::clone(&is_over), Arc::clone(&good), Arc::clone(&bad));
        clients.push(tokio::spawn(async move {
            let close = if number % 2 == 0 {
                "Connection: close\r\n"
            } else {
                ""
            };
            let ask =
                format!("GET /x HTTP/1.1\r\nHost: {address}\r\nCookie: {cookies}\r\n{close}\r\n");
            let mut kept = None;
            while !is_over.load(Ordering::Relaxed) {
                let answer = if number % 2 == 0 {
                    raw::try_exchange(address, false, ask.as_bytes()).await.ok()
                } else {
                    let stream = match &mut kept {
                        Some(stream) => stream,
                        none => none.insert(crate::support::connect(address, false).await),
                    };
                    stream.write_all(ask.as_bytes()).await.expect("sent");
                    Some(raw::read_until(stream, "}", SEEN).await)
                };
                let is_good = answer.is_some_and(|answer| raw::status(&answer) == 200);
                (if is_good { &good } else { &bad }).fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }));
    }
    for reload in 0..50 {
        house.rewrite(
            &format!("# count {reload}\n"),
            &format!("# count {}\n", reload + 1),
        );
        house.process.signal("HUP");
        until(&house, "a reload", || count(&house, IN_FORCE) > reload).await;
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client");
    }
    let (good, bad) = (good.load(Ordering::Relaxed), bad.load(Ordering::Relaxed));
    assert_eq!(bad, 0, "of {good}");
    assert!(good > 100, "{good}");
}

#[tokio::test]
async fn a_certificate_is_swapped() {
    let (house, _upstream, _provider) = house(Plan::tls).await;
    let shown = async || {
        let stream = TcpStream::connect(house.address).await.expect("connected");
        tls::certificate(stream).await.expect("a certificate")
    };
    let before = shown().await;
    let fresh = tls::swap_files(house.directory());
    until(&house, "the certificate", || count(&house, IN_FORCE) > 0).await;
    let after = shown().await;
    assert_ne!(before, after);
    assert_eq!(after, fresh);
}
