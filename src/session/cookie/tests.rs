use std::{borrow::Cow, time::Duration};

use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};
use proptest::{collection::vec, prelude::*};

use super::{find::pieces, write::MAX_COOKIE, *};
use crate::{
    secret::Secret,
    session::seal::{KeyRing, Purpose},
};

fn cookies(public_url: &str) -> Cookies {
    cookies_in(public_url, None)
}

fn cookies_in(public_url: &str, domain: Option<&str>) -> Cookies {
    let session = SessionSettings {
        secrets: vec![Secret::new("one".to_owned())],
        ephemeral: false,
        lifetime: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        cookie_name: "sidegate".to_owned(),
        cookie_domain: domain.map(str::to_owned),
        store: crate::session::settings::StoreSettings::Cookie,
        max_sessions: 1,
        shared: None,
        provider_grace: Duration::ZERO,
    };
    let public_url = PublicUrl {
        url: public_url.parse().unwrap(),
    };
    Cookies::new(&session, &public_url, "/oauth2")
}

fn https() -> Cookies {
    cookies("https://app.example.com")
}

fn shared() -> Cookies {
    cookies_in("https://login.example.com", Some("example.com"))
}

fn request(lines: &[&str]) -> HeaderMap {
    lines
        .iter()
        .map(|line| (COOKIE, HeaderValue::from_str(line).unwrap()))
        .collect()
}

fn response(lines: &[&str]) -> HeaderMap {
    lines
        .iter()
        .map(|line| (SET_COOKIE, HeaderValue::from_str(line).unwrap()))
        .collect()
}

fn session_of(lines: &[&str]) -> Option<String> {
    let session = https().find(&request(lines)).session?.into_owned();
    Some(String::from_utf8(session).unwrap())
}

/// What the app sees of the request's cookies: the value of the one line that is written.
fn foreign(cookies: &Cookies, headers: &HeaderMap) -> Option<String> {
    let mut lines = Vec::new();
    cookies.write_foreign(headers, cookies.find(headers).only, &mut lines);
    let mut looked_for = Vec::new();
    cookies.write_foreign(headers, None, &mut looked_for);
    assert_eq!(lines, looked_for);
    let lines = String::from_utf8(lines).unwrap();
    (!lines.is_empty()).then(|| {
        let value = lines.strip_prefix("cookie: ").unwrap();
        value.strip_suffix("\r\n").unwrap().to_owned()
    })
}

#[test]
fn finds_own_cookies_among_others() {
    let headers = request(&[
        "a=1; __Host-sidegate=sealed; b=2",
        "__Host-sidegate_login=binding; __Secure-sidegate_hint=hint; __Secure-sidegate_provider=hub",
    ]);
    let found = https().find(&headers);
    assert!(found.session == Some(Cow::Borrowed(b"sealed")));
    assert!(matches!(found.session, Some(Cow::Borrowed(_))));
    assert_eq!(found.login, Some("binding"));
    assert_eq!(found.logout_hint, Some("hint"));
    assert_eq!(found.provider, Some("hub"));
    assert!(found.any);
}

#[test]
fn finds_own_cookies_over_plain_http() {
    let headers =
        request(&["sidegate=sealed; sidegate_login=l; sidegate_hint=h; __Host-sidegate=x"]);
    let found = cookies("http://localhost:4180").find(&headers);
    assert!(found.session.as_deref() == Some(b"sealed"));
    assert_eq!((found.login, found.logout_hint), (Some("l"), Some("h")));
}

#[test]
fn what_is_merely_similar_is_not_ours() {
    for line in [
        "__HOST-sidegate=v",
        "__host-sidegate=v",
        "=__Host-sidegate=v",
        "__Host-sidegate",
        "__Host-sidegate =v",
        "x__Host-sidegate=v",
        "__Host-sidegate2=v",
        "__Host-sidegate_5=v",
        "__Host-sidegate_00=v",
        "__Host-sidegate_logins=v",
        "__Host-sidegate_hint=v",
        "__Host-sidegate_provider=v",
        "__Secure-sidegate_provider2=v",
        "__secure-sidegate_provider=v",
        "sidegate=v",
        "a=__Host-sidegate=v",
    ] {
        let headers = request(&[line]);
        assert!(https().find(&headers) == Found::default(), "{line}");
        assert_eq!(foreign(&https(), &headers).unwrap(), line);
    }
}

