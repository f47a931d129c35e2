//! The nginx that Debian ships, with the snippet that asks sidegate by `auth_request`, as it stands in `deploy/`: only
//! ports and paths are the test's own.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use tempfile::TempDir;

use super::{in_repository, tool};
use crate::support::{
    Browser, House, ScriptedProvider, Upstream, house::Plan, ports, process::Process, tls,
};

/// nginx, the gate it asks, and the app that it alone reaches.
struct Site {
    browser: Browser,
    app: Upstream,
    _nginx: Process,
    _place: TempDir,
    house: House,
    _provider: ScriptedProvider,
}

impl Site {
    async fn start(
        behave: impl FnOnce(&ScriptedProvider),
        plan: impl FnOnce(Plan) -> Plan,
    ) -> Self {
        let (app, provider) = (Upstream::start().await, ScriptedProvider::start().await);
        behave(&provider);
        let house = House::plan()
            .public_url("https://app.example.com")
            .top("trusted_proxies = [\"127.0.0.1/32\"]\nforward_auth = \"nginx\"")
            .provider(&provider);
        let house = plan(house).start().await;
        let place = tempfile::tempdir().expect("a directory");
        let address = ports::free_address();
        let nginx = nginx(&place, address, house.address, app.address).await;
        Self {
            browser: house.browser().led_to(address),
            app,
            _nginx: nginx,
            _place: place,
            house,
            _provider: provider,
        }
    }
}

