//! What a mistyped word was meant to be. Pure.

/// The candidate that `word` most likely means, where one is near enough: a third of its letters may
/// be wrong, and one always.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words: insert, delete, replace (Levenshtein), or swap neighbours.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(WORD_LIMIT).collect();
    let right: Vec<char> = right.chars().take(WORD_LIMIT).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut current = vec![row];
        for column in 1..=right.len() {
            let same = left[row - 1] == right[column - 1];
            let mut edits = (previous[column] + 1)
                .min(current[column - 1] + 1)
                .min(previous[column - 1] + usize::from(!same));
            let swapped = row > 1
                && column > 1
                && left[row - 1] == right[column - 2]
                && left[row - 2] == right[column - 1];
            if swapped {
                edits = edits.min(before[column - 2] + 1);
            }
            current.push(edits);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[right.len()]
}

/// The work for a word grows with its square; no key is longer.
const WORD_LIMIT: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["issuer", "client_id", "client_secret", "allow"];
        assert_eq!(nearest("isuer", keys), Some("issuer"));
        assert_eq!(nearest("client-id", keys), Some("client_id"));
        assert_eq!(nearest("clientsecret", keys), Some("client_secret"));
        assert_eq!(nearest("alolw", keys), Some("allow"));
        assert_eq!(nearest("zebra", keys), None);
    }

    proptest! {
        #[test]
        fn distance_is_a_distance(left in "[a-d]{0,8}", right in "[a-d]{0,8}") {
            prop_assert_eq!(distance(&left, &left), 0);
            prop_assert_eq!(distance(&left, &right), distance(&right, &left));
            prop_assert!(distance(&left, &right) <= left.len().max(right.len()));
        }
    }
}
