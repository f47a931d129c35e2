mod markup;
mod refused_account;
mod remedies;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::Value;

use super::{
    Advice, BadGateway, Choice, CrossSite, Reject, SignInPage, render, reply, return_address,
};
use crate::{
    access::{
        Shortfall, StepUp,
        allow::{Denied, Held},
    },
    audience::{Audience, Audience::*},
    credential::{Proof, Refused},
    decide::{Barred, Insufficient},
    login::{LoginError, Restart},
    provider::kind::AccountSwitch,
    response::Body,
    session::StoreError,
    site::Site,
};

fn site() -> Site {
    let mut site = Site::for_test("/oauth2", &["corp"]);
    site.providers[0].label = "Corp & Co".to_owned();
    site
}

fn barred(user: &str) -> Reject {
    Reject::Barred {
        barred: Box::new(Barred {
            route: None,
            user: user.into(),
            provider: "corp".into(),
            subject: "1".into(),
            proof: Proof::Session,
            denied: denied(),
        }),
        return_to: "/deep?x=1".to_owned(),
    }
}

fn denied() -> Denied {
    Denied {
        held: Held::NotKept,
        rule: "secret rule".to_owned(),
        sentence: "Your groups may not pass.",
    }
}

fn sign_in(return_to: &str) -> Reject {
    Reject::SignIn {
        return_to: return_to.to_owned(),
    }
}

fn step_up(return_to: Option<&str>) -> Reject {
    Reject::StepUp {
        insufficient: Box::new(Insufficient {
            route: "secret rule".to_owned(),
            step_up: StepUp {
                max_age: Some(Duration::from_mins(10)),
                acr_values: vec!["gold".to_owned(), "urn:x".to_owned()],
            },
            shortfall: Shortfall::TooOld(Duration::from_secs(601)),
            proof: Proof::Session,
        }),
        return_to: return_to.map(str::to_owned),
    }
}

fn every_reject() -> Vec<Reject> {
    vec![
        sign_in("/a?b=1"),
        barred("ada"),
        Reject::Forbidden("secret rule"),
        Reject::BadRequest("the path has a dot segment".into()),
        Reject::RequestTimeout(None),
        Reject::ClientGone,
        Reject::NotFound,
        Reject::MethodNotAllowed("GET, HEAD"),
        Reject::ConfirmSignOut {
            return_to: Some("/bye".to_owned()),
        },
        Reject::StaleForm,
        Reject::SessionTooLarge,
        Reject::NotKept(StoreError("secret rule".to_owned())),
        Reject::ContentTooLarge,
        Reject::OutOfService(Duration::ZERO),
        Reject::NoRoom,
        Reject::Stopping,
        Reject::BadGateway(BadGateway::Unreachable),
        Reject::GatewayTimeout,
        Reject::from(LoginError::UnknownProvider),
        Reject::from(LoginError::State),
        Reject::from(too_many()),
        Reject::from(LoginError::OtherBrowser(again())),
        Reject::from(answered("access_denied")),
        Reject::from(answered("server_error")),
        Reject::from(answered("invalid_scope")),
        Reject::from(not_allowed()),
        step_up(None),
        Reject::CrossSite(CrossSite::Write),
        Reject::CrossSite(CrossSite::Upgrade),
        Reject::CrossSite(CrossSite::Call),
        Reject::NoCredential {
            advice: Advice::SessionOrToken,
            unread: Some("It is not read."),
            return_to: None,
        },
        Reject::SessionOnly,
        Reject::Untold,
        Reject::NoSuchToken,
    ]
}

/// No provider vouches for a machine, and none has told what it has.
#[test]
fn machines_are_told_of_what_they_have_themselves() {
    let told = |proof, rule: &str, held| {
        let Reject::Barred { mut barred, .. } = barred("ci") else {
            panic!("of nobody");
        };
        barred.proof = proof;
        barred.denied = Denied {
            held,
            rule: rule.to_owned(),
            sentence: "Your account is not one of those that may use this.",
        };
        let reject = Reject::Barred {
            barred,
            return_to: "/".to_owned(),
        };
        let body: Value = serde_json::from_str(&answer(&reject, Program).2).unwrap();
        body["message"].as_str().unwrap().to_owned()
    };
    let names = |names: &[&str]| Held::names(None, names.iter().copied());
    for (proof, rule, held, expected) in [
        (
            Proof::ServiceToken,
            "groups",
            names(&["a", "b"]),
            "This token is in the groups a, b; none of them may use this.",
        ),
        (
            Proof::Password,
            "groups",
            names(&[]),
            "This user is in no group, and this needs one.",
        ),
        (
            Proof::Certificate,
            "emails",
            Held::NotKept,
            "This needs an email address. This certificate has none.",
        ),
        (
            Proof::Password,
            "users",
            names(&["ci"]),
            "This user is not one of those that may use this.",
        ),
        (
            Proof::Session,
            "users",
            names(&["ci"]),
            "Your account is not one of those that may use this. Your provider named ci.",
        ),
    ] {
        assert_eq!(told(proof, rule, held), expected);
    }
    let way = |rule: &str, sentence| Denied {
        held: Held::NotKept,
        rule: rule.to_owned(),
        sentence,
    };
    let ways = vec![
        way("users", "Not by name."),
        way("domains", "Not by domain."),
    ];
    let both = told(Proof::Session, "any: users, domains", Held::NoneOf(ways));
    assert_eq!(both, "Not by name. Or: Not by domain.");
}

