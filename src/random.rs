//! Randomness. Only this module draws it; all others get random bytes passed in.

/// `N` bytes from the operating system's generator.
///
/// # Panics
/// When the system has no randomness to give. Going on without would mean guessable sessions.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that draws random bytes"
)]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
