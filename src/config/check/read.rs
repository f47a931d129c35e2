//! Reading values of the plain kinds: text, lists, numbers, durations, files.

use std::{
    fs::File,
    io::{self, ErrorKind},
    ops::RangeInclusive,
    path::{self, Path, PathBuf},
    time::Duration,
};

use serde_json::Value as Json;

use super::{
    super::{
        duration,
        problem::{Origin, Problem},
        schema::{self, Form, Kind, Names, Shape, Words},
        tree::{Node, Value},
    },
    Reader, Reported, Table,
};
use crate::spelling;

/// One entry of a list.
pub(super) struct Item<'n> {
    pub(super) text: &'n str,
    pub(super) origin: Origin,
}

impl<'n> Table<'n> {
    /// What stands at a key.
    pub(super) fn get(&self, key: &'static str, form: impl Into<Form>) -> Option<&'n Node> {
        let Form { kind, default } = form.into();
        self.keys.add(key, Shape::Value(kind), default);
        self.node.get(key)
    }

    /// The table at a key; an empty one where there is none.
    pub(super) fn table(&self, key: &'static str) -> Self {
        let keys = schema::Keys::default();
        self.keys.add(key, Shape::Table(keys.clone()), None);
        self.inner(key, keys)
    }

    /// The same for a key that may be one of `words`.
    pub(super) fn word_or_table(
        &self,
        key: &'static str,
        words: Words,
    ) -> (Option<&'n Node>, Self) {
        let keys = schema::Keys::default();
        self.keys
            .add(key, Shape::WordOrTable(words, keys.clone()), None);
        (self.node.get(key), self.inner(key, keys))
    }

    /// What stands in a table whose keys the operator names.
    pub(super) fn map(&self, key: &'static str, names: Names, kind: Kind) -> &'n [(String, Node)] {
        self.keys.add(key, Shape::Map(names, kind), None);
        self.node.get(key).map_or(&[][..], Node::entries)
    }

    fn inner(&self, key: &'static str, keys: schema::Keys) -> Self {
        let node = self.node.get(key);
        let is_table = |node: &&Node| matches!(node.value, Value::Table(_));
        Self {
            node: node.filter(is_table).unwrap_or(&NOTHING),
            keys,
            place: schema::below(&self.place, key),
        }
    }

    /// Whether anything is written in it.
    pub(super) fn is_written(&self) -> bool {
        !std::ptr::eq(self.node, &raw const NOTHING)
    }

    /// Where the value of a key stands; nowhere where there is none.
    pub(super) fn origin(&self, key: &str) -> Origin {
        let node = self.node.get(key);
        node.map_or(Origin::Nowhere, |node| node.origin.clone())
    }

    /// The whole name of a key.
    pub(super) fn whole(&self, key: &str) -> String {
        schema::below(&self.place, key)
    }
}

static NOTHING: Node = Node {
    value: Value::Table(Vec::new()),
    origin: Origin::Nowhere,
    key_origin: Origin::Nowhere,
};

impl Reader<'_> {
    /// The tables that the operator names below a key.
    pub(super) fn named<'n>(
        &self,
        table: &Table<'n>,
        key: &'static str,
    ) -> Vec<(&'n str, Table<'n>)> {
        let keys = schema::Keys::default();
        table.keys.add(key, Shape::Named(keys.clone()), None);
        let node = table.node.get(key).unwrap_or(&NOTHING);
        let place = table.whole(key);
        let inner = |name: &'n str, node: &'n Node| {
            let place = schema::below(&place, name);
            let keys = keys.clone();
            (name, Table { node, keys, place })
        };
        if self.describes {
            return vec![inner("NAME", &NOTHING)];
        }
        let entries = node.entries().iter();
        let tables = entries.filter(|(_, entry)| matches!(entry.value, Value::Table(_)));
        tables.map(|(name, entry)| inner(name, entry)).collect()
    }

