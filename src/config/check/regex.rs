//! Detects paths that are written as regular expressions, as other proxies use them. As a glob such a path matches almost nothing, and what the
//! route should have denied would pass. Pure.

/// What to write instead, where a path can hardly be meant as the glob that it would be.
pub(super) fn hint(path: &str) -> Option<&'static str> {
    is_regex(path).then_some(
        "paths are globs: `*` stands for anything within a segment, `**` for any number of segments, as in \"/api/**\", and \
         each choice is a route of its own; a letter that is meant as such can be escaped, as %28 for (",
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_found() {
        for regex in [
            "^/api/.*",
            "/api/.+",
            "^/api",
            "^/api$",
            "^/api(/.*)?$",
            "^",
            "^/users/\\d+$",
            "^/users/[^/]+/photo$",
            "/users/[0-9]+",
            ".*\\.css$",
            "/(a|b)",
            "^/(?!admin).*",
            "/x/\\d{4}",
            "/[a-z]/x",
        ] {
            assert!(hint(regex).is_some(), "{regex}");
        }
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
}
