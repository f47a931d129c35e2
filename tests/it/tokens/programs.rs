//! Real programs come in with a token: curl, git, pip, npm, Prometheus, and clients of container registries.

use std::{path::Path, process::Command, time::Duration};

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::{Home, TABLE, basic, signed_in, state, with};
use crate::support::{House, ScriptedProvider, Upstream, process::Process, python};

/// Runs to its end; what it wrote.
async fn run(command: &mut Command) -> String {
    let mut owned = std::mem::replace(command, Command::new("true"));
    owned.env("GIT_TERMINAL_PROMPT", "0");
    let what = format!("{owned:?}");
    let ended = tokio::task::spawn_blocking(move || owned.output());
    let output = timeout(Duration::from_mins(2), ended)
        .await
        .unwrap_or_else(|_| panic!("{what} does not end"))
        .expect("joined")
        .unwrap_or_else(|error| panic!("{what} does not start: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {text}");
    text
}

fn sh(folder: &Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-euc", script]).current_dir(folder);
    command
}

/// A house before a web server that serves `folder`.
async fn before(folder: &Path) -> (Home, Process) {
    let address = crate::support::ports::free_address();
    let mut server = Command::new("python3");
    server
        .args([
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            &address.port().to_string(),
        ])
        .current_dir(folder);
    let server = Process::start(server);
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let kept = tempfile::tempdir().expect("a folder");
    let house = House::plan()
        .upstream_at(&format!("http://{address}"))
        .provider(&provider)
        .top(&state(&kept))
        .tables(TABLE)
        .start()
        .await;
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(std::time::Instant::now() < end, "{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let home = Home {
        house,
        provider,
        upstream,
        folder: kept,
    };
    (home, server)
}

#[tokio::test]
async fn curl_git_pip_and_npm_come_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web");
    std::fs::create_dir_all(web.join("simple/tiny-gate-test")).expect("made");
    std::fs::create_dir_all(web.join("npm")).expect("made");
    run(&mut sh(
        folder.path(),
        "git init -q repo && cd repo && echo hello > file && git add file
         git -c user.name=a -c user.email=a@example.com commit -qm first
         git clone -q --bare . ../web/repo.git && cd ../web/repo.git && git update-server-info
         mv hooks/post-update.sample hooks/post-update 2>/dev/null || true",
    ))
    .await;
    // A wheel is a zip with three files.
    std::fs::write(folder.path().join("wheel.py"), WHEEL).expect("written");
    run(&mut sh(
        folder.path(),
        "python3 wheel.py web/simple/tiny-gate-test",
    ))
    .await;
    run(&mut sh(
        folder.path(),
        "mkdir package && echo '{\"name\":\"tiny-gate-test\",\"version\":\"1.0.0\"}' > package/package.json
         tar czf web/npm/tiny.tgz package",
    ))
    .await;

    let (home, _server) = before(&web).await;
    let (browser, token, _) = signed_in(&home).await;
    drop(browser);
    let address = home.house.address;
    std::fs::write(
        web.join("tiny-gate-test"),
        format!(
            "{{\"name\":\"tiny-gate-test\",\"dist-tags\":{{\"latest\":\"1.0.0\"}},\"versions\":{{\"1.0.0\":{{\"name\":\
             \"tiny-gate-test\",\"version\":\"1.0.0\",\"dist\":{{\"tarball\":\"http://{address}/npm/tiny.tgz\"}}}}}}}}"
        ),
    )
    .expect("written");
    let here = folder.path();

    let page = run(&mut sh(
        here,
        &format!(
            "curl -sS --fail -H 'Authorization: Bearer {token}' http://{address}/repo.git/HEAD"
        ),
    ))
    .await;
    assert!(page.starts_with("ref:"), "{page}");
    run(&mut sh(
        here,
        &format!("curl -sS --fail -u '{token}:' http://{address}/repo.git/HEAD"),
    ))
    .await;

    run(&mut sh(
        here,
        &format!("git -c credential.helper= clone -q http://me:{token}@{address}/repo.git cloned && test \"$(cat cloned/file)\" = hello"),
    ))
    .await;

    let python = python::program("python3");
    let python = python.get_program().to_string_lossy();
    run(&mut sh(
        here,
        &format!(
            "{python} -m pip download -q --no-deps --disable-pip-version-check --isolated --no-cache-dir --trusted-host 127.0.0.1 \
             --index-url http://me:{token}@{address}/simple/ -d pip tiny-gate-test && ls pip/*.whl"
        ),
    ))
    .await;

    run(&mut sh(
        here,
        &format!(
            "mkdir app && cd app && echo '//{address}/:_authToken={token}' > .npmrc && echo '{{}}' > package.json
             npm install --silent --no-audit --no-fund --no-update-notifier --cache ../npm-cache \
             --registry http://{address}/ --userconfig .npmrc tiny-gate-test && test -e node_modules/tiny-gate-test/package.json"
        ),
    ))
    .await;
    assert!(!home.house.process.log().contains(&token[10..]));
}

