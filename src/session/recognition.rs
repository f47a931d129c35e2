//! Tickets that were opened before, known again by what is written in them: a busy session's is opened once. Pure.
//!
//! Of a sealed ticket that opened, everything is remembered but the sealed key, and beside it what to add to that to have
//! the key. So nothing here opens a record, nor does it together with the records: half of each key is in
//! the cookie only. Who is known again brings the same text up to the sealed key; whether that is the same, too, the
//! record tells, which opens under the right key only. Until it has, the ticket is worth nothing.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base64_simd::{AsOut as _, URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq as _;

use super::{
    recent::{Recent, Used},
    seal::{HEAD, OVERHEAD},
    store::Id,
    ticket::{self, Ticket},
};
use crate::clock::Timestamp;

/// What is remembered of tickets.
pub(super) struct Recognition {
    known: Recent<Known>,
}

struct Known {
    /// Who knows this much of the text has it from the cookie, or has sealed it.
    frame: [u128; 2],
    id: Id,
    /// The key, but for the sealed key.
    rest_of_key: [u8; KEY],
    seen_at: AtomicU64,
}

impl Used for Known {
    fn used_at(&self) -> Timestamp {
        Timestamp(self.seen_at.load(Ordering::Relaxed))
    }
}

impl Default for Recognition {
    fn default() -> Self {
        Self {
            known: Recent::new(MOST, UNUSED),
        }
    }
}

impl Recognition {
    /// The ticket in `sealed`, where all but its key is known for sure: it counts only with a record that it opens.
    pub(super) fn presume(&self, sealed: &[u8], now: Timestamp) -> Option<Ticket> {
        let envelope = Envelope::read(sealed)?;
        self.known.read(envelope.sealed_id(), |known| {
            if !bool::from(known.frame.ct_eq(&envelope.frame())) {
                return None;
            }
            if known.used_at() < now {
                known.seen_at.store(now.0, Ordering::Relaxed);
            }
            let key = combined(envelope.sealed_key(), &known.rest_of_key);
            Some(Ticket::new(known.id, key))
        })?
    }

    /// Remembers that `sealed` was opened, and was this ticket.
    pub(super) fn remember(&self, sealed: &[u8], ticket: &Ticket, now: Timestamp) {
        let Some(envelope) = Envelope::read(sealed) else {
            return;
        };
        let known = Known {
            frame: envelope.frame(),
            id: *ticket.id(),
            rest_of_key: combined(envelope.sealed_key(), ticket.key()),
            seen_at: AtomicU64::new(now.0),
        };
        self.known.insert(*envelope.sealed_id(), known, now);
    }
}

/// A sealed ticket: the envelope's head, then id and key in the order of the ticket, then the tag.
struct Envelope([u8; LENGTH]);

impl Envelope {
    fn read(sealed: &[u8]) -> Option<Self> {
        if sealed.len() != TEXT_LENGTH {
            return None;
        }
        let mut bytes = [0; LENGTH];
        let read = URL_SAFE_NO_PAD.decode(sealed, bytes.as_mut_slice().as_out());
        (read.ok()?.len() == LENGTH).then_some(Self(bytes))
    }

    /// Head and tag, as numbers: those are compared soonest.
    fn frame(&self) -> [u128; 2] {
        let mut head = [0; size_of::<u128>()];
        head[..HEAD].copy_from_slice(&self.0[..HEAD]);
        [
            u128::from_ne_bytes(head),
            u128::from_ne_bytes(*self.part(LENGTH - size_of::<u128>())),
        ]
    }

    fn sealed_id(&self) -> &Id {
        self.part(HEAD)
    }

    fn sealed_key(&self) -> &[u8; KEY] {
        self.part(HEAD + size_of::<Id>())
    }

    fn part<const N: usize>(&self, from: usize) -> &[u8; N] {
        let part = self.0[from..].first_chunk();
        part.expect("each part lies inside")
    }
}

fn combined(one: &[u8; KEY], other: &[u8; KEY]) -> [u8; KEY] {
    std::array::from_fn(|place| one[place] ^ other[place])
}

const KEY: usize = ticket::KEY;
const LENGTH: usize = OVERHEAD + size_of::<Id>() + KEY;
/// Without padding.
const TEXT_LENGTH: usize = (LENGTH * 4).div_ceil(3);
/// Some 130 bytes each.
const MOST: usize = 100_000;
/// Who comes back later is looked at closely again.
const UNUSED: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::Secret,
        session::seal::{KeyRing, Purpose},
    };

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn sealed(ticket: &Ticket, nonce: [u8; 12]) -> String {
        let keys = KeyRing::new(&[Secret::new("one".to_owned())], "app.example.com");
        keys.seal(Purpose::Ticket, b"", &ticket.to_bytes(), nonce)
    }

    proptest! {
        #[test]
        fn what_was_opened_is_known_again(id: [u8; 16], key: [u8; 16], nonce: [u8; 12]) {
            let recognition = Recognition::default();
            let ticket = Ticket::new(id, key);
            let text = sealed(&ticket, nonce);
            prop_assert!(recognition.presume(text.as_bytes(), NOW).is_none());
            recognition.remember(text.as_bytes(), &ticket, NOW);
            prop_assert!(recognition.presume(text.as_bytes(), NOW) == Some(ticket));
        }

        #[test]
        fn whatever_else_is_not(flip in 0..LENGTH, mask in 1..=u8::MAX) {
            let recognition = Recognition::default();
            let ticket = Ticket::new([1; 16], [2; 16]);
            let text = sealed(&ticket, [3; 12]);
            recognition.remember(text.as_bytes(), &ticket, NOW);
            let mut bytes = general_purpose::URL_SAFE_NO_PAD.decode(&text).unwrap();
            bytes[flip] ^= mask;
            let forged = general_purpose::URL_SAFE_NO_PAD.encode(bytes);
            let presumed = recognition.presume(forged.as_bytes(), NOW);
            let key = HEAD + 16..HEAD + 32;
            if key.contains(&flip) {
                // Another key, which opens no record of this session's.
                let record = ticket.seal(b"session", [4; 12]);
                prop_assert!(presumed.unwrap().open(&record).is_none());
            } else {
                prop_assert!(presumed.is_none());
            }
        }

        #[test]
        fn any_text_is_read_without_harm(text: String) {
            prop_assert!(Recognition::default().presume(text.as_bytes(), NOW).is_none());
        }
    }

    #[test]
    fn nothing_that_is_kept_is_the_key() {
        let recognition = Recognition::default();
        let ticket = Ticket::new([1; 16], [2; 16]);
        let text = sealed(&ticket, [3; 12]);
        recognition.remember(text.as_bytes(), &ticket, NOW);
        let envelope = Envelope::read(text.as_bytes()).unwrap();
        let rest = recognition
            .known
            .read(envelope.sealed_id(), |known| known.rest_of_key);
        assert_ne!(rest.unwrap(), *ticket.key());
        assert_ne!(rest.unwrap(), *envelope.sealed_key());
    }
}
