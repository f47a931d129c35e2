//! `docs/apps`: apps of each kind believe the gate, and nobody who writes headers of their own.

mod django;
mod pages;

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    House, ScriptedProvider, ports,
    process::Process,
    python::{program, serve},
};

/// How a client may spell what it would like the app to believe. Servers of CGI and WSGI fold most of them into one name.
const SPELLINGS: [&str; 24] = [
    "X-User",
    "X_User",
    "X_USER",
    "x-user",
    "X.User",
    "X-User-Id",
    "X_User_Id",
    "X-User_Id",
    "X-User-Email",
    "X_User-Email",
    "X-User-Groups",
    "X_User_Groups",
    "Remote-User",
    "Remote_User",
    "REMOTE_USER",
    "X-Remote-User",
    "X_Remote_User",
    "X-Forwarded-User",
    "X_Forwarded_User",
    "X-Forwarded_Email",
    "X-Auth-Request-User",
    "X_Auth_Request_User",
    "X-WebAuth-User",
    "X_WEBAUTH_USER",
];

/// A gate before an app: `/open/**` is for everybody, and says who is signed in.
async fn gate(app: SocketAddr, tls: bool) -> (House, ScriptedProvider) {
    let provider = ScriptedProvider::start().await;
    provider.set(|behaviour| {
        behaviour.user = json!({ "sub": "ada-1815", "preferred_username": "ada" });
    });
    let plan = House::plan()
        .upstream_at(&format!("http://{app}"))
        .provider(&provider)
        .route("/open/**", "optional");
    let plan = if tls { plan.tls() } else { plan };
    (plan.start().await, provider)
}

/// Whatever a client writes, the app takes it for nobody while nobody is signed in, and then for whoever is, whom it knows as `user`.
async fn believes_the_gate_alone(app: SocketAddr, user: &str) {
    let (house, _provider) = gate(app, false).await;
    let browser = house.browser();
    let forged = |path| {
        let ask = browser.navigate(path);
        SPELLINGS
            .iter()
            .fold(ask, |ask, name| ask.header(name, "mallory"))
    };
    let stranger = forged("/open/whoami").send().await;
    assert_eq!(stranger.json(), json!({ "user": "", "identity": {} }));

    browser.sign_in("/whoami").await;
    let told: Value = forged("/whoami").send().await.json();
    assert_eq!(told["user"], user, "{told}");
    assert!(!told.to_string().contains("mallory"), "{told}");
}

/// Where a server of Python's listens, and its folder.
pub(crate) fn place() -> (SocketAddr, TempDir) {
    (
        ports::free_address(),
        tempfile::tempdir().expect("a directory"),
    )
}

/// An app under gunicorn.
pub(crate) async fn gunicorn(module: &str, address: SocketAddr, folder: &TempDir) -> Process {
    let mut command = program("gunicorn");
    command
        .args(["--bind", &address.to_string(), "--workers", "1"])
        // A busy machine may take long to start one.
        .args(["--timeout", "120"])
        .arg(format!("{module}:application"))
        // Where it puts a socket of its own.
        .env("HOME", folder.path())
        .env("APP_FOLDER", folder.path());
    serve(command, address).await
}

/// An app under uWSGI.
async fn uwsgi(module: &str, address: SocketAddr, folder: &TempDir) -> Process {
    let mut command = program("uwsgi");
    command
        .args(["--http-socket", &address.to_string(), "--need-app"])
        .args(["--buffer-size", "16384", "--die-on-term"])
        .args(["--module", &format!("{module}:application")])
        .env("APP_FOLDER", folder.path());
    serve(command, address).await
}

#[tokio::test]
async fn flask() {
    let (address, folder) = place();
    let _app = gunicorn("flask_app", address, &folder).await;
    believes_the_gate_alone(address, "ada").await;
}

#[tokio::test]
async fn fastapi() {
    let (address, _) = place();
    let mut command = program("uvicorn");
    command
        .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
        .arg("fastapi_app:application");
    let _app = serve(command, address).await;
    believes_the_gate_alone(address, "ada").await;
}

#[tokio::test]
async fn node() {
    let address = ports::free_address();
    let mut command = Command::new("node");
    command
        .arg(crate::support::house::root().join("tests/apps/node.js"))
        .arg(address.port().to_string());
    let _app = serve(command, address).await;
    believes_the_gate_alone(address, "ada").await;
}

#[tokio::test]
async fn php() {
    let found = Command::new("php")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    assert!(
        found.is_ok(),
        "php is missing: run tests/run, or install Debian's package php-cli"
    );
    let address = ports::free_address();
    let mut command = Command::new("php");
    command
        .args(["-S", &address.to_string()])
        .arg(crate::support::house::root().join("tests/apps/whoami.php"));
    let _app = serve(command, address).await;
    believes_the_gate_alone(address, "ada").await;
}
