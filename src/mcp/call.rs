//! Checks a request to an MCP server against the route's rules for tools. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, Method, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use serde_json::{Value, json};

use super::{
    message::{self, Message},
    rules::ToolRules,
};

/// A request that came.
pub struct Called<'a> {
    /// How.
    pub method: &'a Method,
    /// With what.
    pub headers: &'a HeaderMap,
    /// All of its body.
    pub body: &'a [u8],
}

/// Why it goes no further: an error of JSON-RPC 2.0 (§5.1), with the status that carries it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// What is told, and logged.
    pub message: &'static str,
    code: i64,
    id: Value,
    data: Option<Value>,
}

impl Refusal {
    fn new(status: StatusCode, code: i64, message: &'static str) -> Self {
        Self {
            status,
            message,
            code,
            id: Value::Null,
            data: None,
        }
    }

    fn bad(code: i64, message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    fn to(mut self, message: &Message) -> Self {
        let id = message.id.clone();
        self.id = id
            .filter(|id| id.is_string() || id.is_number())
            .unwrap_or_default();
        self
    }

    /// What is sent.
    pub fn body(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        json!({ "jsonrpc": "2.0", "id": self.id, "error": error })
    }
}

/// Whether what is called may be.
///
/// # Errors
/// Why not.
pub fn judge(rules: &ToolRules, called: &Called<'_>) -> Result<(), Refusal> {
    let Called {
        method,
        headers,
        body,
    } = *called;
    if *method != Method::POST {
        // Streams of older revisions begin and end so, and carry no call.
        let is_older = [Method::GET, Method::HEAD, Method::DELETE].contains(method);
        return match (is_older, rules.older_versions && body.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => Err(older(headers)),
            (false, _) => Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                INVALID_REQUEST,
                "calls are sent by POST",
            )),
        };
    }
    if !is_json(headers) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            INVALID_REQUEST,
            "a call is sent as application/json, and not compressed",
        ));
    }
    let is_current = speaks_current(headers);
    if !is_current && !rules.older_versions {
        let refusal = older(headers);
        let message = message::read(body, false).and_then(|mut all| all.pop());
        return Err(match message {
            Some(message) => refusal.to(&message),
            None => refusal,
        });
    }
    let messages = message::read(body, !is_current).ok_or_else(|| {
        Refusal::bad(
            PARSE_ERROR,
            "the body is no message of JSON-RPC, or can be read in two ways",
        )
    })?;
    for message in &messages {
        if is_current && !do_headers_agree(headers, message) {
            let mismatch = "Mcp-Method or Mcp-Name is not what the body says";
            return Err(Refusal::bad(HEADER_MISMATCH, mismatch).to(message));
        }
        if message.method.as_deref() == Some(CALL) {
            let name = message.parameters.name.as_deref();
            let name = name.ok_or_else(|| {
                Refusal::bad(INVALID_PARAMS, "the call names no tool").to(message)
            })?;
            if !rules.permits(name) {
                let forbidden = "this tool may not be called here";
                let refusal = Refusal::new(StatusCode::FORBIDDEN, INVALID_PARAMS, forbidden);
                return Err(refusal.to(message));
            }
        }
    }
    Ok(())
}

/// A revision whose headers say nothing, or that nobody names.
fn older(headers: &HeaderMap) -> Refusal {
    let requested =
        one(headers, VERSION).map(|version| version.chars().take(20).collect::<String>());
    Refusal {
        data: Some(json!({ "supported": [FIRST], "requested": requested })),
        ..Refusal::bad(
            UNSUPPORTED_VERSION,
            "This server checks which tools are called, so it needs protocol 2026-07-28 or later. Its operator can accept earlier \
             ones with tools.older_versions = true.",
        )
    }
}

