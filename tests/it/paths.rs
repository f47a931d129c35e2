//! One canonical path: what was judged is what is forwarded, and what is ambiguous is 400.

use http::{Method, StatusCode};

use crate::support::{Browser, House, ScriptedProvider, Upstream, h2, raw, standard_with};

const RULES: &str = "
[[routes]]
path = \"/public/**\"
access = \"public\"

[[routes]]
path = \"/admin/**\"
access = \"deny\"

[[routes]]
path = \"/read\"
methods = [\"GET\"]
access = \"public\"

[[routes]]
path = \"/exact\"
access = \"public\"
";

async fn house() -> (House, Upstream, ScriptedProvider) {
    standard_with(|plan| plan.tables(RULES)).await
}

/// Sends a target byte for byte and gives the status.
async fn target(house: &House, target: &str, cookies: &str) -> u16 {
    let cookie = if cookies.is_empty() {
        String::new()
    } else {
        format!("Cookie: {cookies}\r\n")
    };
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\n{cookie}Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\
         Connection: close\r\n\r\n",
        house.address
    );
    raw::status(&raw::exchange(house, request.as_bytes()).await)
}

#[tokio::test]
async fn plain_rules_hold() {
    let (house, upstream, _provider) = house().await;
    for (path, status) in [
        ("/public/x", 200),
        ("/public/", 200),
        ("/public", 200),
        ("/public/a/b/c?x=/admin", 200),
        ("/exact", 200),
        ("/exact?x", 200),
        ("/exact/", 302),
        ("/exactly", 302),
        ("/Public/x", 302),
        ("/publicadmin", 302),
        ("/x/public/a", 302),
        ("/", 302),
    ] {
        assert_eq!(target(&house, path, "").await, status, "{path}");
    }
    assert_eq!(
        target(&house, "/admin/x", "").await,
        403,
        "deny is for everybody"
    );
    let passed: Vec<String> = upstream
        .seen()
        .into_iter()
        .map(|seen| seen.target)
        .collect();
    assert_eq!(passed.len(), 6, "{passed:?}");
}

/// Other ways to write `/admin`, or to pretend to be below `/public`.
const CLIMBS: [&str; 30] = [
    "/public/../admin",
    "/public/../admin/x",
    "/public/%2e%2e/admin",
    "/public/%2E%2e/admin/x",
    "/public/.%2e/admin",
    "/public/%252e%252e/admin",
    "/public/%25252e%25252e/admin",
    "/public/..;/admin",
    "/public/..;a=b/admin",
    "/public/%2e%2e;/admin",
    "/public//../admin",
    "/public/..//admin",
    "/public\\..\\admin",
    "/public/..\\admin",
    "/public/%5c..%5cadmin",
    "/public/..%5cadmin",
    "/public/%2e%2e%2fadmin",
    "/public/..%2fadmin",
    "/public/..%252fadmin",
    "/public/%c0%ae%c0%ae/admin",
    "/public/./../admin",
    "/public/%2e/../admin",
    "/public/..%00/admin",
    "/public/..%0d%0a/admin",
    "/public/x/../../admin",
    "/public/..",
    "/public/%2e%2e",
    "/public/../",
    "//public/../admin",
    "/./public/../admin",
];

#[tokio::test]
async fn climbing_out_of_a_public_path_fails() {
    let (house, upstream, _provider) = house().await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let before = upstream.count();
    for path in CLIMBS {
        // Overlong UTF-8 is no dot for a strict reader: then it is some public file's odd name.
        if path.contains("%c0") {
            continue;
        }
        let status = target(&house, path, "").await;
        assert!(
            [302, 400, 403].contains(&status),
            "{path} without a session: {status}"
        );
        let status = target(&house, path, &ada.cookies("/")).await;
        assert!(
            [400, 403].contains(&status),
            "{path} with a session: {status}"
        );
    }
    assert_eq!(upstream.count(), before, "none was forwarded");
}

#[tokio::test]
async fn other_spellings_of_a_denied_path_fail() {
    let (house, upstream, _provider) = house().await;
    let ada = house.browser();
    ada.sign_in("/").await;
    let before = upstream.count();
    for path in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/%61dmin/x",
        "/%41dmin/../admin/x",
        "/admin%2Fusers",
        "/admin%2fusers",
        "/admin%252fusers",
        "//admin/x",
        "///admin/x",
        "/;/admin/x",
        "/admin;x=y/x",
        "/admin;/x",
        "/./admin/x",
        "/x/../admin/x",
        "/admin\\x",
        "/admin%5cx",
        "/\\admin/x",
        "/%2fadmin/x",
        "/admin/x?/public/",
        "/admin/x?x=/public/",
        "/admin#/public/",
        "/admin/x#/public/",
        "/admin%23/public/",
        "/admin%3f/public/",
        "/admin%00/x",
        "/admin/%",
        "/admin/%zz",
        "/admin%09/x",
    ] {
        let status = target(&house, path, &ada.cookies("/")).await;
        // What no reading puts under /admin may be an odd file's name for somebody who is signed in.
        let harmless = ["/admin%23/public/", "/admin%3f/public/"].contains(&path);
        assert!(harmless || [400, 403].contains(&status), "{path}: {status}");
    }
    let passed = upstream.seen().split_off(before);
    assert!(
        passed.iter().all(|seen| seen.target.starts_with("/admin%23") || seen.target.starts_with("/admin%3")),
        "{passed:?}"
    );
}

