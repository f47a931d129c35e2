//! The ticket: the content of the cookie if sessions are in a store. Pure.
//!
//! It names a record, and is the only place of the key that opens it. So the store's owner, or a thief of its dump, has only
//! ciphertext. The key belongs to one record, whose id is bound into it, so that records cannot be swapped. The ticket itself is sealed like any cookie,
//! under a key of the [secret](super::seal) and of the gate. So a made-up id never reaches the store, and a cookie without the secret does not open
//! a stolen record.
//!
//! ```text
//! record: nonce (16) ‖ ciphertext ‖ tag (16)
//! cookie: base64url, without padding, of version (1) ‖ key id (1) ‖ nonce (16) ‖ ciphertext of id and key (32) ‖ tag (16)
//! ```
//!
//! Both use AEGIS-128L (draft-irtf-cfrg-aegis-aead), with random nonces. It has no key schedule. With AES-GCM, setting up a key for one session's
//! records would take longer, in each request, than opening the record.

use aegis::aegis128l::Aegis128L;
use base64_simd::{AsOut as _, URL_SAFE_NO_PAD};
use bytes::Bytes;

use super::seal::{KeyIndex, KeyRing};
use crate::{clock::Timestamp, session::Id};

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

    /// As the cookie holds it. `nonce` must be fresh random bytes each time.
    pub fn to_cookie(&self, keys: &KeyRing, nonce: Nonce) -> String {
        let (key_id, key) = keys.ticket_key();
        let mut plain = [0; TICKET];
        plain[..ID].copy_from_slice(&self.id);
        plain[ID..].copy_from_slice(&self.key);
        let tag = Aegis128L::<TAG>::new(key, &nonce).encrypt_in_place(&mut plain, b"");
        URL_SAFE_NO_PAD.encode_to_string([&[VERSION, key_id], &nonce[..], &plain, &tag].concat())
    }

    /// As the app holds it, good until `ends_at`. It is no cookie, and a cookie is none.
    pub fn to_handle(&self, keys: &KeyRing, ends_at: Timestamp, nonce: Nonce) -> String {
        let (key_id, key) = keys.ticket_key();
        let mut plain = [0; HANDLE];
        plain[..ID].copy_from_slice(&self.id);
        plain[ID..TICKET].copy_from_slice(&self.key);
        plain[TICKET..].copy_from_slice(&ends_at.0.to_be_bytes());
        let tag = Aegis128L::<TAG>::new(key, &nonce).encrypt_in_place(&mut plain, FOR_HANDLE);
        URL_SAFE_NO_PAD.encode_to_string([&[VERSION, key_id], &nonce[..], &plain, &tag].concat())
    }

    /// The ticket in a handle, and until when that is good; none where none of `keys` has sealed it.
    pub fn of_handle(text: &[u8], keys: &KeyRing) -> Option<(Self, Timestamp)> {
        if text.len() != HANDLE_TEXT {
            return None;
        }
        let envelope = URL_SAFE_NO_PAD.decode_to_vec(text).ok()?;
        let ([version, key_id], rest) = envelope.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (sealed, tag) = rest.split_first_chunk::<HANDLE>()?;
        let tag = tag.first_chunk::<TAG>()?;
        if *version != VERSION {
            return None;
        }
        keys.ticket_keys(*key_id).find_map(|(_, key)| {
            let mut plain = *sealed;
            let opened = Aegis128L::new(key, nonce).decrypt_in_place(&mut plain, tag, FOR_HANDLE);
            opened.ok()?;
            let (id, rest) = plain.split_first_chunk()?;
            let (key, ends_at) = rest.split_first_chunk()?;
            let ends_at = u64::from_be_bytes(*ends_at.first_chunk()?);
            Some((Self::new(*id, *key), Timestamp(ends_at)))
        })
    }

    /// The ticket in a cookie, and which secret had sealed it; none where none of `keys` has.
    pub fn of_cookie(text: &[u8], keys: &KeyRing) -> Option<(Self, KeyIndex)> {
        if text.len() != TEXT {
            return None;
        }
        let mut envelope = [0; ENVELOPE];
        let read = URL_SAFE_NO_PAD.decode(text, envelope.as_mut_slice().as_out());
        if read.ok()?.len() != ENVELOPE {
            return None;
        }
        let ([version, key_id], rest) = envelope.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (sealed, tag) = rest.split_first_chunk::<TICKET>()?;
        let tag = tag.first_chunk::<TAG>()?;
        if *version != VERSION {
            return None;
        }
        keys.ticket_keys(*key_id).find_map(|(index, key)| {
            let mut plain = *sealed;
            let opened = Aegis128L::new(key, nonce).decrypt_in_place(&mut plain, tag, b"");
            opened.ok()?;
            let (id, key) = plain.split_first_chunk()?;
            let ticket = Self::new(*id, *key.first_chunk()?);
            Some((ticket, index))
        })
    }

    /// Seals a record. `nonce` must be fresh random bytes each time.
    pub fn seal(&self, plain: &[u8], nonce: Nonce) -> Bytes {
        let mut sealed = Vec::with_capacity(nonce.len() + plain.len() + TAG);
        sealed.extend(nonce);
        sealed.extend(plain);
        let tag = Aegis128L::<TAG>::new(&self.key, &nonce)
            .encrypt_in_place(&mut sealed[nonce.len()..], &self.id);
        sealed.extend(tag);
        sealed.into()
    }

    /// What was sealed; nothing for whatever this ticket did not seal.
    pub fn open(&self, sealed: &[u8]) -> Option<Bytes> {
        let (nonce, sealed) = sealed.split_first_chunk()?;
        let (sealed, tag) = sealed.split_last_chunk::<TAG>()?;
        // A buffer with room to spare is ready to be shared, which the session's texts do at once.
        let mut plain = Vec::with_capacity(sealed.len() + 1);
        plain.extend(sealed);
        Aegis128L::<TAG>::new(&self.key, nonce)
            .decrypt_in_place(&mut plain, tag, &self.id)
            .ok()?;
        Some(plain.into())
    }
}

