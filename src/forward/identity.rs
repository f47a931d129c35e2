//! What the upstream is told of who is there. Pure.

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

    /// Writes a line for each header that `session` has a value for. Their names were removed from the request
    /// before, so that a header is ours or absent, never the client's.
    pub fn write(&self, session: &Session, into: &mut Vec<u8>) {
        for (name, source) in &self.0 {
            let name = name.as_str().as_bytes();
            let before = into.len();
            into.extend_from_slice(name);
            into.extend_from_slice(b": ");
            let begin = into.len();
            push_value(source, session, into);
            if into.len() > begin {
                into.extend_from_slice(b"\r\n");
            } else {
                into.truncate(before);
            }
        }
    }

    /// What [`write`](Self::write) says, as headers of an answer: whoever asked passes them on.
    pub fn set(&self, session: &Session, headers: &mut HeaderMap) {
        for (name, _, value) in self.values(session) {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }

    /// What [`write`](Self::write) says, for the person it is about: names as people write them, and no value
    /// where it is a token.
    pub fn told(&self, session: &Session) -> Vec<(String, Option<String>)> {
        self.values(session)
            .map(|(name, source, value)| {
                let is_token = matches!(source, HeaderSource::AccessToken | HeaderSource::IdToken);
                let value = String::from_utf8_lossy(&value).into_owned();
                (capitalised(name), (!is_token).then_some(value))
            })
            .collect()
    }

    fn values(
        &self,
        session: &Session,
    ) -> impl Iterator<Item = (&HeaderName, &HeaderSource, Vec<u8>)> {
        self.0.iter().filter_map(move |(name, source)| {
            let mut value = Vec::new();
            push_value(source, session, &mut value);
            (!value.is_empty()).then_some((name, source, value))
        })
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

/// Appends what `source` says of the session; nothing where it says nothing.
fn push_value(source: &HeaderSource, session: &Session, into: &mut Vec<u8>) {
    let identity = &session.identity;
    let optional = |text: &Option<Text>, into: &mut Vec<u8>| {
        if let Some(text) = text {
            push_text(text.bytes(), into);
        }
    };
    match source {
        HeaderSource::User => push_text(identity.user().bytes(), into),
        HeaderSource::UserId => {
            push_text(identity.provider.bytes(), into);
            into.push(b':');
            push_text(identity.subject.bytes(), into);
        }
        HeaderSource::Email => optional(&identity.email, into),
        HeaderSource::Name => optional(&identity.name, into),
        HeaderSource::Groups => {
            for (place, group) in identity.groups.iter().enumerate() {
                if place > 0 {
                    into.push(b',');
                }
                push_part(group.bytes(), b',', into);
            }
        }
        HeaderSource::Provider => push_text(identity.provider.bytes(), into),
        // An address is percent-encoded as it is; encoding `%` again would break it.
        HeaderSource::Picture => {
            if let Some(picture) = &identity.picture {
                push_escaped(into, picture.bytes(), |byte| byte.is_ascii_graphic());
            }
        }
        HeaderSource::Claim(path) => {
            let claim = identity.claims.iter().find(|(key, _)| **key == **path);
            if let Some((_, claim)) = claim {
                push_text(claim.bytes(), into);
            }
        }
        HeaderSource::AccessToken => optional(&session.tokens.access, into),
        HeaderSource::IdToken => optional(&session.tokens.id, into),
    }
}

/// Appends a value that no byte of `text` can turn into a second header or a second spelling of another value:
/// printable ASCII stays, the rest and `%` become percent-encoded UTF-8; so do spaces at its ends, which
/// readers drop.
fn push_text(text: &[u8], into: &mut Vec<u8>) {
    // `%` is never plain: nothing else is set apart.
    push_part(text, b'%', into);
}

/// As [`push_text`], with `separator` percent-encoded, too.
fn push_part(text: &[u8], separator: u8, into: &mut Vec<u8>) {
    let is_plain = |byte: u8| IS_PLAIN[usize::from(byte)] && byte != separator;
    if text.first() == Some(&b' ') || text.last() == Some(&b' ') {
        push_escaped(into, text, |byte| is_plain(byte) && byte != b' ');
    } else {
        push_escaped(into, text, is_plain);
    }
}

/// Printable ASCII but `%`. A table: most values are too short for more than a byte at a time.
static IS_PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'%';
        byte += 1;
    }
    plain
};

fn push_escaped(into: &mut Vec<u8>, text: &[u8], keep: impl Fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if text.iter().all(|byte| keep(*byte)) {
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
        let mut line = b"x-before: 1\r\n".to_vec();
        IdentityHeaders::new(vec![(name, source)]).write(session, &mut line);
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
