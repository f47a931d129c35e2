//! What the upstream is told of who is there. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use zeroize::Zeroizing;

use crate::{
    access::Principal,
    identity_headers::{HeaderSettings, HeaderSource, missing_name},
    secret::Secret,
    text::Text,
};

/// The identity headers, with their names made ready at start.
#[derive(Debug)]
pub struct IdentityHeaders {
    /// What says of somebody who they are.
    headers: Vec<Header>,
    /// The lines that are the same whoever asks. Secrets.
    constants: Zeroizing<Vec<u8>>,
    constant_names: Vec<HeaderName>,
    /// Bytes of one value: servers refuse a request whose header is too long for them, and a person with it.
    max_bytes: usize,
}

#[derive(Debug)]
struct Header {
    name: HeaderName,
    source: HeaderSource,
    /// The header that says how much of this one is missing.
    missing: Option<HeaderName>,
}

impl Header {
    fn is_token(&self) -> bool {
        matches!(
            self.source,
            HeaderSource::AccessToken | HeaderSource::IdToken
        )
    }

    /// Whether the person it is about must not see it, who may ask at a door that answers with these headers.
    fn is_shared_secret(&self) -> bool {
        matches!(self.source, HeaderSource::Basic(..))
    }

    /// Appends the value of the principal, of which there may be none, and says how much is missing: groups, or the whole
    /// value, which counts as one.
    fn push(&self, principal: Principal<'_>, max_bytes: usize, into: &mut Vec<u8>) -> usize {
        let begin = into.len();
        let notes = &principal.identity.notes;
        if self.source == HeaderSource::Groups {
            let left_out = push_groups(&principal.identity.groups, max_bytes, into);
            return left_out
                .saturating_add(usize::try_from(notes.omitted_groups).unwrap_or(usize::MAX));
        }
        if let HeaderSource::Basic(user, password) = &self.source {
            if !push_basic(user, password, principal, into) {
                return 1;
            }
        } else {
            push_value(&self.source, principal, into);
        }
        // A token by itself is nothing that the header can hold (RFC 9110 §11.6.2, RFC 6750 §2.1).
        if self.is_token() && self.name == AUTHORIZATION && into.len() > begin {
            into.splice(begin..begin, *b"Bearer ");
        }
        if into.len() - begin > max_bytes {
            into.truncate(begin);
            return 1;
        }
        match &self.source {
            HeaderSource::Claim(path) => {
                let is_omitted = notes
                    .omitted_claims
                    .iter()
                    .any(|omitted| **omitted == **path);
                usize::from(is_omitted)
            }
            _ => 0,
        }
    }
}

impl IdentityHeaders {
    /// Each header of the configuration once.
    pub fn new(config: HeaderSettings) -> Self {
        let mut headers = Vec::new();
        let mut constants = Zeroizing::new(Vec::new());
        let mut constant_names = Vec::new();
        for (name, source) in config.identity {
            if let HeaderSource::Constant(value) = &source {
                let parts = [name.as_str(), ": ", value.expose(), "\r\n"];
                constants.extend(parts.iter().flat_map(|part| part.bytes()));
                constant_names.push(name);
                continue;
            }
            headers.push(Header {
                missing: missing_name(&name),
                name,
                source,
            });
        }
        Self {
            headers,
            constants,
            constant_names,
            max_bytes: config.max_bytes,
        }
    }

    /// Writes the constants, which prove to the app that the request came this way, whoever sent it. Then a line for each
    /// header that the principal has a value for, and one that counts what is missing from it, if anything is. Their names
    /// were removed from the request before, so that a header is ours or absent, never the client's.
    pub fn write(&self, principal: Option<Principal<'_>>, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.constants);
        let Some(principal) = principal else { return };
        for header in &self.headers {
            let before = into.len();
            into.extend_from_slice(header.name.as_str().as_bytes());
            into.extend_from_slice(b": ");
            let begin = into.len();
            let missing = header.push(principal, self.max_bytes, into);
            if into.len() > begin {
                into.extend_from_slice(b"\r\n");
            } else {
                into.truncate(before);
            }
            if let (1.., Some(name)) = (missing, &header.missing) {
                into.extend_from_slice(format!("{name}: {missing}\r\n").as_bytes());
            }
        }
    }

