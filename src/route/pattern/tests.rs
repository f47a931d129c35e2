use proptest::prelude::*;

use super::*;
use crate::canonical_path::CanonicalPath;

/// The verdict on a request path; none when its readings differ.
fn judge(pattern: &str, path: &str) -> Option<bool> {
    let pattern = PathPattern::parse(pattern).unwrap();
    let path = CanonicalPath::parse(path).unwrap();
    path.judge(|path| pattern.matches(path))
}

#[test]
fn matches_whole_paths() {
    for (pattern, yes, no) in [
        ("/", &["/"][..], &["/a"][..]),
        (
            "/public",
            &["/public"],
            &["/x/public", "/publicadmin", "/public/", "/PUBLIC"],
        ),
        ("/a/", &["/a/"], &["/a", "/a/b"]),
        (
            "/a/**",
            &["/a", "/a/", "/a/b", "/a/b/c/"],
            &["/ab", "/", "/b/a"],
        ),
        ("/**", &["/", "/a", "/a/b/"], &[]),
        (
            "/**/x",
            &["/x", "/a/x", "/x/x/x"],
            &["/x/", "/ax", "/a/x/b"],
        ),
        (
            "/a/**/b/*",
            &["/a/b/", "/a/b/c", "/a/b/b/b/c"],
            &["/a/b", "/a/c/b/c/d"],
        ),
        (
            "/**/a/**/b/**",
            &["/a/b", "/c/a/c/b/c", "/b/a/b"],
            &["/b/a", "/a/c"],
        ),
        ("/a/**/", &["/a/", "/a/b/"], &["/a", "/a/b"]),
        ("/*", &["/", "/a"], &["/a/b", "/a/"]),
        (
            "/*.js",
            &["/a.js", "/.js", "/a.js.js"],
            &["/a.jsx", "/a/b.js"],
        ),
        (
            "/a*b*c",
            &["/abc", "/axbxbxc"],
            &["/abcd", "/acb", "/a/b/c"],
        ),
        (
            "/v?/x",
            &["/v1/x", "/v%20/x", "/v%C3%A9/x"],
            &["/v/x", "/v11/x"],
        ),
        ("/a?", &["/ab", "/a%E2%82%AC"], &["/a", "/abc"]),
    ] {
        for path in yes {
            assert_eq!(judge(pattern, path), Some(true), "{pattern} {path}");
        }
        for path in no {
            assert_eq!(judge(pattern, path), Some(false), "{pattern} {path}");
        }
    }
}

#[test]
fn spellings_of_a_character_are_one() {
    for (pattern, path) in [
        ("/café/**", "/caf%c3%a9/x"),
        ("/caf%C3%A9/**", "/caf%c3%a9/x"),
        ("/my files", "/my%20files"),
        ("/my%20files", "/my%20files"),
        ("/@scope/*", "/%40scope/x"),
        ("/%40scope/*", "/@scope/x"),
        ("/%61", "/a"),
        ("/a|b", "/a%7Cb"),
        ("/100%25", "/100%25"),
        ("/%2A", "/*"),
    ] {
        assert_eq!(judge(pattern, path), Some(true), "{pattern} {path}");
    }
    assert_eq!(judge("/%2A", "/x"), Some(false));
}

#[test]
fn a_path_that_only_one_reading_matches_is_ambiguous() {
    for (pattern, path) in [
        ("/admin/**", "/admin%2Fusers"),
        ("/admin/**", "/admin;x=/public/"),
        ("/admin/**", "//admin"),
        ("/admin/**", "/%2561dmin"),
        ("/*", "/a%2Fb"),
        ("/*2F", "/a%252F"),
    ] {
        let verdict = judge(pattern, path);
        assert_ne!(verdict, Some(true), "{pattern} {path}");
    }
    assert_eq!(judge("/admin/**", "/admin%2Fusers"), None);
    assert_eq!(judge("/*2F", "/a%2F"), Some(false));
}

