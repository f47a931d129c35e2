//! Writes the identity headers for the upstream. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use zeroize::Zeroizing;

use crate::{
    access::Principal,
    identity_headers::{HeaderSettings, HeaderSource, missing_name},
    secret::Secret,
    text::Text,
};

/// Whom an app is told of.
#[derive(Clone, Copy, Debug)]
pub struct AppUser<'a> {
    /// Who.
    pub principal: Principal<'a>,
    /// The same, signed for this app; none where no header carries it, or where it does not fit into one.
    pub assertion: Option<&'a str>,
    /// By which the app asks for the session's access token; none where no header carries it, or without a session.
    pub handle: Option<&'a str>,
    /// A token in the user's name for another service, which goes into `Authorization`; none where the route asks for none.
    pub exchanged: Option<&'a str>,
}

impl<'a> From<Principal<'a>> for AppUser<'a> {
    /// Without what is made for one request or app.
    fn from(principal: Principal<'a>) -> Self {
        Self {
            principal,
            assertion: None,
            handle: None,
            exchanged: None,
        }
    }
}

/// The identity headers, with their names made ready at start.
#[derive(Debug)]
pub struct IdentityHeaders {
    /// What says of somebody who they are.
    headers: Vec<Header>,
    /// The lines that are the same whoever asks. Secrets.
    constants: Zeroizing<Vec<u8>>,
    constant_names: Vec<HeaderName>,
    carry_assertion: bool,
    /// Bytes of one value: servers refuse a request whose header is too long for them, and a person with it.
    max_bytes: usize,
}

#[derive(Debug)]
struct Header {
    name: HeaderName,
    /// What its line begins with: the name, a colon and a space.
    begin: Box<[u8]>,
    source: HeaderSource,
    /// The header that says how much of this one is missing.
    missing: Option<HeaderName>,
}

impl Header {
    /// Who may see its value.
    fn secrecy(&self) -> Secrecy {
        match self.source {
            HeaderSource::Assertion => Secrecy::Assertion,
            HeaderSource::AccessToken | HeaderSource::IdToken | HeaderSource::SessionHandle => {
                Secrecy::Token
            }
            HeaderSource::Basic(..) => Secrecy::SharedSecret,
            _ => Secrecy::Plain,
        }
    }

