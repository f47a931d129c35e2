//! Hides secrets in the file's text before a report quotes its lines. Pure.
//!
//! A report prints whole lines, and a secret may be next to the mistake. So every secret is replaced by stars first, with the same number of
//! bytes, so that spans stay correct. Secrets in the file are hidden even if the environment overrides them. A file that is not TOML is not
//! shown at all, because its values cannot be told from its keys.

use std::ops::Range;

use super::{
    problem::Origin,
    schema::{Keys, Kind, Shape},
    tree::{self, Node, Value},
};
use crate::{
    api_token::format, identity_headers::HeaderSource, issuer::token,
    redis::address as redis_address,
};

/// `source` with its secrets starred; none where it is no TOML. Same length in bytes, same lines.
pub(super) fn mask(source: &str, keys: &Keys) -> Option<String> {
    let tree = tree::parse(source).ok()?;
    let mut spans = Vec::new();
    collect_table(&tree, keys, &mut spans);
    collect_userinfo(source, &mut spans);
    collect_tokens(source, &mut spans);
    collect_comments(source, &tree, &mut spans);
    Some(star(source, &spans))
}

fn collect_table(table: &Node, keys: &Keys, spans: &mut Vec<Range<usize>>) {
    for (name, node) in table.entries() {
        match keys.find(name) {
            // A mistyped `client_secret` holds a secret all the same.
            None => collect_all(node, spans),
            // Who misreads these writes the secret itself, or a password's hash.
            Some(_) if HASHES.contains(&name.as_str()) => collect_unless_hash(node, spans),
            Some(key) => collect_shape(node, &key.shape, spans),
        }
    }
}

/// Whatever stands where something else belongs may be a secret that was meant for another key.
fn collect_shape(node: &Node, shape: &Shape, spans: &mut Vec<Range<usize>>) {
    match (shape, &node.value) {
        (Shape::Value(kind), _) => collect_value(node, kind, spans),
        (Shape::WordOrTable(..), Value::Text(_)) => {}
        (
            Shape::Table(keys) | Shape::WordOrTable(_, keys) | Shape::Named(keys),
            Value::Table(entries),
        ) => match shape {
            Shape::Named(keys) => {
                let inner = Shape::Table(keys.clone());
                for (_, entry) in entries {
                    collect_shape(entry, &inner, spans);
                }
            }
            _ => collect_table(node, keys, spans),
        },
        (Shape::Map(_, kind), Value::Table(entries)) => {
            for (_, entry) in entries {
                collect_value(entry, kind, spans);
            }
        }
        (Shape::Tables(keys), Value::List(items)) => {
            let inner = Shape::Table(keys.clone());
            for item in items {
                collect_shape(item, &inner, spans);
            }
        }
        _ => collect_all(node, spans),
    }
}

fn collect_value(node: &Node, kind: &Kind, spans: &mut Vec<Range<usize>>) {
    match (kind, &node.value) {
        (Kind::HeaderSource(_), Value::Text(text)) if HeaderSource::read(text).is_some() => {}
        (Kind::HeaderSource(_), Value::Table(entries)) => {
            for (name, entry) in entries {
                match (name.as_str(), &entry.value) {
                    ("basic", Value::Text(text)) if HeaderSource::read(text).is_some() => {}
                    ("password", _) => collect_secret(entry, spans),
                    _ if names_source(name, entry) => {}
                    _ => collect_all(entry, spans),
                }
            }
        }
        (Kind::Address, Value::Text(text)) if is_open_address(node, text) => {}
        (Kind::Secrets | Kind::Address, _) => collect_secret(node, spans),
        (Kind::HeaderSource(_), _) | (_, Value::Table(_)) => collect_all(node, spans),
        _ => {}
    }
}

/// `{ env = "NAME" }` and `{ file = "PATH" }` say where a secret is, and what is not a name or a path is
/// likely the secret itself.
fn collect_secret(node: &Node, spans: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| collect_secret(item, spans)),
        Value::Table(entries) => {
            for (name, entry) in entries {
                if !names_source(name, entry) {
                    collect_all(entry, spans);
                }
            }
        }
        _ => collect_all(node, spans),
    }
}

