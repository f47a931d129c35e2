//! Finds the word that a mistyped word was meant to be. Pure.

/// The candidate that `word` most likely means, where one is near enough: a third of its letters may
/// be wrong, and one always.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // What is longer is no key and no name, and comparing takes the square of its length.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::osa_distance(&word, &candidate.to_ascii_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["issuer", "client_id", "client_secret", "allow"];
        assert_eq!(nearest("isuer", keys), Some("issuer"));
        assert_eq!(nearest("client-id", keys), Some("client_id"));
        assert_eq!(nearest("clientsecret", keys), Some("client_secret"));
        assert_eq!(nearest("alolw", keys), Some("allow"));
        assert_eq!(nearest("zebra", keys), None);
        assert_eq!(nearest(&"issuer".repeat(1_000), keys), None);
    }
}