    /// What [`write`](Self::write) writes, for a request over HTTP/2. What is secret is kept out of the peer's tables
    /// (RFC 7541 §7.1.3).
    pub fn insert(&self, principal: Option<Principal<'_>>, headers: &mut HeaderMap) {
        let mut lines = Zeroizing::new(Vec::new());
        self.write(principal, &mut lines);
        for line in lines.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let value = line[colon + 1..].trim_ascii();
            if let (Ok(name), Ok(mut value)) = (
                HeaderName::from_bytes(&line[..colon]),
                HeaderValue::from_bytes(value),
            ) {
                value.set_sensitive(name == AUTHORIZATION || self.constant_names.contains(&name));
                headers.insert(name, value);
            }
        }
    }

    /// Every name that may be written, those that count what is missing among them.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let headers = self.headers.iter();
        headers.flat_map(|header| {
            [Some(&header.name), header.missing.as_ref()]
                .into_iter()
                .flatten()
        })
    }

    /// What [`write`](Self::write) says, as headers of an answer: whoever asked passes them on. No secret that the app
    /// shares with the gate is among them: a browser can ask there, too, and whoever knows it can do without the gate.
    pub fn set(&self, principal: Principal<'_>, headers: &mut HeaderMap) {
        let lines = self.lines(principal).into_iter();
        for line in lines.filter(|line| !line.is_shared_secret) {
            if let Ok(value) = HeaderValue::try_from(line.value) {
                headers.insert(line.name, value);
            }
        }
    }

    /// What [`write`](Self::write) says, for the person it is about: names as people write them, and no value
    /// where it is a token or a secret.
    pub fn told(&self, principal: Principal<'_>) -> Vec<(String, Option<String>)> {
        let lines = self.lines(principal).into_iter();
        let of_person = lines.map(|line| {
            let is_shown = !line.is_token && !line.is_shared_secret;
            let value = String::from_utf8_lossy(&line.value).into_owned();
            (capitalised(line.name), is_shown.then_some(value))
        });
        of_person.chain(self.told_of_all()).collect()
    }

    /// What of that the app is told whoever asks.
    pub fn told_of_all(&self) -> impl Iterator<Item = (String, Option<String>)> {
        self.constant_names
            .iter()
            .map(|name| (capitalised(name), None))
    }

    /// The headers of which something is missing, and how much, as `X-User-Groups: 80`.
    pub fn missing(&self, principal: Principal<'_>) -> Vec<String> {
        let mut value = Vec::new();
        let mut missing = Vec::new();
        for header in &self.headers {
            value.clear();
            let count = header.push(principal, self.max_bytes, &mut value);
            if count > 0 {
                missing.push(format!("{}: {count}", capitalised(&header.name)));
            }
        }
        missing
    }

    fn lines(&self, principal: Principal<'_>) -> Vec<Line<'_>> {
        let mut lines = Vec::with_capacity(self.headers.len());
        for header in &self.headers {
            let mut value = Vec::new();
            let missing = header.push(principal, self.max_bytes, &mut value);
            if !value.is_empty() {
                lines.push(Line {
                    name: &header.name,
                    value,
                    is_token: header.is_token(),
                    is_shared_secret: header.is_shared_secret(),
                });
            }
            if let (1.., Some(name)) = (missing, &header.missing) {
                lines.push(Line {
                    name,
                    value: missing.to_string().into_bytes(),
                    is_token: false,
                    is_shared_secret: false,
                });
            }
        }
        lines
    }
}

/// One header as it is sent.
struct Line<'h> {
    name: &'h HeaderName,
    value: Vec<u8>,
    is_token: bool,
    is_shared_secret: bool,
}

/// Appends the groups that fit into `max_bytes`, and says how many do not.
fn push_groups(groups: &[Text], max_bytes: usize, into: &mut Vec<u8>) -> usize {
    let begin = into.len();
    for (place, group) in groups.iter().enumerate() {
        let end = into.len();
        if place > 0 {
            into.push(b',');
        }
        push_part(group.bytes(), b',', into);
        if into.len() - begin > max_bytes {
            into.truncate(end);
            return groups.len() - place;
        }
    }
    0
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
fn push_value(source: &HeaderSource, principal: Principal<'_>, into: &mut Vec<u8>) {
    let identity = &principal.identity;
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
        HeaderSource::Subject => push_text(identity.subject.bytes(), into),
        HeaderSource::Email => optional(&identity.email, into),
        HeaderSource::Name => optional(&identity.name, into),
        HeaderSource::Groups => _ = push_groups(&identity.groups, usize::MAX, into),
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
        HeaderSource::AccessToken => optional(&principal.tokens.access, into),
        HeaderSource::IdToken => optional(&principal.tokens.id, into),
        HeaderSource::Prefixed(prefix, source) => {
            let begin = into.len();
            into.extend_from_slice(prefix.as_bytes());
            let value = into.len();
            push_value(source, principal, into);
            if into.len() == value {
                into.truncate(begin);
            }
        }
        // Constants have a place of their own, and credentials are made by `push_basic`.
        HeaderSource::Constant(_) | HeaderSource::Basic(..) => {}
    }
}

