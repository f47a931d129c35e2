//! Signed tokens (RFC 7515, 7517, 7519): key sets, one verifier with the expected values as an argument, and signing keys.
//!
//! What a certain kind of token must contain is checked by its users.

mod algorithm;
mod cache;
mod error;
mod keys;
pub mod sign;
#[cfg(test)]
mod test_key;
mod verify;

#[cfg(test)]
pub(crate) use self::test_key::TestKey;
pub use self::{
    algorithm::Algorithm,
    cache::{Caller, Fetched, KeyCache, KeySource},
    error::{JwtError, Rotation},
    keys::{KeySet, TOO_MANY_KEYS},
    verify::{
        Audience, Expected, LEEWAY, Verified, audience, claimed, text, time, unverified, verify,
    },
};
