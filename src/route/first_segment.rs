//! Which routes may fit a path, by the path's first segment: hundreds of routes then cost a request about what one does. Pure.

use std::collections::HashMap;

use super::PathPattern;

/// Routes by the first segment of their patterns. A route that is left out of the candidates cannot fit; one of the candidates may.
#[derive(Debug, Default)]
pub struct FirstSegments {
    /// Those whose pattern begins with a literal segment, by its decoded bytes. Their places, in order.
    literal: HashMap<Vec<u8>, Vec<usize>>,
    /// All others, in order.
    open: Vec<usize>,
}

impl FirstSegments {
    /// Of the patterns of all routes, in order; none fits every path.
    pub fn new<'p>(patterns: impl Iterator<Item = Option<&'p PathPattern>>) -> Self {
        let mut index = Self::default();
        for (place, pattern) in patterns.enumerate() {
            match pattern.and_then(PathPattern::first_literal) {
                Some(segment) => index
                    .literal
                    .entry(segment.to_vec())
                    .or_default()
                    .push(place),
                None => index.open.push(place),
            }
        }
        index
    }

    /// The places of the routes that may fit `path`, in order; none where all have to be looked at, because the path spells its first
    /// segment with escapes.
    pub fn candidates(&self, path: &str) -> Option<Candidates<'_>> {
        let segment = path.strip_prefix('/')?.split('/').next()?;
        if segment.contains('%') {
            return None;
        }
        let literal = self.literal.get(segment.as_bytes());
        Some(Candidates {
            literal: literal.map_or(&[], Vec::as_slice),
            open: &self.open,
        })
    }
}

/// Two lists of places, merged in order.
#[derive(Debug)]
pub struct Candidates<'i> {
    literal: &'i [usize],
    open: &'i [usize],
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let from = match (self.literal.first(), self.open.first()) {
            (Some(literal), Some(open)) if literal < open => &mut self.literal,
            (Some(_), None) => &mut self.literal,
            _ => &mut self.open,
        };
        let (first, rest) = from.split_first()?;
        *from = rest;
        Some(*first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment() -> impl Strategy<Value = String> {
        const SEGMENTS: &[&str] = &["a", "b", "a b", "*", "a*", "?", "**", "%61", "é", ""];
        proptest::sample::select(SEGMENTS).prop_map(str::to_owned)
    }

    /// Paths as clients spell them: escapes of what needs none among them.
    fn path() -> impl Strategy<Value = String> {
        const SEGMENTS: &[&str] = &[
            "a", "b", "a%20b", "a b", "%61", "%2561", "é", "%C3%A9", "ab", "",
        ];
        let segment = proptest::sample::select(SEGMENTS);
        prop::collection::vec(segment, 1..4).prop_map(|segments| format!("/{}", segments.join("/")))
    }

    proptest! {
        #[test]
        fn the_first_that_fits_is_found_among_the_candidates(
            patterns in prop::collection::vec(prop::option::of(prop::collection::vec(segment(), 1..4)), 0..12),
            path in path(),
        ) {
            let patterns = patterns.into_iter().filter_map(|segments| match segments {
                None => Some(None),
                Some(segments) => PathPattern::parse(&format!("/{}", segments.join("/"))).ok().map(Some),
            });
            let patterns: Vec<Option<PathPattern>> = patterns.collect();
            let fits = |place: &usize| patterns[*place].as_ref().is_none_or(|pattern| pattern.matches(&path));
            let index = FirstSegments::new(patterns.iter().map(Option::as_ref));
            if let Some(candidates) = index.candidates(&path) {
                let places: Vec<usize> = candidates.collect();
                prop_assert!(places.is_sorted());
                let all: Vec<usize> = (0..patterns.len()).filter(fits).collect();
                let among: Vec<usize> = places.into_iter().filter(fits).collect();
                prop_assert_eq!(among, all);
            }
        }
    }

    #[test]
    fn of_two_hundred_routes_one_is_looked_at() {
        let patterns: Vec<_> = (0..200)
            .map(|number| PathPattern::parse(&format!("/area-{number}/**")).unwrap())
            .collect();
        let index = FirstSegments::new(patterns.iter().map(Some));
        let candidates = |path| index.candidates(path).map(Iterator::collect::<Vec<_>>);
        assert_eq!(candidates("/area-199/x"), Some(vec![199]));
        assert_eq!(candidates("/other"), Some(Vec::new()));
        assert_eq!(candidates("/%61rea-199/x"), None);
    }
}
