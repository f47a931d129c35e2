//! Sealing: AEAD under a ring of keys. Pure: time and randomness are passed in.
//!
//! A sealed text is base64url, without padding, of
//!
//! ```text
//! version (1) ‖ key id (1) ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//! ```
//!
//! under AES-256-GCM. The additional data are version, purpose, gate and binding, each framed. So a sealed text opens only for the purpose
//! and at the place that it was sealed for. The key id is derived from the secret, and not from its position in the list: replicas that
//! get a new list one after another can always open each other's texts.
//!
//! Nonces are random and have 96 bits. NIST SP 800-38D §8.3 allows 2^32 of them for each key. A key serves one purpose, so a secret lasts for
//! four thousand million sealed sessions.

mod secret_keys;

use aws_lc_rs::{
    aead::{Aad, NONCE_LEN, Nonce},
    hmac,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Buf as _, Bytes};

use self::secret_keys::SecretKeys;
pub(super) use self::secret_keys::TicketKey;
use crate::secret::Secret;

/// What a sealed text is for. Bound into it, so that one kind never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The session cookie.
    Session,
    /// The `state` of a login.
    Login,
    /// The ID token kept for signing out.
    LogoutHint,
    /// A refreshed session on its way to other replicas.
    Successor,
    /// What is known of a session, for the list of its user's.
    SessionIndex,
    /// The name of somebody who has signed in before.
    KnownUser,
    /// Somebody's API tokens.
    ApiTokens,
    /// An access token that the gate has given.
    AccessToken,
    /// The id of a client that registered itself.
    ClientId,
    /// What somebody is asked to agree to.
    Consent,
    /// Somebody's grants.
    Grants,
    /// The keys that sign tokens.
    SigningKeys,
    /// An authorization request that a client has pushed ahead.
    PushedRequest,
    /// A program that waits for its user.
    WaitingDevice,
    /// Whom an app wants to sign out, on the way from its form.
    SignOutHint,
    /// By which an app names a session that is in a cookie.
    SessionHandle,
}

/// The keys of `session.secret`: the first seals, all open.
pub struct KeyRing {
    first: SecretKeys,
    others: Vec<SecretKeys>,
    /// The additional data of each purpose, up to the binding.
    context: [Vec<u8>; Purpose::ALL.len()],
}

/// Names one secret of a ring for as long as the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyIndex(usize);

impl KeyIndex {
    /// Whether it is the one that seals: what another sealed should be sealed anew, so that the other can be
    /// dropped one day.
    pub fn is_first(self) -> bool {
        self.0 == 0
    }
}

/// Names a secret; nothing of it can be told from that.
pub type Fingerprint = [u8; 16];

/// A sealed text that was opened. No `Debug`: it may be a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// What was sealed.
    pub plain: Bytes,
    /// The secret that had sealed it.
    pub key: KeyIndex,
}

impl KeyRing {
    /// Derives a key per purpose from each secret (HKDF-SHA256, RFC 5869). `gate` is
    /// its name (public authority and cookie), bound into everything sealed.
    ///
    /// # Panics
    /// When `secrets` is empty; the configuration has at least one.
    pub fn new(secrets: &[Secret], gate: &str) -> Self {
        let (first, others) = secrets.split_first().expect("at least one secret");
        Self {
            first: SecretKeys::new(first, gate),
            others: others
                .iter()
                .map(|secret| SecretKeys::new(secret, gate))
                .collect(),
            context: Purpose::ALL.map(|purpose| {
                let mut context = vec![VERSION];
                push_framed(&mut context, purpose.label().as_bytes());
                push_framed(&mut context, gate.as_bytes());
                context
            }),
        }
    }

