//! The secret by which the app proves that it is the app.

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;

use crate::secret::Secret;

/// Knows the secret. What is compared is its hash: neither its length nor where a guess goes wrong shows in the time it takes.
pub struct AppSecret([u8; 32]);

impl AppSecret {
    /// Knows `secret`.
    pub fn new(secret: &Secret) -> Self {
        Self(hash(secret.expose()))
    }

    /// Whether that is the secret.
    pub fn is(&self, given: &str) -> bool {
        self.0.ct_eq(&hash(given)).into()
    }
}

fn hash(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_is_it() {
        let secret = AppSecret::new(&Secret::new("pV1m0o7d6ZkU2a0a".to_owned()));
        assert!(secret.is("pV1m0o7d6ZkU2a0a"));
        for guess in [
            "",
            "p",
            "pV1m0o7d6ZkU2a0",
            "pV1m0o7d6ZkU2a0aa",
            "pV1m0o7d6ZkU2a0b",
        ] {
            assert!(!secret.is(guess), "{guess}");
        }
    }
}