/// Random bytes, fresh for each sealing.
pub type Nonce = [u8; 16];

const VERSION: u8 = 1;
const ID: usize = size_of::<Id>();
/// The bytes of a record's key.
const KEY: usize = 16;
/// The bytes of a ticket: whose record it is, and its key.
const TICKET: usize = ID + KEY;
/// The bytes of a seal.
const TAG: usize = 16;
/// The bytes of a sealed ticket.
const ENVELOPE: usize = 2 + size_of::<Nonce>() + TICKET + TAG;
/// The characters of that as text.
const TEXT: usize = ENVELOPE / 3 * 4;

// Of a handle: the ticket and its end.
const HANDLE: usize = TICKET + size_of::<u64>();
const HANDLE_TEXT: usize = ((2 + size_of::<Nonce>() + HANDLE + TAG) * 4).div_ceil(3);
const FOR_HANDLE: &[u8] = b"session handle";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::seal::tests::{GATE, ring, twins};

    fn keys() -> KeyRing {
        ring(&["one"], GATE)
    }

    #[test]
    fn a_cookie_opens_by_secret_and_gate() {
        let ticket = Ticket::new([1; 16], [2; 16]);
        let cookie = ticket.to_cookie(&keys(), [3; 16]);
        let opened_by = |secrets: &[&str], gate| {
            let (opened, key) = Ticket::of_cookie(cookie.as_bytes(), &ring(secrets, gate))?;
            assert!(opened == ticket);
            Some(key.is_first())
        };
        assert_eq!(opened_by(&["one"], GATE), Some(true));
        assert_eq!(opened_by(&["two", "one"], GATE), Some(false));
        assert_eq!(opened_by(&["two"], GATE), None);
        assert_eq!(opened_by(&["one"], "b.example.com"), None);
    }

    #[test]
    fn secrets_that_share_a_key_id_are_all_tried() {
        let [one, twin] = twins();
        let ticket = Ticket::new([1; 16], [2; 16]);
        let cookie = ticket.to_cookie(&ring(&[&twin], GATE), [3; 16]);
        let (opened, key) =
            Ticket::of_cookie(cookie.as_bytes(), &ring(&[&one, &twin], GATE)).unwrap();
        assert!(opened == ticket && !key.is_first());
    }

    #[test]
    fn a_record_opens_with_its_own_ticket_only() {
        let ticket = Ticket::new([1; 16], [2; 16]);
        let sealed = ticket.seal(b"session", [3; 16]);
        assert_eq!(ticket.open(&sealed).unwrap(), "session");
        assert!(Ticket::new([1; 16], [9; 16]).open(&sealed).is_none());
        assert!(Ticket::new([9; 16], [2; 16]).open(&sealed).is_none());
    }

    proptest! {
        #[test]
        fn a_cookie_is_the_ticket(id: [u8; 16], key: [u8; 16], nonce: [u8; 16]) {
            let ticket = Ticket::new(id, key);
            let text = ticket.to_cookie(&keys(), nonce);
            prop_assert!(text.len() == TEXT && text.len() < 100);
            let (opened, _) = Ticket::of_cookie(text.as_bytes(), &keys()).unwrap();
            prop_assert!(opened == ticket);
        }

        #[test]
        fn any_other_text_is_none(id: [u8; 16], at in 0..TEXT, byte: u8) {
            let mut text = Ticket::new(id, [2; 16]).to_cookie(&keys(), [3; 16]).into_bytes();
            prop_assume!(text[at] != byte);
            text[at] = byte;
            prop_assert!(Ticket::of_cookie(&text, &keys()).is_none());
        }

        #[test]
        fn a_handle_is_the_ticket_and_no_cookie(id: [u8; 16], key: [u8; 16], nonce: [u8; 16], end: u64, at in 0..HANDLE_TEXT, byte: u8) {
            let ticket = Ticket::new(id, key);
            let text = ticket.to_handle(&keys(), Timestamp(end), nonce);
            let (opened, ends_at) = Ticket::of_handle(text.as_bytes(), &keys()).unwrap();
            prop_assert!(opened == ticket && ends_at == Timestamp(end));
            prop_assert!(Ticket::of_cookie(text.as_bytes(), &keys()).is_none());
            prop_assert!(Ticket::of_handle(text.as_bytes(), &ring(&["two"], GATE)).is_none());
            prop_assert!(Ticket::of_handle(text.as_bytes(), &ring(&["one"], "b.example.com")).is_none());
            let cookie = ticket.to_cookie(&keys(), nonce);
            prop_assert!(Ticket::of_handle(cookie.as_bytes(), &keys()).is_none());
            let mut changed = text.into_bytes();
            prop_assume!(changed[at] != byte);
            changed[at] = byte;
            prop_assert!(Ticket::of_handle(&changed, &keys()).is_none());
        }

        #[test]
        fn any_changed_bit_is_noticed(at in 0..ENVELOPE, bit in 0..8_u8) {
            let text = Ticket::new([1; 16], [2; 16]).to_cookie(&keys(), [3; 16]);
            let mut envelope = URL_SAFE_NO_PAD.decode_to_vec(text).unwrap();
            envelope[at] ^= 1 << bit;
            let changed = URL_SAFE_NO_PAD.encode_to_string(envelope);
            prop_assert!(Ticket::of_cookie(changed.as_bytes(), &keys()).is_none());
        }

        #[test]
        fn records_round_trip(id: [u8; 16], key: [u8; 16], nonce: [u8; 16], plain: Vec<u8>, flip: usize) {
            let ticket = Ticket::new(id, key);
            let mut sealed = ticket.seal(&plain, nonce).to_vec();
            prop_assert_eq!(ticket.open(&sealed).unwrap(), plain);
            let place = flip % sealed.len();
            sealed[place] ^= 1;
            prop_assert!(ticket.open(&sealed).is_none());
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            prop_assert!(Ticket::of_cookie(&bytes, &keys()).is_none());
            prop_assert!(Ticket::of_handle(&bytes, &keys()).is_none());
            prop_assert!(Ticket::new([0; 16], [0; 16]).open(&bytes).is_none());
        }
    }
}
