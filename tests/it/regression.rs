//! What once went wrong, so that it does not again.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use tokio::io::AsyncWriteExt;

use crate::support::{House, ScriptedProvider, Upstream, raw, standard, standard_with};

/// An answer may come and end while its request's body is still on the way. Its connection is busy then, and
/// whoever got it next waited for a stranger's upload.
#[tokio::test]
async fn an_unfinished_upload_holds_up_nobody_else() {
    let (house, _upstream, _provider) =
        standard_with(|plan| plan.route("/_/**", "public").route("/public/**", "public")).await;
    let mut uploads = Vec::new();
    for _ in 0..4 {
        let mut stream = house.connect().await;
        let head =
            "POST /_/status?code=200 HTTP/1.1\r\nHost: app\r\nContent-Length: 1000000\r\n\r\nabc";
        stream.write_all(head.as_bytes()).await.expect("written");
        let answer = raw::read_until(&mut stream, "\r\n\r\n", Duration::from_secs(5)).await;
        assert_eq!(raw::status(&answer), 200, "{answer}");
        uploads.push(stream);
    }
    let began = Instant::now();
    for _ in 0..8 {
        let reply = house.browser().get("/public/victim").await;
        assert_eq!(reply.status, StatusCode::OK);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "nobody waits");
    drop(uploads);
}

/// Some apps read `post` as `POST`; a rule for POST must not be passed by a spelling.
#[tokio::test]
async fn a_method_in_small_letters_passes_no_rule() {
    let rules = "[[routes]]\npath = \"/ro/**\"\nmethods = [\"POST\"]\naccess = \"deny\"\n\
                 [[routes]]\npath = \"/ro/**\"\naccess = \"public\"\n";
    let (house, upstream, _provider) = standard_with(|plan| plan.tables(rules)).await;
    for method in ["post", "Post", "pOST", "TRACE"] {
        let request = format!("{method} /ro/a HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
        let answer = raw::exchange(&house, request.as_bytes()).await;
        assert_eq!(raw::status(&answer), 400, "{method}: {answer}");
    }
    assert_eq!(upstream.count(), 0);
    let request = "GET /ro/a HTTP/1.1\r\nHost: app\r\nX-HTTP-Method-Override: POST\r\n\
                   X-Method-Override: POST\r\nX-HTTP-Method: POST\r\nConnection: close\r\n\r\n";
    assert_eq!(
        raw::status(&raw::exchange(&house, request.as_bytes()).await),
        200
    );
    let seen = upstream.seen();
    assert!(
        seen[0]
            .headers
            .iter()
            .all(|(name, _)| !name.contains("method")),
        "{seen:?}"
    );
}

/// Whoever decodes a path before splitting off its query serves what stands before the question mark.
#[tokio::test]
async fn an_escaped_question_mark_does_not_change_the_rule() {
    let (house, upstream, _provider) =
        standard_with(|plan| plan.route("/**/*.css", "public")).await;
    for path in ["/admin%3Fx.css", "/admin%23x.css", "/admin%253Fx.css"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
        let answer = raw::exchange(&house, request.as_bytes()).await;
        assert_eq!(raw::status(&answer), 400, "{path}: {answer}");
    }
    assert_eq!(upstream.count(), 0);
}

/// Whoever resolves dots before decoding goes up from behind the question mark, too.
#[tokio::test]
async fn dots_behind_an_escaped_question_mark_are_refused() {
    let (house, upstream, _provider) =
        standard_with(|plan| plan.route("/public/**", "public")).await;
    for path in [
        "/public/a%3F/../../admin",
        "/public/%23/%2e%2e/../admin",
        "/public/%253F/..%2F../admin",
        "/public/..%3F/admin",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
        let answer = raw::exchange(&house, request.as_bytes()).await;
        assert_eq!(raw::status(&answer), 400, "{path}: {answer}");
    }
    assert_eq!(upstream.count(), 0);
}

/// Behind nginx a client sends the spelling that the snippet does not overwrite.
#[tokio::test]
async fn no_header_makes_a_path_public_for_forward_auth() {
    let (house, _upstream, _provider) = standard_with(|plan| {
        plan.top("trusted_proxies = [\"127.0.0.1\"]")
            .route("/public/**", "public")
    })
    .await;
    let stranger = house.browser();
    for headers in [
        &[("x-forwarded-uri", "/public/x")][..],
        &[
            ("x-original-uri", "/public/x"),
            ("x-original-method", "GET"),
        ],
        &[("x-original-url", "https://app/public/x")],
    ] {
        let mut ask = stranger.bare(Method::GET, "/oauth2/auth");
        for (name, value) in headers {
            ask = ask.header(name, value);
        }
        assert_eq!(
            ask.send().await.status,
            StatusCode::UNAUTHORIZED,
            "{headers:?}"
        );
    }
}

/// After signing out, the back button led to the callback, which signed in again.
#[tokio::test]
async fn going_back_after_signing_out_signs_nobody_in() {
    let (house, _upstream, provider) = standard().await;
    let ada = house.browser();
    let callback = ada.up_to_callback("/page").await;
    assert_eq!(ada.follow(callback.as_str()).await.status, StatusCode::OK);
    let requests = provider.token_requests();
    ada.bare(Method::GET, "/oauth2/sign_out").send().await;
    let reply = ada.get(callback.as_str()).await;
    assert!(!reply.sets_session(), "{}", reply.status);
    assert_eq!(provider.token_requests(), requests);
    assert_eq!(
        ada.get("/oauth2/userinfo").await.status,
        StatusCode::UNAUTHORIZED
    );
}

/// A provider that was renamed left its sessions between the page and the sign-in page for ever.
#[tokio::test]
async fn a_session_of_a_provider_that_is_gone_signs_in_anew() {
    let upstream = Upstream::start().await;
    let provider = ScriptedProvider::start().await;
    let plan = || {
        House::plan()
            .upstream(&upstream)
            .public_url("http://app.test")
    };
    let before = plan().provider(&provider).start().await;
    let ada = before.browser();
    ada.sign_in("/").await;
    let after = plan().npm().start().await;
    let ada = ada.moved_to(&after);
    let page = ada.get("/page").await;
    assert_eq!(page.status, StatusCode::FOUND);
    let onward = ada.get(page.location().as_str()).await;
    // The chooser, or straight on to a provider; not back.
    if onward.status == StatusCode::FOUND {
        assert_ne!(onward.location().path(), "/page");
    }
}

/// Trailers say no more of the client than headers may.
#[tokio::test]
async fn trailers_carry_no_forwarding_headers() {
    let (house, upstream, _provider) =
        standard_with(|plan| plan.route("/public/**", "public")).await;
    let request = "POST /public/x HTTP/1.1\r\nHost: app\r\nConnection: close\r\nTE: trailers\r\n\
                   Transfer-Encoding: chunked\r\nTrailer: X-Real-IP, X-Forwarded-For, X-Sum\r\n\r\n\
                   1\r\na\r\n0\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Sum: 1\r\n\r\n";
    let answer = raw::exchange(&house, request.as_bytes()).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let seen = upstream.seen();
    let names: Vec<_> = seen[0]
        .trailers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["x-sum"]);
}

