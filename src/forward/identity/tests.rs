use proptest::prelude::*;

use super::*;
use crate::{clock::Timestamp, identity::Identity, session::Session};

fn session() -> Session {
    let identity = Identity {
        login: Some("ada".into()),
        email: Some("ada@example.com".into()),
        name: Some("Zoë 100%".into()),
        picture: Some("https://img.example/a%20b?s=1".into()),
        groups: vec!["eng".into(), "a,admin".into()],
        claims: vec![("campus.0.name".into(), "Paris".into())],
        ..Identity::of("corp", "4711")
    };
    let mut session = Session::begin([1; 16], [2; 16], Timestamp(0), identity);
    session.tokens.access = Some("token".into());
    session
}

fn headers(identity: &[(&'static str, HeaderSource)]) -> IdentityHeaders {
    let identity = identity.iter().cloned();
    let identity = identity.map(|(name, source)| (HeaderName::from_static(name), source));
    IdentityHeaders::new(HeaderSettings {
        identity: identity.collect(),
        ..HeaderSettings::default()
    })
}

fn written(source: HeaderSource, session: &Session) -> Option<String> {
    let mut line = b"x-before: 1\r\n".to_vec();
    headers(&[("x-test", source)]).write(Some(session.principal().into()), &mut line);
    let line = String::from_utf8(line).unwrap();
    let line = line.strip_prefix("x-before: 1\r\n").unwrap();
    let value = line.strip_prefix("x-test: ")?;
    value.strip_suffix("\r\n").map(str::to_owned)
}

#[test]
fn each_source_is_written() {
    let session = session();
    let cases = [
        (HeaderSource::User, Some("ada")),
        (HeaderSource::UserId, Some("corp:4711")),
        (HeaderSource::Subject, Some("4711")),
        (HeaderSource::Email, Some("ada@example.com")),
        (HeaderSource::Name, Some("Zo%C3%AB 100%25")),
        (HeaderSource::Groups, Some("eng,a%2Cadmin")),
        (HeaderSource::Provider, Some("corp")),
        (HeaderSource::Picture, Some("https://img.example/a%20b?s=1")),
        (
            HeaderSource::Claim("campus.0.name".to_owned()),
            Some("Paris"),
        ),
        (HeaderSource::Claim("campus.1.name".to_owned()), None),
        (HeaderSource::AccessToken, Some("token")),
        (HeaderSource::IdToken, None),
    ];
    for (source, expected) in cases {
        assert_eq!(
            written(source.clone(), &session).as_deref(),
            expected,
            "{source:?}"
        );
    }
}

#[test]
fn spaces_at_the_ends_are_not_lost_on_the_way() {
    let mut session = session();
    session.identity.subject = "4711 ".into();
    session.identity.groups = vec![" admin".into(), "eng".into()];
    let id = written(HeaderSource::UserId, &session).unwrap();
    assert_eq!(id, "corp:4711%20");
    let groups = written(HeaderSource::Groups, &session).unwrap();
    assert_eq!(groups, "%20admin,eng");
}

#[test]
fn a_person_is_shown_what_the_app_is_told_but_no_token() {
    let headers = headers(&[
        ("x-user-id", HeaderSource::UserId),
        ("x-token", HeaderSource::AccessToken),
        ("x-id-token", HeaderSource::IdToken),
    ]);
    let shown = headers.shown(session().principal());
    let id = ("X-User-Id".to_owned(), Some("corp:4711".to_owned()));
    assert_eq!(shown, [id, ("X-Token".to_owned(), None)]);
}

#[test]
fn a_token_in_authorization_says_what_it_is() {
    let headers = headers(&[
        ("authorization", HeaderSource::AccessToken),
        ("x-token", HeaderSource::AccessToken),
    ]);
    let mut lines = Vec::new();
    headers.write(Some(session().principal().into()), &mut lines);
    assert_eq!(lines, b"authorization: Bearer token\r\nx-token: token\r\n");
    let mut none = Vec::new();
    let mut session = session();
    session.tokens.access = None;
    headers.write(Some(session.principal().into()), &mut none);
    assert_eq!(none, b"");
}

#[test]
fn a_constant_is_told_of_everybody_and_shown_to_nobody() {
    let secret = HeaderSource::Constant(Secret::new("between us".to_owned()));
    let headers = headers(&[("x-user", HeaderSource::User), ("x-gate", secret)]);
    let mut lines = Vec::new();
    headers.write(None, &mut lines);
    assert_eq!(lines, b"x-gate: between us\r\n");
    lines.clear();
    headers.write(Some(session().principal().into()), &mut lines);
    assert_eq!(lines, b"x-gate: between us\r\nx-user: ada\r\n");
    let mut answer = HeaderMap::new();
    headers.set(session().principal().into(), Asker::Proxy, &mut answer);
    assert_eq!(answer.len(), 1);
    let shown = headers.shown(session().principal());
    assert_eq!(shown[1], ("X-Gate".to_owned(), None));
}

#[test]
fn basic_credentials_hold_a_name_without_a_colon() {
    let basic = |source| {
        let password = Secret::new("pä:ss".to_owned());
        HeaderSource::Basic(Box::new(source), password)
    };
    let mut session = session();
    let expected = format!("Basic {}", STANDARD.encode("ada@example.com:pä:ss"));
    let email = basic(HeaderSource::Email);
    assert_eq!(written(email.clone(), &session), Some(expected));
    let headers = headers(&[("authorization", email.clone())]);
    let mut answer = HeaderMap::new();
    headers.set(session.principal().into(), Asker::Proxy, &mut answer);
    assert!(answer.is_empty());
    session.identity.email = Some("a:b@example.com".into());
    assert_eq!(headers.missing(session.principal()), ["Authorization: 1"]);
    session.identity.email = None;
    assert_eq!(written(email, &session), None);
}

#[test]
fn a_prefix_stands_before_something_alone() {
    let email = HeaderSource::Prefixed("accounts:", Box::new(HeaderSource::Email));
    let mut session = session();
    let value = written(email.clone(), &session);
    assert_eq!(value.as_deref(), Some("accounts:ada@example.com"));
    session.identity.email = None;
    assert_eq!(written(email, &session), None);
}

#[test]
fn what_does_not_fit_is_counted() {
    let headers = headers(&[
        ("x-groups", HeaderSource::Groups),
        ("x-long", HeaderSource::Claim("long".to_owned())),
        ("x-lost", HeaderSource::Claim("lost".to_owned())),
        ("x-none", HeaderSource::Claim("none".to_owned())),
    ]);
    let mut session = session();
    session.identity.groups = (0..1_000)
        .map(|number| format!("g{number:09}").into())
        .collect();
    session.identity.claims = vec![("long".into(), "x".repeat(8_193).into())];
    session.identity.notes.omitted_claims = vec!["lost".into()];
    session.identity.notes.omitted_groups = 7;
    let mut lines = Vec::new();
    headers.write(Some(session.principal().into()), &mut lines);
    let lines = String::from_utf8(lines).unwrap();
    // Eleven bytes each, the first ten.
    let fit = (8_192 + 1) / 11;
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[0].len(), "x-groups: ".len() + fit * 11 - 1);
    assert_eq!(lines[1], format!("x-groups-missing: {}", 1_007 - fit));
    assert_eq!(lines[2..], ["x-long-missing: 1", "x-lost-missing: 1"]);
    let shown: Vec<String> = headers
        .shown(session.principal())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let names = [
        "X-Groups",
        "X-Groups-Missing",
        "X-Long-Missing",
        "X-Lost-Missing",
    ];
    assert_eq!(shown, names);
    let expected = format!("X-Groups: {}", 1_007 - fit);
    assert_eq!(
        headers.missing(session.principal()),
        [&*expected, "X-Long: 1", "X-Lost: 1"]
    );
}

#[test]
fn who_has_no_groups_gets_no_groups_header() {
    let mut session = session();
    session.identity.groups.clear();
    assert_eq!(written(HeaderSource::Groups, &session), None);
}

#[test]
fn the_user_is_login_else_email_else_subject() {
    let mut session = session();
    session.identity.login = None;
    assert_eq!(
        written(HeaderSource::User, &session).unwrap(),
        "ada@example.com"
    );
    session.identity.email = None;
    assert_eq!(written(HeaderSource::User, &session).unwrap(), "4711");
}

proptest! {
    #[test]
    fn a_value_decodes_to_what_it_was_and_never_splits(name in "\\PC{1,40}|[\\x00-\\x7f]{1,40}") {
        let mut session = session();
        session.identity.name = Some(name.as_str().into());
        let header = written(HeaderSource::Name, &session).unwrap();
        prop_assert!(header.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        let decoded = percent_encoding::percent_decode_str(&header).decode_utf8().unwrap().into_owned();
        prop_assert_eq!(decoded, name);
    }

    #[test]
    fn groups_decode_to_what_they_were(groups in prop::collection::vec("\\PC{1,12}", 1..6)) {
        let mut session = session();
        session.identity.groups = groups.iter().map(|group| group.as_str().into()).collect();
        let header = written(HeaderSource::Groups, &session).unwrap();
        let decoded: Vec<String> = header
            .split(',')
            .map(|group| percent_encoding::percent_decode_str(group).decode_utf8().unwrap().into_owned())
            .collect();
        prop_assert_eq!(decoded, groups);
    }
}

/// An app gets the same headers over HTTP/2 as over HTTP/1.1: constants too, whoever asks.
#[test]
fn both_protocols_carry_the_same_headers() {
    let constant = HeaderSource::Constant(Secret::new("hush: hush".to_owned()));
    let headers = headers(&[
        ("x-gate", constant),
        ("x-user", HeaderSource::User),
        ("x-signed", HeaderSource::Assertion),
        ("x-handle", HeaderSource::SessionHandle),
    ]);
    let session = session();
    let app_user = AppUser {
        principal: session.principal(),
        assertion: Some("a.b.c"),
        handle: Some("sealed"),
        exchanged: None,
    };
    for app_user in [None, Some(app_user)] {
        let mut map = HeaderMap::new();
        headers.insert(app_user, &mut map);
        let mut lines = Vec::new();
        headers.write(app_user, &mut lines);
        let mut said = Vec::new();
        for (name, value) in &map {
            said.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        assert_eq!(said, lines);
        assert_eq!(map["x-gate"], "hush: hush");
        assert!(map["x-gate"].is_sensitive());
        assert_eq!(map.contains_key("x-user"), app_user.is_some());
        assert_eq!(map.contains_key("x-signed"), app_user.is_some());
        assert_eq!(map.contains_key("x-handle"), app_user.is_some());
        assert!(map.get("x-signed").is_none_or(HeaderValue::is_sensitive));
        assert!(map.get("x-handle").is_none_or(HeaderValue::is_sensitive));
    }
}

/// The assertion is made elsewhere, for one app: here it is put in, said to be missing where it was not made, and shown to
/// nobody.
#[test]
fn an_assertion_stands_in_its_header() {
    let headers = headers(&[("x-signed", HeaderSource::Assertion)]);
    assert!(headers.carry_assertion());
    let session = session();
    let app_user = |assertion| AppUser {
        principal: session.principal(),
        assertion,
        handle: None,
        exchanged: None,
    };
    let mut lines = Vec::new();
    headers.write(Some(app_user(Some("a.b.c"))), &mut lines);
    headers.write(Some(app_user(None)), &mut lines);
    assert_eq!(lines, b"x-signed: a.b.c\r\nx-signed-missing: 1\r\n");
    assert_eq!(
        headers.shown(session.principal()),
        [("X-Signed".to_owned(), None)]
    );
    assert!(headers.missing(session.principal()).is_empty());
    let mut answer = HeaderMap::new();
    headers.set(app_user(Some("a.b.c")), Asker::Proxy, &mut answer);
    assert_eq!(answer["x-signed"], "a.b.c");
}
