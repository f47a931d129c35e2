//! `allow`: which users of a provider may pass.

use super::{
    super::{
        problem::{Origin, Problem},
        schema::{Kind as Form, Names},
        tree::{Node, Value},
    },
    Reader, Table,
    provider_type::foreign,
    request::is_claim_path,
};
use crate::{
    access::{Allow, AllowList},
    provider::{catalog::KINDS, kind::Kind},
    spelling,
};

/// The lists that every kind has, beside `claims`.
const EVERYWHERE: [&str; 3] = ["emails", "domains", "users"];

/// Bytes of one entry; what a provider reports beyond that is dropped too.
const LONGEST_ENTRY: usize = 255;

impl Reader<'_> {
    pub(super) fn allow(
        &mut self,
        table: &Table<'_>,
        kind: Option<&'static Kind>,
    ) -> Option<Allow> {
        let say = ways(kind);
        let (written, inner) = table.word_or_table("allow", vec!["anyone"]);
        let claims = ask_for_lists(&inner);
        let Some(node) = written else {
            self.missing(table, "allow", &say);
            return None;
        };
        match &node.value {
            Value::Text(text) if text.as_str() == "anyone" => return Some(Allow::Anyone),
            Value::Table(_) => {}
            _ => {
                self.problem(
                    Problem::new(&node.origin, "`allow` does not say who may pass")
                        .hint(format!("write {say}")),
                );
                return None;
            }
        }
        let (mut lists, mut complete) = self.allow_lists(node, claims, kind);
        if complete && lists.is_empty() {
            complete = false;
            self.problem(
                Problem::new(&node.origin, "`allow` is empty: nobody could pass")
                    .hint(format!("write {say}")),
            );
        }
        if logins_ignore_case(kind, table) {
            for list in lists.iter_mut().filter(|list| list.key == "users") {
                list.ignore_case();
            }
        }
        complete.then_some(Allow::Lists(lists))
    }

    /// The lists of a table: those of `kind`, or of any where that is not known. Whether all of them could be read.
    pub(super) fn allow_lists(
        &mut self,
        node: &Node,
        claims: &[(String, Node)],
        kind: Option<&'static Kind>,
    ) -> (Vec<AllowList>, bool) {
        let mut lists = Vec::new();
        let mut complete = true;
        for (key, entry) in node.entries() {
            if key == "claims" {
                let read = self.claim_lists(entry, claims, "claims", &mut lists);
                complete &= read.is_some();
            } else if has_list(kind, key) {
                match self.allow_list(entry, key, kind) {
                    Some(list) => lists.push(list),
                    None => complete = false,
                }
            } else {
                // Whoever asked for another key there says what is wrong with it.
                complete &= kind.is_none();
                if let Some(kind) = kind
                    && KINDS
                        .iter()
                        .any(|other| other.allow.contains(&key.as_str()))
                {
                    self.problem(foreign(key, entry, kind, |kind| {
                        kind.allow.contains(&key.as_str())
                    }));
                }
            }
        }
        (lists, complete)
    }

    fn allow_list(
        &mut self,
        node: &Node,
        key: &str,
        kind: Option<&'static Kind>,
    ) -> Option<AllowList> {
        let read = match key {
            "emails" => email,
            "domains" => domain,
            "hosted_domains" => hosted_domain,
            _ => plain,
        };
        let items = self.allow_entries(node, key)?;
        if items.is_empty() {
            // Left in, it would not count, and what was meant to narrow would not.
            self.refuse_empty(node, key);
            return None;
        }
        let mut entries = Vec::new();
        for (text, origin) in &items {
            let entry = read(text).and_then(|entry| one_of_the_known(entry, key, kind));
            let entry = entry.map_err(|hint| {
                Problem::new(origin, format!("`{text}` does not fit in `{key}`")).hint(hint)
            });
            entries.push(self.found(entry));
        }
        let mut list = AllowList {
            key: key.to_owned(),
            entries: entries.into_iter().collect::<Option<_>>()?,
            ignores_case: false,
        };
        if AllowList::always_ignores_case(key) {
            list.ignore_case();
        }
        Some(list)
    }

    /// `claims`: for each path a list. `realm_access.roles` without quotes is a table in a table to TOML,
    /// and means the same.
    fn claim_lists(
        &mut self,
        node: &Node,
        entries: &[(String, Node)],
        key: &str,
        lists: &mut Vec<AllowList>,
    ) -> Option<()> {
        if !matches!(node.value, Value::Table(_)) {
            return None;
        }
        if entries.is_empty() {
            self.problem(
                Problem::new(&node.origin, format!("`{key}` is an empty table"))
                    .hint("fill it, or take the key out"),
            );
            return None;
        }
        let mut complete = true;
        for (path, entry) in entries {
            let key = format!("{key}.{path}");
            let problem = if !is_claim_path(path) {
                Problem::new(&entry.key_origin, format!("`{path}` is no path to a claim"))
                    .hint("names and numbers joined by dots, as in \"realm_access.roles\"")
            } else if lists.iter().any(|list| list.key == key) {
                Problem::new(&entry.key_origin, format!("`{key}` is written twice"))
                    .hint("join the two lists")
            } else if matches!(entry.value, Value::Table(_)) {
                complete &= self
                    .claim_lists(entry, entry.entries(), &key, lists)
                    .is_some();
                continue;
            } else {
                match self.allow_list(entry, &key, None) {
                    Some(list) => lists.push(list),
                    None => complete = false,
                }
                continue;
            };
            complete = false;
            self.problem(problem);
        }
        complete.then_some(())
    }

    /// The entries of a list, numbers and truths as text; one alone stands for a list of one.
    fn allow_entries(&mut self, node: &Node, key: &str) -> Option<Vec<(String, Origin)>> {
        let scalar = |node: &Node| match node.value {
            Value::Integer(number) => Some((number.to_string(), node.origin.clone())),
            Value::Boolean(truth) => Some((truth.to_string(), node.origin.clone())),
            _ => None,
        };
        if let Some(entry) = scalar(node) {
            return Some(vec![entry]);
        }
        let Value::List(items) = &node.value else {
            let items = self.list(node, key)?.into_iter();
            return Some(
                items
                    .map(|item| (item.text.to_owned(), item.origin))
                    .collect(),
            );
        };
        let entries: Vec<_> = items
            .iter()
            .map(|item| {
                scalar(item).or_else(|| {
                    let text = self.text(item, key)?;
                    Some((text.to_owned(), item.origin.clone()))
                })
            })
            .collect();
        entries.into_iter().collect()
    }
}

