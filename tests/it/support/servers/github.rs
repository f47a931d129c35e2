//! GitHub: errors with status 200, form-encoded answers, comma-separated scopes, and lists in pages. The API stands
//! at the root, as at api.github.com, and below `/api/v3`, as at an Enterprise Server.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Asking, Script, header};
use crate::support::server::{self, Answer};

/// GitHub.
pub static SCRIPT: Script = Script {
    authorize: &["/login/oauth/authorize"],
    token: &["/login/oauth/access_token"],
    takes_basic: true,
    needs_user_agent: true,
    answers_form: true,
    scope_separator: ",",
    token_extras: || json!({}),
    refusal,
    spent,
    pages: || {
        let membership = |id: u32, org: &str, state: &str| {
            json!({
                "url": format!("https://api.github.com/orgs/{org}/memberships/ada-l"), "state": state,
                "role": "member", "organization": { "login": org, "id": id },
                "user": { "login": "ada-l", "id": 583_231 },
            })
        };
        vec![
            ("/user", person()),
            (
                "/user/emails",
                json!([
                    { "email": "other@example.org", "primary": false, "verified": true, "visibility": null },
                    { "email": "ada@example.com", "primary": true, "verified": true, "visibility": "private" },
                    { "email": "boss@corp.example", "primary": false, "verified": false, "visibility": null },
                ]),
            ),
            ("/user/orgs", json!([{ "login": "acme", "id": 1 }])),
            (
                "/user/memberships/orgs",
                json!([
                    membership(1, "acme", "active"),
                    membership(2, "invited", "pending"),
                ]),
            ),
            (
                "/user/memberships/orgs/acme",
                membership(1, "acme", "active"),
            ),
            (
                "/user/memberships/orgs/invited",
                membership(2, "invited", "pending"),
            ),
            ("/user/teams", json!([team("acme", "platform", 7)])),
        ]
    },
    view,
};

/// One entry of `/user/teams`.
pub fn team(org: &str, slug: &str, id: u32) -> Value {
    json!({
        "id": id, "name": slug, "slug": slug, "privacy": "closed",
        "organization": { "login": org, "id": 1 },
    })
}

fn person() -> Value {
    json!({
        "login": "ada-l", "id": 583_231, "node_id": "MDQ6VXNlcjU4MzIzMQ==", "type": "User",
        "avatar_url": "https://avatars.githubusercontent.com/u/583231?v=4", "site_admin": false,
        "name": "Ada Lovelace", "company": "Analytical Engines", "email": "public-profile@example.net",
    })
}

fn refusal(error: &'static str) -> Answer {
    let error = match error {
        "invalid_client" => "incorrect_client_credentials",
        "invalid_grant" => "bad_verification_code",
        other => other,
    };
    let body = json!({
        "error": error, "error_description": "The code passed is incorrect or expired.",
        "error_uri": "https://docs.github.com/",
    });
    server::json(StatusCode::OK, &body)
}

fn spent() -> Answer {
    let body = json!({
        "error": "bad_refresh_token",
        "error_description": "The refresh token passed is incorrect or expired.",
        "error_uri": "https://docs.github.com/",
    });
    server::json(StatusCode::OK, &body)
}

fn view(asking: &Asking<'_>, page: Value) -> Result<Value, Box<Answer>> {
    if !header(asking.call, "accept").contains("json") {
        return Err(Box::new(server::full(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "text/plain",
            "ask for JSON",
        )));
    }
    let message = |status, text: &str| {
        let body = json!({ "message": text });
        Err(Box::new(server::json(status, &body)))
    };
    let reads_orgs = asking.may("read:org") || asking.may("user");
    match asking.path {
        "/user/emails" if !asking.may("user:email") && !asking.may("user") => {
            message(StatusCode::NOT_FOUND, "Not Found")
        }
        "/user/orgs" if !reads_orgs => Ok(json!([])),
        path if (path.starts_with("/user/memberships") || path == "/user/teams") && !reads_orgs => {
            message(
                StatusCode::FORBIDDEN,
                "You need at least read:org scope to list your organizations.",
            )
        }
        _ => Ok(page),
    }
}