#[test]
fn a_name_that_comes_twice_counts_as_absent() {
    let headers = request(&[
        "__Host-sidegate=a; __Host-sidegate=b; __Host-sidegate_login=a",
        "__Host-sidegate_login=a",
    ]);
    let found = https().find(&headers);
    assert!(found.session.is_none() && found.login.is_none() && found.any);
}

#[test]
fn joins_parts_only_when_all_are_there() {
    let whole = Some("abc".to_owned());
    let parts = "__Host-sidegate_2=c; __Host-sidegate_0=a; __Host-sidegate_1=b";
    assert_eq!(session_of(&[parts]), whole);
    assert_eq!(session_of(&["__Host-sidegate_0=abc"]), None);
    assert_eq!(
        session_of(&["__Host-sidegate_0=a; __Host-sidegate_2=c"]),
        None
    );
    assert_eq!(
        session_of(&["__Host-sidegate_1=b; __Host-sidegate_2=c"]),
        None
    );
    assert_eq!(session_of(&[parts, "__Host-sidegate_4=e"]), None);
    assert_eq!(session_of(&[parts, "__Host-sidegate_1=b"]), None);
    assert_eq!(
        session_of(&[parts, "__Host-sidegate=whole"]),
        Some("whole".to_owned())
    );
}

#[test]
fn bytes_that_are_no_text_are_no_login_and_open_nothing() {
    let mut headers = HeaderMap::new();
    let line = b"__Host-sidegate=\xff; __Host-sidegate_login=\xff; b=2";
    headers.insert(COOKIE, HeaderValue::from_bytes(line).unwrap());
    let found = https().find(&headers);
    assert!(found.login.is_none() && found.any);
    let keys = KeyRing::new(&[Secret::new("one".to_owned())], "app.example.com");
    let sealed = found.session.unwrap();
    assert!(keys.open(Purpose::Session, b"", &*sealed).is_none());
}

#[test]
fn strips_own_cookies_and_leaves_the_rest_byte_for_byte() {
    for (lines, expected) in [
        (&["a=1; __Host-sidegate=s; b=2"][..], Some("a=1; b=2")),
        (&["__Host-sidegate=s; a=1"], Some("a=1")),
        (&["__Host-sidegate=s;a=1"], Some("a=1")),
        (&["a=1; __Host-sidegate=s"], Some("a=1")),
        (&["a=1; __Host-sidegate=s;"], Some("a=1;")),
        (&["a=1; ; __Host-sidegate=s; b=2"], Some("a=1; ; b=2")),
        (&["a=1; ; b=2"], Some("a=1; ; b=2")),
        (
            &["  a ;;=x; \"q\";__Host-sidegate_0=s"],
            Some("  a ;;=x; \"q\""),
        ),
        (&["__Host-sidegate=s"], None),
        (&["__Host-sidegate=s; "], None),
        (&["__Host-sidegate_login=l; __Secure-sidegate_hint=h"], None),
        (&["__Secure-sidegate_provider=p; a=1"], Some("a=1")),
        (&["a=1", "__Host-sidegate=s", "b=2"], Some("a=1; b=2")),
        (
            &["__Host-sidegate=s", "b=2; __Host-sidegate_3=s"],
            Some("b=2"),
        ),
        (&["a=1", "b=2; c=3"], Some("a=1; b=2; c=3")),
    ] {
        let left = foreign(&https(), &request(lines));
        assert_eq!(left.as_deref(), expected, "{lines:?}");
    }
}

