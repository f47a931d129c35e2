//! Hides secrets in the file's text before a report quotes its lines. Pure.
//!
//! A caret snippet prints whole lines, and a secret may stand beside what is wrong. So every secret is
//! starred first, with as many bytes as it had, that spans stay true. Where the file is no TOML, nothing
//! tells values from keys; then whatever follows a key that sounds secret is starred.

use std::ops::Range;

use super::{
    keys::{Key, ROOT, Shape},
    raw::{Node, Origin, Value},
};

/// `source` with its secrets starred. Same length in bytes, same lines.
pub(super) fn mask(source: &str, tree: Option<&Node>) -> String {
    let mut spans = Vec::new();
    match tree {
        Some(tree) => collect_table(tree, &ROOT, &mut spans),
        None => collect_by_name(source, &mut spans),
    }
    collect_userinfo(source, &mut spans);
    star(source, &spans)
}

fn collect_table(table: &Node, keys: &'static [Key], spans: &mut Vec<Range<usize>>) {
    for (name, node) in table.entries() {
        match keys.iter().find(|key| key.name == name) {
            // A mistyped `client_secret` holds a secret all the same.
            None => collect_all(node, spans),
            Some(key) => collect_shape(node, &key.shape, spans),
        }
    }
}

fn collect_shape(node: &Node, shape: &'static Shape, spans: &mut Vec<Range<usize>>) {
    match shape {
        Shape::Value => {}
        Shape::Later => collect_all(node, spans),
        Shape::Secret | Shape::Secrets => collect_secret(node, spans),
        Shape::Table(keys) | Shape::TextOrTable(keys) => collect_table(node, keys, spans),
        Shape::Named(_, inner) => {
            for (_, entry) in node.entries() {
                collect_shape(entry, inner, spans);
            }
        }
        Shape::Tables(keys) => {
            for item in node.items() {
                collect_table(item, keys, spans);
            }
        }
    }
}

/// `{ env = "NAME" }` and `{ file = "PATH" }` say where a secret is, and what is not a name or a path is
/// likely the secret itself.
fn collect_secret(node: &Node, spans: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| collect_secret(item, spans)),
        Value::Table(entries) => {
            for (name, entry) in entries {
                let shown = match &entry.value {
                    Value::Text(text) if name == "env" => is_variable_name(text),
                    Value::Text(_) => name == "file",
                    _ => false,
                };
                if !shown {
                    collect_all(entry, spans);
                }
            }
        }
        _ => collect_all(node, spans),
    }
}

fn collect_all(node: &Node, spans: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| collect_all(item, spans)),
        Value::Table(entries) => entries
            .iter()
            .for_each(|(_, entry)| collect_all(entry, spans)),
        Value::Text(_) | Value::Integer(_) | Value::Boolean(_) | Value::Other(_) => {
            if let Origin::File(span) = &node.origin {
                spans.push(span.clone());
            }
        }
    }
}

/// Whether this can be an environment variable's name.
pub(super) fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// For a file that is no TOML: stars what follows `=` where the line's key sounds secret, to the line's
/// end, and to the closing quotes where the text goes over several lines.
fn collect_by_name(source: &str, spans: &mut Vec<Range<usize>>) {
    let mut start = 0;
    let mut open: Option<&str> = None;
    for line in source.split_inclusive('\n') {
        let end = start + line.len();
        if let Some(quotes) = open {
            spans.push(start..end);
            if line.contains(quotes) {
                open = None;
            }
        } else if let Some(value) = secret_value(line) {
            spans.push(start + value..end);
            open = ["\"\"\"", "'''", "["].into_iter().find_map(|opening| {
                let closing = if opening == "[" { "]" } else { opening };
                let rest = line[value..].trim_start().strip_prefix(opening)?;
                (!rest.contains(closing)).then_some(closing)
            });
        }
        start = end;
    }
}

