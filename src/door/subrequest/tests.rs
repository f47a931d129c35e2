use http::HeaderName;

use super::*;
use crate::public_url::PublicUrl;

fn read(
    spelling: Spelling,
    below: Option<&str>,
    lines: &[(&'static str, &str)],
) -> Result<Subrequest, Flaw> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    let public = PublicOrigin::new(&PublicUrl {
        url: "https://app.example".parse().unwrap(),
    });
    let came = Came {
        original: &OriginalHeaders::keep(&headers),
        headers: &headers,
        method: &Method::PUT,
        below,
        is_trusted: true,
        seen: &HeaderValue::from_static("app.example"),
        is_https: true,
    };
    Subrequest::read(spelling, &came, &public)
}

/// Method, target, host of the only question.
fn one(spelling: Spelling, lines: &[(&'static str, &str)]) -> Result<String, Flaw> {
    let subrequest = read(spelling, Some("/below?x"), lines)?;
    assert!(subrequest.is_sure && subrequest.questions.len() == 1);
    let Question {
        method,
        target,
        host,
        is_https,
        ..
    } = &subrequest.questions[0];
    let scheme = if *is_https { "https" } else { "http" };
    Ok(format!(
        "{method} {scheme}://{}{target}",
        host.to_str().unwrap()
    ))
}

/// What every client can send beside, in all spellings.
const FORGED: [(&str, &str); 7] = [
    ("x-original-uri", "/public/forged"),
    ("x-original-url", "https://public.example/public/forged"),
    ("x-original-method", "HEAD"),
    ("x-forwarded-uri", "/public/forged"),
    ("x-forwarded-method", "HEAD"),
    ("x-forwarded-host", "public.example"),
    ("x-forwarded-proto", "http"),
];

#[test]
fn of_a_known_proxy_its_own_spelling_alone_counts() {
    let wiki = ("host", "wiki.example");
    for (spelling, own, expected) in [
        (
            Spelling::OriginalUri,
            &[
                ("x-original-uri", "/a?b"),
                ("x-original-method", "POST"),
                wiki,
            ][..],
            "POST https://wiki.example/a?b",
        ),
        (
            Spelling::OriginalUrl,
            &[
                ("x-original-url", "http://wiki.example/a?b"),
                ("x-original-method", "POST"),
                ("host", "gate.internal"),
            ],
            "POST http://wiki.example/a?b",
        ),
        (
            Spelling::Forwarded,
            &[
                ("x-forwarded-uri", "/a?b"),
                ("x-forwarded-method", "POST"),
                ("x-forwarded-host", "wiki.example"),
                ("x-forwarded-proto", "wss"),
                ("host", "gate.internal"),
            ],
            "POST https://wiki.example/a?b",
        ),
        (
            Spelling::Below,
            &[("host", "APP.example:443")],
            "PUT https://app.example/below?x",
        ),
    ] {
        let is_own = |name: &str| own.iter().any(|(own, _)| *own == name);
        let mut lines = own.to_vec();
        lines.extend(FORGED.iter().filter(|(name, _)| !is_own(name)));
        assert_eq!(
            one(spelling, &lines).as_deref(),
            Ok(expected),
            "{spelling:?}"
        );
        // Each is needed, once.
        for (name, _) in own {
            if *name == "host" && matches!(spelling, Spelling::OriginalUrl | Spelling::Forwarded) {
                continue;
            }
            let without: Vec<_> = lines
                .iter()
                .copied()
                .filter(|line| line.0 != *name)
                .collect();
            assert_eq!(
                one(spelling, &without),
                Err(Flaw::Absent(name)),
                "{spelling:?}"
            );
            let mut twice = lines.clone();
            twice.extend(lines.iter().filter(|line| line.0 == *name));
            assert_eq!(
                one(spelling, &twice),
                Err(Flaw::Several(name)),
                "{spelling:?}"
            );
            for odd in ["", "no such thing", "\u{e9}"] {
                let mut odd_one = without.clone();
                odd_one.push((name, odd));
                let subrequest = one(spelling, &odd_one);
                assert_eq!(
                    subrequest,
                    Err(Flaw::Malformed(name)),
                    "{spelling:?} {odd:?}"
                );
            }
        }
    }
}

#[test]
fn a_whole_address_is_http_or_https_with_a_host_and_a_path() {
    for (url, expected) in [
        ("https://a.example/", Some((true, "a.example", "/"))),
        ("http://a.example//b?c", Some((false, "a.example", "//b?c"))),
        ("https://a.example", None),
        ("ftp://a.example/", None),
        ("//a.example/", None),
        ("/a", None),
        ("x?https://a.example/", None),
    ] {
        assert_eq!(split(url), expected, "{url}");
    }
}

#[test]
fn nothing_of_an_untrusted_peer_is_believed() {
    let came = Came {
        original: &OriginalHeaders::default(),
        headers: &HeaderMap::new(),
        method: &Method::GET,
        below: Some("/a"),
        is_trusted: false,
        seen: &HeaderValue::from_static("app.example"),
        is_https: true,
    };
    let public = PublicOrigin::new(&PublicUrl {
        url: "https://app.example".parse().unwrap(),
    });
    for spelling in [
        Spelling::OriginalUri,
        Spelling::OriginalUrl,
        Spelling::Forwarded,
        Spelling::Below,
    ] {
        let subrequest = Subrequest::read(spelling, &came, &public);
        assert_eq!(subrequest, Err(Flaw::Untrusted), "{spelling:?}");
    }
    let subrequest = Subrequest::read(Spelling::Any, &came, &public).unwrap();
    assert!(subrequest.questions.is_empty() && !subrequest.is_sure);
    assert_eq!(
        (subrequest.method.as_ref(), subrequest.return_to()),
        (None, "/")
    );
}

fn any_of(lines: &[(&'static str, &str)]) -> Vec<(Method, String)> {
    let subrequest = read(Spelling::Any, None, lines).unwrap();
    assert!(!subrequest.is_sure);
    let questions = subrequest.questions.into_iter();
    questions.map(|one| (one.method, one.target)).collect()
}

#[test]
fn of_an_unknown_proxy_every_spelling_that_came_counts() {
    let subrequest = any_of(&[
        ("x-forwarded-uri", "/admin?a=1"),
        ("x-forwarded-uri", "/other"),
        ("x-original-uri", "/public/x"),
        ("x-original-url", "https://app.example/public/y?b=2"),
        ("x-forwarded-method", "POST"),
        ("x-original-method", "GET"),
    ]);
    let targets = ["/public/x", "/public/y?b=2", "/admin?a=1", "/other"];
    let expected: Vec<_> = targets
        .iter()
        .flat_map(|target| EVERY_METHOD.map(|method| (method, (*target).to_owned())))
        .collect();
    assert_eq!(subrequest, expected);
}

#[test]
fn a_method_that_is_told_is_one_of_all() {
    let methods = |lines: &[_]| -> Vec<_> {
        any_of(lines)
            .into_iter()
            .map(|(method, _)| method)
            .collect()
    };
    assert_eq!(methods(&[("x-original-uri", "/a")]), EVERY_METHOD);
    let odd = [("x-original-uri", "/a"), ("x-original-method", "no method")];
    assert_eq!(methods(&odd), EVERY_METHOD);
    let lines = [("x-original-uri", "/a"), ("x-original-method", "GET")];
    assert_eq!(methods(&lines), EVERY_METHOD);
    let own = [("x-original-uri", "/a"), ("x-original-method", "PURGE")];
    assert!(methods(&own).iter().any(|method| method == "PURGE"));
}

#[test]
fn more_values_than_anybody_means_are_refused() {
    for name in ["x-original-uri", "x-forwarded-method"] {
        let lines = vec![(name, "/a"); MOST_VALUES + 1];
        assert_eq!(read(Spelling::Any, None, &lines), Err(Flaw::Several(name)));
    }
}

#[test]
fn a_method_is_named_where_it_is_the_only_one() {
    let uri = ("x-original-uri", "/a");
    for (lines, expected) in [
        (&[uri][..], None),
        (&[uri, ("x-original-method", "PUT")], Some(Method::PUT)),
        (
            &[
                uri,
                ("x-original-method", "PUT"),
                ("x-forwarded-method", "GET"),
            ],
            None,
        ),
    ] {
        let subrequest = read(Spelling::Any, None, lines).unwrap();
        assert_eq!(subrequest.method.as_ref(), expected.as_ref(), "{lines:?}");
    }
}

#[test]
fn what_is_no_target_is_no_path_either() {
    for (target, expected) in [
        ("https://app.example", ""),
        ("https://app.example?a=1", "?a=1"),
        ("https://app.example/a#b", "/a#b"),
        ("https://app.example#b/c", ""),
        ("q?next=https://app.example/reset/secret", ""),
        ("#https://app.example/secret", ""),
        ("a b://app.example/secret", ""),
        ("app.example/public", ""),
        ("", ""),
        ("//app.example/x", "//app.example/x"),
        ("http:///admin", "/admin"),
    ] {
        assert_eq!(path_and_query(target), expected, "{target}");
    }
    assert_eq!(
        any_of(&[("x-original-uri", "/\u{e9}"), ("x-original-method", "GET")])[0].1,
        ""
    );
}
