//! The Caddy that Debian ships, with the file that asks sidegate by `forward_auth`, as it stands in `deploy/`: only ports
//! and paths are the test's own.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use tempfile::TempDir;

use super::{in_repository, tool};
use crate::support::{House, ScriptedProvider, Upstream, ports, process::Process, tls};

async fn caddy(place: &TempDir, at: SocketAddr, gate: SocketAddr, app: SocketAddr) -> Process {
    let (certificate, key) = tls::write_files(place.path());
    let file = in_repository("deploy/caddy/forward_auth.Caddyfile");
    let text = fs::read_to_string(file).expect("the file");
    let site = format!(
        "https://app.example.com:{} {{\n\tbind 127.0.0.1\n\ttls {} {}\n",
        at.port(),
        certificate.display(),
        key.display()
    );
    let text = text
        .replace("\napp.example.com {\n", &format!("\n{site}"))
        .replace("127.0.0.1:4180", &gate.to_string())
        .replace("127.0.0.1:8000", &app.to_string());
    let path = place.path().join("Caddyfile");
    let options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n";
    fs::write(&path, format!("{options}{text}")).expect("the configuration is written");
    let mut command = tool("caddy", "caddy");
    command.env("HOME", place.path());
    command.args(["run", "--adapter", "caddyfile", "--config"]);
    let mut process = Process::start({
        command.arg(&path);
        command
    });
    let end = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(at).await.is_err() {
        assert_eq!(process.try_wait(), None, "Caddy ended:\n{}", process.log());
        assert!(
            Instant::now() < end,
            "Caddy does not answer:\n{}",
            process.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process
}

#[tokio::test]
async fn caddy_asks_and_the_app_believes_the_answer_alone() {
    let (app, provider) = (Upstream::start().await, ScriptedProvider::start().await);
    provider.set(|behaviour| {
        behaviour.user = serde_json::json!({ "sub": "ada-1815", "preferred_username": "ada" });
    });
    let house = House::plan()
        .public_url("https://app.example.com")
        .top("trusted_proxies = [\"127.0.0.1/32\"]\nforward_auth = \"caddy\"")
        .provider(&provider)
        .route("/public/**", "public")
        .route("/internal/**", "deny")
        .start()
        .await;
    let place = tempfile::tempdir().expect("a directory");
    let address = ports::free_address();
    let _caddy = caddy(&place, address, house.address, app.address).await;
    let browser = house.browser().led_to(address);

    let wanted = "/deep/page?a=1&b=two%20words&c=%26";
    let first = browser.get(wanted).await;
    assert_eq!(first.status, StatusCode::FOUND);
    let next = first.header("location");
    assert!(
        next.starts_with("https://app.example.com/oauth2/sign_in?rd="),
        "{next}"
    );
    let script = browser.fetch(Method::GET, "/api").send().await;
    assert_eq!(script.status, StatusCode::UNAUTHORIZED);
    let forged = browser
        .navigate("/page")
        .header("x-forwarded-uri", "/public/x")
        .header("x-forwarded-method", "GET")
        .header("x-original-uri", "/public/x");
    assert_eq!(forged.send().await.status, StatusCode::FOUND);
    assert_eq!(app.count(), 0, "nothing reaches the app");

    let spoofed = |path| {
        let mut ask = browser.navigate(path);
        for name in [
            "X-User",
            "X_User",
            "X.User",
            "x-user-email",
            "X-User_Id",
            "X_User-Id",
            "X-User-Groups",
            "X-User-Groups_Missing",
            "X-User-Provider",
        ] {
            ask = ask.header(name, "mallory");
        }
        ask
    };
    let seen = spoofed("/public/x").send().await.seen();
    assert!(
        !format!("{:?}", seen.headers).contains("mallory"),
        "{seen:?}"
    );
    assert_eq!(seen.header("x-user"), Some(""));

    let landed = browser.follow(wanted).await;
    assert_eq!(landed.seen().target, wanted);
    browser.plant("theme", "dark");
    let seen = spoofed("/app").send().await.seen();
    assert!(
        !format!("{:?}", seen.headers).contains("mallory"),
        "{seen:?}"
    );
    for (name, expected) in [
        ("x-user", "ada"),
        ("x-user-id", "script:ada-1815"),
        ("x-user-email", ""),
        ("x-user-groups", ""),
        ("cookie", "theme=dark"),
    ] {
        assert_eq!(seen.header(name), Some(expected), "{name}");
    }
    let sent = browser
        .fetch(Method::POST, "/upload")
        .body("x".repeat(100_000));
    assert_eq!(sent.send().await.seen().body_length, 100_000);
    assert_eq!(
        browser.get("/internal/x").await.status,
        StatusCode::FORBIDDEN
    );
    for door in ["/oauth2/forward", "/oauth2/forward/x", "/oauth2/auth"] {
        assert_eq!(
            browser.get(door).await.status,
            StatusCode::NOT_FOUND,
            "{door}"
        );
    }
    let out = browser.fetch(Method::POST, "/oauth2/sign_out");
    let out = out.header("origin", "https://app.example.com").send().await;
    assert!(!out.status.is_client_error(), "{}", out.status);
    assert_eq!(browser.get("/").await.status, StatusCode::FOUND);
}
