//! The schema, held against files that are right and files that are wrong.

use std::fs;

use super::*;
use crate::config::tests::root;

/// What `value` breaks of `schema`, each with its place. It knows the words that the schema uses.
fn broken(value: &Json, schema: &Json, place: &str, out: &mut Vec<String>) {
    let is = |name: &Json| match name.as_str().unwrap_or_default() {
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is no type that the schema uses"),
    };
    for (word, rule) in schema.as_object().expect("a schema is an object") {
        let holds = match word.as_str() {
            "type" => rule
                .as_array()
                .map_or_else(|| is(rule), |any| any.iter().any(is)),
            "enum" => rule.as_array().unwrap().contains(value),
            "pattern" if rule == "^claims[.]" => value
                .as_str()
                .is_none_or(|text| text.starts_with("claims.")),
            "pattern" => value.as_str().is_none_or(|text| {
                let digits = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
                digits.len() < text.len() && ["ms", "s", "m", "h", "d"].contains(&digits)
            }),
            "minimum" => value
                .as_i64()
                .is_none_or(|number| number >= rule.as_i64().unwrap()),
            "maximum" => value
                .as_i64()
                .is_none_or(|number| number <= rule.as_i64().unwrap()),
            "minProperties" => value.as_object().is_none_or(|table| !table.is_empty()),
            "maxProperties" => value.as_object().is_none_or(|table| table.len() < 2),
            "anyOf" => rule.as_array().unwrap().iter().any(|schema| {
                let mut inner = Vec::new();
                broken(value, schema, place, &mut inner);
                inner.is_empty()
            }),
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    broken(item, rule, place, out);
                }
                true
            }
            "additionalProperties" => {
                let known = &schema["properties"];
                for (key, value) in value.as_object().into_iter().flatten() {
                    let place = format!("{place}.{key}");
                    match known.get(key).unwrap_or(rule) {
                        Json::Bool(false) => out.push(format!("{place} is unknown")),
                        schema => broken(value, schema, &place, out),
                    }
                }
                true
            }
            "properties" | "description" | "default" | "title" | "$schema" => true,
            other => panic!("{other} is no word that the check knows"),
        };
        if !holds {
            out.push(format!("{place} breaks {word}"));
        }
    }
}

fn faults(toml: &str) -> Vec<String> {
    let file: toml::Table = toml.parse().unwrap();
    let mut faults = Vec::new();
    let file = serde_json::to_value(file).unwrap();
    broken(&file, &json_schema(), "", &mut faults);
    faults
}

#[test]
fn files_that_load_fit_the_schema() {
    for file in [
        "config.example.toml",
        "tests/config/good/everything.toml",
        "tests/config/good/smallest.toml",
    ] {
        let source = fs::read_to_string(root().join(file)).unwrap();
        assert_eq!(faults(&source), Vec::<String>::new(), "{file}");
    }
}

/// As an editor takes it with every example uncommented.
#[test]
fn the_whole_manual_fits_the_schema() {
    let manual = crate::config::manual_tests::uncommented();
    assert_eq!(faults(&manual), Vec::<String>::new());
}

/// A table has the text above its header, and never that of one of its keys.
#[test]
fn tables_are_explained_by_what_stands_above_them() {
    let schema = json_schema();
    let text = |path: &[&str]| {
        let mut found = &schema;
        for level in path {
            found = &found["properties"][level];
            if found["items"].is_object() && path.last() != Some(level) {
                found = &found["items"];
            }
        }
        found["description"].as_str().map(str::to_owned)
    };
    for (path, start) in [
        (&["issuer"][..], "With this table, which may be empty"),
        (&["issuer", "clients"], "A client that you know."),
        (&["api_tokens"], "With this table users can make"),
        (&["routes"], "Rules for some paths."),
        (&["upstreams"], "Apps beside `upstream`"),
        (&["audit"], "The audit trail"),
        (&["tls"], "TLS on `listen`"),
    ] {
        let text = text(path).unwrap_or_default();
        assert!(text.starts_with(start), "{path:?}: {text}");
    }
    assert_eq!(text(&["session"]), None);
    let client = &schema["properties"]["issuer"]["properties"]["clients"]["items"]["properties"];
    for key in ["client_credentials", "introspect"] {
        let property = &client[key];
        let text = property["description"].as_str().unwrap_or_default();
        assert!(
            text.contains("Default: true without redirect_uris"),
            "{text}"
        );
        assert!(property["default"].is_null(), "{property}");
    }
}

#[test]
fn what_is_wrong_does_not_fit() {
    for (toml, fault) in [
        ("upstraem = 'a'", ".upstraem is unknown"),
        ("workers = 'two'", ".workers breaks type"),
        ("workers = 0", ".workers breaks minimum"),
        (
            "[session]\nlifetime = '7 days'",
            ".session.lifetime breaks pattern",
        ),
        (
            "[session]\nsecret = { path = 'x' }",
            ".session.secret breaks anyOf",
        ),
        (
            "[providers.a]\nisuer = 'x'",
            ".providers.a.isuer is unknown",
        ),
        (
            "[providers.a]\ntype = 'githb'",
            ".providers.a.type breaks enum",
        ),
        (
            "[providers.a]\nallow = 'everyone'",
            ".providers.a.allow breaks anyOf",
        ),
        ("[[routes]]\naccess = 'pubic'", ".routes.access breaks enum"),
        (
            "[limits]\nhttp2_stream = 1",
            ".limits.http2_stream is unknown",
        ),
        (
            "[headers.set]\nX-A = 'usr'",
            ".headers.set.X-A breaks anyOf",
        ),
        ("session = 'cookie'", ".session breaks type"),
    ] {
        assert_eq!(faults(toml), [fault], "{toml}");
    }
}

/// Each key that holds a value is explained, and where a default is one value, it is told and fits.
#[test]
fn every_key_is_explained_and_every_default_fits() {
    fn walk(schema: &Json, place: &str, seen: &mut usize) {
        let inner = [&schema["additionalProperties"], &schema["items"]];
        let choices = schema["anyOf"].as_array().into_iter().flatten();
        for schema in inner
            .into_iter()
            .chain(choices)
            .filter(|inner| inner.is_object())
        {
            walk(schema, place, seen);
        }
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}.{key}");
            let is_source = matches!(key.as_str(), "env" | "file");
            let is_table = !property["properties"].is_null() || property["items"].is_object();
            if !is_source && !is_table && key != "providers" {
                assert!(
                    property["description"].is_string(),
                    "{place} is not explained"
                );
                *seen += 1;
            }
            if !property["default"].is_null() {
                let mut out = Vec::new();
                broken(&property["default"], property, &place, &mut out);
                assert_eq!(out, Vec::<String>::new());
            }
            walk(property, &place, seen);
        }
    }
    let mut seen = 0;
    walk(&json_schema(), "", &mut seen);
    assert!(seen > 80, "{seen} keys");
    let schema = json_schema();
    let lifetime = &schema["properties"]["session"]["properties"]["lifetime"];
    assert_eq!(lifetime["default"], "7d");
    let text = lifetime["description"].as_str().unwrap();
    assert!(
        text.starts_with("From the login to the end of the session"),
        "{text}"
    );
    assert!(
        !schema.to_string().contains("SIDEGATE_"),
        "names are for the environment"
    );
}
