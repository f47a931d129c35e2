//! A session as bytes: compact, versioned, and read without copying. Pure.
//!
//! The layout is a version byte, the two ids, a postcard head, then the groups and the claims as a run of postcard strings, whose numbers
//! are in the head. Bytes after that belong to later versions. They are kept, so that an older gate passes a session on without loss.
//! Decoding allocates only the two lists: each string becomes a [`Text`] slice of the decrypted buffer. Every request carries the cookie,
//! so each saved byte counts.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Session;
use crate::{
    clock::Timestamp,
    identity::{Authentication, Gap, GapCause, Identity, Notes, Withheld},
    text::Text,
    tokens::Tokens,
};

/// The bytes of a session; first byte is the format's version.
pub fn encode(session: &Session) -> Vec<u8> {
    let identity = &session.identity;
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    bytes.extend(session.id);
    bytes.extend(session.login_id);
    bytes.extend(session.provider_fingerprint);
    let head = Head {
        created_at: session.created_at.0,
        lasts: (session.ends_at).map(|end| end.0.wrapping_sub(session.created_at.0)),
        idle: session.idle_timeout.map(|idle| idle.as_secs()),
        seen_after: session.seen_at.0.wrapping_sub(session.created_at.0),
        generation: session.generation,
        provider: identity.provider.bytes(),
        subject: identity.subject.bytes(),
        login: bytes_of(identity.login.as_ref()),
        email: bytes_of(identity.email.as_ref()),
        name: bytes_of(identity.name.as_ref()),
        picture: bytes_of(identity.picture.as_ref()),
        access_token: bytes_of(session.tokens.access.as_ref()),
        id_token: bytes_of(session.tokens.id.as_ref()),
        refresh_token: bytes_of(session.tokens.refresh.as_ref()),
        expires_at: session.tokens.expires_at.map(|end| end.0),
        refresh_at: session.tokens.refresh_at.map(|due| due.0),
        provider_session: bytes_of(session.provider_session.as_ref()),
        groups: identity.groups.len() as u64,
        memberships: identity.memberships.len() as u64,
        claims: identity.claims.len() as u64,
    };
    append(&mut bytes, &head);
    for group in &identity.groups {
        append(&mut bytes, group.as_str());
    }
    for (key, value) in identity.memberships.iter().chain(&identity.claims) {
        append(&mut bytes, &(key.as_str(), value.as_str()));
    }
    append(&mut bytes, &NotesParts::of(&identity.notes));
    // Nothing for what is not known, so that such a session is as small as ever.
    let gaps = GapParts::of(session);
    let unusable_groups = identity.notes.unusable_groups;
    let writes_unusable = unusable_groups != 0 || !session.further.is_empty();
    let writes_gaps = gaps != GapParts::default() || writes_unusable;
    if identity.authentication != Authentication::default() || writes_gaps {
        append(&mut bytes, &AuthenticationParts::of(session));
    }
    if writes_gaps {
        append(&mut bytes, &gaps);
    }
    if writes_unusable {
        append(&mut bytes, &unusable_groups);
    }
    bytes.extend_from_slice(&session.further);
    bytes
}

/// The session in `plain`; nothing where the version is foreign or the bytes are not a session.
pub fn decode(plain: &Bytes) -> Option<Session> {
    let (&version, rest) = plain.split_first()?;
    if version != VERSION {
        return None;
    }
    let (id, rest) = rest.split_first_chunk()?;
    let (login_id, rest) = rest.split_first_chunk()?;
    let (provider_fingerprint, rest) = rest.split_first_chunk()?;
    let (head, mut rest) = postcard::take_from_bytes::<Head<'_>>(rest).ok()?;
    let text = |part: &[u8]| Text::checked_slice_of(plain, part);
    let optional = |part: Option<&[u8]>| match part {
        None => Some(None),
        Some(part) => text(part).map(Some),
    };

    let mut groups = list(head.groups, rest)?;
    for _ in 0..head.groups {
        let (group, after) = postcard::take_from_bytes::<&[u8]>(rest).ok()?;
        groups.push(text(group)?);
        rest = after;
    }
    let mut pairs = |count| {
        let mut pairs = list(count, rest)?;
        for _ in 0..count {
            let ((key, value), after) = postcard::take_from_bytes::<(&[u8], &[u8])>(rest).ok()?;
            pairs.push((text(key)?, text(value)?));
            rest = after;
        }
        Some(pairs)
    };
    let memberships = pairs(head.memberships)?;
    let claims = pairs(head.claims)?;
    let (notes, rest) = postcard::take_from_bytes::<NotesParts<'_>>(rest).ok()?;
    let (authentication, rest) = or_nothing::<AuthenticationParts<'_>>(rest)?;
    let (gaps, rest) = or_nothing::<GapParts<'_>>(rest)?;
    let (unusable_groups, rest) = or_nothing::<u32>(rest)?;
    let notes = Notes {
        unusable_groups,
        ..notes.read(gaps.gaps, text)?
    };
    let authentication = Authentication {
        at: (authentication.before).map(|before| Timestamp(head.created_at.wrapping_sub(before))),
        acr: optional(authentication.acr)?,
    };
    let further = plain.slice(plain.len() - rest.len()..);
    Some(Session {
        id: *id,
        login_id: *login_id,
        provider_fingerprint: *provider_fingerprint,
        created_at: Timestamp(head.created_at),
        ends_at: (head.lasts).map(|lasts| Timestamp(head.created_at.wrapping_add(lasts))),
        idle_timeout: head.idle.map(Duration::from_secs),
        seen_at: Timestamp(head.created_at.wrapping_add(head.seen_after)),
        generation: head.generation,
        identity: Identity {
            provider: text(head.provider)?,
            subject: text(head.subject)?,
            login: optional(head.login)?,
            email: optional(head.email)?,
            name: optional(head.name)?,
            picture: optional(head.picture)?,
            groups,
            memberships,
            claims,
            notes,
            authentication,
        },
        tokens: Tokens {
            access: optional(head.access_token)?,
            id: optional(head.id_token)?,
            refresh: optional(head.refresh_token)?,
            expires_at: head.expires_at.map(Timestamp),
            refresh_at: head.refresh_at.map(Timestamp),
            id_omitted: gaps.id_omitted,
        },
        provider_session: optional(head.provider_session)?,
        further,
    })
}

