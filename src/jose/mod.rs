//! Signed tokens (RFC 7515, 7517, 7519): key sets, one verifier that is told what a token must agree with, and keys that sign.
//!
//! What a kind of token must say besides is for those to check who use it.

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
    error::JwtError,
    keys::KeySet,
    verify::{Audience, Expected, LEEWAY, Verified, audience, text, time, unverified, verify},
};
