//! The demo app's MCP server: two tools over streamable HTTP, without a session and without a login of its own. The gate's headers say who the
//! user is.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header::ALLOW};
use http_body_util::{BodyExt, Limited};
use percent_encoding::percent_decode;
use serde_json::{Value, json};

use super::{
    page,
    server::{Request, Response, empty},
};

/// Answers one message. There is nothing to listen to.
pub(super) async fn serve(request: Request) -> Response {
    if *request.method() != Method::POST {
        let mut response = page::text(StatusCode::METHOD_NOT_ALLOWED, "POST one message\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST).collect().await else {
        return page::text(StatusCode::PAYLOAD_TOO_LARGE, "too large\n");
    };
    let Ok(message) = serde_json::from_slice::<Value>(&body.to_bytes()) else {
        let error = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32700, "message": "no JSON" } });
        return page::json(StatusCode::BAD_REQUEST, &error);
    };
    if let Some(answer) = answer(&message, &head.headers) {
        return page::json(StatusCode::OK, &answer);
    }
    let mut response = http::Response::new(empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    page::harden(&mut response);
    response
}

/// The answer to a message; none to what asks for none. Pure.
fn answer(message: &Value, headers: &HeaderMap) -> Option<Value> {
    let id = message.get("id").filter(|id| !id.is_null())?;
    let parameters = &message["params"];
    let result = match message["method"].as_str() {
        Some("initialize") => Ok(initialize(parameters)),
        Some("ping") => Ok(json!({})),
        Some("tools/list") => Ok(tools()),
        Some("tools/call") => call(parameters, headers),
        _ => Err((-32601, "no such method")),
    };
    Some(match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err((code, message)) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
        }
    })
}

fn initialize(parameters: &Value) -> Value {
    let wanted = parameters["protocolVersion"].as_str().unwrap_or_default();
    let version = VERSIONS
        .iter()
        .find(|known| **known == wanted)
        .unwrap_or(&VERSIONS[0]);
    json!({
        "protocolVersion": version,
        "capabilities": { "tools": {} },
        "serverInfo": { "name": "sidegate demo", "version": env!("CARGO_PKG_VERSION") },
    })
}

fn tools() -> Value {
    json!({ "tools": [
        {
            "name": "whoami",
            "description": "Says who is calling, as the gate has told it.",
            "inputSchema": { "type": "object", "properties": {} },
        },
        {
            "name": "add",
            "description": "Adds two numbers.",
            "inputSchema": {
                "type": "object",
                "properties": { "a": { "type": "number" }, "b": { "type": "number" } },
                "required": ["a", "b"],
            },
        },
    ] })
}

fn call(parameters: &Value, headers: &HeaderMap) -> Result<Value, (i32, &'static str)> {
    let text = match parameters["name"].as_str() {
        Some("whoami") => {
            let header = |name| {
                headers.get(name).map(|value: &HeaderValue| {
                    percent_decode(value.as_bytes())
                        .decode_utf8_lossy()
                        .into_owned()
                })
            };
            let name = header("x-user-name")
                .or_else(|| header("x-user"))
                .unwrap_or_else(|| "nobody".to_owned());
            match header("x-user-email") {
                Some(email) => format!("{name} <{email}>"),
                None => name,
            }
        }
        Some("add") => {
            let arguments = &parameters["arguments"];
            let (Some(a), Some(b)) = (arguments["a"].as_f64(), arguments["b"].as_f64()) else {
                return Err((-32602, "a and b are numbers"));
            };
            (a + b).to_string()
        }
        _ => return Err((-32602, "no such tool")),
    };
    Ok(json!({ "content": [{ "type": "text", "text": text }] }))
}

/// The versions whose messages these are, the newest first.
const VERSIONS: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
const LARGEST: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, parameters: &Value) -> Value {
        let mut headers = HeaderMap::new();
        headers.insert("x-user-name", HeaderValue::from_static("Zo%C3%AB"));
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
        answer(&message, &headers).unwrap()
    }

    #[test]
    fn it_speaks_as_a_server_does() {
        let version = |wanted: &str| {
            ask("initialize", &json!({ "protocolVersion": wanted }))["result"]["protocolVersion"]
                .clone()
        };
        assert_eq!(version("2025-06-18"), "2025-06-18");
        assert_eq!(version("1999-01-01"), "2025-11-25");
        assert_eq!(
            ask("tools/list", &json!({}))["result"]["tools"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        let called = ask("tools/call", &json!({ "name": "whoami" }));
        assert_eq!(called["result"]["content"][0]["text"], "Zoë");
        let added = ask(
            "tools/call",
            &json!({ "name": "add", "arguments": { "a": 1.5, "b": 2 } }),
        );
        assert_eq!(added["result"]["content"][0]["text"], "3.5");
        for (method, parameters, code) in [
            ("tools/call", json!({ "name": "add" }), -32602),
            ("tools/call", json!({ "name": "rm" }), -32602),
            ("server/discover", json!({}), -32601),
        ] {
            assert_eq!(ask(method, &parameters)["error"]["code"], code);
        }
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(answer(&note, &HeaderMap::new()), None);
    }
}