    /// Seals `plain` into base64url text. `binding` must be given again to open (empty where there is
    /// nothing to bind to). `nonce` must be fresh random bytes each time.
    ///
    /// # Panics
    /// When `plain` exceeds the 64 GiB that AES-GCM can seal.
    pub fn seal(&self, purpose: Purpose, binding: &[u8], plain: &[u8], nonce: [u8; 12]) -> String {
        let mut envelope = Vec::with_capacity(OVERHEAD + plain.len());
        envelope.extend([VERSION, self.first.id]);
        envelope.extend(nonce);
        envelope.extend(plain);
        let tag = self.with_context(purpose, binding, |context| {
            self.first.sealing[purpose as usize].seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut envelope[HEAD..],
            )
        });
        envelope.extend(tag.expect("at most 64 GiB").as_ref());
        URL_SAFE_NO_PAD.encode(envelope)
    }

    /// What was sealed; nothing for whatever was not sealed by one of the keys for this purpose, gate
    /// and binding.
    pub fn open(
        &self,
        purpose: Purpose,
        binding: &[u8],
        sealed: impl AsRef<[u8]>,
    ) -> Option<Bytes> {
        self.open_with_key(purpose, binding, sealed)
            .map(|opened| opened.plain)
    }

    /// As [`open`](Self::open), and which secret had sealed it: what else was derived from that secret
    /// can be derived again although another one seals by now.
    pub fn open_with_key(
        &self,
        purpose: Purpose,
        binding: &[u8],
        sealed: impl AsRef<[u8]>,
    ) -> Option<Opened> {
        let sealed = sealed.as_ref();
        let mut envelope = decode(sealed)?;
        let id = envelope[1];
        // Two secrets share an id once in 256 times. A failed attempt leaves the buffer in any state,
        // so that each one begins with a fresh copy.
        let mut used = false;
        for (index, keys) in self.all().enumerate().filter(|(_, keys)| keys.id == id) {
            if used {
                envelope = decode(sealed)?;
            }
            used = true;
            let nonce = Nonce::try_assume_unique_for_key(&envelope[2..HEAD]).ok()?;
            let opened = self.with_context(purpose, binding, |context| {
                keys.sealing[purpose as usize]
                    .open_in_place(nonce, Aad::from(context), &mut envelope[HEAD..])
                    .map(|plain| plain.len())
            });
            if let Ok(length) = opened {
                envelope.truncate(HEAD + length);
                let mut plain = Bytes::from(envelope);
                plain.advance(HEAD);
                return Some(Opened {
                    plain,
                    key: KeyIndex(index),
                });
            }
        }
        None
    }

    /// 32 bytes that only the secret yields for `label` and `input` (HMAC-SHA256 under a key derived from
    /// the first secret): PKCE verifier and nonce are derived, not stored. The same in every process
    /// that shares the secret.
    pub fn derive(&self, label: &str, input: &[u8]) -> [u8; 32] {
        self.derive_with(KeyIndex(0), label, input)
    }

    /// What each secret is known by where it must not be known itself; the first is that of the one that seals.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        let derived = self
            .indices()
            .map(|index| self.derive_with(index, "replicas", b""));
        let first = |bytes: [u8; 32]| *bytes.first_chunk().expect("it has 32 bytes");
        derived.map(first).collect()
    }

    /// Each secret, the one that seals first.
    pub fn indices(&self) -> impl Iterator<Item = KeyIndex> + use<> {
        (0..=self.others.len()).map(KeyIndex)
    }

    /// As [`derive`](Self::derive), from the secret that sealed something earlier: a login that began
    /// before the secrets were rotated ends with the verifier it began with.
    pub fn derive_with(&self, key: KeyIndex, label: &str, input: &[u8]) -> [u8; 32] {
        let keys = match key.0.checked_sub(1) {
            None => &self.first,
            Some(other) => &self.others[other],
        };
        let mut context = hmac::Context::with_key(&keys.derivation);
        context.update(&frame_length(label.as_bytes()));
        context.update(label.as_bytes());
        context.update(input);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
    }

    /// What seals [tickets](super::ticket): a key, and its id.
    pub(super) fn ticket_key(&self) -> (u8, &TicketKey) {
        (self.first.id, &self.first.ticket)
    }

    /// What may have sealed a ticket that names this id: two secrets share one once in 256 times.
    pub(super) fn ticket_keys(&self, id: u8) -> impl Iterator<Item = (KeyIndex, &TicketKey)> {
        let all = self.all().enumerate();
        all.filter(move |(_, keys)| keys.id == id)
            .map(|(index, keys)| (KeyIndex(index), &keys.ticket))
    }

    fn all(&self) -> impl Iterator<Item = &SecretKeys> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Calls `work` with the additional data. Without a binding (each request's session) they stand
    /// ready and cost no allocation. The binding comes last, after framed parts, and needs no frame.
    fn with_context<T>(
        &self,
        purpose: Purpose,
        binding: &[u8],
        work: impl FnOnce(&[u8]) -> T,
    ) -> T {
        let context = &self.context[purpose as usize];
        if binding.is_empty() {
            return work(context);
        }
        work(&[context, binding].concat())
    }
}

impl Purpose {
    /// In the order of the discriminants, which index what is prepared per purpose.
    const ALL: [Self; 16] = [
        Self::Session,
        Self::Login,
        Self::LogoutHint,
        Self::Successor,
        Self::SessionIndex,
        Self::KnownUser,
        Self::ApiTokens,
        Self::AccessToken,
        Self::ClientId,
        Self::Consent,
        Self::Grants,
        Self::SigningKeys,
        Self::PushedRequest,
        Self::WaitingDevice,
        Self::SignOutHint,
        Self::SessionHandle,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Login => "login",
            Self::LogoutHint => "logout hint",
            Self::Successor => "successor",
            Self::SessionIndex => "directory",
            Self::KnownUser => "known user",
            Self::ApiTokens => "api tokens",
            Self::AccessToken => "access token",
            Self::ClientId => "client id",
            Self::Consent => "consent",
            Self::Grants => "grants",
            Self::SigningKeys => "signing keys",
            Self::PushedRequest => "pushed request",
            Self::WaitingDevice => "waiting device",
            Self::SignOutHint => "sign-out hint",
            Self::SessionHandle => "session handle",
        }
    }
}

/// The envelope, if the text can be one. Strict base64url: one text per envelope, no other spelling.
fn decode(sealed: &[u8]) -> Option<Vec<u8>> {
    if sealed.len() > MAX_SEALED {
        return None;
    }
    let envelope = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(sealed).ok()?;
    (envelope.len() >= OVERHEAD && envelope[0] == VERSION).then_some(envelope)
}

fn push_framed(buffer: &mut Vec<u8>, part: &[u8]) {
    buffer.extend(frame_length(part));
    buffer.extend(part);
}

fn frame_length(part: &[u8]) -> [u8; 8] {
    (part.len() as u64).to_be_bytes()
}

const VERSION: u8 = 1;
/// Version, key id, nonce.
const HEAD: usize = 2 + NONCE_LEN;
/// The head and the tag, which comes last.
const OVERHEAD: usize = HEAD + 16;
/// Longer text is refused unread: five cookies hold less, and so does a reasonable URL.
const MAX_SEALED: usize = 32 * 1024;

#[cfg(test)]
pub(super) mod tests;
