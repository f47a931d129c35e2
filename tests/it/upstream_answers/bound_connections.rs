//! Authentication that holds for a connection and not for a request (NTLM, Negotiate): nobody comes by another's.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::scripted::{Connection, Scripted};
use crate::support::{ScriptedProvider, Stream, h2, house::Plan, keys, provider::now, raw};

/// An app as NTLM has it: three messages on one connection, which then is ada's.
async fn ntlm(mut connection: Connection) {
    let mut state = 0;
    while connection.read_head().await {
        let head = connection
            .heads
            .lock()
            .expect("no panic inside")
            .last()
            .cloned();
        let head = head.expect("just read").to_lowercase();
        let sends = |message: &str| head.contains(&format!("authorization: ntlm {message}\r\n"));
        state = match state {
            0 if sends("one") => 1,
            1 if sends("three") => 2,
            2 => 2,
            _ => 0,
        };
        let answer = match state {
            2 => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nada",
            1 => {
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM two\r\nContent-Length: 2\r\n\r\nno"
            }
            _ => {
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate, NTLM\r\nContent-Length: 2\r\n\r\nno"
            }
        };
        connection.say(answer).await;
    }
}

async fn ask(stream: &mut Stream, authorization: &str) -> String {
    ask_at(stream, "/", authorization).await
}

async fn ask_at(stream: &mut Stream, path: &str, authorization: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: app\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let head = raw::read_until(stream, "\r\n\r\n", Duration::from_secs(5)).await;
    // The body comes with its head, or right behind.
    if head.ends_with("\r\n\r\n") {
        let body = raw::read_until(
            stream,
            if head.contains(" 200 ") { "ada" } else { "no" },
            Duration::from_secs(5),
        );
        return head + &body.await;
    }
    head
}

async fn log_in(stream: &mut Stream) -> String {
    for (authorization, challenge) in [
        ("", "Negotiate, NTLM"),
        ("Authorization: NTLM one\r\n", "NTLM two"),
    ] {
        let answer = ask(stream, authorization).await;
        assert_eq!(raw::status(&answer), 401, "{answer}");
        assert!(answer.contains(challenge), "{answer}");
    }
    ask(stream, "Authorization: NTLM three\r\n").await
}

#[tokio::test]
async fn who_logged_in_on_a_connection_is_nobody_else() {
    let scripted = Scripted::start(ntlm).await;
    let mut ada = scripted.house.connect().await;
    let answer = log_in(&mut ada).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let mut bob = scripted.house.connect().await;
    let answer = ask(&mut bob, "").await;
    assert_eq!(
        raw::status(&answer),
        401,
        "bob is answered as ada: {answer}"
    );
    // The connection is still ada's, who says nothing more of who she is: also after a pause that makes others rest.
    for pause in [0, 0, 3_000] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let answer = ask(&mut ada, "").await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
    }
    assert_eq!(scripted.connections(), 2);
    // And ends with hers.
    drop(ada);
    let mut carol = scripted.house.connect().await;
    assert_eq!(raw::status(&ask(&mut carol, "").await), 401);
    assert_eq!(scripted.connections(), 3);
}

/// Nobody ends what a provider's bearer token opens, and it is somebody's all the same.
#[tokio::test]
async fn by_bearer_tokens_of_two_on_one_connection_none_comes_by_the_others() {
    let provider = ScriptedProvider::start().await;
    let plan = |plan: Plan| {
        let plan = plan.provider(&provider);
        let plan = plan.provider_line("bearer = { audience = [\"api\"] }");
        plan.route("/api/**", "api")
    };
    let scripted = Scripted::start_with(ntlm, plan).await;
    let bearer = |subject: &str| {
        let claims = json!({
            "iss": provider.issuer(), "sub": subject, "aud": "api", "client_id": "cli",
            "iat": now(), "exp": now() + 3_600, "jti": subject,
        });
        let token = keys::access_token(Some("at+jwt"), &claims);
        format!("Authorization: Bearer {token}\r\n")
    };
    let mut stream = scripted.house.connect().await;
    let answer = log_in(&mut stream).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    // The app challenges each, so that each has a connection of their own from then on.
    for (subject, connections) in [("1", 2), ("1", 2), ("2", 3), ("2", 3), ("1", 4)] {
        let answer = ask_at(&mut stream, "/api/x", &bearer(subject)).await;
        assert_eq!(raw::status(&answer), 401, "{answer}");
        assert!(answer.contains("Negotiate, NTLM"), "{answer}");
        assert_eq!(scripted.connections(), connections, "{subject}");
    }
}

/// Requests of many may come over one connection, where a proxy in front shares its own.
#[tokio::test]
async fn over_http2_such_a_connection_serves_one_request() {
    let scripted = Scripted::start(ntlm).await;
    let mut client = h2::connect(&scripted.house).await;
    for _ in 0..3 {
        let request = h2::request("GET", &scripted.house.url("/"), &[]);
        assert_eq!(h2::send(&mut client, request).await.status(), 401);
    }
    assert_eq!(scripted.connections(), 3);
}