/// Whether this says where a secret is, and not what.
fn names_source(name: &str, entry: &Node) -> bool {
    match &entry.value {
        Value::Text(text) if name == "env" => is_variable_name(text),
        Value::Text(_) => name == "file",
        _ => false,
    }
}

/// Whether text may be shown that may hold a password: a word, or an address of Redis without a user. Of any other nobody
/// knows what is what.
fn is_open_address(node: &Node, text: &str) -> bool {
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphabetic());
    // An escape of TOML may stand for an `@`, and then the file's text is another.
    let is_plain = matches!(&node.origin, Origin::File(span) if span.len() == text.len() + 2);
    let address = redis_address::parse(text).and_then(Result::ok);
    let is_bare =
        address.is_some_and(|address| address.username.is_none() && address.password.is_none());
    is_word || (is_plain && is_bare && !text.contains('@'))
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

/// Comments: where a secret was replaced, the old one often stands behind the new.
fn collect_comments(source: &str, tree: &Node, spans: &mut Vec<Range<usize>>) {
    let mut texts = Vec::new();
    collect_texts(tree, &mut texts);
    texts.sort_by_key(|text| text.start);
    let mut texts = texts.into_iter().peekable();
    let mut at = 0;
    while let Some(found) = source[at..].find('#') {
        let sign = at + found;
        while texts.next_if(|text| text.end <= sign).is_some() {}
        at = match texts.peek() {
            Some(text) if text.start <= sign => text.end,
            _ => {
                let end = source[sign..].find('\n').unwrap_or(source.len() - sign) + sign;
                spans.push(sign + 1..end);
                end
            }
        };
    }
}

/// Keys and values: in these a `#` is a letter.
fn collect_texts(node: &Node, texts: &mut Vec<Range<usize>>) {
    if let Origin::File(span) = &node.key_origin {
        texts.push(span.clone());
    }
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Table(entries) => entries
            .iter()
            .for_each(|(_, entry)| collect_texts(entry, texts)),
        Value::Text(_) | Value::Integer(_) | Value::Boolean(_) | Value::Other(_) => {
            if let Origin::File(span) = &node.origin {
                texts.push(span.clone());
            }
        }
    }
}

/// `sha256:…` of a secret says nothing of it.
fn collect_unless_hash(node: &Node, spans: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::List(items) => {
            for item in items {
                collect_unless_hash(item, spans);
            }
        }
        Value::Text(text) if format::read_hash(text).is_some() => {}
        _ => collect_all(node, spans),
    }
}

/// `text` with the tokens of the gate's own starred that somebody may have pasted there.
pub(super) fn without_tokens(text: &str) -> String {
    let mut spans = Vec::new();
    collect_tokens(text, &mut spans);
    star(text, &spans)
}

/// Tokens of the gate's own, wherever one was pasted.
fn collect_tokens(source: &str, spans: &mut Vec<Range<usize>>) {
    for start in TOKENS {
        for (found, _) in source.match_indices(start) {
            let rest = &source[found..];
            let is_part = |sign: char| sign.is_ascii_alphanumeric() || "-._~+/=".contains(sign);
            let length = rest.find(|sign| !is_part(sign)).unwrap_or(rest.len());
            if length >= LEAST_TOKEN {
                spans.push(found..found + length);
            }
        }
    }
}

/// The keys of what is kept of a secret.
const HASHES: [&str; 2] = ["hash", "secret_hash"];
/// What the gate's tokens begin with: API and service tokens, access tokens, refresh tokens and codes.
const TOKENS: [&str; 4] = [format::PREFIX, token::ACCESS, token::REFRESH, token::CODE];

/// What is shorter is the start alone, as explanations have it.
const LEAST_TOKEN: usize = 12;

