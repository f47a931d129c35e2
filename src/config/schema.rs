//! Which keys exist, and what each may contain.
//!
//! This is not written down: it is what the reader asks for. A run over an empty file records it. Then the file's keys are checked against it,
//! environment names are resolved with it, reports and `sidegate schema` use it.

use std::{cell::RefCell, ops::RangeInclusive, rc::Rc};

use serde_json::Value as Json;

use super::{
    problem::{Problem, Problems},
    tree::{Node, Value},
};
use crate::spelling;

/// The keys of a table, in the order in which they are asked for.
#[derive(Clone, Default)]
pub(super) struct Keys(Rc<RefCell<Vec<Key>>>);

/// A key of a table.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// What counts where the key is absent, if that is one value.
    pub(super) default: Option<Json>,
}

/// What may stand at a key.
#[derive(Clone)]
pub(super) enum Shape {
    Value(Kind),
    /// A table with these keys.
    Table(Keys),
    /// One of these words, or a table with these keys.
    WordOrTable(Words, Keys),
    /// A table whose keys the operator names, each a value.
    Map(Names, Kind),
    /// A table whose keys the operator names, each a table with these keys.
    Named(Keys),
    /// A list of tables with these keys.
    Tables(Keys),
}

/// What a value is.
#[derive(Clone)]
pub(super) enum Kind {
    Text,
    /// One of these words.
    Word(Words),
    /// Texts; one text stands for a list of one.
    Texts,
    Duration,
    Flag,
    Number(RangeInclusive<i64>),
    /// Text, a number or a truth.
    Scalar,
    /// A list of these; one stands for a list of one.
    Scalars,
    /// Text, `{ env = … }` or `{ file = … }`, or a list of these. Never shown.
    Secrets,
    /// One of these, but a word or an address without a password may be shown.
    Address,
    /// What a header carries: one of these words, a claim by its path, or a table with the keys of a header. A literal,
    /// which is refused, may be a secret: it is never shown.
    HeaderSource(Words),
}

pub(super) type Words = Vec<&'static str>;

/// How the environment spells a name that the operator chose, where the file does not have it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// As it is, in lower case.
    Plain,
    /// A header's: `_` stands for `-`.
    Header,
    /// A path to a claim: each level joined by a dot.
    Path,
}

/// A kind, and what counts where nothing is written.
pub(super) struct Form {
    pub(super) kind: Kind,
    pub(super) default: Option<Json>,
}

impl Kind {
    pub(super) fn or(self, default: impl Into<Json>) -> Form {
        let default = Some(default.into());
        Form {
            kind: self,
            default,
        }
    }
}

impl From<Kind> for Form {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            default: None,
        }
    }
}

