//! Which keys differ between two configurations: names only, because a value may be a secret. Pure.

use super::{
    schema::below,
    tree::{Node, Value},
};

/// The keys that `old` and `new` say differently, or that one of them does not say, in the order of `old`. A list counts as
/// one key.
pub(super) fn keys(old: &Node, new: &Node) -> Vec<String> {
    let mut differing = Vec::new();
    collect(old, new, "", &mut differing);
    differing
}

fn collect(old: &Node, new: &Node, place: &str, differing: &mut Vec<String>) {
    let nothing = Node::empty_table(old.origin.clone());
    let names = old.entries().iter().map(|(name, _)| name);
    let added = new.entries().iter().map(|(name, _)| name);
    let added = added.filter(|name| old.get(name).is_none());
    for name in names.chain(added) {
        let place = below(place, name);
        let (before, after) = (old.get(name), new.get(name));
        let is_table = [before, after]
            .into_iter()
            .flatten()
            .all(|node| matches!(node.value, Value::Table(_)));
        if is_table {
            let (before, after) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
            collect(before, after, &place, differing);
        } else if !before
            .zip(after)
            .is_some_and(|(one, other)| is_same(one, other))
        {
            differing.push(place);
        }
    }
}

fn is_same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Text(one), Value::Text(other)) => one == other,
        (Value::Integer(one), Value::Integer(other)) => one == other,
        (Value::Boolean(one), Value::Boolean(other)) => one == other,
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| is_same(one, other))
        }
        (Value::Table(entries), Value::Table(others)) => {
            let is_there = |(name, node): &(String, Node)| {
                other.get(name).is_some_and(|other| is_same(node, other))
            };
            entries.len() == others.len() && entries.iter().all(is_there)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::parse;

    fn differing(old: &str, new: &str) -> Vec<String> {
        let read = |text| parse(text).unwrap_or_else(|_| panic!("{text}"));
        keys(&read(old), &read(new))
    }

    #[test]
    fn what_differs_is_named() {
        let old = "log = \"info\"\nworkers = 1\n[upstreams.api]\nurl = [\"http://a\", \"http://b\"]\n[limits]\nconnections = 5\n[[routes]]\npath = \"/a\"\n";
        assert!(differing(old, old).is_empty());
        let other = "workers = 2\nlog = \"info\"\n[upstreams.api]\nurl = [\"http://a\", \"http://c\"]\n[[routes]]\npath = \"/a\"\naccess = \"deny\"\n[tls]\ncert = \"x\"\n";
        assert_eq!(
            differing(old, other),
            [
                "workers",
                "upstreams.api.url",
                "limits.connections",
                "routes",
                "tls.cert"
            ]
        );
        // The order of keys says nothing; another kind of value does.
        assert!(differing("a = 1\nb = { x = 1, y = 2 }", "b = { y = 2, x = 1 }\na = 1").is_empty());
        assert_eq!(differing("a = 1", "a = \"1\""), ["a"]);
        assert_eq!(differing("a = [{ b = 1 }]", "a = [{ b = 2 }]"), ["a"]);
        assert_eq!(differing("a = { b = 1 }", "a = \"b\""), ["a"]);
    }
}
