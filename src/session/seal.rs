//! Sealing: AEAD under a ring of keys. Pure: time and randomness are passed in.

use bytes::Bytes;

use crate::config::Secret;

/// What a sealed text is for. Bound into it, so that one kind never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The session cookie.
    Session,
    /// The `state` of a login.
    Login,
    /// The ID token kept for signing out.
    LogoutHint,
}

/// The keys of `session.secret`: the first seals, all open.
pub struct KeyRing {}

impl KeyRing {
    /// Derives a key per purpose from each secret (HKDF-SHA256). `host` is the public authority, bound
    /// into everything sealed. `secrets` must not be empty.
    pub fn new(secrets: &[Secret], host: &str) -> Self {
        let _ = (secrets, host);
        todo!()
    }

    /// Seals `plain` into base64url text: version ‖ key id ‖ nonce ‖ ciphertext ‖ tag.
    /// `binding` must be given again to open (empty where there is nothing to bind to).
    pub fn seal(&self, purpose: Purpose, binding: &[u8], plain: &[u8], nonce: [u8; 12]) -> String {
        let _ = (purpose, binding, plain, nonce);
        todo!()
    }

    /// What was sealed; nothing for whatever was not sealed by one of the keys for this purpose, host
    /// and binding.
    pub fn open(&self, purpose: Purpose, binding: &[u8], sealed: &str) -> Option<Bytes> {
        let _ = (purpose, binding, sealed);
        todo!()
    }

    /// 32 bytes that only these secrets yield for `label` and `input` (HMAC under a derived key of the
    /// first secret): PKCE verifier and nonce are derived, not stored. Same for every process that
    /// shares the secret.
    pub fn derive(&self, label: &str, input: &[u8]) -> [u8; 32] {
        let _ = (label, input);
        todo!()
    }
}