#[test]
fn an_app_cannot_set_or_clear_own_cookies() {
    for line in [
        "__Host-sidegate=evil; Path=/; Secure",
        "__HOST-SIDEGATE=evil",
        " __Host-sidegate = evil",
        "__host-sidegate_3=; Max-Age=0",
        "__Host-sidegate_login=x",
        "__secure-sidegate_hint=x",
        "__Host-sidegate_led=x",
        "__Secure-sidegate_known=x",
        "__secure-sidegate_provider=x; Path=/oauth2",
        "=__Host-sidegate=evil",
        "= __host-sidegate_login =evil",
        "__Host-sidegate",
    ] {
        let mut headers = response(&["a=1", line, "b=2; Path=/"]);
        https().strip_from_response(&mut headers);
        assert_eq!(headers, response(&["a=1", "b=2; Path=/"]), "{line}");
    }
    let foreign = response(&[
        "sidegate=1",
        "__Host-sidegate2=1",
        "a=__Host-sidegate=1",
        "",
    ]);
    let mut headers = foreign.clone();
    https().strip_from_response(&mut headers);
    assert_eq!(headers, foreign);
}

fn texts(values: &[HeaderValue]) -> Vec<&str> {
    values.iter().map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn writes_the_session_with_its_attributes() {
    let day = Duration::from_hours(24);
    let values = https()
        .write_session("sealed", day, SessionCookies::default())
        .unwrap();
    let expected = "__Host-sidegate=sealed; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=86400";
    assert_eq!(texts(&values), [expected]);
    assert!(values[0].is_sensitive());
    let plain = cookies("http://localhost").write_login("v", day);
    let expected = "sidegate_login=v; HttpOnly; SameSite=Lax; Path=/; Max-Age=86400";
    assert_eq!(plain, expected);
}

#[test]
fn a_domain_shares_the_session_and_nothing_of_a_login_under_way() {
    let day = Duration::from_hours(24);
    let values = shared()
        .write_session("sealed", day, SessionCookies::default())
        .unwrap();
    let attributes = "HttpOnly; SameSite=Lax; Secure; Path=/; Domain=example.com";
    let expected = format!("__Secure-sidegate=sealed; {attributes}; Max-Age=86400");
    assert_eq!(texts(&values), [&expected]);
    let gone = shared().expire_session(SessionCookies::default());
    let expected = format!("__Secure-sidegate=; {attributes}; Max-Age=0");
    assert_eq!(texts(&gone), [&expected]);
    let hint = shared().write_logout_hint("h", day).unwrap();
    assert!(hint.to_str().unwrap().contains("Domain=example.com"));
    for value in [
        shared().write_login("v", day),
        shared().write_led("v"),
        shared().write_known("v"),
        shared().write_provider("v"),
    ] {
        assert!(!value.to_str().unwrap().contains("Domain"), "{value:?}");
    }
    let login = shared().write_login("v", day);
    assert!(
        login
            .to_str()
            .unwrap()
            .starts_with("__Host-sidegate_login=")
    );
}

#[test]
fn the_session_of_the_other_scope_is_never_read_and_never_the_apps() {
    for (cookies, other) in [
        (https(), "__Secure-sidegate"),
        (shared(), "__Host-sidegate"),
    ] {
        for name in [other.to_owned(), format!("{other}_3")] {
            let line = format!("a=1; {name}=sealed; b=2");
            let headers = request(&[&line]);
            assert!(cookies.find(&headers).session.is_none(), "{name}");
            assert_eq!(foreign(&cookies, &headers).as_deref(), Some("a=1; b=2"));
            for domain in ["", "; Domain=example.com; Secure"] {
                let mut headers = response(&[&format!("{name}=x{domain}")]);
                cookies.strip_from_response(&mut headers);
                assert!(headers.is_empty(), "{name}{domain}");
            }
        }
    }
    let mut headers = response(&[
        "__Secure-sidegate=x; Domain=example.com; Secure; Path=/",
        "__secure-sidegate_2=x; domain=.example.com",
        "__Host-sidegate_login=x; Path=/; Secure",
    ]);
    shared().strip_from_response(&mut headers);
    assert!(headers.is_empty(), "{headers:?}");
}

/// Browsers bring both, and nothing tells which is which: whoever is signed in would be nobody here for ever.
#[test]
fn what_hides_the_shared_session_on_one_host_is_taken_away() {
    let headers = request(&["__Secure-sidegate=planted; __Secure-sidegate=ours"]);
    let found = shared().find(&headers);
    assert!(found.session.is_none());
    let gone = shared().expire_hiding(found.session_cookies);
    let expected = "__Secure-sidegate=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0";
    assert_eq!(texts(&gone)[0], expected);
    assert_eq!(gone.len(), 2);
    let written = shared()
        .write_session("new", Duration::from_secs(9), found.session_cookies)
        .unwrap();
    assert_eq!(texts(&written)[0], expected);
    assert!(texts(&written)[2].contains("=new; "));
    let once = request(&["__Secure-sidegate=ours"]);
    let found = shared().find(&once);
    assert!(shared().expire_hiding(found.session_cookies).is_empty());
    let twice = request(&["__Host-sidegate=one; __Host-sidegate=two"]);
    let found = https().find(&twice);
    assert!(https().expire_hiding(found.session_cookies).is_empty());
}

#[test]
fn the_logout_hint_rides_on_signing_out_alone() {
    let hint = https()
        .write_logout_hint("h", Duration::from_secs(9))
        .unwrap();
    let attributes = "HttpOnly; SameSite=Lax; Secure; Path=/oauth2/sign_out";
    assert_eq!(
        hint,
        format!("__Secure-sidegate_hint=h; {attributes}; Max-Age=9")
    );
    let gone = https().expire_logout_hint();
    assert_eq!(
        gone,
        format!("__Secure-sidegate_hint=; {attributes}; Max-Age=0")
    );
    let long = "h".repeat(MAX_COOKIE);
    assert_eq!(https().write_logout_hint(&long, Duration::ZERO), None);
}

#[test]
fn the_last_provider_is_kept_below_the_prefix_as_long_as_browsers_keep_anything() {
    let attributes = "HttpOnly; SameSite=Lax; Secure; Path=/oauth2; Max-Age=34560000";
    assert_eq!(
        https().write_provider("hub"),
        format!("__Secure-sidegate_provider=hub; {attributes}")
    );
    assert_eq!(
        cookies("http://localhost:4180").write_provider("hub"),
        format!(
            "sidegate_provider=hub; {}",
            attributes.replace(" Secure;", "")
        )
    );
}

#[test]
fn splits_above_the_limit_and_never_beyond_five() {
    let cookies = https();
    let none = SessionCookies::default();
    let count = |length: usize| {
        let sealed = "s".repeat(length);
        cookies
            .write_session(&sealed, Duration::ZERO, none)
            .map(|values| values.len())
    };
    let fits = MAX_COOKIE - "__Host-sidegate=".len();
    assert_eq!(count(fits), Some(1));
    assert_eq!(count(fits + 1), Some(2));
    assert_eq!(count((fits - 2) * 5), Some(5));
    assert_eq!(count((fits - 2) * 5 + 1), None);
}

#[test]
fn expires_every_sibling_that_is_not_written() {
    let cookies = https();
    let headers = request(&["__Host-sidegate=a; __Host-sidegate_0=b; __Host-sidegate_4=c"]);
    let present = cookies.find(&headers).session_cookies;
    let names = |values: Vec<HeaderValue>| -> Vec<String> {
        texts(&values)
            .iter()
            .map(|text| text.split(';').next().unwrap().to_owned())
            .collect()
    };
    let small = cookies
        .write_session("new", Duration::ZERO, present)
        .unwrap();
    for value in &small[1..] {
        let text = value.to_str().unwrap();
        assert!(text.ends_with("=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0"));
    }
    assert_eq!(
        names(small),
        [
            "__Host-sidegate=new",
            "__Host-sidegate_0=",
            "__Host-sidegate_4="
        ]
    );
    let large = "s".repeat(MAX_COOKIE * 2);
    let large = names(
        cookies
            .write_session(&large, Duration::ZERO, present)
            .unwrap(),
    );
    assert_eq!(large[3..], ["__Host-sidegate=", "__Host-sidegate_4="]);
    assert_eq!(
        names(cookies.expire_session(present)),
        [
            "__Host-sidegate=",
            "__Host-sidegate_0=",
            "__Host-sidegate_4="
        ]
    );
    assert_eq!(
        names(cookies.expire_session(SessionCookies::default())),
        ["__Host-sidegate="]
    );
}

/// Pieces of `Cookie` headers: the app's, ours, and what lies between.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{0,3}(=[!-:<-~]{0,4})?",
        Just("__Host-sidegate=s".to_owned()),
        Just("__Host-sidegate_1=s".to_owned()),
        Just("__Host-sidegate_login=s".to_owned()),
        Just("__Secure-sidegate_hint=s".to_owned()),
        Just("__Secure-sidegate_provider=s".to_owned()),
    ]
}

