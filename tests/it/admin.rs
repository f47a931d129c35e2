//! The admin listener: everybody's sessions, and metrics.

mod metrics;
mod remembered_logins;

use std::{
    fmt::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::support::{
    Browser, House, ScriptedProvider, Stream, Upstream, house::Plan, ports, raw,
    redis::RedisServer, standard_with,
};

/// A gate and its admin listener.
struct Admin {
    house: House,
    address: SocketAddr,
    provider: ScriptedProvider,
    _upstream: Upstream,
}

async fn admin(change: impl FnOnce(Plan) -> Plan) -> Admin {
    let address = ports::free_address();
    let listen = format!("admin_listen = \"{address}\"");
    let (house, upstream, provider) = standard_with(|plan| change(plan.top(&listen))).await;
    Admin {
        house,
        address,
        provider,
        _upstream: upstream,
    }
}

impl Admin {
    /// The answer's status and body to a request with these further headers.
    async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let own = self.address.to_string();
        let mut request = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            let _ = write!(request, "Host: {own}\r\n");
        }
        for (name, value) in headers {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        request += "\r\n";
        let answer = raw::try_exchange(self.address, false, request.as_bytes()).await;
        let answer = answer.expect("the admin listener answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(
            !head.to_ascii_lowercase().contains("access-control-"),
            "no page may read it: {head}"
        );
        (raw::status(&answer), body.to_owned())
    }

    async fn json(&self, method: &str, target: &str, status: u16) -> Value {
        let (found, body) = self.ask(method, target, &[]).await;
        assert_eq!(found, status, "{method} {target}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    async fn signed_in(&self, subject: &str) -> Browser {
        self.provider.user("sub", json!(subject));
        let browser = self.house.browser();
        browser.sign_in("/").await;
        browser
    }
}

async fn is_signed_in(browser: &Browser) -> bool {
    browser.get("/").await.status == StatusCode::OK
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_user_and_one_by_one() {
    for store in ["store = \"cookie\"", "store = \"memory\""] {
        let admin = admin(|plan| plan.session(store)).await;
        let (ada, ada2) = (admin.signed_in("ada").await, admin.signed_in("ada").await);
        let bob = admin.signed_in("bob").await;
        let listed = admin.json("GET", "/sessions?user=script:ada", 200).await;
        assert_eq!(listed["user"], "script:ada");
        let sessions = listed["sessions"].as_array().expect("a list");
        assert_eq!(sessions.len(), 2, "{listed}");
        for session in sessions {
            assert_eq!(session["device"], "Browser");
            assert_eq!(session["address"], "127.0.0.1");
        }
        let nobody = admin.json("GET", "/sessions?user=script:eve", 200).await;
        assert_eq!(nobody["sessions"], json!([]));

        let id = sessions[0]["id"].as_str().expect("an id");
        admin.json("DELETE", &format!("/sessions/{id}"), 200).await;
        let left = [is_signed_in(&ada).await, is_signed_in(&ada2).await];
        assert_eq!(
            left.iter().filter(|is| **is).count(),
            1,
            "{store}: {left:?}"
        );
        let again = admin.json("DELETE", &format!("/sessions/{id}"), 404).await;
        assert_eq!(again["error"], "unknown_session");

        let done = admin.json("DELETE", "/sessions?user=script:ada", 200).await;
        assert_eq!(done["signed_out"], "script:ada");
        assert!(
            !is_signed_in(&ada).await && !is_signed_in(&ada2).await,
            "{store}"
        );
        let listed = admin.json("GET", "/sessions?user=script:ada", 200).await;
        assert_eq!(listed["sessions"], json!([]));
        assert!(is_signed_in(&bob).await, "{store}");
        admin.json("DELETE", "/sessions?all=true", 200).await;
        assert!(!is_signed_in(&bob).await, "{store}");
    }
}

/// Who signs somebody out has to know whether they are out everywhere: Redis may be gone, or there and take nothing.
#[tokio::test]
async fn what_other_replicas_are_still_to_be_told_is_said() {
    let mut redis = RedisServer::start().await;
    for keeping in ["store = ", "store = \"cookie\"\nshared = "] {
        let lines = format!("{keeping}\"{}\"", redis.url());
        let admin = admin(|plan| plan.session(&lines)).await;
        let sign_out = async || {
            let (status, body) = admin.ask("DELETE", "/sessions?user=script:ada", &[]).await;
            assert_eq!(body.contains("pending"), status == 202, "{keeping}: {body}");
            status
        };
        let until_told = async || {
            let end = Instant::now() + Duration::from_secs(20);
            while sign_out().await != 200 {
                assert!(Instant::now() < end, "{keeping}: never told");
            }
            assert_eq!(metrics::waiting(&admin).await, Some(0), "{keeping}");
        };
        until_told().await;

        let writes_to = async |replicas| {
            let command = ["CONFIG", "SET", "min-replicas-to-write", replicas];
            assert!(redis.ask(&command).await.contains("OK"));
        };
        // What was told of this second is known everywhere.
        let next_second = || tokio::time::sleep(Duration::from_millis(1_100));
        next_second().await;
        writes_to("1").await;
        assert_eq!(sign_out().await, 202, "{keeping}");
        // The second within a second says nothing new, and the first is not told for that.
        assert_eq!(sign_out().await, 202, "{keeping}");
        assert!(metrics::waiting(&admin).await > Some(0), "{keeping}");
        writes_to("0").await;
        until_told().await;

        next_second().await;
        redis.kill();
        assert_eq!(sign_out().await, 202, "{keeping}");
        redis.run().await;
        until_told().await;
    }
}

/// Times are whole seconds, and what began in that of a revocation does not count.
#[tokio::test]
async fn who_was_just_signed_out_can_sign_in_at_once() {
    for store in ["store = \"cookie\"", "store = \"memory\""] {
        let admin = admin(|plan| plan.session(store)).await;
        for target in ["/sessions?user=script:ada", "/sessions?all=true"] {
            let earlier = admin.signed_in("ada").await;
            admin.json("DELETE", target, 200).await;
            let ada = admin.signed_in("ada").await;
            assert!(is_signed_in(&ada).await, "{store} {target}");
            assert!(!is_signed_in(&earlier).await, "{store} {target}");
        }
    }
}

/// The time before which sessions do not count holds for those too that nobody has seen.
#[tokio::test]
async fn a_user_is_signed_out_whether_listed_or_not() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let address = ports::free_address();
    let plan = || {
        let plan = House::plan().upstream(&upstream).provider(&provider);
        let plan = plan.top(&format!("admin_listen = \"{address}\""));
        plan.public_url("http://app.test").start()
    };
    let before = plan().await;
    let ada = before.browser();
    ada.sign_in("/").await;
    drop(before);
    let after = plan().await;
    let request = format!(
        "DELETE /sessions?user=script:ada-1815 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    );
    let answer = raw::try_exchange(address, false, request.as_bytes()).await;
    assert_eq!(raw::status(&answer.expect("an answer")), 200);
    assert!(!is_signed_in(&ada.moved_to(&after)).await);
}

#[tokio::test]
async fn a_mistake_signs_nobody_out_and_says_what_it_is() {
    let admin = admin(|plan| plan).await;
    let ada = admin.signed_in("ada").await;
    for (method, target, status, error) in [
        ("GET", "/sessions", 400, "bad_request"),
        ("GET", "/sessions?all=true", 400, "bad_request"),
        ("DELETE", "/sessions", 400, "bad_request"),
        ("DELETE", "/sessions?all=yes", 400, "bad_request"),
        ("DELETE", "/sessions?usr=script:ada", 400, "bad_request"),
        ("DELETE", "/sessions?user=ada", 400, "bad_request"),
        (
            "DELETE",
            "/sessions?user=script:ada&all=true",
            400,
            "bad_request",
        ),
        (
            "DELETE",
            "/sessions?user=scrpt:ada",
            404,
            "unknown_provider",
        ),
        ("DELETE", "/sessions/", 404, "unknown_session"),
        ("DELETE", "/sessions/x", 404, "unknown_session"),
        (
            "POST",
            "/sessions?user=script:ada",
            405,
            "method_not_allowed",
        ),
        (
            "OPTIONS",
            "/sessions?user=script:ada",
            405,
            "method_not_allowed",
        ),
        ("GET", "/sessions/x", 405, "method_not_allowed"),
    ] {
        let answer = admin.json(method, target, status).await;
        assert_eq!(answer["error"], error, "{method} {target}");
        assert!(
            answer["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
    }
    assert!(is_signed_in(&ada).await);
}

#[tokio::test]
async fn no_page_in_a_browser_reaches_it() {
    let admin = admin(|plan| plan).await;
    let ada = admin.signed_in("ada").await;
    let own = format!("http://{}", admin.address);
    for header in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", own.as_str()),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-origin"),
        ("host", "evil.example:4181"),
        ("host", "127.0.0.1.evil.example"),
    ] {
        for (method, target) in [
            ("GET", "/sessions?user=script:ada"),
            ("DELETE", "/sessions?all=true"),
        ] {
            let (status, body) = admin.ask(method, target, &[header]).await;
            assert_eq!(status, 403, "{method} {header:?}: {body}");
            assert!(!body.contains("device"), "{body}");
        }
    }
    let (status, _) = admin
        .ask("GET", "/metrics", &[("origin", "http://evil.example")])
        .await;
    assert_eq!(status, 403);
    for host in ["localhost", "[::1]:4181", "10.0.0.7:4181"] {
        let (status, body) = admin
            .ask("GET", "/sessions?user=script:ada", &[("host", host)])
            .await;
        assert_eq!(status, 200, "{host}: {body}");
    }
    assert!(is_signed_in(&ada).await);
    let public = ada.get("/sessions?user=script:ada").await;
    assert!(
        public.seen().target.starts_with("/sessions"),
        "on the public port it is the app's"
    );
}

/// What is asked there has no body. A client that sends one is told that the connection ends with that.
#[tokio::test]
async fn a_body_that_nobody_reads_ends_the_connection_with_words() {
    let admin = admin(|plan| plan).await;
    for (length, body, says_close) in [(9, "", true), (9, "any thing", false), (0, "", false)] {
        let ask = format!(
            "POST /sessions HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n{body}",
            admin.address
        );
        let mut stream: Stream = Box::new(TcpStream::connect(admin.address).await.expect("open"));
        stream.write_all(ask.as_bytes()).await.expect("sent");
        let head = raw::read_until(&mut stream, "\r\n\r\n", Duration::from_secs(10)).await;
        assert_eq!(raw::status(&head), 405, "{head}");
        assert_eq!(
            raw::says_close(&head),
            says_close,
            "{length} {body}: {head}"
        );
    }
}

/// Whoever holds connections and says nothing, or asks and reads nothing, keeps no orchestrator from its answer.
#[tokio::test]
async fn silent_connections_keep_nobody_from_the_admin_listener() {
    let mut admin = admin(|plan| plan).await;
    let mut held = Vec::new();
    for number in 0..200 {
        let mut connection = TcpStream::connect(admin.address).await.expect("connected");
        if number % 2 == 1 {
            let ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
            connection.write_all(&ask).await.expect("sent");
        }
        held.push(connection);
    }
    let ping = tokio::time::timeout(Duration::from_secs(8), admin.ask("GET", "/ping", &[]));
    let (status, _) = ping.await.expect("an answer in time");
    assert_eq!(status, 200);
    admin.house.process.terminate();
    let ended = admin.house.process.ended(Duration::from_secs(8)).await;
    assert!(ended.success(), "{ended}");
    drop(held);
}
