//! Tokens of a real django-oauth-toolkit, which are opaque: of people (by password) and of clients.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use serde_json::Value;

use crate::{
    apps::{gunicorn, place},
    support::{House, Reply, Upstream, raw},
};

/// Posts a form as a client of the server.
async fn post(server: SocketAddr, path: &str, client: &str, form: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let basic = STANDARD.encode(format!("{client}:{client}-secret"));
    let request = format!(
        // The older version of HTTP has no chunks.
        "POST {path} HTTP/1.0\r\nHost: {server}\r\nAuthorization: Basic {basic}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let answer = raw::try_exchange(server, false, request.as_bytes()).await;
    let answer = answer.expect("the server answers");
    assert_eq!(answer.get(8..13), Some(" 200 "), "{answer}");
    answer
}

async fn token(server: SocketAddr, client: &str, form: &str) -> String {
    let answer = post(server, "/o/token/", client, form).await;
    let body = answer.split("\r\n\r\n").nth(1).expect("a body");
    let body: Value = serde_json::from_str(body).expect("JSON");
    body["access_token"].as_str().expect("a token").to_owned()
}

async fn by_password(server: SocketAddr, user: &str, password: &str, scope: &str) -> String {
    let form = format!("grant_type=password&username={user}&password={password}&scope={scope}");
    token(server, "mobile", &form).await
}

async fn gate(server: SocketAddr) -> (House, Upstream) {
    let upstream = Upstream::start().await;
    let tables = format!(
        r#"type = "oauth2"
authorize_url = "http://{server}/o/authorize/"
token_url = "http://{server}/o/token/"
userinfo_url = "http://{server}/api/me"
introspection_url = "http://{server}/o/introspect/"
client_id = "gate"
client_secret = "gate-secret"
claims = {{ subject = "id", user = "username" }}
allow = "anyone"
bearer = {{ introspect = true, clients = ["mobile", "nightly"], token_cache = "1s" }}

[[routes]]
path = "/api/profile"
methods = ["GET"]
access = "api"
allow = {{ scopes = ["read_profile"] }}

[[routes]]
path = "/api/profile"
access = "api"
allow = {{ scopes = ["read_profile", "write_profile"] }}

[[routes]]
path = "/api/admin/**"
access = "api"
allow = {{ scopes = ["admin"] }}

[[routes]]
path = "/api/**"
access = "api""#
    );
    let plan = House::plan().upstream(&upstream).named("hub", &tables);
    (plan.start().await, upstream)
}

async fn ask(house: &House, method: Method, path: &str, token: &str) -> Reply {
    let browser = house.browser();
    let request = browser.bare(method, path);
    let authorization = format!("Bearer {token}");
    request.header("authorization", &authorization).send().await
}

#[tokio::test]
async fn people_and_clients_come_with_its_tokens() {
    let (server, folder) = place();
    let _server = gunicorn("oauth_toolkit", server, &folder).await;
    let (house, _upstream) = gate(server).await;
    let reads = by_password(server, "ada", "lovelace", "read_profile").await;
    let writes = by_password(server, "bob", "builder", "read_profile+write_profile").await;

    let seen = ask(&house, Method::GET, "/api/profile", &reads)
        .await
        .seen();
    assert_eq!(seen.header("x-user"), Some("ada"));
    assert_eq!(seen.header("x-user-id"), Some("hub:1"));
    assert_eq!(seen.header("x-user-scopes"), Some("read_profile"));
    assert_eq!(seen.header("x-user-client"), Some("mobile"));
    let refused = ask(&house, Method::POST, "/api/profile", &reads).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let challenge = refused.header("www-authenticate");
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
    let seen = ask(&house, Method::POST, "/api/profile", &writes)
        .await
        .seen();
    assert_eq!(seen.header("x-user-id"), Some("hub:2"));
    let refused = ask(&house, Method::GET, "/api/admin/x", &writes).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);

    // A client stands for itself; one that is not named opens nothing.
    let form = "grant_type=client_credentials&scope=read";
    let nightly = token(server, "nightly", form).await;
    let seen = ask(&house, Method::GET, "/api/x", &nightly).await.seen();
    assert_eq!(seen.header("x-user-id"), Some("hub:client:nightly"));
    let stranger = token(server, "stranger", form).await;
    let refused = ask(&house, Method::GET, "/api/x", &stranger).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);

    // Taken back at the server, it is refused after the cache's time.
    post(
        server,
        "/o/revoke_token/",
        "mobile",
        &format!("token={reads}"),
    )
    .await;
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        match ask(&house, Method::GET, "/api/profile", &reads)
            .await
            .status
        {
            StatusCode::OK => assert!(Instant::now() < end, "it still opens the gate"),
            status => break assert_eq!(status, StatusCode::UNAUTHORIZED),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let seen = ask(&house, Method::POST, "/api/profile", &writes).await;
    assert_eq!(seen.status, StatusCode::OK);
}