/// Strings as their bytes, which are encoded alike: a [`Text`] checks them when it is made, and once is enough.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    created_at: u64,
    /// Seconds from `created_at` to the absolute end.
    lasts: Option<u64>,
    /// Seconds that it may be idle.
    idle: Option<u64>,
    /// Seconds from `created_at` to `seen_at`: one to three bytes instead of five.
    seen_after: u64,
    generation: u64,
    provider: &'a [u8],
    subject: &'a [u8],
    login: Option<&'a [u8]>,
    email: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    picture: Option<&'a [u8]>,
    access_token: Option<&'a [u8]>,
    id_token: Option<&'a [u8]>,
    refresh_token: Option<&'a [u8]>,
    expires_at: Option<u64>,
    refresh_at: Option<u64>,
    provider_session: Option<&'a [u8]>,
    groups: u64,
    memberships: u64,
    claims: u64,
}

/// [`Notes`], with strings as their bytes. Five bytes where nothing is noted.
#[derive(Serialize, Deserialize)]
struct NotesParts<'a> {
    omitted_groups: u32,
    #[serde(borrow)]
    omitted_claims: Vec<&'a [u8]>,
    #[serde(borrow)]
    found_beside: Vec<&'a [u8]>,
    userinfo_answered: bool,
    token_subject: Option<&'a [u8]>,
}

impl<'a> NotesParts<'a> {
    fn of(notes: &'a Notes) -> Self {
        let bytes = |texts: &'a [Text]| texts.iter().map(|text| &**text.bytes()).collect();
        Self {
            omitted_groups: notes.omitted_groups,
            omitted_claims: bytes(&notes.omitted_claims),
            found_beside: bytes(&notes.found_beside),
            userinfo_answered: notes.userinfo_answered,
            token_subject: bytes_of(notes.token_subject.as_ref()),
        }
    }

    /// The notes, with these `gaps` from behind them. `text` makes a string of its bytes.
    fn read(
        self,
        gaps: Vec<(&[u8], &[u8], u8)>,
        text: impl Fn(&[u8]) -> Option<Text>,
    ) -> Option<Notes> {
        let texts = |parts: Vec<&[u8]>| parts.into_iter().map(&text).collect::<Option<Vec<_>>>();
        let gaps = gaps.into_iter().map(|(list, claim, cause)| {
            Some(Gap {
                list: text(list)?,
                claim: text(claim)?,
                cause: cause_of(cause),
            })
        });
        Some(Notes {
            omitted_groups: self.omitted_groups,
            omitted_claims: texts(self.omitted_claims)?,
            found_beside: texts(self.found_beside)?,
            userinfo_answered: self.userinfo_answered,
            token_subject: match self.token_subject {
                Some(subject) => Some(text(subject)?),
                None => None,
            },
            gaps: gaps.collect::<Option<_>>()?,
            ..Notes::default()
        })
    }
}

/// [`Authentication`], with the class as its bytes.
#[derive(Default, Serialize, Deserialize)]
struct AuthenticationParts<'a> {
    /// Seconds from then to `created_at`: a byte instead of five.
    before: Option<u64>,
    acr: Option<&'a [u8]>,
}

