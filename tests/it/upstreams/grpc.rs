//! A gRPC client and a gRPC app, both of Google's own library, with the gate between them.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;

use crate::support::{
    Browser, House, ScriptedProvider, Upstream, ports,
    process::Process,
    python::{program, serve},
};

/// Long enough for hundreds of megabytes through a debug binary on a busy machine.
const LONG: Duration = Duration::from_mins(10);

async fn app(address: SocketAddr) -> Process {
    let mut command = program("python");
    command
        .arg("grpc_server.py")
        .arg(address.port().to_string());
    serve(command, address).await
}

struct Scene {
    house: House,
    cookie: String,
    app: SocketAddr,
    _home: Upstream,
    _provider: ScriptedProvider,
}

/// A gate with a gRPC app that need not be there, and somebody who is signed in.
async fn scene() -> Scene {
    let app = ports::free_address();
    let (home, provider) = (Upstream::start().await, ScriptedProvider::start().await);
    provider.set(|behaviour| {
        behaviour.user = json!({ "sub": "ada-1815", "preferred_username": "ada" });
    });
    let house = House::plan()
        .upstream(&home)
        .provider(&provider)
        .tables(&format!(
            "[upstreams.grpc]\nurl = \"http://{app}\"\nhttp2 = true\n\n\
             [[routes]]\npath = \"/echo.Echo/**\"\naccess = \"api\"\nupstream = \"grpc\"\n\n\
             [[routes]]\npath = \"/admin.Admin/**\"\naccess = \"api\"\nupstream = \"grpc\"\nallow = {{ users = [\"grace\"] }}\n"
        ))
        .start()
        .await;
    let browser: Browser = house.browser();
    browser.sign_in("/").await;
    let cookie = browser.cookies("/");
    assert!(!cookie.is_empty(), "somebody is signed in");
    Scene {
        house,
        cookie,
        app,
        _home: home,
        _provider: provider,
    }
}

impl Scene {
    /// Lets the client find out one thing.
    async fn finds(&self, what: &str, is_signed_in: bool) {
        let mut command = program("python");
        command
            .arg("grpc_client.py")
            .arg(self.house.address.to_string())
            .arg(what);
        if is_signed_in {
            command.arg(&self.cookie);
        }
        let mut client = Process::start(command);
        let status = client.ended(LONG).await;
        assert!(status.success(), "{what}:\n{}", client.whole_log());
    }
}

#[tokio::test]
async fn calls_and_streams_pass_with_all_that_belongs_to_them() {
    let scene = scene().await;
    let _app = app(scene.app).await;
    scene.finds("allowed", true).await;
    scene.finds("deadline", true).await;
}

#[tokio::test]
async fn a_hundred_megabytes_pass_in_either_direction() {
    let scene = scene().await;
    let _app = app(scene.app).await;
    scene.finds("large", true).await;
}

#[tokio::test]
async fn who_may_not_call_gets_a_status_of_grpc() {
    let scene = scene().await;
    let _app = app(scene.app).await;
    scene.finds("signed-out", false).await;
    scene.finds("forbidden", true).await;
}

#[tokio::test]
async fn an_app_that_is_away_is_unavailable_until_it_is_back() {
    let scene = scene().await;
    scene.finds("away", true).await;
    let mut first = app(scene.app).await;
    scene.finds("allowed", true).await;
    first.signal("KILL");
    first.ended(LONG).await;
    scene.finds("away", true).await;
    drop(first);
    let _second = app(scene.app).await;
    scene.finds("allowed", true).await;
}