fn too_many() -> LoginError {
    LoginError::TooMany {
        wait: Duration::from_millis(1_200),
    }
}

fn again() -> Restart {
    Restart {
        step_up: Box::default(),
        reauthenticate: false,
        provider: "corp".to_owned(),
        return_to: site().checked(Some("/deep?x=1")),
        times: 0,
    }
}

fn answered(code: &str) -> LoginError {
    LoginError::Answered {
        code: code.to_owned(),
        description: Some("<script>alert(1)</script>".to_owned()),
        again: again(),
    }
}

fn not_allowed() -> LoginError {
    LoginError::NotAllowed {
        user: "ada".into(),
        denied: denied(),
        identity: Box::new(crate::identity::Identity::of("corp", "1")),
        again: again(),
    }
}

fn answer(reject: &Reject, audience: Audience) -> (StatusCode, HeaderMap, String) {
    let response = render(reject, audience, &site(), "0123");
    let (head, body) = response.into_parts();
    (head.status, head.headers, text(body))
}

fn text(body: Body) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let bytes: Bytes = runtime.block_on(body.collect()).unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[test]
fn each_refusal_has_its_status() {
    let statuses = [
        401, 403, 403, 400, 408, 499, 404, 405, 403, 403, 500, 503, 413, 503, 503, 503, 502, 504,
        404, 400, 429, 400, 403, 503, 502, 403, 401, 403, 403, 403, 401, 403, 403, 404,
    ];
    assert_eq!(every_reject().len(), statuses.len());
    for (reject, status) in every_reject().iter().zip(statuses) {
        assert_eq!(answer(reject, Program).0, status, "{reject:?}");
        if !matches!(
            reject,
            Reject::SignIn { .. } | Reject::ConfirmSignOut { .. }
        ) {
            assert_eq!(answer(reject, Navigation).0, status, "{reject:?}");
        }
        assert_eq!(answer(reject, Grpc).0, 200, "{reject:?}");
    }
}

/// What opens a closed route does not let pages of other sites in.
#[test]
fn a_refusal_of_another_sites_page_has_a_remedy_of_its_own() {
    for (what, key) in [
        (CrossSite::Write, "cross_site"),
        (CrossSite::Upgrade, "redirect_hosts"),
        (CrossSite::Call, "https"),
    ] {
        let remedy = Reject::CrossSite(what).remedy().unwrap();
        assert!(
            remedy.contains(key) && !remedy.contains("access"),
            "{remedy}"
        );
    }
}

#[test]
fn a_navigation_is_sent_to_sign_in_and_back_to_the_very_same_bytes() {
    let target = "/a b?c=1&d=%2F+&e=ü#x";
    let (status, headers, body) = answer(&sign_in(target), Navigation);
    assert_eq!((status, body.as_str()), (StatusCode::FOUND, ""));
    let location = site()
        .public_url
        .url
        .join(header(&headers, "location"))
        .unwrap();
    assert_eq!(location.path(), "/oauth2/sign_in");
    let pairs: Vec<_> = location.query_pairs().into_owned().collect();
    assert_eq!(pairs, [("rd".to_owned(), target.to_owned())]);
}

#[test]
fn a_fresh_login_is_asked_for_in_the_way_of_each_audience() {
    let challenge = "Bearer error=\"insufficient_user_authentication\", \
                     error_description=\"More recent authentication is required\", max_age=\"600\", \
                     acr_values=\"gold urn:x\"";
    let login = "/oauth2/sign_in?rd=%2Fpay%3Fx%3D1&max_age=600&acr_values=gold%20urn%3Ax";
    let (status, headers, _) = answer(&step_up(Some("/pay?x=1")), Navigation);
    assert_eq!(
        (status, header(&headers, "location")),
        (StatusCode::FOUND, login)
    );
    let (status, headers, body) = answer(&step_up(Some("/pay?x=1")), Program);
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(header(&headers, "www-authenticate"), challenge);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["error"], "insufficient_user_authentication");
    assert_eq!(body["login_url"], format!("https://app.example{login}"));
    let (status, headers, body) = answer(&step_up(Some("/pay?x=1")), Submission);
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(header(&headers, "www-authenticate"), challenge);
    assert!(
        body.contains("/oauth2/sign_in?max_age=600&#38;acr_values=gold%20urn%3Ax"),
        "{body}"
    );
    // Where programs ask, nobody is led anywhere.
    let (status, headers, body) = answer(&step_up(None), Navigation);
    assert_eq!(
        (status, header(&headers, "location")),
        (StatusCode::UNAUTHORIZED, "")
    );
    assert_eq!(header(&headers, "www-authenticate"), challenge);
    assert!(!body.contains("/sign_in"), "{body}");
}