    /// The tables of a list.
    pub(super) fn tables<'n>(&self, table: &Table<'n>, key: &'static str) -> Vec<Table<'n>> {
        let keys = schema::Keys::default();
        table.keys.add(key, Shape::Tables(keys.clone()), None);
        let inner = |node: &'n Node| Table {
            node,
            keys: keys.clone(),
            place: table.whole(key),
        };
        if self.describes {
            return vec![inner(&NOTHING)];
        }
        let items = table.node.get(key).map_or(&[][..], Node::items).iter();
        let tables = items.filter(|item| matches!(item.value, Value::Table(_)));
        tables.map(inner).collect()
    }

    /// Text, read by `parse`; where there is none, the default.
    pub(super) fn read<T>(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        default: &str,
        parse: impl FnOnce(&str, &Origin) -> Result<T, Problem>,
    ) -> Option<T> {
        let parsed = match table.get(key, Kind::Text.or(default)) {
            Some(node) => parse(self.text(node, key)?, &node.origin),
            None => parse(default, &Origin::Nowhere),
        };
        self.found(parsed)
    }

    /// Text, read by `parse`; none where there is none.
    pub(super) fn optional<T>(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        parse: impl FnOnce(&str, &Origin) -> Result<T, Problem>,
    ) -> Result<Option<T>, Reported> {
        let Some(node) = table.get(key, Kind::Text) else {
            return Ok(None);
        };
        let text = self.text(node, key).ok_or(Reported)?;
        let parsed = self.found(parse(text, &node.origin));
        parsed.map(Some).ok_or(Reported)
    }

    /// Texts, each read by `parse`; none where there is no such key.
    pub(super) fn texts<T>(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        parse: impl Fn(&str, &Origin) -> Result<T, Problem>,
    ) -> Option<Vec<T>> {
        let Some(node) = table.get(key, Kind::Texts) else {
            return Some(Vec::new());
        };
        let items = self.list(node, key)?;
        let parsed = items.iter().map(|item| parse(item.text, &item.origin));
        let found: Vec<_> = parsed.map(|parsed| self.found(parsed)).collect();
        found.into_iter().collect()
    }

    /// As [`Self::texts`], of a list that narrows. Left in, an empty one would not count, and what was meant to narrow would not.
    pub(super) fn narrowing_texts<T>(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        parse: impl Fn(&str, &Origin) -> Result<T, Problem>,
    ) -> Option<Vec<T>> {
        let texts = self.texts(table, key, parse)?;
        match table.node.get(key) {
            Some(node) if texts.is_empty() => {
                self.refuse_empty(node, key);
                None
            }
            _ => Some(texts),
        }
    }

    /// Says that a list which narrows is empty.
    pub(super) fn refuse_empty(&mut self, node: &Node, key: &str) {
        self.problem(
            Problem::new(&node.origin, format!("`{key}` is an empty list"))
                .hint("fill it, or take the key out"),
        );
    }

    /// What one of several words means, or what the default does. `unknown` says what is wrong with any other, and what
    /// there is.
    pub(super) fn word<T: Clone>(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        meanings: &[(&'static str, T)],
        default: Option<&str>,
        unknown: impl FnOnce(&str) -> (String, &'static str),
    ) -> Result<Option<T>, Reported> {
        let words = || meanings.iter().map(|(word, _)| *word);
        let meaning = |text: &str| {
            let known = meanings.iter().find(|(word, _)| *word == text);
            known.map(|(_, meaning)| meaning.clone())
        };
        let form = Form {
            kind: Kind::Word(words().collect()),
            default: default.map(Json::from),
        };
        let Some(node) = table.get(key, form) else {
            return Ok(default.and_then(meaning));
        };
        let text = self.text(node, key).ok_or(Reported)?;
        if let Some(meaning) = meaning(text) {
            return Ok(Some(meaning));
        }
        let (message, hint) = unknown(text);
        let problem = Problem::new(&node.origin, message);
        self.problem(match spelling::nearest(text, words()) {
            Some(nearest) => problem.hint(format!("did you mean \"{nearest}\"?")),
            None => problem.hint(hint),
        });
        Err(Reported)
    }

    /// The key of a table that must have it. `example` shows how it is written.
    pub(super) fn required<'n>(
        &mut self,
        table: &Table<'n>,
        key: &'static str,
        form: impl Into<Form>,
        example: &str,
    ) -> Option<&'n Node> {
        let node = table.get(key, form);
        if node.is_none() {
            self.missing(table, key, example);
        }
        node
    }

    /// A key that must be there is not.
    pub(super) fn missing(&mut self, table: &Table<'_>, key: &str, example: &str) {
        if !self.is_mistyped(table, key) {
            self.problem(
                Problem::new(&table.node.key_origin, format!("`{key}` is missing"))
                    .hint(format!("write {example}")),
            );
        }
    }

    /// Whether a table has another key in the place of `key`: whoever mistyped it has been told so.
    pub(super) fn is_mistyped(&self, table: &Table<'_>, key: &str) -> bool {
        table.node.entries().iter().any(|(name, entry)| {
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

    /// A whole number of a range, or the default; the environment has it as text. `why` says what it may be.
    pub(super) fn number<T: Copy + TryFrom<i64> + Into<Json>>(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        range: RangeInclusive<i64>,
        default: T,
        why: &str,
    ) -> Option<T> {
        let number = self.number_or(table, key, range, Some(default), why);
        number.ok().flatten()
    }

    /// The same without a default.
    pub(super) fn optional_number<T: Copy + TryFrom<i64> + Into<Json>>(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        range: RangeInclusive<i64>,
        why: &str,
    ) -> Result<Option<T>, Reported> {
        self.number_or(table, key, range, None, why)
    }

    fn number_or<T: Copy + TryFrom<i64> + Into<Json>>(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        range: RangeInclusive<i64>,
        default: Option<T>,
        why: &str,
    ) -> Result<Option<T>, Reported> {
        let form = Form {
            kind: Kind::Number(range.clone()),
            default: default.map(Into::into),
        };
        let Some(node) = table.get(key, form) else {
            return Ok(default);
        };
        let number = match (&node.value, &node.origin) {
            (Value::Integer(number), _) => Some(*number),
            (Value::Text(text), Origin::Variable(_)) => text.trim().parse().ok(),
            _ => None,
        };
        let problem = match number {
            None => Problem::new(&node.origin, format!("`{key}` is a whole number")).hint(format!(
                "write {key} = {}, without quotes",
                written_number(node).unwrap_or(2)
            )),
            Some(number) => match T::try_from(number) {
                Ok(good) if range.contains(&number) => return Ok(Some(good)),
                _ => Problem::new(&node.origin, format!("`{key}` cannot be {number}")).hint(why),
            },
        };
        self.problem(problem);
        Err(Reported)
    }

    /// Yes or no, or the default; the environment has it as text.
    pub(super) fn flag(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        default: bool,
    ) -> Option<bool> {
        match table.get(key, Kind::Flag.or(default)) {
            Some(node) => self.truth(node, key),
            None => Some(default),
        }
    }

    /// The same where the default depends on what else is written.
    pub(super) fn optional_flag(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
    ) -> Result<Option<bool>, Reported> {
        let Some(node) = table.get(key, Kind::Flag) else {
            return Ok(None);
        };
        self.truth(node, key).map(Some).ok_or(Reported)
    }

    fn truth(&mut self, node: &Node, key: &str) -> Option<bool> {
        let flag = match (&node.value, &node.origin) {
            (Value::Boolean(flag), _) => Some(*flag),
            (Value::Text(text), Origin::Variable(_)) => text.trim().parse().ok(),
            _ => None,
        };
        if flag.is_none() {
            self.problem(
                Problem::new(&node.origin, format!("`{key}` is true or false"))
                    .hint("write true or false, without quotes"),
            );
        }
        flag
    }

    /// A duration, or the default.
    pub(super) fn duration(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        default: &str,
    ) -> Option<Duration> {
        self.duration_at(table, key, default, duration::parse)
    }

    /// A duration, which may be shorter than a second.
    pub(super) fn fine_duration(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        default: Duration,
    ) -> Option<Duration> {
        self.duration_at(
            table,
            key,
            &duration::written(default),
            duration::parse_fine,
        )
    }

    /// A duration, which may be shorter than a second; none where there is none.
    pub(super) fn optional_duration(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
    ) -> Result<Option<Duration>, Reported> {
        if table.get(key, Kind::Duration).is_none() {
            return Ok(None);
        }
        let duration = self.fine_duration(table, key, Duration::ZERO);
        duration.map(Some).ok_or(Reported)
    }

    fn duration_at(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        default: &str,
        parse: fn(&str) -> Result<Duration, String>,
    ) -> Option<Duration> {
        let Some(node) = table.get(key, Kind::Duration.or(default)) else {
            return parse(default).ok();
        };
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

    /// A file that must be there.
    pub(super) fn readable_file(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        node: &Node,
    ) -> Option<PathBuf> {
        let path = self.text(node, key)?;
        let path = self.resolve(path, &node.origin);
        if let Err(error) = File::open(&path) {
            self.unreadable(node, &table.whole(key), &path, &error);
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
        let path = self.place_of(path, origin);
        self.files.push(path.clone());
        path
    }

    /// The same for a file that is not read.
    pub(super) fn place_of(&self, path: &str, origin: &Origin) -> PathBuf {
        match origin {
            Origin::File(_) => self.folder.join(path),
            Origin::Nowhere | Origin::Variable(_) => PathBuf::from(path),
        }
    }
}

/// The number of a text that is one, alone or of days.
fn written_number(node: &Node) -> Option<u32> {
    let Value::Text(text) = &node.value else {
        return None;
    };
    let text = text.trim();
    text.strip_suffix('d').unwrap_or(text).parse().ok()
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
