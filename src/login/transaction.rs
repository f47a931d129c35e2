//! One running login, stored only in the browser. Pure.
//!
//! `state` (RFC 6749 §10.12) is the transaction itself, sealed: no visitor makes the gate remember anything. It contains a hash of the
//! login cookie of the browser that began it. So a state that was planted in another browser is recognised as foreign (login CSRF), and
//! yet says where that browser wanted to go. PKCE's verifier and the nonce are derived from the cookie and the transaction, not
//! stored: twenty tabs share one small cookie, and neither value ever appears in a URL or a header.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{
    access::StepUp,
    clock::Timestamp,
    session::seal::{KeyIndex, KeyRing, Purpose},
};

/// What a login has to know when the browser comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    format: u8,
    /// Names the login; a session remembers it.
    pub id: [u8; 16],
    /// When it began.
    pub issued_at: Timestamp,
    /// At which provider, by its name in the configuration.
    pub provider: String,
    /// Where the browser wanted to go. To be checked again before it is used.
    pub return_to: String,
    /// How it was begun.
    pub options: LoginOptions,
    /// The hash of the login cookie.
    browser: [u8; 32],
}

/// How a login is begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginOptions {
    /// Ask for another account, even where one is signed in.
    pub switch_account: bool,
    /// How many logins that could not be ended this one takes the place of, without a person's doing.
    pub again: u8,
    /// Whether it was counted as somebody's who has signed in before, and not as its address's.
    pub is_known: bool,
    /// What is asked of it beside: checked when it ends.
    pub step_up: StepUp,
    /// Whether an earlier one was not fresh although that was asked for.
    pub reauthenticate: bool,
}

/// A browser, known by the value of its login cookie.
#[derive(Clone, PartialEq, Eq)]
pub struct Browser([u8; 32]);

/// What is derived for one login.
pub struct LoginSecrets {
    /// PKCE's verifier (RFC 7636 §4.1): 43 characters, 256 bits.
    pub pkce_verifier: String,
    /// What the ID token must repeat.
    pub nonce: String,
}

impl Transaction {
    /// Begins a login for `browser`.
    pub fn new(
        id: [u8; 16],
        issued_at: Timestamp,
        provider: &str,
        return_to: &str,
        options: LoginOptions,
        browser: &Browser,
    ) -> Self {
        Self {
            format: FORMAT,
            id,
            issued_at,
            provider: provider.to_owned(),
            return_to: return_to.to_owned(),
            options,
            browser: browser.hash(),
        }
    }

    /// The `state`. `nonce` must be fresh random bytes.
    ///
    /// # Panics
    /// Never: plain data always serialises.
    pub fn seal(&self, keys: &KeyRing, nonce: [u8; 12]) -> String {
        let plain = postcard::to_allocvec(self).expect("a struct of plain data serialises");
        keys.seal(Purpose::Login, b"", &plain, nonce)
    }

    /// The transaction in `state`, and the secret that had sealed it; nothing where this gate did not
    /// make it.
    pub fn open(keys: &KeyRing, state: &str) -> Option<(Self, KeyIndex)> {
        if state.len() > MAX_STATE {
            return None;
        }
        let opened = keys.open_with_key(Purpose::Login, b"", state)?;
        let (transaction, rest): (Self, _) = postcard::take_from_bytes(&opened.plain).ok()?;
        (transaction.format == FORMAT && rest.is_empty()).then_some((transaction, opened.key))
    }

    /// Whether `browser` began it.
    pub fn belongs_to(&self, browser: &Browser) -> bool {
        self.browser.ct_eq(&browser.hash()).into()
    }

    /// Whether it took too long.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        now.since(self.issued_at) > LIFETIME
    }

    /// The secrets of this login. `key` is the secret that sealed its state; none while it begins, where
    /// that is the first.
    pub fn secrets(
        &self,
        keys: &KeyRing,
        key: Option<KeyIndex>,
        browser: &Browser,
    ) -> LoginSecrets {
        let mut input = [0; 48];
        input[..32].copy_from_slice(&browser.0);
        input[32..].copy_from_slice(&self.id);
        let derive = |label| {
            URL_SAFE_NO_PAD.encode(match key {
                Some(key) => keys.derive_with(key, label, &input),
                None => keys.derive(label, &input),
            })
        };
        LoginSecrets {
            pkce_verifier: derive("login pkce verifier"),
            nonce: derive("login nonce"),
        }
    }
}

impl Browser {
    /// From fresh random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// From a cookie's value; nothing where we did not write it.
    pub fn from_cookie(value: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let length = URL_SAFE_NO_PAD.decode_slice(value, &mut bytes).ok()?;
        (length == bytes.len()).then_some(Self(bytes))
    }

    /// The cookie's value.
    pub fn cookie(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    fn hash(&self) -> [u8; 32] {
        sha256(&self.0)
    }
}

/// PKCE's challenge for a verifier: S256 (RFC 7636 §4.2).
pub fn pkce_challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()))
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 yields 32 bytes")
}

/// How long a login may take, second factor and forgotten password included.
pub const LIFETIME: Duration = Duration::from_mins(10);

/// A return address of 2,048 bytes, classes of 512, and the rest, in base64.
const MAX_STATE: usize = 4 * 1024;