#[test]
fn a_form_gets_a_page_and_no_redirect() {
    let (status, headers, body) = answer(&sign_in("/pay"), Submission);
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(!headers.contains_key("location"));
    assert!(header(&headers, "www-authenticate").starts_with("Bearer "));
    assert!(
        body.contains(r#"href="/oauth2/sign_in" target="_blank""#),
        "{body}"
    );
}

#[test]
fn a_program_learns_where_to_sign_in() {
    let (status, headers, body) = answer(&sign_in("/a?b=1"), Program);
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(header(&headers, "content-type"), "application/json");
    assert_eq!(
        header(&headers, "www-authenticate"),
        "Bearer realm=\"app.example\""
    );
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["error"], "login_required");
    assert_eq!(
        body["login_url"],
        "https://app.example/oauth2/sign_in?rd=%2Fa%3Fb%3D1"
    );
    assert_eq!(body["request_id"], "0123");
}

#[test]
fn too_many_logins_are_told_when_to_try_again() {
    let too_many = Reject::from(too_many());
    for audience in [Navigation, Program] {
        let (status, headers, body) = answer(&too_many, audience);
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(
            header(&headers, "retry-after"),
            "2",
            "whole seconds, upwards"
        );
        assert_eq!(body.contains("too_many_logins"), audience == Program);
        // The same address again: the code is not spent.
        assert_eq!(
            body.contains(r#"href="">Try again"#),
            audience == Navigation
        );
    }
}

#[test]
fn grpc_gets_its_status_among_the_headers() {
    for (reject, status) in [(sign_in("/"), "16"), (every_reject().remove(1), "7")] {
        let response = render(&reject, Grpc, &site(), "0123");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            header(response.headers(), "content-type"),
            "application/grpc"
        );
        assert_eq!(header(response.headers(), "grpc-status"), status);
        assert!(!header(response.headers(), "grpc-message").is_empty());
        assert!(http_body::Body::is_end_stream(response.body()));
    }
    for reject in every_reject() {
        let response = render(&reject, Grpc, &site(), "0123");
        let status = header(response.headers(), "grpc-status");
        assert_ne!(status, "2", "UNKNOWN tells nothing: {reject:?}");
    }
}

#[test]
fn every_answer_is_harmless() {
    for reject in every_reject() {
        for audience in [Navigation, Submission, Program, Grpc] {
            let (status, headers, body) = answer(&reject, audience);
            let context = format!("{reject:?} {audience:?}");
            assert_eq!(header(&headers, "cache-control"), "no-store", "{context}");
            assert_eq!(
                header(&headers, "x-content-type-options"),
                "nosniff",
                "{context}"
            );
            assert!(headers.contains_key("referrer-policy"), "{context}");
            assert!(!headers.contains_key("set-cookie"), "{context}");
            assert!(!body.contains("secret rule"), "{context}");
            if status == StatusCode::METHOD_NOT_ALLOWED {
                assert_eq!(header(&headers, "allow"), "GET, HEAD");
            }
            if header(&headers, "content-type").starts_with("text/html") {
                check_page(&headers, &body);
            }
        }
    }
}

/// A page loads nothing, runs nothing, and its one style is the one that the policy names.
fn check_page(headers: &HeaderMap, body: &str) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let policy = header(headers, "content-security-policy");
    for part in [
        "default-src 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(header(headers, "x-frame-options"), "DENY");
    assert_eq!(header(headers, "cross-origin-opener-policy"), "same-origin");
    let style = body
        .split_once("<style>")
        .unwrap()
        .1
        .split_once("</style>")
        .unwrap()
        .0;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    assert!(policy.contains(&format!("'sha256-{}'", STANDARD.encode(digest))));
    for forbidden in ["<script", " style=", " onclick", "javascript:"] {
        assert!(!body.contains(forbidden), "{forbidden}");
    }
    for needed in ["<html lang=\"en\">", "<title>", "<h1>", "name=\"viewport\""] {
        assert!(body.contains(needed), "{needed}");
    }
}