#[test]
fn says_what_is_wrong_with_a_pattern() {
    for (pattern, hint) in [
        ("", "begins with `/`"),
        ("admin", "begins with `/`"),
        ("/a//b", "one `/`"),
        ("//", "one `/`"),
        ("/a**", "stand alone"),
        ("/***", "stand alone"),
        ("/a/../b", "`..`"),
        ("/%2e", "`..`"),
        ("/%zz", "two hex digits"),
        ("/100%", "two hex digits"),
        ("/a#b", "before `#`"),
        ("/a%23b", "two ways"),
        ("/a%3Fb", "two ways"),
        ("/a\tb", "control"),
        ("/%0a", "control"),
        ("/a;b", "two ways"),
        ("/a%2fb", "two ways"),
        ("/a\\b", "two ways"),
        ("/%2541", "once"),
    ] {
        let error = PathPattern::parse(pattern).unwrap_err();
        assert!(error.contains(hint), "{pattern}: {error}");
    }
}

#[test]
fn keeps_the_pattern_as_written() {
    assert_eq!(PathPattern::parse("/%61/**").unwrap().as_str(), "/%61/**");
}

#[test]
fn hostile_paths_take_bounded_time() {
    let pattern = PathPattern::parse(&format!("/{}", "a*".repeat(50) + "b")).unwrap();
    assert!(!pattern.matches(&format!("/{}", "a".repeat(20_000))));
    let pattern = PathPattern::parse(&format!("/{}b", "**/a/".repeat(50))).unwrap();
    assert!(!pattern.matches(&"/a".repeat(10_000)));
}

/// The same rules, by exhaustive search.
fn reference(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", after)), _) => {
            reference(after, path)
                || path
                    .split_first()
                    .is_some_and(|(_, rest)| reference(pattern, rest))
        }
        (Some((segment, after)), Some((name, rest))) => {
            reference_segment(segment.as_bytes(), name.as_bytes()) && reference(after, rest)
        }
        _ => false,
    }
}

fn reference_segment(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', after)), _) => {
            reference_segment(after, name)
                || name
                    .split_first()
                    .is_some_and(|(_, rest)| reference_segment(pattern, rest))
        }
        (Some((b'?', after)), Some((_, rest))) => reference_segment(after, rest),
        (Some((wanted, after)), Some((byte, rest))) => {
            wanted == byte && reference_segment(after, rest)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn agrees_with_exhaustive_search(
        pattern in r"(/(\*\*|[ab*?]{1,4})){1,5}/?",
        path in r"(/[ab]{0,4}){1,6}",
    ) {
        if let Ok(read) = PathPattern::parse(&pattern) {
            let wanted: Vec<_> = pattern[1..].split('/').collect();
            let names: Vec<_> = path[1..].split('/').collect();
            prop_assert_eq!(read.matches(&path), reference(&wanted, &names));
        }
    }

    #[test]
    fn any_text_is_read_without_harm(pattern: String, path: String) {
        if let Ok(read) = PathPattern::parse(&format!("/{pattern}")) {
            read.matches(&format!("/{path}"));
        }
    }
}

#[test]
fn covers_what_it_takes_in_and_nothing_else() {
    for (earlier, later, covers) in [
        ("/**", "/", true),
        ("/**", "/a/**", true),
        ("/a/**", "/a", true),
        ("/a/**", "/a/b/*", true),
        ("/a/**", "/**/a", false),
        ("/a/*", "/a/b", true),
        ("/a/*", "/a/", true),
        ("/a/*", "/a/**", false),
        ("/a/*", "/a/b/c", false),
        ("/a/b", "/a/*", false),
        ("/**/x", "/a/*/x", true),
        ("/**/x", "/a/x/b", false),
        ("/a*", "/a*b", true),
        ("/a*b", "/a*", false),
        ("/?", "/a", true),
        ("/?", "/*", false),
        ("/*?", "/?a", true),
        ("/a%20b", "/a b", true),
        ("/A", "/a", false),
    ] {
        let pattern = |text| PathPattern::parse(text).unwrap();
        let is_covered = pattern(earlier).covers(&pattern(later));
        assert_eq!(is_covered, covers, "{earlier} before {later}");
    }
}

proptest! {
    #[test]
    fn what_is_covered_never_fits_the_other_alone(
        earlier in "(/([ab*?é]{0,3}|\\*\\*)){1,4}", later in "(/([ab*?é]{0,3}|\\*\\*)){1,4}", path in "(/[abé]{0,3}){1,4}",
    ) {
        if let (Ok(earlier), Ok(later)) = (PathPattern::parse(&earlier), PathPattern::parse(&later))
            && earlier.covers(&later) && later.matches(&path)
        {
            prop_assert!(earlier.matches(&path));
        }
    }
}
