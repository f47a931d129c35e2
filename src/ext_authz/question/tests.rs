//! Messages, good and bad.

use proptest::prelude::*;
use prost::Message as _;
use url::Url;

use super::*;
use crate::{
    ext_authz::message::{self, Address, Peer, Request, SocketAddress},
    public_url::PublicUrl,
};

fn public() -> PublicOrigin {
    PublicOrigin::new(&PublicUrl {
        url: Url::parse("https://app.example.com").unwrap(),
    })
}

fn http(method: &str, path: &str) -> HttpRequest {
    HttpRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        host: "app.example.com".to_owned(),
        scheme: "https".to_owned(),
        ..HttpRequest::default()
    }
}

fn request(http: HttpRequest) -> CheckRequest {
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request { http: Some(http) }),
            ..AttributeContext::default()
        }),
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

fn read(http: HttpRequest) -> Result<Question, NoQuestion> {
    Question::read(&framed(&request(http).encode_to_vec()), &public())
}

#[test]
fn a_question_is_the_whole_request() {
    let mut attributes = http("POST", "/a?b=1");
    for (name, value) in [
        (":path", "/other"),
        (":authority", "evil.example"),
        ("host", "evil.example"),
        ("cookie", "a=1"),
    ] {
        attributes.headers.insert(name.to_owned(), value.to_owned());
    }
    attributes.header_map = Some(message::HeaderMap {
        headers: [("x-raw", "", &b"caf\xe9"[..]), ("x-text", "text", b"")]
            .map(|(key, value, raw)| message::HeaderValue {
                key: key.to_owned(),
                value: value.to_owned(),
                raw_value: raw.to_vec(),
            })
            .to_vec(),
    });
    let mut request = request(attributes);
    let attributes = request.attributes.as_mut().unwrap();
    attributes.source = Some(Peer {
        address: Some(Address {
            socket_address: Some(SocketAddress {
                address: "::ffff:192.0.2.7".to_owned(),
            }),
        }),
    });
    attributes.context_extensions = [("allowed_groups", "a b,c"), ("other", "x")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let question = Question::read(&framed(&request.encode_to_vec()), &public()).unwrap();
    let first = &question.subrequest.questions[0];
    assert_eq!((&first.method, &*first.target), (&Method::POST, "/a?b=1"));
    assert!(first.is_for_public_url && question.is_https && question.subrequest.is_sure);
    assert_eq!(question.source, Some([192, 0, 2, 7].into()));
    assert_eq!(question.headers.get_all(HOST).iter().count(), 1);
    assert_eq!(question.headers[HOST], "app.example.com");
    assert_eq!(question.headers["cookie"], "a=1");
    assert_eq!(question.headers["x-raw"].as_bytes(), b"caf\xe9");
    assert_eq!(question.headers["x-text"], "text");
    assert_eq!(question.headers.len(), 4);
    assert_eq!(question.narrowing, "allowed_groups=a+b%2Cc&other=x");
}

#[test]
fn what_no_request_says_is_no_question() {
    let with = |change: fn(&mut HttpRequest)| {
        let mut http = http("GET", "/");
        change(&mut http);
        read(http).unwrap_err()
    };
    let malformed = |name| NoQuestion::Flawed(Flaw::Malformed(name));
    assert!(read(http("GET", "/")).is_ok());
    assert_eq!(with(|http| http.method.clear()), malformed("the method"));
    assert_eq!(with(|http| http.path.clear()), malformed("the path"));
    assert_eq!(
        with(|http| http.path = "*".to_owned()),
        malformed("the path")
    );
    assert_eq!(
        with(|http| http.path = "http://a/".to_owned()),
        malformed("the path")
    );
    assert_eq!(with(|http| http.host.clear()), malformed("the host"));
    assert_eq!(
        with(|http| http.host = "a@b".to_owned()),
        malformed("the host")
    );
    assert_eq!(
        with(|http| http.scheme = "ftp".to_owned()),
        malformed("the scheme")
    );
    for (name, value) in [("a b", "x"), ("", "x"), ("a", "x\r\ny: z"), ("a", "\0")] {
        let mut http = http("GET", "/");
        http.headers.insert(name.to_owned(), value.to_owned());
        assert_eq!(read(http).unwrap_err(), malformed("a header"), "{name}");
    }
    let mut many = http("GET", "/");
    many.headers = (0..=MAX_FIELDS)
        .map(|n| (format!("a{n}"), String::new()))
        .collect();
    assert!(matches!(
        read(many),
        Err(NoQuestion::Flawed(Flaw::Several(_)))
    ));
    let absent = Question::read(&framed(b""), &public()).unwrap_err();
    assert_eq!(absent, NoQuestion::Flawed(Flaw::Absent("attributes")));
}

#[test]
fn a_message_is_all_there_and_nothing_more() {
    let message = request(http("GET", "/")).encode_to_vec();
    let whole = framed(&message);
    assert!(Question::read(&whole, &public()).is_ok());
    for broken in [
        &whole[..0],
        &whole[..4],
        &whole[..whole.len() - 1],
        &[&whole[..], b"x"].concat()[..],
        &[&whole[..], &whole[..]].concat(),
        &framed(b"\xff"),
        &framed(&vec![0; MAX_MESSAGE + 1]),
    ] {
        let error = Question::read(broken, &public()).unwrap_err();
        assert_eq!(error, NoQuestion::Unreadable);
    }
    let compressed = [&[1], &whole[1..]].concat();
    assert_eq!(
        Question::read(&compressed, &public()).unwrap_err(),
        NoQuestion::Compressed
    );
}

proptest! {
    /// Whatever comes is read or refused.
    #[test]
    fn no_bytes_break_it(message in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Question::read(&message, &public());
        if let Ok(question) = Question::read(&framed(&message), &public()) {
            prop_assert_eq!(question.subrequest.questions.len(), 1);
            prop_assert!(question.subrequest.questions[0].target.starts_with('/'));
        }
    }
}
