//! Facebook's Graph: errors that are objects, only the fields that are asked for, and a proof with each request.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Asking, SECRET, Script};
use crate::support::server::{self, Answer};

/// Facebook.
pub static SCRIPT: Script = Script {
    authorize: &["/v25.0/dialog/oauth"],
    token: &["/v25.0/oauth/access_token"],
    takes_basic: false,
    needs_user_agent: false,
    answers_form: false,
    scope_separator: ",",
    // Facebook does not repeat the scopes.
    token_extras: || json!({ "expires_in": 5_183_944, "scope": null }),
    refusal: |_| error(100, 36_009, "This authorization code has been used."),
    // Facebook has no refresh tokens.
    spent: || error(1, 0, "no such grant"),
    pages: || {
        let person = json!({
            "id": "10215000000000001", "name": "Ada Lovelace", "email": "ada@example.com",
            "first_name": "Ada", "last_name": "Lovelace",
            "picture": { "data": { "url": "https://platform-lookaside.fbsbx.com/ada.jpg", "height": 50 } },
        });
        let permissions = json!({ "data": [
            { "permission": "email", "status": "granted" },
            { "permission": "public_profile", "status": "granted" },
        ]});
        vec![
            ("/v25.0/me", person),
            ("/v25.0/me/permissions", permissions),
        ]
    },
    view,
};

/// An error as the Graph has it.
pub fn error(code: u32, subcode: u32, message: &str) -> Answer {
    let body = json!({ "error": {
        "message": message, "type": "OAuthException", "code": code, "error_subcode": subcode,
        "fbtrace_id": "AbCdEf",
    }});
    server::json(StatusCode::BAD_REQUEST, &body)
}

fn view(asking: &Asking<'_>, mut page: Value) -> Result<Value, Box<Answer>> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let proof = hmac::sign(&key, asking.token.as_bytes());
    let mut hex = String::new();
    for byte in proof.as_ref() {
        let _ = write!(hex, "{byte:02x}");
    }
    if asking.call.fields.get("appsecret_proof") != Some(&hex) {
        return Err(Box::new(error(
            100,
            0,
            "API calls from the server require an appsecret_proof argument",
        )));
    }
    if asking.path != "/v25.0/me" {
        return Ok(page);
    }
    let fields = asking.call.fields.get("fields");
    let fields = fields.map_or("id,name", String::as_str);
    let asked: Vec<&str> = fields
        .split(',')
        .map(|field| field.split(['{', '.']).next().unwrap_or_default())
        .collect();
    let object = page.as_object_mut().expect("an object");
    object.retain(|name, _| {
        (name == "id" || asked.contains(&name.as_str())) && (name != "email" || asking.may("email"))
    });
    Ok(page)
}