/// Prometheus scrapes an app through the gate. So does one with a wrong token, and sees nothing.
#[tokio::test]
async fn prometheus_scrapes_with_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web");
    std::fs::create_dir_all(&web).expect("made");
    std::fs::write(web.join("metrics.txt"), "gate_test_rooms 42\n").expect("written");
    let (home, _server) = before(&web).await;
    let (_browser, token, _) = signed_in(&home).await;
    let gate = home.house.address;
    let here = folder.path();
    // As `echo` writes it.
    std::fs::write(here.join("token"), format!("{token}\n")).expect("written");
    let last = u8::from(token.ends_with('0'));
    let wrong = format!("{}{last}", &token[..41]);
    std::fs::write(here.join("wrong"), wrong).expect("written");
    let job = |name: &str, credential: &str| {
        format!(
            "  - job_name: {name}\n    metrics_path: /metrics.txt\n    {credential}\n    static_configs: [{{ targets: [\"{gate}\"] }}]\n"
        )
    };
    let jobs = [
        job("bearer", "authorization: { credentials_file: token }"),
        job(
            "basic",
            "basic_auth: { username: me, password_file: token }",
        ),
        job("wrong", "authorization: { credentials_file: wrong }"),
        job("nobody", "scheme: http"),
    ];
    let configuration = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n{}",
        jobs.concat()
    );
    std::fs::write(here.join("prometheus.yml"), configuration).expect("written");
    let listens = crate::support::ports::free_address();
    let mut command = Command::new("prometheus");
    command.current_dir(here).args([
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        &format!("--web.listen-address={listens}"),
    ]);
    let prometheus = Process::start(command);
    // It prints a word for each time that it finds nobody there yet.
    let curl = format!(
        "curl -sS --retry 20 --retry-connrefused --retry-delay 1 --data-urlencode \"query=$0\" http://{listens}/api/v1/query 2>errors"
    );
    let query = |query: &str| {
        let mut command = Command::new("sh");
        command.args(["-euc", &curl, query]).current_dir(here);
        command
    };
    let end = std::time::Instant::now() + Duration::from_mins(1);
    let seen = loop {
        let scraped = run(&mut query("up")).await;
        let scraped: Value = serde_json::from_str(&scraped).expect("JSON");
        let jobs = scraped["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if jobs.len() == 4 {
            break jobs;
        }
        assert!(
            std::time::Instant::now() < end,
            "{scraped}\n{}",
            prometheus.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    for job in seen {
        let name = job["metric"]["job"].as_str().expect("a name");
        let up = if ["bearer", "basic"].contains(&name) {
            "1"
        } else {
            "0"
        };
        assert_eq!(job["value"][1], up, "{name}: {}", home.house.process.log());
    }
    let rooms = run(&mut query("sum(gate_test_rooms)")).await;
    assert!(rooms.contains("\"84\""), "{rooms}");
    assert!(!home.house.process.log().contains(&token[10..]));
}

/// `docker login` asks `/v2/` for what it wants, and then sends a password if that is what it wants. A `Bearer` that leads to no
/// service which gives tokens is the end of it.
#[tokio::test]
async fn clients_of_registries_log_in_with_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web");
    std::fs::create_dir_all(web.join("v2")).expect("made");
    std::fs::write(web.join("v2/index.html"), "{}").expect("written");
    let (home, _server) = before(&web).await;
    let (_browser, token, _) = signed_in(&home).await;
    let (house, gate) = (&home.house, home.house.address);
    for path in ["/v2/", "/v2/app/manifests/latest"] {
        let asked = house.browser().bare(Method::GET, path).send().await;
        assert_eq!(asked.status, StatusCode::UNAUTHORIZED);
        let challenges: Vec<_> = asked.headers.get_all("www-authenticate").iter().collect();
        assert_eq!(challenges.len(), 1, "{challenges:?}");
        assert!(asked.header("www-authenticate").starts_with("Basic realm="));
    }
    let welcome = with(house, &basic(&format!("me:{token}")), "/v2/").await;
    assert_eq!(welcome.status, StatusCode::OK);
    let wrong = with(house, &basic("me:a-password"), "/v2/").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);

    let here = folder.path();
    let mut clients = vec![format!(
        "echo \"$password\" | skopeo login --authfile auth.json --tls-verify=false --username me --password-stdin {gate}"
    )];
    // Without its daemon it logs in by itself.
    let docker =
        "docker --config docker -H unix://$PWD/no-daemon login --username me --password-stdin";
    if sh(here, "command -v docker")
        .output()
        .is_ok_and(|found| found.status.success())
    {
        clients.push(format!("echo \"$password\" | {docker} {gate}"));
    }
    for client in clients {
        run(sh(here, &client).env("password", &token)).await;
        let refused = sh(here, &client).env("password", "wrong").output();
        let refused = refused.expect("it runs");
        assert!(!refused.status.success(), "{client}: a wrong password");
    }
    assert!(!house.process.log().contains(&token[10..]));
}

const WHEEL: &str = r#"
import sys, zipfile
folder = sys.argv[1]
name = "tiny_gate_test-1.0-py3-none-any.whl"
info = "tiny_gate_test-1.0.dist-info/"
with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
    wheel.writestr("tiny_gate_test.py", "")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: tiny-gate-test\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "tiny_gate_test.py,,\n")
with open(f"{folder}/index.html", "w") as index:
    index.write(f"<!doctype html><html><body><a href=\"{name}\">{name}</a></body></html>")
"#;
