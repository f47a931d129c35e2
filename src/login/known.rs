//! Remembers in a browser which user has signed in here before. Pure.
//!
//! A sealed cookie names the user and opens nothing. It gives them a bucket of their own in the [throttle](super::throttle), so that
//! others at the same address cannot keep them from signing in. It names the user and not the browser, so that nobody gets more buckets
//! by signing in more often.

use super::transaction::sha256;
use crate::session::seal::{KeyRing, Purpose};

/// A user of a provider, by a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KnownUser([u8; 16]);

impl KnownUser {
    /// The user whom `provider` knows as `subject`.
    pub fn of(provider: &str, subject: &str) -> Self {
        // The length parts the two.
        let text = format!("{} {provider} {subject}", provider.len());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&sha256(text.as_bytes())[..16]);
        Self(bytes)
    }

    /// The cookie's value. `nonce` must be fresh random bytes.
    pub fn seal(&self, keys: &KeyRing, nonce: [u8; 12]) -> String {
        keys.seal(Purpose::KnownUser, b"", &self.0, nonce)
    }

    /// From a cookie's value; nothing where this gate did not write it.
    pub fn open(keys: &KeyRing, sealed: &str) -> Option<Self> {
        let plain = keys.open(Purpose::KnownUser, b"", sealed)?;
        plain.as_ref().try_into().ok().map(Self)
    }

    /// The hash as a number.
    pub(super) fn bits(&self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_user_is_known_again_and_nobody_elses_word_counts() {
        let keys = |text: &str| KeyRing::new(&[Secret::new(text.repeat(32))], "app.example");
        let ada = KnownUser::of("corp", "ada");
        let sealed = ada.seal(&keys("a"), [7; 12]);
        assert_eq!(KnownUser::open(&keys("a"), &sealed), Some(ada));
        assert_eq!(KnownUser::open(&keys("b"), &sealed), None);
        let session = keys("a").seal(Purpose::Session, b"", &[1; 16], [7; 12]);
        assert_eq!(KnownUser::open(&keys("a"), &session), None);
        assert_eq!(KnownUser::open(&keys("a"), ""), None);
        assert_ne!(ada, KnownUser::of("corp a", "da"));
        assert_ne!(KnownUser::of("a b", "c"), KnownUser::of("a", "b c"));
    }
}
