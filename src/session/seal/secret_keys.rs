//! The keys that are derived from one secret (HKDF-SHA256, RFC 5869): one for each purpose, so that a text for one purpose never opens for
//! another.

use aws_lc_rs::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    hkdf, hmac,
};

use super::Purpose;
use crate::secret::Secret;

/// What one secret yields, ready for use.
pub(super) struct SecretKeys {
    pub(super) id: u8,
    pub(super) sealing: [LessSafeKey; Purpose::ALL.len()],
    pub(super) derivation: hmac::Key,
    pub(super) ticket: TicketKey,
}

/// Of one secret, for one gate.
pub(in crate::session) type TicketKey = [u8; 16];

impl SecretKeys {
    pub(super) fn new(secret: &Secret, gate: &str) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret.expose().as_bytes());
        let id: [u8; 1] = expand(&root, &[b"key id"]);
        let sealing = Purpose::ALL.map(|purpose| {
            let info = [b"seal ", purpose.label().as_bytes()];
            let material = root
                .expand(&info, &AES_256_GCM)
                .expect("HKDF yields up to 8,160 bytes");
            LessSafeKey::new(UnboundKey::from(material))
        });
        let derivation = root
            .expand(&[b"derive"], hmac::HMAC_SHA256)
            .map(hmac::Key::from)
            .expect("HKDF yields up to 8,160 bytes");
        Self {
            id: id[0],
            sealing,
            derivation,
            ticket: expand(&root, &[b"seal ticket ", gate.as_bytes()]),
        }
    }
}

fn expand<const N: usize>(root: &hkdf::Prk, info: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    root.expand(info, Length(N))
        .and_then(|material| material.fill(&mut bytes))
        .expect("HKDF yields up to 8,160 bytes");
    bytes
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Keeps these keys apart from those that other software may derive from the same secret.
const SALT: &[u8] = b"sidegate seal 1";
