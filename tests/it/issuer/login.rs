//! `sidegate login`: docs/cli.md, as it stands, against a gate.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use http::StatusCode;
use serde_json::Value;

use super::{
    MCP, call,
    device::{send, token_of},
    home, home_with,
};
use crate::support::{house, process::Process, standard};

fn login(home: &Path, arguments: &[&str]) -> Command {
    let mut command = house::sidegate();
    command
        .arg("login")
        .args(arguments)
        .env("XDG_CONFIG_HOME", home);
    command
}

fn printed(home: &Path, arguments: &[&str]) -> (bool, String, String) {
    let output = login(home, arguments).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[tokio::test]
async fn a_terminal_logs_in_and_prints_tokens() {
    let home = home().await;
    let house = &home.house;
    let folder = tempfile::tempdir().expect("a folder");
    let url = house.url("/mcp");
    let (is_well, _, why) = printed(folder.path(), &[&url, "--token"]);
    assert!(!is_well && why.contains("log in first"), "{why}");

    let mut process = Process::start(login(folder.path(), &[&url]));
    let address = process
        .wait_for("the address to open", |line| {
            Some(line.split_once("Open ")?.1.trim().to_owned())
        })
        .await;
    let browser = house.browser();
    let page = browser.follow(&address).await;
    let (_, code) = address.split_once("user_code=").expect("a code");
    assert!(process.log().contains(code), "{}", process.log());
    let done = send(&browser, &token_of(&page), code, Some("allow")).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());
    let status = process.ended(Duration::from_mins(1)).await;
    assert!(status.success(), "{}", process.log());

    let (is_well, token, why) = printed(folder.path(), &[&url, "--token"]);
    assert!(is_well, "{why}");
    assert_eq!(
        call(house, &token, "/mcp").await.seen().header("x-user"),
        Some("ada")
    );
    let kept = folder.path().join("sidegate/tokens.json");
    let mode = fs::metadata(&kept).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // One that has ended is renewed, and what is kept with it.
    let mut all: Value = serde_json::from_slice(&fs::read(&kept).expect("read")).expect("JSON");
    all[&url]["expires_at"] = 0.into();
    fs::write(&kept, all.to_string()).expect("written");
    let (is_well, renewed, why) = printed(folder.path(), &[&url, "--token"]);
    assert!(is_well && renewed != token, "{why}");
    assert_eq!(call(house, &renewed, "/mcp").await.status, StatusCode::OK);
    assert_eq!(printed(folder.path(), &[&url, "--token"]).1, renewed);

    // Many at once get the same: what one of them was given is not lost to another's.
    let rest = |all: &mut Value| {
        all[&url]["expires_at"] = 0.into();
        fs::write(&kept, all.to_string()).expect("written");
    };
    for _ in 0..3 {
        rest(&mut serde_json::from_slice(&fs::read(&kept).expect("read")).expect("JSON"));
        let folder = folder.path().to_owned();
        let printing = (0..8).map(|_| {
            let (folder, url) = (folder.clone(), url.clone());
            tokio::task::spawn_blocking(move || printed(&folder, &[&url, "--token"]))
        });
        let all = futures_util::future::join_all(printing.collect::<Vec<_>>()).await;
        let all: Vec<_> = all.into_iter().map(|one| one.expect("no panic")).collect();
        for (is_well, token, why) in &all {
            assert!(*is_well && *token == all[0].1, "{why}");
        }
        assert_eq!(call(house, &all[0].1, "/mcp").await.status, StatusCode::OK);
    }

    // Ended elsewhere, it says what to do.
    browser
        .fetch(http::Method::GET, "/oauth2/account")
        .send()
        .await;
    let grants = browser
        .fetch(http::Method::GET, "/oauth2/account/grants")
        .send()
        .await
        .json();
    let id = grants["grants"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let ended = browser
        .fetch(
            http::Method::DELETE,
            &format!("/oauth2/account/grants/{id}"),
        )
        .send()
        .await;
    assert_eq!(ended.status, StatusCode::OK);
    let mut all: Value = serde_json::from_slice(&fs::read(&kept).expect("read")).expect("JSON");
    all[&url]["expires_at"] = 0.into();
    fs::write(&kept, all.to_string()).expect("written");
    let (is_well, _, why) = printed(folder.path(), &[&url, "--token"]);
    assert!(!is_well && why.contains("log in first"), "{why}");
}

#[tokio::test]
async fn what_it_cannot_do_it_says() {
    let tables = MCP.replacen("[issuer]\n", "[issuer]\ndevice_flow = false\n", 1);
    let home = home_with(&tables, |plan| plan).await;
    let (without, _upstream, _provider) = standard().await;
    let folder = tempfile::tempdir().expect("a folder");
    for (url, expected) in [
        (home.house.url("/mcp"), "device_authorization_endpoint"),
        (
            home.house.url("/other"),
            "its route needs `tokens = true` or `mcp = true`",
        ),
        (
            home.house.url("/"),
            &*format!("run `sidegate login {}`", home.house.url("/mcp")),
        ),
        (without.url("/api"), "it has no [issuer]"),
        ("http://192.0.2.1/mcp".to_owned(), "says nothing of a login"),
        ("not an address".to_owned(), "https:// in front"),
        (
            "localhost:4390/mcp".to_owned(),
            "write the address with https:// in front",
        ),
    ] {
        let (is_well, _, why) = printed(folder.path(), &[&url]);
        assert!(!is_well && why.contains(expected), "{url}: {why}");
    }
}