#[tokio::test]
async fn what_is_judged_is_what_is_forwarded() {
    let (house, _upstream, _provider) = house().await;
    let browser = house.browser();
    for (sent, forwarded) in [
        ("/public/a%2Fb", "/public/a%2Fb"),
        ("/public/a%2fb", "/public/a%2Fb"),
        ("/public/%41%7e", "/public/A~"),
        ("/public/a b", ""),
        ("/public/%20?x=%2f%41", "/public/%20?x=%2f%41"),
        ("/public/a;v=1/b", "/public/a;v=1/b"),
        ("/public/@:!$&'()*+,=", "/public/@:!$&'()*+,="),
        ("/public/x?", "/public/x?"),
        ("/public/x?a?b/../c", "/public/x?a?b/../c"),
        ("/public/...", "/public/..."),
        ("/public/.well-known/x", "/public/.well-known/x"),
    ] {
        if forwarded.is_empty() {
            assert_eq!(target(&house, sent, "").await, 400, "{sent}");
            continue;
        }
        let reply = browser.bare(Method::GET, sent).send().await;
        assert_eq!(reply.seen().target, forwarded, "{sent}");
    }
}

#[tokio::test]
async fn a_rule_for_a_method_is_for_that_method() {
    let (house, _upstream, _provider) = house().await;
    let browser = house.browser();
    let ask = |method: Method| browser.fetch(method, "/read").send();
    assert_eq!(ask(Method::GET).await.status, StatusCode::OK);
    assert_eq!(
        ask(Method::HEAD).await.status,
        StatusCode::OK,
        "GET includes HEAD"
    );
    assert_eq!(ask(Method::POST).await.status, StatusCode::UNAUTHORIZED);
    let odd = Method::from_bytes(b"get").expect("a method");
    assert_eq!(
        ask(odd).await.status,
        StatusCode::BAD_REQUEST,
        "an app might read it as GET"
    );
    let overridden = browser
        .fetch(Method::POST, "/read")
        .header("x-http-method-override", "GET")
        .send()
        .await;
    assert_eq!(overridden.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_prefix_ends_at_a_segment() {
    let (house, upstream, _provider) = house().await;
    let ada: Browser = house.browser();
    ada.sign_in("/").await;
    for path in [
        "/oauth2x",
        "/oauth",
        "/oauth2.",
        "/oauth2-x/ping",
        "/pingx",
        "/ready/x",
        "/x/oauth2/start",
    ] {
        assert_eq!(
            ada.get(path).await.seen().target,
            path,
            "the app's own path"
        );
    }
    let before = upstream.count();
    for path in [
        "/oauth2/nothing",
        "/oauth2/startx",
        "/oauth2/start/nobody",
        "/oauth2/callback/nobody",
    ] {
        let reply = ada.get(path).await;
        assert!(reply.status.is_client_error(), "{path}: {}", reply.status);
    }
    for path in ["/oauth2", "/oauth2/"] {
        ada.get(path).await;
    }
    assert_eq!(
        upstream.count(),
        before,
        "nothing under the prefix is forwarded"
    );
}

#[tokio::test]
async fn another_prefix_moves_the_endpoints() {
    let (house, _upstream, provider) = standard_with(|plan| plan.top("prefix = \"/_auth\"")).await;
    let browser = house.browser();
    assert_eq!(
        browser
            .fetch(Method::GET, "/_auth/userinfo")
            .send()
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    browser.sign_in("/page").await;
    assert_eq!(
        browser.get("/oauth2/userinfo").await.seen().target,
        "/oauth2/userinfo"
    );
    let redirect = &provider.calls("/authorize")[0].fields["redirect_uri"];
    assert_eq!(*redirect, house.url("/_auth/callback/script"));
}

#[tokio::test]
async fn a_host_that_contradicts_the_target_is_refused() {
    let (house, upstream, _provider) = house().await;
    let at = house.address;
    for (request, fine) in [
        (
            format!("GET http://{at}/public/x HTTP/1.1\r\nHost: {at}\r\n"),
            true,
        ),
        (
            format!("GET http://public.example/public/x HTTP/1.1\r\nHost: {at}\r\n"),
            false,
        ),
        (
            format!("GET http://{at}/public/x HTTP/1.1\r\nHost: evil.example\r\n"),
            false,
        ),
        (
            format!("GET http://user@{at}/public/x HTTP/1.1\r\nHost: {at}\r\n"),
            false,
        ),
        ("GET /public/x HTTP/1.1\r\n".to_owned(), false),
        (
            format!("GET /public/x HTTP/1.1\r\nHost: {at}\r\nHost: evil.example\r\n"),
            false,
        ),
        (format!("GET /public/x HTTP/1.1\r\nHost: {at}/x\r\n"), false),
        (format!("GET public/x HTTP/1.1\r\nHost: {at}\r\n"), false),
        (format!("GET * HTTP/1.1\r\nHost: {at}\r\n"), false),
        (
            format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: {at}\r\n"),
            false,
        ),
        (format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n"), false),
    ] {
        let before = upstream.count();
        let answer = raw::exchange(
            &house,
            format!("{request}Connection: close\r\n\r\n").as_bytes(),
        )
        .await;
        let status = raw::status(&answer);
        if fine {
            assert_eq!(status, 200, "{request}: {answer}");
            let seen = upstream.seen().pop().expect("a request");
            assert_eq!(seen.target, "/public/x");
        } else {
            assert!((400..500).contains(&status), "{request}: {answer}");
            assert_eq!(upstream.count(), before, "{request}");
        }
    }
}

#[tokio::test]
async fn over_http2_host_and_authority_agree() {
    let (house, upstream, _provider) = house().await;
    let mut client = h2::connect(&house).await;
    let url = house.url("/public/two");
    let response = h2::send(
        &mut client,
        h2::request("GET", &url, &[("host", "evil.example")]),
    )
    .await;
    let status = response.status();
    if status == StatusCode::OK {
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(
            seen.header("host"),
            Some(house.address.to_string().as_str()),
            "the authority wins"
        );
    } else {
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn smuggling_is_refused() {
    let (house, upstream, _provider) = house().await;
    let at = house.address;
    let tail = "0\r\n\r\nGET /public/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    for (name, head) in [
        ("two lengths", "Content-Length: 4\r\nContent-Length: 5\r\n"),
        ("a list of lengths", "Content-Length: 4, 5\r\n"),
        ("a signed length", "Content-Length: +4\r\n"),
        (
            "a space before the colon",
            "Transfer-Encoding : chunked\r\n",
        ),
        ("a folded header", "X-Fold: a\r\n b\r\n"),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n"),
        (
            "chunked twice removed",
            "Transfer-Encoding: chunked, identity\r\n",
        ),
        ("a NUL in a value", "X-Nul: a\0b\r\n"),
        ("a name with a space", "X Y: 1\r\n"),
        (
            "a bare CR in a value",
            "X-Cr: a\rTransfer-Encoding: chunked\r\n",
        ),
    ] {
        let request = format!("POST /public/x HTTP/1.1\r\nHost: {at}\r\n{head}\r\n{tail}");
        let before = upstream.count();
        let answer = raw::exchange(&house, request.as_bytes()).await;
        assert!(
            raw::status(&answer) == 400 || answer.is_empty(),
            "{name}: {answer}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1 ").count().max(1),
            1,
            "{name}: one answer, then closed: {answer}"
        );
        assert_eq!(upstream.count(), before, "{name}");
    }
}

/// RFC 9112 §6.3: the coding wins over the length, or the request is refused; the connection is closed either way.
#[tokio::test]
async fn both_lengths_are_one_request_at_most() {
    let (house, upstream, _provider) = house().await;
    let request = format!(
        "POST /public/x HTTP/1.1\r\nHost: {}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /public/smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        house.address
    );
    let answer = raw::exchange(&house, request.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    if raw::status(&answer) != 400 {
        let seen = upstream.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(
            (seen[0].body_length, seen[0].header("content-length")),
            (0, None)
        );
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let (house, upstream, _provider) = house().await;
    let at = house.address;
    let long = "a".repeat(100_000);
    for request in [
        format!("GET /public/{long} HTTP/1.1\r\nHost: {at}\r\n"),
        format!(
            "GET /public/x HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {long}{long}{long}{long}{long}\r\n"
        ),
        format!(
            "GET /public/x HTTP/1.1\r\nHost: {at}\r\n{}",
            "X-Many: 1\r\n".repeat(2_000)
        ),
    ] {
        let answer = raw::try_exchange(
            house.address,
            false,
            format!("{request}Connection: close\r\n\r\n").as_bytes(),
        )
        .await
        // Closing while we still send is an answer too.
        .unwrap_or_default();
        let status = raw::status(&answer);
        assert!(
            [0, 400, 414, 431].contains(&status),
            "{status}: {}",
            &request[..40]
        );
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(house.browser().get("/ping").await.status, StatusCode::OK);
}