/// What is at the beginning of `rest`, and what follows it. Where nothing is there, nothing is known.
fn or_nothing<'a, T: Default + Deserialize<'a>>(rest: &'a [u8]) -> Option<(T, &'a [u8])> {
    if rest.is_empty() {
        return Some((T::default(), rest));
    }
    postcard::take_from_bytes(rest).ok()
}

/// What the session lacks: claims where rules look, and an ID token that no header can carry.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct GapParts<'a> {
    #[serde(borrow)]
    gaps: Vec<(&'a [u8], &'a [u8], u8)>,
    id_omitted: bool,
}

impl<'a> GapParts<'a> {
    fn of(session: &'a Session) -> Self {
        let gaps = session.identity.notes.gaps.iter();
        Self {
            gaps: gaps
                .map(|gap| {
                    (
                        &**gap.list.bytes(),
                        &**gap.claim.bytes(),
                        byte_of(gap.cause),
                    )
                })
                .collect(),
            id_omitted: session.tokens.id_omitted,
        }
    }
}

impl<'a> AuthenticationParts<'a> {
    fn of(session: &'a Session) -> Self {
        let Authentication { at, acr } = &session.identity.authentication;
        Self {
            before: at.map(|at| session.created_at.0.wrapping_sub(at.0)),
            acr: bytes_of(acr.as_ref()),
        }
    }
}

fn byte_of(cause: GapCause) -> u8 {
    match cause {
        GapCause::Absent => 0,
        GapCause::Empty => 1,
        GapCause::Withheld(Withheld::TooMany) => 2,
        GapCause::Withheld(Withheld::Elsewhere) => 3,
    }
}

/// A later version may know further ones. Nothing was found there either.
fn cause_of(byte: u8) -> GapCause {
    match byte {
        1 => GapCause::Empty,
        2 => GapCause::Withheld(Withheld::TooMany),
        3 => GapCause::Withheld(Withheld::Elsewhere),
        _ => GapCause::Absent,
    }
}

fn bytes_of(text: Option<&Text>) -> Option<&[u8]> {
    text.map(|text| text.bytes().as_ref())
}

fn append<T: Serialize + ?Sized>(bytes: &mut Vec<u8>, value: &T) {
    let taken = std::mem::take(bytes);
    *bytes = postcard::to_extend(value, taken).expect("a vector takes any string");
}

/// Room for `count` entries, unless `rest` cannot hold so many: each takes a byte at least.
fn list<T>(count: u64, rest: &[u8]) -> Option<Vec<T>> {
    let count = usize::try_from(count).ok()?;
    (count <= rest.len()).then(|| Vec::with_capacity(count))
}