const FORMAT: u8 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        access::{LONGEST_ACR_VALUES, LONGEST_AGE},
        secret::Secret,
    };

    fn keys(secrets: &[&str]) -> KeyRing {
        let secrets: Vec<Secret> = secrets
            .iter()
            .map(|text| Secret::new(text.repeat(32)))
            .collect();
        KeyRing::new(&secrets, "app.example.com")
    }

    fn browser() -> Browser {
        Browser::new([7; 32])
    }

    fn transaction() -> Transaction {
        let options = LoginOptions {
            switch_account: true,
            again: 0,
            is_known: false,
            step_up: StepUp::default(),
            reauthenticate: false,
        };
        Transaction::new(
            [1; 16],
            Timestamp(1000),
            "corp",
            "/a?b=%2F",
            options,
            &browser(),
        )
    }

    #[test]
    fn challenge_of_rfc_7636_appendix_b() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert_eq!(pkce_challenge(verifier), challenge);
    }

    #[test]
    fn comes_back_as_it_went() {
        let keys = keys(&["a"]);
        let state = transaction().seal(&keys, [9; 12]);
        let (opened, _) = Transaction::open(&keys, &state).unwrap();
        assert_eq!(opened, transaction());
        assert!(!state.contains("corp") && !state.contains("%2F"));
    }

    #[test]
    fn opens_for_nobody_elses_state() {
        let ours = keys(&["a"]);
        let plain = postcard::to_allocvec(&transaction()).unwrap();
        let session = ours.seal(Purpose::Session, b"", &plain, [9; 12]);
        assert_eq!(Transaction::open(&ours, &session).map(|_| ()), None);
        let theirs = transaction().seal(&keys(&["b"]), [9; 12]);
        assert_eq!(Transaction::open(&ours, &theirs).map(|_| ()), None);
        let future = Transaction {
            format: FORMAT + 1,
            ..transaction()
        }
        .seal(&ours, [9; 12]);
        assert_eq!(Transaction::open(&ours, &future).map(|_| ()), None);
        let long = "A".repeat(MAX_STATE + 1);
        assert_eq!(Transaction::open(&ours, &long).map(|_| ()), None);
        let longest = Transaction {
            return_to: "/".repeat(2048),
            options: LoginOptions {
                step_up: StepUp {
                    max_age: Some(LONGEST_AGE),
                    acr_values: vec!["a".to_owned(); LONGEST_ACR_VALUES.div_ceil(2)],
                },
                ..LoginOptions::default()
            },
            ..transaction()
        };
        assert!(Transaction::open(&ours, &longest.seal(&ours, [9; 12])).is_some());
    }

    #[test]
    fn belongs_to_one_browser() {
        assert!(transaction().belongs_to(&browser()));
        assert!(!transaction().belongs_to(&Browser::new([8; 32])));
    }

    #[test]
    fn ends_after_ten_minutes() {
        assert!(!transaction().has_expired(Timestamp(1600)));
        assert!(transaction().has_expired(Timestamp(1601)));
        assert!(!transaction().has_expired(Timestamp(900)));
    }

    #[test]
    fn secrets_differ_by_login_browser_and_use_and_survive_rotation() {
        let old = keys(&["a"]);
        let state = transaction().seal(&old, [9; 12]);
        let (opened, key) = Transaction::open(&old, &state).unwrap();
        let secrets = opened.secrets(&old, Some(key), &browser());
        assert_eq!(secrets.pkce_verifier.len(), 43);
        let at_begin = transaction().secrets(&old, None, &browser());
        assert_eq!(secrets.pkce_verifier, at_begin.pkce_verifier);
        assert_eq!(secrets.nonce, at_begin.nonce);
        assert_ne!(secrets.pkce_verifier, secrets.nonce);
        let other_login = Transaction {
            id: [2; 16],
            ..transaction()
        };
        let other = other_login.secrets(&old, Some(key), &browser());
        assert_ne!(secrets.pkce_verifier, other.pkce_verifier);
        assert_ne!(secrets.nonce, other.nonce);
        let other = opened.secrets(&old, Some(key), &Browser::new([8; 32]));
        assert_ne!(secrets.pkce_verifier, other.pkce_verifier);
        let rotated = keys(&["b", "a"]);
        let (opened, key) = Transaction::open(&rotated, &state).unwrap();
        let after = opened.secrets(&rotated, Some(key), &browser());
        assert_eq!(secrets.pkce_verifier, after.pkce_verifier);
        assert_eq!(secrets.nonce, after.nonce);
    }

    #[test]
    fn login_cookies_have_one_form() {
        assert!(Browser::from_cookie(&browser().cookie()) == Some(browser()));
        for bad in [
            "",
            "AAAA",
            "=",
            "é",
            &"A".repeat(42),
            &"A".repeat(44),
            &"A".repeat(4000),
        ] {
            assert!(Browser::from_cookie(bad).is_none(), "{bad}");
        }
        // The last character of 43 carries two bits too many; only one spelling is ours.
        assert!(Browser::from_cookie(&format!("{}B", "A".repeat(42))).is_none());
    }

    proptest! {
        #[test]
        fn no_changed_state_opens(at in 0usize..10_000, to in "[A-Za-z0-9_-]") {
            let keys = keys(&["a"]);
            let mut state = transaction().seal(&keys, [9; 12]);
            let at = at % state.len();
            prop_assume!(state[at..=at] != to);
            state.replace_range(at..=at, &to);
            prop_assert!(Transaction::open(&keys, &state).is_none());
        }

        #[test]
        fn whatever_comes_is_no_panic(text in ".{0,300}") {
            let _ = Transaction::open(&keys(&["a"]), &text);
            let _ = Browser::from_cookie(&text);
        }
    }
}
