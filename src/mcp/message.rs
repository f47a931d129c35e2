//! A JSON-RPC 2.0 message: only the parts that say what it calls. Pure.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

/// What a message says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Message {
    /// Comes back in the answer.
    pub(super) id: Option<Value>,
    /// What it calls; none where it answers.
    pub(super) method: Option<String>,
    /// Of what.
    pub(super) parameters: Parameters,
}

/// What a call is about.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parameters {
    /// Of a tool or a prompt.
    pub(super) name: Option<String>,
    /// Of a resource.
    pub(super) uri: Option<String>,
}

/// Reads the one message of a body, or all of an array of them where `may_be_several`.
pub(super) fn read(body: &[u8], may_be_several: bool) -> Option<Vec<Message>> {
    // What serde_json passes over it does not look at: a reader that does may see other letters there.
    let text = std::str::from_utf8(body).ok()?;
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if is_array && may_be_several {
        let all: Vec<Message> = serde_json::from_str(text).ok()?;
        return (1..=MOST_MESSAGES).contains(&all.len()).then_some(all);
    }
    serde_json::from_str(text).ok().map(|message| vec![message])
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Message;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a message of JSON-RPC")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
                let (mut names, mut message) = (Names::default(), Message::default());
                while let Some(name) = names.next(&mut map)? {
                    match &*name {
                        "id" => message.id = map.next_value()?,
                        "method" => message.method = Some(map.next_value()?),
                        "params" => {
                            let parameters: Option<Parameters> = map.next_value()?;
                            message.parameters = parameters.unwrap_or_default();
                        }
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(message)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Parameters;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("parameters by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
                let (mut names, mut parameters) = (Names::default(), Parameters::default());
                while let Some(name) = names.next(&mut map)? {
                    match &*name {
                        // Of some calls they are of another type; then they name nothing that has a rule.
                        "name" => parameters.name = text(map.next_value()?),
                        "uri" => parameters.uri = text(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(parameters)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// The names of an object's members. Each stands there once, whatever a reader makes of case, and has no letters that some
/// readers take for others.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn next<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<Option<String>, A::Error> {
        let Some(name) = map.next_key::<String>()? else {
            return Ok(None);
        };
        let plain = name.to_ascii_lowercase();
        if !name.bytes().all(|byte| byte.is_ascii_graphic())
            || self.0.len() == MOST_MEMBERS
            || self.0.contains(&plain)
        {
            return Err(A::Error::custom(
                "a member stands twice, or has no plain name",
            ));
        }
        if KNOWN.contains(&&*plain) && plain != name {
            return Err(A::Error::custom("a member has not the name that it means"));
        }
        self.0.push(plain);
        Ok(Some(name))
    }
}

/// What decides.
const KNOWN: [&str; 5] = ["id", "method", "params", "name", "uri"];
/// The members of a message, and of its parameters: each is compared with all before it.
const MOST_MEMBERS: usize = 64;
/// The messages of one body.
const MOST_MESSAGES: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Option<Message> {
        read(text.as_bytes(), false).and_then(|mut all| all.pop())
    }

    #[test]
    fn what_a_message_calls_is_read() {
        let call = one(
            r#" {"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"name":1,"Name":2},"_meta":{}}}"#,
        );
        let call = call.unwrap();
        assert_eq!(call.method.as_deref(), Some("tools/call"));
        assert_eq!(call.parameters.name.as_deref(), Some("echo"));
        assert_eq!(call.id, Some(json!(7)));
        let answer = one(r#"{"jsonrpc":"2.0","id":"a","result":{"method":"tools/call"}}"#);
        assert_eq!(answer.unwrap().method, None);
        // Escapes are read before names are compared.
        let escaped = one(r#"{"\u006dethod":"tools/call"}"#).unwrap();
        assert_eq!(escaped.method.as_deref(), Some("tools/call"));
        assert_eq!(
            read(b"[{\"method\":\"a\"},{\"method\":\"b\"}]", true)
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn what_two_readers_take_for_two_things_is_refused() {
        for text in [
            "",
            "{",
            "[]",
            "[{\"method\":\"a\"}]",
            "null",
            "\"tools/call\"",
            "{} {}",
            "{\"method\":1}",
            "{\"method\":null}",
            "{\"params\":[]}",
            r#"{"method":"ping","method":"tools/call"}"#,
            r#"{"method":"ping","\u006dethod":"tools/call"}"#,
            r#"{"method":"ping","Method":"tools/call"}"#,
            r#"{"Method":"tools/call"}"#,
            r#"{"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            r#"{"method":"tools/call","params":{"name":"a","NAME":"b"}}"#,
            r#"{"method":"tools/call","params":{"name":"a"},"params":{"name":"b"}}"#,
            "{\"method\":\"tools/call\",\"param\u{17f}\":{\"name\":\"b\"}}",
            r#"{"method":"a","x":1,"X":2}"#,
            r#"{"method":"tools/call","params":{"name":"a","name\u0000":"b"}}"#,
            "\u{feff}{}",
            "{\"method\":\"a\",}",
            "{\"method\":\"a\" /* b */}",
        ] {
            assert_eq!(read(text.as_bytes(), false), None, "{text}");
        }
        assert_eq!(read(b"[]", true), None);
        assert_eq!(read(b"{\"method\":\"\xff\"}", true), None);
        assert_eq!(read(b"{\"method\":\"a\",\"x\":\"\xff\"}", true), None);
        let deep = format!("{{\"params\":{{\"a\":{}", "[".repeat(100_000));
        assert_eq!(read(deep.as_bytes(), true), None);
        let many: Vec<_> = (0..100).map(|number| format!("\"n{number}\":1")).collect();
        assert_eq!(one(&format!("{{{}}}", many.join(","))), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>, several: bool) {
            let _ = read(&body, several);
        }
    }
}