const VERSION: u8 = 2;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::{
        secret::Secret,
        session::seal::{KeyRing, Purpose},
    };

    fn typical() -> Session {
        let identity = Identity {
            login: Some("ada.love".into()),
            email: Some("ada.lovelace@example.com".into()),
            name: Some("Ada Lovelace, MA".into()),
            groups: vec!["admins".into(), "engineering".into(), "staff".into()],
            ..Identity::of("corp", "8f3c1c3e-6d0e-4f0b-9c55-0a2f4b1f7d11")
        };
        Session {
            ends_at: Some(Timestamp(1_795_604_800)),
            idle_timeout: Some(Duration::from_hours(12)),
            seen_at: Timestamp(1_795_086_400),
            ..Session::begin([1; 16], [2; 16], Timestamp(1_795_000_000), identity)
        }
    }

    #[test]
    fn a_typical_session_is_small() {
        let plain = encode(&typical());
        assert!(plain.len() < 200, "{} bytes", plain.len());
        let ring = KeyRing::new(&[Secret::new("one".to_owned())], "app.example.com");
        let sealed = ring.seal(Purpose::Session, b"", &plain, [0; 12]);
        assert!(sealed.len() < 300, "{} characters", sealed.len());
    }

    #[test]
    fn texts_are_slices_of_the_buffer() {
        let plain = Bytes::from(encode(&typical()));
        let session = decode(&plain).unwrap();
        let inside = plain.as_ptr_range();
        for text in session
            .identity
            .groups
            .iter()
            .chain([&session.identity.provider, &session.identity.subject])
        {
            assert!(inside.contains(&text.bytes().as_ptr()));
        }
    }

    #[test]
    fn refuses_what_is_not_a_session() {
        let plain = encode(&typical());
        for length in 0..plain.len() {
            let cut = Bytes::copy_from_slice(&plain[..length]);
            assert!(decode(&cut).is_none(), "cut at {length}");
        }
        let foreign = [&[VERSION + 1], &plain[1..]].concat();
        assert!(decode(&Bytes::from(foreign)).is_none());
    }

    #[test]
    fn what_a_newer_version_adds_is_passed_on() {
        let mut session = typical();
        session.identity.authentication = Authentication::by_login(session.created_at);
        session.identity.notes.unusable_groups = 1;
        let newer = [&encode(&session)[..], b"news"].concat();
        let session = decode(&Bytes::from(newer.clone())).unwrap();
        assert_eq!(session.further, "news");
        assert_eq!(encode(&session), newer);
    }

    #[test]
    fn a_cause_that_a_newer_version_knows_ends_no_session() {
        let mut session = typical();
        session.identity.notes.gaps = vec![Gap {
            list: "groups".into(),
            claim: "roles".into(),
            cause: GapCause::Withheld(Withheld::Elsewhere),
        }];
        let mut newer = encode(&session);
        let roles = newer.windows(5).position(|bytes| bytes == b"roles");
        let cause = &mut newer[roles.unwrap() + 5];
        assert_eq!(*cause, 3);
        *cause = 9;
        let read = decode(&Bytes::from(newer)).unwrap();
        assert_eq!(read.identity.notes.gaps[0].cause, GapCause::Absent);
    }

    #[test]
    fn refuses_lists_that_claim_to_be_longer_than_the_text() {
        let mut bytes = vec![VERSION];
        bytes.extend([0; 40]);
        let head = Head {
            created_at: 0,
            lasts: None,
            idle: None,
            seen_after: 0,
            generation: 0,
            provider: b"",
            subject: b"",
            login: None,
            email: None,
            name: None,
            picture: None,
            access_token: None,
            id_token: None,
            refresh_token: None,
            expires_at: None,
            refresh_at: None,
            provider_session: None,
            groups: u64::MAX,
            memberships: 0,
            claims: 0,
        };
        append(&mut bytes, &head);
        assert!(decode(&Bytes::from(bytes)).is_none());
    }

    fn text() -> impl Strategy<Value = Text> {
        any::<String>().prop_map(Text::from)
    }

    fn gaps() -> impl Strategy<Value = Gap> {
        let causes: Vec<GapCause> = (0..4).map(cause_of).collect();
        let cause = proptest::sample::select(causes);
        (text(), text(), cause).prop_map(|(list, claim, cause)| Gap { list, claim, cause })
    }

    prop_compose! {
        fn identities()(
            (provider, subject) in (text(), text()),
            login in option::of(text()),
            email in option::of(text()),
            name in option::of(text()),
            picture in option::of(text()),
            groups in vec(text(), 0..5),
            memberships in vec((text(), text()), 0..5),
            claims in vec((text(), text()), 0..5),
            (omitted_groups, unusable_groups, userinfo_answered) in any::<(u32, u32, bool)>(),
            (omitted_claims, found_beside) in (vec(text(), 0..3), vec(text(), 0..3)),
            token_subject in option::of(text()),
            (at, acr) in (any::<Option<u64>>(), option::of(text())),
            gaps in vec(gaps(), 0..3),
        ) -> Identity {
            let authentication = Authentication { at: at.map(Timestamp), acr };
            let notes = Notes { omitted_groups, unusable_groups, omitted_claims, found_beside, userinfo_answered, token_subject, gaps };
            Identity { provider, subject, login, email, name, picture, groups, memberships, claims, notes, authentication }
        }
    }

    proptest! {
        #[test]
        fn round_trip(
            (id, login_id, provider_fingerprint) in any::<([u8; 16], [u8; 16], [u8; 8])>(),
            (created_at, seen_at, generation) in any::<(u64, u64, u64)>(),
            (ends_at, idle) in any::<(Option<u64>, Option<u64>)>(),
            identity in identities(),
            (access, id_token) in (option::of(text()), option::of(text())),
            refresh in option::of(text()),
            (expires_at, refresh_at) in any::<(Option<u64>, Option<u64>)>(),
            id_omitted: bool,
            provider_session in option::of(text()),
            further: Vec<u8>,
        ) {
            let session = Session {
                id,
                login_id,
                provider_fingerprint,
                created_at: Timestamp(created_at),
                ends_at: ends_at.map(Timestamp),
                idle_timeout: idle.map(Duration::from_secs),
                seen_at: Timestamp(seen_at),
                generation,
                identity,
                tokens: Tokens {
                    access,
                    id: id_token,
                    refresh,
                    expires_at: expires_at.map(Timestamp),
                    refresh_at: refresh_at.map(Timestamp),
                    id_omitted,
                },
                provider_session,
                further: further.into(),
            };
            let decoded = decode(&Bytes::from(encode(&session)));
            prop_assert!(decoded == Some(session));
        }

        #[test]
        fn any_bytes_are_read_without_harm(mut bytes: Vec<u8>) {
            bytes.insert(0, VERSION);
            let _ = decode(&Bytes::from(bytes));
        }
    }
}
