//! What the upstream is told of who is there. Pure.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{config::HeaderSource, session::Session, text::Text};

/// The identity headers, with their names made ready at start.
#[derive(Debug)]
pub struct IdentityHeaders(Vec<(HeaderName, HeaderSource)>);

impl IdentityHeaders {
    /// Each header once, its value's source beside it.
    pub fn new(headers: Vec<(HeaderName, HeaderSource)>) -> Self {
        Self(headers)
    }

    /// Sets each header that `session` has a value for. Names were removed from the request before, so
    /// that a header is ours or absent, never the client's.
    pub fn write(&self, session: &Session, headers: &mut HeaderMap) {
        for (name, source) in &self.0 {
            if let Some(value) = value(source, session) {
                headers.insert(name.clone(), value);
            }
        }
    }
}

impl IdentityHeaders {
    /// What [`write`](Self::write) sets, for the person it is about: names as people write them, and no value
    /// where it is a token.
    pub fn told(&self, session: &Session) -> Vec<(String, Option<String>)> {
        let mut told = Vec::new();
        for (name, source) in &self.0 {
            let Some(value) = value(source, session) else {
                continue;
            };
            let is_token = matches!(source, HeaderSource::AccessToken | HeaderSource::IdToken);
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            told.push((capitalised(name), (!is_token).then_some(value)));
        }
        told
    }
}

/// `X-User-Id`
fn capitalised(name: &HeaderName) -> String {
    let mut begins = true;
    let letters = name.as_str().chars().map(|letter| {
        let written = if begins {
            letter.to_ascii_uppercase()
        } else {
            letter
        };
        begins = letter == '-';
        written
    });
    letters.collect()
}

fn value(source: &HeaderSource, session: &Session) -> Option<HeaderValue> {
    let identity = &session.identity;
    match source {
        HeaderSource::User => encode(identity.user()),
        HeaderSource::UserId => {
            let (provider, subject) = (identity.provider.bytes(), identity.subject.bytes());
            let mut id = Vec::with_capacity(provider.len() + 1 + subject.len());
            id.extend_from_slice(provider);
            id.push(b':');
            push_escaped(&mut id, subject, is_plain);
            own(id)
        }
        HeaderSource::Email => encode(identity.email.as_ref()?),
        HeaderSource::Name => encode(identity.name.as_ref()?),
        HeaderSource::Groups => {
            let length = identity.groups.iter().map(|group| group.bytes().len() + 1);
            let length: usize = length.sum();
            // As many commas as groups but one: a buffer that is full becomes the value without another.
            let mut joined = Vec::with_capacity(length.saturating_sub(1));
            for (place, group) in identity.groups.iter().enumerate() {
                if place > 0 {
                    joined.push(b',');
                }
                push_escaped(&mut joined, group.bytes(), |byte| {
                    is_plain(byte) && byte != b','
                });
            }
            (!joined.is_empty()).then(|| own(joined))?
        }
        HeaderSource::Provider => encode(&identity.provider),
        // An address is percent-encoded as it is; encoding `%` again would break it.
        HeaderSource::Picture => {
            let picture = identity.picture.as_ref()?;
            let mut text = Vec::with_capacity(picture.bytes().len());
            push_escaped(&mut text, picture.bytes(), |byte| byte.is_ascii_graphic());
            own(text)
        }
        HeaderSource::Claim(path) => {
            let (_, claim) = identity.claims.iter().find(|(key, _)| **key == **path)?;
            encode(claim)
        }
        HeaderSource::AccessToken => encode(session.tokens.access.as_ref()?),
        HeaderSource::IdToken => encode(session.tokens.id.as_ref()?),
    }
}

/// A value that no byte of `text` can turn into a second header or a second spelling of another value:
/// printable ASCII stays, the rest and `%` become percent-encoded UTF-8. Without such bytes (nearly
/// always) the session's own buffer is shared.
fn encode(text: &Text) -> Option<HeaderValue> {
    let bytes = text.bytes();
    if bytes.is_empty() {
        return None;
    }
    let edge_spaces = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ');
    if !edge_spaces && all(bytes, is_plain) {
        return HeaderValue::from_maybe_shared(bytes.clone()).ok();
    }
    let mut encoded = Vec::with_capacity(bytes.len() * 3);
    push_escaped(&mut encoded, bytes, |byte| {
        is_plain(byte) && !(edge_spaces && byte == b' ')
    });
    own(encoded)
}

fn own(text: Vec<u8>) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'%'
}

/// Whether `keep`, which holds for letters, holds for each byte. Looks at sixteen at a time, which the compiler
/// makes one step.
fn all(bytes: &[u8], keep: impl Fn(u8) -> bool) -> bool {
    let whole = |chunk: &[u8; 16]| chunk.iter().fold(true, |kept, byte| kept & keep(*byte));
    if let Some(last) = bytes.last_chunk() {
        bytes.as_chunks().0.iter().all(whole) && whole(last)
    } else {
        let mut padded = [b'a'; 16];
        padded[..bytes.len()].copy_from_slice(bytes);
        whole(&padded)
    }
}

fn push_escaped(into: &mut Vec<u8>, text: &[u8], keep: impl Fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if all(text, &keep) {
        return into.extend_from_slice(text);
    }
    for &byte in text {
        if keep(byte) {
            into.push(byte);
        } else {
            into.extend([
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{clock::Timestamp, session::Identity};

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

    fn written(source: HeaderSource, session: &Session) -> Option<String> {
        let name = HeaderName::from_static("x-test");
        let mut headers = HeaderMap::new();
        IdentityHeaders::new(vec![(name.clone(), source)]).write(session, &mut headers);
        headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn each_source_is_written() {
        let session = session();
        let cases = [
            (HeaderSource::User, Some("ada")),
            (HeaderSource::UserId, Some("corp:4711")),
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
    fn a_person_is_shown_what_the_app_is_told_but_no_token() {
        let name = HeaderName::from_static;
        let headers = IdentityHeaders::new(vec![
            (name("x-user-id"), HeaderSource::UserId),
            (name("x-token"), HeaderSource::AccessToken),
            (name("x-id-token"), HeaderSource::IdToken),
        ]);
        let told = headers.told(&session());
        let id = ("X-User-Id".to_owned(), Some("corp:4711".to_owned()));
        assert_eq!(told, [id, ("X-Token".to_owned(), None)]);
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
}
