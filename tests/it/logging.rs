//! What the log tells a person on call: which lines are problems, whose they are, and where to go on looking.

use http::{Method, StatusCode};
use serde_json::Value;

use crate::support::{
    House, Upstream, behaviour::TokenEndpoint, house::Plan, ports, raw, standard_with,
};

const TRUSTING: &str = "trusted_proxies = [\"127.0.0.1\"]";

/// Every way to go wrong, and every way to be refused or served in good order.
async fn work(house: &House, upstream: &Upstream) {
    let (browser, nobody) = (house.browser(), house.browser());
    browser.sign_in("/").await;
    browser.get("/fine").await;
    browser.get("/closed/x").await;
    nobody.fetch(Method::GET, "/nobody").send().await;
    nobody.get("/redirected").await;
    nobody.bare(Method::GET, "/oauth2/nothing").send().await;

    browser.get("/_/status?code=500").await;
    browser.get("/oauth2/callback/script?code=x&state=y").await;
    browser.get("/_/hang").await;
    upstream.server.down();
    browser.get("/down").await;
    let call = browser.bare(Method::POST, "/grpc.Service/Down");
    call.header("content-type", "application/grpc").send().await;
}

const PROBLEMS: [&str; 5] = [
    "/_/status",
    "/oauth2/callback/script",
    "/_/hang",
    "/down",
    "/grpc.Service/Down",
];

