//! Finds credentials in `Authorization` wherever an app might find one. Pure.
//!
//! What is to open something is read to the letter ([`Presented`]). What no app is to see is read with indulgence: an app may understand
//! what the gate does not.

use std::str;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, header::AUTHORIZATION};
use zeroize::Zeroizing;

use super::{Basic, Presented};

/// Whether `headers` hold a credential that `is_one` knows, in whatever spelling.
pub fn holds(headers: &HeaderMap, is_one: impl Fn(&Presented<'_>) -> bool) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    values.any(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        words(&text).any(|word| is_one(&Presented::Bearer(word)))
            || pairs(&text).any(|pair| {
                let holds_word = words(pair.text()).any(|word| is_one(&Presented::Bearer(word)));
                holds_word || is_one(&Presented::Basic(pair))
            })
    })
}

/// Whether `word` holds a token that begins with `prefix`, as it is or behind a sign. Behind a letter or a digit these are letters of
/// another token, which may be the app's.
pub fn begins_in(word: &str, prefix: &str) -> bool {
    let mut found = word.match_indices(prefix);
    found.any(|(at, _)| !word[..at].ends_with(|before: char| before.is_ascii_alphanumeric()))
}

/// What may be a token (RFC 6750 §2.1): all else, and the sign that stands at the end of base64, is between two.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_between = |sign: char| !sign.is_ascii_alphanumeric() && !"-._~+/".contains(sign);
    text.split(is_between).filter(|word| !word.is_empty())
}

/// The names and passwords behind each `Basic`.
fn pairs(text: &str) -> impl Iterator<Item = Basic> {
    let lower = text.to_ascii_lowercase();
    let places: Vec<_> = lower.match_indices(SCHEME).map(|(at, _)| at).collect();
    let behind = places.into_iter().take(MOST_PAIRS);
    behind.filter_map(|at| Basic::of(decode(&text[at + SCHEME.len()..])?))
}

/// In either alphabet of RFC 4648, with whatever stands in between, as lenient decoders have it.
fn decode(encoded: &str) -> Option<Zeroizing<String>> {
    let letter = |letter: char| match letter {
        '-' => Some('+'),
        '_' => Some('/'),
        '+' | '/' => Some(letter),
        _ => letter.is_ascii_alphanumeric().then_some(letter),
    };
    let mut letters: Zeroizing<String> =
        Zeroizing::new(encoded.chars().filter_map(letter).collect());
    if letters.len() % 4 == 1 {
        letters.pop();
    }
    let bytes = Zeroizing::new(INDULGENT.decode(letters.as_bytes()).ok()?);
    Some(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

const SCHEME: &str = "basic";
/// Names and passwords that are looked for in one value.
const MOST_PAIRS: usize = 8;

/// Base64 with padding or without.
const INDULGENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn is_found(value: &[u8]) -> bool {
        let value = HeaderValue::from_bytes(value).unwrap();
        let headers: HeaderMap = [(AUTHORIZATION, value)].into_iter().collect();
        holds(&headers, |presented| match presented {
            Presented::Bearer(word) => begins_in(word, "sgp_"),
            Presented::Basic(basic) => basic.name() == "ada",
            Presented::Nothing => false,
        })
    }

    #[test]
    fn a_token_is_found_in_whatever_spelling() {
        for ours in [
            "Bearer sgp_x",
            "bearer  sgp_x",
            "Bearer\tsgp_x",
            "sgp_x",
            "Digest x, Bearer sgp_x",
            ", Bearer sgp_x",
            "Token token=\"sgp_x\"",
            "Bearer=sgp_x",
            "Bearer \"sgp_x\"",
            "x,sgp_x",
            "Bearer:sgp_x",
            "Bearer/sgp_x",
        ] {
            assert!(is_found(ours.as_bytes()), "{ours}");
        }
        assert!(is_found(b"Bearer\xa0sgp_x"));
        for apps in ["Bearer eyJ0", "Bearer eyJsgp_x", "Digest x", "Basic %", ""] {
            assert!(!is_found(apps.as_bytes()), "{apps}");
        }
    }

    #[test]
    fn a_name_and_a_token_are_found_in_each_alphabet() {
        let (token, name) = ("git:sgp_x~~?>", "ada:~~?>secret");
        for pair in [token, "sgp_x:", name] {
            let spaced = STANDARD.encode(pair);
            let (one, other) = spaced.split_at(3);
            for written in [
                format!("Basic {}", STANDARD.encode(pair)),
                format!("basic {}", STANDARD_NO_PAD.encode(pair)),
                format!("Basic {}", URL_SAFE.encode(pair)),
                format!("Basic\t{}", STANDARD.encode(pair)),
                format!("Basic {one} {other}"),
                format!("Digest x, Basic {}", STANDARD.encode(pair)),
            ] {
                assert!(is_found(written.as_bytes()), "{written}");
            }
        }
        let other = format!("Basic {}", STANDARD.encode("bob:ada:x"));
        assert!(!is_found(other.as_bytes()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_through(bytes in proptest::collection::vec(0x20_u8..0x7f, 0..60)) {
            is_found(&bytes);
        }
    }
}