    /// Appends the value of the principal, of which there may be none, and says how much is missing: groups, or the whole
    /// value, which counts as one.
    fn push(&self, app_user: AppUser<'_>, max_bytes: usize, into: &mut Vec<u8>) -> usize {
        let begin = into.len();
        let principal = app_user.principal;
        let notes = &principal.identity.notes;
        let missing = match &self.source {
            HeaderSource::Assertion => {
                let assertion = app_user.assertion.unwrap_or_default();
                into.extend_from_slice(assertion.as_bytes());
                return usize::from(assertion.is_empty());
            }
            HeaderSource::SessionHandle => {
                into.extend_from_slice(app_user.handle.unwrap_or_default().as_bytes());
                return 0;
            }
            HeaderSource::Groups => {
                let left_out = push_groups(&principal.identity.groups, max_bytes, into);
                return left_out.saturating_add(notes.missing_groups());
            }
            HeaderSource::Basic(user, password) => {
                if !push_basic(user, password, principal, into) {
                    return 1;
                }
                0
            }
            HeaderSource::Claim(path) => {
                push_value(&self.source, principal, into);
                let omitted = &notes.omitted_claims;
                usize::from(omitted.iter().any(|omitted| **omitted == **path))
            }
            HeaderSource::AccessToken | HeaderSource::IdToken => {
                // A token by itself is nothing that the header can hold (RFC 9110 §11.6.2, RFC 6750 §2.1).
                let scheme = if self.name == AUTHORIZATION {
                    "Bearer "
                } else {
                    ""
                };
                push_prefixed(scheme, &self.source, principal, into);
                let is_omitted =
                    self.source == HeaderSource::IdToken && principal.tokens.id_omitted;
                usize::from(is_omitted)
            }
            source => {
                push_value(source, principal, into);
                0
            }
        };
        if into.len() - begin > max_bytes {
            into.truncate(begin);
            return 1;
        }
        missing
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
                begin: format!("{name}: ").into_bytes().into(),
                name,
                source,
            });
        }
        Self {
            carry_assertion: headers
                .iter()
                .any(|header| header.source == HeaderSource::Assertion),
            headers,
            constants,
            constant_names,
            max_bytes: config.max_bytes,
        }
    }

    /// Writes the constants, which prove to the app that the request came this way, whoever sent it. Then a line for each
    /// header that the principal has a value for, and one that counts what is missing from it, if anything is. Their names
    /// were removed from the request before, so that a header is ours or absent, never the client's.
    pub fn write(&self, app_user: Option<AppUser<'_>>, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.constants);
        let Some(app_user) = app_user else { return };
        for header in &self.headers {
            let before = into.len();
            into.extend_from_slice(&header.begin);
            let begin = into.len();
            let missing = header.push(app_user, self.max_bytes, into);
            if into.len() > begin {
                into.extend_from_slice(b"\r\n");
            } else {
                into.truncate(before);
            }
            if let (1.., Some(name)) = (missing, &header.missing) {
                into.extend_from_slice(format!("{name}: {missing}\r\n").as_bytes());
            }
        }
        if let Some(token) = app_user.exchanged {
            for part in ["authorization: Bearer ", token, "\r\n"] {
                into.extend_from_slice(part.as_bytes());
            }
        }
    }

    /// What [`write`](Self::write) writes, for a request over HTTP/2. What is secret is kept out of the peer's tables
    /// (RFC 7541 §7.1.3).
    pub fn insert(&self, app_user: Option<AppUser<'_>>, headers: &mut HeaderMap) {
        let mut lines = Zeroizing::new(Vec::new());
        self.write(app_user, &mut lines);
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
                let is_secret =
                    |header: &Header| header.name == name && header.secrecy() != Secrecy::Plain;
                value.set_sensitive(
                    name == AUTHORIZATION
                        || self.constant_names.contains(&name)
                        || self.headers.iter().any(is_secret),
                );
                headers.insert(name, value);
            }
        }
    }

    /// Whether a header carries an assertion.
    pub fn carry_assertion(&self) -> bool {
        self.carry_assertion
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

    /// What [`write`](Self::write) says, as headers of an answer, as far as `asker` may see it: whoever asked passes them on.
    pub fn set(&self, app_user: AppUser<'_>, asker: Asker, headers: &mut HeaderMap) {
        let lines = self.lines(app_user).into_iter();
        for line in lines.filter(|line| line.secrecy.is_told(asker)) {
            if let Ok(value) = HeaderValue::try_from(line.value) {
                headers.insert(line.name, value);
            }
        }
    }

    /// What [`write`](Self::write) says, for the person it is about: names as people write them, and no value
    /// where it is a token or a secret.
    pub fn shown(&self, principal: Principal<'_>) -> Vec<(String, Option<String>)> {
        let app_user = AppUser {
            principal,
            // Neither is shown.
            assertion: Some("signed"),
            handle: Some("sealed"),
            exchanged: None,
        };
        let lines = self.lines(app_user).into_iter();
        let of_person = lines.map(|line| {
            let value = String::from_utf8_lossy(&line.value).into_owned();
            let is_shown = line.secrecy == Secrecy::Plain;
            (capitalised(line.name), is_shown.then_some(value))
        });
        of_person.chain(self.shown_constants()).collect()
    }

    /// What of that the app is told whoever asks.
    pub fn shown_constants(&self) -> impl Iterator<Item = (String, Option<String>)> {
        self.constant_names
            .iter()
            .map(|name| (capitalised(name), None))
    }

    /// The headers of which something is missing, and how much, as `X-User-Groups: 80`.
    pub fn missing(&self, principal: Principal<'_>) -> Vec<String> {
        let mut value = Vec::new();
        let mut missing = Vec::new();
        let app_user = AppUser {
            principal,
            assertion: Some("signed"),
            handle: None,
            exchanged: None,
        };
        for header in &self.headers {
            value.clear();
            let count = header.push(app_user, self.max_bytes, &mut value);
            if count > 0 {
                missing.push(format!("{}: {count}", capitalised(&header.name)));
            }
        }
        missing
    }

    fn lines(&self, app_user: AppUser<'_>) -> Vec<Line<'_>> {
        let mut lines = Vec::with_capacity(self.headers.len());
        for header in &self.headers {
            let mut value = Vec::new();
            let missing = header.push(app_user, self.max_bytes, &mut value);
            if !value.is_empty() {
                lines.push(Line {
                    name: &header.name,
                    value,
                    secrecy: header.secrecy(),
                });
            }
            if let (1.., Some(name)) = (missing, &header.missing) {
                lines.push(Line {
                    name,
                    value: missing.to_string().into_bytes(),
                    secrecy: Secrecy::Plain,
                });
            }
        }
        if let Some(token) = app_user.exchanged {
            lines.push(Line {
                name: &AUTHORIZATION_NAME,
                value: format!("Bearer {token}").into_bytes(),
                secrecy: Secrecy::Token,
            });
        }
        lines
    }
}

static AUTHORIZATION_NAME: HeaderName = AUTHORIZATION;

/// One header as it is sent.
struct Line<'h> {
    name: &'h HeaderName,
    value: Vec<u8>,
    secrecy: Secrecy,
}

