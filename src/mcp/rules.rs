//! Which tools may be called.

/// `tools` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRules {
    /// The only ones; all where there is none.
    pub allow: Vec<ToolPattern>,
    /// Those that are none of them.
    pub deny: Vec<ToolPattern>,
    /// Whether revisions of the protocol before 2026-07-28 may be spoken: of these the body alone says what is called.
    pub older_versions: bool,
}

/// The name of a tool, or how the names of several begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolPattern {
    name: String,
    is_start: bool,
}

impl ToolPattern {
    /// Reads a name, or the beginning of names and `*` behind it.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, is_start) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'*');
        let is_pattern = is_name && name.len() <= LONGEST_NAME && !text.is_empty();
        is_pattern.then(|| Self {
            name: name.to_owned(),
            is_start,
        })
    }

    fn matches(&self, tool: &str) -> bool {
        if self.is_start {
            tool.starts_with(&self.name)
        } else {
            tool == self.name
        }
    }
}

impl ToolRules {
    /// Whether a tool may be called.
    pub fn permits(&self, tool: &str) -> bool {
        let among = |patterns: &[ToolPattern]| patterns.iter().any(|pattern| pattern.matches(tool));
        (self.allow.is_empty() || among(&self.allow)) && !among(&self.deny)
    }
}

/// The bytes of the longest name of a tool.
const LONGEST_NAME: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_tools_are_denied_whatever_is_allowed() {
        let patterns = |texts: &[&str]| {
            let texts = texts.iter().map(|text| ToolPattern::parse(text).unwrap());
            texts.collect::<Vec<_>>()
        };
        let rules = |allow: &[&str], deny: &[&str]| ToolRules {
            allow: patterns(allow),
            deny: patterns(deny),
            older_versions: false,
        };
        let some = rules(&["read_*", "echo"], &["read_secret*"]);
        for (tool, expected) in [
            ("read_file", true),
            ("read_", true),
            ("echo", true),
            ("echo2", false),
            ("Echo", false),
            ("read", false),
            ("read_secrets", false),
            ("", false),
        ] {
            assert_eq!(some.permits(tool), expected, "{tool}");
        }
        assert!(rules(&[], &["a"]).permits("b") && !rules(&[], &["*"]).permits("b"));
        for bad in ["", "a*b", "**", "a b", "\u{e9}"] {
            assert_eq!(ToolPattern::parse(bad), None, "{bad}");
        }
    }
}
