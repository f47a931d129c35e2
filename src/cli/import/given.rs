//! The input, in oauth2-proxy's order: flags, else variables, else the file. Pure.

use std::collections::BTreeMap;

use super::{
    duration,
    options::{self, ALPHA_ONLY, Kind, OPTIONS, Peer},
    toml_text,
};
use crate::{config::Environment, spelling};

/// What oauth2-proxy's variables begin with.
pub(super) const PREFIX: &str = "OAUTH2_PROXY_";

/// Flags of the program that are no options.
const OF_THE_PROGRAM: [&str; 4] = ["config-test", "convert-config-to-alpha", "version", "help"];

/// Where a value stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    File,
    Flag,
    Variable(String),
    /// In the alpha configuration, by its path.
    Alpha(String),
}

/// A value as it stood.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Texts(Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Texts(Vec<String>),
    Flag(bool),
    Number(i64),
    Seconds(u64),
}

/// A secret, or where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretSource {
    Literal(String),
    Variable(String),
    File(String),
}

impl SecretSource {
    pub(super) fn toml(&self) -> String {
        match self {
            Self::Literal(literal) => toml_text::text(literal),
            _ => self.table("value"),
        }
    }

    /// Where a literal has a key of its own.
    pub(super) fn table(&self, literal: &str) -> String {
        let (key, value) = match self {
            Self::Literal(value) => (literal, value),
            Self::Variable(name) => ("env", name),
            Self::File(path) => ("file", path),
        };
        format!("{{ {key} = {} }}", toml_text::text(value))
    }
}

/// The options that were given, each once.
#[derive(Debug, Default)]
pub(super) struct Given {
    entries: BTreeMap<&'static str, (Value, Place)>,
}

impl Given {
    /// Takes a value; one that is there already is replaced.
    pub(super) fn put(
        &mut self,
        peer: &'static Peer,
        raw: Raw,
        place: Place,
    ) -> Result<(), String> {
        let shown = shown(peer, &place);
        let value = read(peer.kind, raw).map_err(|wants| format!("{shown} {wants}"))?;
        self.entries.insert(peer.key, (value, place));
        Ok(())
    }

    pub(super) fn is_given(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.entries.get(key)?.0 {
            Value::Text(text) => Some(text.trim()).filter(|text| !text.is_empty()),
            _ => None,
        }
    }

