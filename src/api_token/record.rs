//! The stored record of an owner and their tokens. Pure.
//!
//! One record holds everything about an owner: what the provider said at their last login, and the hash of each token. It is sealed, so
//! that somebody who can write to the store can neither read who it is nor make a token.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::format::Hash;
use crate::{
    clock::Timestamp,
    identity::Identity,
    owner_records::OwnerRecord,
    session::{Session, codec, seal::Purpose},
    tokens::Tokens,
};

/// An owner and their tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// What the last login or refresh said, as a session without tokens.
    facts: Vec<u8>,
    /// When it said so.
    pub(super) seen_at: Timestamp,
    pub(super) tokens: Vec<Kept>,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) hash: Hash,
    pub(super) start: String,
    pub(super) name: String,
    pub(super) scopes: Vec<String>,
    /// The routes that it is for, by name; all where there are none.
    pub(super) routes: Vec<String>,
    pub(super) made_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// Whom a record is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Who, as their last login said it.
    pub identity: Identity,
    /// Whose word it is: see [`Profile::fingerprint`](crate::provider::Profile::fingerprint).
    pub provider_fingerprint: [u8; 8],
}

impl Record {
    pub(super) fn of(facts: &Facts, now: Timestamp) -> Self {
        Self {
            facts: facts.write(now),
            seen_at: now,
            tokens: Vec::new(),
        }
    }

    /// Another login or refresh of the owner.
    pub(super) fn note(&mut self, facts: &Facts, now: Timestamp) {
        // A refresh's word may come behind a later login's.
        if now >= self.seen_at {
            self.facts = facts.write(now);
            self.seen_at = now;
        }
    }

    pub(super) fn facts(&self) -> Option<Facts> {
        Facts::read(&Bytes::copy_from_slice(&self.facts))
    }

    pub(super) fn forget_expired(&mut self, now: Timestamp) {
        self.tokens.retain(|token| now < token.expires_at);
    }
}

impl OwnerRecord for Record {
    const GROUP: &'static str = "api-tokens";
    const PURPOSE: Purpose = Purpose::ApiTokens;
    const HOLDS: &'static str = "API tokens";

    fn end(&self) -> Option<Timestamp> {
        self.tokens.iter().map(|token| token.expires_at).max()
    }

    fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("a vector takes all of it")
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes.strip_prefix(&[VERSION])?).ok()
    }
}

impl Facts {
    /// What a session knows.
    pub fn of(session: Session) -> Self {
        Self {
            identity: session.identity,
            provider_fingerprint: session.provider_fingerprint,
        }
    }

    /// What [`write`](Self::write) has written.
    pub fn read(written: &Bytes) -> Option<Self> {
        codec::decode(written).map(Self::of)
    }

    /// Neither ids nor tokens: nothing of the session itself.
    pub fn write(&self, now: Timestamp) -> Vec<u8> {
        codec::encode(&Session {
            provider_fingerprint: self.provider_fingerprint,
            tokens: Tokens::default(),
            ..Session::begin([0; 16], [0; 16], now, self.identity.clone())
        })
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let facts = Facts {
            identity: Identity {
                email: Some("ada@example.com".into()),
                groups: vec!["admins".into()],
                ..Identity::of("corp", "1")
            },
            provider_fingerprint: [3; 8],
        };
        let mut record = Record::of(&facts, Timestamp(5));
        assert_eq!(record.end(), None);
        let token = |expires_at| Kept {
            hash: [1; 32],
            start: "sgp_abcdef".to_owned(),
            name: "ci".to_owned(),
            scopes: vec!["read".to_owned()],
            routes: Vec::new(),
            made_at: Timestamp(5),
            expires_at: Timestamp(expires_at),
        };
        record.tokens = vec![token(10), token(20)];
        assert_eq!(record.end(), Some(Timestamp(20)));
        let again = Record::decode(&record.encode()).unwrap();
        assert_eq!(again, record);
        assert_eq!(again.facts(), Some(facts));
        record.forget_expired(Timestamp(10));
        assert_eq!(record.tokens, [token(20)]);
        assert_eq!(Record::decode(b""), None);
        assert_eq!(Record::decode(b"\x02x"), None);
    }
}
