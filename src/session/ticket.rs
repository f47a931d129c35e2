//! The ticket: what the cookie holds where sessions are kept in a store. Pure.
//!
//! It names a record and is the only place of the key that opens it, so that the store's owner, or a thief of its
//! dump, holds nothing but ciphertext. The ticket itself is sealed like any cookie: an id that was not given out
//! never reaches the store. The key is the record's alone and its id is bound into it, so that records
//! cannot be swapped.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;

use super::store::Id;

/// Names a record and opens it. No `Debug`: it is the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    id: Id,
    key: [u8; KEY],
}

impl Ticket {
    /// For the session `id`. `key` must be fresh random bytes.
    pub fn new(id: Id, key: [u8; KEY]) -> Self {
        Self { id, key }
    }

    /// The session's id.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// What opens the record.
    pub(super) fn key(&self) -> &[u8; KEY] {
        &self.key
    }

    /// As the cookie seals it.
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.id);
        bytes[16..].copy_from_slice(&self.key);
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) made; none of any other length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, key) = bytes.split_first_chunk()?;
        Some(Self {
            id: *id,
            key: key.try_into().ok()?,
        })
    }

    /// Seals a record. `nonce` must be fresh random bytes each time.
    ///
    /// # Panics
    /// When `plain` exceeds the 64 GiB that AES-GCM can seal.
    pub fn seal(&self, plain: &[u8], nonce: [u8; NONCE_LEN]) -> Bytes {
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + TAG);
        sealed.extend(nonce);
        sealed.extend(plain);
        let tag = self.cipher().seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&self.id),
            &mut sealed[NONCE_LEN..],
        );
        sealed.extend(tag.expect("at most 64 GiB").as_ref());
        sealed.into()
    }

    /// What was sealed; nothing for whatever this ticket did not seal.
    pub fn open(&self, sealed: &[u8]) -> Option<Bytes> {
        let (nonce, sealed) = sealed.split_first_chunk()?;
        let (sealed, tag) = sealed.split_last_chunk::<TAG>()?;
        // A buffer with room to spare is ready to be shared, which the session's texts do at once.
        let mut plain = Vec::with_capacity(sealed.len() + 1);
        plain.resize(sealed.len(), 0);
        self.cipher()
            .open_separate_gather(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(&self.id),
                sealed,
                tag,
                &mut plain,
            )
            .ok()?;
        Some(plain.into())
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_128_GCM, &self.key).expect("16 bytes are a key");
        LessSafeKey::new(key)
    }
}

/// The bytes of a key.
pub(super) const KEY: usize = 16;
const TAG: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_opens_with_its_own_ticket_only() {
        let ticket = Ticket::new([1; 16], [2; 16]);
        let sealed = ticket.seal(b"session", [3; 12]);
        assert_eq!(ticket.open(&sealed).unwrap(), "session");
        assert!(Ticket::new([1; 16], [9; 16]).open(&sealed).is_none());
        assert!(Ticket::new([9; 16], [2; 16]).open(&sealed).is_none());
    }

    proptest! {
        #[test]
        fn round_trip(id: [u8; 16], key: [u8; 16], nonce: [u8; 12], plain: Vec<u8>, flip: usize) {
            let ticket = Ticket::from_bytes(&Ticket::new(id, key).to_bytes()).unwrap();
            prop_assert!(ticket == Ticket::new(id, key));
            let mut sealed = ticket.seal(&plain, nonce).to_vec();
            prop_assert_eq!(ticket.open(&sealed).unwrap(), plain);
            let place = flip % sealed.len();
            sealed[place] ^= 1;
            prop_assert!(ticket.open(&sealed).is_none());
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            prop_assert_eq!(Ticket::from_bytes(&bytes).is_some(), bytes.len() == 32);
            prop_assert!(Ticket::new([0; 16], [0; 16]).open(&bytes).is_none());
        }
    }
}