    pub(super) fn texts(&self, key: &str) -> &[String] {
        match self.entries.get(key) {
            Some((Value::Texts(texts), _)) => texts,
            _ => &[],
        }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.entries.get(key)?.0 {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub(super) fn seconds(&self, key: &str) -> Option<u64> {
        match self.entries.get(key)?.0 {
            Value::Seconds(seconds) => Some(seconds),
            _ => None,
        }
    }

    /// The secret of one of two options: itself, or the file that holds it.
    pub(super) fn secret(&self, key: &str, file: &str) -> Option<SecretSource> {
        if let Some(text) = self.text(key) {
            return Some(match &self.entries[key].1 {
                Place::Variable(name) => SecretSource::Variable(name.clone()),
                _ => SecretSource::Literal(text.to_owned()),
            });
        }
        self.text(file)
            .map(|file| SecretSource::File(file.to_owned()))
    }

    /// The name that the operator knows an option by.
    pub(super) fn label(&self, key: &'static str) -> String {
        match (self.entries.get(key), options::by_key(key)) {
            (Some((_, place)), Some(peer)) => shown(peer, place),
            _ => key.to_owned(),
        }
    }

    /// Every option that is there, in the order of the list.
    pub(super) fn each(&self) -> impl Iterator<Item = &'static Peer> {
        OPTIONS.iter().filter(|peer| self.is_given(peer.key))
    }

    /// Whether it asks for nothing: it is empty, false, zero, or what is said not to matter.
    pub(super) fn is_harmless(&self, key: &str, harmless: &str) -> bool {
        match self.entries.get(key).map(|(value, _)| value) {
            None => true,
            Some(Value::Text(text)) => {
                text.trim().is_empty() || text.trim().eq_ignore_ascii_case(harmless)
            }
            Some(Value::Texts(texts)) => texts.iter().all(|text| text == harmless),
            Some(Value::Flag(flag)) => *flag == (harmless == "true"),
            Some(Value::Number(number)) => *number == 0,
            Some(Value::Seconds(seconds)) => *seconds == 0,
        }
    }

    /// Takes out what stood in the alpha configuration's place; the names of those that oauth2-proxy would refuse.
    pub(super) fn make_room_for_alpha(&mut self) -> Vec<String> {
        let moved: Vec<&Peer> = self.each().filter(|peer| peer.alpha).collect();
        let mut refused = Vec::new();
        for peer in moved {
            if let Some((_, place)) = self.entries.remove(peer.key)
                && !matches!(place, Place::Variable(_))
            {
                refused.push(shown(peer, &place));
            }
        }
        refused
    }
}

fn shown(peer: &Peer, place: &Place) -> String {
    match place {
        Place::Flag => format!("--{}", peer.flag),
        Place::Variable(name) if name.starts_with(PREFIX) => name.clone(),
        Place::File | Place::Variable(_) => peer.key.to_owned(),
        Place::Alpha(path) => path.clone(),
    }
}

/// As weakly typed as oauth2-proxy reads: the error says what it wants.
fn read(kind: Kind, raw: Raw) -> Result<Value, &'static str> {
    let one = |raw: Raw, wants: &'static str| match raw {
        Raw::Text(text) => Ok(text),
        Raw::Texts(mut texts) if texts.len() == 1 => Ok(texts.remove(0)),
        Raw::Texts(_) => Err(wants),
    };
    Ok(match kind {
        Kind::Text | Kind::Secret => Value::Text(one(raw, "is one text, and this is a list")?),
        Kind::Texts => Value::Texts(match raw {
            Raw::Text(text) => parts(&text),
            Raw::Texts(texts) => texts,
        }),
        Kind::Flag => {
            let wants = "is true or false";
            Value::Flag(match one(raw, wants)?.trim() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                _ => return Err(wants),
            })
        }
        Kind::Number => {
            let wants = "is a whole number";
            Value::Number(one(raw, wants)?.trim().parse().map_err(|_| wants)?)
        }
        Kind::Duration => {
            let wants = "is a duration such as 12h or 1h30m";
            let text = one(raw, wants)?;
            // `cookie_refresh = ""` is in everybody's example.
            let seconds = if text.is_empty() {
                Some(0)
            } else {
                duration::seconds(text.trim())
            };
            Value::Seconds(seconds.ok_or(wants)?)
        }
    })
}

/// A list in one text: commas part it, but those in double quotes.
fn parts(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(std::mem::take(&mut part)),
            _ => part.push(character),
        }
    }
    parts.push(part);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Flags: what they give, and the files that they name.