/// Who may see a header's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secrecy {
    /// Whoever it is about.
    Plain,
    /// The app, through whoever asks: it is good for whoever holds it, but at this app alone.
    Assertion,
    /// The app, through a proxy: it opens what others than the app keep, and scripts must not read what the app keeps from them.
    Token,
    /// The app alone: whoever knows it can do without the gate, and the person it is about may ask at a door, too.
    SharedSecret,
}

impl Secrecy {
    /// Whether an answer to `asker` has the value.
    fn is_told(self, asker: Asker) -> bool {
        match self {
            Self::Plain | Self::Assertion => true,
            Self::Token => asker == Asker::Proxy,
            Self::SharedSecret => false,
        }
    }
}

/// Who asks for an answer with the identity headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A proxy that is trusted. It hands the headers on to the app.
    Proxy,
    /// Nobody knows who. It may be a browser.
    Anybody,
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
        HeaderSource::Scopes => push_scopes(principal.scopes, into),
        HeaderSource::Client => {
            if let Some(client) = principal.client {
                push_text(client.bytes(), into);
            }
        }
        HeaderSource::Credential => into.extend_from_slice(principal.proof.name().as_bytes()),
        HeaderSource::AccessToken => optional(&principal.tokens.access, into),
        HeaderSource::IdToken => optional(&principal.tokens.id, into),
        HeaderSource::Prefixed(prefix, source) => push_prefixed(prefix, source, principal, into),
        // Constants have a place of their own, credentials are made by `push_basic`, and the last two come ready.
        HeaderSource::Constant(_)
        | HeaderSource::Basic(..)
        | HeaderSource::Assertion
        | HeaderSource::SessionHandle => {}
    }
}

/// As [`push_value`], behind `prefix`.
fn push_prefixed(
    prefix: &str,
    source: &HeaderSource,
    principal: Principal<'_>,
    into: &mut Vec<u8>,
) {
    let begin = into.len();
    into.extend_from_slice(prefix.as_bytes());
    let value = into.len();
    push_value(source, principal, into);
    if into.len() == value {
        into.truncate(begin);
    }
}

/// Appends the scopes, none of which holds a space.
fn push_scopes(scopes: Option<&[Text]>, into: &mut Vec<u8>) {
    for (place, scope) in scopes.into_iter().flatten().enumerate() {
        if place > 0 {
            into.push(b' ');
        }
        push_part(scope.bytes(), b' ', into);
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
    if is_plain(text, separator) {
        return into.extend_from_slice(text);
    }
    let keep = |byte: u8| is_plain_byte(byte) && byte != separator;
    if text.first() == Some(&b' ') || text.last() == Some(&b' ') {
        push_escaped(into, text, |byte| keep(byte) && byte != b' ');
    } else {
        push_escaped(into, text, keep);
    }
}

/// Printable ASCII but `%`.
fn is_plain_byte(byte: u8) -> bool {
    byte.wrapping_sub(b' ') <= b'~' - b' ' && byte != b'%'
}

/// Whether `text` is written as it is, as nearly every text is.
fn is_plain(text: &[u8], separator: u8) -> bool {
    let keep = |byte: u8| is_plain_byte(byte) && byte != separator;
    // Eight at a time, without a branch between them: the compiler has an instruction for that.
    let (chunks, rest) = text.as_chunks::<8>();
    let all_kept = |bytes: &[u8]| bytes.iter().fold(true, |all, byte| all & keep(*byte));
    chunks.iter().all(|chunk| all_kept(chunk))
        && all_kept(rest)
        && text.first() != Some(&b' ')
        && text.last() != Some(&b' ')
}

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
mod tests;