/// Before the domain was changed browsers got cookies of another one, which come along under the same name and last.
#[test]
fn cookies_of_another_domain_are_taken_away_where_they_hide_the_session() {
    for (public_url, domain, name, expired) in [
        (
            "https://a.apps.example.com",
            Some("example.com"),
            "__Secure-sidegate",
            &["", "a.apps.example.com", "apps.example.com"][..],
        ),
        (
            "http://a.example.com",
            None,
            "sidegate",
            &["a.example.com", "example.com"],
        ),
    ] {
        let cookies = cookies_in(public_url, domain);
        let headers = request(&[&format!("{name}=one; {name}=two")]);
        let found = cookies.find(&headers);
        assert!(found.session.is_none());
        let written = cookies.write_session("new", Duration::from_secs(9), found.session_cookies);
        let written = written.unwrap();
        let (last, others) = written.split_last().unwrap();
        assert!(last.to_str().unwrap().starts_with(&format!("{name}=new")));
        let domain_of = |value: &HeaderValue| {
            let value = value.to_str().unwrap().to_owned();
            assert!(value.contains("Max-Age=0"), "{value}");
            let domain = value.split("Domain=").nth(1).unwrap_or_default();
            domain.split(';').next().unwrap_or_default().to_owned()
        };
        let domains: Vec<_> = others.iter().map(domain_of).collect();
        assert_eq!(domains, expired);
    }
}