impl Keys {
    /// Takes note of a key; a second time changes nothing.
    pub(super) fn add(&self, name: &'static str, shape: Shape, default: Option<Json>) {
        if self.find(name).is_none() {
            let key = Key {
                name,
                shape,
                default,
            };
            self.0.borrow_mut().push(key);
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<Key> {
        let keys = self.0.borrow();
        keys.iter().find(|key| key.name == name).cloned()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Key> + use<> {
        self.0.borrow().clone().into_iter()
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.all().map(|key| key.name).collect()
    }

    /// A key that these have and `others` have not.
    pub(super) fn beyond(&self, others: &Self) -> Option<&'static str> {
        self.all().find_map(|key| match others.find(key.name) {
            None => Some(key.name),
            Some(other) => key.shape.keys()?.beyond(other.shape.keys()?),
        })
    }

    /// The keys of a secret's table.
    pub(super) fn of_source() -> Self {
        let keys = Self::default();
        keys.add("env", Shape::Value(Kind::Text), None);
        keys.add("file", Shape::Value(Kind::Text), None);
        keys
    }

    /// The keys of a header's table.
    pub(super) fn of_header() -> Self {
        let keys = Self::of_source();
        keys.add("value", Shape::Value(Kind::Text), None);
        keys.add("basic", Shape::Value(Kind::Text), None);
        keys.add("password", Shape::Value(Kind::Secrets), None);
        keys
    }

    /// Holds a table against the keys: unknown ones, and tables that are none. `place` is the
    /// table's name as a header shows it; empty at the top.
    pub(super) fn check(&self, table: &Node, place: &str, top: &Self, problems: &mut Problems) {
        for (name, node) in table.entries() {
            match self.find(name) {
                None => problems.add(self.unknown(name, node, place, top)),
                Some(key) => key.shape.check(node, &below(place, name), top, problems),
            }
        }
    }

    fn unknown(&self, name: &str, node: &Node, place: &str, top: &Self) -> Problem {
        let label = if place.is_empty() {
            "not a key of this file".to_owned()
        } else {
            format!("not a key of [{place}]")
        };
        let problem = Problem::new(&node.key_origin, format!("unknown key `{name}`")).label(label);
        if let Some(hint) = self.elsewhere(name, place) {
            return problem.hint(hint);
        }
        let names = self.names();
        if let Some(nearest) = spelling::nearest(name, names.iter().copied()) {
            return problem.hint(format!("did you mean `{nearest}`?"));
        }
        // A name may stand in two places, a table here and a text there.
        let is_table = matches!(node.value, Value::Table(_));
        let home = top.home_of(name, "", Some(is_table));
        match home.or_else(|| top.home_of(name, "", None)) {
            Some(home) => problem.hint(format!("`{name}` belongs {home}")),
            None => problem.hint(format!("the keys here are {}", names.join(", "))),
        }
    }

    /// What to write for a key that many expect here, and whose name stands for something else in another table.
    fn elsewhere(&self, name: &str, place: &str) -> Option<String> {
        let allow = self.find("allow").filter(|_| place == "routes");
        let is_list = |key: Key| {
            key.shape
                .keys()
                .is_some_and(|keys| keys.find(name).is_some())
        };
        if allow.is_some_and(is_list) {
            let example = match name {
                "scopes" => "\"read\"",
                "groups" => "\"staff\"",
                _ => "\"…\"",
            };
            return Some(format!("write allow = {{ {name} = [{example}] }}"));
        }
        let hint = match (place, name) {
            ("routes", "rate_limit" | "rate_limits" | "ratelimit" | "limits") => {
                "did you mean `limit`? As in limit = \"100/1h\""
            }
            ("issuer.clients", "secret" | "client_secret") => {
                "write secret_hash = \"sha256:…\": printf %s SECRET | sha256sum prints the digits"
            }
            ("issuer.clients", "client_id") => "write id = \"…\"",
            ("service_tokens", "token" | "secret") => {
                "write hash = \"sha256:…\", as `sidegate token` prints it"
            }
            (bearer, "scopes") if bearer.ends_with(".bearer") => {
                "a route asks for scopes: write allow = { scopes = [\"read\"] } in its [[routes]]"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Where a key of this name does belong. TOML gives every key below a header to that header's table, which surprises
    /// people. `is_table` says which of several it is.
    fn home_of(&self, name: &str, place: &str, is_table: Option<bool>) -> Option<String> {
        let is_it = |key: Key| {
            let has_keys = key.shape.keys().is_some();
            key.name == name && is_table.is_none_or(|is_table| is_table == has_keys)
        };
        if self.all().any(is_it) {
            return Some(match place {
                "" => "at the top of the file, above the first [table]".to_owned(),
                place => format!("under {place}"),
            });
        }
        let inner = |key: Key| {
            let place = below(place.trim_matches(['[', ']']), key.name);
            let header = match key.shape {
                Shape::Named(_) => format!("[{place}.NAME]"),
                Shape::Tables(_) => format!("[[{place}]]"),
                _ => format!("[{place}]"),
            };
            key.shape.keys()?.home_of(name, &header, is_table)
        };
        self.all().find_map(inner)
    }
}

impl Shape {
    /// The keys of the table, or of each, that may stand there.
    fn keys(&self) -> Option<&Keys> {
        match self {
            Self::Table(keys)
            | Self::WordOrTable(_, keys)
            | Self::Named(keys)
            | Self::Tables(keys) => Some(keys),
            Self::Value(_) | Self::Map(..) => None,
        }
    }

    fn check(&self, node: &Node, place: &str, top: &Keys, problems: &mut Problems) {
        let is_table = matches!(node.value, Value::Table(_));
        match self {
            Self::Value(Kind::Secrets | Kind::Address) => {
                let keys = Keys::of_source();
                keys.check(node, place, top, problems);
                for item in node.items() {
                    keys.check(item, place, top, problems);
                }
            }
            Self::Value(_) => {}
            Self::WordOrTable(_, keys) => keys.check(node, place, top, problems),
            Self::Table(keys) if is_table => keys.check(node, place, top, problems),
            Self::Named(keys) if is_table => {
                for (name, entry) in node.entries() {
                    let inner = Self::Table(keys.clone());
                    inner.check(entry, &below(place, name), top, problems);
                }
            }
            Self::Map(_, Kind::HeaderSource(_)) if is_table => {
                let keys = Keys::of_header();
                for (name, entry) in node.entries() {
                    keys.check(entry, &below(place, name), top, problems);
                }
            }
            Self::Map(..) if is_table => {}
            Self::Table(_) | Self::Map(..) => {
                let header = || format!("begin it with [{place}] on a line of its own");
                let hint =
                    in_braces(place).map_or_else(header, |example| format!("write {example}"));
                problems.add(not_a_table(node, place, &hint));
            }
            Self::Named(_) => {
                let hint = format!("begin it with [{place}.NAME] on a line of its own");
                problems.add(not_a_table(node, place, &hint));
            }
            Self::Tables(keys) => match &node.value {
                Value::List(items) => {
                    for item in items {
                        if matches!(item.value, Value::Table(_)) {
                            keys.check(item, place, top, problems);
                        } else {
                            let hint = format!("begin it with [[{place}]] on a line of its own");
                            problems.add(not_a_table(item, place, &hint));
                        }
                    }
                }
                _ => problems.add(
                    Problem::new(&node.key_origin, format!("`{place}` is a list of tables"))
                        .hint(format!("each begins with [[{place}]], in double brackets")),
                ),
            },
        }
    }
}

fn not_a_table(node: &Node, place: &str, hint: &str) -> Problem {
    Problem::new(
        &node.origin,
        format!("`{place}` is a table, and this is {}", node.kind()),
    )
    .hint(hint)
}

/// How a table of a few keys is written, inside of another.
fn in_braces(place: &str) -> Option<&'static str> {
    let key = place.rsplit_once('.').map_or("", |(_, key)| key);
    let example = match key {
        "allow" => "allow = { groups = [\"staff\"] }",
        "bearer" => "bearer = { audience = [\"https://app.example.com\"] }",
        "claims" => "claims = { user = \"nickname\" }",
        "health" => "health = { path = \"/healthz\" }",
        "token_exchange" => "token_exchange = { audience = \"orders\" }",
        "tools" => "tools = { allow = [\"read_*\"] }",
        _ => return None,
    };
    Some(example)
}

/// The table's name with one more level.
pub(super) fn below(place: &str, name: &str) -> String {
    if place.is_empty() {
        name.to_owned()
    } else {
        format!("{place}.{name}")
    }
}
