//! The environment overrides the file: `SIDEGATE_SESSION__LIFETIME` is `session.lifetime`. Pure.
//!
//! Two underscores join the levels. A name that the operator chose (a provider, a header) is read in lower case, and `_` in it also stands
//! for `-`, which variables cannot have. A path to a claim has two underscores for each dot. `[[routes]]` and lists of secrets use numbers,
//! `SIDEGATE_ROUTES__0__PATH`. A variable replaces what the file says.

use std::collections::BTreeMap;

use super::{
    problem::{Origin, Problem, Problems},
    schema::{Keys, Kind, Names, Shape},
    tree::{Node, Value},
};
use crate::spelling;

/// The environment as it was when the process began.
pub type Environment = BTreeMap<String, String>;

/// What every name begins with.
const PREFIX: &str = "SIDEGATE_";

/// Names the file; it is no key of it.
pub(super) const CONFIG_VARIABLE: &str = "SIDEGATE_CONFIG";

/// Whether the environment configures anything.
pub(super) fn says_anything(environment: &Environment) -> bool {
    environment.iter().any(|(name, value)| is_ours(name, value))
}

/// Lays the environment over the tree.
pub(super) fn overlay(
    root: &mut Node,
    keys: &Keys,
    environment: &Environment,
    problems: &mut Problems,
) {
    let top = Shape::Table(keys.clone());
    let mut sources = Vec::new();
    collect_sources(root, &top, &mut sources);
    let mut settings: Vec<(Vec<String>, &str, &str)> = environment
        .iter()
        .filter(|(name, value)| is_ours(name, value) && !sources.contains(name))
        .map(|(name, value)| (segments(name), name.as_str(), value.as_str()))
        .collect();
    // Entries of a list by number: the tenth after the ninth.
    settings.sort_by_key(|(segments, _, _)| {
        let order = |segment: &String| (segment.parse().unwrap_or(usize::MAX), segment.clone());
        segments.iter().map(order).collect::<Vec<_>>()
    });
    let mut found = Vec::new();
    for (segments, name, value) in settings {
        let variable = Variable { name, value };
        let put = variable.put(root, keys, &segments);
        found.extend(put.err().map(|problem| (name, problem)));
    }
    // A variable may have named another one.
    collect_sources(root, &top, &mut sources);
    for (name, problem) in found {
        if !sources.iter().any(|source| source == name) {
            problems.add(problem);
        }
    }
}

fn segments(name: &str) -> Vec<String> {
    let path = name.strip_prefix(PREFIX).unwrap_or(name);
    path.split("__").map(str::to_ascii_lowercase).collect()
}

fn is_ours(name: &str, value: &str) -> bool {
    name.starts_with(PREFIX) && name != CONFIG_VARIABLE && !is_service_link(name, value)
}

/// Kubernetes gives every container the addresses of its namespace's services, and a service called
/// `sidegate` yields names with our prefix: `SIDEGATE_SERVICE_HOST`, `SIDEGATE_PORT_80_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_single = !name.contains("__");
    let is_host = name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT");
    let is_port = name.ends_with("_PORT") || name.contains("_PORT_");
    let has_scheme = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let is_part = ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
        ["_PROTO", "_PORT", "_ADDR"]
            .iter()
            .any(|part| name.ends_with(&format!("{protocol}{part}")))
    });
    is_single && (is_host || (is_port && (has_scheme || is_part)))
}

/// The variables that `{ env = "SIDEGATE_…" }` names: no keys, whatever they begin with.
fn collect_sources(node: &Node, shape: &Shape, names: &mut Vec<String>) {
    let inner = |keys: &Keys| Shape::Table(keys.clone());
    match shape {
        Shape::Value(Kind::Secrets | Kind::Address) => {
            let sources = std::iter::once(node).chain(node.items());
            for source in sources.filter_map(|secret| secret.get("env")) {
                if let Value::Text(text) = &source.value {
                    names.push(text.to_string());
                }
            }
        }
        Shape::Table(keys) | Shape::WordOrTable(_, keys) => {
            for (name, entry) in node.entries() {
                if let Some(key) = keys.find(name) {
                    collect_sources(entry, &key.shape, names);
                }
            }
        }
        Shape::Named(keys) => {
            for (_, entry) in node.entries() {
                collect_sources(entry, &inner(keys), names);
            }
        }
        Shape::Tables(keys) => {
            for item in node.items() {
                collect_sources(item, &inner(keys), names);
            }
        }
        Shape::Map(_, Kind::HeaderSource(_)) => {
            let secret = Shape::Value(Kind::Secrets);
            for (_, entry) in node.entries() {
                collect_sources(entry, &secret, names);
                if let Some(password) = entry.get("password") {
                    collect_sources(password, &secret, names);
                }
            }
        }
        Shape::Value(_) | Shape::Map(..) => {}
    }
}

/// One variable on its way to its place.
struct Variable<'a> {
    name: &'a str,
    value: &'a str,
}

