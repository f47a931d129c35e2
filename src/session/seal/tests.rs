//! What is sealed opens for what it was sealed for, and nothing else does.

use proptest::prelude::*;

use super::*;

const NONCE: [u8; 12] = [7; 12];
pub(in crate::session) const GATE: &str = "app.example.com sidegate";

pub(in crate::session) fn ring(secrets: &[&str], gate: &str) -> KeyRing {
    let secrets: Vec<_> = secrets
        .iter()
        .map(|text| Secret::new((*text).to_owned()))
        .collect();
    KeyRing::new(&secrets, gate)
}

/// Two secrets with the same key id.
pub(in crate::session) fn twins() -> [String; 2] {
    let id = |text: &str| SecretKeys::new(&Secret::new(text.to_owned()), GATE).id;
    let twin = (1..=10_000)
        .map(|number: u32| number.to_string())
        .find(|text| id(text) == id("0"))
        .expect("one in 256 shares it");
    ["0".to_owned(), twin]
}

#[test]
fn opens_what_it_sealed() {
    let ring = ring(&["one"], GATE);
    let sealed = ring.seal(Purpose::Session, b"", b"plain", NONCE);
    let opened = ring.open(Purpose::Session, b"", &sealed);
    assert_eq!(opened.as_deref(), Some(&b"plain"[..]));
    assert_eq!(sealed.len(), (OVERHEAD + 5) * 4_usize / 3 + 1);
}

#[test]
fn opens_only_for_its_purpose_gate_and_binding() {
    let ours = ring(&["one"], GATE);
    let sealed = ours.seal(Purpose::Login, b"cookie", b"plain", NONCE);
    assert!(ours.open(Purpose::Login, b"cookie", &sealed).is_some());
    assert!(ours.open(Purpose::Session, b"cookie", &sealed).is_none());
    assert!(ours.open(Purpose::Login, b"", &sealed).is_none());
    assert!(ours.open(Purpose::Login, b"cookie2", &sealed).is_none());
    let elsewhere = ring(&["one"], "b.example.com");
    assert!(elsewhere.open(Purpose::Login, b"cookie", &sealed).is_none());
    let stranger = ring(&["two"], GATE);
    assert!(stranger.open(Purpose::Login, b"cookie", &sealed).is_none());
}

#[test]
fn gate_and_binding_do_not_run_into_each_other() {
    let sealed = ring(&["one"], "ab").seal(Purpose::Session, b"c", b"plain", NONCE);
    assert!(
        ring(&["one"], "a")
            .open(Purpose::Session, b"bc", &sealed)
            .is_none()
    );
}

#[test]
fn every_secret_opens_wherever_it_stands() {
    let old = ring(&["old"], GATE).seal(Purpose::Session, b"", b"plain", NONCE);
    let both = ring(&["new", "old"], GATE);
    assert!(both.open(Purpose::Session, b"", &old).is_some());
    let new = both.seal(Purpose::Session, b"", b"plain", NONCE);
    assert!(
        ring(&["old"], GATE)
            .open(Purpose::Session, b"", &new)
            .is_none()
    );
    assert!(
        ring(&["older", "old", "new"], GATE)
            .open(Purpose::Session, b"", &new)
            .is_some()
    );
}

#[test]
fn secrets_that_share_a_key_id_are_all_tried() {
    let [one, twin] = twins();
    let sealed = ring(&[&twin], GATE).seal(Purpose::Session, b"", b"plain", NONCE);
    let opened = ring(&[&one, &twin], GATE).open_with_key(Purpose::Session, b"", &sealed);
    let expected = Opened {
        plain: Bytes::from_static(b"plain"),
        key: KeyIndex(1),
    };
    assert!(opened == Some(expected));
}

#[test]
fn a_derivation_survives_a_rotation() {
    let before = ring(&["old"], GATE);
    let sealed = before.seal(Purpose::Login, b"", b"", NONCE);
    let after = ring(&["new", "old"], GATE);
    let opened = after.open_with_key(Purpose::Login, b"", &sealed).unwrap();
    assert_eq!(
        after.derive_with(opened.key, "pkce", b"id"),
        before.derive("pkce", b"id")
    );
    assert_ne!(after.derive("pkce", b"id"), before.derive("pkce", b"id"));
    assert_ne!(before.derive("pkce", b"id"), before.derive("pkc", b"eid"));
}

#[test]
fn refuses_other_spellings_of_the_same_envelope() {
    let ring = ring(&["one"], GATE);
    let sealed = ring.seal(Purpose::Session, b"", b"p", NONCE);
    for text in [
        format!("{sealed}="),
        format!("{sealed}=="),
        format!(" {sealed}"),
        format!("{sealed}\n"),
        sealed[..sealed.len() - 1].to_owned(),
        String::new(),
        "A".repeat(MAX_SEALED + 1),
    ] {
        assert_eq!(ring.open(Purpose::Session, b"", &text), None, "{text}");
    }
    // 31 bytes leave bits of the last character unused: they must be zero.
    let (last, head) = (
        sealed.as_bytes()[sealed.len() - 1],
        &sealed[..sealed.len() - 1],
    );
    let twin = format!("{head}{}", char::from(last + 1));
    assert_eq!(ring.open(Purpose::Session, b"", &twin), None);
}

proptest! {
    #[test]
    fn round_trip(plain: Vec<u8>, binding: Vec<u8>, nonce: [u8; 12], secret: String) {
        let ring = ring(&[&secret], GATE);
        let sealed = ring.seal(Purpose::LogoutHint, &binding, &plain, nonce);
        let opened = ring.open(Purpose::LogoutHint, &binding, &sealed);
        prop_assert_eq!(opened.as_deref(), Some(&plain[..]));
    }

    #[test]
    fn any_changed_bit_is_noticed(plain: [u8; 20], at in 0_usize..50, bit in 0..8_u8) {
        let ring = ring(&["one"], GATE);
        let sealed = ring.seal(Purpose::Session, b"", &plain, NONCE);
        let mut envelope = URL_SAFE_NO_PAD.decode(sealed).unwrap();
        envelope[at] ^= 1 << bit;
        let changed = URL_SAFE_NO_PAD.encode(envelope);
        prop_assert_eq!(ring.open(Purpose::Session, b"", &changed), None);
    }

    #[test]
    fn garbage_never_opens(sealed: String) {
        prop_assert_eq!(ring(&["one"], GATE).open(Purpose::Session, b"", &sealed), None);
    }
}