/// Appends `Basic` credentials, and says whether they hold the name: one with a colon would end too early, and control
/// characters cannot stand there (RFC 7617 §2). Nothing is appended for somebody without the name.
fn push_basic(
    user: &HeaderSource,
    password: &Secret,
    principal: Principal<'_>,
    into: &mut Vec<u8>,
) -> bool {
    let identity = &principal.identity;
    let name = match user {
        HeaderSource::User => Some(identity.user()),
        HeaderSource::Subject => Some(&identity.subject),
        HeaderSource::Email => identity.email.as_ref(),
        HeaderSource::Name => identity.name.as_ref(),
        HeaderSource::Claim(path) => {
            let claim = identity.claims.iter().find(|(key, _)| **key == **path);
            claim.map(|(_, claim)| claim)
        }
        _ => None,
    };
    let Some(name) = name else { return true };
    if name
        .bytes()
        .iter()
        .any(|byte| *byte == b':' || byte.is_ascii_control())
    {
        return false;
    }
    let parts: [&[u8]; 3] = [name.bytes(), b":", password.expose().as_bytes()];
    let credentials = Zeroizing::new(parts.concat());
    into.extend_from_slice(b"Basic ");
    into.extend_from_slice(STANDARD.encode(&credentials[..]).as_bytes());
    true
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
        headers(&[("x-test", source)]).write(Some(session.principal()), &mut line);
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
        let told = headers.told(session().principal());
        let id = ("X-User-Id".to_owned(), Some("corp:4711".to_owned()));
        assert_eq!(told, [id, ("X-Token".to_owned(), None)]);
    }

    #[test]
    fn a_token_in_authorization_says_what_it_is() {
        let headers = headers(&[
            ("authorization", HeaderSource::AccessToken),
            ("x-token", HeaderSource::AccessToken),
        ]);
        let mut lines = Vec::new();
        headers.write(Some(session().principal()), &mut lines);
        assert_eq!(lines, b"authorization: Bearer token\r\nx-token: token\r\n");
        let mut none = Vec::new();
        let mut session = session();
        session.tokens.access = None;
        headers.write(Some(session.principal()), &mut none);
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
        headers.write(Some(session().principal()), &mut lines);
        assert_eq!(lines, b"x-gate: between us\r\nx-user: ada\r\n");
        let mut answer = HeaderMap::new();
        headers.set(session().principal(), &mut answer);
        assert_eq!(answer.len(), 1);
        let told = headers.told(session().principal());
        assert_eq!(told[1], ("X-Gate".to_owned(), None));
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
        headers.set(session.principal(), &mut answer);
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
        headers.write(Some(session.principal()), &mut lines);
        let lines = String::from_utf8(lines).unwrap();
        // Eleven bytes each, the first ten.
        let fit = (8_192 + 1) / 11;
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!(lines[0].len(), "x-groups: ".len() + fit * 11 - 1);
        assert_eq!(lines[1], format!("x-groups-missing: {}", 1_007 - fit));
        assert_eq!(lines[2..], ["x-long-missing: 1", "x-lost-missing: 1"]);
        let told: Vec<String> = headers
            .told(session.principal())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let names = [
            "X-Groups",
            "X-Groups-Missing",
            "X-Long-Missing",
            "X-Lost-Missing",
        ];
        assert_eq!(told, names);
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
        let headers = headers(&[("x-gate", constant), ("x-user", HeaderSource::User)]);
        let session = session();
        for principal in [None, Some(session.principal())] {
            let mut map = HeaderMap::new();
            headers.insert(principal, &mut map);
            let mut lines = Vec::new();
            headers.write(principal, &mut lines);
            let mut said = Vec::new();
            for (name, value) in &map {
                said.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
            }
            assert_eq!(said, lines);
            assert_eq!(map["x-gate"], "hush: hush");
            assert!(map["x-gate"].is_sensitive());
            assert_eq!(map.contains_key("x-user"), principal.is_some());
        }
    }
}
