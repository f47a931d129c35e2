//! The keys as a JSON Schema (draft 7, which TOML editors use), each with its text from the manual.

use serde_json::{Map, Value as Json, json};

use super::{
    check::Reader,
    manual,
    schema::{Key, Keys, Kind, Names, Shape},
};

/// The schema of a configuration file.
pub fn json_schema() -> Json {
    let mut schema = table(&Reader::describe(), &[]);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "The configuration of sidegate".into();
    schema
}

/// A table with `keys` and no others. `path` leads to it, a `*` standing for each name that the operator chooses.
fn table(keys: &Keys, path: &[&str]) -> Json {
    let known = keys
        .all()
        .map(|key| (key.name.to_owned(), property(&key, path)));
    let properties: Map<String, Json> = known.collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn property(key: &Key, path: &[&str]) -> Json {
    let path = &[path, &[key.name]].concat();
    let below = |keys: &Keys| table(keys, &[path, &["*"][..]].concat());
    let mut property = match &key.shape {
        Shape::Value(kind) => value(kind),
        Shape::Table(keys) => table(keys, path),
        Shape::WordOrTable(words, keys) => {
            json!({ "anyOf": [{ "enum": words }, table(keys, path)] })
        }
        // A path without quotes is tables in tables to TOML.
        Shape::Map(Names::Path, kind) => json!({
            "type": "object",
            "additionalProperties": { "anyOf": [value(kind), { "type": "object" }] },
        }),
        Shape::Map(_, kind) => json!({ "type": "object", "additionalProperties": value(kind) }),
        Shape::Named(keys) => json!({ "type": "object", "additionalProperties": below(keys) }),
        Shape::Tables(keys) => json!({ "type": "array", "items": below(keys) }),
    };
    let text = match key.shape {
        Shape::Table(_) | Shape::Tables(_) | Shape::Named(_) => manual::text_of_table(path),
        Shape::Value(_) | Shape::WordOrTable(..) | Shape::Map(..) => manual::text_of(path),
    };
    if let Some(text) = text {
        property["description"] = text.into();
    }
    if let Some(default) = &key.default {
        property["default"] = default.clone();
    }
    property
}

fn value(kind: &Kind) -> Json {
    let scalar = json!(["string", "integer", "boolean"]);
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::HeaderSource(words) => {
            let source = json!({
                "anyOf": [{ "enum": words }, { "type": "string", "pattern": "^claims[.]" }],
            });
            let constant = json!({
                "type": "object",
                "properties": {
                    "value": {
                        "type": "string",
                        "description": "The header's value, the same for everybody.",
                    },
                    "env": { "type": "string" },
                    "file": { "type": "string" },
                },
                "additionalProperties": false,
                "minProperties": 1,
                "maxProperties": 1,
            });
            let basic = json!({
                "type": "object",
                "properties": {
                    "basic": described(&source, "The name in Basic credentials."),
                    "password": described(
                        &json!({ "anyOf": secret() }),
                        "Their password, the same for everybody.",
                    ),
                },
                "additionalProperties": false,
                "minProperties": 2,
                "maxProperties": 2,
            });
            json!({ "anyOf": [source, constant, basic] })
        }
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Texts => json!({ "type": ["string", "array"], "items": { "type": "string" } }),
        Kind::Duration => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Number(range) => {
            json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() })
        }
        Kind::Scalar => json!({ "type": scalar }),
        Kind::Scalars => json!({
            "type": ["string", "integer", "boolean", "array"],
            "items": { "type": scalar },
        }),
        Kind::Address => json!({ "anyOf": secret() }),
        Kind::Secrets => {
            let [text, source] = secret();
            let list = json!({ "type": "array", "items": { "anyOf": secret() } });
            json!({ "anyOf": [text, source, list] })
        }
    }
}

fn described(schema: &Json, description: &str) -> Json {
    let mut schema = schema.clone();
    schema["description"] = description.into();
    schema
}

/// The text itself, or where it is.
fn secret() -> [Json; 2] {
    let source = json!({
        "type": "object",
        "properties": { "env": { "type": "string" }, "file": { "type": "string" } },
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    });
    [json!({ "type": "string" }), source]
}

#[cfg(test)]
mod tests;