/// Where a line's value begins, if the line speaks of a secret.
fn secret_value(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let word = ["secret", "passw", "token", "key", "credential"]
        .into_iter()
        .filter_map(|word| lower.find(word))
        .min()?;
    let sign = word + lower[word..].find(['=', ':', '"', '\''])?;
    let value = &line[sign + 1..];
    Some(line.len() - value.trim_start().len())
}

/// `https://user:password@host` is refused, but shown first. A password of Redis may hold what ends others, where
/// nobody escaped it.
fn collect_userinfo(source: &str, spans: &mut Vec<Range<usize>>) {
    for (found, separator) in source.match_indices("://") {
        let start = found + separator.len();
        let scheme = source[..found]
            .trim_end_matches(|letter: char| letter.is_ascii_alphabetic() || letter == '-');
        let scheme = &source[scheme.len()..found];
        let ends: &[char] = if scheme.starts_with("redis") || scheme.starts_with("valkey") {
            &['\n']
        } else {
            &['/', '"', '\'', '\n', ' ', '?', '#']
        };
        let length = source[start..].find(ends).unwrap_or(source.len() - start);
        if let Some(at) = source[start..start + length].rfind('@') {
            spans.push(start..start + at);
        }
    }
}

fn star(source: &str, spans: &[Range<usize>]) -> String {
    let mut hidden = vec![false; source.len()];
    for span in spans {
        let end = span.end.min(source.len());
        hidden[span.start.min(end)..end].fill(true);
    }
    let mut masked = String::with_capacity(source.len());
    for (index, character) in source.char_indices() {
        if hidden[index] && !matches!(character, '"' | '\'' | '\n' | '\r') {
            masked.extend(std::iter::repeat_n('*', character.len_utf8()));
        } else {
            masked.push(character);
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::raw, *};

    fn masked(source: &str) -> String {
        mask(source, raw::parse(source).ok().as_ref())
    }

    #[test]
    fn stars_every_secret_and_nothing_else() {
        let source = "upstream = \"http://a\"\n[session]\nsecret = [\"abc\", { env = \"NAME\" }]\n\
                      [providers.a]\nclient_id = \"id\"\nclient_secrt = 'hunter2'\n";
        assert_eq!(
            masked(source),
            "upstream = \"http://a\"\n[session]\nsecret = [\"***\", { env = \"NAME\" }]\n\
             [providers.a]\nclient_id = \"id\"\nclient_secrt = '*******'\n"
        );
    }

    #[test]
    fn stars_a_secret_written_for_a_name() {
        let source = "[providers.a]\nclient_secret = { env = \"q$8-x\" }\n";
        assert!(!masked(source).contains("q$8-x"));
    }

    #[test]
    fn stars_userinfo() {
        assert_eq!(
            masked("upstream = \"http://ann:pw@host/\"\n"),
            "upstream = \"http://******@host/\"\n"
        );
    }

    #[test]
    fn stars_an_address_of_redis_up_to_its_last_at_sign() {
        assert_eq!(
            masked("[session]\nstore = \"redis-cluster://ann:p/w#d@x@h1,h2\"\n"),
            "[session]\nstore = \"redis-cluster://***********@h1,h2\"\n"
        );
    }

    #[test]
    fn stars_by_name_where_the_file_is_no_toml() {
        let source = "a = [\n[providers.a]\nclient_secret = \"hunter2\nsecret = \"\"\"\nhunter3\n\"\"\"\n\
                      corp = { client_secret = \"hunter4\" \n";
        assert!(raw::parse(source).is_err());
        assert!(!masked(source).contains("hunter"));
    }

    proptest! {
        #[test]
        fn keeps_the_length(source in "[a-zé=\"'\\[\\]{}:/@ \n]{0,80}") {
            let masked = masked(&source);
            prop_assert_eq!(masked.len(), source.len());
            prop_assert_eq!(masked.lines().count(), source.lines().count());
        }

        #[test]
        fn no_literal_secret_is_left(secret in "[A-Z0-9é]{6,40}") {
            let source = format!("[session]\nsecret = \"{secret}\"\n[providers.x]\nclient_secret='{secret}'");
            prop_assert!(!masked(&source).contains(&secret));
        }
    }
}