#[test]
fn only_a_get_is_offered_to_be_tried_again() {
    assert!(
        answer(&Reject::BadGateway(BadGateway::Unreachable), Navigation)
            .2
            .contains("Try again</a>")
    );
    assert!(
        !answer(&Reject::BadGateway(BadGateway::Unreachable), Submission)
            .2
            .contains("Try again</a>")
    );
}

#[test]
fn signing_out_from_elsewhere_is_confirmed_by_a_post() {
    let confirm = &every_reject()[8];
    let (status, headers, body) = answer(confirm, Navigation);
    assert_eq!(status, StatusCode::OK);
    assert!(
        body.contains(r#"method="post" action="/oauth2/sign_out?rd=%2Fbye">"#),
        "{body}"
    );
    // Under `no-referrer` the form would be posted with `Origin: null`.
    assert_eq!(header(&headers, "referrer-policy"), "same-origin");
    assert_eq!(answer(confirm, Program).0, StatusCode::FORBIDDEN);
}

#[test]
fn a_script_is_sent_back_to_the_page_it_runs_on() {
    let back = |audience, referer: &'static str| {
        let headers = HeaderMap::from_iter([(
            http::header::REFERER,
            http::HeaderValue::from_static(referer),
        )]);
        let host = http::HeaderValue::from_static("app.example");
        return_address(audience, &headers, &host, "/api?x=1", &site())
    };
    assert_eq!(back(Program, "https://app.example/page?a=1#f"), "/page?a=1");
    assert_eq!(back(Program, "https://app.example.evil/page"), "/api?x=1");
    assert_eq!(back(Program, "no address"), "/api?x=1");
    assert_eq!(back(Navigation, "https://app.example/page"), "/api?x=1");
}

#[test]
fn another_app_is_come_back_to_by_its_whole_address() {
    let site = Site {
        apps: vec![crate::route::HostPattern::parse("*.example").unwrap()],
        ..site()
    };
    let back = |audience, host, referer: &'static str| {
        let headers = HeaderMap::from_iter([(
            http::header::REFERER,
            http::HeaderValue::from_static(referer),
        )]);
        let host = http::HeaderValue::from_static(host);
        return_address(audience, &headers, &host, "/api?x=1", &site)
    };
    let wiki = "https://wiki.example/api?x=1";
    assert_eq!(back(Navigation, "wiki.example", ""), wiki);
    assert_eq!(back(Navigation, "WIKI.example:8443", ""), wiki);
    assert_eq!(back(Navigation, "app.example", ""), "/api?x=1");
    assert_eq!(back(Navigation, "app.example:443", ""), "/api?x=1");
    assert_eq!(back(Navigation, "evil.test", ""), "/api?x=1");
    for (referer, expected) in [
        ("https://app.example/page", "/page"),
        (
            "https://docs.example/page?a=1#f",
            "https://docs.example/page?a=1",
        ),
        ("http://docs.example/page", wiki),
        ("https://docs.example:8443/page", wiki),
        ("https://evil.test/page", wiki),
    ] {
        assert_eq!(
            back(Program, "wiki.example", referer),
            expected,
            "{referer}"
        );
    }
    let reject = Reject::SignIn {
        return_to: wiki.to_owned(),
    };
    let response = render(&reject, Navigation, &site, "id");
    assert_eq!(
        response.headers()["location"],
        "/oauth2/sign_in?rd=https%3A%2F%2Fwiki.example%2Fapi%3Fx%3D1"
    );
}

#[test]
fn a_failed_login_begins_anew_where_it_wanted_to_go() {
    let page = |error| answer(&Reject::from(error), Navigation);
    let start = "/oauth2/start/corp?rd=%2Fdeep%3Fx%3D1";

    let (_, headers, body) = page(answered("server_error"));
    assert_eq!(header(&headers, "retry-after"), "5");
    assert!(
        body.contains(&format!("href=\"{start}\">Try again</a>")),
        "{body}"
    );

    let (_, _, body) = page(LoginError::OtherBrowser(again()));
    assert!(
        body.contains(&format!("href=\"{start}\">Sign in again</a>")),
        "{body}"
    );

    let (_, _, body) = page(not_allowed());
    assert!(body.contains("<strong>ada</strong>"), "{body}");
    let switch = start.to_owned() + "&amp;switch=1";
    let escaped = body.replace("&#38;", "&amp;").contains(&switch);
    assert!(escaped, "{body}");

    assert!(
        page(LoginError::State)
            .2
            .contains("href=\"/oauth2/sign_in\">")
    );
}

proptest! {
    #[test]
    fn whatever_was_asked_for_comes_back(target in "/\\PC{0,60}") {
        let path = site().sign_in(&target);
        let location = site().public_url.url.join(&path).unwrap();
        let back = location.query_pairs().next().map(|(_, value)| value.into_owned());
        prop_assert_eq!(back.as_deref().unwrap_or("/"), target);
    }
}