#[derive(Debug, Default)]
pub(super) struct Flags {
    pub(super) options: Vec<(&'static Peer, Raw)>,
    pub(super) config: Option<String>,
    pub(super) alpha_config: Option<String>,
}

/// Reads a command line of oauth2-proxy.
pub(super) fn flags(arguments: &[String], errors: &mut Vec<String>) -> Flags {
    let mut flags = Flags::default();
    let mut arguments = arguments.iter().enumerate().peekable();
    while let Some((place, argument)) = arguments.next() {
        let Some(flag) = argument
            .strip_prefix("--")
            .or_else(|| argument.strip_prefix('-'))
        else {
            // The program's own name, where the whole command was handed over.
            if place > 0 || !argument.ends_with("oauth2-proxy") {
                // Not which: it may be half of a secret.
                errors.push(format!(
                    "argument {} is no flag; a value that is true or false is written --flag=false",
                    place + 1
                ));
            }
            continue;
        };
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if OF_THE_PROGRAM.contains(&name) {
            continue;
        }
        let of_a_file = matches!(name, "config" | "alpha-config");
        let peer = options::by_flag(name).filter(|_| name != ALPHA_ONLY);
        if peer.is_none() && !of_a_file {
            let known = OPTIONS.iter().map(|peer| peer.flag);
            errors.push(unknown(&format!("--{name}"), name, known, "--"));
            continue;
        }
        let value = match (inline, peer) {
            (Some(value), _) => value,
            (None, Some(peer)) if peer.kind == Kind::Flag => "true".to_owned(),
            (None, _) => {
                let Some((_, value)) = arguments.next() else {
                    errors.push(format!("--{name} has no value"));
                    continue;
                };
                value.clone()
            }
        };
        match (name, peer) {
            ("config", _) => flags.config = Some(value),
            ("alpha-config", _) => flags.alpha_config = Some(value),
            (_, Some(peer)) => take_flag(&mut flags.options, peer, value),
            (_, None) => {}
        }
    }
    flags
}

/// Lists grow by each flag; of all else the last one counts.
fn take_flag(options: &mut Vec<(&'static Peer, Raw)>, peer: &'static Peer, value: String) {
    let before = options.iter_mut().find(|(other, _)| other.key == peer.key);
    match (before, peer.kind) {
        (Some((_, Raw::Texts(texts))), Kind::Texts) => texts.extend(parts(&value)),
        (Some((_, raw)), _) => *raw = Raw::Text(value),
        (None, Kind::Texts) => options.push((peer, Raw::Texts(parts(&value)))),
        (None, _) => options.push((peer, Raw::Text(value))),
    }
}

/// The options in a file: TOML, with nothing but keys at the top.
pub(super) fn file(
    name: &str,
    content: &str,
    errors: &mut Vec<String>,
) -> Vec<(&'static Peer, Raw)> {
    let table: toml::Table = match content.parse() {
        Ok(table) => table,
        Err(error) => {
            // Its message alone: what it shows of the file may be a secret.
            let line = error.span().map_or(0, |span| {
                content[..span.start.min(content.len())]
                    .matches('\n')
                    .count()
                    + 1
            });
            errors.push(format!("{name}:{line}: {}", error.message()));
            return Vec::new();
        }
    };
    let mut options = Vec::new();
    for (key, value) in table {
        let lower = key.to_ascii_lowercase();
        let Some(peer) = options::by_key(&lower).filter(|peer| peer.flag != ALPHA_ONLY) else {
            let known = OPTIONS.iter().map(|peer| peer.key);
            errors.push(format!("{name}: {}", unknown(&key, &lower, known, "")));
            continue;
        };
        match raw(&value) {
            Some(raw) => options.push((peer, raw)),
            None => errors.push(format!("{name}: {key} cannot be a {}", value.type_str())),
        }
    }
    options
}

fn raw(value: &toml::Value) -> Option<Raw> {
    Some(match value {
        toml::Value::String(text) => Raw::Text(text.clone()),
        toml::Value::Integer(number) => Raw::Text(number.to_string()),
        toml::Value::Float(number) => Raw::Text(number.to_string()),
        toml::Value::Boolean(flag) => Raw::Text(flag.to_string()),
        toml::Value::Array(items) => {
            let items = items.iter().map(|item| match raw(item)? {
                Raw::Text(text) => Some(text),
                Raw::Texts(_) => None,
            });
            Raw::Texts(items.collect::<Option<_>>()?)
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => return None,
    })
}

/// The options in the environment.
pub(super) fn variables(
    environment: &Environment,
    errors: &mut Vec<String>,
) -> Vec<(&'static Peer, Raw, String)> {
    let mut options = Vec::new();
    for (name, value) in environment {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let key = rest.to_ascii_lowercase();
        match options::by_key(&key).filter(|peer| peer.flag != ALPHA_ONLY) {
            // An empty one counts as none.
            Some(_) if value.is_empty() => {}
            None if is_of_kubernetes(rest) => {}
            Some(peer) => options.push((peer, Raw::Text(value.clone()), name.clone())),
            None => {
                let known = OPTIONS.iter().map(|peer| peer.key);
                errors.push(unknown(name, &key, known, PREFIX));
            }
        }
    }
    options
}

/// What Kubernetes tells each pod of a service that is called oauth2-proxy.
fn is_of_kubernetes(rest: &str) -> bool {
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}

fn unknown(
    shown: &str,
    name: &str,
    known: impl Iterator<Item = &'static str>,
    before: &str,
) -> String {
    let known = known.filter(|known| !known.is_empty());
    match spelling::nearest(name, known) {
        Some(near) if before == PREFIX => format!(
            "{shown} is no option of oauth2-proxy 7.15; did you mean {before}{}?",
            near.to_ascii_uppercase()
        ),
        Some(near) => {
            format!("{shown} is no option of oauth2-proxy 7.15; did you mean {before}{near}?")
        }
        None => format!("{shown} is no option of oauth2-proxy 7.15"),
    }
}