#[tokio::test]
async fn warn_means_problems_only() {
    let plan = |plan: Plan, log: &str| {
        plan.top(&format!("log = \"{log}\""))
            .top("upstream_timeout = \"1s\"")
            // Lines of several come in any order.
            .top("workers = 1")
            .route("/closed/**", "deny")
    };
    let (house, upstream, _provider) = standard_with(|base| plan(base, "warn")).await;
    work(&house, &upstream).await;
    house.access_line("/grpc.Service/Down").await;
    let lines = house.access_lines();
    let paths: Vec<_> = lines.iter().map(|line| line["path"].as_str()).collect();
    assert_eq!(paths, PROBLEMS.map(Some), "{}", house.process.log());
    assert!(lines.iter().all(|line| line["level"] == "WARN"));
    let verdicts: Vec<_> = lines.iter().map(|line| line["verdict"].as_str()).collect();
    let expected = [
        "pass",
        "login_failed",
        "gateway_timeout",
        "bad_gateway",
        "bad_gateway",
    ];
    assert_eq!(verdicts, expected.map(Some));
    let detail = lines[3]["detail"].as_str().expect("a detail");
    assert!(
        detail.contains("127.0.0.1:"),
        "where it was looked for: {detail}"
    );

    let (house, upstream, _provider) = standard_with(|base| plan(base, "info")).await;
    work(&house, &upstream).await;
    house.access_line("/grpc.Service/Down").await;
    let lines = house.access_lines();
    for path in ["/fine", "/closed/x", "/nobody", "/redirected"] {
        assert!(lines.iter().any(|line| line["path"] == path), "{path}");
    }
    for line in lines {
        // The login that went well came by the same path.
        let is_problem =
            PROBLEMS.iter().any(|path| line["path"] == *path) && line["verdict"] != "callback";
        let level = if is_problem { "WARN" } else { "INFO" };
        assert_eq!(line["level"], level, "{line}");
    }

    let (house, upstream, _provider) = standard_with(|base| plan(base, "error")).await;
    work(&house, &upstream).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(house.access_lines(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_login_that_the_provider_breaks_is_a_problem() {
    let (house, _upstream, provider) = standard_with(|plan| plan.top("log = \"warn\"")).await;
    provider.set(|behaviour| behaviour.token = TokenEndpoint::InvalidGrant);
    house.browser().follow("/").await;
    let line = house.access_line("/oauth2/callback/script").await;
    assert_eq!(
        (&line["level"], &line["verdict"]),
        (&"WARN".into(), &"login_failed".into())
    );
}

#[tokio::test]
async fn a_line_names_the_provider_beside_the_user() {
    let (house, _upstream, _provider) = standard_with(|plan| plan).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let own = ["/oauth2/userinfo", "/oauth2/account", "/oauth2/auth"];
    for path in ["/page", "/oauth2/callback/script"].iter().chain(&own) {
        if *path != "/oauth2/callback/script" {
            browser.get(path).await;
        }
        let line = house.access_line(path).await;
        assert_eq!(
            (&line["user"], &line["provider"]),
            (&"ada".into(), &"script".into()),
            "{line}"
        );
    }
    house.browser().get("/nobody").await;
    let line = house.access_line("/nobody").await;
    assert!(
        line["provider"].is_null() && line["user"].is_null(),
        "{line}"
    );
}

/// nginx and Traefik ask each in its own words, and the line says about what.
#[tokio::test]
async fn a_line_of_the_forward_auth_endpoint_says_what_was_asked_about() {
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.top(TRUSTING).route("/closed/**", "deny")).await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let ask = async |id: &str, headers: &[(&str, &str)]| -> Value {
        let mut ask = browser.bare(Method::GET, "/oauth2/auth");
        ask = ask.header("x-request-id", id);
        for (name, value) in headers {
            ask = ask.header(name, value);
        }
        ask.send().await;
        house
            .access_line_where(id, |line| line["request_id"] == *id)
            .await
    };
    let told = |line: &Value| {
        let field = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        [
            field("verdict"),
            field("original_method"),
            field("original_path"),
        ]
    };

    let nginx = [
        ("x-original-uri", "/closed/page?token=canary"),
        ("x-original-method", "PUT"),
    ];
    let line = ask("nginx", &nginx).await;
    assert_eq!(told(&line), ["forbidden", "PUT", "/closed/page"]);
    assert_eq!(line["path"], "/oauth2/auth");
    let traefik = [
        ("x-forwarded-uri", "/open?token=canary"),
        ("x-forwarded-method", "POST"),
    ];
    let line = ask("traefik", &traefik).await;
    assert_eq!(told(&line), ["pass", "POST", "/open"]);
    let untold = [("x-original-url", "https://app.example/page?token=canary")];
    assert_eq!(told(&ask("untold", &untold).await), ["pass", "-", "/page"]);
    let planted = [
        ("x-original-uri", "/open"),
        ("x-forwarded-uri", "/closed/deep?token=canary"),
        ("x-forwarded-method", "GET"),
    ];
    let line = ask("planted", &planted).await;
    assert_eq!(told(&line), ["forbidden", "GET", "/closed/deep"]);
    // Nobody knows whether that is about a closed path.
    assert_eq!(told(&ask("nothing", &[]).await), ["forbidden", "-", "-"]);
    assert!(!house.process.log().contains("canary"));

    // Whom nobody trusts is not believed in the log either.
    let (house, _upstream, _provider) = standard_with(|plan| plan).await;
    let browser = house.browser();
    let mut ask = browser.bare(Method::GET, "/oauth2/auth");
    for (name, value) in nginx {
        ask = ask.header(name, value);
    }
    ask.send().await;
    let line = house.access_line("/oauth2/auth").await;
    assert!(line["original_path"].is_null(), "{line}");
}

#[tokio::test]
async fn one_request_id_leads_through_all_logs() {
    let (house, upstream, _provider) = standard_with(|plan| {
        plan.top(TRUSTING)
            .route("/open/**", "public")
            .route("/closed/**", "deny")
    })
    .await;
    let ask = |path: &str, id: &str| {
        let browser = house.browser();
        let (path, id) = (path.to_owned(), id.to_owned());
        async move {
            let ask = browser.fetch(Method::GET, &path);
            ask.header("x-request-id", &id).send().await
        }
    };
    let sent = "Root=1-67891233-abcdef012345678912345678";
    ask("/open/a", sent).await;
    let line = house.access_line("/open/a").await;
    assert_eq!(line["request_id"], sent);
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.header("x-request-id"), Some(sent));

    // Whatever the answer is.
    for (path, status) in [
        ("/closed/b", 403),
        ("/c", 401),
        ("/oauth2/userinfo", 401),
        ("/open/%2e%2e/closed", 400),
    ] {
        let id = format!("edge-{status}{}", path.len());
        let reply = ask(path, &id).await;
        assert_eq!(reply.status.as_u16(), status, "{path}");
        assert_eq!(reply.json()["request_id"], id, "{path}");
        house
            .access_line_where(path, |line| line["request_id"] == *id)
            .await;
    }
    let browser = house.browser();
    let page = browser.navigate("/closed/page");
    let page = page.header("x-request-id", "edge-page").send().await;
    assert!(page.text().contains("edge-page"), "{}", page.text());

    // What is unfit for a log is nobody's name: the app is told the one that the log has.
    let long = "a".repeat(129);
    for (path, unfit) in [
        ("/open/long", long.as_str()),
        ("/open/words", "two words"),
        ("/open/quote", "a\"b"),
        ("/open/markup", "<script>alert(1)</script>"),
    ] {
        ask(path, unfit).await;
        let line = house.access_line(path).await;
        let id = line["request_id"].as_str().expect("an id");
        assert_eq!(id.len(), 32, "{line}");
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(seen.header("x-request-id"), Some(id));
        assert!(!house.process.log().contains(unfit));
    }
    let twice = "GET /open/twice HTTP/1.1\r\nHost: app\r\nX-Request-Id: theirs\r\n\
                 X-Request-Id: another\r\nConnection: close\r\n\r\n";
    raw::exchange(&house, twice.as_bytes()).await;
    let line = house.access_line("/open/twice").await;
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.header("x-request-id"), line["request_id"].as_str());
    assert_ne!(line["request_id"], "theirs");
}

