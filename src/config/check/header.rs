//! `[headers]`

mod presets;

use std::ops::RangeInclusive;

use http::HeaderName;

use super::{
    super::{
        problem::Problem,
        schema::{Kind, Names},
        tree::{Node, Value},
    },
    Reader, Table,
    request::is_claim_path,
};
use crate::{
    clean::{forwarding, identity::ReservedNames},
    identity_headers::{HeaderSettings, HeaderSource, missing_name},
    secret::Secret,
    spelling,
};

impl Reader<'_> {
    pub(super) fn headers(&mut self, root: &Table<'_>) -> Option<HeaderSettings> {
        let table = root.table("headers");
        let preset = self.preset(&table);
        let is_signed = self.flag(&table, "assertion", true);
        let why = format!(
            "from {} to {}: what the app's server takes in one header",
            MAX_BYTES.start(),
            MAX_BYTES.end()
        );
        let max_bytes = self.number(&table, "max_bytes", MAX_BYTES, 8_192_u32, &why);
        let words = SOURCES.map(|(word, _)| word).to_vec();
        let entries = table.map("set", Names::Header, Kind::HeaderSource(words));
        let set = self.set(&table, entries);
        let mut identity = preset?;
        if !is_signed? {
            identity.retain(|(_, source)| *source != HeaderSource::Assertion);
        }
        for (name, source) in set? {
            match identity.iter_mut().find(|(other, _)| *other == name) {
                Some((_, before)) => *before = source,
                None => identity.push((name, source)),
            }
        }
        self.check_counts(entries, &identity);
        Some(HeaderSettings {
            identity,
            max_bytes: max_bytes? as usize,
        })
    }

    /// The header that counts what another one leaves out is the gate's to write.
    fn check_counts(&mut self, set: &[(String, Node)], identity: &[(HeaderName, HeaderSource)]) {
        let counts = identity.iter().filter_map(|(name, _)| missing_name(name));
        let counts: Vec<HeaderName> = counts.collect();
        for (key, entry) in set {
            if counts
                .iter()
                .any(|count| count.as_str().eq_ignore_ascii_case(key))
            {
                self.problem(
                    Problem::new(&entry.key_origin, format!("`{key}` cannot be set"))
                        .hint("it says how much of another header is missing; choose another name"),
                );
            }
        }
    }

    fn preset(&mut self, table: &Table<'_>) -> Option<Vec<(HeaderName, HeaderSource)>> {
        let preset = self.word(table, "preset", &presets::all(), Some("sidegate"), |text| {
            let message = format!("there is no preset \"{text}\"");
            (message, presets::HINT)
        });
        preset.ok().flatten()
    }

    fn set(
        &mut self,
        table: &Table<'_>,
        entries: &[(String, Node)],
    ) -> Option<Vec<(HeaderName, HeaderSource)>> {
        let mut set = Vec::new();
        let mut complete = true;
        for (index, (key, entry)) in entries.iter().enumerate() {
            let earlier = &entries[..index];
            if earlier
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(key))
            {
                complete = false;
                self.problem(
                    Problem::new(&entry.key_origin, format!("`{key}` is set twice"))
                        .hint("header names are the same in upper and lower case"),
                );
            }
            let name = self.found(header_name(key, entry));
            let source = if matches!(entry.value, Value::Table(_)) {
                self.source_in_table(table, key, entry)
            } else {
                let text = self.text(entry, key);
                text.and_then(|text| self.found(header_source(text, key, entry)))
            };
            match (name, source) {
                (Some(name), Some(source)) => set.push((name, source)),
                _ => complete = false,
            }
        }
        complete.then_some(set)
    }

    /// `{ value = … }`, `{ env = … }` and `{ file = … }` are the same for everybody; `{ basic = …, password = … }` are
    /// credentials.
    fn source_in_table(
        &mut self,
        table: &Table<'_>,
        key: &str,
        entry: &Node,
    ) -> Option<HeaderSource> {
        let whole = format!("set.{key}");
        let hint = "write { value = \"…\" }, { env = \"NAME\" }, { file = \"/path\" }, or { basic = \"user\", \
                    password = { env = \"NAME\" } }";
        let one_of = [entry.get("value"), entry.get("env"), entry.get("file")];
        let constants = one_of.iter().flatten().count();
        match (constants, entry.get("basic"), entry.get("password")) {
            (1, None, None) => {
                // What it says, or where it is said.
                let node = entry.get("value").unwrap_or(entry);
                let secret = self.sourced(node, table, &whole, "a header must have a value")?;
                self.constant(secret, key, entry)
            }
            (0, Some(user), Some(password)) => {
                let password = self.secret(password, table, &format!("{whole}.password"));
                let text = self.text(user, "basic")?;
                let source = HeaderSource::read(text).filter(is_name);
                if source.is_none() {
                    self.problem(
                        Problem::new(&user.origin, "`basic` is no source of a name")
                            .hint("one of user, subject, email, name, or \"claims.…\""),
                    );
                }
                Some(HeaderSource::Basic(Box::new(source?), password?))
            }
            _ => {
                self.problem(
                    Problem::new(&entry.origin, format!("`{key}` has not exactly one source"))
                        .hint(hint),
                );
                None
            }
        }
    }

    /// What is the same for everybody must be a header's value as it stands.
    fn constant(&mut self, value: Secret, key: &str, entry: &Node) -> Option<HeaderSource> {
        let text = value.expose();
        let is_value = text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            && text.trim_matches(' ').len() == text.len()
            && text.len() <= LONGEST_CONSTANT;
        if !is_value {
            self.problem(
                Problem::new(&entry.origin, format!("`{key}` cannot stand in a header")).hint(
                    "printable ASCII without spaces at its ends, and no longer than 8192 bytes",
                ),
            );
            return None;
        }
        Some(HeaderSource::Constant(value))
    }
}

