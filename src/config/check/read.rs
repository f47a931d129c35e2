//! Reading values of the plain kinds: text, lists, numbers, durations, files.

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::{self, Path, PathBuf},
    time::Duration,
};

use super::{
    super::{
        duration, keys,
        raw::{Node, Origin, Value},
        report::Problem,
    },
    Checker,
};
use crate::spelling;

/// One entry of a list.
pub(super) struct Item<'n> {
    pub(super) text: &'n str,
    pub(super) origin: Origin,
}

impl Checker<'_> {
    /// The key of a table that must have it. `example` shows how it is written.
    pub(super) fn required<'n>(
        &mut self,
        table: &'n Node,
        key: &str,
        example: &str,
    ) -> Option<&'n Node> {
        let node = table.get(key);
        if node.is_none() && !self.is_mistyped(table, key) {
            self.problem(
                Problem::new(&table.key_origin, format!("`{key}` is missing"))
                    .hint(format!("write {example}")),
            );
        }
        node
    }

    /// Whether a table has another key in the place of `key`: whoever mistyped it has been told so.
    pub(super) fn is_mistyped(&self, table: &Node, key: &str) -> bool {
        table.entries().iter().any(|(name, entry)| {
            self.problems.point_at(&entry.key_origin) && spelling::nearest(name, [key]).is_some()
        })
    }

    /// Text that is not empty.
    pub(super) fn text<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n str> {
        let Value::Text(text) = &node.value else {
            self.problem(
                Problem::new(
                    &node.origin,
                    format!("`{key}` is text, and this is {}", node.kind()),
                )
                .hint(format!("write {key} = \"…\"")),
            );
            return None;
        };
        if text.trim().is_empty() {
            self.problem(
                Problem::new(&node.origin, format!("`{key}` is empty"))
                    .hint("give it a value, or leave the key out"),
            );
            return None;
        }
        Some(text)
    }

    /// The entries of a list; one text stands for a list of one, and in the environment commas part them.
    pub(super) fn list<'n>(&mut self, node: &'n Node, key: &str) -> Option<Vec<Item<'n>>> {
        let from_environment = matches!(node.origin, Origin::Variable(_));
        match &node.value {
            Value::Text(text) if from_environment => Some(
                text.split(',')
                    .map(str::trim)
                    .filter(|text| !text.is_empty())
                    .map(|text| Item {
                        text,
                        origin: node.origin.clone(),
                    })
                    .collect(),
            ),
            Value::Text(_) => Some(vec![self.list_item(node, key)?]),
            Value::List(items) => {
                let texts: Vec<_> = items.iter().map(|item| self.list_item(item, key)).collect();
                texts.into_iter().collect()
            }
            _ => {
                let message = format!("`{key}` is a list of texts, and this is {}", node.kind());
                self.problem(
                    Problem::new(&node.origin, message).hint(format!("write {key} = [\"…\"]")),
                );
                None
            }
        }
    }

    fn list_item<'n>(&mut self, item: &'n Node, key: &str) -> Option<Item<'n>> {
        self.text(item, key).map(|text| Item {
            text,
            origin: item.origin.clone(),
        })
    }

    /// A whole number; the environment has it as text.
    pub(super) fn integer(&mut self, node: &Node, key: &str) -> Option<i64> {
        let number = match (&node.value, &node.origin) {
            (Value::Integer(number), _) => Some(*number),
            (Value::Text(text), Origin::Variable(_)) => text.trim().parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.problem(
                Problem::new(&node.origin, format!("`{key}` is a whole number"))
                    .hint(format!("write {key} = 2, without quotes")),
            );
        }
        number
    }

    /// Yes or no, or the default; the environment has it as text.
    pub(super) fn flag(&mut self, table: &Node, key: &str, default: bool) -> Option<bool> {
        let Some(node) = table.get(key) else {
            return Some(default);
        };
        let flag = match (&node.value, &node.origin) {
            (Value::Boolean(flag), _) => Some(*flag),
            (Value::Text(text), Origin::Variable(_)) => text.trim().parse().ok(),
            _ => None,
        };
        if flag.is_none() {
            self.problem(
                Problem::new(&node.origin, format!("`{key}` is true or false"))
                    .hint(format!("write {key} = {default}, without quotes")),
            );
        }
        flag
    }

    /// A duration, or the default.
    pub(super) fn duration(&mut self, table: &Node, key: &str, default: &str) -> Option<Duration> {
        match table.get(key) {
            Some(node) => self.duration_at(node, key, duration::parse),
            None => duration::parse(default).ok(),
        }
    }

    /// A duration, which may be shorter than a second.
    pub(super) fn fine_duration(&mut self, node: &Node, key: &str) -> Option<Duration> {
        self.duration_at(node, key, duration::parse_fine)
    }

    fn duration_at(
        &mut self,
        node: &Node,
        key: &str,
        parse: fn(&str) -> Result<Duration, String>,
    ) -> Option<Duration> {
        if let Value::Integer(number) = node.value {
            self.problem(
                Problem::new(&node.origin, format!("`{key}` lacks its unit")).hint(format!(
                    "write {key} = \"{number}s\" for seconds, or m, h, d"
                )),
            );
            return None;
        }
        let text = self.text(node, key)?;
        let parsed = parse(text).map_err(|hint| {
            Problem::new(&node.origin, format!("`{text}` is no duration for `{key}`")).hint(hint)
        });
        self.found(parsed)
    }

    /// A file that must be there, named by a key of `table`, which stands at `place`.
    pub(super) fn readable_file(
        &mut self,
        table: &Node,
        place: &str,
        key: &str,
        hint: &str,
    ) -> Option<PathBuf> {
        let node = self.required(table, key, hint)?;
        let path = self.text(node, key)?;
        let path = self.resolve(path, &node.origin);
        if let Err(error) = File::open(&path) {
            self.unreadable(node, &keys::below(place, key), &path, &error);
            self.stand_in?;
        }
        Some(path)
    }

    /// A file that holds a secret, or goes with one, cannot be read: a problem, unless none need be here.
    /// It is told by the whole path that was tried.
    pub(super) fn unreadable(
        &mut self,
        node: &Node,
        whole_key: &str,
        path: &Path,
        error: &io::Error,
    ) {
        let why = why_unreadable(error);
        let whole = path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let whole = whole.display();
        if self.stand_in.is_some() {
            self.absent
                .push(format!("{whole_key} is not checked: {whole}: {why}"));
            return;
        }
        let is_relative =
            matches!(&node.value, Value::Text(text) if Path::new(text.as_str()).is_relative());
        let hint = match (error.kind(), &node.origin) {
            (ErrorKind::NotFound, Origin::File(_)) if is_relative => {
                format!("{why}; a relative path is taken from the configuration's folder")
            }
            (ErrorKind::NotFound, _) if is_relative => {
                format!("{why}; a relative path is taken from the working directory")
            }
            _ => why.to_owned(),
        };
        self.problem(Problem::new(&node.origin, format!("cannot read {whole}")).hint(hint));
    }

    /// A relative path of the file is meant from the file's folder, one of the environment from the
    /// working directory.
    pub(super) fn resolve(&mut self, path: &str, origin: &Origin) -> PathBuf {
        let path = match origin {
            Origin::File(_) => self.folder.join(path),
            Origin::Nowhere | Origin::Variable(_) => PathBuf::from(path),
        };
        self.files.push(path.clone());
        path
    }
}

fn why_unreadable(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file",
        ErrorKind::PermissionDenied => "this user may not read it",
        ErrorKind::IsADirectory => "it is a folder",
        ErrorKind::InvalidData => "it is not text",
        _ => "it cannot be read",
    }
}