/// The only value of a header.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether it is said in a revision whose headers repeat what is called. Revisions are dates, and sort as texts do.
fn speaks_current(headers: &HeaderMap) -> bool {
    let version = one(headers, VERSION).unwrap_or_default();
    let is_date = version.len() == FIRST.len()
        && version
            .bytes()
            .zip(FIRST.bytes())
            .all(|(byte, like)| byte == like || (byte.is_ascii_digit() && like.is_ascii_digit()));
    is_date && version >= FIRST
}

fn do_headers_agree(headers: &HeaderMap, message: &Message) -> bool {
    let Some(method) = message.method.as_deref() else {
        return !headers.contains_key(METHOD) && !headers.contains_key(NAME);
    };
    if one(headers, METHOD) != Some(method) {
        return false;
    }
    let parameters = &message.parameters;
    let named = match method {
        CALL | "prompts/get" => &parameters.name,
        "resources/read" => &parameters.uri,
        _ => return true,
    };
    let header = one(headers, NAME).and_then(decoded);
    header.is_some() && header == *named
}

/// A value of a header: as it stands, or in Base64 where it has letters that a header cannot hold.
fn decoded(value: &str) -> Option<String> {
    let encoded = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    match encoded {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

/// Whether the body is JSON in UTF-8 (RFC 8259 §8.1) for whoever reads it.
fn is_json(headers: &HeaderMap) -> bool {
    let plain = !headers.contains_key(CONTENT_ENCODING);
    let kind = one(headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let mut parameters = parts.filter(|part| !part.is_empty());
    plain
        && is_json
        && parameters.all(|part| {
            let part = part.to_ascii_lowercase().replace('"', "");
            !part.starts_with("charset") || part == "charset=utf-8"
        })
}

const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
const CALL: &str = "tools/call";
/// The first revision whose headers repeat what is called.
const FIRST: &str = "2026-07-28";

// JSON-RPC 2.0 §5.1, and what the protocol adds.
const PARSE_ERROR: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;
const INVALID_PARAMS: i64 = -32_602;
const HEADER_MISMATCH: i64 = -32_020;
const UNSUPPORTED_VERSION: i64 = -32_022;

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::{super::rules::ToolPattern, *};

    fn rules(older_versions: bool) -> ToolRules {
        ToolRules {
            allow: vec![ToolPattern::parse("echo").unwrap()],
            deny: Vec::new(),
            older_versions,
        }
    }

    fn call(tool: &str) -> String {
        json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": { "name": tool } })
            .to_string()
    }

    /// The status and the code of the refusal, where there is one.
    fn judged(
        rules: &ToolRules,
        method: &Method,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<(u16, i64)> {
        let json = ("content-type", "application/json");
        let has_type = headers.iter().any(|(name, _)| *name == json.0);
        let headers: HeaderMap = headers
            .iter()
            .chain((!has_type).then_some(&json))
            .map(|(name, value)| {
                (
                    HeaderName::try_from(*name).unwrap(),
                    HeaderValue::try_from(*value).unwrap(),
                )
            })
            .collect();
        let called = Called {
            method,
            headers: &headers,
            body: body.as_bytes(),
        };
        judge(rules, &called)
            .err()
            .map(|refusal| (refusal.status.as_u16(), refusal.code))
    }

    const NOW: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
    const CALLS: (&str, &str) = ("mcp-method", "tools/call");

    #[test]
    fn headers_and_body_say_the_same_and_the_tool_is_allowed() {
        let post = |headers: &[(&str, &str)], body: &str| {
            judged(&rules(false), &Method::POST, headers, body)
        };
        let echo = ("mcp-name", "echo");
        assert_eq!(post(&[NOW, CALLS, echo], &call("echo")), None);
        let later = ("mcp-protocol-version", "2027-01-01");
        assert_eq!(post(&[later, CALLS, echo], &call("echo")), None);
        let encoded = ("mcp-name", "=?base64?ZWNobw==?=");
        assert_eq!(post(&[NOW, CALLS, encoded], &call("echo")), None);
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        assert_eq!(post(&[NOW, ("mcp-method", "tools/list")], list), None);
        assert_eq!(
            post(&[NOW], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
            None
        );

        let mismatch = Some((400, -32_020));
        let shell = ("mcp-name", "shell");
        for (headers, body) in [
            (&[NOW, CALLS, echo][..], &*call("shell")),
            (&[NOW, CALLS, shell], &call("echo")),
            (&[NOW, CALLS], &call("echo")),
            (&[NOW, echo], &call("echo")),
            (&[NOW, CALLS, CALLS, echo], &call("echo")),
            (&[NOW, CALLS, echo, shell], &call("echo")),
            (&[NOW, ("mcp-method", "tools/list")], &call("echo")),
            (
                &[NOW, CALLS, ("mcp-name", "=?base64?ZWNobw?=")],
                &call("echo"),
            ),
            (&[NOW, CALLS, echo], r#"{"id":1,"result":{}}"#),
            (
                &[NOW, ("mcp-method", "resources/read"), echo],
                r#"{"id":1,"method":"resources/read","params":{"uri":"file:///x"}}"#,
            ),
        ] {
            assert_eq!(post(headers, body), mismatch, "{headers:?} {body}");
        }
        assert_eq!(
            post(&[NOW, CALLS, shell], &call("shell")),
            Some((403, -32_602))
        );
        let twice = r#"{"id":1,"method":"tools/call","params":{"name":"echo","name":"shell"}}"#;
        assert_eq!(post(&[NOW, CALLS, echo], twice), Some((400, -32_700)));
        let several = format!("[{}]", call("echo"));
        assert_eq!(post(&[NOW, CALLS, echo], &several), Some((400, -32_700)));
    }

    #[test]
    fn older_revisions_are_refused_unless_told_and_then_their_bodies_count() {
        let ask = |older, method: &Method, headers: &[(&str, &str)], body: &str| {
            judged(&rules(older), method, headers, body)
        };
        let version = Some((400, -32_022));
        for headers in [
            &[][..],
            &[("mcp-protocol-version", "2025-11-25")],
            &[("mcp-protocol-version", "2026-07-28"), NOW],
            &[("mcp-protocol-version", "9999999999")],
            &[("mcp-protocol-version", "2026-07-28x")],
        ] {
            assert_eq!(ask(false, &Method::POST, headers, &call("echo")), version);
            assert_eq!(ask(true, &Method::POST, headers, &call("echo")), None);
            assert_eq!(
                ask(true, &Method::POST, headers, &call("shell")),
                Some((403, -32_602))
            );
        }
        let several = format!("[{},{}]", call("echo"), call("shell"));
        assert_eq!(
            ask(true, &Method::POST, &[], &several),
            Some((403, -32_602))
        );
        for method in [Method::GET, Method::DELETE, Method::HEAD] {
            assert_eq!(ask(false, &method, &[NOW], ""), version);
            assert_eq!(ask(true, &method, &[], ""), None);
            assert_eq!(ask(true, &method, &[], &call("shell")), version);
        }
        for method in [Method::PUT, Method::PATCH, Method::OPTIONS, Method::CONNECT] {
            assert_eq!(ask(true, &method, &[], &call("echo")), Some((405, -32_600)));
        }
        let answer = older(&HeaderMap::new()).body();
        assert_eq!(answer["error"]["data"]["supported"], json!(["2026-07-28"]));
    }

    #[test]
    fn a_body_that_others_read_otherwise_is_refused() {
        let ask =
            |headers: &[(&str, &str)]| judged(&rules(true), &Method::POST, headers, &call("echo"));
        let refused = Some((415, -32_600));
        for kind in [
            "",
            "text/plain",
            "application/json; charset=utf-16",
            "application/json, text/plain",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(ask(&[("content-type", kind)]), refused, "{kind}");
        }
        assert_eq!(ask(&[("content-encoding", "gzip")]), refused);
        assert_eq!(
            ask(&[("content-type", "application/json; charset=\"UTF-8\"")]),
            None
        );
    }
}
