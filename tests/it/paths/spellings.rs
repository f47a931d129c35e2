//! Other spellings of a path: none is a way past its rule, and what was judged is what is forwarded.

use http::Method;

use super::{house, target};

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