proptest! {
    #[test]
    fn what_is_written_is_found(length in 0_usize..19_000) {
        let cookies = https();
        let sealed = "abcdefg".repeat(length / 7);
        let none = SessionCookies::default();
        if let Some(values) = cookies.write_session(&sealed, Duration::ZERO, none) {
            let mut headers = HeaderMap::new();
            for text in texts(&values) {
                let pair = text.split(';').next().unwrap();
                prop_assert!(pair.len() <= MAX_COOKIE);
                headers.append(COOKIE, pair.parse().unwrap());
            }
            let found = cookies.find(&headers);
            prop_assert!(found.session.as_deref() == Some(sealed.as_bytes()));
        }
    }

    #[test]
    fn stripping_keeps_the_apps_pieces_and_no_own_one(lines in vec(vec(piece(), 1..6), 1..3)) {
        let cookies = https();
        let lines: Vec<_> = lines.iter().map(|pieces| pieces.join("; ")).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let headers = request(&lines);
        let meaningful = |headers: &HeaderMap| -> Vec<Vec<u8>> {
            headers
                .get_all(COOKIE)
                .iter()
                .flat_map(|line| pieces(line.as_bytes()))
                .filter(|piece| cookies.own(piece).is_none())
                .map(|piece| piece.trim_ascii_start().to_vec())
                .filter(|piece| !piece.is_empty())
                .collect()
        };
        let before = meaningful(&headers);
        let left = foreign(&cookies, &headers);
        let left = request(&left.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert!(!cookies.find(&left).any);
        prop_assert_eq!(meaningful(&left), before);
    }
}