impl Variable<'_> {
    /// Walks down from `table`, whose keys are `keys`, along `path`.
    fn put(&self, table: &mut Node, keys: &Keys, path: &[String]) -> Result<(), Problem> {
        let Some((first, rest)) = path.split_first() else {
            return Err(self.names_a_table(keys));
        };
        let Some(key) = keys.find(first) else {
            return Err(self.unknown(keys, path));
        };
        if self.value.is_empty() {
            let message = format!("{} is empty", self.name);
            return Err(Problem::new(&self.origin(), message)
                .hint("unset it, or give it a value; an empty value is not the default"));
        }
        self.put_at(table, key.name, &key.shape, rest)
    }

    fn put_at(
        &self,
        table: &mut Node,
        name: &str,
        shape: &Shape,
        rest: &[String],
    ) -> Result<(), Problem> {
        match (shape, rest) {
            (Shape::Value(_) | Shape::WordOrTable(..), []) => self.put_value(table, name),
            (Shape::Table(keys), rest) => self.put(self.inner_table(table, name)?, keys, rest),
            (Shape::WordOrTable(_, keys), rest) => {
                let is_table = |node: &Node| matches!(node.value, Value::Table(_));
                self.put(self.opened(table, name, is_table)?, keys, rest)
            }
            (Shape::Value(Kind::Secrets), [number, rest @ ..]) if is_number(number) => {
                self.put_numbered_secret(table, name, number, rest)
            }
            (Shape::Value(Kind::Secrets | Kind::Address), rest) => self.put(
                self.opened(table, name, |_| false)?,
                &Keys::of_source(),
                rest,
            ),
            (Shape::Map(names, Kind::HeaderSource(_)), [chosen, rest @ ..]) if !rest.is_empty() => {
                let named = self.inner_table(table, name)?;
                let chosen = spelling(named, chosen, *names);
                let header = self.opened(named, &chosen, |_| false)?;
                self.put(header, &Keys::of_header(), rest)
            }
            (Shape::Map(Names::Path, _), levels @ [_, ..]) => {
                let named = self.inner_table(table, name)?;
                let chosen = spelling(named, &levels.join("."), Names::Path);
                self.put_value(named, &chosen)
            }
            (Shape::Map(names, _), [chosen]) => {
                let named = self.inner_table(table, name)?;
                let chosen = spelling(named, chosen, *names);
                self.put_value(named, &chosen)
            }
            (Shape::Named(keys), [chosen, rest @ ..]) => {
                let named = self.inner_table(table, name)?;
                let chosen = spelling(named, chosen, Names::Plain);
                self.put(self.inner_table(named, &chosen)?, keys, rest)
            }
            (Shape::Tables(keys), [number, rest @ ..]) => {
                self.put(self.item(table, name, number)?, keys, rest)
            }
            (Shape::Map(..) | Shape::Named(_) | Shape::Tables(_), []) => {
                Err(self.names_a_table(&Keys::default()))
            }
            (Shape::Value(_) | Shape::Map(..), _) => Err(self.unknown(&Keys::default(), rest)),
        }
    }

    fn put_value(&self, table: &mut Node, name: &str) -> Result<(), Problem> {
        let Value::Table(entries) = &mut table.value else {
            return Ok(());
        };
        let node = Node::variable(self.name, self.value);
        match entries.iter_mut().find(|(key, _)| key == name) {
            None => entries.push((name.to_owned(), node)),
            Some((_, before)) => {
                if let Origin::Variable(other) = &before.origin {
                    return Err(self.contradicts(other));
                }
                *before = node;
            }
        }
        Ok(())
    }

    /// The table at `name`, made where there is none. Something else in its place is a problem that the
    /// check of shapes reports, so that the variable is let go.
    fn inner_table<'n>(&self, table: &'n mut Node, name: &str) -> Result<&'n mut Node, Problem> {
        let Value::Table(entries) = &mut table.value else {
            return Err(self.no_place(name));
        };
        let index = entries.iter().position(|(key, _)| key == name);
        let index = index.unwrap_or_else(|| {
            entries.push((name.to_owned(), Node::empty_table(self.origin())));
            entries.len() - 1
        });
        Ok(&mut entries[index].1)
    }

    /// The same in the place of what the file has, unless that may stay.
    fn opened<'n>(
        &self,
        table: &'n mut Node,
        name: &str,
        stays: impl FnOnce(&Node) -> bool,
    ) -> Result<&'n mut Node, Problem> {
        let node = self.inner_table(table, name)?;
        match (&node.origin, &node.value) {
            (Origin::Variable(_), Value::Table(_)) => {}
            (Origin::Variable(other), _) => return Err(self.contradicts(other)),
            _ if stays(node) => {}
            _ => *node = Node::empty_table(self.origin()),
        }
        Ok(node)
    }

    fn item<'n>(
        &self,
        table: &'n mut Node,
        name: &str,
        number: &str,
    ) -> Result<&'n mut Node, Problem> {
        let Value::Table(entries) = &mut table.value else {
            return Err(self.no_place(name));
        };
        if !entries.iter().any(|(key, _)| key == name) {
            entries.push((name.to_owned(), Node::empty_list(self.origin())));
        }
        let list = entries.iter_mut().find(|(key, _)| key == name);
        let Some(Value::List(items)) = list.map(|(_, node)| &mut node.value) else {
            return Err(self.no_place(name));
        };
        let next = items.len();
        let index = number.parse().ok().filter(|index| *index <= next);
        let index: usize = index.ok_or_else(|| {
            let message = format!("{} has no place in the list", self.name);
            let level = format!("__{}", number.to_ascii_uppercase());
            let (start, rest) = self.name.rsplit_once(&level).unwrap_or((self.name, ""));
            let rest = if rest.is_empty() { "" } else { "__…" };
            Problem::new(&self.origin(), message).hint(format!(
                "entries are numbered from 0 without a gap; the next is {start}__{next}{rest}"
            ))
        })?;
        if index == next {
            items.push(Node::empty_table(self.origin()));
        }
        Ok(&mut items[index])
    }

    /// One of several secrets, as text or by its source. The first replaces whatever the file has.
    fn put_numbered_secret(
        &self,
        table: &mut Node,
        name: &str,
        number: &str,
        rest: &[String],
    ) -> Result<(), Problem> {
        if let Value::Table(entries) = &mut table.value
            && let Some((_, node)) = entries.iter_mut().find(|(key, _)| key == name)
        {
            match (&node.origin, &node.value) {
                (Origin::Variable(_), Value::List(_)) => {}
                (Origin::Variable(other), _) => return Err(self.contradicts(other)),
                _ => *node = Node::empty_list(self.origin()),
            }
        }
        let item = self.item(table, name, number)?;
        if let (Value::Text(_), Origin::Variable(other)) = (&item.value, &item.origin) {
            return Err(self.contradicts(other));
        }
        if !rest.is_empty() {
            return self.put(item, &Keys::of_source(), rest);
        }
        *item = Node::variable(self.name, self.value);
        Ok(())
    }

    fn origin(&self) -> Origin {
        Origin::Variable(self.name.to_owned())
    }

    fn contradicts(&self, other: &str) -> Problem {
        Problem::new(
            &self.origin(),
            format!("{} and {other} contradict each other", self.name),
        )
        .hint("unset one of them")
    }

    fn no_place(&self, name: &str) -> Problem {
        let message = format!("{} finds no table `{name}` to stand in", self.name);
        Problem::new(&self.origin(), message).hint("the file has something else in its place")
    }

    fn names_a_table(&self, keys: &Keys) -> Problem {
        let message = format!("{} names a table, which has no value of its own", self.name);
        let problem = Problem::new(&self.origin(), message);
        match keys.names().first() {
            Some(key) => problem.hint(format!(
                "name a key in it: {}__{}",
                self.name,
                key.to_ascii_uppercase()
            )),
            None => problem.hint(format!("go on with two underscores: {}__…", self.name)),
        }
    }

    /// `path` is what is left of the name, its first segment the unknown one.
    fn unknown(&self, keys: &Keys, path: &[String]) -> Problem {
        let problem = Problem::new(&self.origin(), format!("unknown variable {}", self.name));
        let left = path.join("__");
        let known = self.name.len().saturating_sub(left.len());
        let start = self.name.get(..known).unwrap_or(PREFIX);
        let Some(first) = path.first() else {
            return problem.hint("there is nothing of that name in the configuration");
        };
        let names = keys.names();
        if let Some(key) = keys
            .all()
            .find(|key| first.starts_with(&format!("{}_", key.name)))
        {
            let rest = left[key.name.len() + 1..].to_ascii_uppercase();
            let table = key.name.to_ascii_uppercase();
            let is_sourced = matches!(key.shape, Shape::Value(Kind::Secrets | Kind::Address));
            if is_sourced || !matches!(key.shape, Shape::Value(_)) {
                return problem.hint(format!(
                    "levels are joined by two underscores: {start}{table}__{rest}"
                ));
            }
        }
        if let Some(nearest) = spelling::nearest(first, names.iter().copied()) {
            let mut meant = vec![nearest.to_owned()];
            meant.extend_from_slice(&path[1..]);
            let meant = meant.join("__").to_ascii_uppercase();
            return problem.hint(format!("did you mean {start}{meant}?"));
        }
        let known: Vec<_> = names.iter().map(|name| name.to_ascii_uppercase()).collect();
        if known.is_empty() {
            problem.hint("there is nothing of that name in the configuration")
        } else {
            problem.hint(format!("after {start} comes one of {}", known.join(", ")))
        }
    }
}

fn is_number(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit())
}

/// How the file spells a name that the operator chose, or how it shall be spelled.
fn spelling(table: &Node, chosen: &str, names: Names) -> String {
    let fold = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let written = table.entries().iter().map(|(name, _)| name);
    let alike = || written.clone().filter(|name| fold(name) == chosen);
    match alike()
        .find(|name| *name == chosen)
        .or_else(|| alike().next())
    {
        Some(name) => name.clone(),
        None if names == Names::Header => chosen.replace('_', "-"),
        None => chosen.to_owned(),
    }
}

#[cfg(test)]
mod tests;
