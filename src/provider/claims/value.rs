//! Finds values in a provider's answer, and reads them as text, names, addresses or booleans. Pure.

use serde_json::{Map, Value};

use super::MAX_GROUP;
use crate::{identity::Withheld, text::Text};

/// The value at `path`: keys and list indices joined by dots. A key that has dots itself
/// (`https://example.com/roles`) is found too; the longest fitting key wins. Null is nothing: what a provider does not say
/// it should leave out (OpenID Connect Core §5.3.2), and some write null instead.
pub fn find<'v>(claims: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    at(claims, path).filter(|value| !value.is_null())
}

fn at<'v>(claims: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    // No path; an answer may have a member without a name all the same.
    if path.is_empty() {
        return None;
    }
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| {
        let (key, rest) = (&path[..dot], &path[dot + 1..]);
        below(claims.get(key)?, rest)
    })
}

fn below<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => at(members, path),
        Value::Array(list) => {
            let (index, rest) = match path.split_once('.') {
                Some((index, rest)) => (index, Some(rest)),
                None => (path, None),
            };
            let element = list.get(index.parse::<usize>().ok()?)?;
            rest.map_or(Some(element), |rest| below(element, rest))
        }
        _ => None,
    }
}

/// Whether `claims` say that what stands at `path` is kept elsewhere (Core §5.6.2), or, in one vendor's
/// words for the same, that there are groups and too many of them for a token. That is not having none.
pub(in crate::provider) fn withheld(claims: &Map<String, Value>, path: &str) -> Option<Withheld> {
    if find(claims, path).is_some() {
        return None;
    }
    let first = path.split('.').next().unwrap_or(path);
    let elsewhere = claims.get("_claim_names").and_then(Value::as_object);
    let has_groups = claims.get("hasgroups").is_some_and(is_true);
    let is_elsewhere =
        elsewhere.is_some_and(|names| names.contains_key(path) || names.contains_key(first));
    // No claim but this one is kept elsewhere because of its size.
    if first == "groups" {
        (is_elsewhere || has_groups).then_some(Withheld::TooMany)
    } else {
        is_elsewhere.then_some(Withheld::Elsewhere)
    }
}

/// What stands at `path`, if it is text, or a number, that a header line can hold and that is not too long.
pub(super) fn text(claims: &Map<String, Value>, path: &str, limit: usize) -> Option<Text> {
    let text = scalar(find(claims, path)?)?;
    (fits(&text, limit) && !text.trim().is_empty()).then(|| Text::from(text))
}

/// The same claims with null in the place of each of these values, which are the map's own.
pub(super) fn copy_without(claims: &Map<String, Value>, hidden: &[&Value]) -> Map<String, Value> {
    claims
        .iter()
        .map(|(name, value)| (name.clone(), value_without(value, hidden)))
        .collect()
}

fn value_without(value: &Value, hidden: &[&Value]) -> Value {
    if hidden.iter().any(|hidden| std::ptr::eq(*hidden, value)) {
        return Value::Null;
    }
    match value {
        Value::Object(members) => Value::Object(copy_without(members, hidden)),
        Value::Array(list) => list
            .iter()
            .map(|value| value_without(value, hidden))
            .collect(),
        other => other.clone(),
    }
}

/// Text or a number in decimal: ids are numbers at some providers. A number that JSON's reader could
/// only keep as a float is refused, because two ids would become one.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

/// What a list can name: text, whole numbers and truth, alone or in a list. An object is no name.
pub(super) fn values(value: &Value) -> Vec<String> {
    let one = |value: &Value| match value {
        Value::Bool(truth) => Some(truth.to_string()),
        other => scalar(other),
    };
    match value {
        Value::Array(list) => list.iter().filter_map(one).collect(),
        single => one(single).into_iter().collect(),
    }
}

/// A claim as a header carries it: text, number or truth as it is, lists and objects as JSON.
pub(super) fn header_text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    (!text.is_empty()).then_some(text)
}

/// Some providers write truth as text. Whatever else is there is no vouching.
pub(in crate::provider) fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(truth) => *truth,
        Value::String(text) => text == "true",
        _ => false,
    }
}

/// What the list `list` reads in a claim: names, and how many more stand there that are none.
pub(super) fn names(list: &str, value: &Value) -> (Vec<String>, u32) {
    match list {
        "groups" => groups(value),
        _ => (values(value), 0),
    }
}

/// The groups at a claim that a session and a header can hold, and how many more stand there that are none: no text, too long, or with
/// control characters.
pub(super) fn groups(value: &Value) -> (Vec<String>, u32) {
    let mut names = group_names(value);
    let empty = names.iter().filter(|name| name.is_empty()).count();
    names.retain(|name| !name.is_empty() && fits(name, MAX_GROUP));
    let unusable = count(value).saturating_sub(empty + names.len());
    (names, u32::try_from(unusable).unwrap_or(u32::MAX))
}

/// How many there are, whether they are names or not.
fn count(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Array(list) => list.iter().filter(|value| !value.is_null()).count(),
        Value::Object(members) => members.len(),
        _ => 1,
    }
}

fn group_names(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().filter_map(scalar).collect(),
        Value::Object(members) => members.keys().cloned().collect(),
        single => scalar(single).into_iter().collect(),
    }
}

/// One local part, one `@`, one domain, and nothing that could make two readers see two addresses
/// (`a@evil.example@corp.example` has passed for both).
pub(super) fn is_email(text: &str) -> bool {
    let strange = |letter: char| {
        letter.is_whitespace() || letter.is_control() || "\"'<>()[],;:\\".contains(letter)
    };
    match text.split_once('@') {
        Some((local, domain)) => {
            !local.is_empty()
                && !domain.is_empty()
                && !domain.contains('@')
                && !text.contains(strange)
        }
        None => false,
    }
}

pub(super) fn fits(text: &str, limit: usize) -> bool {
    text.len() <= limit && !text.contains(char::is_control)
}
