//! Paths that are written as regular expressions, as other proxies take them: a glob that reads one letter by letter
//! matches next to nothing, and what a route should have denied passes. Pure.

use crate::route::PathPattern;

/// What to write instead, where a path can hardly be meant as the glob that it would be.
pub(super) fn hint(path: &str) -> Option<String> {
    if !is_regex(path) {
        return None;
    }
    if let Some(glob) = glob_of(path) {
        return Some(format!("paths are globs: did you mean \"{glob}\"?"));
    }
    let choice = if path.contains('|') {
        "write a route for each choice; "
    } else {
        ""
    };
    Some(format!(
        "paths are globs: {choice}`*` stands for anything within a segment, `**` for any number of segments, as in \
         \"/api/**\"; a letter that is meant as such can be escaped, as %28 for ("
    ))
}

/// Signs that no path has, or only one that nobody would put into a pattern.
fn is_regex(path: &str) -> bool {
    let has_set = path
        .split('[')
        .skip(1)
        .filter_map(|rest| rest.split_once(']'))
        .any(|(set, after)| set.contains(['^', '-']) || after.starts_with(['+', '*', '{']));
    path.starts_with('^')
        || (path.ends_with('$') && path.len() > 2 && !path.ends_with("/$"))
        || path.contains('\\')
        || (path.contains('(') && path.contains(['|', '?']) && path.contains(')'))
        || ["/.*", "/.+", ").*", ".*$"]
            .iter()
            .any(|sign| path.contains(sign))
        || has_set
}

/// The glob for an expression that has an obvious one.
fn glob_of(regex: &str) -> Option<String> {
    let is_open = regex.starts_with('^') && !regex.ends_with('$');
    let mut rest = regex.strip_prefix('^').unwrap_or(regex);
    rest = rest.strip_suffix('$').unwrap_or(rest);
    let mut glob = String::new();
    while !rest.is_empty() {
        let (written, after) = piece(rest, glob.is_empty())?;
        glob.push_str(&written);
        rest = after;
    }
    // Without an end it matches whatever begins so.
    if is_open && !glob.ends_with("**") {
        glob.truncate(glob.trim_end_matches('/').len());
        glob.push_str("/**");
    }
    PathPattern::parse(&glob).is_ok().then_some(glob)
}

/// The beginning of an expression as a piece of a glob, and what follows.
fn piece(rest: &str, is_first: bool) -> Option<(String, &str)> {
    for any in ["(/.*)?", "(/.+)?", "(?:/.*)?", "/.*", "/.+"] {
        if let Some(after) = rest.strip_prefix(any) {
            return Some(whole_segments(after));
        }
    }
    for any in [".*", ".+"] {
        if let Some(after) = rest.strip_prefix(any) {
            return if is_first {
                Some(whole_segments(after))
            } else {
                // `/api.*`: what is below is meant more often than what is called `/apis`.
                after.is_empty().then(|| ("/**".to_owned(), after))
            };
        }
    }
    for class in ["\\d", "\\w", "\\S"] {
        if let Some(after) = rest.strip_prefix(class) {
            return repeated(after);
        }
    }
    if let Some(set) = rest.strip_prefix('[') {
        return repeated(set.split_once(']')?.1);
    }
    let mut letters = rest.chars();
    let letter = match letters.next()? {
        '\\' => letters.next().filter(char::is_ascii_punctuation)?,
        letter if "()[]{}|+?*^$".contains(letter) => return None,
        letter => letter,
    };
    // What a glob would not read as itself.
    (!"*?\\".contains(letter)).then(|| (letter.to_string(), letters.as_str()))
}

/// Any number of segments, before `after`.
fn whole_segments(after: &str) -> (String, &str) {
    let glob = if after.is_empty() || after.starts_with('/') {
        "/**"
    } else {
        "/**/*"
    };
    (glob.to_owned(), after)
}

/// A kind of letter that comes again, before what follows.
fn repeated(after: &str) -> Option<(String, &str)> {
    let after = after.strip_prefix(['+', '*'])?;
    Some(("*".to_owned(), after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_glob_that_was_probably_meant_is_told() {
        for (regex, glob) in [
            ("^/api/.*", "/api/**"),
            ("^/api/.*$", "/api/**"),
            ("/api/.*", "/api/**"),
            ("/api/.+", "/api/**"),
            ("^/api", "/api/**"),
            ("^/api/", "/api/**"),
            ("^/api$", "/api"),
            ("^/api.*$", "/api/**"),
            ("^/api(/.*)?$", "/api/**"),
            ("^/$", "/"),
            ("^/.*", "/**"),
            ("^", "/**"),
            ("^/users/\\d+$", "/users/*"),
            ("^/users/[^/]+/photo$", "/users/*/photo"),
            ("/users/[0-9]+", "/users/*"),
            ("^/a/.*/b$", "/a/**/b"),
            (".*\\.css$", "/**/*.css"),
            ("^/static/.*\\.js$", "/static/**/*.js"),
            ("^/robots\\.txt$", "/robots.txt"),
        ] {
            assert_eq!(glob_of(regex).as_deref(), Some(glob), "{regex}");
            assert!(
                hint(regex).is_some_and(|hint| hint.contains(glob)),
                "{regex}"
            );
        }
    }

    #[test]
    fn where_none_is_obvious_the_rule_is_told() {
        for regex in [
            "/(a|b)",
            "^/(?!admin).*",
            "/x/\\d{4}",
            "^(/a|/b)/.*$",
            "/[a-z]/x",
            "/v\\d/x",
            "^api",
        ] {
            let hint = hint(regex).unwrap_or_else(|| panic!("{regex} is taken for a glob"));
            assert!(!hint.contains("did you mean"), "{regex}: {hint}");
        }
        assert!(hint("/(a|b)").is_some_and(|hint| hint.contains("each choice")));
    }

    #[test]
    fn globs_are_left_alone() {
        for glob in [
            "/",
            "/**",
            "/api/**",
            "/*.css",
            "/img/logo.*",
            "/files/*.*",
            "/a+b",
            "/wiki/Foo_(bar)",
            "/odata/$metadata",
            "/$",
            "/x/$",
            "/a/?",
            "/.well-known/**",
            "/users/{id}",
            "/a[1]",
            "/C++/**",
            "/caf%C3%A9",
        ] {
            assert_eq!(hint(glob), None, "{glob}");
        }
    }

    proptest! {
        /// What is told to be written can be written.
        #[test]
        fn a_glob_that_is_told_is_one(path in "\\^?(/|a|\\.|\\*|\\+|\\(|\\)|\\||\\?|\\[|\\]|\\\\d|\\^|é){0,12}\\$?") {
            hint(&path);
            if let Some(glob) = glob_of(&path) {
                prop_assert!(PathPattern::parse(&glob).is_ok());
            }
        }
    }
}
