//! The values of the configuration as a tree, each with its position. Pure.
//!
//! The checks walk this tree. Types derived with serde would stop at the first problem, and could not say that a value came from the
//! environment.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use zeroize::Zeroizing;

use super::problem::{Origin, Problem};

/// A value, and where it and its key stand. No `Debug`: it may hold a secret.
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// The key's place; the value's own where it has no key.
    pub(super) key_origin: Origin,
}

/// What TOML and the environment can say.
pub(super) enum Value {
    Text(Zeroizing<String>),
    Integer(i64),
    Boolean(bool),
    /// A kind that no key takes, by its name.
    Other(&'static str),
    List(Vec<Node>),
    /// In the file's order.
    Table(Vec<(String, Node)>),
}

impl Node {
    /// A table without entries.
    pub(super) fn empty_table(origin: Origin) -> Self {
        Self {
            value: Value::Table(Vec::new()),
            key_origin: origin.clone(),
            origin,
        }
    }

    /// A list without items.
    pub(super) fn empty_list(origin: Origin) -> Self {
        Self {
            value: Value::List(Vec::new()),
            ..Self::empty_table(origin)
        }
    }

    /// What an environment variable says.
    pub(super) fn variable(name: &str, text: &str) -> Self {
        let origin = Origin::Variable(name.to_owned());
        Self {
            value: Value::Text(Zeroizing::new(text.to_owned())),
            key_origin: origin.clone(),
            origin,
        }
    }

    /// A table's entry.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find_map(|(name, node)| (name == key).then_some(node))
    }

    /// A table's entries; none where this is no table.
    pub(super) fn entries(&self) -> &[(String, Self)] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// A list's items; none where this is no list.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The kind of value in plain words.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "text",
            Value::Integer(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Other(kind) => kind,
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Reads TOML; all syntax errors at once.
pub(super) fn parse(source: &str) -> Result<Node, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(source);
    if errors.is_empty() {
        return Ok(Node {
            value: table(document.get_ref()),
            ..Node::empty_table(Origin::Nowhere)
        });
    }
    let line = |place: &Origin| match place {
        Origin::File(span) => {
            let before = source.as_bytes().iter().take(span.start);
            before.filter(|byte| **byte == b'\n').count()
        }
        Origin::Nowhere | Origin::Variable(_) => 0,
    };
    let mut problems: Vec<Problem> = Vec::new();
    for error in &errors {
        let origin = error.span().map_or(Origin::Nowhere, Origin::File);
        // What is wrong in one way is often wrong in three.
        if problems
            .iter()
            .all(|other| line(&other.origin) != line(&origin))
        {
            let message = format!("this is not TOML: {}", error.message());
            problems.push(Problem::new(&origin, message).hint(
                "text stands in double quotes, as in key = \"value\"; each key and each [table] stands there once",
            ));
        }
    }
    Err(problems)
}

fn table(table: &DeTable<'_>) -> Value {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    Value::Table(
        entries
            .into_iter()
            .map(|(key, value)| {
                let place = Origin::File(key.span());
                (key.get_ref().to_string(), node(value, Some(place)))
            })
            .collect(),
    )
}

fn node(spanned: &Spanned<DeValue<'_>>, key_origin: Option<Origin>) -> Node {
    let origin = Origin::File(spanned.span());
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::Text(Zeroizing::new(text.to_string())),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Value::Other("a number out of range"), Value::Integer),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, None)).collect()),
        DeValue::Table(inner) => table(inner),
    };
    Node {
        value,
        key_origin: key_origin.unwrap_or_else(|| origin.clone()),
        origin,
    }
}