/// What a request's `Connection` takes away and who is not trusted change nothing of that: log and app have one name.
#[tokio::test]
async fn a_client_cannot_choose_the_name_of_its_request() {
    let (house, upstream, _provider) = standard_with(|plan| plan.route("/open/**", "public")).await;
    for path in ["/open/a", "/closed", "/open/%2e%2e/a"] {
        let ask = house.browser();
        let ask = ask.fetch(Method::GET, path);
        let reply = ask.header("x-request-id", "chosen").send().await;
        assert!(!reply.text().contains("chosen"), "{}", reply.text());
    }
    house.access_line("/closed").await;
    assert_eq!(upstream.count(), 1);
    assert!(!house.process.log().contains("chosen"));

    let (house, upstream, _provider) =
        standard_with(|plan| plan.top(TRUSTING).route("/open/**", "public")).await;
    let request = "GET /open/a HTTP/1.1\r\nHost: app\r\nX-Request-Id: theirs\r\n\
                   Connection: close, x-request-id\r\n\r\n";
    raw::exchange(&house, request.as_bytes()).await;
    let line = house.access_line("/open/a").await;
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.header("x-request-id"), line["request_id"].as_str());
}

#[tokio::test]
async fn a_rust_log_that_cannot_be_read_is_named_once() {
    let upstream = Upstream::start().await;
    let start = async |rust_log: &str| -> House {
        let plan = House::plan().upstream(&upstream).route("/**", "public");
        plan.environment("RUST_LOG", rust_log).start().await
    };
    for wrong in ["sidegate=lowd", "wran", "info;debug"] {
        let house = start(wrong).await;
        house.browser().get("/x").await;
        // By the configuration's own, `info`.
        house.access_line("/x").await;
        let log = house.process.log();
        let warnings: Vec<_> = log
            .lines()
            .filter(|line| line.contains("RUST_LOG"))
            .collect();
        let [warning] = warnings[..] else {
            panic!("{log}");
        };
        let warning: Value = serde_json::from_str(warning).expect("JSON");
        assert_eq!(warning["level"], "WARN");
        let message = warning["message"].as_str().expect("a message");
        assert!(
            message.contains(wrong) && message.contains("log = \"info\""),
            "{message}"
        );
    }
    let house = start("info").await;
    assert!(!house.process.log().contains("RUST_LOG"));
}

#[tokio::test]
async fn the_start_tells_where_the_admin_listener_is() {
    let admin = ports::free_address();
    let (mut house, _upstream, _provider) =
        standard_with(|plan| plan.top(&format!("admin_listen = \"{admin}\""))).await;
    let listening = |message: &'static str| {
        move |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == message).then(|| line["address"].as_str().map(str::to_owned))?
        }
    };
    let told = house
        .process
        .wait_for("its line", listening("admin listening"));
    assert_eq!(told.await, admin.to_string());
    let told = house.process.wait_for("its line", listening("listening"));
    assert_eq!(told.await, house.address.to_string());
}

/// As docs/logging.md says: what the parser refuses has no line of its own, and can be seen at `debug`.
#[tokio::test]
async fn what_the_parser_refuses_has_a_line() {
    let upstream = Upstream::start().await;
    let mut house = House::plan().upstream(&upstream).start().await;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: app\r\nX: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    let answer = raw::try_exchange(house.address, false, long.as_bytes()).await;
    if let Ok(answer) = answer {
        assert_eq!(raw::status(&answer), 431, "{answer}");
    }
    let answer = raw::exchange(&house, b"no request\r\n\r\n").await;
    assert_eq!(raw::status(&answer), StatusCode::BAD_REQUEST.as_u16());
    for (status, reason) in [(431, "message head is too large"), (400, "invalid")] {
        let refused = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            let told = line["detail"].as_str()?.contains(reason);
            (told && line["status"] == status && line["client"] == "127.0.0.1").then_some(())
        };
        house.process.wait_for(reason, refused).await;
    }
    let lines = house.access_lines();
    assert!(
        lines.iter().all(|line| line["path"] == "/oauth2/ping"),
        "{lines:?}"
    );
}
