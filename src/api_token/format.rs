//! The format of a token: `sgp_`, 32 random characters, and a checksum of six. Pure.
//!
//! ```text
//! sgp_ ‖ 32 of 0-9A-Za-z (190 bits) ‖ CRC-32 (IEEE 802.3) of these 32, in base 62, six digits
//! ```
//!
//! This is GitHub's format. Scanners for leaked secrets find tokens by their start, a mistyped token is recognised without a lookup, and a
//! double click selects all of it. The gate stores SHA-256 of the whole text. Nobody can guess 190 random bits, so no slow hash is
//! needed.

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::hex::hex;

/// What a token begins with.
pub const PREFIX: &str = "sgp_";

/// SHA-256 of a token.
pub type Hash = [u8; 32];

/// The text of a token that is well-formed. No `Debug`: it is a credential.
#[derive(Clone, Copy)]
pub struct Token<'a>(&'a str);

impl<'a> Token<'a> {
    /// `text`, where it is a token to the last character.
    pub fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?.as_bytes();
        let (random, checksum) = rest.split_at_checked(RANDOM)?;
        let is_checked = random.iter().all(u8::is_ascii_alphanumeric)
            && checksum == base62(u64::from(crc32(random)));
        is_checked.then_some(Self(text))
    }

    /// What is kept of it.
    pub fn hash(self) -> Hash {
        hash(self.0)
    }

    /// Its first characters, by which its owner knows it: not enough to guess the others.
    pub fn start(self) -> &'a str {
        &self.0[..PREFIX.len() + SHOWN]
    }
}

/// Whether it was meant to be one of ours.
pub fn looks_like_one(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// A new token of 32 random bytes.
pub fn generate(random: [u8; 32]) -> Zeroizing<String> {
    let mut number = Zeroizing::new(random);
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + RANDOM + CHECKSUM));
    text.push_str(PREFIX);
    for _ in 0..RANDOM {
        // The number is divided by 62, and the rest is the next digit: 256 bits for 190 leave no bias to speak of.
        let mut rest = 0;
        for byte in number.iter_mut() {
            let part = (rest << 8) | u32::from(*byte);
            *byte = u8::try_from(part / 62).unwrap_or_default();
            rest = part % 62;
        }
        text.push(char::from(DIGITS[rest as usize % 62]));
    }
    let checksum = crc32(&text.as_bytes()[PREFIX.len()..]);
    text.extend(base62(u64::from(checksum)).map(char::from));
    text
}

/// What is kept of a token's text.
pub fn hash(text: &str) -> Hash {
    let digest = digest(&SHA256, text.as_bytes());
    let bytes = digest.as_ref().first_chunk();
    *bytes.expect("SHA-256 has 32 bytes")
}

/// `sha256:` and 64 hexadecimal digits, as the configuration writes what is kept of a service token.
pub fn write_hash(hash: &Hash) -> String {
    format!("sha256:{}", hex(hash))
}

/// What [`write_hash`] wrote; capital digits are read too.
pub fn read_hash(text: &str) -> Option<Hash> {
    let digits = text.strip_prefix("sha256:")?.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let value = digit(pair[0])? << 4 | digit(pair[1])?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(hash)
}

/// Six digits, the first ones zeros where it takes fewer.
fn base62(mut number: u64) -> [u8; CHECKSUM] {
    let mut digits = [DIGITS[0]; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(number % 62).unwrap_or_default()];
        number /= 62;
    }
    digits
}

/// The checksum of Ethernet, gzip and PNG: reflected, polynomial 0x04C11DB7.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    });
    !crc
}

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random characters.
const RANDOM: usize = 32;
/// Digits of the checksum.
const CHECKSUM: usize = 6;
/// Random characters that are shown in lists.
const SHOWN: usize = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(&base62(0), b"000000");
        assert_eq!(&base62(61), b"00000z");
        assert_eq!(&base62(u64::from(u32::MAX)), b"4gfFC3");
    }

    #[test]
    fn only_the_right_form_is_one() {
        let text = generate([7; 32]);
        assert_eq!(text.len(), 42);
        let token = Token::parse(&text).unwrap();
        assert_eq!(token.start(), &text[..10]);
        let other = if text.ends_with('0') { '1' } else { '0' };
        for wrong in [
            String::new(),
            "sgp_".to_owned(),
            text[..41].to_owned(),
            format!("{}{other}", &text[..41]),
            format!("{}0", &**text),
            format!("{} ", &**text),
            format!(" {}", &**text),
            text.replace("sgp_", "SGP_"),
            text.replace("sgp_", "ghp_"),
            format!("sgp_{}", "é".repeat(19)),
            format!("sgp_{}", "-".repeat(38)),
        ] {
            assert!(Token::parse(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn hashes_are_written_as_sha256sum_prints_them() {
        let text = write_hash(&hash("abc"));
        assert_eq!(
            text,
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(read_hash(&text), Some(hash("abc")));
        assert_eq!(read_hash(&text.replace("ba78", "BA78")), Some(hash("abc")));
        for wrong in [
            "",
            "sha256:",
            "ba78",
            &text[..70],
            &text.replace('a', "g"),
            &text.replace("sha256", "sha1"),
        ] {
            assert_eq!(read_hash(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_made_is_read(random in any::<[u8; 32]>()) {
            let text = generate(random);
            prop_assert!(Token::parse(&text).is_some());
            prop_assert!(text.is_ascii());
        }

        #[test]
        fn one_character_changed_is_told(random in any::<[u8; 32]>(), place in 4_usize..42, digit in 0_usize..62) {
            let text = generate(random);
            let mut changed = text.as_bytes().to_vec();
            prop_assume!(changed[place] != DIGITS[digit]);
            changed[place] = DIGITS[digit];
            prop_assert!(Token::parse(std::str::from_utf8(&changed).unwrap()).is_none());
        }

        #[test]
        fn any_text_is_read_or_not(text in "\\PC{0,60}") {
            if let Some(token) = Token::parse(&text) {
                prop_assert_eq!(token.start().len(), 10);
            }
        }
    }
}