/// Who signs in as somebody else leaves the earlier session behind for good.
#[tokio::test]
async fn signing_in_as_somebody_else_ends_the_earlier_session() {
    let (house, _upstream, provider) = standard().await;
    let browser = house.browser();
    browser.sign_in("/").await;
    let copy = house.browser();
    copy.plant("sidegate", &browser.cookie("sidegate").expect("a session"));
    assert_eq!(copy.get("/").await.status, StatusCode::OK);
    provider.user("sub", serde_json::json!("grace-1906"));
    let again = browser.get("/oauth2/start/script?rd=/").await;
    browser.follow_from(again).await;
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    assert_eq!(copy.get("/").await.status, StatusCode::FOUND);
}

/// The name that the gate gives to a request is the only one that arrives, and what a trusted proxy says cannot be
/// nominated away.
#[tokio::test]
async fn a_request_has_one_name_and_a_trusted_proxys_word_stays() {
    let (house, upstream, _provider) =
        standard_with(|plan| plan.route("/public/**", "public")).await;
    let request = "POST /public/a HTTP/1.1\r\nHost: app\r\nX-Request-Id: evil\r\nX_Request_Id: evil\r\n\
                   x.request.id: evil\r\nTransfer-Encoding: chunked\r\nTrailer: x-request-id\r\n\
                   Connection: close\r\n\r\n0\r\nX-Request-Id: evil\r\nX-Fine: 1\r\n\r\n";
    let answer = raw::exchange(&house, request.as_bytes()).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let seen = upstream.seen().pop().expect("a request");
    assert!(!format!("{seen:?}").contains("evil"), "{seen:?}");
    assert_eq!(seen.all("x-request-id").len(), 1);

    let trusting = |plan: crate::support::house::Plan| {
        plan.top("trusted_proxies = [\"127.0.0.1\"]")
            .route("/public/**", "public")
    };
    let (house, upstream, _provider) = standard_with(trusting).await;
    let request = "GET /public/a HTTP/1.1\r\nHost: app\r\nX-Forwarded-For: 198.51.100.7\r\n\
                   X-Forwarded-Host: shop.example\r\nX-Request-Id: theirs\r\n\
                   Connection: close, x-forwarded-for, x-forwarded-host, x-request-id\r\n\r\n";
    let answer = raw::exchange(&house, request.as_bytes()).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let seen = upstream.seen().pop().expect("a request");
    let chain = seen.header("x-forwarded-for").expect("a chain");
    assert!(chain.starts_with("198.51.100.7"), "{chain}");
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.example"));
    assert!(seen.header("x-request-id").is_some());
}
