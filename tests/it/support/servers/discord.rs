//! Discord: snowflakes as strings, a `verified` of its own, and guilds only with their scope.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Asking, Script, standard_refusal};
use crate::support::server::{self, Answer};

/// Discord.
pub static SCRIPT: Script = Script {
    authorize: &["/oauth2/authorize", "/api/oauth2/authorize"],
    token: &["/api/oauth2/token"],
    takes_basic: true,
    needs_user_agent: false,
    answers_form: false,
    scope_separator: " ",
    token_extras: || json!({ "token_type": "Bearer", "expires_in": 604_800, "refresh_token": "canary-refresh-token" }),
    refusal: standard_refusal,
    spent: super::standard_spent,
    pages: || {
        let person = json!({
            "id": "80351110224678912", "username": "ada", "discriminator": "0",
            "global_name": "Ada Lovelace", "avatar": "8342729096ea3675442027381ff50dfe", "verified": true,
            "email": "ada@example.com", "locale": "en-GB", "flags": 64,
        });
        let guilds = json!([
            { "id": "197038439483310086", "name": "Engines", "owner": false, "permissions": "36953089" },
            { "id": "41771983423143937", "name": "Numbers", "owner": true, "permissions": "36953089" },
        ]);
        vec![
            ("/api/v10/users/@me", person),
            ("/api/v10/users/@me/guilds", guilds),
        ]
    },
    view,
};

fn view(asking: &Asking<'_>, mut page: Value) -> Result<Value, Box<Answer>> {
    if asking.path.ends_with("/guilds") {
        if asking.may("guilds") {
            return Ok(page);
        }
        let body = json!({ "message": "Missing Access", "code": 50_001 });
        return Err(Box::new(server::json(StatusCode::UNAUTHORIZED, &body)));
    }
    if !asking.may("email") {
        let object = page.as_object_mut().expect("an object");
        object.remove("email");
        object.remove("verified");
    }
    Ok(page)
}