async fn nginx(place: &TempDir, at: SocketAddr, gate: SocketAddr, app: SocketAddr) -> Process {
    let folder = place.path().display();
    let (certificate, key) = tls::write_files(place.path());
    let file = in_repository("deploy/nginx/auth_request.conf");
    let mut snippet = fs::read_to_string(file).expect("the snippet");
    for (written, ours) in [
        ("listen 443 ssl;", format!("listen {at} ssl;")),
        (
            "/etc/ssl/app.example.com/fullchain.pem",
            certificate.display().to_string(),
        ),
        (
            "/etc/ssl/app.example.com/privkey.pem",
            key.display().to_string(),
        ),
        ("server 127.0.0.1:4180;", format!("server {gate};")),
        ("server 127.0.0.1:8000;", format!("server {app};")),
    ] {
        assert_eq!(snippet.matches(written).count(), 1, "{written}");
        snippet = snippet.replace(written, &ours);
    }
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    // One process, so that it ends with the test.
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}{snippet}}}\n"
    );
    let path = place.path().join("nginx.conf");
    fs::write(&path, whole).expect("the configuration is written");
    let mut command = tool("/usr/sbin/nginx", "nginx");
    command.args(["-e", "stderr", "-p"]).arg(place.path());
    command.arg("-c").arg(&path);
    let mut process = Process::start(command);
    let end = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(at).await.is_err() {
        assert_eq!(process.try_wait(), None, "nginx ended:\n{}", process.log());
        assert!(
            Instant::now() < end,
            "nginx does not answer:\n{}",
            process.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process
}

#[tokio::test]
async fn a_navigation_signs_in_and_comes_back_to_where_it_was_going() {
    let site = Site::start(|_| {}, |plan| plan).await;
    let browser = &site.browser;
    let wanted = "/deep/page?a=1&b=two%20words&c=%26&d=caf%C3%A9";
    let first = browser.get(wanted).await;
    assert_eq!(first.status, StatusCode::FOUND);
    let next = first.location();
    assert_eq!(next.path(), "/oauth2/sign_in", "{next}");
    assert_eq!(next.authority(), "app.example.com");
    assert_eq!(site.app.count(), 0, "nothing reaches the app");

    let landed = browser.follow(wanted).await;
    assert_eq!(landed.url, browser.absolute(wanted));
    let seen = landed.seen();
    assert_eq!(seen.target, wanted);
    assert_eq!(seen.header("x-user"), Some("ada"));
    assert_eq!(seen.header("x-user-id"), Some("script:ada-1815"));
    assert_eq!(seen.header("x-user-groups"), Some("engineers"));
    assert_eq!(seen.header("host"), Some("app.example.com"));

    let page = browser.get("/oauth2/account").await;
    assert_eq!(page.status, StatusCode::OK, "own pages are the gate's");
    // The question itself is nobody's to ask from outside.
    assert_eq!(
        browser.get("/oauth2/auth").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn what_cannot_follow_a_redirect_gets_401() {
    let site = Site::start(|_| {}, |plan| plan).await;
    let (browser, nobody) = (&site.browser, StatusCode::UNAUTHORIZED);
    let status = async |method| browser.fetch(method, "/api").send().await.status;
    assert_eq!(status(Method::GET).await, nobody);
    assert_eq!(status(Method::POST).await, nobody);
    let form = browser.navigate("/form").method(Method::POST).body("a=1");
    assert_eq!(form.send().await.status, nobody);
    assert_eq!(browser.bare(Method::GET, "/").send().await.status, nobody);
    // A browser too old for Fetch Metadata.
    let old = browser
        .bare(Method::GET, "/")
        .header("accept", "text/html,*/*");
    assert_eq!(old.send().await.status, StatusCode::FOUND);
    assert_eq!(site.app.count(), 0);
}

/// Headers and cookie of the client, in every spelling that nginx passes on.
#[tokio::test]
async fn the_app_never_sees_what_a_client_says_of_itself() {
    let without = |provider: &ScriptedProvider| {
        provider.set(|behaviour| {
            behaviour.user = serde_json::json!({ "sub": "ada-1815", "preferred_username": "ada" });
        });
    };
    let site = Site::start(without, |plan| plan).await;
    let browser = &site.browser;
    let spoofed = |path| {
        let mut ask = browser.navigate(path);
        for name in [
            "X-User",
            "x-user",
            "X-User-Id",
            "X-User-Email",
            "X-User-Name",
            "X-User-Groups",
            "X-User-Groups-Missing",
            "X-User-Provider",
            "X_User",
            "x.user",
            "X_User_Email",
            "X-Request-Id",
        ] {
            ask = ask.header(name, "mallory");
        }
        ask
    };
    assert_eq!(spoofed("/").send().await.status, StatusCode::FOUND);
    browser.sign_in("/").await;
    browser.plant("theme", "dark");
    let seen = spoofed("/app").send().await.seen();
    assert_eq!(seen.header("x-user"), Some("ada"));
    assert_eq!(seen.header("x-user-id"), Some("script:ada-1815"));
    assert_eq!(seen.header("x-user-provider"), Some("script"));
    for absent in [
        "x-user-email",
        "x-user-groups",
        "x_user",
        "x.user",
        "x_user_email",
    ] {
        assert_eq!(seen.header(absent), None, "{absent}");
    }
    let all = format!("{:?}", seen.headers);
    assert!(!all.contains("mallory"), "{all}");
    assert_eq!(seen.header("cookie"), Some("theme=dark"));
    // In parts and with a login under way, too; wherever they stand.
    for (others, left) in [
        ("a=1", Some("a=1; theme=dark")),
        (
            "a=1; __Host-sidegate_login=l; b=2",
            Some("a=1; b=2; theme=dark"),
        ),
        (
            "__Host-sidegate_0=s; __Host-sidegate_1=s",
            Some("theme=dark"),
        ),
        (
            "a=1; __Host-sidegate_0=s; __Host-sidegate_1=s; x__Host-sidegate=3",
            Some("a=1; x__Host-sidegate=3; theme=dark"),
        ),
        (
            "a=1; __Host-sidegate_0=s; b=2; __Host-sidegate_1=s; c=3",
            Some("a=1; b=2; c=3; theme=dark"),
        ),
    ] {
        let ask = browser.bare(Method::GET, "/app").header("cookie", others);
        let seen = ask.send().await.seen();
        assert_eq!(seen.header("cookie"), left, "{others}");
    }

    // Nor does a path of its own choice change what is asked about.
    let asked = browser
        .navigate("/app")
        .header("x-original-uri", "/nobody-asked");
    let asked = asked.header("x-forwarded-uri", "/nobody-asked");
    assert_eq!(asked.send().await.seen().target, "/app");
}

#[tokio::test]
async fn a_request_with_a_body_is_asked_about_without_it() {
    let site = Site::start(|_| {}, |plan| plan).await;
    site.browser.sign_in("/").await;
    let body = "x".repeat(100_000);
    let sent = site.browser.fetch(Method::POST, "/upload").body(body);
    let seen = sent.send().await.seen();
    assert_eq!((seen.method.as_str(), seen.body_length), ("POST", 100_000));
}

#[tokio::test]
async fn rules_of_the_gate_count_and_a_sign_out_is_felt() {
    let site = Site::start(|_| {}, |plan| plan.route("/internal/**", "deny")).await;
    let browser = &site.browser;
    browser.sign_in("/").await;
    let before = site.app.count();
    let denied = browser.get("/internal/x").await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    let spoofed = browser
        .navigate("/internal/x")
        .header("x-original-uri", "/");
    assert_eq!(spoofed.send().await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.app.count(), before);

    let out = browser.fetch(Method::POST, "/oauth2/sign_out");
    let out = out.header("origin", "https://app.example.com").send().await;
    assert!(
        !out.status.is_client_error(),
        "{} {}",
        out.status,
        out.text()
    );
    assert_eq!(browser.get("/").await.status, StatusCode::FOUND);
}

/// The gate's rules are the gate's rules: a public route is public behind nginx, and the app is told of nobody there.
#[tokio::test]
async fn a_public_route_is_public_and_tells_of_nobody() {
    let site = Site::start(
        |_| {},
        |plan| plan.route("/public/**", "public").route("/api/**", "api"),
    )
    .await;
    let browser = &site.browser;
    for round in 0..2 {
        let ask = browser.navigate("/public/x").header("x-user", "mallory");
        let seen = ask.send().await.seen();
        assert_eq!((seen.header("x-user"), seen.header("cookie")), (None, None));
        if round == 0 {
            let api = browser.get("/api/x").await;
            assert_eq!(api.status, StatusCode::UNAUTHORIZED, "led nowhere");
            let forged = browser
                .navigate("/page")
                .header("x-original-uri", "/public/x");
            assert_eq!(forged.send().await.status, StatusCode::FOUND);
            let forged = browser
                .navigate("/page")
                .header("x-forwarded-uri", "/public/x");
            assert_eq!(forged.send().await.status, StatusCode::FOUND);
            browser.sign_in("/").await;
        }
    }
    assert_eq!(
        browser.get("/oauth2/forward").await.status,
        StatusCode::NOT_FOUND
    );
}

/// The renewed cookie of the question's answer reaches the browser.
#[tokio::test]
async fn a_session_that_is_used_goes_on() {
    let site = Site::start(|_| {}, |plan| plan.session("idle_timeout = \"4s\"")).await;
    let browser = &site.browser;
    browser.sign_in("/").await;
    for _ in 0..7 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(browser.get("/").await.seen().header("x-user"), Some("ada"));
    }
}

#[tokio::test]
async fn without_the_gate_nobody_passes() {
    let mut site = Site::start(|_| {}, |plan| plan).await;
    site.browser.sign_in("/").await;
    let before = site.app.count();
    site.house.process.terminate();
    site.house.process.ended(Duration::from_secs(20)).await;
    let status = site.browser.get("/").await.status;
    assert!(status.is_server_error(), "{status}");
    assert_eq!(site.app.count(), before);
}