/// `https://user:password@host` is refused, but shown first.
fn collect_userinfo(source: &str, spans: &mut Vec<Range<usize>>) {
    for (found, separator) in source.match_indices("://") {
        let start = found + separator.len();
        let rest = &source[start..];
        let length = rest.find(['"', '\'', '\n', ' ']).unwrap_or(rest.len());
        if let Some(at) = rest[..length].rfind('@') {
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

    use super::{super::check::Reader, *};

    fn masked(source: &str) -> String {
        mask(source, &Reader::describe()).unwrap()
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
    fn stars_what_a_header_says_to_everybody() {
        for header in [
            "{ value = \"hunter2\" }",
            "{ env = \"hunter2-x\" }",
            "{ basic = \"hunter2\", password = \"hunter2\" }",
            "{ basic = \"user\", password = { value = \"hunter2\" } }",
            "{ bearer = \"hunter2\" }",
        ] {
            let source = format!("[headers]\nset.X-Gate = {header}\n");
            assert!(!masked(&source).contains("hunter"), "{}", masked(&source));
        }
        let open = "[headers]\nset.A = { basic = \"email\", password = { env = \"APP\" } }\n";
        assert_eq!(masked(open), open);
    }

    #[test]
    fn stars_a_secret_where_its_hash_belongs_and_no_hash() {
        let token = format!("sgp_{}", "Ab1".repeat(13));
        for source in [
            format!("[[service_tokens]]\nname = \"ci\"\nhash = \"{token}\"\n"),
            format!("[[service_tokens]]\nname = \"ci\"\nhash = [\"sha256:00\", \"{token}\"]\n"),
            format!("[[service_tokens]]\nname = \"{token}\"\n"),
            format!("upstream = \"http://a/{token}\"\n"),
            format!("[providers.\"{token}\"]\n"),
        ] {
            assert!(!masked(&source).contains("Ab1"), "{}", masked(&source));
        }
        for secret in ["hunter2", "sha256:hunter2", "{ value = \"hunter2\" }"] {
            let value = if secret.starts_with('{') {
                secret.to_owned()
            } else {
                format!("\"{secret}\"")
            };
            let source = format!("[[issuer.clients]]\nid = \"x\"\nsecret_hash = {value}\n");
            assert!(!masked(&source).contains("hunter2"), "{}", masked(&source));
        }
        let hash = "0af9".repeat(16);
        let open = format!(
            "[[service_tokens]]\nname = \"ci\"\nhash = \"sha256:{hash}\"\n[[issuer.clients]]\nsecret_hash = [\"sha256:{hash}\"]\n"
        );
        assert_eq!(masked(&open), open);
    }

    #[test]
    fn stars_userinfo() {
        assert_eq!(
            masked("upstream = \"http://ann:pw@host/\"\n"),
            "upstream = \"http://******@host/\"\n"
        );
    }

    #[test]
    fn stars_all_of_an_address_that_may_hold_a_password() {
        for address in [
            "redis://:hunter2@host",
            "redis://host:6379/hunter2",
            "redis://:hunter2@host:1:2",
            "redis://ann:hun/hunter2@host",
            "redis://ann:x@hunter2@host/a/b",
            "redis://:hunter2@h1,:hunter2@h2,redis://:hunter2@h3",
            "redis-cluster://h1,ann:hunter2@h2:port,h3",
            "redis:/:hunter2@host",
            "redis:hunter2@host",
            "redi://ann:a/hunter2@host",
            "https+redis://ann:a?hunter2#@host",
            "ann:hunter2@host:6379",
            "redis://host:6379@ann:hunter2",
            "redis://:hunter2",
        ] {
            for key in ["store", "shared"] {
                let whole = format!("[session]\n{key} = \"{address}\"\n");
                assert!(!masked(&whole).contains("hunter"), "{}", masked(&whole));
                let dotted = format!("session.{key} = '{address}' # ann@host\n");
                assert!(!masked(&dotted).contains("hunter"), "{}", masked(&dotted));
                let listed = format!("[session]\n{key} = [\n\"{address}\",\n'{address}']\n");
                assert!(!masked(&listed).contains("hunter"), "{}", masked(&listed));
                let named = format!("[session]\n{key} = {{ env = \"{address}\" }}\n");
                assert!(!masked(&named).contains("hunter"), "{}", masked(&named));
            }
        }
        for shown in ["cookei", "redis://cache:6379/1", "redis-cluster://h1,h2"] {
            let source = format!("[session]\nstore = \"{shown}\"\n");
            assert_eq!(masked(&source), source);
        }
    }

    #[test]
    fn stars_an_address_that_is_written_with_escapes() {
        for value in [
            r#""redis://:hunter2\u0040host""#,
            r#""redis://:a@hunter2\u0040host""#,
            "\"\"\"redis://:hunter2\nhunter3@host\"\"\"",
        ] {
            let source = format!("[session]\nstore = {value}\n");
            assert!(tree::parse(&source).is_ok(), "{source}");
            assert!(!masked(&source).contains("hunter"), "{}", masked(&source));
        }
    }

    #[test]
    fn nothing_is_shown_of_what_is_no_toml() {
        for source in [
            "client_secrt = \"hunter2",
            "a = [\nb = 1\n",
            "a = 1\na = 2\n",
        ] {
            assert_eq!(mask(source, &Reader::describe()), None, "{source}");
        }
    }

    #[test]
    fn stars_what_stands_where_it_does_not_belong() {
        for source in [
            "session = \"hunter2\"\n",
            "providers = \"hunter2\"\n",
            "providers = [\"hunter2\"]\n",
            "routes = [\"hunter2\"]\n",
            "routes = \"hunter2\"\n",
            "upstream = { client_secret = \"hunter2\" }\n",
            "[providers.a]\nclient_id = { value = \"hunter2\" }\n",
            "proxy_url = \"http://ann:hunter2@proxy:3128\"\n",
            "proxy_url = \"http://ann:hunter2\"\n",
        ] {
            assert!(!masked(source).contains("hunter"), "{}", masked(source));
        }
    }

    #[test]
    fn stars_comments_and_no_letter_that_looks_like_one() {
        assert_eq!(
            masked("# old: x\nlabel = \"a # b\" # c\n\"k#\" = 'v#' #\nlog = \"#\"#é\n"),
            "#*******\nlabel = \"***** \" #**\n\"k#\" = '**' #\nlog = \"#\"#**\n"
                .replace("\"***** \"", "\"*****\""),
        );
    }

    proptest! {
        #[test]
        fn keeps_the_length(source in "[a-zé=\"'\\[\\]{}:/@ \n]{0,80}") {
            if let Some(masked) = mask(&source, &Reader::describe()) {
                prop_assert_eq!(masked.len(), source.len());
                prop_assert_eq!(masked.lines().count(), source.lines().count());
            }
        }

        /// Whatever is wrong with the address: what stands before an `@` is not shown.
        #[test]
        fn no_password_of_redis_is_left(
            scheme in "(redis|rediss|valkey|redis-cluster|rediss-sentinel|redi|Redis|x[+]redis|http)(://|:/|:|//)",
            user in "[a-z]{0,4}",
            password in "[A-Z0-9/:?#,@%. é]{6,24}",
            hosts in "[a-z0-9.:,/@%\\[\\]]{0,20}",
            key in "(store|shared)",
        ) {
            // A part of it that is long enough to be nothing else.
            let secret = format!("Q{password}Q");
            let source = format!("[session]\n{key} = \"{scheme}{user}:{secret}@{hosts}\"\n");
            let masked = masked(&source);
            prop_assert_eq!(masked.len(), source.len());
            let letters: Vec<char> = secret.chars().collect();
            for part in letters.windows(3) {
                let part: String = part.iter().collect();
                let is_shown = masked.contains(&part);
                prop_assert!(!is_shown || hosts.contains(&part) || part.chars().all(|c| "/:.,".contains(c)), "{}", masked);
            }
        }

        #[test]
        fn no_literal_secret_is_left(secret in "[A-Z0-9é]{6,40}") {
            let source = format!("[session]\nsecret = \"{secret}\"\n[providers.x]\nclient_secret='{secret}'");
            prop_assert!(!masked(&source).contains(&secret));
        }
    }
}