/// What most servers take for a line.
const LONGEST_CONSTANT: usize = 8_192;

/// Whether credentials can hold it: `user_id` has a colon, which would end the name.
fn is_name(source: &HeaderSource) -> bool {
    matches!(
        source,
        HeaderSource::User
            | HeaderSource::Subject
            | HeaderSource::Email
            | HeaderSource::Name
            | HeaderSource::Claim(_)
    )
}

/// What `max_bytes` may be. Servers rarely take more than the upper end in all headers together.
const MAX_BYTES: RangeInclusive<i64> = 1_024..=262_144;

/// A header's name as people write it.
fn as_written(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

impl HeaderSettings {
    /// The name of the first header that has this source.
    pub(super) fn name_of(&self, source: &HeaderSource) -> Option<String> {
        let mut identity = self.identity.iter();
        let (name, _) = identity.find(|(_, other)| other == source)?;
        Some(as_written(name))
    }
}

/// Whether apps believe of it whence or whither a request goes. `X-Forwarded-User` and its like are about a person.
fn is_of_the_way(lower: &str) -> bool {
    forwarding::is_forwarding(lower) && !ReservedNames::new(&[]).contains(lower)
}

/// Names that frame a message, belong to one hop, or are made by the gate: to write them would let a
/// claim decide where a request ends or what the app believes of the connection.
const REFUSED_NAMES: [&str; 21] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Whether no configuration may set the header of this name, in lower case.
pub(in crate::config) fn is_refused(lower: &str) -> bool {
    REFUSED_NAMES.contains(&lower) || is_of_the_way(lower) || lower.starts_with("sec-")
}

pub(super) fn header_name(key: &str, entry: &Node) -> Result<HeaderName, Problem> {
    let problem = Problem::new(&entry.key_origin, format!("`{key}` cannot be set"));
    // Upstreams take `X_User` and `X.User` for `X-User`, so one spelling is enough.
    let is_plain = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let lower = key.to_ascii_lowercase();
    if !is_plain {
        return Err(problem.hint("a header's name is letters, digits and dashes, as in X-Campus"));
    }
    if is_refused(&lower) {
        return Err(problem
            .hint("the connection depends on it; choose a name of your own, such as X-Campus"));
    }
    HeaderName::from_bytes(lower.as_bytes())
        .map_err(|_| problem.hint("a header's name is letters, digits and dashes"))
}

const SOURCES: [(&str, HeaderSource); 14] = [
    ("user", HeaderSource::User),
    ("user_id", HeaderSource::UserId),
    ("subject", HeaderSource::Subject),
    ("email", HeaderSource::Email),
    ("name", HeaderSource::Name),
    ("groups", HeaderSource::Groups),
    ("provider", HeaderSource::Provider),
    ("picture", HeaderSource::Picture),
    ("access_token", HeaderSource::AccessToken),
    ("id_token", HeaderSource::IdToken),
    ("scopes", HeaderSource::Scopes),
    ("client", HeaderSource::Client),
    ("credential", HeaderSource::Credential),
    ("assertion", HeaderSource::Assertion),
];

impl HeaderSource {
    /// The source of this name. Anything else is a literal, and may be a secret.
    pub(in crate::config) fn read(text: &str) -> Option<Self> {
        let mut sources = SOURCES.iter();
        if let Some((_, source)) = sources.find(|(name, _)| *name == text) {
            return Some(source.clone());
        }
        let path = text.strip_prefix("claims.")?;
        is_claim_path(path).then(|| Self::Claim(path.to_owned()))
    }
}

/// `key` is the header's name. What it was set to is not repeated: people write constants, which may be secrets.
fn header_source(text: &str, key: &str, entry: &Node) -> Result<HeaderSource, Problem> {
    if let Some(source) = HeaderSource::read(text) {
        return Ok(source);
    }
    let problem = Problem::new(
        &entry.origin,
        format!("`{key}` is set to nothing a header can show"),
    );
    if text.starts_with("claims.") {
        return Err(
            problem.hint("names and numbers joined by dots, as in \"claims.campus.0.name\"")
        );
    }
    let names: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
    Err(match spelling::nearest(text, names.iter().copied()) {
        Some(nearest) => problem.hint(format!("did you mean \"{nearest}\"?")),
        None => problem.hint(format!("one of {}, or \"claims.…\"", names.join(", "))),
    })
}
