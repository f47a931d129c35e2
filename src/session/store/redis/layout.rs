//! The format of records, revocations and messages in Redis. Pure.
//!
//! All fields have a fixed width and are big-endian, so that scripts can read them. A record is a version, its generation, its absolute
//! end, the time of its last use, and the sealed session. Redis expires a record at its idle end. The two times end it to the second.

use aws_lc_rs::digest;
use bytes::Bytes;

use crate::{
    clock::Timestamp,
    hex::hex,
    session::{
        Id,
        revocation::{Revocation, Target},
        store::Record,
    },
};

/// What a session is called in Redis: its id is in no dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name(pub(super) [u8; 16]);

impl Name {
    pub(super) fn of(id: &Id) -> Self {
        let digest = digest::digest(&digest::SHA256, id);
        let first = digest.as_ref().first_chunk();
        Self(*first.expect("SHA-256 has 32 bytes"))
    }

    /// The braces keep a session's keys on one node of a cluster.
    pub(super) fn session_key(self) -> String {
        format!("sidegate:{{{}}}:session", hex(&self.0))
    }

    pub(super) fn lease_key(self) -> String {
        format!("sidegate:{{{}}}:lease", hex(&self.0))
    }
}

/// A record with what ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) record: Record,
    pub(super) end: Timestamp,
    pub(super) seen_at: Timestamp,
}

impl Stored {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.record.sealed.len());
        bytes.push(VERSION);
        for number in [self.record.generation, self.end.0, self.seen_at.0] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(&self.record.sealed);
        bytes
    }

    /// None for what another version of the gate wrote in another way.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[VERSION])?;
        let (generation, rest) = number(rest)?;
        let (end, rest) = number(rest)?;
        let (seen_at, sealed) = number(rest)?;
        Some(Self {
            record: Record {
                generation,
                sealed: Bytes::copy_from_slice(sealed),
            },
            end: Timestamp(end),
            seen_at: Timestamp(seen_at),
        })
    }
}

/// What replicas tell each other at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A record was replaced or removed.
    Changed(Name),
    /// Sessions were revoked.
    Revoked(Revocation),
    /// The same, but nobody signed it.
    RevokedUnsigned(Revocation),
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Changed(name) => [&b"c"[..], &name.0].concat(),
            Self::Revoked(revocation) => [&b"r"[..], &encode_revocation(revocation)].concat(),
            Self::RevokedUnsigned(revocation) => {
                [&b"f"[..], &encode_revocation(revocation)].concat()
            }
        }
    }

    /// None for what a newer version of the gate says.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match kind {
            b'c' => Some(Self::Changed(Name(rest.try_into().ok()?))),
            b'r' => decode_revocation(rest).map(Self::Revoked),
            b'f' => decode_revocation(rest).map(Self::RevokedUnsigned),
            _ => None,
        }
    }
}

/// As it stands in the set of all.
pub(super) fn encode_revocation(revocation: &Revocation) -> Vec<u8> {
    let (kind, name) = match revocation.target {
        Target::Session(id) => (b's', id),
        Target::User(name) => (b'u', name),
        Target::ProviderSession(name) => (b'p', name),
        Target::Everybody => (EVERYBODY, [0; 16]),
        Target::Grant(id) => (b'g', id),
        Target::AccessTokens => (ACCESS_TOKENS, [0; 16]),
    };
    let not_before = revocation.not_before.0.to_be_bytes();
    [&[kind][..], &name, &not_before].concat()
}

pub(super) fn decode_revocation(bytes: &[u8]) -> Option<Revocation> {
    let (kind, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_first_chunk::<16>()?;
    let target = match kind {
        b's' => Target::Session(*name),
        b'u' => Target::User(*name),
        b'p' => Target::ProviderSession(*name),
        &EVERYBODY => Target::Everybody,
        b'g' => Target::Grant(*name),
        &ACCESS_TOKENS => Target::AccessTokens,
        _ => return None,
    };
    let (not_before, rest) = number(rest)?;
    rest.is_empty().then_some(Revocation {
        target,
        not_before: Timestamp(not_before),
    })
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

/// What a revocation of everybody's sessions begins with.
pub(super) const EVERYBODY: u8 = b'e';
/// What one of all access tokens begins with.
pub(super) const ACCESS_TOKENS: u8 = b'a';
const VERSION: u8 = 1;
/// Bytes in front of a sealed record.
const HEAD: usize = 25;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_in_no_key() {
        let name = Name::of(&[0xab; 16]);
        let key = name.session_key();
        assert!(
            key.starts_with("sidegate:{") && key.ends_with("}:session"),
            "{key}"
        );
        assert!(!key.contains("abab"));
    }

    proptest! {
        #[test]
        fn round_trips(generation: u64, end: u64, seen_at: u64, sealed: Vec<u8>, name: [u8; 16]) {
            let stored = Stored {
                record: Record { generation, sealed: sealed.into() },
                end: Timestamp(end),
                seen_at: Timestamp(seen_at),
            };
            prop_assert_eq!(Stored::decode(&stored.encode()), Some(stored));
            let not_before = Timestamp(end);
            for target in [
                Target::Session(name), Target::User(name), Target::ProviderSession(name), Target::Everybody,
                Target::Grant(name), Target::AccessTokens,
            ] {
                let revocation = Revocation { target, not_before };
                prop_assert_eq!(decode_revocation(&encode_revocation(&revocation)), Some(revocation));
                for message in [Message::Revoked(revocation), Message::RevokedUnsigned(revocation)] {
                    prop_assert_eq!(Message::decode(&message.encode()), Some(message));
                }
            }
            let message = Message::Changed(Name(name));
            prop_assert_eq!(Message::decode(&message.encode()), Some(message));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            let _ = (Stored::decode(&bytes), Message::decode(&bytes), decode_revocation(&bytes));
        }
    }
}