impl AllowList {
    pub(super) fn ignore_case(&mut self) {
        self.ignores_case = true;
        for entry in &mut self.entries {
            entry.make_ascii_lowercase();
        }
    }
}

/// Asks a table for every list that there is. The entries of `claims`.
pub(super) fn ask_for_lists<'n>(table: &Table<'n>) -> &'n [(String, Node)] {
    for key in EVERYWHERE
        .iter()
        .chain(KINDS.iter().flat_map(|kind| kind.allow))
    {
        table.get(key, Form::Scalars);
    }
    table.map("claims", Names::Path, Form::Scalars)
}

/// Whether `users` names what ignores case. What the kind knows of its login names it does not know of
/// another claim that the operator takes for them.
fn logins_ignore_case(kind: Option<&Kind>, table: &Table<'_>) -> bool {
    let claims = table.node.get("claims");
    let is_moved = claims.is_some_and(|claims| claims.get("user").is_some());
    kind.is_some_and(|kind| kind.logins_ignore_case) && !is_moved
}

/// Whether a kind has a list; one that is not known is not held against the list as well.
pub(super) fn has_list(kind: Option<&Kind>, key: &str) -> bool {
    let known = |kind: &Kind| kind.allow.contains(&key);
    EVERYWHERE.contains(&key) || kind.map_or_else(|| KINDS.iter().any(|kind| known(kind)), known)
}

/// How one says who may pass: the kind's own ways first.
fn ways(kind: Option<&Kind>) -> String {
    let mut keys: Vec<&str> = kind.map_or(&[][..], |kind| kind.allow).to_vec();
    keys.extend(
        EVERYWHERE
            .iter()
            .filter(|key| !keys.contains(key))
            .copied()
            .collect::<Vec<_>>(),
    );
    format!(
        "allow = {{ … }} with lists of {} or claims; or allow = \"anyone\" for everybody who can sign in there",
        keys.join(", ")
    )
}

/// Checks an entry of a list that has but a few values.
fn one_of_the_known(entry: String, key: &str, kind: Option<&Kind>) -> Result<String, String> {
    let Some(values) = kind.and_then(|kind| kind.values(key)) else {
        return Ok(entry);
    };
    if values.contains(&entry.as_str()) {
        return Ok(entry);
    }
    Err(
        match (spelling::nearest(&entry, values.iter().copied()), values) {
            (Some(nearest), _) => format!("did you mean \"{nearest}\"?"),
            (None, [yes, no]) => format!("it is {yes} or {no}"),
            (None, _) => format!(
                "it is one of {}; what else an account says can be asked for in claims = {{ … }}",
                values.join(", ")
            ),
        },
    )
}

fn plain(text: &str) -> Result<String, String> {
    if text.trim() != text || text.contains(char::is_control) {
        return Err("take out the blanks around it, and what is not printable".to_owned());
    }
    if text.len() > LONGEST_ENTRY {
        return Err(format!("an entry has at most {LONGEST_ENTRY} bytes"));
    }
    Ok(text.to_owned())
}

fn email(text: &str) -> Result<String, String> {
    match text.rsplit_once('@') {
        Some(("" | "*", domain)) => {
            Err(format!("for a whole domain write domains = [\"{domain}\"]"))
        }
        Some((_, domain)) if !domain.is_empty() && !text.contains(char::is_whitespace) => {
            Ok(text.to_owned())
        }
        _ => Err("write a whole address, as in \"ann@example.com\"".to_owned()),
    }
}

fn domain(text: &str) -> Result<String, String> {
    if let Some((_, domain)) = text.rsplit_once('@') {
        return Err(format!("write the domain alone: \"{domain}\""));
    }
    if text == "*" {
        return Err("for everybody who can sign in write allow = \"anyone\"".to_owned());
    }
    if let Some(domain) = text.strip_prefix('*') {
        return Err(format!("a leading dot means subdomains: \"{domain}\""));
    }
    let name = text.strip_prefix('.').unwrap_or(text);
    let is_domain = name.split('.').all(|label| {
        !label.is_empty()
            && !label.contains(|c: char| c.is_whitespace() || c.is_control() || "/:?#,".contains(c))
    });
    if is_domain {
        Ok(text.to_owned())
    } else {
        Err("as in \"example.com\", or \".example.com\" for what is below it".to_owned())
    }
}

/// A domain that an organisation has at its provider: itself, never what is below it.
fn hosted_domain(text: &str) -> Result<String, String> {
    match text.strip_prefix(['.', '*']) {
        Some(_) => Err("write each domain by itself; there are no subdomains here".to_owned()),
        None => domain(text).map_err(|_| "as in \"example.com\"".to_owned()),
    }
}
